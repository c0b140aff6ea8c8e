//! Manifests of flannel, Calico and Weave with the networks of pods in place of those that they come with. Everything else is
//! left as it is, byte for byte.

use crate::families;

/// What a manifest is to be told.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted<'w> {
    /// The network of pods of IPv4.
    pub v4: Option<&'w str>,
    /// That of IPv6.
    pub v6: Option<&'w str>,
    /// Further arguments of flannel's daemon.
    pub flags: &'w [String],
}

impl<'w> Wanted<'w> {
    /// The networks of pods, as kubeadm got them.
    pub fn of(pods: impl Iterator<Item = &'w str> + Clone, flags: &'w [String]) -> Wanted<'w> {
        let family = |v6: bool| pods.clone().find(|network| families::of(std::iter::once(*network)) == [v6]);
        Wanted { v4: family(false), v6: family(true), flags }
    }
}

/// A manifest that is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adapted {
    /// Its text.
    pub text: String,
    /// Whether flannel was told its further arguments: not where it has a device already.
    pub told: bool,
    /// What has to be in it for IPv6 and is not.
    pub lacks: Option<&'static str>,
}

/// Makes a manifest ready.
pub fn adapted(text: &str, wanted: &Wanted<'_>) -> Adapted {
    let mut out = String::with_capacity(text.len() + 64);
    let has = text.lines().any(|line| line.trim_start().starts_with("- --iface"));
    let (mut follows, mut told) = (None, wanted.flags.is_empty());
    for line in text.split_inclusive('\n') {
        let bare = line.trim_start();
        let indent = line.get(..line.len() - bare.len()).unwrap_or_default();
        if let Some(value) = follows.take().filter(|_| bare.starts_with("value:")) {
            out.push_str(&format!("{indent}value: \"{value}\"\n"));
            continue;
        }
        out.push_str(&assigns(&flannel(line, text, wanted), text, wanted));
        let word = bare.trim_end().trim_start_matches("- ");
        follows = word.strip_prefix("name: ").and_then(|name| variable(name.trim_matches(['"', '\'']), wanted));
        if !has && bare.trim_end() == "- --kube-subnet-mgr" {
            if !line.ends_with('\n') {
                out.push('\n');
            }
            wanted
                .flags
                .iter()
                .for_each(|flag| out.push_str(&format!("{indent}- {}\n", serde_json::Value::from(flag.as_str()))));
            told = true;
        }
    }
    Adapted { text: out, told, lacks: lacks(text, wanted) }
}

/// The value of a variable of Calico's or Weave's containers.
fn variable<'w>(name: &str, wanted: &Wanted<'w>) -> Option<&'w str> {
    match name {
        "CALICO_IPV4POOL_CIDR" | "IPALLOC_RANGE" => wanted.v4,
        "CALICO_IPV6POOL_CIDR" => wanted.v6,
        "IP6" => wanted.v6.map(|_| "autodetect"),
        "FELIX_IPV6SUPPORT" => wanted.v6.map(|_| "true"),
        "IP" if wanted.v4.is_none() => wanted.v6.map(|_| "none"),
        _ => None,
    }
}

/// A line of flannel's `net-conf.json`.
fn flannel(line: &str, text: &str, wanted: &Wanted<'_>) -> String {
    let quoted = |network: &str| format!("\"{network}\"");
    let mut rows = vec![("\"EnableIPv6\"", Some(wanted.v6.is_some().to_string()).filter(|_| known(wanted)))];
    rows.push(("\"IPv6Network\"", wanted.v6.map(quoted)));
    rows.push(("\"EnableIPv4\"", Some(wanted.v4.is_some().to_string()).filter(|_| known(wanted))));
    let mut line = rows.iter().fold(line.to_owned(), |line, (key, value)| match value {
        Some(value) => with(&line, key, value),
        None => line,
    });
    let Some((before, network, after)) = field(&line, "\"Network\"") else { return line };
    // Beside it goes what the file has not said.
    let mut all: Vec<String> = Vec::new();
    match wanted.v4 {
        Some(v4) => all.push(format!("\"Network\": \"{v4}\"")),
        // Old ones want to read one, whatever it is; without IPv4 it is not used.
        None if wanted.v6.is_some() => all.push(format!("\"Network\": {network}")),
        None => return line,
    }
    let missing = |key: &str| !text.contains(key);
    if wanted.v4.is_none() && missing("\"EnableIPv4\"") {
        all.push("\"EnableIPv4\": false".to_owned());
    }
    if let Some(v6) = wanted.v6 {
        all.extend(missing("\"EnableIPv6\"").then(|| "\"EnableIPv6\": true".to_owned()));
        all.extend(missing("\"IPv6Network\"").then(|| format!("\"IPv6Network\": \"{v6}\"")));
    }
    let indent: String = line.chars().take_while(|c| c.is_whitespace()).collect();
    let alone = before.trim().is_empty();
    let all = all.join(&if alone { format!(",\n{indent}") } else { ", ".to_owned() });
    line = format!("{before}{all}{after}");
    line
}

