//! Calico: its own manifests, those of Canal, and the `Installation` of its operator.
//!
//! <https://docs.tigera.io/calico/latest/reference/configure-calico-node>,
//! <https://docs.tigera.io/calico/latest/reference/installation/api>

use kiln_yaml::node::Node;
use serde_json::{Value as Json, json};

use super::edits::Edits;
use super::manifest::{Draft, Lack, Way, has, value, within};
use crate::families;

/// The ConfigMap with the configuration of CNI: which families pods get.
pub fn settings(draft: &mut Draft<'_, '_>, object: &Node) {
    let Some(string) = object.at(&["data", "cni_network_config"]).filter(|_| draft.wanted.v6.is_some()) else { return };
    let inner = string.text().unwrap_or_default();
    // It is no JSON before words such as `__CNI_MTU__` are filled in, but YAML.
    let conf = within(inner);
    let plugins = conf.as_ref().and_then(|conf| conf.at(&["plugins"])).and_then(Node::list).unwrap_or_default();
    let all = plugins.iter().chain(&conf);
    let Some(ipam) = all.filter_map(|plugin| plugin.at(&["ipam"])).next() else {
        return draft.lack(Lack::Six("`ipam` in cni_network_config".to_owned()));
    };
    if ipam.at(&["type"]).and_then(Node::text) != Some("calico-ipam") {
        // Addresses of the node's own networks.
        if !inner.contains("usePodCidrIPv6") {
            draft.lack(Lack::Six("`usePodCidrIPv6` in cni_network_config".to_owned()));
        }
        return;
    }
    let mut edits = Edits::of(inner);
    let families = [("assign_ipv4", draft.wanted.v4.is_some()), ("assign_ipv6", true)];
    let made = edits.set(ipam, &families.map(|(key, is)| (key, Json::from(is.to_string()))));
    draft.edits.within(string, edits);
    draft.note(made, "cni_network_config");
}

/// calico-node: pools, families, and the device.
pub fn container(draft: &mut Draft<'_, '_>, container: &Node) {
    let is_node = container.at(&["name"]).and_then(Node::text) == Some("calico-node")
        || ["CALICO_NETWORKING_BACKEND", "CALICO_IPV4POOL_CIDR"].iter().any(|name| has(container, name));
    if !is_node {
        return;
    }
    let (v4, v6) = (draft.wanted.v4, draft.wanted.v6);
    let mut set: Vec<(&str, Json)> = Vec::new();
    // Policies only, as in Canal: addresses are another's. And pools that are objects of their own are the user's.
    let is_ours = value(container, "CALICO_NETWORKING_BACKEND") != Some("none")
        && value(container, "NO_DEFAULT_POOLS").is_none_or(|no| no != "true");
    draft.placed = true;
    if is_ours {
        set.extend(v4.map(|v4| ("CALICO_IPV4POOL_CIDR", v4.into())));
        set.extend(v6.map(|v6| ("CALICO_IPV6POOL_CIDR", v6.into())));
    }
    if v6.is_some() {
        set.push(("IP6", "autodetect".into()));
        set.push(("FELIX_IPV6SUPPORT", "true".into()));
        if v4.is_none() {
            set.push(("IP", "none".into()));
            // Routers of BGP are known by an address of IPv4.
            set.extend((!has(container, "CALICO_ROUTER_ID")).then(|| ("CALICO_ROUTER_ID", "hash".into())));
        }
    }
    if let Some(device) = draft.wanted.device {
        for (name, network, v6) in [("IP_AUTODETECTION_METHOD", v4, false), ("IP6_AUTODETECTION_METHOD", v6, true)] {
            if let Some(way) = device.way(v6).filter(|_| network.is_some() && !has(container, name)) {
                set.push((name, method(&way).into()));
                draft.told = true;
            }
        }
    }
    draft.variables(container, &set);
}

/// How calico-node is told to find its address.
fn method(way: &Way) -> String {
    match way {
        Way::Interface(pattern) => format!("interface={pattern}"),
        Way::Reach(address) => format!("can-reach={address}"),
    }
}

