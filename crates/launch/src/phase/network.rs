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

use self::choice::{Network, choose};
use self::manifest::{Adapted, Device, Lack, Wanted, adapted, line};
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
    let (what, line) = match choose(launch)? {
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

fn run(launch: &Launch, member: &Member) -> Result<()> {
    match choose(launch)? {
        Network::None => Ok(()),
        Network::App(name) => match &launch.cluster.network.backend {
            Some(backend) => Err(no_backend(&backend.origin, &name)),
            None => super::guest::app(launch, member, &name),
        },
        Network::Manifests(paths) => {
            // All are looked at before one is applied.
            let files = ready(launch, member, &paths)?;
            files.iter().try_for_each(|file| apply(launch, member, file))
        }
    }
}

/// A manifest, as it is in the image and as it is applied.
struct File {
    path: String,
    own: String,
    made: Adapted,
}

/// Reads manifests, and makes them ready.
fn ready(launch: &Launch, member: &Member, paths: &[String]) -> Result<Vec<File>> {
    let interface = interface(launch);
    let pods = pod_networks(launch)?;
    let mut wanted = Wanted::of(pods.iter().map(String::as_str));
    let backend = launch.cluster.network.backend.as_ref();
    wanted.backend = backend.map(|backend| backend.value);
    if let Some(interface) = &interface {
        wanted = Wanted {
            flags: &interface.flags,
            device: Some(&interface.device),
            is_said: interface.said.is_some(),
            ..wanted
        };
    }
    let mut files = Vec::new();
    for path in paths {
        let from = format!("{}/{path}", launch.bundle.rootfs());
        let own = member.machine.succeed("read the network's manifest", &format!("cat {}", quote(&from)))?.text();
        let made = adapted(&own, &wanted).map_err(|fault| LaunchError::Wanted {
            what: format!("{path}:{}: {fault}", line(&own, fault.span.start)),
            hint: "the image's manifest of the pod network has to be YAML".to_owned(),
        })?;
        match made.lacks {
            Some(lack) => return Err(lacking(path, lack)),
            None => files.push(File { path: path.clone(), own, made }),
        }
    }
    let names = paths.join(", ");
    if let Some(interface) = interface.filter(|_| !files.iter().any(|file| file.made.told)) {
        untold(launch, member, &names, &interface)?;
    }
    if let Some(backend) = backend.filter(|_| !files.iter().any(|file| file.made.backed)) {
        return Err(no_backend(&backend.origin, &names));
    }
    if !files.iter().any(|file| file.made.placed) {
        let pods = pods.join(",");
        launch.note(
            member,
            format!("{names}: no place that Kiln knows for the network of pods {pods}: it has to say so itself"),
        );
    }
    Ok(files)
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
            Err(error) => Err(in_words_of(error, &to, &file.path)),
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
        format!("{}{line}: {} of {}", file.path, kind.kind, kind.version)
    };
    let all: Vec<String> = unknown.iter().map(place).collect();
    let hint = if unknown.iter().any(kinds::Kind::is_kubernetes) {
        format!("put the network's manifest for {release} into the image")
    } else {
        "nothing in the image's manifests of the network defines it: put its definition beside them".to_owned()
    };
    LaunchError::Wanted { what: format!("Kubernetes {release} does not know what is in {}", all.join("; ")), hint }
}

/// The manifest has no place for a device: that the user named one must not go unheeded.
fn untold(launch: &Launch, member: &Member, paths: &str, interface: &Interface) -> Result<()> {
    let flags = interface.flags.join(" ");
    match &interface.said {
        Some(origin) => Err(LaunchError::Wanted {
            what: format!(
                "{origin}: {paths} names a device already, or has no place for one: `--kube-subnet-mgr` of flannel, beside which {flags} would go, the environment of calico-node, an `Installation` of Calico's operator"
            ),
            hint: "leave `interface` out, and say it in the manifest itself".to_owned(),
        }),
        None => {
            launch.note(member, format!("hosts have several addresses, and {paths} chooses among them by itself"));
            Ok(())
        }
    }
}
