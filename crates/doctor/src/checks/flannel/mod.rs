//! flannel: its lease, its device, and for each peer the three entries that flanneld makes: a route, an entry of ARP, an
//! entry of forwarding (flannel's pkg/backend/vxlan).
//!
//! [`peers`] those entries     [`sizes`] the largest packets     [`configuration`] net-conf.json

mod configuration;
mod peers;
mod sizes;

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::Severity::{Error, Warning};
use super::{Found, Row};
use crate::Fleet;
use crate::facts::cni::Subnet;
use crate::facts::{HostFacts, Network};
use crate::fleet::{is_pods, is_public, uplink_addresses};
use crate::netlink::route::{Link, Tables, Vxlan};

/// What VXLAN puts around a packet: Ethernet, VXLAN, UDP, IPv4.
const OVERHEAD: u32 = 50;
/// The same over IPv6.
const OVERHEAD_6: u32 = 70;

/// The rows.
pub const ROWS: &[Row] = &[
    Row {
        id: "flannel.no-subnet",
        severity: Error,
        line: "flannel has no lease on this host",
        symptoms: &[
            "open /run/flannel/subnet.env: no such file or directory",
            "failed to load flannel 'subnet.env' file: open /run/flannel/subnet.env: no such file or directory. Check the flannel pod log for this node.",
        ],
        cause: "flanneld never got a lease here, or /run was emptied by a reboot and its pod did not start again.",
        remedy: "Look into the log of flannel's pod of this host; the API server must be reachable and the node must have a podCIDR. Do not copy the file from another host: both would give pods the same addresses.",
        after: &["cni.two-configs"],
        check: no_subnet,
    },
    Row {
        id: "flannel.bad-subnet",
        severity: Error,
        line: "flannel's lease makes no sense",
        symptoms: &[
            "failed to load flannel 'subnet.env' file",
            "invalid CIDR address",
            "is missing FLANNEL_NETWORK, FLANNEL_SUBNET",
        ],
        cause: "The file was written by hand, copied, or cut off.",
        remedy: "Delete /run/flannel/subnet.env and start flannel's pod of this host again.",
        after: &[],
        check: bad_subnet,
    },
    Row {
        id: "flannel.same-subnet",
        severity: Error,
        line: "hosts have the same subnet for their pods",
        symptoms: &["pods on different nodes have the same IP", "duplicate pod IP addresses"],
        cause: "/run/flannel/subnet.env was copied from another host, or a machine was cloned with it.",
        remedy: "On the host whose node has another podCIDR: delete /run/flannel/subnet.env, start flannel's pod again, delete cni0 when its pods are gone.",
        after: &[],
        check: same_subnet,
    },
    Row {
        id: "flannel.network-differs",
        severity: Error,
        line: "hosts disagree about the network of all pods",
        symptoms: &["FLANNEL_NETWORK", "node \"x\" pod cidr not assigned"],
        cause: "The network in net-conf.json was changed, and not all of flannel's pods were started again; or a host is of another cluster.",
        remedy: "Start flannel's pods again on the hosts with the old network; it has to be kubeadm's podSubnet.",
        after: &["flannel.bad-subnet"],
        check: network_differs,
    },
    Row {
        id: "flannel.config-differs",
        severity: Error,
        line: "flannel runs with other settings than its configuration has now",
        symptoms: &["net-conf.json", "kube-flannel-cfg", "current network or subnet (…) is not equal to previous one"],
        cause: "net-conf.json (the ConfigMap kube-flannel-cfg) was changed, and flannel's pod of this host was not started again.",
        remedy: "Start flannel's pods of all hosts again; when the network changed, delete cni0 on drained hosts as well.",
        after: &[
            "flannel.network-differs",
            "flannel.port-differs",
            "flannel.vni-differs",
            "flannel.bad-subnet",
            "flannel.no-subnet",
        ],
        check: configuration::differs,
    },
    Row {
        id: "flannel.no-device",
        severity: Error,
        line: "flannel has a lease, and no device to send through",
        symptoms: &["Cannot find device \"flannel.1\"", "no route to host (pods of other nodes)"],
        cause: "The device was deleted (by a reset, or a network manager), and flanneld was not started again.",
        remedy: "Start flannel's pod of this host again: it makes the device and all entries.",
        after: &["flannel.bad-subnet"],
        check: no_device,
    },
    Row {
        id: "flannel.device-down",
        severity: Error,
        line: "a device of the pod network is switched off",
        symptoms: &["flannel.1: <BROADCAST,MULTICAST> state DOWN", "Network is down", "no route to host"],
        cause: "An administrator or a network manager switched it off.",
        remedy: "ip link set DEVICE up; then see that NetworkManager or systemd-networkd leave it alone.",
        after: &[],
        check: down,
    },
    Row {
        id: "flannel.device-address",
        severity: Error,
        line: "flannel's device has the address of another lease",
        symptoms: &["flannel.1 has an old IP address", "pods can reach some nodes only"],
        cause: "The host got a new subnet, and the device of the old one stayed.",
        remedy: "ip link delete flannel.1, then start flannel's pod of this host again.",
        after: &["flannel.same-subnet", "flannel.bad-subnet"],
        check: device_address,
    },
    Row {
        id: "flannel.vtep-public",
        severity: Error,
        line: "tunnels go over public addresses although the hosts share a private network",
        symptoms: &[
            "Using 123.56.200.187 as external interface",
            "Determining IP address of default interface",
            "Ignoring not a miss",
            "NodePort answers on the pod's own node only",
        ],
        cause: "flannel takes the device of the default route; on hosts with two that is the public one, where firewalls drop UDP.",
        remedy: "Start flanneld with --iface=DEVICE, --iface-regex=… or --iface-can-reach=PRIVATE-ADDRESS.",
        after: &[],
        check: vtep_public,
    },
    Row {
        id: "flannel.port-differs",
        severity: Error,
        line: "hosts use different UDP ports for VXLAN",
        symptoms: &["vxlan port 8472", "vxlan port 4789", "packets leave flannel.1 and never arrive"],
        cause: "`Port` in net-conf.json was changed and flannel's pods were not all started again; flannel's default is 8472, IANA's 4789.",
        remedy: "Set one port for all, start flannel's pods again; flanneld makes the device anew when its port differs.",
        after: &[],
        check: port_differs,
    },
    Row {
        id: "flannel.vni-differs",
        severity: Error,
        line: "hosts use different numbers for the VXLAN network",
        symptoms: &["vxlan id", "VNI mismatch", "packets arrive on UDP 8472 and never at flannel.1"],
        cause: "`VNI` in net-conf.json was changed and flannel's pods were not all started again.",
        remedy: "Set one VNI for all, start flannel's pods again.",
        after: &[],
        check: vni_differs,
    },
    Row {
        id: "flannel.peer-route",
        severity: Error,
        line: "a host has no route to the pods of another",
        symptoms: &["no route to host", "Network is unreachable", "pods of one node cannot be reached"],
        cause: "flanneld does not know the peer (it lost its watch of the API), or something deleted its route: systemd-networkd does unless ManageForeignRoutes=no.",
        remedy: "Start flannel's pod of the host that lacks the route again.",
        after: &[
            "flannel.no-subnet",
            "flannel.bad-subnet",
            "flannel.same-subnet",
            "flannel.network-differs",
            "flannel.no-device",
            "flannel.device-down",
            "flannel.device-address",
        ],
        check: peers::route,
    },
    Row {
        id: "flannel.peer-arp",
        severity: Error,
        line: "a host does not know the link address of another's tunnel",
        symptoms: &["L3 miss: 10.244.1.2", "Destination Host Unreachable", "FAILED in `ip neigh show dev flannel.1`"],
        cause: "The permanent entry that flanneld makes for each peer was flushed.",
        remedy: "Start flannel's pod of the host that lacks the entry again.",
        after: &[
            "flannel.same-subnet",
            "flannel.no-device",
            "flannel.device-down",
            "flannel.device-address",
            "flannel.peer-route",
            "flannel.peer-stale",
        ],
        check: peers::arp,
    },
    Row {
        id: "flannel.peer-fdb",
        severity: Error,
        line: "a host does not know behind which address another's tunnel is",
        symptoms: &["L2 miss", "Ignoring not a miss: <mac>, <ip>", "flannel.1 counts dropped packets"],
        cause: "The forwarding entry that flanneld makes for each peer was flushed.",
        remedy: "Start flannel's pod of the host that lacks the entry again.",
        after: &["flannel.same-subnet", "flannel.no-device", "flannel.device-down", "flannel.peer-arp"],
        check: peers::fdb,
    },
    Row {
        id: "flannel.peer-stale",
        severity: Error,
        line: "a host keeps the old addresses of another's tunnel",
        symptoms: &[
            "mac address wanted … but got",
            "pods of a node unreachable after its IP address changed",
            "pods of a node unreachable after a reboot",
        ],
        cause: "The peer's device got a new link address (systemd's MACAddressPolicy=persistent changes it) or the host a new address, and this host was not told.",
        remedy: "Start flannel's pods of both hosts again; put MACAddressPolicy=none for flannel.* into /etc/systemd/network/50-flannel.link.",
        after: &["flannel.same-subnet", "flannel.no-device", "flannel.device-down"],
        check: peers::stale,
    },
    Row {
        id: "flannel.bridge-address",
        severity: Error,
        line: "the bridge of pods keeps the address of an old lease",
        symptoms: &[
            "\"cni0\" already has an IP address different from 10.244.1.1/24",
            "failed to set bridge addr: \"cni0\" already has an IP address different from",
        ],
        cause: "cni0 outlives kubeadm reset, and a change of the host's subnet.",
        remedy: "When the pods of this host are drained: ip link delete cni0; the next pod makes it again.",
        after: &["flannel.bad-subnet", "flannel.same-subnet"],
        check: bridge_address,
    },
    Row {
        id: "flannel.mtu",
        severity: Error,
        line: "packets of pods are too large for the tunnel",
        symptoms: &[
            "small requests work, large ones hang",
            "TLS handshake timeout",
            "curl hangs after Client hello",
            "Message too long",
        ],
        cause: "VXLAN puts 50 bytes around each packet: the device or the bridge has a larger MTU than the network allows, often after the cloud's or a VPN's was lowered.",
        remedy: "Set `MTU` of the backend in net-conf.json, start flannel's pods again; pods that exist keep their MTU until they are made anew.",
        after: &["flannel.bad-subnet"],
        check: sizes::mtu,
    },
    Row {
        id: "flannel.path-mtu",
        severity: Error,
        line: "one host sends larger packets than another can receive",
        symptoms: &["large transfers between two nodes hang", "TLS handshake timeout between some nodes only"],
        cause: "The networks of the hosts have different MTUs, and flannel takes its own host's.",
        remedy: "Set `MTU` of the backend to that of the smallest host less 50.",
        after: &["flannel.mtu"],
        check: sizes::path_mtu,
    },
    Row {
        id: "flannel.one-way",
        severity: Warning,
        line: "the tunnel sends, and nothing ever comes back",
        symptoms: &["Ignoring not a miss", "RX packets 0 on flannel.1", "pods reach pods of their own node only"],
        cause: "Something between the hosts drops UDP of the tunnel's port: a cloud's security group, a firewall of the peers.",
        remedy: "Open the UDP port of VXLAN between all hosts (flannel 8472); `kiln doctor path` shows the hop.",
        after: &[
            "flannel.vtep-public",
            "flannel.port-differs",
            "flannel.vni-differs",
            "flannel.peer-route",
            "flannel.peer-arp",
            "flannel.peer-fdb",
            "flannel.peer-stale",
            "flannel.same-subnet",
            "firewall.vxlan-blocked",
            "flannel.device-down",
        ],
        check: one_way,
    },
    Row {
        id: "flannel.not-running",
        severity: Warning,
        line: "flanneld does not run here",
        symptoms: &["kube-flannel CrashLoopBackOff", "new nodes are not reachable from this one"],
        cause: "Its pod failed or was evicted. What it set up stays, and hosts that come or change are not learned.",
        remedy: "Look into the log of flannel's pod of this host.",
        after: &["flannel.no-subnet", "cni.no-config", "control.no-container", "logs.flannel-api"],
        check: not_running,
    },
    Row {
        id: "flannel.host-gateway",
        severity: Error,
        line: "a route to another host's pods leads through a host that is not on the same link",
        symptoms: &["host-gw", "Nexthop has invalid gateway", "pods of nodes in another subnet unreachable"],
        cause: "flannel's host-gw backend needs all hosts on one link.",
        remedy: "Use the vxlan backend; with DirectRouting it only tunnels between links.",
        after: &[],
        check: host_gateway,
    },
];