/// What the operator makes a network of. Without pools it takes kubeadm's networks of pods.
pub fn installation(draft: &mut Draft<'_, '_>, object: &Node) {
    let is_operators = object.at(&["apiVersion"]).and_then(Node::text).is_some_and(|api| api.starts_with("operator."));
    let Some(spec) = object.at(&["spec"]).filter(|_| is_operators && draft.wanted.is_known()) else { return };
    draft.placed = true;
    let own = spec.at(&["calicoNetwork"]);
    if let Some(pools) = own.and_then(|own| own.at(&["ipPools"])).filter(|pools| pools.list().is_some()) {
        self::pools(draft, pools);
    }
    let Some(device) = draft.wanted.device else { return };
    let mut set: Vec<(&str, Json)> = Vec::new();
    let rows =
        [("nodeAddressAutodetectionV4", draft.wanted.v4, false), ("nodeAddressAutodetectionV6", draft.wanted.v6, true)];
    for (key, network, v6) in rows {
        if network.is_none() || own.is_some_and(|own| own.at(&[key]).is_some()) {
            continue;
        }
        let how = device.way(v6).map(|way| match way {
            Way::Interface(pattern) => json!({"interface": pattern}),
            Way::Reach(address) => json!({"canReach": address}),
        });
        set.extend(how.map(|how| (key, how)));
    }
    if set.is_empty() {
        return;
    }
    let made = match own.filter(|own| !own.is_null()) {
        Some(own) => draft.edits.set(own, &set),
        None => {
            let all: serde_json::Map<String, Json> = set.into_iter().map(|(key, how)| (key.to_owned(), how)).collect();
            draft.edits.set(spec, &[("calicoNetwork", all.into())])
        }
    };
    draft.told |= made.is_ok();
    draft.note(made, "calicoNetwork");
}

/// The pool of a family becomes its network of pods. One of a family that there is none of gets the other's; one that is missing is added.
fn pools(draft: &mut Draft<'_, '_>, pools: &Node) {
    let list = pools.list().unwrap_or_default();
    let cidr = |pool: &Node| pool.at(&["cidr"]).and_then(Node::text).map(str::to_owned);
    let is_six = |pool: &&Node| cidr(pool).is_some_and(|cidr| families::of(std::iter::once(&*cidr)) == [true]);
    let (mut made, mut new) = (Ok(()), Vec::new());
    let six: Vec<&Node> = list.iter().filter(is_six).collect();
    let four: Vec<&Node> = list.iter().filter(|pool| !is_six(pool)).collect();
    for (network, own, others, v6) in [(draft.wanted.v4, &four, &six, false), (draft.wanted.v6, &six, &four, true)] {
        let Some(network) = network else { continue };
        let other = if v6 { draft.wanted.v4 } else { draft.wanted.v6 };
        // Several share the network in a way that somebody thought of.
        if let [pool] = own[..] {
            made = made.and(draft.edits.set(pool, &[("cidr", network.into())]));
        }
        // What encapsulates IPv4 cannot encapsulate IPv6 in all releases; the size of blocks is another one.
        let encapsulation = if v6 { "None" } else { "IPIP" };
        let fresh = json!({
            "cidr": network, "encapsulation": encapsulation, "natOutgoing": "Enabled", "nodeSelector": "all()"
        });
        match others.first() {
            _ if !own.is_empty() => {}
            Some(pool) if other.is_none() => draft.edits.replace(pool, &fresh),
            _ => new.push(fresh),
        }
    }
    if !new.is_empty() {
        made = made.and(draft.edits.insert(pools, 0, &new));
    }
    draft.note(made, "ipPools");
}

#[cfg(test)]
mod tests {
    use super::super::manifest::Device;
    use super::super::manifest::tests::{at, daemons, of, told, variables};
    use super::*;

    const BOTH: [&str; 2] = ["10.1.0.0/16", "fd01::/48"];

    fn eth() -> Device {
        Device::Named("eth0.7".to_owned())
    }

    fn towards() -> Device {
        Device::Towards(vec!["10.0.0.1".parse().unwrap(), "fd77::1".parse().unwrap()])
    }

    /// The value of a variable.
    fn of_variable(text: &str, name: &str) -> Option<String> {
        let all = variables(text);
        let mut found = all.iter().filter(|(own, _)| own == name);
        let value = found.next().map(|(_, value)| value.clone());
        assert_eq!(found.next(), None, "{name} is there twice: {text}");
        value
    }

