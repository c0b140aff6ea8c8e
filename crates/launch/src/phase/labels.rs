//! Labels and taints of nodes, as the user says them for their hosts.

use kiln_clusterfile::model::Action;
use kiln_clusterfile::model::{Label, Phase as When, Role, Selector, Taint};
use kiln_host::Stdin;
use kiln_host::command::quote;

use super::join::KUBECTL;
use super::{Order, Phase, Work};
use crate::error::Result;
use crate::launch::{Launch, Member, key};
use crate::machine::SHORT;

/// The phase.
pub const PHASE: Phase =
    Phase { name: "labels", title: "labels and taints", order: Order::Together, plan, run, undo: None };

/// What a node gets: words behind `kubectl`, and whether it may be missing already.
fn words(launch: &Launch, member: &Member) -> Vec<(Vec<String>, bool)> {
    let mut labels: Vec<Label> = Vec::new();
    let mut taints: Vec<Taint> = Vec::new();
    for role in &member.host.roles {
        if let Role::Custom(word) = &role.value {
            labels.push(Label { key: format!("node-role.kubernetes.io/{word}"), value: Some(String::new()) });
        }
    }
    labels.extend(member.host.labels.iter().map(|said| said.value.clone()));
    taints.extend(member.host.taints.iter().map(|said| said.value.clone()));
    let own = |address: &std::net::IpAddr| member.host.addresses.iter().any(|said| said.value == *address);
    for plugin in &launch.cluster.plugins {
        match &plugin.action {
            Action::Label(all) => {
                labels.extend(all.iter().filter(|said| own(&said.value.0)).map(|said| said.value.1.clone()))
            }
            Action::Taint(all) => {
                taints.extend(all.iter().filter(|said| own(&said.value.0)).map(|said| said.value.1.clone()))
            }
            _ => {}
        }
    }
    let mut out = Vec::new();
    for label in labels {
        let gone = label.value.is_none();
        let words = ["label", "node", &member.node, &label.to_string()].map(str::to_owned).to_vec();
        out.push(if gone { (words, true) } else { ([words, vec!["--overwrite".to_owned()]].concat(), false) });
    }
    for taint in taints {
        let words = ["taint", "node", &member.node, &taint.to_string()].map(str::to_owned).to_vec();
        out.push(if taint.remove { (words, true) } else { ([words, vec!["--overwrite".to_owned()]].concat(), false) });
    }
    out
}

fn plan(launch: &Launch, member: &Member) -> Result<Option<Work>> {
    let lines: Vec<String> =
        words(launch, member).into_iter().map(|(words, _)| format!("kubectl {}", words.join(" "))).collect();
    if lines.is_empty() {
        return Ok(None);
    }
    Ok(Some(Work { key: key(lines.iter().map(String::as_str)), lines, holds: true }))
}

fn run(launch: &Launch, member: &Member) -> Result<()> {
    let first = launch.first()?;
    for (words, may_be_gone) in words(launch, member) {
        let line = words.iter().fold(KUBECTL.to_owned(), |line, word| format!("{line} {}", quote(word)));
        let what = format!("run kubectl {}", words.join(" "));
        if !may_be_gone {
            first.machine.succeed(&what, &line)?;
            continue;
        }
        let said = first.machine.run(&what, &line, Stdin::Empty, SHORT)?;
        let gone = said.tail.iter().any(|line| line.contains("not found"));
        if !said.exit.success() && !gone {
            first.machine.succeed(&what, &line)?;
        }
    }
    Ok(())
}

/// Whether a plugin has something to do on a host at a time.
pub fn selects(on: &Selector, member: &Member, when: When) -> bool {
    on.selects(&member.host, member.first, when)
}
