//! Cilium's ConfigMap.
//!
//! <https://docs.cilium.io/en/stable/network/concepts/ipam/cluster-pool/>

use kiln_yaml::node::Node;
use serde_json::Value as Json;

use super::manifest::Draft;

/// `cilium-config`: families, pools of pods, and the networks in which packets keep their addresses.
pub fn settings(draft: &mut Draft<'_, '_>, object: &Node) {
    let Some(data) = object.at(&["data"]).filter(|_| {
        object.at(&["metadata", "name"]).and_then(Node::text) == Some("cilium-config") && draft.wanted.is_known()
    }) else {
        return;
    };
    draft.placed = true;
    // Nodes have their addresses, and Cilium its ends of tunnels, from Kubernetes: as they were chosen.
    draft.told |= draft.wanted.device.is_some() && !draft.wanted.is_said;
    let word = |key: &str| data.at(&[key]).and_then(scalar);
    // Others than these take the networks from the nodes.
    let has_pools = word("ipam").is_none_or(|how| how.starts_with("cluster-pool"));
    let mut set: Vec<(&str, Json)> = vec![("enable-ipv4", draft.wanted.v4.is_some().to_string().into())];
    set.extend(draft.wanted.v6.map(|_| ("enable-ipv6", "true".into())));
    let rows = [
        (draft.wanted.v4, "cluster-pool-ipv4-cidr", ["native-routing-cidr", "ipv4-native-routing-cidr"]),
        (draft.wanted.v6, "cluster-pool-ipv6-cidr", ["ipv6-native-routing-cidr", ""]),
    ];
    for (network, pool, routed) in rows {
        let Some(network) = network else { continue };
        let old = word(pool);
        for key in routed.into_iter().filter(|key| old.is_some() && word(key) == old) {
            set.push((key, network.into()));
        }
        if has_pools {
            set.push((pool, network.into()));
        }
    }
    if let Some(mask) = draft.wanted.v6.filter(|_| has_pools).and_then(|v6| mask(v6, word(MASK).as_deref())) {
        set.push((MASK, mask.to_string().into()));
    }
    set.retain(|(key, value)| word(key).as_deref() != value.as_str());
    let made = draft.edits.set(data, &set);
    draft.note(made, "cilium-config");
}

/// The size of nodes' networks of IPv6.
const MASK: &str = "cluster-pool-ipv6-mask-size";

/// Another size for nodes' networks, if the one that is said does not go with the network: smaller than it, by 16 bits at
/// most.
fn mask(network: &str, said: Option<&str>) -> Option<u8> {
    let prefix: u8 = network.rsplit('/').next()?.parse().ok()?;
    let said: Option<u8> = said.and_then(|said| said.parse().ok());
    let fits = said.is_some_and(|said| said > prefix && said - prefix <= 16);
    (!fits).then(|| prefix.saturating_add(16).min(128))
}

/// A word, whether it is in quotes or not.
fn scalar(node: &Node) -> Option<String> {
    use kiln_yaml::node::Value;
    match &node.value {
        Value::Text(text) => Some(text.clone()),
        Value::Number(number) => Some(number.canonical()),
        Value::Bool(is) => Some(is.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::manifest::tests::{at, of};
    use super::*;

    const OWN: &str = "kind: ConfigMap\nmetadata: {name: cilium-config}\ndata:\n  enable-ipv4: \"true\"\n  enable-ipv6: \"false\"\n  ipam: cluster-pool\n  cluster-pool-ipv4-cidr: 10.0.0.0/8\n  cluster-pool-ipv4-mask-size: \"24\"\n  ipv4-native-routing-cidr: 10.0.0.0/8\n";

    #[test]
    fn pools_become_the_networks_of_pods() {
        let made = of(OWN, &["10.1.0.0/16"]);
        assert_eq!((made.text, made.placed), (OWN.replace("10.0.0.0/8", "\"10.1.0.0/16\""), true));
        // What is routed otherwise stays.
        let other = OWN.replace("routing-cidr: 10.0.0.0/8", "routing-cidr: 172.16.0.0/12");
        assert!(of(&other, &["10.1.0.0/16"]).text.contains("172.16.0.0/12"));
        let nodes = OWN.replace("cluster-pool\n", "kubernetes\n");
        assert!(
            of(&nodes, &["10.1.0.0/16"]).text.contains("pool-ipv4-cidr: 10.0.0.0/8"),
            "nodes have theirs from Kubernetes"
        );
        let another = OWN.replace("cilium-config", "another");
        assert_eq!(of(&another, &["10.1.0.0/16"]).text, another);
    }

    #[test]
    fn families_are_those_of_pods() {
        let data = |pods: &[&str]| at(&of(OWN, pods).text, "ConfigMap", &["data"]);
        let both = data(&["10.1.0.0/16", "fd01::/48"]);
        assert_eq!((&both["enable-ipv4"], &both["enable-ipv6"]), (&"true".into(), &"true".into()));
        assert_eq!((&both["cluster-pool-ipv6-cidr"], &both[MASK]), (&"fd01::/48".into(), &"64".into()));
        let alone = data(&["fd01::/48"]);
        assert_eq!((&alone["enable-ipv4"], &alone["enable-ipv6"]), (&"false".into(), &"true".into()));
        assert_eq!(alone["cluster-pool-ipv4-cidr"], "10.0.0.0/8", "it is not used");
        for (network, said, wanted) in [
            ("fd00::/104", Some("120"), None),
            ("fd00::/48", Some("120"), Some(64)),
            ("fd00::/120", None, Some(128)),
            ("fd00::/64", Some("x"), Some(80)),
        ] {
            assert_eq!(mask(network, said), wanted, "{network}");
        }
    }
}