    #[test]
    fn its_own_file_has_pools_as_comments() {
        let own = daemons(
            "name: calico-node\nenv:\n  - name: IP\n    value: \"autodetect\"\n  # - name: CALICO_IPV4POOL_CIDR\n  #   value: \"192.168.0.0/16\"\n  - name: FELIX_IPV6SUPPORT\n    value: \"false\"",
        );
        let made = told(&own, &BOTH[..1], &eth());
        assert!(made.told && made.placed && made.lacks.is_none());
        let is = |name: &str| of_variable(&made.text, name);
        assert_eq!(is("CALICO_IPV4POOL_CIDR").as_deref(), Some("10.1.0.0/16"));
        assert_eq!(is("IP_AUTODETECTION_METHOD").as_deref(), Some("interface=^eth0\\.7$"));
        assert_eq!((is("IP").as_deref(), is("FELIX_IPV6SUPPORT").as_deref()), (Some("autodetect"), Some("false")));
        assert!(made.text.contains("# - name: CALICO"), "its comments stay");
        assert_eq!(of(&own, &[]).text, own, "nobody knows the network");
        // Again, as a launch that goes on does it.
        assert_eq!(
            told(&made.text, &BOTH[..1], &eth()),
            super::super::manifest::Adapted { told: false, ..made.clone() }
        );
    }

    #[test]
    fn families_and_devices_of_several_names() {
        let own = daemons(
            "name: calico-node\nenv:\n- {name: IP, value: autodetect}\n- {name: FELIX_IPV6SUPPORT, value: \"false\"}",
        );
        let made = told(&own, &BOTH, &towards());
        for (name, value) in [
            ("CALICO_IPV4POOL_CIDR", "10.1.0.0/16"),
            ("CALICO_IPV6POOL_CIDR", "fd01::/48"),
            ("IP", "autodetect"),
            ("IP6", "autodetect"),
            ("FELIX_IPV6SUPPORT", "true"),
            ("IP_AUTODETECTION_METHOD", "can-reach=10.0.0.1"),
            ("IP6_AUTODETECTION_METHOD", "can-reach=fd77::1"),
        ] {
            assert_eq!(of_variable(&made.text, name).as_deref(), Some(value), "{name}: {}", made.text);
        }
        let alone = of(&own, &BOTH[1..]).text;
        assert_eq!(of_variable(&alone, "IP").as_deref(), Some("none"));
        assert_eq!(of_variable(&alone, "CALICO_ROUTER_ID").as_deref(), Some("hash"));
        assert_eq!(of_variable(&alone, "CALICO_IPV4POOL_CIDR"), None);
        let said = own.replace("env:\n", "env:\n        - {name: IP_AUTODETECTION_METHOD, value: first-found}\n");
        let made = told(&said, &BOTH[..1], &towards());
        assert_eq!(
            (made.told, of_variable(&made.text, "IP_AUTODETECTION_METHOD").as_deref()),
            (false, Some("first-found"))
        );
    }

    #[test]
    fn pools_of_others_stay() {
        for env in ["{name: CALICO_NETWORKING_BACKEND, value: none}", "{name: NO_DEFAULT_POOLS, value: \"true\"}"] {
            let own = daemons(&format!("name: calico-node\nenv:\n- {env}"));
            let made = of(&own, &BOTH[..1]);
            assert_eq!((made.text, made.placed), (own, true));
        }
        let other = daemons("name: upgrade-ipam\nenv:\n- {name: X, value: y}");
        assert_eq!(of(&other, &BOTH), super::super::manifest::Adapted { text: other.clone(), ..Default::default() });
    }

