//! Whether what was launched works: every node ready, every pod of Kubernetes running.

use std::time::{Duration, Instant};

use kiln_host::Stdin;
use serde_json::Value;

use super::join::KUBECTL;
use super::{Order, Phase, Work};
use crate::diagnose;
use crate::error::{LaunchError, Result};
use crate::launch::{Launch, Member, key};
use crate::machine::{SHORT, printable};

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
    let began = Instant::now();
    loop {
        let said =
            member.machine.run("ask for the nodes", &format!("{KUBECTL} get nodes -o json"), Stdin::Empty, SHORT)?;
        let seen = if said.exit.success() { nodes(&said.stdout).unwrap_or_default() } else { Vec::new() };
        let lacking: Vec<(&Member, String)> = launch.members.iter().filter_map(|member| lacks(member, &seen)).collect();
        if lacking.is_empty() {
            return Ok(());
        }
        if began.elapsed() >= launch.options.patience {
            let tail = lacking.iter().map(|(member, why)| format!("{}: {why}", member.node)).collect();
            let causes = lacking
                .iter()
                .take(3)
                .flat_map(|(member, _)| diagnose::ask(&member.machine, &launch.options.service_manager));
            return Err(LaunchError::TimedOut {
                host: lacking.first().map_or_else(String::new, |(member, _)| member.name().to_owned()),
                what: format!("have {} of {} nodes ready", lacking.len(), launch.members.len()),
                after: launch.options.patience,
                causes: causes.collect(),
                tail,
            });
        }
        if launch.cancel.is_set() {
            return Err(LaunchError::Cancelled);
        }
        std::thread::sleep(Duration::from_secs(1).min(launch.options.patience));
    }
}

/// Why a host is not a node that works.
fn lacks<'l>(member: &'l Member, seen: &[Node]) -> Option<(&'l Member, String)> {
    let is_node = member.is_master() || member.host.is(&kiln_clusterfile::model::Role::Node);
    match seen.iter().find(|node| node.name == member.node) {
        _ if !is_node => None,
        None => Some((member, "the cluster has no such node".to_owned())),
        Some(node) if node.ready => None,
        Some(node) => Some((member, node.why.clone())),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn nodes_are_read() {
        let text = br#"{"items":[{"metadata":{"name":"a","labels":{"node-role.kubernetes.io/master":""}},"status":{"conditions":[{"type":"Ready","status":"False","message":"cni \u001b plugin not initialized"}],"nodeInfo":{"kubeletVersion":"v1.20.2"}}}]}"#;
        let nodes = super::nodes(text).unwrap();
        assert_eq!((nodes[0].ready, nodes[0].roles[0].as_str()), (false, "master"));
        assert!(nodes[0].why.contains("plugin not initialized") && !nodes[0].why.contains('\x1b'));
        for bad in [&b""[..], b"{}", b"{\"items\":[{}]}", b"[]"] {
            assert_eq!(super::nodes(bad), None);
        }
    }
}
