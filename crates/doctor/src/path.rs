//! A packet's way from one address of a pod to another, hop by hop, as the tables of the hosts have it.
//!
//! Each hop is what a kernel would do with the packet, and the first that would lose it is named. What is between the
//! hosts (switches, a cloud's security groups) is not in any table: a way that leads from host to host has a
//! [`Crossing`] there, and [`prove`] sends packets over it.
//!
//! The address of a service is followed to the pods behind it, as the rules of the host have it that sends.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::checks::firewall::{Doors, Packet, dropped_at};
use crate::fleet::{Fleet, uplink_addresses};
use crate::netlink::route::{Link, Route, Tables};
use crate::netlink::services::Service;
use crate::probe::{self, Agent, Kind, Probe};
use crate::{HostFacts, checks};

/// Endpoints of a service that are followed.
const ENDPOINTS: usize = 4;
/// Pairs of hosts between which packets are sent when all are to be tried.
pub const PAIRS: usize = 500;
/// The port at which the kubelet of every node listens.
const KUBELET: u16 = 10250;

/// One step.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub struct Hop {
    /// Where.
    pub host: String,
    /// What happens to the packet.
    pub what: String,
    /// Why the packet is lost here.
    pub lost: Option<String>,
}

/// Where a way leads from one host to another, with a packet that shows whether it does.
#[derive(Debug, Clone, PartialEq)]
pub struct Crossing {
    /// From which host.
    pub from: String,
    /// To which.
    pub to: String,
    /// What is to be sent.
    pub probe: Probe,
}

/// A way.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trace {
    /// Its steps.
    pub hops: Vec<Hop>,
    /// Where it goes from host to host.
    pub crossings: Vec<Crossing>,
    /// The host it starts from.
    pub start: String,
    /// Whether it starts in a pod.
    pub pod: bool,
    /// Where it ends, with the port that a service has there.
    pub ends: Vec<(IpAddr, Option<u16>)>,
}

/// The way from one address to another; it ends where the packet arrives or is lost.
///
/// # Errors
/// When no host of the fleet has the address that it starts from.
pub fn trace(fleet: &Fleet, from: IpAddr, to: IpAddr, port: Option<u16>) -> Result<Trace, String> {
    let start = home(fleet, from).ok_or_else(|| format!("no host that was looked at has {from}, or pods with it"))?;
    let pod = start.tables().is_none_or(|tables| tables.owner(from).is_none());
    let mut out = Trace { start: start.name.clone(), pod, ..Trace::default() };
    let Some(service) = service(fleet, start, to, port) else {
        follow(fleet, start, (from, to, port), &mut out);
        return Ok(out);
    };
    let name = if service.found.name.is_empty() { String::new() } else { format!(" ({})", service.found.name) };
    let what = format!("service {to}:{}{name}", service.found.port);
    let hop = |what, lost| Hop { host: start.name.clone(), what, lost };
    if !service.own {
        out.hops.push(hop(what, Some("the rules of other hosts have it, those of this one do not".to_owned())));
        return Ok(out);
    }
    let endpoints = &service.found.endpoints;
    if endpoints.is_empty() {
        out.hops.push(hop(what, Some("has no endpoints: connections are refused".to_owned())));
        return Ok(out);
    }
    out.hops.push(hop(format!("{what} leads to {} endpoints", endpoints.len()), None));
    for (ip, port) in endpoints.iter().take(ENDPOINTS) {
        out.hops.push(hop(format!("rules of services make it {ip}:{port}"), None));
        follow(fleet, start, (from, *ip, Some(*port)), &mut out);
    }
    if endpoints.len() > ENDPOINTS {
        out.hops.push(hop(format!("{} more endpoints are not followed", endpoints.len() - ENDPOINTS), None));
    }
    Ok(out)
}

/// A service, and whether the host that sends knows it itself.
struct Followed<'a> {
    found: &'a Service,
    own: bool,
}

