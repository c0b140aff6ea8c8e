//! IPv4 and IPv6: which families of addresses a cluster has, and what follows from it for kubeadm.
//!
//! | who says something | families of the cluster, the main one first |
//! |---|---|
//! | documents name networks of services, or of pods | those of these networks, in their order |
//! | nobody names networks | that of the addresses by which hosts are reached |
//!
//! kubeadm's own networks, and those of the default, are of IPv4. A network that nobody names is of the families that the
//! other one has, so that hosts with IPv6 addresses do not get pods that they cannot reach.

use std::net::IpAddr;

use kiln_kubeadm::{Content, Kind, Resolved, Value};

use crate::facts::range;

/// The network of pods where IPv6 is meant and nobody names one: 65536 nodes.
pub const PODS: &str = "fd64:64::/48";
/// The network of services where IPv6 is meant and nobody names one: 65536 of them. API servers take no larger ones than
/// /108.
pub const SERVICES: &str = "fd64:96::/112";
/// The release since which kubelets take addresses of both families, by this gate.
pub const DUAL_SINCE: u32 = 20;
/// What switches on both families; since 1.21 they are on.
pub const GATE: &str = "IPv6DualStack";

/// The networks of a word of kubeadm: `10.0.0.0/8,fd00::/48`.
pub fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

/// The families of networks, in their order, each once; `true` is IPv6. What is no network has none.
pub fn of<'t>(networks: impl Iterator<Item = &'t str>) -> Vec<bool> {
    let mut out = Vec::new();
    for v6 in networks.filter_map(range).map(|network| network.address.is_ipv6()) {
        if !out.contains(&v6) {
            out.push(v6);
        }
    }
    out
}

/// What the networks of pods and services become of which nobody says anything; nothing where that is the default's.
/// `default` are its networks of IPv4, `v6` is whether hosts are reached by addresses of IPv6.
pub fn filled(
    pods: Option<&str>,
    services: Option<&str>,
    default: (&str, &str),
    v6: bool,
) -> (Option<String>, Option<String>) {
    let said = services.or(pods).map(|text| of(split(text)));
    let wanted = said.unwrap_or_else(|| vec![v6]);
    let fill = |said: Option<&str>, v4: &str, own: &str| {
        let networks: Vec<&str> = wanted.iter().map(|v6| if *v6 { own } else { v4 }).collect();
        (said.is_none() && wanted.contains(&true)).then(|| networks.join(","))
    };
    (fill(pods, default.0, PODS), fill(services, default.1, SERVICES))
}

/// A feature gate in the word of a flag: `A=true,B=false`.
fn gate(text: &str) -> Option<bool> {
    let of = |part: &str| part.trim().strip_prefix(GATE)?.strip_prefix('=')?.trim().parse().ok();
    text.split(',').find_map(of)
}

/// Places where a component is told of gates, in a map.
const MAPS: [(Kind, &[&str]); 3] = [
    (Kind::ClusterConfiguration, &["featureGates", GATE]),
    (Kind::KubeletConfiguration, &["featureGates", GATE]),
    (Kind::KubeProxyConfiguration, &["featureGates", GATE]),
];
/// Places where it is told in the word of a flag, which is in place of what kubeadm would make of its own gates.
const FLAGS: [&[&str]; 2] =
    [&["apiServer", "extraArgs", "feature-gates"], &["controllerManager", "extraArgs", "feature-gates"]];

/// Where the gate of both families has to be switched on in documents of a release that needs it: places, and what they
/// are to have. What is said there already stays.
pub fn gates(resolved: &Resolved) -> Vec<(Kind, &'static [&'static str], Content)> {
    let maps = MAPS.into_iter().filter(|(kind, path)| resolved.at(*kind, path).is_none());
    let mut out: Vec<_> = maps.map(|(kind, path)| (kind, path, Content::Bool(true))).collect();
    for path in FLAGS {
        let said = resolved.at(Kind::ClusterConfiguration, path).and_then(Value::as_text).unwrap_or_default();
        if gate(said).is_none() {
            let all = format!("{said}{}{GATE}=true", if said.is_empty() { "" } else { "," });
            out.push((Kind::ClusterConfiguration, path, Content::Text(all)));
        }
    }
    out
}

/// Places where documents switch off the gate of both families.
pub fn refused(resolved: &Resolved) -> Vec<String> {
    let maps = MAPS.into_iter().filter_map(|(kind, path)| Some((resolved.at(kind, path)?, path)));
    let off = maps.filter(|(value, _)| value.content == Content::Bool(false));
    let flags = FLAGS.into_iter().filter_map(|path| Some((resolved.at(Kind::ClusterConfiguration, path)?, path)));
    let flags = flags.filter(|(value, _)| value.as_text().and_then(gate) == Some(false));
    off.chain(flags).map(|(value, path)| format!("{} ({})", path.join("."), value.origin)).collect()
}