/// A host that flannel connects by VXLAN.
struct Node<'a> {
    host: &'a HostFacts,
    tables: &'a Tables,
    subnet: &'a Subnet,
    own: Network,
    device: &'a Link,
    vxlan: &'a Vxlan,
}

impl Node<'_> {
    fn name(&self) -> &str {
        &self.host.name
    }

    /// What the tunnel puts around a packet, in bytes.
    fn around(&self) -> u32 {
        if self.vxlan.local.is_some_and(|local| local.is_ipv6()) { OVERHEAD_6 } else { OVERHEAD }
    }

    /// The device it sends through.
    fn uplink(&self) -> Option<&Link> {
        let named = self.vxlan.through.and_then(|index| self.tables.by_index(index));
        named.or_else(|| self.tables.owner(self.vxlan.local?))
    }
}

/// Hosts whose network of pods is flannel's.
fn leases(fleet: &Fleet) -> impl Iterator<Item = (&HostFacts, &Tables, &Subnet)> {
    fleet.nodes().filter_map(|(host, kernel)| Some((host, &kernel.tables, host.cni.subnet.as_ref()?)))
}

/// flannel's device of a host.
pub(super) fn device(tables: &Tables) -> Option<(&Link, &Vxlan)> {
    let link = tables.links.iter().find(|link| link.vxlan.is_some() && link.name.starts_with("flannel"))?;
    Some((link, link.vxlan.as_ref()?))
}

