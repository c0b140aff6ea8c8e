//! Hosts given back as they were found: phases undone in reverse, host by host, whatever state they are in.
//!
//! A host that is down is passed by and named; half a cluster is no obstacle. What remains is told.

use std::time::Instant;

use crate::error::{LaunchError, Result};
use crate::event::Event;
use crate::facts::{HOME, MARKER};
use crate::launch::{Launch, Member};
use crate::phase::LAUNCH;
use crate::run::each;

/// What became of a host.
#[derive(Debug)]
pub struct Given {
    /// Which.
    pub host: String,
    /// What is still there.
    pub remains: Vec<String>,
    /// What could not be undone.
    pub errors: Vec<LaunchError>,
}

/// What a reset would do with a host.
pub fn plan(launch: &Launch, member: &Member) -> Vec<String> {
    if !is_ours(launch, member) {
        return vec!["nothing: it has nothing of this cluster".to_owned()];
    }
    let mut lines = Vec::new();
    if member.facts.is_occupied() || member.facts.is_active("kubelet") {
        lines.push("kubeadm reset".to_owned());
    }
    lines.push("stop services of Kiln, put files back that were there before, remove those that Kiln wrote".to_owned());
    lines.push("remove devices, chains, mounts and directories that came with the cluster".to_owned());
    lines.push(format!("remove {HOME}"));
    lines
}

/// Whether Kiln was at work on a host, for this cluster or for one whose name is not known here.
fn is_ours(launch: &Launch, member: &Member) -> bool {
    let own = |id: &str| launch.id.is_empty() || id == launch.id;
    member.facts.marker_broken || member.facts.marker.as_ref().is_some_and(|marker| own(&marker.id))
}

/// Undoes everything on these hosts: workers and further masters together, the first master last, as the others ask it to
/// let them go.
pub fn run(launch: &Launch, members: &[&Member]) -> Vec<Given> {
    let (first, others): (Vec<&Member>, Vec<&Member>) = members.iter().copied().partition(|member| member.first);
    launch.events.event(Event::Phase { phase: "reset", hosts: members.len() });
    // etcd loses members one at a time.
    let (masters, workers): (Vec<&Member>, Vec<&Member>) = others.into_iter().partition(|member| member.is_master());
    let mut out = each(&workers, launch.options.parallel, |member| host(launch, member));
    out.extend(masters.into_iter().chain(first).map(|member| host(launch, member)));
    out
}

fn host(launch: &Launch, member: &Member) -> Given {
    let began = Instant::now();
    let mut given = Given { host: member.name().to_owned(), remains: Vec::new(), errors: Vec::new() };
    if !is_ours(launch, member) {
        given.remains.push("it has nothing of this cluster: nothing was done".to_owned());
        return given;
    }
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
    let (phase, host) = ("reset", member.name().to_owned());
    if given.errors.is_empty() {
        launch.mark(member, None);
        launch.events.event(Event::Done { phase, host, took: began.elapsed() });
    } else {
        let why = given.errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        launch.events.event(Event::Failed { phase, host, why });
    }
    given
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
