//! A cluster to the next release: one minor at a time, etcd saved first, one master after the other, workers in waves.
//!
//! ```text
//! every host: the new image        first master: etcd snapshot, new kubeadm, kubeadm upgrade apply
//! each node: new kubeadm, kubeadm upgrade node, drained, new kubelet and runtime, uncordoned when it is ready
//! ```
//! A node that does not become ready gets its old kubelet back, and the upgrade stops there. The same again goes on: what is
//! done is known by the nodes' releases, and by journals what was begun.

use std::time::{Duration, Instant};

use kiln_clusterfile::model::Phase as When;
use kiln_host::Stdin;
use kiln_host::command::quote;

use crate::agent::ledger::{Content, Item};
use crate::config::configuration;
use crate::error::{LaunchError, Result};
use crate::event::Event;
use crate::facts::HOME;
use crate::journal::Entry;
use crate::kubectl::{KUBECTL, drain};
use crate::launch::{Launch, Member};
use crate::machine::SHORT;
use crate::phase::{distribute, init, join, registry, rootfs, runtime, verify};
use crate::preflight::{Finding, minor};
use crate::run::each;
use crate::{diagnose, etcd, lint, plugins, run, wait};

/// What journals and events call it.
pub const NAME: &str = "upgrade";
/// Behind the key of a node in its journal: pods were kept away from it before.
const CORDONED: &str = " cordoned";
/// Where a host keeps programs while it is upgraded.
const BEFORE: &str = "/var/lib/kiln/before";

/// How long kubeadm may take on one host.
const LIMIT: Duration = Duration::from_secs(1800);
/// How long pods may take to go.
const DRAIN: Duration = Duration::from_secs(600);
/// Workers that are drained at one time, of a hundred.
const WAVE: usize = 10;

/// Whether one release follows another.
///
/// # Errors
/// When it is older, the same, or more than one minor ahead.
pub fn follows(from: &str, to: &str) -> Result<()> {
    // What comes before a release has a word behind a dash.
    let patch = |version: &str| {
        let last = version.splitn(3, '.').nth(2).unwrap_or_default();
        let number = last.split(['-', '+']).next().and_then(|number| number.parse::<u32>().ok());
        (number.unwrap_or(0), !last.contains('-'))
    };
    let (old, new) = ((minor(from), patch(from)), (minor(to), patch(to)));
    if old == new {
        return Err(LaunchError::Wanted {
            what: format!("the cluster runs {from} already"),
            hint: "another image of the same release is brought by kiln cluster apply".to_owned(),
        });
    }
    if new < old {
        return Err(LaunchError::Wanted {
            what: format!("{to} is older than {from}, which runs"),
            hint: "Kubernetes goes forward only".to_owned(),
        });
    }
    if new.0 > old.0 + 1 {
        let next = old.0 + 1;
        return Err(LaunchError::Wanted {
            what: format!("from {from} to {to} are {} minor releases", new.0 - old.0),
            hint: format!("one at a time: an image of v1.{next} is next"),
        });
    }
    Ok(())
}

/// What would stop an upgrade, or is worth knowing before.
///
/// # Errors
/// When the configuration has mistakes, or the cluster does not answer.
pub fn findings(launch: &Launch, from: &str) -> Result<Vec<Finding>> {
    let mut found = run::check(launch)?;
    found.extend(lint::check(launch, from)?);
    Ok(found)
}

/// What an upgrade would do.
pub fn plan(launch: &Launch, from: &str) -> Vec<String> {
    let mut lines = vec![
        format!("{from} to {}", launch.bundle.kubernetes),
        "bring the image to every host, serve it".to_owned(),
        "save etcd on the first master".to_owned(),
    ];
    for member in &launch.members {
        for task in plugins::tasks(launch, member, &[When::Upgrade, When::UpgradeHost]) {
            lines.push(format!("{}: {}", member.node, task.line()));
        }
        let what = if member.first { "kubeadm upgrade apply" } else { "kubeadm upgrade node" };
        lines.push(format!("{}: {what}, drain, new kubelet and runtime, uncordon", member.node));
    }
    lines
}

