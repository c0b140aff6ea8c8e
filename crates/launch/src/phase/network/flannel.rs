//! flannel's manifests, and the flannel in those of Canal.
//!
//! <https://github.com/flannel-io/flannel/blob/master/Documentation/configuration.md>

use kiln_yaml::node::Node;
use serde_json::Value as Json;

use super::edits::Edits;
use super::manifest::{Draft, Lack};

/// Where flannel's daemon reads its networks.
const CONF: &str = "net-conf.json";

/// The ConfigMap: networks, and which families are used.
pub fn settings(draft: &mut Draft<'_, '_>, object: &Node) {
    let Some(string) = object.at(&["data", CONF]).filter(|_| draft.wanted.is_known()) else { return };
    draft.placed = true;
    let inner = string.text().unwrap_or_default();
    let conf = kiln_yaml::parse(inner).into_iter().next().and_then(|document| document.root.ok());
    let Some(conf) = conf.filter(|conf| conf.map().is_some()) else {
        return draft.lack(Lack::Network(format!("an object of JSON as {CONF}")));
    };
    let (v4, v6) = (draft.wanted.v4, draft.wanted.v6);
    let has = |key: &str| conf.at(&[key]).is_some();
    let mut set: Vec<(&str, Json)> = Vec::new();
    // Old ones want to read a network of IPv4, whatever it is: without that family the file's own stays, and is not used.
    set.extend(v4.map(|v4| ("Network", v4.into())));
    if v4.is_none() || has("EnableIPv4") {
        set.push(("EnableIPv4", v4.is_some().into()));
    }
    if v6.is_some() || has("EnableIPv6") {
        set.push(("EnableIPv6", v6.is_some().into()));
    }
    set.extend(v6.map(|v6| ("IPv6Network", v6.into())));
    set.retain(|(key, value)| conf.at(&[key]).is_none_or(|old| old.text() != value.as_str() || value.is_boolean()));
    let mut edits = Edits::of(inner);
    let made = edits.set(&conf, &set);
    draft.edits.within(string, edits);
    draft.note(made, CONF);
}

/// The daemon: which device it takes, unless it says one already.
pub fn container(draft: &mut Draft<'_, '_>, container: &Node) {
    const MANAGER: &str = "--kube-subnet-mgr";
    let flags = draft.wanted.flags;
    for list in ["command", "args"].into_iter().filter_map(|key| container.at(&[key])) {
        let items = list.list().unwrap_or_default();
        let place = items.iter().position(|item| item.text().is_some_and(|word| word.starts_with(MANAGER)));
        if super::manifest::words(container).any(|word| word.trim_start_matches('-').starts_with("iface")) {
            continue;
        }
        if let Some(place) = place.filter(|_| !flags.is_empty()) {
            let flags: Vec<Json> = flags.iter().map(|flag| flag.as_str().into()).collect();
            let made = draft.edits.insert(list, place, &flags);
            draft.note(made, "the arguments of flannel");
            draft.told = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::manifest::tests::{at, daemons, of, told};
    use super::super::manifest::{Adapted, Device};
    use super::*;

    const FLANNEL: &str = "kind: ConfigMap\ndata:\n  cni-conf.json: |\n    {}\n  net-conf.json: |\n    {\n      \"Network\": \"10.244.0.0/16\",\n      \"Backend\": {\"Type\": \"vxlan\"}\n    }\n---\n";

    fn device() -> Device {
        Device::Named("eth1".to_owned())
    }

    /// `net-conf.json` of a manifest, as flannel reads it.
    fn conf(text: &str) -> Json {
        let conf = at(text, "ConfigMap", &["data", CONF]);
        serde_json::from_str(conf.as_str().unwrap()).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    #[test]
    fn the_network_and_the_device_are_put_in_and_nothing_else_changes() {
        let args = daemons("name: kube-flannel\nargs:\n- --ip-masq\n- --kube-subnet-mgr\n- x");
        let own = format!("{FLANNEL}{args}");
        let made = told(&own, &["100.64.0.0/10"], &device());
        let wanted = own
            .replace("10.244.0.0/16", "100.64.0.0/10")
            .replace("- --kube-subnet-mgr", "- \"--iface=eth1\"\n        - --kube-subnet-mgr");
        assert_eq!(made, Adapted { text: wanted, told: true, placed: true, lacks: None });
        for pods in [&["10.244.0.0/16"][..], &[]] {
            assert_eq!(of(&own, pods), Adapted { text: own.clone(), told: false, placed: true, lacks: None });
        }
        // What it has stays.
        for flag in ["--iface=eth9", "--iface-regex=x", "-iface=eth9"] {
            let own = own.replace("- x", &format!("- {flag}"));
            let made = told(&own, &["10.244.0.0/16"], &device());
            assert_eq!((made.text, made.told), (own, false));
        }
        // As Canal and old files have it.
        let own = daemons("name: flannel\ncommand: [ \"/opt/bin/flanneld\", \"--ip-masq\", \"--kube-subnet-mgr\" ]");
        let made = told(&own, &[], &device());
        assert_eq!(made.text, own.replace("\"--kube", "\"--iface=eth1\", \"--kube"));
    }

    #[test]
    fn it_gets_the_families_that_pods_have() {
        let both = conf(&of(FLANNEL, &["10.1.0.0/16", "fd01::/48"]).text);
        assert_eq!((&both["Network"], &both["IPv6Network"]), (&"10.1.0.0/16".into(), &"fd01::/48".into()));
        assert_eq!((&both["EnableIPv6"], both.get("EnableIPv4")), (&true.into(), None));
        let alone = conf(&of(FLANNEL, &["fd01::/48"]).text);
        assert_eq!((&alone["EnableIPv4"], &alone["EnableIPv6"]), (&false.into(), &true.into()));
        assert_eq!(alone["IPv6Network"], "fd01::/48");
        // Of one line, in quotes, and of what it has already: once each.
        for line in [
            "kind: ConfigMap\ndata:\n  net-conf.json: |\n    {\"Network\": \"10.0.0.0/8\", \"EnableIPv6\":true, \"IPv6Network\": \"fd09::/48\"}\n",
            "kind: ConfigMap\ndata: {net-conf.json: '{\"Network\": \"10.0.0.0/8\", \"EnableIPv6\":true, \"IPv6Network\": \"fd09::/48\"}'}\n",
        ] {
            let both = of(line, &["fd01::/48", "10.1.0.0/16"]).text;
            assert_eq!(both.matches("IPv6Network").count(), 1, "{both}");
            assert_eq!(
                (&conf(&both)["IPv6Network"], &conf(&both)["Network"]),
                (&"fd01::/48".into(), &"10.1.0.0/16".into())
            );
            assert_eq!(conf(&of(line, &["10.1.0.0/16"]).text)["EnableIPv6"], false, "nodes have no network of it");
        }
        let empty = of("kind: ConfigMap\ndata:\n  net-conf.json: |\n    {}\n", &["fd01::/48"]);
        assert_eq!(conf(&empty.text)["IPv6Network"], "fd01::/48");
        for bad in ["[]", "{", "3", "\"\""] {
            let text = format!("kind: ConfigMap\ndata:\n  net-conf.json: |\n    {bad}\n");
            assert!(matches!(of(&text, &["10.1.0.0/16"]).lacks, Some(Lack::Network(_))), "{bad}");
        }
    }
}
