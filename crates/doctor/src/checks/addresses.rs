//! Which address a host uses, and networks that are there twice.

use std::net::IpAddr;

use super::Severity::{Error, Warning};
use super::firewall::pod_network;
use super::{Found, Row};
use crate::Fleet;
use crate::facts::{HostFacts, Network};
use crate::fleet::{is_public, uplink_addresses};

/// The rows.
pub const ROWS: &[Row] = &[
    Row {
        id: "addresses.advertise-public",
        severity: Warning,
        line: "the API server says its public address although the hosts share a private network",
        symptoms: &[
            "kubeadm join --token=… 123.56.200.187",
            "dial tcp 10.96.0.1:443: i/o timeout",
            "--advertise-address",
        ],
        cause: "kubeadm takes the address of the default route; on hosts with two networks that is the public one.",
        remedy: "Set localAPIEndpoint.advertiseAddress in kubeadm's configuration, and --node-ip of the kubelet; init again, or change the manifest and the certificate.",
        after: &[],
        check: advertise_public,
    },
    Row {
        id: "addresses.node-public",
        severity: Warning,
        line: "the kubelet says a public address although the hosts share a private network",
        symptoms: &[
            "INTERNAL-IP of kubectl get nodes -o wide is a public address",
            "kubectl logs: dial tcp 59.110.67.15:10250: i/o timeout",
            "--node-ip",
        ],
        cause: "The kubelet takes the address of the default route, unless its name or --node-ip says another; other parts, as pod networks, take it from the node.",
        remedy: "Set --node-ip to the private address (nodeRegistration.kubeletExtraArgs of kubeadm, or KUBELET_EXTRA_ARGS in /etc/default/kubelet), start the kubelet again.",
        after: &[],
        check: node_public,
    },
    Row {
        id: "addresses.advertise-absent",
        severity: Error,
        line: "the API server says an address that the host does not have",
        symptoms: &[
            "connection refused",
            "dial tcp: no route to host",
            "etcd: listen tcp: bind: cannot assign requested address",
        ],
        cause: "The host's address changed after kubeadm init, or the disk is a copy of another host's.",
        remedy: "Give the host its address again, or init again with the new one.",
        after: &["addresses.two-advertised"],
        check: advertise_absent,
    },
    Row {
        id: "addresses.two-advertised",
        severity: Error,
        line: "the API server is given several addresses to advertise",
        symptoms: &[
            "Observed a panic: \"close of closed channel\"",
            "--advertise-address",
            "invalid argument for \"--advertise-address\"",
        ],
        cause: "It takes one; kubeadm 1.5 accepted a list, and its join crashed of it.",
        remedy: "Give one advertiseAddress for each control plane, and a controlPlaneEndpoint for all.",
        after: &[],
        check: two_advertised,
    },
    Row {
        id: "addresses.overlap",
        severity: Error,
        line: "networks of pods, services and hosts overlap",
        symptoms: &["some hosts cannot be reached from pods", "no route to host", "10.244.0.0/16 overlaps"],
        cause: "The pods' or services' network was chosen without regard to the network of the hosts, of Docker (172.17.0.0/16) or a VPN.",
        remedy: "Choose another podSubnet or serviceSubnet; it cannot be changed later without a new cluster.",
        after: &["flannel.bad-subnet"],
        check: overlap,
    },
];

/// The network of services, if a control plane is here to say it.
pub fn service_network(host: &HostFacts) -> Option<Network> {
    host.kube.flag("kube-apiserver", "--service-cluster-ip-range")?.split(',').next()?.parse().ok()
}

fn advertised(host: &HostFacts) -> Option<&str> {
    host.kube.flag("kube-apiserver", "--advertise-address")
}

fn advertise_public(fleet: &Fleet) -> Vec<Found> {
    let Some(way) = fleet.private_way() else { return Vec::new() };
    let mut out = Vec::new();
    for host in &fleet.hosts {
        let Some(ip) = advertised(host).and_then(|text| text.parse::<IpAddr>().ok()).filter(|ip| is_public(*ip)) else {
            continue;
        };
        let seen = format!("--advertise-address={ip}");
        out.push(Found::on(&host.name, seen).and(way.words(&host.name)));
    }
    out
}

/// What the kubelet is told, or what the cluster has: which address it takes by itself depends on name servers as well.
fn node_public(fleet: &Fleet) -> Vec<Found> {
    let Some(way) = fleet.private_way() else { return Vec::new() };
    let mut out = Vec::new();
    for (host, _) in fleet.nodes() {
        let told = host.kube.flags.get("node-ip").and_then(|text| text.split(',').next()?.parse::<IpAddr>().ok());
        let known = fleet.api.as_ref().and_then(|api| api.node_of(host));
        let known = known.and_then(|node| node.internal.iter().copied().find(IpAddr::is_ipv4));
        let seen = match (known, told) {
            (Some(ip), _) if is_public(ip) => format!("InternalIP of the node is {ip}"),
            (None, Some(ip)) if is_public(ip) => format!("--node-ip={ip}"),
            _ => continue,
        };
        out.push(Found::on(&host.name, seen).and(way.words(&host.name)));
    }
    out
}

fn advertise_absent(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for (host, kernel) in fleet.nodes() {
        let Some(ip) = advertised(host).and_then(|text| text.parse::<IpAddr>().ok()) else { continue };
        if !ip.is_unspecified() && !is_public(ip) && kernel.tables.owner(ip).is_none() {
            out.push(Found::on(&host.name, format!("--advertise-address={ip}, and no device has it")));
        }
    }
    out
}

fn two_advertised(fleet: &Fleet) -> Vec<Found> {
    let several =
        fleet.hosts.iter().filter_map(|host| Some((host, advertised(host).filter(|text| text.contains(','))?)));
    several
        .map(|(host, text)| Found::on(&host.name, format!("--advertise-address={}", super::logs::printable(text))))
        .collect()
}

fn overlap(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for (host, kernel) in fleet.nodes() {
        let pods = pod_network(host);
        let services = service_network(host);
        let mut seen = Vec::new();
        for (what, network) in [("pods", pods), ("services", services)] {
            let Some(network) = network else { continue };
            let docker = kernel
                .tables
                .link("docker0")
                .into_iter()
                .flat_map(|link| kernel.tables.addresses_of(link).map(move |a| (link, a)));
            let docker = docker.map(|(link, a)| (link, Network { ip: a.ip, prefix: a.prefix }));
            for (link, own) in uplink_addresses(&kernel.tables).chain(docker).filter(|(_, own)| own.overlaps(&network))
            {
                seen.push(format!("the network of {what}, {network}, overlaps {own} of {}", link.name));
            }
        }
        if let (Some(pods), Some(services)) = (pods, services)
            && pods.overlaps(&services)
        {
            seen.push(format!("the network of pods, {pods}, overlaps that of services, {services}"));
        }
        if !seen.is_empty() {
            out.push(Found { hosts: vec![host.name.clone()], evidence: seen, edge: None });
        }
    }
    out
}
