//! The pod network: the manifests that the image brings, with the network that kubeadm got.

pub mod calico;
pub mod choice;
pub mod cilium;
pub mod edits;
pub mod flannel;
pub mod kinds;
pub mod manifest;
pub mod weave;

use std::time::Duration;

use kiln_clusterfile::address::{self, Choice};
use kiln_clusterfile::model::Origin;
use kiln_host::Stdin;
use kiln_host::command::quote;
use kiln_spec::source::Source;

use self::choice::{Network, choose};
use self::manifest::{Adapted, Device, Lack, Wanted, adapted};
use super::join::KUBECTL;
use super::{Order, Phase, Work};
use crate::config::configuration;
use crate::error::{LaunchError, Result};
use crate::facts::HOME;
use crate::launch::{Launch, Member, key};
use crate::wait;

/// The phase.
pub const PHASE: Phase =
    Phase { name: "network", title: "the pod network", order: Order::Serial, plan, run, undo: None };

const LIMIT: Duration = Duration::from_secs(180);
/// How long the API server may take to know the kinds that a manifest defines.
const KINDS: Duration = Duration::from_secs(60);

fn plan(launch: &Launch, member: &Member) -> Result<Option<Work>> {
    if !member.first {
        return Ok(None);
    }
    let pods = pod_networks(launch)?.join(",");
    let digest = launch.bundle.root.digest.to_string();
    let flags = interface(launch).map(|interface| interface.flags).unwrap_or_default();
    let backend = launch.cluster.network.backend.as_ref().map(|backend| backend.value.name());
    let (what, line) = match chosen(launch)? {
        Network::Manifests(paths) => {
            let with = if flags.is_empty() { String::new() } else { format!(", flannel with {}", flags.join(" ")) };
            let by = backend.map(|backend| format!(", by {backend}")).unwrap_or_default();
            (paths.join(" "), format!("apply {} with the network of pods {pods}{with}{by}", paths.join(", ")))
        }
        Network::App(name) => (name.clone(), format!("launch the image's {name}")),
        Network::None => return Ok(None),
    };
    let parts = [what.as_str(), pods.as_str(), digest.as_str()].into_iter().chain(flags.iter().map(String::as_str));
    let parts = parts.chain(backend);
    Ok(Some(Work { key: key(parts), lines: vec![line], holds: true }))
}

/// Which of the hosts' devices the network is to take.
struct Interface {
    /// Arguments of flannel's daemon.
    flags: Vec<String>,
    /// What others are told.
    device: Device,
    /// Whether the user says so, and where.
    said: Option<String>,
}

/// The device that the user names; else that of the addresses that were chosen, if hosts have others, too.
fn interface(launch: &Launch) -> Option<Interface> {
    if let Some(name) = &launch.cluster.network.interface {
        let flags = vec![format!("--iface={}", name.value)];
        return Some(Interface {
            flags,
            device: Device::Named(name.value.clone()),
            said: Some(name.origin.to_string()),
        });
    }
    let chosen: Vec<Choice> = launch.members.iter().filter_map(|member| member.chosen.first().cloned()).collect();
    if !chosen.iter().any(|choice| !choice.others.is_empty()) {
        return None;
    }
    let name = &chosen.first()?.interface;
    let device = if launch.members.iter().flat_map(|member| &member.chosen).all(|choice| choice.interface == *name) {
        Device::Named(name.clone())
    } else {
        let first = launch.members.iter().find(|member| member.first);
        Device::Towards(first.into_iter().flat_map(|first| &first.chosen).map(|choice| choice.address).collect())
    };
    Some(Interface { flags: address::flannel(&chosen), device, said: None })
}

/// The networks of pods, as kubeadm got them.
///
/// # Errors
/// When kubeadm's configuration cannot be made.
pub fn pod_networks(launch: &Launch) -> Result<Vec<String>> {
    let configuration = configuration(launch)?;
    let pods = configuration.networks.iter().filter(|(what, _)| what == "pods");
    Ok(pods.map(|(_, network)| network.clone()).collect())
}

