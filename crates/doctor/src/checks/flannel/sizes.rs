//! The largest packets that a tunnel takes, and that its network does.

use super::peers::tunnelled;
use super::{leases, overlay};
use crate::Fleet;
use crate::checks::Found;
use crate::fleet::uplink_addresses;
use crate::netlink::route::Link;

pub(super) fn mtu(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for node in overlay(fleet) {
        let mut seen = Vec::new();
        let around = node.around();
        if let Some(uplink) = node.uplink().filter(|uplink| node.device.mtu.saturating_add(around) > uplink.mtu) {
            let most = uplink.mtu.saturating_sub(around);
            seen.push(format!("{} has MTU {}; {} allows {most}", node.device.name, node.device.mtu, uplink.name));
        }
        let limit = node.device.mtu.min(node.subnet.mtu.unwrap_or(u32::MAX));
        let bridge = node.tables.link("cni0");
        let of_pod = |link: &&Link| {
            Some(link.name.as_str()) == Some("cni0")
                || (link.master.is_some() && link.master == bridge.map(|b| b.index))
        };
        // A bridge without ports has the MTU of Ethernet.
        let ports = bridge.is_some_and(|bridge| node.tables.links.iter().any(|link| link.master == Some(bridge.index)));
        let large = node.tables.links.iter().filter(|link| ports && of_pod(link) && link.mtu > limit);
        let large: Vec<String> = large.map(|link| format!("{} has MTU {}", link.name, link.mtu)).collect();
        if let Some(first) = large.first() {
            seen.push(format!("{first}, {} devices in all; the tunnel takes {limit}", large.len()));
        }
        if !seen.is_empty() {
            out.push(Found { hosts: vec![node.name().to_owned()], evidence: seen, edge: None });
        }
    }
    out.extend(others(fleet));
    out
}

/// flannel's other tunnels: IP in IP takes 20 bytes, WireGuard 60 over IPv4.
fn others(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for (host, tables, _) in leases(fleet) {
        let largest = uplink_addresses(tables).filter(|(link, _)| link.kind.as_deref() != Some("wireguard"));
        let Some(largest) = largest.map(|(link, _)| link.mtu).max() else { continue };
        for link in tables.links.iter().filter(|link| link.name.starts_with("flannel")) {
            let around = match link.kind.as_deref() {
                Some("ipip") => 20,
                Some("wireguard") => 60,
                _ => continue,
            };
            if link.mtu.saturating_add(around) > largest {
                let most = largest.saturating_sub(around);
                let seen = format!("{} has MTU {}; the host's network allows {most}", link.name, link.mtu);
                out.push(Found::on(&host.name, seen));
            }
        }
    }
    out
}

pub(super) fn path_mtu(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for (from, to) in tunnelled(&overlay(fleet)) {
        let size = from.device.mtu.saturating_add(from.around());
        if let Some(uplink) = to.uplink().filter(|uplink| size > uplink.mtu) {
            let most = uplink.mtu;
            let seen =
                format!("{} sends up to {size} bytes, {} of {} takes {most}", from.name(), uplink.name, to.name());
            out.push(Found::between(from.name(), to.name(), seen));
        }
    }
    out
}