/// The service that has an address: one of its own, or a port of each host.
fn service<'a>(fleet: &'a Fleet, start: &'a HostFacts, to: IpAddr, port: Option<u16>) -> Option<Followed<'a>> {
    let host = fleet.owner(to).is_some();
    let fits = |service: &&Service| match service.ip {
        Some(ip) => ip == to && port.is_none_or(|port| port == service.port),
        None => host && port == Some(service.port),
    };
    let of = |host: &'a HostFacts| host.kernel.as_ref().and_then(|kernel| kernel.services.iter().find(fits));
    let others = || fleet.hosts.iter().find_map(of);
    of(start)
        .map(|found| Followed { found, own: true })
        .or_else(|| others().map(|found| Followed { found, own: false }))
}

fn follow(fleet: &Fleet, start: &HostFacts, (from, to, port): (IpAddr, IpAddr, Option<u16>), out: &mut Trace) {
    let mut way = Way { fleet, from, to, hops: Vec::new(), crossings: Vec::new() };
    way.leave(start);
    out.hops.append(&mut way.hops);
    for crossing in way.crossings {
        if !out.crossings.contains(&crossing) {
            out.crossings.push(crossing);
        }
    }
    out.ends.push((to, port));
}

/// The crossing between each two hosts that have pods, at most [`PAIRS`] of them.
pub fn pairs(fleet: &Fleet) -> Vec<Crossing> {
    let own = |host: &HostFacts| host.cni.subnet.as_ref().and_then(|subnet| subnet.subnet).map(|subnet| subnet.ip);
    let mut out = Vec::new();
    for (index, a) in fleet.hosts.iter().enumerate() {
        for b in fleet.hosts.iter().skip(index + 1) {
            if out.len() == PAIRS {
                return out;
            }
            let (Some(from), Some(to)) = (own(a), own(b)) else { continue };
            let mut found = Trace::default();
            follow(fleet, a, (from, to, None), &mut found);
            out.extend(found.crossings.into_iter().find(|crossing| crossing.from == a.name && crossing.to == b.name));
        }
    }
    out
}

/// A connection that one host makes to another, at an address of its pods' network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connecting {
    /// The host that makes it.
    pub from: String,
    /// The host that has the address.
    pub to: String,
    /// The address, and the port of the kubelet.
    pub at: SocketAddr,
}

/// Connections of IPv6 between each two hosts whose pods have addresses of it, in both directions: at most [`PAIRS`] pairs.
/// Whoever answers, be it that nobody listens, has been reached through the network of pods.
pub fn connections(fleet: &Fleet) -> Vec<Connecting> {
    let own = |host: &HostFacts| {
        let network = host.cni.subnet.as_ref()?.subnet6?;
        let all = host.tables()?.addresses.iter().map(|address| address.ip).filter(|ip| network.contains(*ip));
        // The first one of the network is a tunnel's, which is there before any pod.
        all.min()
    };
    let known: Vec<(&str, IpAddr)> =
        fleet.hosts.iter().filter_map(|host| Some((host.name.as_str(), own(host)?))).collect();
    let pairs = known.iter().enumerate().flat_map(|(index, a)| known.iter().skip(index + 1).map(move |b| (a, b)));
    let one = |(from, _): &(&str, IpAddr), (to, ip): &(&str, IpAddr)| Connecting {
        from: (*from).to_owned(),
        to: (*to).to_owned(),
        at: SocketAddr::new(*ip, KUBELET),
    };
    pairs.take(PAIRS).flat_map(|(a, b)| [one(a, b), one(b, a)]).collect()
}

/// What packets say about a way: over each crossing, forth and back, then a connection from where it starts.
///
/// `agents` finds who sends and listens on a host. `wait` is how long a listener and a connection may take.
pub fn prove<'a>(
    trace: &Trace,
    target: SocketAddr,
    from: IpAddr,
    agents: &dyn Fn(&str) -> Option<&'a dyn Agent>,
    wait: Duration,
) -> Vec<Hop> {
    let mut out = Vec::new();
    let silent = |host: &str| Hop { host: host.to_owned(), what: "probe: nobody can send here".to_owned(), lost: None };
    for crossing in &trace.crossings {
        let (Some(a), Some(b)) = (agents(&crossing.from), agents(&crossing.to)) else {
            out.push(silent(&crossing.from));
            continue;
        };
        let (a, b) = ((crossing.from.as_str(), a), (crossing.to.as_str(), b));
        out.extend(probe::prove(&crossing.probe, a, b, wait));
        out.extend(probe::prove(&crossing.probe.back(), b, a, wait));
    }
    match agents(&trace.start) {
        Some(agent) => {
            let pod = Some(from).filter(|_| trace.pod);
            out.push(probe::connect(target, pod, (trace.start.as_str(), agent), wait));
        }
        None => out.push(silent(&trace.start)),
    }
    out
}

