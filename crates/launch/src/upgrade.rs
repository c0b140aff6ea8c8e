//! A cluster to the next release: one minor at a time, etcd saved first, one master after the other, workers in waves.
//!
//! ```text
//! every host: the new image        first master: etcd snapshot, new kubeadm, kubeadm upgrade apply
//! each node: new kubeadm, kubeadm upgrade node, drained, new kubelet and runtime, uncordoned when it is ready
//! ```
//! A node that does not become ready gets its old kubelet back, and the upgrade stops there.

use std::time::{Duration, Instant};

use kiln_clusterfile::model::Phase as When;
use kiln_host::Stdin;
use kiln_host::command::quote;

use crate::agent::ledger::{Content, Item};
use crate::error::{LaunchError, Result};
use crate::event::Event;
use crate::facts::HOME;
use crate::kubectl::{KUBECTL, drain};
use crate::launch::{Launch, Member};
use crate::phase::{distribute, init, registry, rootfs, runtime, verify};
use crate::preflight::minor;
use crate::run::each;
use crate::{diagnose, etcd, plugins, run};

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
    let patch = |version: &str| {
        version.rsplit('.').next().and_then(|p| p.split(['-', '+']).next()?.parse::<u32>().ok()).unwrap_or(0)
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
    let found = run::check(launch)?;
    if found.iter().any(crate::preflight::Finding::is_error) {
        return Err(LaunchError::Preflight(found));
    }
    let first = launch.first()?;
    run::one(launch, &distribute::PHASE)?;
    run::one(launch, &rootfs::PHASE)?;
    for member in &launch.members {
        plugins::run(launch, member, &[When::Upgrade])?;
    }
    run::one(launch, &registry::PHASE)?;
    let done = versions(first)?;
    let is_done = |member: &&Member| {
        done.iter().any(|node| node.name == member.node && node.version == launch.bundle.kubernetes && node.ready)
    };
    if !is_done(&first) {
        etcd::snapshot(first, &format!("{HOME}/etcd"), &quote(&format!("{from}.db")))?;
    }
    let masters: Vec<&Member> = launch.masters().collect();
    let workers: Vec<&Member> = launch.members.iter().filter(|member| !member.is_master()).collect();
    for member in masters.into_iter().filter(|member| !is_done(member)) {
        node(launch, first, member)?;
    }
    let waiting: Vec<&Member> = workers.into_iter().filter(|member| !is_done(member)).collect();
    for wave in waiting.chunks(waiting.len().div_ceil(100 / WAVE).max(1)) {
        let errors: Vec<LaunchError> = each(wave, launch.options.parallel, |member| node(launch, first, member))
            .into_iter()
            .filter_map(Result::err)
            .collect();
        if !errors.is_empty() {
            return Err(LaunchError::Phase { phase: "upgrade", errors });
        }
    }
    // Other files of the new image, and markers that say so.
    run::one(launch, &runtime::PHASE)?;
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

fn versions(first: &Member) -> Result<Vec<verify::Node>> {
    verify::ask(first)
}

/// Upgrades one node.
fn node(launch: &Launch, first: &Member, member: &Member) -> Result<()> {
    let began = Instant::now();
    let machine = &member.machine;
    let (phase, host) = ("upgrade", member.name().to_owned());
    plugins::run(launch, member, &[When::UpgradeHost])?;
    let kubeadm =
        Item { to: "/usr/bin/kubeadm".to_owned(), mode: 0o755, content: Content::Rootfs("bin/kubeadm".to_owned()) };
    runtime::install(launch, member, vec![kubeadm])?;
    let ignored = init::ignored(launch);
    let line = match member.first {
        true => format!("kubeadm upgrade apply {} --yes{ignored}", quote(&launch.bundle.kubernetes)),
        false => "kubeadm upgrade node".to_owned(),
    };
    let upgraded = machine.succeed_with("upgrade what kubeadm made", &line, Stdin::Empty, LIMIT);
    if let Err(error) = upgraded {
        return Err(error.because(diagnose::ask(machine, &launch.options.service_manager)));
    }
    let name = quote(&member.node);
    drain(&first.machine, &member.node, &launch.bundle.kubernetes, DRAIN)?;
    machine.succeed("keep the old kubelet", &format!("cp -p /usr/bin/kubelet {HOME}/kubelet-before"))?;
    let changed = run::again(launch, &runtime::PHASE, member).and_then(|()| {
        machine.succeed("start the new kubelet", &launch.service("restart kubelet"))?;
        ready(launch, first, member)
    });
    if let Err(error) = changed {
        if let Err(failed) = plugins::run(launch, first, &[When::Rollback]) {
            launch.note(first, failed.to_string());
        }
        launch.note(member, "its old kubelet is put back");
        let line = format!(
            "cp -p {HOME}/kubelet-before /usr/bin/kubelet.old && mv -f /usr/bin/kubelet.old /usr/bin/kubelet && {}",
            launch.service("restart kubelet")
        );
        machine.run("put the old kubelet back", &line, Stdin::Empty, LIMIT)?;
        return Err(error.because(diagnose::ask(machine, &launch.options.service_manager)));
    }
    first.machine.succeed(&format!("uncordon {}", member.node), &format!("{KUBECTL} uncordon {name}"))?;
    machine.succeed("forget the old kubelet", &format!("rm -f {HOME}/kubelet-before"))?;
    launch.events.event(Event::Done { phase, host, took: began.elapsed() });
    Ok(())
}

/// Waits until a node is ready with its new kubelet.
fn ready(launch: &Launch, first: &Member, member: &Member) -> Result<()> {
    let began = Instant::now();
    loop {
        // The first master's own API server may be on its way up.
        let nodes = versions(first).unwrap_or_default();
        let own = nodes.iter().find(|node| node.name == member.node);
        if own.is_some_and(|node| node.ready && node.version == launch.bundle.kubernetes) {
            return Ok(());
        }
        if first.machine.is_cancelled() {
            return Err(LaunchError::Cancelled);
        }
        if began.elapsed() > launch.options.patience {
            return Err(LaunchError::TimedOut {
                host: member.name().to_owned(),
                what: format!("have the node {} ready with {}", member.node, launch.bundle.kubernetes),
                after: launch.options.patience,
                tail: own.map(|node| format!("{}: {}", node.version, node.why)).into_iter().collect(),
                causes: Vec::new(),
            });
        }
        std::thread::sleep(Duration::from_secs(1).min(launch.options.patience));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_follow_one_minor_at_a_time() {
        for (from, to) in [("v1.20.2", "v1.20.3"), ("v1.20.2", "v1.21.0"), ("v1.29.9", "v1.30.0-rc.1")] {
            assert!(follows(from, to).is_ok(), "{from} {to}");
        }
        for (from, to, why) in [
            ("v1.20.2", "v1.20.2", "already"),
            ("v1.20.2", "v1.20.1", "older"),
            ("v1.20.2", "v1.22.0", "2 minor releases"),
        ] {
            assert!(follows(from, to).unwrap_err().to_string().contains(why), "{from} {to}");
        }
    }
}
