//! Rules that stand in the way of pods, and rules that are missing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::Severity::{Error, Warning};
use super::{Found, Row};
use crate::Fleet;
use crate::facts::cni::Subnet;
use crate::facts::kernel::Kernel;
use crate::facts::{HostFacts, Network};
use crate::fleet::{PrivateWay, uplink_addresses};
use crate::netlink::nft::{Rule, Verdict};
use crate::netlink::route::Tables;
use crate::netlink::sets::OneOf;

const FORWARD: u32 = 2;
const INPUT: u32 = 1;
const PREROUTING: u32 = 0;
const OUTPUT: u32 = 3;

/// The rows.
pub const ROWS: &[Row] = &[
    Row {
        id: "firewall.vxlan-blocked",
        severity: Error,
        line: "a rule of this host drops the tunnel's packets",
        symptoms: &["pods reach pods of their own node only", "UDP 8472", "both nodes are Ready, and pods do not talk"],
        cause: "A firewall on the host has a rule against the UDP port of VXLAN.",
        remedy: "Delete the rule, or accept UDP of that port from the other hosts before it.",
        after: &[],
        check: blocked,
    },
    Row {
        id: "firewall.port-blocked",
        severity: Error,
        line: "a rule of this host keeps other hosts of the cluster from a port that they need",
        symptoms: &[
            "couldn't validate the identity of the API Server",
            "dial tcp 10.0.0.1:6443: i/o timeout",
            "Error from server: Get \"https://10.0.0.2:10250/containerLogs/…\": dial tcp 10.0.0.2:10250: i/o timeout",
            "BGP not established with",
        ],
        cause: "A firewall on the host has a rule against the port, or drops what no rule accepts: join, logs and exec, etcd or routes fail.",
        remedy: "Accept from the other hosts: TCP 6443, 2379 and 2380 on control planes, TCP 10250 on all, TCP 179 and protocol 4 for Calico.",
        after: &[],
        check: port_blocked,
    },
    Row {
        id: "firewall.forward-drop",
        severity: Error,
        line: "the host drops what it should forward for pods",
        symptoms: &[
            "Chain FORWARD (policy DROP",
            "pods cannot reach pods of other nodes",
            "NodePort works on the pod's node only",
        ],
        cause: "Docker (since 1.13), ufw and firewalld set the policy of FORWARD to DROP, and no rule accepts the pods' network.",
        remedy: "iptables -I FORWARD -s POD-CIDR -j ACCEPT, the same with -d; flannel's FLANNEL-FWD does it, unless it was flushed: start its pod again.",
        after: &[],
        check: forward_drop,
    },
    Row {
        id: "firewall.two-backends",
        severity: Warning,
        line: "rules are in both kinds of iptables",
        symptoms: &[
            "# Warning: iptables-legacy tables present, use iptables-legacy to see them",
            "services work now and then",
        ],
        cause: "kube-proxy or the CNI plugin use another kind (legacy, nft) than the host's programs: each sees half of the rules.",
        remedy: "Choose one (update-alternatives --set iptables /usr/sbin/iptables-nft), flush the other's KUBE- chains, start kube-proxy again.",
        after: &["leftover.chains"],
        check: two_backends,
    },
    Row {
        id: "firewall.managed",
        severity: Warning,
        line: "a firewall manager runs on the host",
        symptoms: &[
            "[WARNING Firewalld]: firewalld is active, please ensure ports [6443 10250] are open",
            "ufw is active",
        ],
        cause: "firewalld and ufw own the rules: they drop what they were not told of, and put their rules back when they are reloaded.",
        remedy: "Switch it off (systemctl disable --now firewalld; ufw disable), or open 6443, 10250, 2379-2380/tcp, 8472/udp, and trust cni0 and flannel.1.",
        after: &[],
        check: managed,
    },
    Row {
        id: "firewall.no-masquerade",
        severity: Warning,
        line: "pods' packets to the outside keep the pods' addresses",
        symptoms: &[
            "pods cannot reach the internet",
            "FLANNEL-POSTRTG",
            "pods cannot resolve names outside of the cluster",
        ],
        cause: "flannel is to masquerade (FLANNEL_IPMASQ=true), and its rules were flushed, or kept in the other kind of iptables.",
        remedy: "Start flannel's pod of this host again.",
        after: &["flannel.not-running", "flannel.no-subnet"],
        check: no_masquerade,
    },
];

