//! flannel's manifests, and the flannel in those of Canal.
//!
//! <https://github.com/flannel-io/flannel/blob/master/Documentation/configuration.md>

use kiln_clusterfile::model::Backend;
use kiln_yaml::node::Node;
use serde_json::Value as Json;

use super::edits::Edits;
use super::manifest::{Draft, Lack, objects, within, words};

/// Where flannel's daemon reads its networks.
const CONF: &str = "net-conf.json";

/// The ConfigMap: networks, and which families are used.
pub fn settings(draft: &mut Draft<'_, '_>, object: &Node) {
    let Some(string) = object.at(&["data", CONF]) else { return };
    draft.placed = true;
    draft.backed = true;
    let inner = string.text().unwrap_or_default();
    let Some(conf) = within(inner).filter(|conf| conf.map().is_some()) else {
        return draft.lack(Lack::Network(format!("an object of JSON as {CONF}")));
    };
    let (v4, v6) = (draft.wanted.v4, draft.wanted.v6);
    let has = |key: &str| conf.at(&[key]).is_some();
    let mut set: Vec<(&str, Json)> = Vec::new();
    // Old ones want to read a network of IPv4, whatever it is: without that family the file's own stays, and is not used.
    set.extend(v4.map(|v4| ("Network", v4.into())));
    if draft.wanted.is_known() && (v4.is_none() || has("EnableIPv4")) {
        set.push(("EnableIPv4", v4.is_some().into()));
    }
    if draft.wanted.is_known() && (v6.is_some() || has("EnableIPv6")) {
        set.push(("EnableIPv6", v6.is_some().into()));
    }
    set.extend(v6.map(|v6| ("IPv6Network", v6.into())));
    // Another backend's settings are none of this one.
    let own = conf.at(&["Backend", "Type"]).and_then(Node::text);
    let backend = draft.wanted.backend.map(Backend::name).filter(|backend| own != Some(backend));
    set.extend(backend.map(|backend| ("Backend", serde_json::json!({"Type": backend}))));
    set.retain(|(key, value)| conf.at(&[key]).is_none_or(|old| old.text() != value.as_str() || !value.is_string()));
    let mut edits = Edits::of(inner);
    let made = edits.set(&conf, &set);
    draft.edits.within(string, edits);
    draft.note(made, CONF);
}

/// Ports of UDP at which hosts get packets of each other, as a manifest says it, or another backend does it.
pub fn ports(text: &str, said: Option<Backend>) -> Vec<u16> {
    let objects = objects(text).unwrap_or_default();
    let conf = objects.iter().find_map(|object| object.at(&["data", CONF])?.text());
    let conf = conf.and_then(within);
    let own = conf.as_ref().and_then(|conf| conf.at(&["Backend"]));
    let kind = own.and_then(|own| own.at(&["Type"])?.text());
    // Its own settings count where its backend does.
    let own = own.filter(|_| said.is_none_or(|said| kind == Some(said.name())));
    let number = |key: &str| match own?.at(&[key])?.value {
        kiln_yaml::node::Value::Number(ref number) => u16::try_from(number.integer()?).ok(),
        _ => None,
    };
    match said.map(Backend::name).or(kind).unwrap_or("vxlan") {
        "vxlan" => vec![number("Port").unwrap_or(8472)],
        "udp" => vec![number("Port").unwrap_or(8285)],
        "wireguard" => vec![number("ListenPort").unwrap_or(51820)],
        // Routes, tunnels of other protocols, clouds.
        _ => Vec::new(),
    }
}

/// The daemon: which device it takes, unless it says one already.
pub fn container(draft: &mut Draft<'_, '_>, container: &Node) {
    const MANAGER: &str = "--kube-subnet-mgr";
    let flags = draft.wanted.flags;
    for list in ["command", "args"].into_iter().filter_map(|key| container.at(&[key])) {
        let items = list.list().unwrap_or_default();
        let place = items.iter().position(|item| item.text().is_some_and(|word| word.starts_with(MANAGER)));
        if words(container).any(|word| word.trim_start_matches('-').starts_with("iface")) {
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
    use super::super::manifest::{Adapted, Device, Wanted, adapted};
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
        assert_eq!(made, Adapted { text: wanted, told: true, placed: true, backed: true, lacks: None });
        for pods in [&["10.244.0.0/16"][..], &[]] {
            assert_eq!(
                of(&own, pods),
                Adapted { text: own.clone(), told: false, placed: true, backed: true, lacks: None }
            );
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
    fn its_backend_is_what_is_wanted() {
        let with = |backend| {
            let wanted = Wanted { backend: Some(backend), ..Wanted::default() };
            let made = adapted(FLANNEL, &wanted).unwrap();
            assert!(made.backed);
            made.text
        };
        assert_eq!(with(Backend::Vxlan), FLANNEL, "it is said already");
        assert_eq!(conf(&with(Backend::HostGw))["Backend"], serde_json::json!({"Type": "host-gw"}));
        for (backend, said, wanted) in [
            ("{\"Type\": \"vxlan\"}", None, &[8472][..]),
            ("{\"Type\": \"vxlan\", \"Port\": 4789}", None, &[4789]),
            ("{\"Type\": \"vxlan\", \"Port\": 4789}", Some(Backend::Vxlan), &[4789]),
            ("{\"Type\": \"vxlan\", \"Port\": 4789}", Some(Backend::Udp), &[8285]),
            ("{\"Type\": \"udp\", \"Port\": 70000}", None, &[8285]),
            ("{\"Type\": \"host-gw\"}", None, &[]),
            ("{\"Type\": \"wireguard\"}", None, &[51820]),
            ("3", None, &[8472]),
            ("{\"Type\": \"vxlan\"}", Some(Backend::HostGw), &[]),
        ] {
            let text = FLANNEL.replace("{\"Type\": \"vxlan\"}", backend);
            assert_eq!(ports(&text, said), wanted, "{backend} {said:?}");
        }
        assert_eq!(ports("x: [", None), [8472], "nobody knows");
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
