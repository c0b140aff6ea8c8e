//! Whether what was launched works: every node ready, every pod of Kubernetes running.

use std::cell::RefCell;
use std::time::Duration;

use kiln_host::Stdin;
use serde_json::Value;

use super::join::KUBECTL;
use super::{Order, Phase, Work};
use crate::diagnose::{self, Cause};
use crate::error::{LaunchError, Result};
use crate::launch::{Launch, Member, key};
use crate::machine::{SHORT, printable};
use crate::pods::{self, Pod};
use crate::wait;

/// The phase.
pub const PHASE: Phase =
    Phase { name: "verify", title: "wait until every node is ready", order: Order::Serial, plan, run, undo: None };

fn plan(launch: &Launch, member: &Member) -> Result<Option<Work>> {
    if !member.first {
        return Ok(None);
    }
    let nodes: Vec<&str> = launch.members.iter().map(|member| member.node.as_str()).collect();
    let digest = launch.bundle.root.digest.to_string();
    let lines = vec![format!("wait until {} nodes are ready", nodes.len())];
    Ok(Some(Work { key: key(nodes.into_iter().chain([digest.as_str()])), lines, holds: true }))
}

/// A node, as the cluster has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Whether it is ready.
    pub ready: bool,
    /// Why it is not, in the cluster's words.
    pub why: String,
    /// The version of its kubelet.
    pub version: String,
    /// Whether new pods are kept away from it.
    pub cordoned: bool,
    /// Words of its role labels.
    pub roles: Vec<String>,
}

/// Reads `kubectl get nodes -o json`.
pub fn nodes(text: &[u8]) -> Option<Vec<Node>> {
    let list: Value = serde_json::from_slice(text).ok()?;
    let items = list.get("items")?.as_array()?;
    let node = |item: &Value| {
        let conditions = item.pointer("/status/conditions").and_then(Value::as_array);
        let ready = conditions.into_iter().flatten().find(|condition| condition["type"] == "Ready");
        let labels = item.pointer("/metadata/labels").and_then(Value::as_object);
        let roles = labels.into_iter().flatten().filter_map(|(name, _)| name.strip_prefix("node-role.kubernetes.io/"));
        Some(Node {
            name: item.pointer("/metadata/name")?.as_str()?.to_owned(),
            ready: ready.is_some_and(|condition| condition["status"] == "True"),
            why: printable(
                ready.and_then(|condition| condition["message"].as_str()).unwrap_or("it says nothing of itself"),
            ),
            version: item
                .pointer("/status/nodeInfo/kubeletVersion")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
            cordoned: item.pointer("/spec/unschedulable").and_then(Value::as_bool).unwrap_or(false),
            roles: roles.map(str::to_owned).collect(),
        })
    };
    items.iter().map(node).collect()
}

/// Asks the first master for the nodes.
///
/// # Errors
/// When it does not say them.
pub fn ask(first: &Member) -> Result<Vec<Node>> {
    let what = "ask for the nodes";
    let said = first.machine.succeed(what, &format!("{KUBECTL} get nodes -o json"))?;
    nodes(&said.stdout).ok_or_else(|| first.machine.nonsense(what, "it is no list of nodes"))
}

fn run(launch: &Launch, member: &Member) -> Result<()> {
    launch.clock.wait(|| ready(launch, member))
}

fn ready(launch: &Launch, member: &Member) -> Result<()> {
    let ask = || {
        let what = "ask for the nodes";
        let said = member.machine.run(what, &format!("{KUBECTL} get nodes -o json"), Stdin::Empty, SHORT)?;
        let seen = if said.exit.success() { nodes(&said.stdout).unwrap_or_default() } else { Vec::new() };
        Ok(launch.members.iter().filter_map(|member| lacks(member, &seen)).collect())
    };
    let behind = |lacking: &Lacking<'_>| {
        let is_network = |why: &str| why.to_lowercase().contains("network");
        let nodes = lacking.iter().filter(|(_, why)| is_network(why)).map(|(member, _)| member.node.as_str());
        let nodes: Vec<&str> = nodes.collect();
        if nodes.is_empty() { Vec::new() } else { pods::of_hosts(member, &nodes) }
    };
    until(launch, |lacking| format!("have {lacking} of {} nodes ready", launch.members.len()), ask, behind)
}

