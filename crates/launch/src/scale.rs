//! Hosts that leave a running cluster: drained, out of etcd, deleted, reset.

use std::net::IpAddr;
use std::time::Duration;

use kiln_host::Stdin;
use kiln_host::command::quote;

use crate::error::Result;
use crate::event::Event;
use crate::kubectl::{KUBECTL, drain};
use crate::launch::{Launch, Member};
use crate::machine::SHORT;
use crate::{balancer, etcd};

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

/// Takes a node out of the cluster, through a master that stays. The host itself need not answer. Nodes of the launch do not
/// ask a master any more that has left.
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
        drain(machine, &leaving.node, &launch.bundle.kubernetes, DRAIN)?;
    }
    if leaving.master {
        etcd::remove(machine, &master.node, &leaving.address)?;
    }
    machine.succeed(
        &format!("delete the node {}", leaving.node),
        &format!("{KUBECTL} delete node {node} --ignore-not-found"),
    )?;
    launch.events.event(Event::Note { host: None, text: format!("{} has left the cluster", leaving.node) });
    if let (true, Ok(gone)) = (leaving.master, leaving.address.parse::<IpAddr>()) {
        let others: Vec<&Member> = launch.members.iter().filter(|member| member.address != gone).collect();
        balancer::forget(launch, &others, &[gone]);
    }
    Ok(())
}