/// The network of all pods, as far as a host knows.
pub fn pod_network(host: &crate::HostFacts) -> Option<Network> {
    let flannels = host.cni.subnet.as_ref().and_then(|subnet| subnet.network);
    let of_flag = || host.kube.flag("kube-controller-manager", "--cluster-cidr")?.split(',').next()?.parse().ok();
    flannels.or_else(of_flag)
}

/// Rules of one kind of iptables, or of nf_tables, with the chain that packets enter.
struct Base<'a> {
    name: &'a str,
    table: &'a str,
    drops: bool,
    /// Those of its table, by chain.
    rules: BTreeMap<&'a str, Vec<&'a Rule>>,
    /// Whose rules they are, where that has to be said.
    kind: &'static str,
}

fn by_chain<'a>(rules: impl Iterator<Item = &'a Rule>) -> BTreeMap<&'a str, Vec<&'a Rule>> {
    let mut out: BTreeMap<&str, Vec<&Rule>> = BTreeMap::new();
    rules.for_each(|rule| out.entry(&rule.chain).or_default().push(rule));
    out
}

/// Chains of IPv4 that packets enter at a hook.
fn at(kernel: &Kernel, hook: u32) -> Vec<Base<'_>> {
    let chains = kernel.ruleset.chains.iter().filter(|chain| chain.hook == Some(hook) && matches!(chain.family, 1 | 2));
    let new = chains.map(|chain| {
        let of_table = |rule: &&Rule| rule.family == chain.family && rule.table == chain.table;
        let rules = by_chain(kernel.ruleset.rules.iter().filter(of_table));
        Base { name: &chain.name, table: &chain.table, drops: chain.drops, rules, kind: "" }
    });
    let names = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT"];
    let name = usize::try_from(hook).ok().and_then(|hook| names.get(hook)).copied().unwrap_or_default();
    let old = kernel.legacy.iter().filter(|chain| chain.name == name).map(|chain| {
        let rules = by_chain(kernel.legacy_rules.iter().filter(|rule| rule.table == chain.table));
        Base { name: &chain.name, table: &chain.table, drops: chain.drops, rules, kind: " of the older iptables" }
    });
    new.chain(old).collect()
}

/// A packet, as far as rules look at it.
pub struct Packet<'a> {
    /// Devices that it may come in by, or leave by; one where that is known.
    pub devices: Vec<&'a str>,
    /// Its protocol over IP.
    pub protocol: u8,
    /// Its port, if it has one.
    pub port: Option<u16>,
    /// From where.
    pub from: IpAddr,
    /// To where.
    pub to: IpAddr,
}

/// What a hook does with a packet: the rule that throws it away, in words.
pub fn dropped_at(kernel: &Kernel, hook: u32, packet: &Packet<'_>) -> Option<String> {
    dropped(&at(kernel, hook), packet)
}

