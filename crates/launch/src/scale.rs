//! Hosts that leave a running cluster: drained, out of etcd, deleted, reset.

use std::time::Duration;

use kiln_host::Stdin;
use kiln_host::command::quote;

use crate::error::{LaunchError, Result};
use crate::event::Event;
use crate::launch::{Launch, Member};
use crate::machine::{Machine, SHORT};
use crate::phase::join::KUBECTL;
use crate::preflight::minor;

/// How long pods may take to go.
const DRAIN: Duration = Duration::from_secs(300);

/// What is to leave: its name in the cluster, its address for peers, whether it is a master.
#[derive(Debug, Clone)]
pub struct Leaving {
    /// The name of its node.
    pub node: String,
    /// The address at which its etcd is.
    pub address: String,
    /// Whether it has a member of etcd.
    pub master: bool,
    /// Whether it answers. Pods of one that does not are never seen to end, so it is not drained: they are started elsewhere
    /// when its node is deleted.
    pub up: bool,
}

/// Takes a node out of the cluster, through a master that stays. The host itself need not answer.
///
/// # Errors
/// When a step fails: what comes behind it is not done. Draining fails when pods may not be evicted.
pub fn leave(launch: &Launch, master: &Member, leaving: &Leaving) -> Result<()> {
    let machine = &master.machine;
    let node = quote(&leaving.node);
    let known = machine.run("ask for the node", &format!("{KUBECTL} get node {node} -o name"), Stdin::Empty, SHORT)?;
    if !known.exit.success() && known.tail.iter().any(|line| line.contains("NotFound") || line.contains("not found")) {
        launch.note(master, format!("the cluster has no node {}", leaving.node));
    } else if !leaving.up {
        launch.note(master, format!("{} does not answer, and is deleted without being drained", leaving.node));
    } else {
        let empty_dirs =
            if minor(&launch.bundle.kubernetes) >= 20 { "--delete-emptydir-data" } else { "--delete-local-data" };
        let line =
            format!("{KUBECTL} drain {node} --ignore-daemonsets --force {empty_dirs} --timeout={}s", DRAIN.as_secs());
        let line = line.replace("--request-timeout 20s", "");
        machine.succeed_with(&format!("drain {}", leaving.node), &line, Stdin::Empty, DRAIN + SHORT)?;
    }
    if leaving.master {
        out_of_etcd(machine, &master.node, &leaving.address)?;
    }
    machine.succeed(
        &format!("delete the node {}", leaving.node),
        &format!("{KUBECTL} delete node {node} --ignore-not-found"),
    )?;
    launch.events.event(Event::Note { host: None, text: format!("{} has left the cluster", leaving.node) });
    Ok(())
}

/// Removes the member of etcd that has an address, asked of the etcd of a master that stays.
fn out_of_etcd(machine: &Machine, node: &str, address: &str) -> Result<()> {
    let etcdctl = format!(
        "{KUBECTL} -n kube-system exec {} -- etcdctl --endpoints=https://127.0.0.1:2379 --cacert=/etc/kubernetes/pki/etcd/ca.crt \
         --cert=/etc/kubernetes/pki/etcd/server.crt --key=/etc/kubernetes/pki/etcd/server.key",
        quote(&format!("etcd-{node}"))
    );
    let what = "ask etcd for its members";
    let said = machine.succeed(what, &format!("{etcdctl} member list"))?;
    match member_of(&said.text(), address) {
        None => Ok(()),
        Some(id) => {
            if said.text().lines().filter(|line| member_id(line).is_some()).count() < 2 {
                return Err(LaunchError::Wanted {
                    what: format!("{address} has the only member of etcd"),
                    hint: "take the whole cluster down with `kiln cluster reset`".to_owned(),
                });
            }
            machine.succeed("remove the member of etcd", &format!("{etcdctl} member remove {id}")).map(drop)
        }
    }
}

/// `8e9e05c52164694d, started, n1, https://10.0.0.1:2380, https://10.0.0.1:2379, false`
fn member_id(line: &str) -> Option<&str> {
    let id = line.split(',').next()?.trim();
    (!id.is_empty() && id.len() <= 16 && id.bytes().all(|b| b.is_ascii_hexdigit())).then_some(id)
}

/// The member with an address.
fn member_of<'t>(list: &'t str, address: &str) -> Option<&'t str> {
    let urls = [format!("https://{address}:2380"), format!("https://[{address}]:2380")];
    list.lines()
        .filter(|line| line.split(',').any(|part| urls.iter().any(|url| part.trim() == url)))
        .find_map(member_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_by_their_whole_address() {
        let list = "8e9e05c52164694d, started, n1, https://10.0.0.1:2380, https://10.0.0.1:2379, false\n91bc3c398fb3c146, started, n2, https://10.0.0.11:2380, https://10.0.0.11:2379, false\n";
        assert_eq!(member_of(list, "10.0.0.1"), Some("8e9e05c52164694d"));
        assert_eq!(member_of(list, "10.0.0.11"), Some("91bc3c398fb3c146"));
        assert_eq!(member_of(list, "10.0.0.2"), None);
        assert_eq!(member_of("$(rm), started, n, https://10.0.0.1:2380", "10.0.0.1"), None);
    }
}
