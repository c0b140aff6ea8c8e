//! Networks of pods and services: sizes that Kubernetes takes, and families that fit each other, the hosts and the release.

use super::{Found, minor};
use crate::config::Configuration;
use crate::facts::range;
use crate::families;
use crate::machine::printable;

/// Addresses that networks of services have at most, as a number of bits.
const SERVICES: u8 = 20;
/// The same since the API server keeps them in objects, 1.33.
const SERVICES_SINCE_33: u8 = 64;
/// Nodes that the network of pods has at most, as a number of bits.
const NODES: u8 = 16;

/// Looks at all networks; said once, of the first master.
pub fn networks(configuration: &Configuration, found: &mut Found<'_>) {
    let minor = minor(&found.launch.bundle.kubernetes);
    let hint = "write others in the Clusterfile, or with --pod-cidr and --service-cidr";
    let of = |kind: &str| -> Vec<&str> {
        let all = configuration.networks.iter().filter(|(what, _)| what == kind);
        all.map(|(_, network)| network.as_str()).collect()
    };
    let (pods, services) = (of("pods"), of("services"));
    for (what, networks) in [("pods", &pods), ("services", &services)] {
        let families = families::of(networks.iter().copied());
        if families.len() != networks.len() {
            let text = format!("networks of {what}: {}", printable(&networks.join(", ")));
            found.error("Networks", text, "one, or one of IPv4 and one of IPv6, as 10.0.0.0/8 and fd00::/48 are");
        }
        for network in networks.iter() {
            size(what, network, configuration, minor, found);
        }
    }
    let (of_pods, of_services) = (families::of(pods.into_iter()), families::of(services.into_iter()));
    if !of_pods.is_empty()
        && let Some(v6) = of_services.iter().find(|v6| !of_pods.contains(v6))
    {
        let family = if *v6 { "IPv6" } else { "IPv4" };
        let text = format!("the network of services is of {family}, and pods have no addresses of it");
        found.error("Networks", text, hint);
    }
    if configuration.families().len() > 1 {
        dual(configuration, minor, found);
    }
    for text in &configuration.decided {
        found.warn("Networks", text.as_str(), "");
    }
}

fn size(what: &str, network: &str, configuration: &Configuration, minor: u32, found: &mut Found<'_>) {
    let Some(cidr) = range(network) else { return };
    let v6 = cidr.address.is_ipv6();
    let full: u8 = if v6 { 128 } else { 32 };
    let bits = full.saturating_sub(cidr.prefix);
    if what == "services" {
        let most = if minor >= 33 && v6 { SERVICES_SINCE_33 } else { SERVICES };
        if bits > most {
            let hint = format!("the largest that API servers of this release take is /{}", full - most);
            found.error("ServiceSubnet", format!("the network of services {network} is too large"), hint);
        } else if bits < 4 {
            found.error("ServiceSubnet", format!("the network of services {network} has less than 10 addresses"), "");
        }
        return;
    }
    let mask = families::node_mask(&configuration.resolved, v6);
    let name = if v6 { "node-cidr-mask-size-ipv6" } else { "node-cidr-mask-size-ipv4" };
    if cidr.prefix > mask {
        let hint = format!("a node's pods get a /{mask}: a larger network, or `{name}` of the controller manager");
        found.error("PodSubnet", format!("the network of pods {network} is smaller than what one node gets"), hint);
    } else if mask - cidr.prefix > NODES {
        let hint = format!(
            "a node's pods get a /{mask}, and the network may be a /{} at most: a smaller one, or `{name}` of the controller manager",
            mask - NODES
        );
        found.error("PodSubnet", format!("the network of pods {network} is too large"), hint);
    }
}

/// What both families need of the release.
fn dual(configuration: &Configuration, minor: u32, found: &mut Found<'_>) {
    if minor < families::DUAL_SINCE {
        let text =
            format!("Kubernetes {} has no nodes with addresses of both families", found.launch.bundle.kubernetes);
        found.error("DualStack", text, "1.20 has, by the feature gate IPv6DualStack; or write networks of one family");
    } else if minor == families::DUAL_SINCE {
        for place in families::refused(&configuration.resolved) {
            let text = format!("{place} switches IPv6DualStack off, and networks are of both families");
            found.error("DualStack", text, "take it out, or write networks of one family");
        }
    }
}