fn dropped(bases: &[Base<'_>], packet: &Packet<'_>) -> Option<String> {
    bases.iter().find_map(|base| match walk(base, base.name, packet, &mut BTreeSet::new()) {
        Some(Fate::Dropped(rule)) => Some(rule),
        Some(Fate::Accepted) => None,
        None if base.drops => {
            Some(format!("chain {} of table {}{} drops what no rule accepts", base.name, base.table, base.kind))
        }
        None => None,
    })
}

enum Fate {
    Accepted,
    Dropped(String),
}

fn walk(base: &Base<'_>, name: &str, packet: &Packet<'_>, seen: &mut BTreeSet<String>) -> Option<Fate> {
    if !seen.insert(name.to_owned()) {
        return None;
    }
    for rule in base.rules.get(name).into_iter().flatten() {
        if !meets(rule, packet) {
            continue;
        }
        match &rule.verdict {
            // What a rule with conditions that are not understood does is not known: what may save the packet is taken
            // to do so, what may drop it is not, so that nothing is reported that may not be.
            Some(Verdict::Accept) => return Some(Fate::Accepted),
            Some(Verdict::Return) if !certain(rule, packet) => return Some(Fate::Accepted),
            Some(Verdict::Return) => return None,
            Some(Verdict::Drop | Verdict::Reject) if certain(rule, packet) => {
                return Some(Fate::Dropped(words(rule, base.kind)));
            }
            Some(Verdict::Jump(to)) => match walk(base, to, packet, seen) {
                Some(Fate::Dropped(_)) if !certain(rule, packet) => {}
                Some(fate) => return Some(fate),
                None => {}
            },
            _ => {}
        }
    }
    None
}

/// Whether nothing but what is known of the packet decides whether it meets the rule: of a device only where it can
/// take no other.
fn certain(rule: &Rule, packet: &Packet<'_>) -> bool {
    let devices = rule.one_of.iter().any(|one| matches!(one, OneOf::Input(_) | OneOf::Output(_)));
    let by_device = rule.input.is_some() || rule.output.is_some() || devices;
    !rule.more && (!by_device || packet.devices.len() == 1)
}

/// Whether a rule for a device may be met by a packet that takes one of these.
fn by(device: Option<&String>, devices: &[&str]) -> bool {
    device.is_none_or(|rule| match rule.strip_suffix('+') {
        Some(start) => devices.iter().any(|name| name.starts_with(start)),
        None => devices.contains(&rule.as_str()),
    })
}

fn meets(rule: &Rule, packet: &Packet<'_>) -> bool {
    let port = |(first, last): &(u16, u16)| packet.port.is_some_and(|port| (*first..=*last).contains(&port));
    !rule.later
        && rule.protocol.is_none_or(|protocol| protocol == packet.protocol)
        && rule.ports.is_none_or(|ports| port(&ports))
        && rule.from.is_none_or(|network| network.contains(packet.from))
        && rule.to.is_none_or(|network| network.contains(packet.to))
        && by(rule.input.as_ref(), &packet.devices)
        && by(rule.output.as_ref(), &packet.devices)
        && rule.one_of.iter().all(|one| match one {
            OneOf::Protocols(all) => all.contains(&packet.protocol),
            OneOf::Ports(all) => all.iter().any(port),
            OneOf::From(all) => all.iter().any(|(first, last)| (*first..=*last).contains(&packet.from)),
            OneOf::To(all) => all.iter().any(|(first, last)| (*first..=*last).contains(&packet.to)),
            OneOf::Input(all) | OneOf::Output(all) => all.iter().any(|device| by(Some(device), &packet.devices)),
        })
}

fn words(rule: &Rule, kind: &str) -> String {
    let mut out = format!("table {}{kind}, chain {}:", rule.table, rule.chain);
    let mut add = |text: String| out += &format!(" {text}");
    rule.protocol.iter().for_each(|protocol| add(format!("protocol {protocol}")));
    rule.from.iter().for_each(|from| add(format!("from {from}")));
    rule.to.iter().for_each(|to| add(format!("to {to}")));
    rule.input.iter().for_each(|name| add(format!("in by {}", super::logs::printable(name))));
    let ports = rule.one_of.iter().flat_map(|one| match one {
        OneOf::Ports(all) => all.as_slice(),
        _ => &[],
    });
    for (first, last) in rule.ports.iter().chain(ports.take(4)) {
        add(if first == last { format!("port {first}") } else { format!("ports {first}-{last}") });
    }
    add(if rule.verdict == Some(Verdict::Reject) { "reject" } else { "drop" }.to_owned());
    out
}

/// The device that leads to another host; all that lead out where no route does.
fn towards(tables: &Tables, peer: IpAddr) -> Vec<&str> {
    let link = tables.route_to(peer).and_then(|route| tables.by_index(route.link?));
    match link {
        Some(link) => vec![link.name.as_str()],
        None => uplink_addresses(tables).map(|(link, _)| link.name.as_str()).collect(),
    }
}

fn blocked(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for (host, kernel) in fleet.nodes() {
        let doors = Doors::new(kernel);
        for vxlan in kernel.tables.links.iter().filter_map(|link| link.vxlan.as_ref()) {
            let Some(own) = vxlan.local else { continue };
            let mut peers = kernel.tables.forwards.iter().map(|entry| entry.host).filter(|peer| peer.is_ipv4());
            let dropped = peers.find_map(|peer| doors.closed((17, Some(vxlan.port)), own, peer));
            out.extend(dropped.map(|rule| Found::on(&host.name, rule)));
        }
    }
    out
}

/// What packets of a host itself pass: in, and out.
pub struct Doors<'a> {
    tables: &'a Tables,
    enter: Vec<Base<'a>>,
    leave: Vec<Base<'a>>,
}

