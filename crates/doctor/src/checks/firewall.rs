//! Rules that stand in the way of pods, and rules that are missing.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::Severity::{Error, Warning};
use super::{Found, Row};
use crate::Fleet;
use crate::facts::Network;
use crate::facts::kernel::Kernel;
use crate::fleet::uplink_addresses;
use crate::netlink::nft::{Chain, Rule, Verdict};

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

/// Chains of IPv4 that packets enter at a hook.
fn at(kernel: &Kernel, hook: u32) -> impl Iterator<Item = &Chain> {
    kernel.ruleset.chains.iter().filter(move |chain| chain.hook == Some(hook) && matches!(chain.family, 1 | 2))
}

fn rules<'a>(kernel: &'a Kernel, family: u8, table: &'a str, chain: &'a str) -> impl Iterator<Item = &'a Rule> {
    kernel.ruleset.rules.iter().filter(move |r| r.family == family && r.table == table && r.chain == chain)
}

/// A packet, as far as rules look at it.
pub struct Packet<'a> {
    /// Devices that it may come in by, or leave by.
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
    at(kernel, hook).find_map(|base| match walk(kernel, base, &base.name, packet, &mut BTreeSet::new()) {
        Some(Fate::Dropped(rule)) => Some(rule),
        Some(Fate::Accepted) => None,
        None if base.drops => Some(format!("chain {} of table {} drops what no rule accepts", base.name, base.table)),
        None => None,
    })
}

enum Fate {
    Accepted,
    Dropped(String),
}

fn walk(kernel: &Kernel, base: &Chain, name: &str, packet: &Packet<'_>, seen: &mut BTreeSet<String>) -> Option<Fate> {
    if !seen.insert(name.to_owned()) {
        return None;
    }
    for rule in rules(kernel, base.family, &base.table, name) {
        if !meets(rule, packet) {
            continue;
        }
        match &rule.verdict {
            // What a rule with conditions that are not understood does is not known: what may save the packet is taken
            // to do so, what may drop it is not, so that nothing is reported that may not be.
            Some(Verdict::Accept) => return Some(Fate::Accepted),
            Some(Verdict::Return) if rule.more => return Some(Fate::Accepted),
            Some(Verdict::Return) => return None,
            Some(Verdict::Drop | Verdict::Reject) if certain(rule) => return Some(Fate::Dropped(words(rule))),
            Some(Verdict::Jump(to)) => match walk(kernel, base, to, packet, seen) {
                Some(Fate::Dropped(_)) if !certain(rule) => {}
                Some(fate) => return Some(fate),
                None => {}
            },
            _ => {}
        }
    }
    None
}

/// Whether nothing but addresses, protocol and port decide whether a packet meets the rule.
fn certain(rule: &Rule) -> bool {
    !rule.more && rule.input.is_none() && rule.output.is_none()
}

/// Whether a rule for a device may be met by a packet that takes one of these.
fn by(device: Option<&String>, devices: &[&str]) -> bool {
    device.is_none_or(|rule| match rule.strip_suffix('+') {
        Some(start) => devices.iter().any(|name| name.starts_with(start)),
        None => devices.contains(&rule.as_str()),
    })
}

fn meets(rule: &Rule, packet: &Packet<'_>) -> bool {
    !rule.later
        && rule.protocol.is_none_or(|protocol| protocol == packet.protocol)
        && rule.ports.is_none_or(|(first, last)| packet.port.is_some_and(|port| (first..=last).contains(&port)))
        && rule.from.is_none_or(|network| network.contains(packet.from))
        && rule.to.is_none_or(|network| network.contains(packet.to))
        && by(rule.input.as_ref(), &packet.devices)
        && by(rule.output.as_ref(), &packet.devices)
}

fn words(rule: &Rule) -> String {
    let mut out = format!("table {}, chain {}:", rule.table, rule.chain);
    let mut add = |text: String| out += &format!(" {text}");
    rule.protocol.iter().for_each(|protocol| add(format!("protocol {protocol}")));
    rule.from.iter().for_each(|from| add(format!("from {from}")));
    rule.to.iter().for_each(|to| add(format!("to {to}")));
    rule.input.iter().for_each(|name| add(format!("in by {}", super::logs::printable(name))));
    match rule.ports {
        Some((first, last)) if first == last => add(format!("port {first}")),
        Some((first, last)) => add(format!("ports {first}-{last}")),
        None => {}
    }
    add(if rule.verdict == Some(Verdict::Reject) { "reject" } else { "drop" }.to_owned());
    out
}

fn blocked(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for (host, kernel) in fleet.nodes() {
        for vxlan in kernel.tables.links.iter().filter_map(|link| link.vxlan.as_ref()) {
            let Some(own) = vxlan.local else { continue };
            let peers = kernel.tables.forwards.iter().map(|entry| entry.host).filter(|peer| peer.is_ipv4());
            let dropped = peers.into_iter().find_map(|peer| {
                let devices: Vec<&str> = uplink_addresses(&kernel.tables).map(|(link, _)| link.name.as_str()).collect();
                let port = Some(vxlan.port);
                let packet = |from, to| Packet { protocol: 17, port, from, to, devices: devices.clone() };
                let arriving =
                    [PREROUTING, INPUT].iter().find_map(|hook| dropped_at(kernel, *hook, &packet(peer, own)));
                arriving.or_else(|| dropped_at(kernel, OUTPUT, &packet(own, peer)))
            });
            out.extend(dropped.map(|rule| Found::on(&host.name, rule)));
        }
    }
    out
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
        let in_nft = dropped_at(kernel, FORWARD, &packet(own.ip, other))
            .or_else(|| dropped_at(kernel, FORWARD, &packet(other, own.ip)));
        let legacy =
            kernel.legacy.iter().find(|chain| chain.table == "filter" && chain.name == "FORWARD" && chain.drops);
        // Rules of the older kind are not read one by one: those that are known to accept pods are looked for by name.
        let accepts = kernel.legacy.iter().any(|chain| chain.name == "FLANNEL-FWD" && chain.rules > 0);
        let in_legacy = legacy.filter(|_| !accepts).map(|_| "the older iptables: policy of FORWARD is DROP".to_owned());
        out.extend(in_nft.or(in_legacy).map(|rule| Found::on(&host.name, rule)));
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
        let wanted = host.cni.subnet.as_ref().is_some_and(|subnet| subnet.masquerade) && host.cni.uses("flannel");
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
