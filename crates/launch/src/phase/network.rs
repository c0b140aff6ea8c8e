//! The pod network: the manifest that the image brings, with the network that kubeadm got.

pub mod manifest;

use std::time::Duration;

use kiln_clusterfile::address::{Choice, flannel};
use kiln_clusterfile::model::Cni;
use kiln_host::Stdin;
use kiln_host::command::quote;

use self::manifest::{Lack, Wanted, adapted};
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
/// What the file of Calico's operator is called.
const OPERATOR: &str = "tigera-operator";

/// What makes the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Network {
    /// A manifest of the root file system.
    Manifest(String),
    /// An application of the image, by name; it is launched as the image says.
    App(String),
    /// Nothing that Kiln knows: the image's commands may install one, or the user does.
    None,
}

/// Which network: what the user names, then what the image's builder named, then a manifest whose name is one's.
///
/// # Errors
/// When the user names one that the image does not bring.
pub fn choose(launch: &Launch) -> Result<Network> {
    let said = launch.cluster.network.cni.as_ref().map(|cni| match &cni.value {
        Cni::Flannel => "flannel".to_owned(),
        Cni::Calico => "calico".to_owned(),
        Cni::Weave => "weave".to_owned(),
        Cni::None => String::new(),
        Cni::Other(name) => name.to_lowercase(),
    });
    let bundle = &launch.bundle;
    let manifest = |word: &str| {
        let is = |path: &&str| {
            let name = path.rsplit('/').next().unwrap_or_default().to_lowercase();
            name.contains(word) && [".yml", ".yaml", ".json"].iter().any(|end| name.ends_with(end))
        };
        bundle.below("manifests").map(|(path, _)| path).find(is).map(|path| Network::Manifest(path.to_owned()))
    };
    let app = |word: &str| {
        let found = bundle.spec.apps.iter().find(|app| app.role == "cni" && app.name.to_lowercase().contains(word));
        found.map(|app| Network::App(app.name.clone()))
    };
    match said.as_deref() {
        Some("") => Ok(Network::None),
        Some(word) => app(word)
            .or_else(|| manifest(word))
            .or_else(|| manifest(OPERATOR).filter(|_| word == "calico"))
            .ok_or_else(|| LaunchError::Wanted {
                what: format!("the image brings no pod network called {word}"),
                hint: "put its manifest into manifests/ of the image, or choose `none` and install one afterwards"
                    .to_owned(),
            }),
        None => {
            let known = ["flannel", "calico", "weave", "cilium", OPERATOR];
            Ok(app("").or_else(|| known.into_iter().find_map(manifest)).unwrap_or(Network::None))
        }
    }
}

fn plan(launch: &Launch, member: &Member) -> Result<Option<Work>> {
    if !member.first {
        return Ok(None);
    }
    let pods = pod_networks(launch)?.join(",");
    let digest = launch.bundle.root.digest.to_string();
    let flags = interface(launch).map(|interface| interface.flags).unwrap_or_default();
    let (what, line) = match choose(launch)? {
        Network::Manifest(path) => {
            let with = if flags.is_empty() { String::new() } else { format!(", flannel with {}", flags.join(" ")) };
            let and = resources(launch, &path).map(|path| format!(" and {path}")).unwrap_or_default();
            (path.clone(), format!("apply {path}{and} with the network of pods {pods}{with}"))
        }
        Network::App(name) => (name.clone(), format!("launch the image's {name}")),
        Network::None => return Ok(None),
    };
    let parts = [what.as_str(), pods.as_str(), digest.as_str()].into_iter().chain(flags.iter().map(String::as_str));
    Ok(Some(Work { key: key(parts), lines: vec![line], holds: true }))
}

/// Which of the hosts' devices flannel is to take.
struct Interface {
    /// Arguments of its daemon.
    flags: Vec<String>,
    /// Whether the user says so, and where.
    said: Option<String>,
}

/// The device that the user names; else that of the addresses that were chosen, if hosts have others, too.
fn interface(launch: &Launch) -> Option<Interface> {
    if let Some(name) = &launch.cluster.network.interface {
        let flags = vec![format!("--iface={}", name.value)];
        return Some(Interface { flags, said: Some(name.origin.to_string()) });
    }
    let chosen: Vec<Choice> = launch.members.iter().filter_map(|member| member.chosen.first().cloned()).collect();
    let several = chosen.iter().any(|choice| !choice.others.is_empty());
    several.then(|| Interface { flags: flannel(&chosen), said: None })
}