/// Looks for what a launch would stumble over in this phase, before anything is changed: as far as manifests are known here,
/// which those are not that are changed for hosts.
///
/// # Errors
/// What the phase would fail with.
pub fn check(launch: &Launch) -> Result<()> {
    let Some(first) = launch.members.iter().find(|member| member.first) else { return Ok(()) };
    if super::work(&PHASE, launch, first)?.is_none() {
        return Ok(());
    }
    let Network::Manifests(paths) = chosen(launch)? else { return Ok(()) };
    let own = |path: &String| Some(Source { name: path.clone(), text: launch.bundle.networks.get(path)?.clone() });
    let known: Option<Vec<Source>> = paths.iter().map(own).collect();
    known.map_or(Ok(()), |known| ready(launch, known).map(|_| ()))
}

/// The network, if it can be what else is said of it.
fn chosen(launch: &Launch) -> Result<Network> {
    let chosen = choose(launch)?;
    let Some(backend) = &launch.cluster.network.backend else { return Ok(chosen) };
    match &chosen {
        Network::Manifests(_) => Ok(chosen),
        Network::App(name) => Err(no_backend(&backend.origin, name)),
        Network::None => Err(no_backend(&backend.origin, "the image")),
    }
}

fn run(launch: &Launch, member: &Member) -> Result<()> {
    match chosen(launch)? {
        Network::None => Ok(()),
        Network::App(name) => super::guest::app(launch, member, &name),
        Network::Manifests(paths) => {
            let read = |name: String| {
                let from = quote(&format!("{}/{name}", launch.bundle.rootfs()));
                let said = member.machine.succeed("read the network's manifest", &format!("cat {from}"))?;
                Ok(Source { name, text: said.text() })
            };
            // All are looked at before one is applied.
            let (files, notes) = ready(launch, paths.into_iter().map(read).collect::<Result<_>>()?)?;
            notes.into_iter().for_each(|note| launch.note(member, note));
            files.iter().try_for_each(|file| apply(launch, member, file))
        }
    }
}

/// A manifest, as it is in the image and as it is applied.
struct File {
    own: Source,
    made: Adapted,
}

/// Makes manifests ready, and says what the user is to know of that.
fn ready(launch: &Launch, manifests: Vec<Source>) -> Result<(Vec<File>, Vec<String>)> {
    let interface = interface(launch);
    let pods = pod_networks(launch)?;
    let mut wanted = Wanted::of(pods.iter().map(String::as_str));
    let backend = launch.cluster.network.backend.as_ref();
    wanted.backend = backend.map(|backend| backend.value);
    if let Some(interface) = &interface {
        wanted.flags = &interface.flags;
        wanted.device = Some(&interface.device);
        wanted.is_said = interface.said.is_some();
    }
    let mut files = Vec::new();
    for own in manifests {
        let made = adapted(&own.text, &wanted).map_err(|fault| LaunchError::Wanted {
            what: format!("{}:{}: {fault}", own.name, own.position(fault.span.start).0),
            hint: "the image's manifest of the pod network has to be YAML".to_owned(),
        })?;
        match made.lacks {
            Some(lack) => return Err(lacking(&own.name, lack)),
            None => files.push(File { own, made }),
        }
    }
    let names = files.iter().map(|file| file.own.name.as_str()).collect::<Vec<_>>().join(", ");
    if let Some(backend) = backend.filter(|_| !files.iter().any(|file| file.made.backed)) {
        return Err(no_backend(&backend.origin, &names));
    }
    let mut notes = Vec::new();
    if let Some(interface) = interface.filter(|_| !files.iter().any(|file| file.made.told)) {
        notes.push(untold(&names, &interface)?);
    }
    if !files.iter().any(|file| file.made.placed) {
        let pods = pods.join(",");
        notes
            .push(format!("{names}: no place that Kiln knows for the network of pods {pods}: it has to say so itself"));
    }
    Ok((files, notes))
}

/// A backend that is said goes to flannel's manifest, and nowhere else.
fn no_backend(origin: &Origin, what: &str) -> LaunchError {
    LaunchError::Wanted {
        what: format!("{origin}: {what} has no `net-conf.json`, which a backend of flannel is said in"),
        hint: "leave `backend` out, and say it where the network is configured".to_owned(),
    }
}