/// Upgrades a cluster whose hosts are these.
///
/// # Errors
/// When a step fails: hosts that are done stay so, and the same command goes on with the others.
pub fn upgrade(launch: &Launch, from: &str) -> Result<()> {
    follows(from, &launch.bundle.kubernetes)?;
    others(launch)?;
    let found = findings(launch, from)?;
    if found.iter().any(Finding::is_error) {
        return Err(LaunchError::Preflight(found));
    }
    let first = launch.first()?;
    run::one(launch, &distribute::PHASE)?;
    run::one(launch, &rootfs::PHASE)?;
    for member in &launch.members {
        plugins::run(launch, member, &[When::Upgrade])?;
    }
    run::one(launch, &registry::PHASE)?;
    let (masters, workers): (Vec<Waiting<'_>>, Vec<Waiting<'_>>) =
        waiting(launch, first)?.into_iter().partition(|waiting| waiting.member.is_master());
    if configuration(launch)?.external_etcd {
        launch.note(first, "etcd is elsewhere, and is not saved: that is yours to do");
    } else if masters.iter().any(|waiting| waiting.member.first) {
        // Each attempt has one of its own: that of before the first is worth most.
        let name = format!("{}-{}", quote(from), etcd::DATED);
        // The snapshot is asked for through its kubelet, which an attempt before this one may have started just now.
        until(launch, first, first, "reach its kubelet", |node| answers(first, node))?;
        etcd::snapshot(first, &format!("{HOME}/etcd"), &name)?;
    }
    for master in &masters {
        node(launch, first, master)?;
    }
    for wave in workers.chunks(workers.len().div_ceil(100 / WAVE).max(1)) {
        let errors: Vec<LaunchError> = each(wave, launch.options.parallel, |worker| node(launch, first, worker))
            .into_iter()
            .filter_map(Result::err)
            .collect();
        if !errors.is_empty() {
            return Err(LaunchError::Phase { phase: NAME, errors });
        }
    }
    // Other files of the new image, and markers that say so.
    run::one(launch, &runtime::PHASE)?;
    run::one(launch, &verify::PHASE)?;
    run::keep(launch).map(drop)
}

/// Hosts of the cluster that are not part of this would be left behind.
fn others(launch: &Launch) -> Result<()> {
    let known = |address: &String| launch.members.iter().any(|member| member.host.address().to_string() == *address);
    let record = launch.state.record()?.map(|record| record.hosts).unwrap_or_default();
    let left: Vec<String> = record.into_iter().map(|host| host.address).filter(|address| !known(address)).collect();
    if left.is_empty() {
        return Ok(());
    }
    let left = left.join(",");
    Err(LaunchError::Wanted {
        what: format!("{left} are hosts of the cluster, and not of what is to be upgraded"),
        hint: format!("an upgrade is of all: add them to the Clusterfile, or kiln cluster scale --remove {left}"),
    })
}

/// A node that is to be upgraded.
struct Waiting<'l> {
    member: &'l Member,
    /// Whether its user kept pods away from it before.
    cordoned: bool,
}

/// Nodes that are not done: of another release, not ready, or begun and not ended, as they are still drained.
fn waiting<'l>(launch: &'l Launch, first: &Member) -> Result<Vec<Waiting<'l>>> {
    let nodes = verify::ask(first)?;
    let mut out = Vec::new();
    for member in launch.members.iter().filter(|member| member.is_node()) {
        let node = nodes.iter().find(|node| node.name == member.node);
        let journal = launch.state.journal(member.name())?;
        let begun = journal.entries.into_iter().find(|entry| entry.phase == NAME && entry.state != "done");
        let is_new = node.is_some_and(|node| node.version == launch.bundle.kubernetes && node.ready);
        if is_new && begun.is_none() {
            continue;
        }
        let cordoned = match begun {
            Some(entry) => entry.key.ends_with(CORDONED),
            None => node.is_some_and(|node| node.cordoned),
        };
        out.push(Waiting { member, cordoned });
    }
    Ok(out)
}

/// Upgrades one node, and notes in its journal how far it came.
fn node(launch: &Launch, first: &Member, waiting: &Waiting<'_>) -> Result<()> {
    let Waiting { member, cordoned } = waiting;
    if launch.cancel.is_set() {
        return Err(LaunchError::Cancelled);
    }
    let began = Instant::now();
    let host = member.name().to_owned();
    let key = format!("{}{}", launch.bundle.kubernetes, if *cordoned { CORDONED } else { "" });
    let note = |state: &str, why: String| {
        let entry = Entry { phase: NAME.to_owned(), key: key.clone(), state: state.to_owned(), why };
        launch.state.note(member.name(), entry)
    };
    note("begun", String::new())?;
    match renew(launch, first, waiting) {
        Ok(()) => {
            note("done", String::new())?;
            launch.events.event(Event::Done { phase: NAME, host, took: began.elapsed() });
            Ok(())
        }
        Err(error) => {
            note("failed", error.to_string())?;
            launch.events.event(Event::Failed { phase: NAME, host, why: error.to_string() });
            Err(error)
        }
    }
}