/// The networks of pods, as kubeadm got them.
fn pod_networks(launch: &Launch) -> Result<Vec<String>> {
    let configuration = configuration(launch)?;
    let pods = configuration.networks.iter().filter(|(what, _)| what == "pods");
    Ok(pods.map(|(_, network)| network.clone()).collect())
}

fn run(launch: &Launch, member: &Member) -> Result<()> {
    match choose(launch)? {
        Network::None => Ok(()),
        Network::App(name) => super::guest::app(launch, member, &name),
        Network::Manifest(path) => {
            let resources = resources(launch, &path);
            std::iter::once(path.as_str()).chain(resources.as_deref()).try_for_each(|path| apply(launch, member, path))
        }
    }
}

/// What Calico's operator makes a network of: a file beside its own.
fn resources(launch: &Launch, path: &str) -> Option<String> {
    let (directory, name) = path.rsplit_once('/')?;
    let ends = [".yml", ".yaml"].map(|end| format!("{directory}/custom-resources{end}"));
    ends.into_iter().find(|path| name.contains(OPERATOR) && launch.bundle.has(path))
}

/// Applies one manifest, with the network of pods in it.
fn apply(launch: &Launch, member: &Member, path: &str) -> Result<()> {
    let machine = &member.machine;
    let from = format!("{}/{path}", launch.bundle.rootfs());
    let text = machine.succeed("read the network's manifest", &format!("cat {}", quote(&from)))?.text();
    // Calico's operator looks for devices by itself.
    let interface = interface(launch).filter(|_| !path.contains(OPERATOR));
    let flags = interface.as_ref().map(|interface| interface.flags.as_slice()).unwrap_or_default();
    let pods = pod_networks(launch)?;
    let made = adapted(&text, &Wanted::of(pods.iter().map(String::as_str), flags));
    if let Some(lack) = made.lacks {
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
        return Err(LaunchError::Wanted { what, hint: hint.to_owned() });
    }
    let text = made.text;
    if let Some(interface) = interface.filter(|_| !made.told) {
        untold(launch, member, path, &interface)?;
    }
    let to = format!("{HOME}/network.yaml");
    machine.write(&to, 0o600, text)?;
    let mut how = "";
    let lacking = wait::until(launch, KINDS.min(launch.options.patience), Duration::from_secs(1), || {
        let apply = |how: &str| {
            let line = format!("{KUBECTL} apply {how}-f {to}");
            machine.succeed_with("apply the network's manifest", &line, Stdin::Empty, LIMIT)
        };
        let mut said = apply(how);
        // What was applied is too large to be kept in an annotation: definitions of Calico's operator are.
        if how.is_empty() && says(&said, "metadata.annotations: Too long") {
            how = "--server-side --force-conflicts ";
            said = apply(how);
        }
        // Definitions of kinds take a moment until the API server knows them.
        match said {
            Ok(_) => Ok(None),
            said if says(&said, "no matches for kind") => Ok(said.err()),
            Err(error) => Err(error),
        }
    })?;
    lacking.map_or(Ok(()), Err)
}

/// Whether a command failed with these words.
fn says<T>(said: &Result<T>, words: &str) -> bool {
    matches!(said, Err(LaunchError::Command { tail, .. }) if tail.iter().any(|line| line.contains(words)))
}

/// The manifest has no place for a device: that the user named one must not go unheeded.
fn untold(launch: &Launch, member: &Member, path: &str, interface: &Interface) -> Result<()> {
    let flags = interface.flags.join(" ");
    match &interface.said {
        Some(origin) => Err(LaunchError::Wanted {
            what: format!(
                "{origin}: {path} names a device already, or has no place for one: `--kube-subnet-mgr` of flannel, behind which {flags} would go, `IP` of calico-node"
            ),
            hint: "leave `interface` out, and say it in the manifest itself".to_owned(),
        }),
        None => {
            launch.note(member, format!("hosts have several addresses, and {path} chooses among them by itself"));
            Ok(())
        }
    }
}