/// An argument of the controller manager, in a map or, since v1beta4, in a list.
pub fn argument<'r>(resolved: &'r Resolved, name: &str) -> Option<&'r str> {
    let all = resolved.at(Kind::ClusterConfiguration, &["controllerManager", "extraArgs"])?;
    match &all.content {
        Content::Map(entries) => entries.iter().find(|(known, _)| known == name)?.1.as_text(),
        Content::List(items) => {
            let item = items.iter().find(|item| item.at(&["name"]).and_then(Value::as_text) == Some(name))?;
            item.at(&["value"])?.as_text()
        }
        _ => None,
    }
}

/// The bits that the network of pods of one node has, unless somebody says otherwise.
pub fn node_mask(resolved: &Resolved, v6: bool) -> u8 {
    let (own, usual) = if v6 { ("node-cidr-mask-size-ipv6", 64) } else { ("node-cidr-mask-size-ipv4", 24) };
    let said = argument(resolved, own).or_else(|| argument(resolved, "node-cidr-mask-size"));
    said.and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// Addresses of a host that it reaches itself at.
pub fn loopback(address: IpAddr) -> &'static str {
    if address.is_ipv6() { "::1" } else { "127.0.0.1" }
}

#[cfg(test)]
mod tests {
    use kiln_kubeadm::{Layer, resolve};

    use super::*;

    #[test]
    fn networks_that_nobody_names_are_of_the_families_of_the_hosts_or_of_the_other() {
        let default = ("100.64.0.0/10", "10.96.0.0/22");
        let of = |pods, services, v6| {
            let (pods, services) = filled(pods, services, default, v6);
            (pods.unwrap_or_default(), services.unwrap_or_default())
        };
        let nothing = (String::new(), String::new());
        assert_eq!(of(None, None, false), nothing, "the default is of IPv4");
        assert_eq!(of(None, None, true), (PODS.to_owned(), SERVICES.to_owned()));
        assert_eq!(of(Some("fd01::/48"), None, false), (String::new(), SERVICES.to_owned()));
        assert_eq!(of(None, Some("fd02::/112"), false), (PODS.to_owned(), String::new()));
        assert_eq!(of(Some("10.1.0.0/16"), None, true), nothing, "who names IPv4 gets IPv4");
        let both = of(Some("fd01::/48,10.1.0.0/16"), None, false);
        assert_eq!(both, (String::new(), format!("{SERVICES},10.96.0.0/22")), "in that order");
        assert_eq!(of(Some("fd01::/48"), Some("10.1.0.0/16"), true), nothing, "what is said stays");
        assert_eq!(of(Some("nonsense"), None, true), nothing);
    }

    #[test]
    fn the_gate_is_switched_on_beside_others_and_what_is_said_of_it_stays() {
        let resolved = |text: &str| {
            let head = "apiVersion: kubeadm.k8s.io/v1beta2\nkind: ClusterConfiguration\n";
            resolve(&[Layer::file("f", format!("{head}{text}"))], Some("v1.20.2")).unwrap()
        };
        let plain = resolved("dns: {}\n");
        let found = gates(&plain);
        assert_eq!(found.len(), 5, "{found:?}");
        let flag = "TTLAfterFinished=true,EphemeralContainers=true,IPv6DualStack=true";
        assert!(
            found.iter().any(|(_, path, content)| path[0] == "apiServer" && *content == Content::Text(flag.into()))
        );
        assert!(refused(&plain).is_empty());
        let off = resolved(
            "apiServer: {extraArgs: {feature-gates: 'A=true, IPv6DualStack=false'}}\nfeatureGates: {IPv6DualStack: false}\n",
        );
        assert_eq!(gates(&off).len(), 3);
        assert_eq!(refused(&off), ["featureGates.IPv6DualStack (f:4)", "apiServer.extraArgs.feature-gates (f:3)"]);
    }

    #[test]
    fn a_nodes_share_is_what_the_controller_manager_is_told() {
        let of = |api: &str, version: &str, args: &str| {
            let text = format!(
                "apiVersion: kubeadm.k8s.io/{api}\nkind: ClusterConfiguration\ncontrollerManager: {{extraArgs: {args}}}\n"
            );
            node_mask(&resolve(&[Layer::file("f", text)], Some(version)).unwrap(), true)
        };
        assert_eq!(of("v1beta2", "v1.20.2", "{}"), 64);
        assert_eq!(of("v1beta2", "v1.20.2", "{node-cidr-mask-size: '72'}"), 72);
        assert_eq!(of("v1beta4", "v1.31.0", "[{name: node-cidr-mask-size-ipv6, value: '80'}]"), 80);
    }
}