/// What kubeadm keeps first, then the node's own programs. A node that is not well with them gets its old ones back.
fn renew(launch: &Launch, first: &Member, waiting: &Waiting<'_>) -> Result<()> {
    let Waiting { member, .. } = waiting;
    let machine = &member.machine;
    let because = |error: LaunchError| error.because(diagnose::ask(launch, machine));
    plugins::run(launch, member, &[When::UpgradeHost])?;
    runtime::install_kubeadm(launch, member)?;
    let what = match member.first {
        true => format!("apply {} --yes", quote(&launch.bundle.kubernetes)),
        false => "node".to_owned(),
    };
    let line = format!("kubeadm upgrade {what}{}", init::ignored(launch));
    let upgraded = launch.clock.wait(|| machine.succeed_with("upgrade what kubeadm made", &line, Stdin::Empty, LIMIT));
    upgraded.map_err(because)?;
    if member.is_master() {
        launch.clock.wait(|| join::healthy(launch, member))?;
    }
    if let Err(error) = launch.clock.wait(|| drain(&first.machine, &member.node, &launch.bundle.kubernetes, DRAIN)) {
        if let Err(failed) = uncordon(first, waiting) {
            launch.note(member, failed.to_string());
        }
        return Err(error);
    }
    let changed = keep(launch, member).and_then(|()| run::again(launch, &runtime::PHASE, member)).and_then(|()| {
        machine.succeed("start the new kubelet", &launch.service("restart kubelet"))?;
        launch.clock.wait(|| ready(launch, first, member))
    });
    match changed {
        Ok(()) => {}
        Err(error) if error.is_cancelled() => return Err(error),
        Err(error) => {
            let error = because(error);
            back(launch, first, waiting);
            return Err(error);
        }
    }
    if member.is_master() {
        launch.clock.wait(|| join::healthy(launch, member))?;
    }
    uncordon(first, waiting)?;
    machine.succeed("forget its old programs", &format!("rm -rf {BEFORE}")).map(drop)
}

/// Lets pods come to a node again, unless its user kept them away before.
fn uncordon(first: &Member, waiting: &Waiting<'_>) -> Result<()> {
    let node = &waiting.member.node;
    if waiting.cordoned {
        return Ok(());
    }
    first.machine.succeed(&format!("uncordon {node}"), &format!("{KUBECTL} uncordon {}", quote(node))).map(drop)
}

/// Programs of a node that are kept until it is well with new ones: its kubelet, and its runtime where the image has one.
fn programs(launch: &Launch) -> Vec<&'static str> {
    let runtime = ["containerd", "containerd-shim-runc-v2", "runc"];
    let brought = |name: &&str| !launch.is_docker() && launch.bundle.has(&format!("bin/{name}"));
    std::iter::once("kubelet").chain(runtime.into_iter().filter(brought)).collect()
}

/// Keeps the programs of a node. Those that an earlier attempt kept are the old ones, and what is in their place may be new.
fn keep(launch: &Launch, member: &Member) -> Result<()> {
    let line = format!(
        "d={BEFORE}/bin; mkdir -p $d && for p in {}; do [ -e $d/$p ] || [ ! -e /usr/bin/$p ] || \
         cp -p /usr/bin/$p $d/$p.new && {{ [ ! -e $d/$p.new ] || mv $d/$p.new $d/$p; }} || exit 1; done",
        programs(launch).join(" ")
    );
    member.machine.succeed_with("keep its old programs", &line, Stdin::Empty, LIMIT).map(drop)
}

/// Puts the old programs of a node back, and lets pods come again once it is well with them. What fails here is told, and
/// hides nothing of what failed before.
fn back(launch: &Launch, first: &Member, waiting: &Waiting<'_>) {
    let member = waiting.member;
    if let Err(failed) = plugins::run(launch, first, &[When::Rollback]) {
        launch.note(first, failed.to_string());
    }
    if let Err(error) = put_back(launch, member) {
        return launch.note(member, format!("its old kubelet cannot be put back: {error}"));
    }
    launch.note(member, "its old kubelet is put back");
    if let Err(error) = well(launch, first, member).and_then(|()| uncordon(first, waiting)) {
        launch.note(member, format!("no pods come to it until it is well with its old kubelet: {error}"));
    }
}

