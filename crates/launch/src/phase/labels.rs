//! Labels and taints of nodes, as the user says them for their hosts.

use kiln_clusterfile::model::{Label, Phase as When, Role, Taint};
use kiln_host::Stdin;
use kiln_host::command::quote;

use super::join::KUBECTL;
use super::{Order, Phase, Work};
use crate::error::Result;
use crate::launch::{Launch, Member, key};
use crate::machine::SHORT;
use crate::plugins::{self, Deed};

/// The phase.
pub const PHASE: Phase =
    Phase { name: "labels", title: "labels and taints", order: Order::Together, plan, run, undo: None };

/// Words behind `kubectl`, and whether what they are about may be missing already.
pub type Words = (Vec<String>, bool);

/// Sets or removes a label of the node of a host.
pub fn label(member: &Member, label: &Label) -> Words {
    words("label", member, label.to_string(), label.value.is_none())
}

/// Sets or removes a taint of the node of a host.
pub fn taint(member: &Member, taint: &Taint) -> Words {
    words("taint", member, taint.to_string(), taint.remove)
}

fn words(verb: &str, member: &Member, word: String, gone: bool) -> Words {
    let mut words = vec![verb.to_owned(), "node".to_owned(), member.node.clone(), word];
    if !gone {
        words.push("--overwrite".to_owned());
    }
    (words, gone)
}

/// What a node gets: as the user says it for its host, and by plugins.
fn wanted(launch: &Launch, member: &Member) -> Vec<Words> {
    let role = |role: &Role| match role {
        Role::Custom(word) => {
            Some(Label { key: format!("node-role.kubernetes.io/{word}"), value: Some(String::new()) })
        }
        _ => None,
    };
    let roles = member.host.roles.iter().filter_map(|said| role(&said.value));
    let mut labels: Vec<Words> = roles.map(|role| label(member, &role)).collect();
    labels.extend(member.host.labels.iter().map(|said| label(member, &said.value)));
    let mut taints: Vec<Words> = member.host.taints.iter().map(|said| taint(member, &said.value)).collect();
    for task in plugins::tasks(launch, member, &[When::PreGuest]) {
        match task.deed {
            Deed::Label(said) => labels.push(label(member, said)),
            Deed::Taint(said) => taints.push(taint(member, said)),
            _ => {}
        }
    }
    labels.extend(taints);
    labels
}

fn plan(launch: &Launch, member: &Member) -> Result<Option<Work>> {
    let lines: Vec<String> =
        wanted(launch, member).into_iter().map(|(words, _)| format!("kubectl {}", words.join(" "))).collect();
    if lines.is_empty() {
        return Ok(None);
    }
    Ok(Some(Work { key: key(lines.iter().map(String::as_str)), lines, holds: true }))
}

fn run(launch: &Launch, member: &Member) -> Result<()> {
    apply(launch, &wanted(launch, member))
}

/// Has the first master do it.
///
/// # Errors
/// When kubectl fails, unless what is to be removed was not there.
pub fn apply(launch: &Launch, all: &[Words]) -> Result<()> {
    let first = launch.first()?;
    for (words, may_be_gone) in all {
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