/// The host that has an address, on a device or as one of its pods'.
fn home(fleet: &Fleet, ip: IpAddr) -> Option<&HostFacts> {
    let of_pods =
        |host: &&HostFacts| host.cni.subnet.as_ref().and_then(|s| s.subnet).is_some_and(|own| own.contains(ip));
    fleet.owner(ip).or_else(|| fleet.hosts.iter().find(of_pods))
}

struct Way<'a> {
    fleet: &'a Fleet,
    from: IpAddr,
    to: IpAddr,
    hops: Vec<Hop>,
    crossings: Vec<Crossing>,
}

impl<'a> Way<'a> {
    fn hop(&mut self, host: &HostFacts, what: impl Into<String>) {
        self.hops.push(Hop { host: host.name.clone(), what: what.into(), lost: None });
    }

    fn lost(&mut self, host: &HostFacts, what: impl Into<String>, why: impl Into<String>) {
        self.hops.push(Hop { host: host.name.clone(), what: what.into(), lost: Some(why.into()) });
    }

    /// A way between two hosts that packets of IPv4 can be sent over.
    fn crosses(&mut self, from: &HostFacts, to: &HostFacts, kind: Kind, (inner, mtu): ((IpAddr, IpAddr), u32)) {
        if let (IpAddr::V4(a), IpAddr::V4(b)) = inner {
            let probe = Probe { kind, from: a, to: b, mtu: u16::try_from(mtu).unwrap_or(u16::MAX).min(9000) };
            self.crossings.push(Crossing { from: from.name.clone(), to: to.name.clone(), probe });
        }
    }