/// By the ledger of the host: a file in its place that Kiln did not write would be left by a reset.
fn put_back(launch: &Launch, member: &Member) -> Result<()> {
    let machine = &member.machine;
    let said = machine.succeed("look for its old programs", &format!("ls {BEFORE}/bin"))?.text();
    let kept: Vec<&str> = programs(launch).into_iter().filter(|name| said.lines().any(|line| line == *name)).collect();
    let item = |name: &&str| Item {
        to: format!("/usr/bin/{name}"),
        mode: 0o755,
        content: Content::Rootfs(format!("bin/{name}")),
    };
    runtime::install_from(BEFORE, member, kept.iter().map(item).collect())?;
    for service in ["containerd", "kubelet"].into_iter().filter(|service| kept.contains(service)) {
        let line = launch.service(&format!("restart {service}"));
        machine.succeed_with(&format!("start its old {service}"), &line, Stdin::Empty, LIMIT)?;
    }
    machine.succeed("forget its old programs", &format!("rm -rf {BEFORE}")).map(drop)
}

/// Waits until a node is ready with the kubelet that it had.
fn well(launch: &Launch, first: &Member, member: &Member) -> Result<()> {
    let is_well = |node: &verify::Node| node.ready && node.version != launch.bundle.kubernetes;
    until(
        launch,
        first,
        member,
        "have it ready with its old kubelet",
        |node| Ok(is_well(node) && answers(first, node)?),
    )
}

/// Whether the API server reaches the kubelet of a node: one that does not run is ready for some time yet.
fn answers(first: &Member, node: &verify::Node) -> Result<bool> {
    let line =
        format!("{KUBECTL} get --raw {} >/dev/null", quote(&format!("/api/v1/nodes/{}/proxy/healthz", node.name)));
    Ok(first.machine.run("ask for its kubelet", &line, Stdin::Empty, SHORT)?.exit.success())
}

/// Waits until a node is ready with its new kubelet.
fn ready(launch: &Launch, first: &Member, member: &Member) -> Result<()> {
    let to = &launch.bundle.kubernetes;
    let what = format!("have the node {} ready with {to}", member.node);
    until(launch, first, member, &what, |node| Ok(node.ready && node.version == *to && answers(first, node)?))
}

/// Asks for a node until it is as it is to be.
fn until(
    launch: &Launch,
    first: &Member,
    member: &Member,
    what: &str,
    is_so: impl Fn(&verify::Node) -> Result<bool>,
) -> Result<()> {
    let patience = launch.options.patience;
    let lacking = wait::until(launch, patience, Duration::from_secs(1), || {
        // The first master's own API server may be on its way up.
        let nodes = verify::ask(first).unwrap_or_default();
        let own = nodes.into_iter().find(|node| node.name == member.node);
        let is_so = own.as_ref().map_or(Ok(false), &is_so)?;
        Ok((!is_so).then_some(own))
    })?;
    match lacking {
        None => Ok(()),
        Some(own) => Err(LaunchError::TimedOut {
            host: member.name().to_owned(),
            what: what.to_owned(),
            after: patience,
            tail: own.map(|node| format!("{}: {}", node.version, node.why)).into_iter().collect(),
            causes: Vec::new(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_follow_one_minor_at_a_time() {
        for (from, to) in [
            ("v1.20.2", "v1.20.3"),
            ("v1.20.2", "v1.21.0"),
            ("v1.29.9", "v1.30.0-rc.1"),
            ("v1.30.0-rc.1", "v1.30.0"),
            ("v1.20.9", "v1.20.10+k3s1"),
        ] {
            assert!(follows(from, to).is_ok(), "{from} {to}");
        }
        for (from, to, why) in [
            ("v1.20.2", "v1.20.2", "already"),
            ("v1.20.2", "v1.20.1", "older"),
            ("v1.20.2", "v1.22.0", "2 minor releases"),
            ("v1.30.0", "v1.30.0-rc.1", "older"),
        ] {
            assert!(follows(from, to).unwrap_err().to_string().contains(why), "{from} {to}");
        }
    }
}