fn known(wanted: &Wanted<'_>) -> bool {
    wanted.v4.is_some() || wanted.v6.is_some()
}

/// A field of JSON in a line: what is before it, its value as written, what is behind it.
fn field<'l>(line: &'l str, key: &str) -> Option<(&'l str, &'l str, &'l str)> {
    let (before, rest) = line.split_once(key)?;
    let rest = rest.trim_start().strip_prefix(':')?.trim_start();
    let end = match rest.strip_prefix('"') {
        Some(text) => text.find('"')? + 2,
        None => rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len()),
    };
    Some((before, rest.get(..end)?, rest.get(end..)?))
}

/// A line with another value in a field, if it has that.
fn with(line: &str, key: &str, value: &str) -> String {
    match field(line, key) {
        Some((before, _, after)) => format!("{before}{key}: {value}{after}"),
        None => line.to_owned(),
    }
}

/// A line of Calico's configuration of CNI: which families pods get.
fn assigns(line: &str, text: &str, wanted: &Wanted<'_>) -> String {
    let (Some(_), Some((before, own, after))) = (wanted.v6, field(line, "\"type\"")) else { return line.to_owned() };
    if own != "\"calico-ipam\"" || text.contains("\"assign_ipv6\"") {
        return line.to_owned();
    }
    let v4 = wanted.v4.is_some();
    format!("{before}\"type\": {own}, \"assign_ipv4\": \"{v4}\", \"assign_ipv6\": \"true\"{after}")
}

