//! The largest packets that a tunnel takes, and that its network does.

use super::peers::tunnelled;
use super::{OVERHEAD, overlay};
use crate::Fleet;
use crate::checks::Found;
use crate::netlink::route::Link;

pub(super) fn mtu(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for node in overlay(fleet) {
        let mut seen = Vec::new();
        if let Some(uplink) = node.uplink().filter(|uplink| node.device.mtu + OVERHEAD > uplink.mtu) {
            let most = uplink.mtu.saturating_sub(OVERHEAD);
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
    out
}

pub(super) fn path_mtu(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for (from, to) in tunnelled(&overlay(fleet)) {
        if let Some(uplink) = to.uplink().filter(|uplink| from.device.mtu + OVERHEAD > uplink.mtu) {
            let (most, size) = (uplink.mtu, from.device.mtu + OVERHEAD);
            let seen =
                format!("{} sends up to {size} bytes, {} of {} takes {most}", from.name(), uplink.name, to.name());
            out.push(Found::between(from.name(), to.name(), seen));
        }
    }
    out
}
