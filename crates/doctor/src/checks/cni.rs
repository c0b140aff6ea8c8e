//! Plugins and their configuration.

use super::Severity::{Error, Warning};
use super::{Found, Row};
use crate::Fleet;
use crate::facts::HostFacts;
use crate::facts::cni::File;

/// Versions of the format that plugins know: the CNI specification's.
const VERSIONS: [&str; 9] = ["", "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0", "1.2.0"];

/// The rows.
pub const ROWS: &[Row] = &[
    Row {
        id: "cni.no-config",
        severity: Error,
        line: "the host has no configuration of a pod network",
        symptoms: &[
            "network plugin is not ready: cni config uninitialized",
            "cni config unintialized; Skipping pod",
            "NetworkPluginNotReady message:Network plugin returns error: cni plugin not initialized",
            "node is NotReady, pods stay in ContainerCreating",
        ],
        cause: "No pod network was installed, or its pod did not start on this host: it writes the file when it starts.",
        remedy: "Install a pod network (kubectl apply -f kube-flannel.yml); if there is one, look why its pod does not start here.",
        after: &["control.interrupted-init", "control.no-container"],
        check: no_config,
    },
    Row {
        id: "cni.invalid-config",
        severity: Error,
        line: "a configuration of the pod network cannot be used",
        symptoms: &["Error loading CNI config file", "error parsing configuration list", "no plugins in list"],
        cause: "Runtimes skip such a file: they take the next one, or none at all.",
        remedy: "Mend the file, or delete it and start the pod that writes it again.",
        after: &[],
        check: invalid,
    },
    Row {
        id: "cni.two-configs",
        severity: Warning,
        line: "two pod networks are configured; the runtime takes the first by name",
        symptoms: &["pods get addresses of the wrong network", "plugin type=\"calico\" failed (add)"],
        cause: "A pod network was replaced by another, and its file stayed; kubeadm reset does not delete it either.",
        remedy: "Delete the file of the network that is no longer used from the directory of configuration.",
        after: &[],
        check: two,
    },
    Row {
        id: "cni.plugin-missing",
        severity: Error,
        line: "a plugin that the configuration names is not installed",
        symptoms: &[
            "failed to find plugin \"flannel\" in path [/opt/cni/bin]",
            "failed to find plugin \"portmap\" in path [/opt/cni/bin]",
            "failed to find plugin \"loopback\" in path [/opt/cni/bin]",
        ],
        cause: "flannel's pod installs only `flannel`, and containernetworking/plugins since 1.0 does not have it: both are needed.",
        remedy: "Install containernetworking/plugins into that directory (package kubernetes-cni); start flannel's pod again for `flannel`.",
        after: &[],
        check: missing,
    },
    Row {
        id: "cni.plugin-unusable",
        severity: Error,
        line: "a plugin that the configuration names cannot be run",
        symptoms: &["exec format error", "permission denied: /opt/cni/bin/", "fork/exec /opt/cni/bin/"],
        cause: "The file may not be executed, is cut off, or is for another kind of machine.",
        remedy: "Install the plugin again, for this machine.",
        after: &[],
        check: unusable,
    },
    Row {
        id: "cni.detached-pods",
        severity: Error,
        line: "pods are on no bridge: nothing reaches them",
        symptoms: &[
            "pods that run lost their network, new ones have it",
            "Destination Host Unreachable (pods of the same node)",
            "readiness probe failed: connect: no route to host",
        ],
        cause: "The bridge was deleted (ip link delete cni0) or made anew while pods were on it, or a network manager took their devices off it: nothing puts them back.",
        remedy: "Delete the pods of this host that are on it no longer: they are made again with new devices. Drain a host before its bridge is deleted.",
        after: &["machine.network-manager", "machine.networkd"],
        check: detached,
    },
    Row {
        id: "cni.version",
        severity: Error,
        line: "the configuration is in a version that no plugin knows",
        symptoms: &["incompatible CNI versions", "unsupported CNI result version"],
        cause: "`cniVersion` is misspelt, or of a later specification than the plugins.",
        remedy: "Set `cniVersion` to one that all its plugins say they know (CNI_COMMAND=VERSION); 0.3.1 is known to all in use.",
        after: &[],
        check: version,
    },
];

fn hosts(fleet: &Fleet) -> impl Iterator<Item = &HostFacts> {
    fleet.hosts.iter().filter(|host| host.is_node())
}

fn no_config(fleet: &Fleet) -> Vec<Found> {
    let bare = hosts(fleet).filter(|host| host.cni.files.is_empty() && !host.cni.directory.is_empty());
    let unread = |host: &&HostFacts| !host.unread.iter().any(|unread| unread.what == host.cni.directory);
    let seen = |host: &HostFacts| format!("{} has no *.conf, *.conflist or *.json", host.cni.directory);
    bare.filter(unread).map(|host| Found::on(&host.name, seen(host))).collect()
}