fn overlay(fleet: &Fleet) -> Vec<Node<'_>> {
    let node = |(host, tables, subnet): (&'_ HostFacts, _, _)| -> Option<Node<'_>> {
        let subnet: &Subnet = subnet;
        let (device, vxlan) = device(tables)?;
        Some(Node { host: find(fleet, &host.name)?, tables, subnet, own: subnet.subnet?, device, vxlan })
    };
    leases(fleet).filter_map(node).collect()
}

fn find<'a>(fleet: &'a Fleet, name: &str) -> Option<&'a HostFacts> {
    fleet.hosts.iter().find(|host| host.name == name)
}

/// Every ordered pair of different hosts with different subnets.
fn pairs<'a>(nodes: &'a [Node<'a>]) -> impl Iterator<Item = (&'a Node<'a>, &'a Node<'a>)> {
    let all = nodes.iter().flat_map(move |a| nodes.iter().map(move |b| (a, b)));
    all.filter(|(a, b)| a.name() != b.name() && a.own.first() != b.own.first())
}

fn no_subnet(fleet: &Fleet) -> Vec<Found> {
    let without = fleet.nodes().filter(|(host, _)| host.cni.uses("flannel") && host.cni.subnet.is_none());
    let unread = |host: &HostFacts| host.unread.iter().any(|unread| unread.what.contains("subnet.env"));
    let seen = |host: &HostFacts| {
        let file = host.cni.active().map(|file| file.name.clone()).unwrap_or_default();
        Found::on(&host.name, format!("{file} names flannel, and there is no /run/flannel/subnet.env"))
    };
    without.filter(|(host, _)| !unread(host)).map(|(host, _)| seen(host)).collect()
}