impl<'a> Doors<'a> {
    /// Those of a host.
    pub fn new(kernel: &'a Kernel) -> Doors<'a> {
        let enter = [PREROUTING, INPUT].into_iter().flat_map(|hook| at(kernel, hook)).collect();
        Doors { tables: &kernel.tables, enter, leave: at(kernel, OUTPUT) }
    }

    /// The rule that throws away what comes from a peer, or goes to it.
    fn closed(&self, (protocol, port): (u8, Option<u16>), own: IpAddr, peer: IpAddr) -> Option<String> {
        let devices = towards(self.tables, peer);
        let packet = |from, to| Packet { protocol, port, from, to, devices: devices.clone() };
        dropped(&self.enter, &packet(peer, own)).or_else(|| dropped(&self.leave, &packet(own, peer)))
    }

    /// The rule that throws away what comes from a peer.
    pub fn enters(&self, (protocol, port): (u8, Option<u16>), own: IpAddr, peer: IpAddr) -> Option<String> {
        let packet = Packet { protocol, port, from: peer, to: own, devices: towards(self.tables, peer) };
        dropped(&self.enter, &packet)
    }
}

/// A port that hosts of a cluster reach each other by: its name, whose it is, and who has to reach it.
type Service = (&'static str, u8, Option<u16>, fn(&HostFacts) -> bool, fn(&HostFacts) -> bool);

/// Ports of Kubernetes and Calico, where nothing else is set. An API server has etcd on its own host; Calico's hosts may
/// know routes from a reflector alone, and need no tunnel on one link: they are looked at where no route came, and where
/// one leads through the tunnel.
const SERVICES: [Service; 5] = [
    ("the API server", 6, Some(6443), |host| runs(host, "kube-apiserver"), HostFacts::is_node),
    ("the kubelet", 6, Some(10250), HostFacts::is_node, |host| runs(host, "kube-apiserver")),
    ("etcd's peers", 6, Some(2380), |host| runs(host, "etcd"), |host| runs(host, "etcd")),
    ("Calico's BGP", 6, Some(179), |host| has_bird(host) && bird_routes(host, None) == 0, has_bird),
    ("Calico's IP in IP", 4, None, tunnels, tunnels),
];

fn runs(host: &HostFacts, pod: &str) -> bool {
    host.kube.manifests.iter().any(|manifest| manifest.name == pod && manifest.error.is_none())
}

fn has_bird(host: &HostFacts) -> bool {
    host.kernel.as_ref().is_some_and(|kernel| kernel.process("bird").is_some())
}

/// How many routes bird made, through a device if one is named.
fn bird_routes(host: &HostFacts, device: Option<&str>) -> usize {
    let Some(tables) = host.tables() else { return 0 };
    let link = device.map(|name| tables.link(name).map(|link| link.index));
    super::calico::bird(tables).filter(|route| link.is_none_or(|link| link.is_some() && route.link == link)).count()
}

fn tunnels(host: &HostFacts) -> bool {
    bird_routes(host, Some("tunl0")) > 0
}

/// The port that a part of the control plane is told to take instead.
fn port(host: &HostFacts, name: &str, usual: Option<u16>) -> Option<u16> {
    let told = (name == "the API server").then(|| host.kube.flag("kube-apiserver", "--secure-port")).flatten();
    told.and_then(|text| text.parse().ok()).or(usual)
}

fn port_blocked(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    let way = fleet.private_way();
    for (host, kernel) in fleet.nodes() {
        let doors = Doors::new(kernel);
        let mut found = Found { hosts: vec![host.name.clone()], ..Found::default() };
        for (name, protocol, usual, _, reaches) in SERVICES.iter().filter(|(.., serves, _)| serves(host)) {
            let wanted = (*protocol, port(host, name, *usual));
            let peers = fleet.hosts.iter().filter(|peer| peer.name != host.name && reaches(peer));
            let dropped = peers.filter_map(|peer| Some((peer, between(way.as_ref(), host, peer)?)));
            let dropped = dropped.into_iter().find_map(|(peer, (own, other))| {
                let rule = doors.enters(wanted, own, other)?;
                Some(format!("{name} cannot be reached by {} ({other}): {rule}", peer.name))
            });
            found.evidence.extend(dropped);
        }
        if !found.evidence.is_empty() {
            out.push(found);
        }
    }
    out
}

/// The addresses that two hosts reach each other by.
fn between(way: Option<&PrivateWay<'_>>, host: &HostFacts, peer: &HostFacts) -> Option<(IpAddr, IpAddr)> {
    let (own, other) = (host.tables()?, peer.tables()?);
    let near = uplink_addresses(own).find_map(|(_, network)| {
        let (_, there) = uplink_addresses(other).find(|(_, there)| network.contains(there.ip))?;
        Some((network.ip, there.ip))
    });
    near.or_else(|| Some((way?.of(&host.name)?.1, way?.of(&peer.name)?.1)))
}

fn forward_drop(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for (host, kernel) in fleet.nodes() {
        let Some(network) = pod_network(host) else { continue };
        let own = host.cni.subnet.as_ref().and_then(|subnet| subnet.subnet).unwrap_or(network);
        let links =
            kernel.tables.links.iter().filter(|link| !link.name.starts_with("docker") && !link.name.starts_with("br-"));
        let devices: Vec<&str> = links.map(|link| link.name.as_str()).filter(|name| *name != "lo").collect();
        let other = other_pod(&network, &own);
        let packet = |from, to| Packet { protocol: 6, port: Some(80), from, to, devices: devices.clone() };
        let bases = at(kernel, FORWARD);
        let dropped = dropped(&bases, &packet(own.ip, other)).or_else(|| dropped(&bases, &packet(other, own.ip)));
        out.extend(dropped.map(|rule| Found::on(&host.name, rule)));
    }
    out
}

/// An address of a pod that is not on this host.
fn other_pod(network: &Network, own: &Network) -> IpAddr {
    let IpAddr::V4(base) = network.first() else { return network.ip };
    let step = u32::try_from(own.size()).unwrap_or(256);
    let first = u32::from(base).saturating_add(10);
    let other = if own.contains(IpAddr::from(first.to_be_bytes())) { first.saturating_add(step) } else { first };
    IpAddr::from(other.to_be_bytes())
}

fn ours(name: &str) -> bool {
    ["KUBE-", "FLANNEL-"].iter().any(|start| name.starts_with(start))
}

fn two_backends(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for (host, kernel) in fleet.nodes() {
        let new = kernel.ruleset.chains.iter().filter(|chain| ours(&chain.name) && chain.rules > 0).count();
        let old = kernel.legacy.iter().filter(|chain| ours(&chain.name) && chain.rules > 0).count();
        if new > 0 && old > 0 {
            out.push(Found::on(
                &host.name,
                format!("{new} chains of Kubernetes in nf_tables, {old} in the older iptables"),
            ));
        }
    }
    out
}

fn managed(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for (host, kernel) in fleet.nodes() {
        if let Some(process) = kernel.process("firewalld") {
            out.push(Found::on(&host.name, format!("firewalld runs, as process {}", process.pid)));
        }
        if host.system.ufw {
            out.push(Found::on(&host.name, "/etc/ufw/ufw.conf has ENABLED=yes"));
        }
    }
    out
}

fn no_masquerade(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for (host, kernel) in fleet.nodes() {
        // Rules of IPv6 are not read.
        let masquerades = |subnet: &Subnet| subnet.masquerade && (subnet.subnet.is_some() || subnet.subnet6.is_none());
        let wanted = host.cni.subnet.as_ref().is_some_and(masquerades) && host.cni.uses("flannel");
        let unread =
            host.unread.iter().any(|unread| unread.what.contains("iptables") || unread.what.contains("nf_tables"));
        let chains = kernel.ruleset.chains.iter().map(|chain| (chain.name.as_str(), chain.table.as_str(), chain.rules));
        let mut chains = chains.chain(kernel.legacy.iter().map(|c| (c.name.as_str(), c.table.as_str(), c.rules)));
        let there =
            chains.any(|(name, table, rules)| rules > 0 && (name == "FLANNEL-POSTRTG" || table.starts_with("flannel")));
        // Versions before 0.21 put their rules into POSTROUTING itself.
        let rules = &kernel.ruleset.rules;
        let older = rules
            .iter()
            .any(|r| r.chain == "POSTROUTING" && r.does.iter().any(|what| what == "MASQUERADE") && r.from.is_some());
        if wanted && !unread && !there && !older {
            out.push(Found::on(&host.name, "FLANNEL_IPMASQ is true, and there is no chain FLANNEL-POSTRTG with rules"));
        }
    }
    out
}
