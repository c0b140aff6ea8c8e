//! Networks of pods and services against what hosts do with them: routes and proxies.

use std::net::IpAddr;

use super::{Found, joined};
use crate::config::Configuration;
use crate::facts::range;
use crate::launch::Member;
use crate::machine::printable;

/// Networks that hosts already route somewhere.
pub fn overlap(what: &str, network: &str, member: &Member, found: &mut Found<'_>) {
    let Some(wanted) = range(network) else { return };
    let own = ["cni", "flannel", "cali", "tunl", "kube-", "weave", "kiln", "vxlan.calico"];
    for (to, device) in &member.facts.routes {
        let Some(other) = range(to).filter(|other| other.prefix > 0) else { continue };
        // A network's own routes, of when it ran already.
        let is_own = own.iter().any(|start| device.starts_with(start)) || joined(found.launch, member);
        if wanted.overlaps(other) && !is_own {
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
        let Some(wanted) = range(network) else { continue };
        if !is_spared(wanted.address, spared) {
            let text = format!("connection to \"{network}\" uses proxy \"{proxy}\"");
            found.warn("HTTPProxyCIDR", text, hint);
        }
    }
}

/// Whether `no_proxy` has an address.
fn is_spared(address: IpAddr, list: &str) -> bool {
    list.split(',').map(str::trim).any(|word| word == "*" || range(word).is_some_and(|spared| spared.contains(address)))
}
