//! What a reset left behind, on hosts that are in no cluster.

use super::Severity::Warning;
use super::{Found, Row};
use crate::Fleet;
use crate::facts::HostFacts;

/// The rows.
pub const ROWS: &[Row] = &[
    Row {
        id: "leftover.devices",
        severity: Warning,
        line: "devices of an earlier cluster are left on a host that is in none",
        symptoms: &[
            "\"cni0\" already has an IP address different from",
            "kubeadm reset does not remove cni0 and flannel.1",
        ],
        cause: "kubeadm reset does not delete what the pod network made.",
        remedy: "kiln doctor fix leftover.devices deletes them (ip link delete cni0; ip link delete flannel.1).",
        after: &[],
        check: leftover_devices,
    },
    Row {
        id: "leftover.chains",
        severity: Warning,
        line: "rules of an earlier cluster are left on a host that is in none",
        symptoms: &["The reset process does not reset or clean up iptables rules or IPVS tables", "KUBE-SERVICES"],
        cause: "kubeadm reset does not delete rules.",
        remedy: "kiln doctor fix leftover.chains deletes the chains KUBE-*, CNI-*, FLANNEL-* and cali-* and the rules that jump to them, and keeps all others; or reboot.",
        after: &[],
        check: leftover_chains,
    },
    Row {
        id: "leftover.services",
        severity: Warning,
        line: "services of an earlier cluster are left in IPVS on a host that is in none",
        symptoms: &[
            "The reset process does not reset or clean up iptables rules or IPVS tables",
            "reset your system's IPVS tables: ipvsadm --clear",
            "connection refused (addresses of services)",
        ],
        cause: "kubeadm reset does not delete them; kube-proxy in mode ipvs made them.",
        remedy: "ipvsadm --clear, if nothing else on the host uses IPVS; or reboot.",
        after: &[],
        check: leftover_services,
    },
    Row {
        id: "leftover.config",
        severity: Warning,
        line: "the configuration of an earlier pod network is left on a host that is in no cluster",
        symptoms: &[
            "The reset process does not clean CNI configuration. To do so, you must remove /etc/cni/net.d",
            "pods use the old network",
        ],
        cause: "kubeadm reset does not delete /etc/cni/net.d (it did before 1.17).",
        remedy: "Delete the files in /etc/cni/net.d before the host joins again.",
        after: &[],
        check: leftover_config,
    },
];

/// Hosts that are in no cluster.
fn free(fleet: &Fleet) -> impl Iterator<Item = &HostFacts> {
    fleet.hosts.iter().filter(|host| !host.is_node())
}

/// Devices that only a pod network makes.
pub fn left_devices(host: &HostFacts) -> Vec<&str> {
    let links = host.tables().map(|tables| tables.links.as_slice()).unwrap_or_default();
    let made = |name: &str| {
        matches!(name, "cni0" | "kube-ipvs0" | "vxlan.calico" | "nodelocaldns" | "weave" | "flannel0")
            || name.starts_with("flannel.")
            || name.starts_with("flannel-v6.")
            || (name.starts_with("cali") && name.len() == 15)
    };
    links.iter().map(|link| link.name.as_str()).filter(|name| made(name)).collect()
}

fn leftover_devices(fleet: &Fleet) -> Vec<Found> {
    let left = free(fleet).map(|host| (host, left_devices(host))).filter(|(_, names)| !names.is_empty());
    left.map(|(host, names)| Found::on(&host.name, names.join(", "))).collect()
}

/// Chains that only Kubernetes and its networks make.
pub fn left_chain(name: &str) -> bool {
    ["KUBE-", "CNI-", "FLANNEL-", "cali-"].iter().any(|start| name.starts_with(start))
}

/// Tables of nf_tables that only Kubernetes and its networks make.
pub fn left_table(name: &str) -> bool {
    ["kube-proxy", "flannel-ipv4", "flannel-ipv6", "cni_plugins_masquerade", "cni_hostport"].contains(&name)
}

fn leftover_chains(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for host in free(fleet) {
        let Some(kernel) = &host.kernel else { continue };
        let new = kernel.ruleset.chains.iter().map(|chain| (&chain.name, &chain.table));
        let old = kernel.legacy.iter().map(|chain| (&chain.name, &chain.table));
        let left: Vec<String> = new
            .chain(old)
            .filter(|(name, table)| left_chain(name) || left_table(table))
            .map(|(name, table)| format!("{table}/{name}"))
            .collect();
        if let Some(first) = left.first() {
            out.push(Found::on(&host.name, format!("{} chains: {first} …", left.len())));
        }
    }
    out
}

/// A balancer's own services have addresses of its devices; kube-proxy's only those of kube-ipvs0.
fn leftover_services(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for host in free(fleet) {
        let Some(kernel) = &host.kernel else { continue };
        let owner = |ip| kernel.tables.owner(ip).filter(|link| link.name != "kube-ipvs0");
        let left: Vec<_> = kernel.virtual_services.iter().filter(|service| owner(service.ip).is_none()).collect();
        if let Some(first) = left.first() {
            out.push(Found::on(&host.name, format!("{} services: {}:{} …", left.len(), first.ip, first.port)));
        }
    }
    out
}

fn leftover_config(fleet: &Fleet) -> Vec<Found> {
    let ours = |file: &&crate::facts::cni::File| {
        file.plugins
            .iter()
            .any(|name| name == "flannel" || name == "calico" || name == "weave-net" || name == "cilium-cni")
    };
    let mut out = Vec::new();
    for host in free(fleet) {
        let names: Vec<&str> = host.cni.files.iter().filter(ours).map(|file| file.name.as_str()).collect();
        if !names.is_empty() {
            out.push(Found::on(&host.name, format!("{}: {}", host.cni.directory, names.join(", "))));
        }
    }
    out
}
