//! Calico: tunnels, and the routes that bird makes (protocol 12).

use super::Severity::Error;
use super::{Found, Row};
use crate::Fleet;
use crate::fleet::{is_public, uplink_addresses};
use crate::netlink::route::{Link, Tables};

const BIRD: u8 = 12;

/// The rows.
pub const ROWS: &[Row] = &[
    Row {
        id: "calico.public-peers",
        severity: Error,
        line: "Calico's hosts know each other by public addresses although they share a private network",
        symptoms: &[
            "calico-node Running, and pods of other nodes unreachable",
            "BGP not established",
            "IP_AUTODETECTION_METHOD",
        ],
        cause: "IP_AUTODETECTION_METHOD=first-found took the device of the default route; clouds drop IP in IP (protocol 4) there.",
        remedy: "Set IP_AUTODETECTION_METHOD=can-reach=PRIVATE-ADDRESS (or cidr=), or use VXLAN instead of IP in IP.",
        after: &[],
        check: public_peers,
    },
    Row {
        id: "calico.no-routes",
        severity: Error,
        line: "Calico has a tunnel, and no routes to other hosts' pods",
        symptoms: &[
            "BIRD is not ready: BGP not established with",
            "calico/node is not ready",
            "tunl0 has an address, pods of other nodes are unreachable",
        ],
        cause: "BGP (TCP port 179) between the hosts is blocked, or bird does not run.",
        remedy: "Open TCP 179 and IP in IP (protocol 4) between the hosts; look into the log of calico-node.",
        after: &["firewall.port-blocked"],
        check: no_routes,
    },
    Row {
        id: "calico.mtu",
        severity: Error,
        line: "packets of pods are too large for Calico's tunnel",
        symptoms: &["small requests work, large ones hang", "TLS handshake timeout"],
        cause: "IP in IP takes 20 bytes of each packet, VXLAN 50.",
        remedy: "Set veth_mtu of the ConfigMap calico-config (or the Installation's mtu) to that of the hosts' network less those.",
        after: &[],
        check: mtu,
    },
];

/// The tunnel, and how much it takes of a packet.
fn tunnel(tables: &Tables) -> Option<(&Link, u32)> {
    let named = |name: &str, takes: u32| tables.link(name).map(|link| (link, takes));
    let found = named("vxlan.calico", 50).or_else(|| named("tunl0", 20))?;
    tables.addresses_of(found.0).next().map(|_| found)
}

/// Routes that bird made, to pods of other hosts.
pub(super) fn bird(tables: &Tables) -> impl Iterator<Item = &crate::netlink::route::Route> {
    tables.routes.iter().filter(|route| route.protocol == BIRD && route.kind == 1 && route.via.is_some())
}

fn public_peers(fleet: &Fleet) -> Vec<Found> {
    if fleet.private_way().is_none() {
        return Vec::new();
    }
    let mut out = Vec::new();
    for (host, kernel) in fleet.nodes() {
        let public = bird(&kernel.tables).find(|route| route.via.is_some_and(is_public));
        if let Some((route, via)) = public.and_then(|route| Some((route, route.via?))) {
            out.push(Found::on(&host.name, format!("route {} via {via}", route.to)));
        }
    }
    out
}

fn no_routes(fleet: &Fleet) -> Vec<Found> {
    let with: Vec<_> = fleet
        .nodes()
        .filter(|(_, kernel)| tunnel(&kernel.tables).is_some_and(|(link, _)| link.name == "tunl0"))
        .collect();
    if with.len() < 2 {
        return Vec::new();
    }
    let bare = with.into_iter().filter(|(_, kernel)| bird(&kernel.tables).next().is_none());
    bare.map(|(host, _)| Found::on(&host.name, "tunl0 has an address, and bird made no route")).collect()
}

fn mtu(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for (host, kernel) in fleet.nodes() {
        let Some((link, takes)) = tunnel(&kernel.tables) else { continue };
        let smallest = uplink_addresses(&kernel.tables).map(|(uplink, _)| uplink.mtu).max();
        if let Some(uplink) = smallest.filter(|uplink| link.mtu + takes > *uplink) {
            let seen = format!(
                "{} has MTU {}; the host's network allows {}",
                link.name,
                link.mtu,
                uplink.saturating_sub(takes)
            );
            out.push(Found::on(&host.name, seen));
        }
    }
    out
}