    fn packet(&self, tables: &'a Tables) -> Packet<'a> {
        let names = tables.links.iter().map(|link| link.name.as_str());
        let devices =
            names.filter(|name| *name != "lo" && !name.starts_with("docker") && !name.starts_with("br-")).collect();
        Packet { protocol: 6, port: Some(80), from: self.from, to: self.to, devices }
    }

    /// Out of the pod, through rules and routes of its host.
    fn leave(&mut self, host: &'a HostFacts) {
        let Some(kernel) = &host.kernel else { return self.lost(host, "its kernel", "was not looked at") };
        let tables = &kernel.tables;
        let own = tables.owner(self.from).is_some();
        if !own && !self.leaves_pod(host, tables) {
            return;
        }
        let Some(route) = tables.route_from(Some(self.from), self.to) else {
            return self.lost(host, format!("route to {}", self.to), "there is none");
        };
        let Some(link) = route.link.and_then(|index| tables.by_index(index)) else {
            return self.lost(
                host,
                format!("route {}", route.to),
                "leads nowhere: a black hole, or its device is gone",
            );
        };
        let via = route.via.map(|via| format!(" via {via}")).unwrap_or_default();
        self.hop(host, format!("route {}{via} dev {}", route.to, link.name));
        if !link.up {
            return self.lost(host, format!("device {}", link.name), "is down");
        }
        if !own {
            if kernel.setting("net/ipv4/ip_forward") == Some(0) {
                return self.lost(host, "forwarding", "net.ipv4.ip_forward is 0");
            }
            if let Some(rule) = dropped_at(kernel, 2, &self.packet(tables)) {
                return self.lost(host, "rules of FORWARD", rule);
            }
            self.hop(host, "rules of FORWARD let it pass");
        }
        match &link.vxlan {
            Some(_) => self.tunnel(host, tables, route, link),
            None if link.name == "cni0" || tables.owner(self.to).is_some() => self.deliver(host, tables),
            None => self.plain(host, tables, route, link),
        }
    }

    /// What is known of the pod's end: its bridge, and how many pods are on it.
    fn leaves_pod(&mut self, host: &HostFacts, tables: &Tables) -> bool {
        let what = format!("pod {} sends", self.from);
        match tables.link("cni0") {
            None => self.hop(host, format!("{what}; there is no cni0")),
            Some(bridge) if !bridge.up => self.lost(host, what, "its bridge cni0 is down"),
            Some(bridge) => {
                let ports = tables.links.iter().filter(|link| link.master == Some(bridge.index)).count();
                self.hop(host, format!("{what} by the bridge cni0, which has {ports} pods"));
            }
        }
        self.hops.iter().all(|hop| hop.lost.is_none())
    }

    /// Through VXLAN: the tunnel's neighbour, the host behind it, the way there, its rules.
    fn tunnel(&mut self, host: &'a HostFacts, tables: &'a Tables, route: &Route, link: &Link) {
        let next = route.via.unwrap_or(self.to);
        let entry = tables.neighbours.iter().find(|entry| entry.link == link.index && entry.ip == next);
        let Some(mac) = entry.and_then(|entry| entry.mac) else {
            return self.lost(host, format!("neighbour {next} dev {}", link.name), "is not known");
        };
        self.hop(host, format!("neighbour {next} is {mac}"));
        let Some(forward) = tables.forwards.iter().find(|entry| entry.link == link.index && entry.mac == mac) else {
            return self.lost(host, format!("entry for {mac} dev {}", link.name), "there is none");
        };
        let vxlan = link.vxlan.clone().unwrap_or_default();
        let local = vxlan.local.map(|ip| ip.to_string()).unwrap_or_default();
        self.hop(host, format!("packed into UDP {} (VNI {}) from {local} to {}", vxlan.port, vxlan.vni, forward.host));
        let Some(peer) = self.fleet.owner(forward.host) else {
            return self.lost(host, format!("host {}", forward.host), "is none of those that were looked at");
        };
        let Some(kernel) = &peer.kernel else { return self.lost(peer, "its kernel", "was not looked at") };
        self.hop(peer, "what is between the hosts is in no table");
        let own = tables.addresses_of(link).map(|address| address.ip).find(IpAddr::is_ipv4);
        if let (Some(IpAddr::V4(local)), IpAddr::V4(remote), Some(sender), Some(own)) =
            (vxlan.local, forward.host, link.mac, own)
        {
            let kind = Kind::Vxlan { hosts: (local, remote), port: vxlan.port, vni: vxlan.vni, macs: (sender, mac) };
            self.crosses(host, peer, kind, ((own, next), link.mtu));
        }
        let outer = (17, Some(vxlan.port));
        if let Some(rule) = vxlan.local.and_then(|from| Doors::new(kernel).enters(outer, forward.host, from)) {
            return self.lost(peer, "rules of INPUT", rule);
        }
        let listens =
            |other: &&Link| other.vxlan.as_ref().is_some_and(|own| own.port == vxlan.port && own.vni == vxlan.vni);
        let Some(device) = kernel.tables.links.iter().find(listens) else {
            return self.lost(peer, "unpacking", format!("no device takes UDP {} with VNI {}", vxlan.port, vxlan.vni));
        };
        match device.mac {
            _ if !device.up => self.lost(peer, format!("device {}", device.name), "is down"),
            Some(own) if own != mac => {
                self.lost(peer, format!("device {}", device.name), format!("has {own}, the packet is for {mac}"));
            }
            _ => {
                self.hop(peer, format!("unpacked by {}", device.name));
                self.arrive(peer);
            }
        }
    }

    /// Without a tunnel: to the host that is next.
    fn plain(&mut self, host: &'a HostFacts, tables: &'a Tables, route: &Route, link: &Link) {
        let next = route.via.unwrap_or(self.to);
        let peer = self.fleet.owner(next).filter(|peer| peer.name != host.name);
        match peer {
            Some(peer) => {
                self.hop(host, format!("to {next} by {}", link.name));
                self.hop(peer, "what is between the hosts is in no table");
                let inner = (self.from, self.to);
                // Pods' packets may be smaller than the device allows: it is they that have to arrive.
                let pods = tables.link("cni0").filter(|_| tables.owner(self.from).is_none());
                let mtu = pods.map_or(link.mtu, |bridge| bridge.mtu.min(link.mtu));
                match (link.kind.as_deref(), local(tables, next), next) {
                    (Some("ipip"), Some(local), IpAddr::V4(remote)) => {
                        self.crosses(host, peer, Kind::Ipip { hosts: (local, remote) }, (inner, link.mtu));
                    }
                    _ => self.crosses(host, peer, Kind::Plain, (inner, mtu)),
                }
                self.arrive(peer);
            }
            None if tables.owner(next).is_some() => self.deliver(host, tables),
            None if checks::firewall::pod_network(host).is_some_and(|network| network.contains(self.to)) => {
                let why = "leaves the hosts that were looked at, though it is for a pod";
                self.lost(host, format!("to {next} by {}", link.name), why);
            }
            None => self.hop(host, format!("leaves by {} for {next}: what comes after is not known", link.name)),
        }
    }

    /// Through rules and routes of the last host.
    fn arrive(&mut self, host: &'a HostFacts) {
        let Some(kernel) = &host.kernel else { return self.lost(host, "its kernel", "was not looked at") };
        let tables = &kernel.tables;
        if tables.owner(self.to).is_some() {
            return self.deliver(host, tables);
        }
        if kernel.setting("net/ipv4/ip_forward") == Some(0) {
            return self.lost(host, "forwarding", "net.ipv4.ip_forward is 0");
        }
        if let Some(rule) = dropped_at(kernel, 2, &self.packet(tables)) {
            return self.lost(host, "rules of FORWARD", rule);
        }
        match tables.route_from(Some(self.from), self.to).and_then(|route| Some((route, tables.by_index(route.link?)?)))
        {
            None => self.lost(host, format!("route to {}", self.to), "there is none"),
            Some((route, link)) if link.vxlan.is_some() => {
                self.lost(host, format!("route {} dev {}", route.to, link.name), "leads back into the tunnel");
            }
            Some((_, link)) if !link.up => self.lost(host, format!("device {}", link.name), "is down"),
            Some((route, link)) => {
                self.hop(host, format!("route {} dev {}", route.to, link.name));
                self.deliver(host, tables);
            }
        }
    }

    fn deliver(&mut self, host: &HostFacts, tables: &Tables) {
        let to = self.to;
        if let Some(link) = tables.owner(to) {
            return self.hop(host, format!("{to} is its own, on {}", link.name));
        }
        let leased = host.cni.stores.iter().flat_map(|store| &store.leases).any(|lease| lease.ip == to);
        let answered = tables.neighbours.iter().find(|entry| entry.ip == to);
        match answered {
            // 0x20: nobody answered.
            Some(entry) if entry.state & 0x20 != 0 => {
                self.lost(host, format!("pod {to}"), "does not answer ARP on cni0")
            }
            _ if !leased && !host.cni.stores.is_empty() => {
                self.lost(host, format!("pod {to}"), "no pod of the host has this address")
            }
            _ => self.hop(host, format!("pod {to}")),
        }
    }
}

/// The address that a host sends to a neighbour from.
fn local(tables: &Tables, next: IpAddr) -> Option<Ipv4Addr> {
    let near = uplink_addresses(tables).find(|(_, network)| network.contains(next));
    match near.or_else(|| uplink_addresses(tables).next())?.1.ip {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(_) => None,
    }
}

/// The way, a line each.
pub fn render(hops: &[Hop]) -> String {
    let mut out = String::new();
    for hop in hops {
        let mark = if hop.lost.is_some() { "LOST" } else { "ok" };
        let why = hop.lost.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        let line = checks::logs::printable(&format!("{}: {}{why}", hop.host, hop.what));
        out += &format!("{mark:<5} {line}\n");
    }
    out
}