fn bad_subnet(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for (host, _, subnet) in leases(fleet) {
        let file = "/run/flannel/subnet.env";
        if let Some(error) = &subnet.error {
            out.push(Found::on(&host.name, format!("{file}: {error}")));
        } else if let (Some(network), Some(own)) = (subnet.network, subnet.subnet)
            && !network.covers(&own)
        {
            out.push(Found::on(
                &host.name,
                format!("{file}: FLANNEL_SUBNET {own} is not in FLANNEL_NETWORK {network}"),
            ));
        }
    }
    out
}

/// Groups of hosts by something that should be one for all, or each host's own.
fn grouped<K: Ord>(items: impl Iterator<Item = (K, String)>) -> BTreeMap<K, Vec<String>> {
    let mut groups: BTreeMap<K, Vec<String>> = BTreeMap::new();
    for (key, name) in items {
        groups.entry(key).or_default().push(name);
    }
    groups
}

fn same_subnet(fleet: &Fleet) -> Vec<Found> {
    let own = leases(fleet).filter_map(|(host, _, subnet)| Some((subnet.subnet?.first(), host.name.clone())));
    let same = grouped(own).into_iter().filter(|(_, hosts)| hosts.len() > 1);
    same.map(|(subnet, hosts)| {
        let evidence = vec![format!("FLANNEL_SUBNET is of {subnet} on {}", hosts.join(" and on "))];
        Found { hosts, evidence, edge: None }
    })
    .collect()
}