/// Waits until every node is ready, and every pod of Kubernetes.
///
/// # Errors
/// When they are not in time, with what is behind it.
pub fn well(launch: &Launch, member: &Member) -> Result<()> {
    run(launch, member)?;
    let broken = RefCell::new(Vec::new());
    let ask = || {
        let line = format!("{KUBECTL} -n kube-system get pods -o json");
        let said = member.machine.run("ask for Kubernetes' own pods", &line, Stdin::Empty, SHORT)?;
        let seen = if said.exit.success() { pods::read(&said.stdout) } else { None };
        let Some(seen) = seen else { return Ok(vec![(member, said.tail.join(" "))]) };
        let lacking =
            seen.iter().filter_map(|pod| Some((member, format!("{}: {}", pod.name, pod.lacks.as_ref()?.text))));
        let lacking = lacking.collect();
        broken.replace(seen.into_iter().filter(|pod| pod.lacks.is_some()).collect());
        Ok(lacking)
    };
    let behind = |_: &Lacking<'_>| pods::causes(member, &broken.borrow().iter().collect::<Vec<&Pod>>());
    until(launch, |lacking| format!("have {lacking} pods of Kubernetes ready"), ask, behind)
}

/// What lacks something, and what.
type Lacking<'l> = Vec<(&'l Member, String)>;

/// Asks until nothing is lacking.
fn until<'l>(
    launch: &Launch,
    what: impl Fn(usize) -> String,
    ask: impl Fn() -> Result<Lacking<'l>>,
    behind: impl Fn(&Lacking<'l>) -> Vec<Cause>,
) -> Result<()> {
    let patience = launch.options.patience;
    let lacking = wait::until(launch, patience, Duration::from_secs(1), || {
        let lacking = ask()?;
        Ok((!lacking.is_empty()).then_some(lacking))
    })?;
    let Some(lacking) = lacking else { return Ok(()) };
    let mut hosts: Vec<&Member> = lacking.iter().map(|(member, _)| *member).collect();
    hosts.dedup_by_key(|member| member.name());
    let mut causes: Vec<Cause> = hosts.iter().take(3).flat_map(|host| diagnose::ask(launch, &host.machine)).collect();
    let pods = behind(&lacking);
    // kubelet says of pods what they say better themselves.
    causes.retain(|cause| pods.is_empty() || !cause.is_hearsay());
    causes.extend(pods);
    Err(LaunchError::TimedOut {
        host: hosts.first().map_or_else(String::new, |host| host.name().to_owned()),
        what: what(lacking.len()),
        after: patience,
        causes,
        tail: lacking.iter().map(|(member, why)| format!("{}: {why}", member.node)).collect(),
    })
}

/// Why a host is not a node that works.
fn lacks<'l>(member: &'l Member, seen: &[Node]) -> Option<(&'l Member, String)> {
    match seen.iter().find(|node| node.name == member.node) {
        _ if !member.is_node() => None,
        None => Some((member, "the cluster has no such node".to_owned())),
        Some(node) if node.ready => None,
        Some(node) => Some((member, node.why.clone())),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn nodes_are_read() {
        let text = br#"{"items":[{"metadata":{"name":"a","labels":{"node-role.kubernetes.io/master":""}},"spec":{"unschedulable":true},"status":{"conditions":[{"type":"Ready","status":"False","message":"cni \u001b plugin not initialized"}],"nodeInfo":{"kubeletVersion":"v1.20.2"}}}]}"#;
        let nodes = super::nodes(text).unwrap();
        assert_eq!((nodes[0].ready, nodes[0].cordoned, nodes[0].roles[0].as_str()), (false, true, "master"));
        assert!(nodes[0].why.contains("plugin not initialized") && !nodes[0].why.contains('\x1b'));
        for bad in [&b""[..], b"{}", b"{\"items\":[{}]}", b"[]"] {
            assert_eq!(super::nodes(bad), None);
        }
    }
}
