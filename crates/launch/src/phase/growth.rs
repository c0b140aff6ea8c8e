//! Plugins around hosts that join a cluster which ran before.
//!
//! That a host joined so is in its marker: what comes behind joining is done also when the launch stopped in between, and
//! the cluster looks as if it had always had the host.

use kiln_clusterfile::model::Phase as When;

use super::prepare::work;
use super::{Order, Phase, Work};
use crate::error::Result;
use crate::launch::{Launch, Member};
use crate::plugins;

/// Before hosts join.
pub const BEFORE: Phase = Phase {
    name: "before-join",
    title: "plugins before hosts join a cluster that runs",
    order: Order::Together,
    plan: plan_before,
    run: run_before,
    undo: None,
};

/// Once they have.
pub const AFTER: Phase = Phase {
    name: "after-join",
    title: "plugins once hosts have joined it",
    order: Order::Together,
    plan: plan_after,
    run: run_after,
    undo: None,
};

/// Whether a phase was done on a host before this launch.
fn was_done(launch: &Launch, member: &Member, phase: &str) -> bool {
    member.facts.marker.as_ref().is_some_and(|marker| marker.id == launch.id && marker.done.contains_key(phase))
}

/// Whether the cluster ran before this launch, and a host is to join it now.
fn is_new(launch: &Launch, member: &Member) -> bool {
    let ran = launch.members.iter().any(|other| other.first && was_done(launch, other, super::verify::PHASE.name));
    let joined = [super::join::MASTERS.name, super::join::WORKERS.name];
    ran && member.is_node() && !member.first && !joined.iter().any(|phase| was_done(launch, member, phase))
}

/// What was begun on a host before it joined, and is not done behind it.
fn open(launch: &Launch, member: &Member) -> Option<String> {
    let marker = launch.marker(member)?;
    let begun = marker.done.get(BEFORE.name)?;
    (marker.done.get(AFTER.name) != Some(begun)).then(|| begun.clone())
}

/// Whether a host is one of those that join a cluster which ran before.
pub fn joins(launch: &Launch, member: &Member) -> bool {
    is_new(launch, member) || (!member.first && open(launch, member).is_some())
}

/// What is to be done on a host before and behind joining, with a key for both.
fn planned(launch: &Launch, member: &Member) -> Option<Work> {
    let new: Vec<&str> =
        launch.members.iter().filter(|member| is_new(launch, member)).map(|member| member.node.as_str()).collect();
    if new.is_empty() || !(member.first || is_new(launch, member)) {
        return None;
    }
    work(&plugins::tasks(launch, member, &[When::PreScaleUp, When::PostScaleUp]), &new)
}

fn plan_before(launch: &Launch, member: &Member) -> Result<Option<Work>> {
    let tasks = plugins::tasks(launch, member, &[When::PreScaleUp]);
    Ok(planned(launch, member).map(|work| {
        let mut lines: Vec<String> = tasks.iter().map(plugins::Task::line).collect();
        if lines.is_empty() {
            lines.push("remember that it joins: plugins come behind it".to_owned());
        }
        Work { lines, ..work }
    }))
}

fn run_before(launch: &Launch, member: &Member) -> Result<()> {
    plugins::run(launch, member, &[When::PreScaleUp])
}

fn plan_after(launch: &Launch, member: &Member) -> Result<Option<Work>> {
    let tasks = plugins::tasks(launch, member, &[When::PostScaleUp]);
    let key = planned(launch, member).map(|work| work.key).or_else(|| open(launch, member));
    let Some(key) = key.filter(|_| !tasks.is_empty()) else { return Ok(None) };
    Ok(Some(Work { key, lines: tasks.iter().map(plugins::Task::line).collect(), holds: true }))
}

fn run_after(launch: &Launch, member: &Member) -> Result<()> {
    plugins::run(launch, member, &[When::PostScaleUp])
}
