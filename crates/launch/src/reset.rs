//! Hosts given back as they were found: phases undone in reverse, host by host, whatever state they are in.
//!
//! A host that is down is passed by and named; half a cluster is no obstacle. What remains is told. Plugins for the end
//! come around it, and a failure of one before it leaves everything as it is: it may have been to save something.

use std::time::Instant;

use kiln_clusterfile::model::Phase as When;

use crate::error::{LaunchError, Result};
use crate::event::Event;
use crate::facts::{HOME, MARKER};
use crate::launch::{Launch, Member};
use crate::phase::LAUNCH;
use crate::phase::runtime::was_occupied;
use crate::plugins;
use crate::run::each;

/// What became of a host.
#[derive(Debug)]
pub struct Given {
    /// Which.
    pub host: String,
    /// What is still there.
    pub remains: Vec<String>,
    /// What could not be undone, and plugins that failed.
    pub errors: Vec<LaunchError>,
    /// Whether it is as it was; a plugin behind that may have failed.
    pub is_done: bool,
}

/// What a reset would do with a host.
pub fn plan(launch: &Launch, member: &Member, extent: Extent) -> Vec<String> {
    if !is_ours(launch, member) {
        return vec!["nothing: it has nothing of this cluster".to_owned()];
    }
    let plugins = |own: When, of_all: When| -> Vec<String> {
        let tasks = match extent {
            Extent::Cluster if own == When::PreCleanHost => plugins::tasks(launch, member, &[of_all, own]),
            Extent::Cluster => plugins::tasks(launch, member, &[own, of_all]),
            Extent::Hosts => plugins::of_leaving(launch, member, own, of_all),
        };
        tasks.iter().map(plugins::Task::line).collect()
    };
    let mut lines = plugins(When::PreCleanHost, When::PreUninstall);
    if was_occupied(member) {
        lines.push("leave what was there of Kubernetes before Kiln came".to_owned());
    } else if member.facts.is_occupied() || member.facts.is_active("kubelet") {
        lines.push("kubeadm reset".to_owned());
    }
    lines.push("stop services of Kiln, put files back that were there before, remove those that Kiln wrote".to_owned());
    lines.push("remove devices, chains, mounts and directories that came with the cluster".to_owned());
    lines.push(format!("remove {HOME}"));
    lines.extend(plugins(When::PostCleanHost, When::PostUninstall));
    lines
}

/// What is given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// The whole cluster, which ends.
    Cluster,
    /// Some hosts of it.
    Hosts,
}

/// Whether Kiln was at work on a host, for this cluster or for one whose name is not known here.
fn is_ours(launch: &Launch, member: &Member) -> bool {
    let own = |id: &str| launch.id.is_empty() || id == launch.id;
    member.facts.marker_broken || member.facts.marker.as_ref().is_some_and(|marker| own(&marker.id))
}

/// Undoes everything on these hosts: workers and further masters together, the first master last, as the others ask it to
/// let them go.
///
/// # Errors
/// When a plugin fails that comes before the end of the cluster: nothing is undone then.
pub fn run(launch: &Launch, members: &[&Member], extent: Extent) -> Result<Vec<Given>> {
    if extent == Extent::Cluster {
        let ours = members.iter().filter(|member| is_ours(launch, member));
        ours.copied().try_for_each(|member| plugins::run(launch, member, &[When::PreUninstall])).map_err(kept)?;
    }
    let (first, others): (Vec<&Member>, Vec<&Member>) = members.iter().copied().partition(|member| member.first);
    launch.events.event(Event::Phase { phase: "reset", hosts: members.len() });
    // etcd loses members one at a time.
    let (masters, workers): (Vec<&Member>, Vec<&Member>) = others.into_iter().partition(|member| member.is_master());
    let mut out = each(&workers, launch.options.parallel, |member| host(launch, member, extent));
    out.extend(masters.into_iter().chain(first).map(|member| host(launch, member, extent)));
    if extent == Extent::Cluster {
        for given in out.iter_mut().filter(|given| given.is_done) {
            let member = members.iter().find(|member| member.name() == given.host);
            let behind = member.map(|member| plugins::run(launch, member, &[When::PostUninstall]));
            given.errors.extend(behind.and_then(Result::err));
        }
    }
    Ok(out)
}

/// A plugin before the end failed.
fn kept(error: LaunchError) -> LaunchError {
    if error.is_cancelled() {
        return error;
    }
    let what = std::iter::once(error.to_string()).chain(error.details()).collect::<Vec<_>>().join("\n");
    let hint = "nothing was given back: put that right, or leave the Clusterfile out, and plugins are not run";
    LaunchError::Wanted { what, hint: hint.to_owned() }
}

fn host(launch: &Launch, member: &Member, extent: Extent) -> Given {
    let began = Instant::now();
    let host = member.name().to_owned();
    let mut given = Given { host, remains: Vec::new(), errors: Vec::new(), is_done: false };
    if !is_ours(launch, member) {
        given.remains.push("it has nothing of this cluster: nothing was done".to_owned());
        return given;
    }
    let plugins = |own: When, of_all: When| match extent {
        Extent::Cluster => plugins::run(launch, member, &[own]),
        Extent::Hosts => {
            let tasks = plugins::of_leaving(launch, member, own, of_all);
            tasks.iter().try_for_each(|task| plugins::one(launch, member, task))
        }
    };
    match plugins(When::PreCleanHost, When::PreUninstall) {
        Ok(()) => {
            undo(launch, member, &mut given);
            given.is_done = given.errors.is_empty();
            if given.is_done {
                launch.mark(member, None);
                given.errors.extend(plugins(When::PostCleanHost, When::PostUninstall).err());
            }
        }
        Err(error) => given.errors.push(kept(error)),
    }
    let (phase, host) = ("reset", member.name().to_owned());
    if given.errors.is_empty() {
        launch.events.event(Event::Done { phase, host, took: began.elapsed() });
    } else {
        let why = given.errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        launch.events.event(Event::Failed { phase, host, why });
    }
    given
}

/// Undoes every phase, the last one first.
fn undo(launch: &Launch, member: &Member, given: &mut Given) {
    for phase in LAUNCH.iter().rev() {
        let Some(undo) = phase.undo else { continue };
        // What could not be undone keeps Kiln's directory, from which it can be tried again.
        if phase.name == "distribute" && !given.errors.is_empty() {
            break;
        }
        match undo(launch, member) {
            Ok(remains) => given.remains.extend(remains),
            Err(error) => given.errors.push(error),
        }
    }
}

/// Looks whether a host is as it was: what of Kiln and Kubernetes is still there.
///
/// # Errors
/// When it does not answer.
pub fn verify(launch: &Launch, member: &Member) -> Result<Vec<String>> {
    let facts = crate::facts::ask(&member.machine, &launch.options.service_manager)?;
    let mut remains = Vec::new();
    if facts.marker.is_some() || facts.marker_broken {
        remains.push(format!("{MARKER} is there"));
    }
    let kubernetes = facts.paths.iter().filter(|path| path.starts_with("/etc/kubernetes/"));
    remains.extend(kubernetes.map(|path| format!("{path} is there")));
    if facts.is_active("kubelet") {
        remains.push("kubelet runs".to_owned());
    }
    // One that has several addresses is there once.
    let devices: std::collections::BTreeSet<&String> = facts.addresses.iter().map(|(device, ..)| device).collect();
    let devices = devices.into_iter().filter(|device| crate::agent::sweep::is_device(device));
    remains.extend(devices.map(|device| format!("the device {device} is there")));
    Ok(remains)
}