    #[test]
    fn pods_are_assigned_what_their_networks_are() {
        let conf = |ipam: &str| {
            format!(
                "kind: ConfigMap\ndata:\n  cni_network_config: |-\n    {{\n      \"plugins\": [\n        {{\n          \"mtu\": __CNI_MTU__,\n          \"ipam\": {{\n              \"type\": {ipam}\n          }}\n        }}\n      ]\n    }}\n"
            )
        };
        let own = conf("\"calico-ipam\"");
        assert_eq!(of(&own, &BOTH[..1]).text, own);
        let text = of(&own, &BOTH).text;
        let inner = at(&text, "ConfigMap", &["data", "cni_network_config"]);
        let inner = inner.as_str().unwrap().replace("__CNI_MTU__", "1");
        let conf_of = |text: &str| serde_json::from_str::<Json>(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let ipam = &conf_of(&inner)["plugins"][0]["ipam"];
        assert_eq!(ipam, &json!({"type": "calico-ipam", "assign_ipv4": "true", "assign_ipv6": "true"}));
        let alone = of(&text, &BOTH[1..]).text;
        assert!(alone.contains("\"assign_ipv4\": \"false\"") && alone.matches("assign_ipv4").count() == 1, "{alone}");
        for ipam in ["\"host-local\", \"subnet\": \"usePodCidr\"", "3"] {
            assert!(matches!(of(&conf(ipam), &BOTH).lacks, Some(Lack::Six(_))), "{ipam}");
        }
        let ranges = "\"host-local\", \"ranges\": [[{\"subnet\": \"usePodCidr\"}], [{\"subnet\": \"usePodCidrIPv6\"}]]";
        assert_eq!(of(&conf(ranges), &BOTH).lacks, None);
    }

    const INSTALLATION: &str = "kind: Other\nspec:\n  cidr: 1.0.0.0/8\n---\napiVersion: operator.tigera.io/v1\nkind: Installation\nspec:\n  # how\n  calicoNetwork:\n    ipPools:\n    - blockSize: 26\n      cidr: 192.168.0.0/16\n      encapsulation: VXLANCrossSubnet\n---\nkind: Other\nspec:\n  cidr: 192.168.0.0/16\n";

    #[test]
    fn pools_of_the_operator_are_those_of_pods() {
        let made = of(INSTALLATION, &BOTH[..1]);
        assert_eq!(made.text, INSTALLATION.replacen("192.168.0.0/16", "\"10.1.0.0/16\"", 1));
        let pools = |text: &str| at(text, "Installation", &["spec", "calicoNetwork", "ipPools"]);
        let both = of(INSTALLATION, &BOTH).text;
        let of_both = pools(&both);
        assert_eq!((&of_both[0]["cidr"], &of_both[0]["encapsulation"]), (&"fd01::/48".into(), &"None".into()));
        assert_eq!((&of_both[1]["cidr"], &of_both[1]["blockSize"]), (&"10.1.0.0/16".into(), &"26".into()));
        assert_eq!(of(&both, &BOTH).text, both, "again");
        let alone = pools(&of(INSTALLATION, &BOTH[1..]).text);
        assert_eq!((alone.as_array().unwrap().len(), &alone[0]["cidr"]), (1, &"fd01::/48".into()));
        for none in ["spec: {}", "spec: {calicoNetwork: {bgp: Disabled}}", "spec: {cni: {type: Calico}}"] {
            let own = format!("apiVersion: operator.tigera.io/v1\nkind: Installation\n{none}\n");
            let made = of(&own, &BOTH);
            assert_eq!((made.text, made.placed, made.lacks), (own, true, None), "the operator asks kubeadm");
        }
        assert_eq!(of(INSTALLATION, &[]).text, INSTALLATION);
        let several = INSTALLATION.replace("    - blockSize", "    - cidr: 10.1.0.0/17\n    - blockSize");
        assert_eq!(of(&several, &BOTH[..1]).text, several, "they share it");
    }

    #[test]
    fn the_operator_is_told_the_device() {
        let found = |text: &str, key: &str| at(text, "Installation", &["spec", "calicoNetwork", key]);
        let made = told(INSTALLATION, &BOTH[..1], &eth());
        assert_eq!(found(&made.text, "nodeAddressAutodetectionV4"), json!({"interface": "^eth0\\.7$"}));
        assert!(made.told && found(&made.text, "nodeAddressAutodetectionV6").is_null());
        let none = "apiVersion: operator.tigera.io/v1\nkind: Installation\nspec: {}\n";
        let made = told(none, &BOTH, &towards());
        assert_eq!(found(&made.text, "nodeAddressAutodetectionV4"), json!({"canReach": "10.0.0.1"}));
        assert_eq!(found(&made.text, "nodeAddressAutodetectionV6"), json!({"canReach": "fd77::1"}));
        let said =
            INSTALLATION.replace("    ipPools:", "    nodeAddressAutodetectionV4: {firstFound: true}\n    ipPools:");
        assert!(!told(&said, &BOTH[..1], &eth()).told, "it says one already");
    }
}
