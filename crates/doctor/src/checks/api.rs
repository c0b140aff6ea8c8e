//! What the cluster says of itself, beside what its hosts have. These rows see something only when the API was asked.

use std::net::IpAddr;

use super::Severity::{Error, Warning};
use super::flannel::device;
use super::logs::printable;
use super::{Found, Row};
use crate::Fleet;
use crate::api::{Event, Node};

/// The rows.
pub const ROWS: &[Row] = &[
    Row {
        id: "api.pod-cidr",
        severity: Error,
        line: "a host gives its pods addresses of another network than its node has",
        symptoms: &["FLANNEL_SUBNET is not the node's podCIDR", "pods have addresses of another node"],
        cause: "The node was deleted and joined again and got another podCIDR, or /run/flannel/subnet.env was copied from another host.",
        remedy: "Delete /run/flannel/subnet.env, start flannel's pod of this host again; when its pods are drained, ip link delete cni0.",
        after: &["flannel.same-subnet", "flannel.bad-subnet"],
        check: pod_cidr,
    },
    Row {
        id: "api.no-pod-cidr",
        severity: Error,
        line: "a node has no network for its pods",
        symptoms: &["node \"x\" pod cidr not assigned", "Error registering network: failed to acquire lease"],
        cause: "kube-controller-manager does not allocate them: kubeadm had no podSubnet, or the cluster's network is used up.",
        remedy: "Set networking.podSubnet (kube-controller-manager --allocate-node-cidrs=true --cluster-cidr=…), or a larger network.",
        after: &["logs.no-pod-cidr"],
        check: no_pod_cidr,
    },
    Row {
        id: "api.node-address",
        severity: Error,
        line: "the address that the cluster has of a node is not the host's",
        symptoms: &[
            "kubectl logs: dial tcp 10.0.0.5:10250: i/o timeout",
            "INTERNAL-IP of kubectl get nodes -o wide is wrong",
        ],
        cause: "The host's address changed, or the kubelet was given another --node-ip.",
        remedy: "Set --node-ip in /var/lib/kubelet/kubeadm-flags.env to an address of the host, start the kubelet again.",
        after: &["machine.kubelet-down"],
        check: node_address,
    },
    Row {
        id: "api.tunnel-address",
        severity: Error,
        line: "peers are told another place of a tunnel than it has",
        symptoms: &[
            "flannel.alpha.coreos.com/public-ip",
            "flannel.alpha.coreos.com/backend-data",
            "mac address wanted … but got",
        ],
        cause: "The annotations of the node are of an earlier start of flanneld: its device or address changed since, and peers program what the annotations say.",
        remedy: "Start flannel's pod of this host again: it writes the annotations anew.",
        after: &["flannel.no-device", "flannel.vtep-public", "flannel.peer-stale", "flannel.not-running"],
        check: tunnel_address,
    },
    Row {
        id: "api.node-unknown",
        severity: Error,
        line: "a host joined, and the cluster has no node of its name",
        symptoms: &["nodes \"x\" not found", "Error getting node", "failed to acquire lease: node \"x\" not found"],
        cause: "The node was deleted, or the host got another name since it joined; names of nodes have small letters only.",
        remedy: "Start the kubelet again: it registers anew; otherwise kubeadm reset and join, or --hostname-override with the old name.",
        after: &["machine.kubelet-down", "machine.same-name", "logs.flannel-lease"],
        check: unknown,
    },
    Row {
        id: "api.not-ready",
        severity: Error,
        line: "a node is not ready",
        symptoms: &[
            "NotReady",
            "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady",
            "Kubelet stopped posting node status.",
        ],
        cause: "The condition's message says why.",
        remedy: "Mend what the message names; `journalctl -u kubelet` on the host has more.",
        after: &[
            "machine.kubelet-down",
            "machine.cri-disabled",
            "machine.swap",
            "machine.cgroup-driver",
            "cni.no-config",
            "cni.invalid-config",
            "cni.plugin-missing",
            "api.node-unknown",
            "control.disk-full",
        ],
        check: not_ready,
    },
    Row {
        id: "api.network-unavailable",
        severity: Error,
        line: "a node is ready, and its network is said to be not available",
        symptoms: &["NetworkUnavailable", "node.kubernetes.io/network-unavailable", "NoRouteCreated"],
        cause: "Nobody has configured the pod network of this node: the network's own agent, or the cloud's route controller.",
        remedy: "Look into the log of the network's pod of this node; without a cloud's routes, --configure-cloud-routes=false.",
        after: &["flannel.not-running", "flannel.no-subnet", "api.not-ready"],
        check: |fleet| conditions(fleet, &["NetworkUnavailable"]),
    },
    Row {
        id: "api.pressure",
        severity: Error,
        line: "a node runs out of something, and its pods are evicted",
        symptoms: &[
            "DiskPressure",
            "MemoryPressure",
            "PIDPressure",
            "The node was low on resource: ephemeral-storage",
            "Evicted",
        ],
        cause: "The kubelet's thresholds are reached: for disks 10 % or 15 % free. It deletes unused images first, also those that were preloaded and cannot be pulled.",
        remedy: "Make room; pin preloaded images, or lower evictionHard and raise imageGCHighThresholdPercent in /var/lib/kubelet/config.yaml.",
        after: &["control.disk-full", "control.disk-pressure"],
        check: |fleet| conditions(fleet, &["DiskPressure", "MemoryPressure", "PIDPressure"]),
    },
    Row {
        id: "api.stale-proxy",
        severity: Error,
        line: "a host's rules lack services of the cluster",
        symptoms: &[
            "connection to a service times out on one node",
            "Failed to list *v1.EndpointSlice",
            "no route to service",
        ],
        cause: "kube-proxy of this host lost its watch of the API, or does not run.",
        remedy: "Look into the log of kube-proxy's pod of this host, and start it again.",
        after: &["services.no-rules", "firewall.two-backends"],
        check: stale_proxy,
    },
    Row {
        id: "api.pods-not-made",
        severity: Error,
        line: "pods of a node cannot be made",
        symptoms: &[
            "FailedCreatePodSandBox",
            "Failed to create pod sandbox: rpc error: code = Unknown",
            "NetworkNotReady",
        ],
        cause: "The message is the runtime's or the CNI plugin's.",
        remedy: "Search for its words in docs/pod-network.md.",
        after: &[
            "cni.no-config",
            "cni.invalid-config",
            "cni.plugin-missing",
            "cni.plugin-unusable",
            "cni.version",
            "flannel.no-subnet",
            "flannel.bad-subnet",
            "flannel.bridge-address",
            "leases.leaked",
            "leases.exhausted",
            "api.not-ready",
            "machine.selinux",
            "machine.apparmor",
        ],
        check: not_made,
    },
    Row {
        id: "api.not-allowed",
        severity: Warning,
        line: "the cluster does not tell everything that was asked",
        symptoms: &["is forbidden: User", "cannot list resource"],
        cause: "Whom the kubeconfig names may not list it.",
        remedy: "Use a kubeconfig with the rights of the ClusterRole `view`, and nodes.",
        after: &[],
        check: not_allowed,
    },
];

