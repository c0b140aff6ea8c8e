//! The three entries that a host has for each of its peers.

use std::net::IpAddr;

use super::{Node, overlay, pairs};
use crate::Fleet;
use crate::checks::Found;
use crate::facts::Network;
use crate::fleet::is_public;
use crate::netlink::route::{MAIN, Route, Tables};

pub(super) fn route(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for (from, to) in pairs(&overlay(fleet)) {
        let wanted = Network { ip: to.own.first(), prefix: to.own.prefix };
        let route =
            from.tables.routes.iter().find(|route| route.kind == 1 && route.table == MAIN && route.to == wanted);
        let through = |index| from.tables.by_index(index).map(|link| link.name.as_str()).unwrap_or_default();
        // Over the tunnel, or straight to the host.
        let right = |route: &Route| {
            route.link == Some(from.device.index) || route.via.is_some_and(|via| to.tables.owner(via).is_some())
        };
        let seen = match route {
            None => format!("{} has no route {wanted} via {} dev {} onlink", from.name(), wanted.ip, from.device.name),
            Some(route) if !right(route) => {
                let device = route.link.map(through).unwrap_or_default();
                format!("{}'s route {wanted} leads through {device}", from.name())
            }
            Some(_) => match first(from.tables, &wanted).filter(|route| !right(route)) {
                Some(other) => {
                    let device = other.link.map(through).unwrap_or("nowhere");
                    let words = format!("{} through {device} (table {})", other.to, other.table);
                    format!("{} has a route {wanted}, and another comes first: {words}", from.name())
                }
                None => continue,
            },
        };
        out.push(Found::between(from.name(), to.name(), seen));
    }
    out
}

/// The route that the kernel takes to some pod of a network: rules may lead to another table, and a route for a part of
/// the network comes before the one for all of it.
fn first<'a>(tables: &'a Tables, network: &Network) -> Option<&'a Route> {
    let part = |route: &&Route| {
        route.table == MAIN && network.covers(&route.to) && route.to.prefix > network.prefix && route.to.prefix < 32
    };
    let pod = match network.first() {
        IpAddr::V4(ip) => IpAddr::from((u32::from(ip).saturating_add(2)).to_be_bytes()),
        IpAddr::V6(_) => return None,
    };
    tables.routes.iter().find(part).or_else(|| tables.route_to(pod))
}

/// Pairs between which packets go through the tunnel.
pub(super) fn tunnelled<'a>(nodes: &'a [Node<'a>]) -> impl Iterator<Item = (&'a Node<'a>, &'a Node<'a>)> {
    pairs(nodes).filter(|(from, to)| {
        let wanted = Network { ip: to.own.first(), prefix: to.own.prefix };
        from.tables.routes.iter().any(|route| route.to == wanted && route.link == Some(from.device.index))
    })
}

fn neighbour<'a>(from: &'a Node<'_>, to: &Node<'_>) -> Option<&'a crate::netlink::route::Neighbour> {
    let address = to.own.first();
    let entries = from.tables.neighbours.iter().filter(|entry| entry.link == from.device.index && entry.ip == address);
    // 0x20: it failed; 0x01: nobody answered yet.
    entries.into_iter().find(|entry| entry.mac.is_some() && entry.state & 0x21 == 0)
}

pub(super) fn arp(fleet: &Fleet) -> Vec<Found> {
    let nodes = overlay(fleet);
    let without = tunnelled(&nodes).filter(|(from, to)| neighbour(from, to).is_none());
    without
        .map(|(from, to)| {
            let mac = to.device.mac.map(|mac| mac.to_string()).unwrap_or_default();
            let entry = format!("{} lladdr {mac} dev {}", to.own.first(), from.device.name);
            Found::between(from.name(), to.name(), format!("{} has no permanent neighbour {entry}", from.name()))
        })
        .collect()
}

pub(super) fn fdb(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for (from, to) in tunnelled(&overlay(fleet)) {
        // With learning on, the kernel makes entries itself.
        let Some(mac) = neighbour(from, to).and_then(|entry| entry.mac).filter(|_| !from.vxlan.learning) else {
            continue;
        };
        let there = from.tables.forwards.iter().any(|entry| entry.link == from.device.index && entry.mac == mac);
        if !there {
            let local = to.vxlan.local.map(|ip| ip.to_string()).unwrap_or_default();
            let seen = format!("{} has no entry {mac} dst {local} dev {}", from.name(), from.device.name);
            out.push(Found::between(from.name(), to.name(), seen));
        }
    }
    out
}

pub(super) fn stale(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for (from, to) in tunnelled(&overlay(fleet)) {
        let Some(mac) = neighbour(from, to).and_then(|entry| entry.mac) else { continue };
        if let Some(actual) = to.device.mac.filter(|actual| *actual != mac) {
            let seen = format!("{} takes {}'s {} for {mac}; it is {actual}", from.name(), to.name(), to.device.name);
            out.push(Found::between(from.name(), to.name(), seen));
            continue;
        }
        let entry = from.tables.forwards.iter().find(|entry| entry.link == from.device.index && entry.mac == mac);
        let Some(entry) = entry else { continue };
        // Behind a translation of addresses the host does not have the one that it is reached by.
        let elsewhere = !is_public(entry.host) || fleet.owner(entry.host).is_some();
        if to.tables.owner(entry.host).is_none() && elsewhere {
            let local = to.vxlan.local.map(|ip| ip.to_string()).unwrap_or_default();
            let seen = format!("{} sends to {} for {}; it is at {local}", from.name(), entry.host, to.name());
            out.push(Found::between(from.name(), to.name(), seen));
        }
    }
    out
}
