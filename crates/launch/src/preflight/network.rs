//! Networks of pods and services against what hosts do with them: routes and proxies.

use std::net::IpAddr;

use super::{Found, joined};
use crate::config::Configuration;
use crate::launch::Member;
use crate::machine::printable;

/// Networks that hosts already route somewhere.
pub fn overlap(what: &str, network: &str, member: &Member, found: &mut Found<'_>) {
    let Some(wanted) = parse_network(network) else { return };
    let own = ["cni", "flannel", "cali", "tunl", "kube-", "weave", "kiln", "vxlan.calico"];
    for (to, device) in &member.facts.routes {
        let Some(other) = parse_network(to).filter(|(_, prefix)| *prefix > 0) else { continue };
        // A network's own routes, of when it ran already.
        let is_own = own.iter().any(|start| device.starts_with(start)) || joined(found.launch, member);
        if overlaps(wanted, other) && !is_own {
            let text = format!("the network of {what} {network} overlaps with its route to {to} ({device})");
            found.error(
                "NetworkOverlap",
                text,
                "choose another network in the Clusterfile, or with --pod-cidr and --service-cidr",
            );
            return;
        }
    }
}

/// Connections of the cluster that would go through a proxy.
pub fn proxies(member: &Member, configuration: &Configuration, found: &mut Found<'_>) {
    let Some(proxy) = member.facts.proxies.get("https_proxy").or_else(|| member.facts.proxies.get("http_proxy")) else {
        return;
    };
    let proxy = printable(proxy);
    let spared = member.facts.proxies.get("no_proxy").map(String::as_str).unwrap_or_default();
    let hint = "put it into no_proxy of root's environment on the host";
    if !is_spared(member.address, spared) {
        let text = format!("connection to \"https://{}\" uses proxy \"{proxy}\"", member.address);
        found.warn("HTTPProxy", text, hint);
    }
    for (_, network) in &configuration.networks {
        let Some((address, _)) = parse_network(network) else { continue };
        if !is_spared(address, spared) {
            let text = format!("connection to \"{network}\" uses proxy \"{proxy}\"");
            found.warn("HTTPProxyCIDR", text, hint);
        }
    }
}

/// Whether `no_proxy` has an address.
fn is_spared(address: IpAddr, list: &str) -> bool {
    list.split(',').map(str::trim).any(|word| {
        word == "*" || parse_network(word).is_some_and(|network| overlaps(network, (address, full(address))))
    })
}

fn full(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

type Net = (IpAddr, u8);

/// `10.0.0.0/8`, or one address.
fn parse_network(text: &str) -> Option<Net> {
    if text == "default" {
        return None;
    }
    let (address, prefix) = text.split_once('/').unwrap_or((text, ""));
    let address: IpAddr = address.parse().ok()?;
    let full = if address.is_ipv4() { 32 } else { 128 };
    let prefix = if prefix.is_empty() { full } else { prefix.parse().ok().filter(|prefix| *prefix <= full)? };
    Some((address, prefix))
}

fn overlaps((a, a_prefix): Net, (b, b_prefix): Net) -> bool {
    let bits = u32::from(a_prefix.min(b_prefix));
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => bits == 0 || u32::from(a) >> (32 - bits) == u32::from(b) >> (32 - bits),
        (IpAddr::V6(a), IpAddr::V6(b)) => bits == 0 || u128::from(a) >> (128 - bits) == u128::from(b) >> (128 - bits),
        _ => false,
    }
}