/// What a manifest must have, that pods get addresses of IPv6, and has not.
fn lacks(text: &str, wanted: &Wanted<'_>) -> Option<&'static str> {
    wanted.v6?;
    let has = |word: &str| text.contains(word);
    let is_calico = has("calico-ipam") || has("calico/node") || has("CALICO_NETWORKING_BACKEND");
    match () {
        () if has("net-conf.json") && !has("\"Network\"") => Some("\"Network\" in net-conf.json"),
        () if has("IPALLOC_RANGE") || has("weave-net") => Some("IPv6, which Weave has not"),
        () if is_calico && !(has("name: CALICO_IPV6POOL_CIDR") && has("name: IP6\n")) => {
            Some("CALICO_IPV6POOL_CIDR and IP6 in the environment of calico-node")
        }
        () if is_calico && wanted.v4.is_none() && !has("name: CALICO_ROUTER_ID") => {
            Some("CALICO_ROUTER_ID in the environment of calico-node, as `hash`: there is no address of IPv4 for it")
        }
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLANNEL: &str = "data:\n  net-conf.json: |\n    {\n      \"Network\": \"10.244.0.0/16\",\n      \"Backend\": {\"Type\": \"vxlan\"}\n    }\nargs:\n        - --ip-masq\n        - --kube-subnet-mgr\n        - x\n";
    const CALICO: &str = "            - name: CALICO_IPV4POOL_CIDR\n              value: \"192.168.0.0/16\"\n            - name: OTHER\n              value: \"x\"\n";

    fn of(text: &str, pods: &[&str], flags: &[String]) -> Adapted {
        adapted(text, &Wanted::of(pods.iter().copied(), flags))
    }

    /// `net-conf.json` of a manifest, as flannel reads it.
    fn conf(text: &str) -> serde_json::Value {
        let (_, rest) = text.split_once("net-conf.json: |\n").unwrap();
        serde_json::from_str(rest.split_once("args:").unwrap().0).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    #[test]
    fn networks_are_put_into_manifests_and_nothing_else_changes() {
        let eth1 = ["--iface=eth1".to_owned()];
        let Adapted { text, told, .. } = of(FLANNEL, &["100.64.0.0/10"], &eth1);
        assert!(
            told && text.contains("      \"Network\": \"100.64.0.0/10\",\n")
                && text.contains("        - --kube-subnet-mgr\n        - \"--iface=eth1\"\n        - x\n"),
            "{text}"
        );
        let same = Adapted { text: FLANNEL.to_owned(), told: true, lacks: None };
        assert_eq!((of(FLANNEL, &["10.244.0.0/16"], &[]), of(FLANNEL, &[], &[])), (same.clone(), same));
        let own = FLANNEL.replace("- x", "- --iface=eth9");
        let kept = Adapted { text: own.clone(), told: false, lacks: None };
        assert_eq!(of(&own, &["10.244.0.0/16"], &eth1), kept, "what it has stays");
        assert_eq!(of(CALICO, &["10.1.0.0/16"], &[]).text, CALICO.replace("192.168.0.0/16", "10.1.0.0/16"));
        let nowhere = Adapted { text: "kind: A\n".to_owned(), told: false, lacks: None };
        assert_eq!(of("kind: A\n", &["10.1.0.0/16"], &eth1), nowhere, "nowhere to say it");
    }

    #[test]
    fn flannel_gets_the_families_that_pods_have() {
        let both = conf(&of(FLANNEL, &["10.1.0.0/16", "fd01::/48"], &[]).text);
        assert_eq!((&both["Network"], &both["IPv6Network"]), (&"10.1.0.0/16".into(), &"fd01::/48".into()));
        assert_eq!((&both["EnableIPv6"], both.get("EnableIPv4")), (&true.into(), None));
        let alone = conf(&of(FLANNEL, &["fd01::/48"], &[]).text);
        assert_eq!((&alone["EnableIPv4"], &alone["EnableIPv6"]), (&false.into(), &true.into()));
        assert_eq!(alone["IPv6Network"], "fd01::/48");
        // Of one line, and of what it has already: once each.
        let line = "net-conf.json: |\n    {\"Network\": \"10.0.0.0/8\", \"EnableIPv6\":true, \"IPv6Network\": \"fd09::/48\"}\nargs:\n";
        let both = of(line, &["fd01::/48", "10.1.0.0/16"], &[]).text;
        assert_eq!(both.matches("IPv6Network").count(), 1, "{both}");
        assert_eq!(
            (&conf(&both)["IPv6Network"], &conf(&both)["Network"]),
            (&"fd01::/48".into(), &"10.1.0.0/16".into())
        );
        assert_eq!(conf(&of(line, &["10.1.0.0/16"], &[]).text)["EnableIPv6"], false, "nodes have no network of it");
        let none = "net-conf.json: |\n    {}\nargs:\n";
        assert_eq!(of(none, &["fd01::/48"], &[]).lacks, Some("\"Network\" in net-conf.json"));
    }

    #[test]
    fn calico_gets_ipv6_where_its_manifest_has_a_place_for_it() {
        let six = "            - name: IP6\n              value: \"none\"\n            - name: CALICO_IPV6POOL_CIDR\n              value: \"\"\n            - name: FELIX_IPV6SUPPORT\n              value: \"false\"\n\"ipam\": {\"type\": \"calico-ipam\"},\n";
        let pods = ["10.1.0.0/16", "fd01::/48"];
        let both = of(&format!("{CALICO}{six}"), &pods, &[]);
        for part in [
            "\"autodetect\"",
            "\"fd01::/48\"",
            "\"10.1.0.0/16\"",
            "\"true\"\n",
            "\"assign_ipv4\": \"true\", \"assign_ipv6\": \"true\"}",
        ] {
            assert!(both.text.contains(part), "{part}: {}", both.text);
        }
        assert_eq!(both.lacks, None);
        let plain = format!("{CALICO}\"ipam\": {{\"type\": \"calico-ipam\"}},\n");
        assert!(of(&plain, &pods, &[]).lacks.unwrap().starts_with("CALICO_IPV6POOL_CIDR"));
        assert!(of(&format!("{CALICO}{six}"), &["fd01::/48"], &[]).lacks.unwrap().starts_with("CALICO_ROUTER_ID"));
        assert_eq!(of(&plain, &pods[..1], &[]).lacks, None);
        assert!(of("- name: IPALLOC_RANGE\n  value: x\n", &pods, &[]).lacks.unwrap().contains("Weave"));
    }
}