fn pod_cidr(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for (host, node) in fleet.with_nodes() {
        let Some(own) = host.cni.subnet.as_ref().and_then(|subnet| subnet.subnet) else { continue };
        let mut of_family = node.pod_cidrs.iter().filter(|cidr| cidr.ip.is_ipv4() == own.ip.is_ipv4()).peekable();
        if of_family.peek().is_some() && !of_family.any(|cidr| cidr.covers(&own)) {
            let cidrs: Vec<String> = node.pod_cidrs.iter().map(ToString::to_string).collect();
            let seen = format!("FLANNEL_SUBNET is {own}");
            out.push(Found::on(&host.name, seen).and(format!("podCIDR of the node is {}", cidrs.join(", "))));
        }
    }
    out
}

fn no_pod_cidr(fleet: &Fleet) -> Vec<Found> {
    let bare = fleet.with_nodes().filter(|(host, node)| node.pod_cidrs.is_empty() && host.cni.uses("flannel"));
    bare.map(|(host, node)| Found::on(&host.name, format!("node {} has no podCIDR", printable(&node.name)))).collect()
}

fn node_address(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for (host, node) in fleet.with_nodes() {
        let Some(tables) = host.tables() else { continue };
        let absent: Vec<String> =
            node.internal.iter().filter(|ip| tables.owner(**ip).is_none()).map(IpAddr::to_string).collect();
        if !absent.is_empty() && absent.len() == node.internal.len() {
            let seen = format!("InternalIP of the node is {}, which no device has", absent.join(", "));
            out.push(Found::on(&host.name, seen));
        }
    }
    out
}

fn tunnel_address(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for (host, node) in fleet.with_nodes() {
        let Some((link, vxlan)) = host.tables().and_then(device) else { continue };
        let mut seen = Vec::new();
        // What a cloud translates to the host's address may be announced on purpose: only what is on another host is wrong.
        let announced = node.public_ip.filter(|ip| Some(*ip) != vxlan.local);
        if let (Some(ip), Some(local)) = (announced, vxlan.local) {
            let elsewhere = fleet.owner(ip).is_some_and(|other| other.name != host.name);
            let own = host.tables().is_some_and(|tables| tables.owner(ip).is_some());
            if elsewhere || own {
                seen.push(format!("public-ip of the node is {ip}, {} sends from {local}", link.name));
            }
        }
        if let (Some(told), Some(own)) = (node.vtep_mac, link.mac)
            && told != own
        {
            seen.push(format!("VtepMAC of the node is {told}, {} has {own}", link.name));
        }
        if !seen.is_empty() {
            out.push(Found { hosts: vec![host.name.clone()], evidence: seen, edge: None });
        }
    }
    out
}