/// Those that differ from what most have; of two, both.
fn odd<K: Ord + std::fmt::Display>(groups: BTreeMap<K, Vec<String>>, what: &str) -> Vec<Found> {
    if groups.len() < 2 {
        return Vec::new();
    }
    let most = groups.values().map(Vec::len).max().unwrap_or(0);
    let clear = groups.values().filter(|hosts| hosts.len() == most).count() == 1;
    let mut found = Found::default();
    for (key, hosts) in &groups {
        found.evidence.push(format!("{what} {key}: {}", hosts.join(", ")));
        if !clear || hosts.len() < most {
            found.hosts.extend(hosts.iter().cloned());
        }
    }
    vec![found]
}

fn network_differs(fleet: &Fleet) -> Vec<Found> {
    let networks = leases(fleet).filter(|(_, _, subnet)| subnet.error.is_none());
    odd(grouped(networks.filter_map(|(host, _, subnet)| Some((subnet.network?, host.name.clone())))), "FLANNEL_NETWORK")
}

fn port_differs(fleet: &Fleet) -> Vec<Found> {
    odd(grouped(overlay(fleet).iter().map(|node| (node.vxlan.port, node.name().to_owned()))), "UDP port")
}

fn vni_differs(fleet: &Fleet) -> Vec<Found> {
    // With marks of group-based policies the header is another.
    let number = |vxlan: &Vxlan| format!("{}{}", vxlan.vni, if vxlan.gbp { " with gbp" } else { "" });
    odd(grouped(overlay(fleet).iter().map(|node| (number(node.vxlan), node.name().to_owned()))), "VNI")
}

fn no_device(fleet: &Fleet) -> Vec<Found> {
    let somebody = !overlay(fleet).is_empty();
    let mut out = Vec::new();
    for (host, tables, subnet) in
        leases(fleet).filter(|(host, tables, _)| host.cni.uses("flannel") && device(tables).is_none())
    {
        // Other backends have other devices, or none: VXLAN is known by its peers, or by what it takes off the MTU.
        let taken = uplink_addresses(tables).any(|(link, _)| subnet.mtu.map(|mtu| mtu + OVERHEAD) == Some(link.mtu));
        let other = tables.links.iter().any(|link| link.name.starts_with("flannel"));
        if (somebody || taken) && !other {
            out.push(Found::on(&host.name, "there is a lease in /run/flannel/subnet.env, and no device flannel.1"));
        }
    }
    out
}

