//! Leftovers of an earlier kubeadm, where the user wants them gone: those of an interrupted `kubeadm init` by hand.

use std::time::Duration;

use kiln_host::Stdin;

use super::{Order, Phase, Work, init};
use crate::error::{LaunchError, Result};
use crate::facts::PATHS;
use crate::launch::{Launch, Member, key};

/// The phase.
pub const PHASE: Phase = Phase {
    name: "leftovers",
    title: "reset what an earlier kubeadm left",
    order: Order::Together,
    plan,
    run,
    undo: None,
};

const LIMIT: Duration = Duration::from_secs(600);

fn plan(launch: &Launch, member: &Member) -> Result<Option<Work>> {
    let is_left = launch.options.reset_leftovers && member.facts.marker.is_none() && member.facts.is_occupied();
    let there: Vec<&str> = member.facts.paths.iter().map(String::as_str).collect();
    let lines = vec![format!("kubeadm reset: {}", there.join(", "))];
    Ok(is_left.then(|| Work { key: key(there), lines, holds: true }))
}

fn run(launch: &Launch, member: &Member) -> Result<()> {
    let line = init::reset_line(launch, member);
    member.machine.succeed_with("reset what an earlier kubeadm left", &line, Stdin::Empty, LIMIT)?;
    let left: Vec<&str> = PATHS.into_iter().filter(|path| *path != "/etc/cni/net.d").collect();
    let line = format!(
        "for p in {}; do if [ -d $p ]; then [ -z \"$(ls -A $p)\" ] || echo $p; elif [ -e $p ]; then echo $p; fi; done",
        left.join(" ")
    );
    let said = member.machine.succeed("look for what is left", &line)?.text();
    let remains: Vec<&str> = said.lines().filter(|line| left.contains(line)).collect();
    if remains.is_empty() {
        return Ok(());
    }
    Err(LaunchError::Wanted {
        what: format!("{}: kubeadm reset leaves {}", member.name(), remains.join(", ")),
        hint: "look what it is, and remove it".to_owned(),
    })
}
