//! The three entries that a host has for each of its peers.

use super::{Node, overlay, pairs};
use crate::Fleet;
use crate::checks::Found;
use crate::facts::Network;
use crate::fleet::is_public;

pub(super) fn route(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for (from, to) in pairs(&overlay(fleet)) {
        let wanted = Network { ip: to.own.first(), prefix: to.own.prefix };
        let route = from.tables.routes.iter().find(|route| route.kind == 1 && route.table == 254 && route.to == wanted);
        let through = |index| from.tables.by_index(index).map(|link| link.name.as_str()).unwrap_or_default();
        let seen = match route {
            None => format!("{} has no route {wanted} via {} dev {} onlink", from.name(), wanted.ip, from.device.name),
            // Over the tunnel, or straight to the host.
            Some(route) if route.link == Some(from.device.index) => continue,
            Some(route) if route.via.is_some_and(|via| to.tables.owner(via).is_some()) => continue,
            Some(route) => {
                format!(
                    "{}'s route {wanted} leads through {}",
                    from.name(),
                    route.link.map(through).unwrap_or_default()
                )
            }
        };
        out.push(Found::between(from.name(), to.name(), seen));
    }
    out
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