fn down(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for (host, tables, _) in leases(fleet) {
        let devices = tables.links.iter().filter(|link| link.name.starts_with("flannel") || link.name == "cni0");
        out.extend(devices.filter(|link| !link.up).map(|link| Found::on(&host.name, format!("{} is down", link.name))));
    }
    out
}

fn device_address(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for node in overlay(fleet).iter().filter(|node| node.subnet.error.is_none()) {
        let addresses: Vec<IpAddr> =
            node.tables.addresses_of(node.device).map(|address| address.ip).filter(IpAddr::is_ipv4).collect();
        let wanted = node.own.first();
        let seen = match addresses.first() {
            None => format!("{} has no address; the lease wants {wanted}/32", node.device.name),
            Some(_) if addresses.contains(&wanted) => continue,
            Some(first) => format!("{} has {first}; the lease wants {wanted}/32", node.device.name),
        };
        out.push(Found::on(node.name(), seen));
    }
    out
}

fn vtep_public(fleet: &Fleet) -> Vec<Found> {
    let Some(way) = fleet.private_way() else { return Vec::new() };
    let mut out = Vec::new();
    for node in overlay(fleet) {
        let Some(local) = node.vxlan.local.filter(|local| is_public(*local)) else { continue };
        let through = node.uplink().map(|link| format!(" ({})", link.name)).unwrap_or_default();
        let first = format!("{} sends from {local}{through}", node.device.name);
        out.push(Found::on(node.name(), first).and(way.words(node.name())));
    }
    out
}

fn bridge_address(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for (host, tables, subnet) in leases(fleet) {
        let (Some(bridge), Some(own)) = (tables.link("cni0"), subnet.subnet) else { continue };
        let addresses: Vec<String> =
            tables.addresses_of(bridge).filter(|a| a.ip.is_ipv4()).map(|a| format!("{}/{}", a.ip, a.prefix)).collect();
        let wanted = own.to_string();
        if !addresses.is_empty() && !addresses.contains(&wanted) {
            out.push(Found::on(&host.name, format!("cni0 has {}; the lease wants {wanted}", addresses.join(", "))));
        }
    }
    out
}

fn one_way(fleet: &Fleet) -> Vec<Found> {
    let nodes = overlay(fleet);
    let silent = nodes.iter().filter(|node| node.device.counters.rx == 0 && node.device.counters.tx >= 20);
    let seen = |node: &Node<'_>| {
        let (name, tx) = (&node.device.name, node.device.counters.tx);
        Found::on(node.name(), format!("{name} sent {tx} packets and received none (UDP port {})", node.vxlan.port))
    };
    silent.map(seen).collect()
}

fn not_running(fleet: &Fleet) -> Vec<Found> {
    let hosts = fleet.nodes().filter(|(host, kernel)| host.cni.uses("flannel") && kernel.process("flanneld").is_none());
    hosts.map(|(host, _)| Found::on(&host.name, "no process flanneld in the host's network")).collect()
}

fn host_gateway(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for (host, tables, subnet) in leases(fleet) {
        let Some(network) = subnet.network else { continue };
        let routes = tables.routes.iter().filter(|route| network.covers(&route.to) && route.to != network);
        for route in routes {
            let (Some(via), Some(link)) = (route.via, route.link.and_then(|index| tables.by_index(index))) else {
                continue;
            };
            let on_link = tables.addresses_of(link).any(|a| Network { ip: a.ip, prefix: a.prefix }.contains(via));
            if !is_pods(link) && !on_link && !unspecified(via) {
                out.push(Found::on(
                    &host.name,
                    format!("{} via {via} dev {}, which has no network with {via}", route.to, link.name),
                ));
            }
        }
    }
    out
}

fn unspecified(ip: IpAddr) -> bool {
    ip.is_unspecified()
}