fn lacking(path: &str, lack: Lack) -> LaunchError {
    let (what, hint) = match lack {
        Lack::Six(what) => (
            format!("{path} gives pods no addresses of IPv6: it lacks {what}"),
            "put it there, or bring another network, or write networks of pods and services of IPv4 only",
        ),
        Lack::Network(what) => (
            format!("{path} has no place for the network of pods: it lacks {what}"),
            "put it there: Kiln writes the network into it",
        ),
    };
    LaunchError::Wanted { what, hint: hint.to_owned() }
}

/// Applies one manifest.
fn apply(launch: &Launch, member: &Member, file: &File) -> Result<()> {
    let machine = &member.machine;
    let to = format!("{HOME}/network.yaml");
    machine.write(&to, 0o600, file.made.text.as_str())?;
    let mut how = "";
    let lacking = wait::until(launch, KINDS.min(launch.options.patience), Duration::from_secs(1), || {
        let apply = |how: &str| {
            let line = format!("{KUBECTL} apply {how}-f {to}");
            machine.succeed_with("apply the network's manifest", &line, Stdin::Empty, LIMIT)
        };
        let mut said = apply(how);
        // What was applied is too large to be kept in an annotation: definitions of Calico's operator are.
        if how.is_empty() && words(&said).iter().any(|line| line.contains("metadata.annotations: Too long")) {
            how = "--server-side --force-conflicts ";
            said = apply(how);
        }
        // Definitions of kinds take a moment until the API server knows them; those of Kubernetes itself it knows or not.
        let unknown = kinds::unknown(words(&said));
        match said {
            Ok(_) => Ok(None),
            Err(_) if unknown.iter().any(kinds::Kind::is_kubernetes) => Err(nobody_knows(launch, file, &unknown)),
            Err(_) if !unknown.is_empty() => Ok(Some(unknown)),
            Err(error) => Err(in_words_of(error, &to, &file.own.name)),
        }
    })?;
    lacking.map_or(Ok(()), |unknown| Err(nobody_knows(launch, file, &unknown)))
}

/// Lines that a command failed with.
fn words<T>(said: &Result<T>) -> &[String] {
    match said {
        Err(LaunchError::Command { tail, .. }) => tail,
        _ => &[],
    }
}

/// An error about a file that the user knows by another name.
fn in_words_of(mut error: LaunchError, to: &str, path: &str) -> LaunchError {
    if let LaunchError::Command { tail, .. } = &mut error {
        tail.iter_mut().for_each(|line| *line = line.replace(to, path));
    }
    error
}

/// Kinds that the API server does not know.
fn nobody_knows(launch: &Launch, file: &File, unknown: &[kinds::Kind]) -> LaunchError {
    let release = &launch.bundle.kubernetes;
    let place = |kind: &kinds::Kind| {
        let line = kind.line(&file.own).map(|line| format!(":{line}")).unwrap_or_default();
        format!("{}{line}: {} of {}", file.own.name, kind.kind, kind.version)
    };
    let all: Vec<String> = unknown.iter().map(place).collect();
    let hint = if unknown.iter().any(kinds::Kind::is_kubernetes) {
        format!("put the network's manifest for {release} into the image")
    } else {
        "nothing in the image's manifests of the network defines it: put its definition beside them".to_owned()
    };
    LaunchError::Wanted { what: format!("Kubernetes {release} does not know what is in {}", all.join("; ")), hint }
}

/// The manifest has no place for a device: that the user named one must not go unheeded; what Kiln would choose is told.
fn untold(paths: &str, interface: &Interface) -> Result<String> {
    let flags = interface.flags.join(" ");
    let Some(origin) = &interface.said else {
        return Ok(format!("hosts have several addresses, and {paths} chooses among them by itself"));
    };
    Err(LaunchError::Wanted {
        what: format!(
            "{origin}: {paths} names a device already, or has no place for one: `--kube-subnet-mgr` of flannel, beside which {flags} would go, the environment of calico-node, an `Installation` of Calico's operator"
        ),
        hint: "leave `interface` out, and say it in the manifest itself".to_owned(),
    })
}