fn unknown(fleet: &Fleet) -> Vec<Found> {
    let Some(api) = fleet.api.as_ref().filter(|api| !api.nodes.is_empty()) else { return Vec::new() };
    let joined = fleet.hosts.iter().filter(|host| host.kube.kubelet_conf && api.node_of(host).is_none());
    let names: Vec<String> = api.nodes.iter().take(8).map(|node| printable(&node.name)).collect();
    joined
        .map(|host| {
            let name = host.node_name();
            Found::on(&host.name, format!("its name is {}; the cluster has {}", printable(&name), names.join(", ")))
        })
        .collect()
}

/// The host that a node is, or its own name where the host was not looked at.
fn at(fleet: &Fleet, node: &Node) -> String {
    let host = fleet.with_nodes().find(|(_, other)| other.name == node.name).map(|(host, _)| host.name.clone());
    host.unwrap_or_else(|| node.name.clone())
}

fn nodes(fleet: &Fleet) -> impl Iterator<Item = &Node> {
    fleet.api.iter().flat_map(|api| &api.nodes)
}

fn not_ready(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for node in nodes(fleet) {
        let Some(ready) = node.condition("Ready").filter(|ready| ready.status != "True") else { continue };
        let seen = format!("Ready is {}: {}", printable(&ready.status), printable(&ready.message));
        out.push(Found::on(&at(fleet, node), seen));
    }
    out
}

/// Conditions that are bad when they are true.
fn conditions(fleet: &Fleet, kinds: &[&str]) -> Vec<Found> {
    let mut out = Vec::new();
    for node in nodes(fleet) {
        let bad = node.conditions.iter().filter(|c| c.status == "True" && kinds.contains(&c.kind.as_str()));
        let seen: Vec<String> = bad.map(|c| format!("{}: {}", c.kind, printable(&c.message))).collect();
        if !seen.is_empty() {
            out.push(Found { hosts: vec![at(fleet, node)], evidence: seen, edge: None });
        }
    }
    out
}

fn stale_proxy(fleet: &Fleet) -> Vec<Found> {
    let Some(api) = &fleet.api else { return Vec::new() };
    let mut out = Vec::new();
    for (host, kernel) in fleet.nodes().filter(|(_, kernel)| !kernel.services.is_empty()) {
        let has = |ip: IpAddr, port: u16| {
            kernel.services.iter().any(|service| service.ip == Some(ip) && service.port == port)
        };
        let wanted = api.services.iter().filter(|service| !service.endpoints.is_empty());
        let missing: Vec<String> = wanted
            .filter_map(|service| Some((service, service.ip.filter(IpAddr::is_ipv4)?)))
            .flat_map(|(service, ip)| service.ports.iter().map(move |port| (service, ip, port.port)))
            .filter(|(_, ip, port)| !has(*ip, *port))
            .map(|(service, ip, port)| format!("{} {ip}:{port}", printable(&service.name)))
            .collect();
        if let Some(first) = missing.first() {
            let seen = format!("{} of the cluster's services are in no rule: {first}", missing.len());
            out.push(Found::on(&host.name, seen));
        }
    }
    out
}

fn not_made(fleet: &Fleet) -> Vec<Found> {
    let Some(api) = &fleet.api else { return Vec::new() };
    let reasons = ["FailedCreatePodSandBox", "NetworkNotReady", "FailedPodSandBoxStatus"];
    // Events are kept for an hour: those of a pod that is there, and has an address, are of the past.
    let waits = |event: &Event| {
        let pod = api.pods.iter().find(|pod| pod.name == event.about);
        pod.is_some_and(|pod| pod.ips.is_empty())
    };
    let mut out: Vec<Found> = Vec::new();
    for event in api.events.iter().filter(|event| reasons.contains(&event.reason.as_str()) && waits(event)) {
        let node = api.nodes.iter().find(|node| node.name == event.node);
        let host = node.map_or_else(|| event.node.clone(), |node| at(fleet, node));
        let seen = format!("{}: {}: {}", printable(&event.about), event.reason, printable(&event.message));
        match out.iter_mut().find(|found| found.hosts.first() == Some(&host)) {
            Some(found) if found.evidence.len() < 3 => found.evidence.push(seen),
            Some(_) => {}
            None => out.push(Found::on(&host, seen)),
        }
    }
    out
}

fn not_allowed(fleet: &Fleet) -> Vec<Found> {
    let untold: Vec<String> =
        fleet.api.iter().flat_map(|api| &api.untold).map(|(what, why)| format!("{what}: {}", printable(why))).collect();
    match untold.is_empty() {
        true => Vec::new(),
        false => vec![Found { hosts: vec!["API".to_owned()], evidence: untold, edge: None }],
    }
}