fn invalid(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for host in hosts(fleet) {
        for file in &host.cni.files {
            if let Some(error) = &file.error {
                out.push(Found::on(&host.name, format!("{}/{} {error}", host.cni.directory, file.name)));
            }
        }
    }
    out
}

/// Two files of one network are no conflict: the later is never read.
fn two(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for host in hosts(fleet) {
        let usable: Vec<_> = host.cni.files.iter().filter(|file| file.error.is_none()).collect();
        let Some(first) = usable.first() else { continue };
        // A meta-plugin has the others' files on purpose.
        let meta =
            ["multus", "multus-shim", "multus-cni", "genie"].iter().any(|name| first.plugins.iter().any(|p| p == name));
        for other in usable.iter().skip(1).filter(|file| !meta && !is_packages(file)) {
            if other.plugins.first() != first.plugins.first() {
                let kind = |file: &File| file.plugins.first().cloned().unwrap_or_default();
                let (a, b) = (kind(first), kind(other));
                let seen = format!("{}/{} ({a}) is taken, {} ({b}) is not", host.cni.directory, first.name, other.name);
                out.push(Found::on(&host.name, seen));
            }
        }
    }
    out
}

/// Files that packages bring for other programs, behind all others by their names: podman's bridge, CRI-O's, loopback.
fn is_packages(file: &File) -> bool {
    let starts = ["87-podman", "100-crio", "11-crio", "10-crio", "200-loopback", "99-loopback"];
    starts.iter().any(|start| file.name.starts_with(start)) || file.plugins == ["loopback"]
}

/// The plugins that are called: those of the first file, and loopback for every pod.
fn called(host: &HostFacts) -> Vec<&str> {
    let Some(file) = host.cni.active().filter(|file| file.error.is_none()) else { return Vec::new() };
    let mut names: Vec<&str> = file.plugins.iter().map(String::as_str).collect();
    names.push("loopback");
    names.dedup();
    names
}

fn missing(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for host in hosts(fleet) {
        let there = |name: &&str| host.cni.binaries.iter().any(|binary| binary.name == **name);
        let names: Vec<&str> = called(host).into_iter().filter(|name| !there(name)).collect();
        // containerd 1.6 and later does loopback itself.
        let only_loopback = names == ["loopback"] && host.kube.running("containerd", host.kernel.as_ref());
        if !names.is_empty() && !only_loopback {
            out.push(Found::on(&host.name, format!("{} has no {}", host.cni.programs, names.join(", "))));
        }
    }
    out
}

fn unusable(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for host in hosts(fleet) {
        let machine = match host.system.arch.as_str() {
            "x86_64" => 62,
            "aarch64" => 183,
            _ => 0,
        };
        for binary in called(host).iter().filter_map(|name| host.cni.binaries.iter().find(|b| b.name == *name)) {
            let path = format!("{}/{}", host.cni.programs, binary.name);
            let why = match binary.machine {
                _ if !binary.executable => "may not be executed".to_owned(),
                None => "is no program".to_owned(),
                Some(other) if machine != 0 && other != 0 && other != machine => {
                    format!("is for another machine (number {other} of ELF) than {}", host.system.arch)
                }
                Some(_) => continue,
            };
            out.push(Found::on(&host.name, format!("{path} {why}")));
        }
    }
    out
}

/// Devices as the plugin `bridge` makes them, whose other ends are in namespaces: each is a port of a bridge as long as
/// it is of any use.
fn detached(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for (host, kernel) in fleet.nodes().filter(|(host, _)| host.cni.uses("bridge")) {
        let tables = &kernel.tables;
        let bare = tables.links.iter().filter(|link| {
            let made = link.name.strip_prefix("veth").is_some_and(|rest| rest.len() == 8);
            let routed = || tables.routes.iter().any(|route| route.link == Some(link.index) && route.to.ip.is_ipv4());
            made && link.kind.as_deref() == Some("veth")
                && link.elsewhere
                && link.master.is_none()
                && tables.addresses_of(link).all(|address| address.ip.is_ipv6())
                && !routed()
        });
        let names: Vec<&str> = bare.map(|link| link.name.as_str()).collect();
        if let Some(first) = names.first() {
            out.push(Found::on(&host.name, format!("{} devices of pods are on no bridge: {first}", names.len())));
        }
    }
    out
}

fn version(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for host in hosts(fleet) {
        let file = host.cni.active().filter(|file| file.error.is_none() && !VERSIONS.contains(&file.version.as_str()));
        if let Some(file) = file {
            let seen = format!("{}/{} has cniVersion {:?}", host.cni.directory, file.name, file.version);
            out.push(Found::on(&host.name, seen));
        }
    }
    out
}
