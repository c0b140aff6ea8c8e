//! Manifests of flannel, Calico, Weave and Cilium with the networks of pods in place of those that they come with. Everything
//! else is left as it is, byte for byte.
//!
//! | network | place |
//! |---|---|
//! | flannel | `Network` in `net-conf.json`; `IPv6Network` and the switches of families beside it |
//! | Calico | `CALICO_IPV4POOL_CIDR` of calico-node, also where it is a comment, as in Calico's own file; `CALICO_IPV6POOL_CIDR` |
//! | Calico's operator | `cidr` in `ipPools` of an `Installation` |
//! | Weave | `IPALLOC_RANGE` of weave, which its own file does not have |
//! | Cilium | `cluster-pool-ipv4-cidr` and `cluster-pool-ipv6-cidr` in `cilium-config` |

use crate::families;

/// The variable of Calico's pool of IPv4.
const POOL: &str = "- name: CALICO_IPV4POOL_CIDR";

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
    /// Whether flannel was told its further arguments, or Calico its device: not where they have one already.
    pub told: bool,
    /// What has to be in it and is not.
    pub lacks: Option<Lack>,
}

/// What a manifest must have, and has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// For addresses of IPv6.
    Six(&'static str),
    /// For the network of pods.
    Network(&'static str),
}

/// Makes a manifest ready.
pub fn adapted(text: &str, wanted: &Wanted<'_>) -> Adapted {
    let mut out = String::with_capacity(text.len() + 64);
    let has = text.lines().any(|line| line.trim_start().starts_with("- --iface"));
    let method = method(text, wanted);
    let (mut follows, mut told) = (None, wanted.flags.is_empty());
    let (mut weave, mut is_installation, mut is_pool) = (Weave::of(text, wanted), false, false);
    let is_commented = is_commented(text, wanted);
    for line in text.split_inclusive('\n') {
        let own = uncommented(line, is_pool, is_commented);
        is_pool = own.as_deref().is_some_and(|line| line.trim() == POOL);
        let line = own.as_deref().unwrap_or(line);
        let bare = line.trim_start();
        let indent = line.get(..line.len() - bare.len()).unwrap_or_default();
        let word = bare.trim_end();
        if let Some((value, method)) = follows.take().filter(|_| bare.starts_with("value:")) {
            out.push_str(&match value {
                Some(value) => format!("{indent}value: \"{value}\"\n"),
                None => line.to_owned(),
            });
            if let Some(method) = method {
                let outer = indent.get(2..).unwrap_or_default();
                out.push_str(&variable_of(outer, "IP_AUTODETECTION_METHOD", method));
                told = true;
            }
            continue;
        }
        is_installation = if word == "---" { false } else { is_installation || word == "kind: Installation" };
        out.push_str(&weave.before(bare, indent, wanted));
        let line = pool(line, is_installation, wanted).unwrap_or_else(|| line.to_owned());
        let line = cilium(&line, wanted).unwrap_or(line);
        out.push_str(&assigns(&flannel(&line, text, wanted), text, wanted));
        let name = word.trim_start_matches("- ").strip_prefix("name: ").map(|name| name.trim_matches(['"', '\'']));
        let own = method.as_deref().filter(|_| name == Some("IP"));
        let value = name.and_then(|name| variable(name, wanted));
        follows = (value.is_some() || own.is_some()).then_some((value, own));
        if !has && word == "- --kube-subnet-mgr" {
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
    let lacks = lacks(text, wanted).or_else(|| weave.lacks());
    Adapted { text: out, told, lacks }
}

/// A variable of a container.
fn variable_of(indent: &str, name: &str, value: &str) -> String {
    format!("{indent}- name: {name}\n{indent}  value: {}\n", serde_json::Value::from(value))
}

/// How Calico is to find its address, where it is told a device and has not said it otherwise.
fn method(text: &str, wanted: &Wanted<'_>) -> Option<String> {
    let [flag] = wanted.flags else { return None };
    let device = flag.strip_prefix("--iface=")?;
    let escaped: String = device.chars().flat_map(|c| (c == '.').then_some('\\').into_iter().chain([c])).collect();
    (!text.contains("IP_AUTODETECTION_METHOD")).then(|| format!("interface=^{escaped}$"))
}

/// A line of a variable that Calico's own file has as a comment, and then of its value, with what begins the comment taken
/// out; none of another line. `follows` is whether the line before was the variable's.
fn uncommented(line: &str, follows: bool, is_commented: bool) -> Option<String> {
    let bare = line.trim_start();
    let rest = bare.strip_prefix("# ").filter(|_| is_commented)?;
    let is_part = rest.trim_end() == POOL || (follows && rest.trim_start().starts_with("value:"));
    is_part.then(|| format!("{}{rest}", line.get(..line.len() - bare.len()).unwrap_or_default()))
}

/// Whether Calico's pool is nowhere said, and wanted.
fn is_commented(text: &str, wanted: &Wanted<'_>) -> bool {
    wanted.v4.is_some() && !text.lines().any(|line| line.trim_start().starts_with(POOL))
}

/// Where Weave is told the network of pods, which its own file does not do.
enum Weave {
    /// It says it already, or it is another network.
    Other,
    /// Its command was not seen yet.
    Command,
    /// Its command was seen, and its environment not yet.
    Environment,
    /// The next line is the first variable.
    Here,
    /// It was told.
    Told,
}

impl Weave {
    fn of(text: &str, wanted: &Wanted<'_>) -> Weave {
        let is_weave = text.contains("/home/weave/launch.sh") && !text.contains("name: IPALLOC_RANGE");
        if is_weave && wanted.v4.is_some() { Weave::Command } else { Weave::Other }
    }

    /// What goes before a line.
    fn before(&mut self, bare: &str, indent: &str, wanted: &Wanted<'_>) -> String {
        match self {
            Weave::Command if bare.contains("/home/weave/launch.sh") => *self = Weave::Environment,
            Weave::Environment if bare.trim_end() == "env:" => *self = Weave::Here,
            Weave::Here if bare.starts_with("- name:") => {
                *self = Weave::Told;
                return variable_of(indent, "IPALLOC_RANGE", wanted.v4.unwrap_or_default());
            }
            Weave::Here => *self = Weave::Environment,
            _ => {}
        }
        String::new()
    }

    fn lacks(&self) -> Option<Lack> {
        match self {
            Weave::Other | Weave::Told => None,
            _ => Some(Lack::Network("IPALLOC_RANGE in the environment of weave")),
        }
    }
}

/// A line of a pool of Calico's operator.
fn pool(line: &str, is_installation: bool, wanted: &Wanted<'_>) -> Option<String> {
    let bare = line.trim_start();
    let indent = line.get(..line.len() - bare.len())?;
    let (dash, rest) = bare.strip_prefix("- ").map_or(("", bare), |rest| ("- ", rest));
    let value = rest.strip_prefix("cidr:").filter(|_| is_installation)?.trim().trim_matches(['"', '\'']);
    let network = match families::of(std::iter::once(value))[..] {
        [true] => wanted.v6?,
        [false] => wanted.v4?,
        _ => return None,
    };
    Some(format!("{indent}{dash}cidr: \"{network}\"\n"))
}

/// A line of Cilium's configuration.
fn cilium(line: &str, wanted: &Wanted<'_>) -> Option<String> {
    let bare = line.trim_start();
    let indent = line.get(..line.len() - bare.len())?;
    let (key, _) = bare.split_once(':')?;
    let value = match key {
        "cluster-pool-ipv4-cidr" => wanted.v4?,
        "cluster-pool-ipv6-cidr" => wanted.v6?,
        "enable-ipv6" => wanted.v6.map(|_| "true")?,
        _ => return None,
    };
    Some(format!("{indent}{key}: \"{value}\"\n"))
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
fn lacks(text: &str, wanted: &Wanted<'_>) -> Option<Lack> {
    wanted.v6?;
    let has = |word: &str| text.contains(word);
    let is_calico = has("calico-ipam") || has("calico/node") || has("CALICO_NETWORKING_BACKEND");
    let is_installation = has("kind: Installation") && has("operator.tigera.io/");
    let pools = || text.lines().filter_map(|line| line.trim_start().trim_start_matches("- ").strip_prefix("cidr:"));
    let has_pool = || pools().any(|value| value.contains("::"));
    match () {
        () if has("net-conf.json") && !has("\"Network\"") => Some("\"Network\" in net-conf.json"),
        () if has("IPALLOC_RANGE") || has("weave-net") => Some("IPv6, which Weave has not"),
        () if is_installation && !has_pool() => Some("a pool of IPv6 in `ipPools` of the Installation"),
        () if has("cluster-pool-ipv4-cidr") && !has("cluster-pool-ipv6-cidr") => {
            Some("enable-ipv6 and cluster-pool-ipv6-cidr in cilium-config")
        }
        () if is_calico && !(has("name: CALICO_IPV6POOL_CIDR") && has("name: IP6\n")) => {
            Some("CALICO_IPV6POOL_CIDR and IP6 in the environment of calico-node")
        }
        () if is_calico && wanted.v4.is_none() && !has("name: CALICO_ROUTER_ID") => {
            Some("CALICO_ROUTER_ID in the environment of calico-node, as `hash`: there is no address of IPv4 for it")
        }
        () => None,
    }
    .map(Lack::Six)
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
        assert_eq!(of(none, &["fd01::/48"], &[]).lacks, Some(Lack::Six("\"Network\" in net-conf.json")));
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
        let six_of = |text: &str, pods: &[&str]| match of(text, pods, &[]).lacks {
            Some(Lack::Six(what)) => what,
            other => panic!("{other:?}"),
        };
        assert!(six_of(&plain, &pods).starts_with("CALICO_IPV6POOL_CIDR"));
        assert!(six_of(&format!("{CALICO}{six}"), &["fd01::/48"]).starts_with("CALICO_ROUTER_ID"));
        assert_eq!(of(&plain, &pods[..1], &[]).lacks, None);
        assert!(six_of("- name: IPALLOC_RANGE\n  value: x\n", &pods).contains("Weave"));
    }

    #[test]
    fn what_calicos_own_file_has_as_a_comment_is_said() {
        let own = "          env:\n            # how\n            - name: IP\n              value: \"autodetect\"\n            # where\n            \
            # - name: CALICO_IPV4POOL_CIDR\n            #   value: \"192.168.0.0/16\"\n            # value: of a comment\n            - name: X\n              value: \"1\"\n";
        let made = of(own, &["10.1.0.0/16"], &["--iface=eth0.7".to_owned()]);
        assert!(made.told && made.lacks.is_none());
        let wanted = "          env:\n            # how\n            - name: IP\n              value: \"autodetect\"\n            - name: IP_AUTODETECTION_METHOD\n              value: \"interface=^eth0\\\\.7$\"\n            # where\n            \
            - name: CALICO_IPV4POOL_CIDR\n              value: \"10.1.0.0/16\"\n            # value: of a comment\n            - name: X\n              value: \"1\"\n";
        assert_eq!(made.text, wanted);
        // What is said already stays, and so does the comment.
        let said =
            format!("{own}{CALICO}            - name: IP_AUTODETECTION_METHOD\n              value: \"first-found\"\n");
        let made = of(&said, &["10.1.0.0/16"], &["--iface=eth1".to_owned()]);
        assert_eq!(
            (made.told, made.text),
            (
                false,
                said.replace(
                    "value: \"192.168.0.0/16\"\n            - name: OTHER",
                    "value: \"10.1.0.0/16\"\n            - name: OTHER"
                )
            )
        );
        assert_eq!(of(own, &[], &[]).text, own, "nobody knows the network");
    }

    #[test]
    fn weave_and_cilium_get_the_network_of_pods() {
        for command in [
            "            command:\n            - /home/weave/launch.sh\n",
            "            command: [/home/weave/launch.sh]\n",
        ] {
            let own = format!(
                "          - name: weave\n{command}            env:\n            - name: HOSTNAME\n              value: h\n          - name: npc\n            env:\n            - name: HOSTNAME\n"
            );
            let made = of(&own, &["10.1.0.0/16"], &[]);
            let told = "            env:\n            - name: IPALLOC_RANGE\n              value: \"10.1.0.0/16\"\n            - name: HOSTNAME\n              value: h\n";
            assert!(made.text.contains(told) && made.text.matches("IPALLOC").count() == 1, "{}", made.text);
            assert_eq!(
                (made.lacks, of(&made.text, &["10.2.0.0/16"], &[]).text),
                (None, made.text.replace("10.1.", "10.2."))
            );
        }
        let nowhere = of("command: [/home/weave/launch.sh]\nimage: x\n", &["10.1.0.0/16"], &[]);
        assert!(matches!(nowhere.lacks, Some(Lack::Network(what)) if what.contains("IPALLOC_RANGE")));
        let cilium = "data:\n  enable-ipv6: \"false\"\n  cluster-pool-ipv4-cidr: 10.0.0.0/8\n  cluster-pool-ipv4-mask-size: \"24\"\n";
        assert_eq!(of(cilium, &["10.1.0.0/16"], &[]).text, cilium.replace("10.0.0.0/8", "\"10.1.0.0/16\""));
        let both = format!("{cilium}  cluster-pool-ipv6-cidr: \"fd00::/104\"\n");
        let text = of(&both, &["10.1.0.0/16", "fd01::/48"], &[]).text;
        assert!(
            text.contains("enable-ipv6: \"true\"") && text.contains("cluster-pool-ipv6-cidr: \"fd01::/48\"\n"),
            "{text}"
        );
        assert!(of(cilium, &["fd01::/48"], &[]).lacks.is_some());
    }

    #[test]
    fn pools_of_calicos_operator_are_those_of_pods() {
        let own = "kind: Other\nspec:\n  cidr: 1.0.0.0/8\n---\napiVersion: operator.tigera.io/v1\nkind: Installation\nspec:\n  calicoNetwork:\n    ipPools:\n    - blockSize: 26\n      cidr: 192.168.0.0/16\n    - cidr: \"fd00:9::/48\"\n---\nkind: Other\nspec:\n  cidr: 192.168.0.0/16\n";
        let text = of(own, &["10.1.0.0/16", "fd01::/48"], &[]).text;
        let wanted = own
            .replacen("      cidr: 192.168.0.0/16", "      cidr: \"10.1.0.0/16\"", 1)
            .replace("fd00:9::/48", "fd01::/48");
        assert_eq!(text, wanted);
        let without = own.replace("    - cidr: \"fd00:9::/48\"\n", "");
        assert!(matches!(of(&without, &["10.1.0.0/16", "fd01::/48"], &[]).lacks, Some(Lack::Six(_))));
        assert_eq!(of(own, &[], &[]).text, own);
    }
}
