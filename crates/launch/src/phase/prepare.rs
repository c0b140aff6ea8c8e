//! Plugins for hosts as they are found: before a runtime and Kubernetes are installed.

use kiln_clusterfile::model::Phase as When;

use super::{Order, Phase, Work};
use crate::error::Result;
use crate::launch::{Launch, Member, key};
use crate::plugins;

/// The phase.
pub const PHASE: Phase = Phase {
    name: "prepare",
    title: "plugins before anything is installed",
    order: Order::Together,
    plan,
    run,
    undo: None,
};

const TIMES: [When; 2] = [When::PreInstall, When::PreInitHost];

fn plan(launch: &Launch, member: &Member) -> Result<Option<Work>> {
    Ok(work(&plugins::tasks(launch, member, &TIMES), &[]))
}

/// The work of some tasks, if there are any.
pub(super) fn work(tasks: &[plugins::Task<'_>], more: &[&str]) -> Option<Work> {
    let texts: Vec<String> = tasks.iter().map(plugins::Task::text).collect();
    let parts = texts.iter().map(String::as_str).chain(more.iter().copied());
    let lines = tasks.iter().map(plugins::Task::line).collect();
    (!tasks.is_empty()).then(|| Work { key: key(parts), lines, holds: true })
}

fn run(launch: &Launch, member: &Member) -> Result<()> {
    plugins::run(launch, member, &TIMES)
}
