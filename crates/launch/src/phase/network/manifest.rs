//! Manifests of pod networks, told the networks of pods that kubeadm got, and the device of hosts. Everything else is left as
//! it is, byte for byte.
//!
//! | network | place |
//! |---|---|
//! | flannel | `net-conf.json` of a ConfigMap; arguments of the container with `--kube-subnet-mgr` |
//! | Calico | variables of calico-node; `cni_network_config` of a ConfigMap |
//! | Calico's operator | `calicoNetwork` of an `Installation` |
//! | Weave | `IPALLOC_RANGE` of the container that runs `launch.sh` |
//! | Cilium | the ConfigMap `cilium-config` |

use std::net::IpAddr;

use kiln_clusterfile::model::Backend;
use kiln_yaml::node::Node;
use kiln_yaml::{Fault, parse};
use serde_json::Value as Json;

use super::edits::{Edits, Stuck};
use super::{calico, cilium, flannel, weave};
use crate::families;

/// What a manifest is to be told.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted<'w> {
    /// The network of pods of IPv4.
    pub v4: Option<&'w str>,
    /// That of IPv6.
    pub v6: Option<&'w str>,
    /// Arguments of flannel's daemon about the device.
    pub flags: &'w [String],
    /// The device, if it has to be said.
    pub device: Option<&'w Device>,
    /// How flannel is to bring packets to other hosts, if its manifest's way is not wanted.
    pub backend: Option<Backend>,
    /// Whether the user says the device, and not the addresses that were chosen.
    pub is_said: bool,
}

/// Which device of hosts, or which address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Device {
    /// It is called so everywhere.
    Named(String),
    /// The one that leads to one of these.
    Towards(Vec<IpAddr>),
}

/// How an address of one family is found on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// On the device whose name this expression matches.
    Interface(String),
    /// It is the one that leads there.
    Reach(IpAddr),
}

impl Device {
    /// How it is found; none where no address of the family is known.
    pub fn way(&self, v6: bool) -> Option<Way> {
        match self {
            Device::Named(name) => Some(Way::Interface(format!("^{}$", name.replace('.', "\\.")))),
            Device::Towards(addresses) => {
                addresses.iter().find(|address| address.is_ipv6() == v6).copied().map(Way::Reach)
            }
        }
    }
}

impl<'w> Wanted<'w> {
    /// The networks of pods, as kubeadm got them.
    pub fn of(pods: impl Iterator<Item = &'w str> + Clone) -> Wanted<'w> {
        let family = |v6: bool| pods.clone().find(|network| families::of(std::iter::once(*network)) == [v6]);
        Wanted { v4: family(false), v6: family(true), ..Wanted::default() }
    }

    /// Whether anybody knows the networks of pods.
    pub fn is_known(&self) -> bool {
        self.v4.is_some() || self.v6.is_some()
    }
}

/// A manifest that is ready.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Adapted {
    /// Its text.
    pub text: String,
    /// Whether it has been told the device: not where it says one already, or has no place for it.
    pub told: bool,
    /// Whether it has a place for the network of pods, or takes it from Kubernetes.
    pub placed: bool,
    /// Whether it is flannel's, that has a backend.
    pub backed: bool,
    /// What has to be in it and is not.
    pub lacks: Option<Lack>,
}

/// What a manifest must have, and has not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lack {
    /// For addresses of IPv6.
    Six(String),
    /// For the network of pods.
    Network(String),
}

/// What a manifest is changed to, while it is read.
pub struct Draft<'t, 'w> {
    /// What it is told.
    pub wanted: Wanted<'w>,
    /// Changes of its text.
    pub edits: Edits<'t>,
    /// As in [`Adapted`].
    pub told: bool,
    /// As in [`Adapted`].
    pub placed: bool,
    /// As in [`Adapted`].
    pub backed: bool,
    /// As in [`Adapted`].
    pub lacks: Option<Lack>,
}

impl Draft<'_, '_> {
    /// Notes that something has no place.
    pub fn lack(&mut self, lack: Lack) {
        self.lacks.get_or_insert(lack);
    }

    /// Notes where a change was to be made, if it was not.
    pub fn note(&mut self, made: Result<(), Stuck>, place: &str) {
        if made.is_err() {
            self.lack(Lack::Network(format!("a place for new entries in {place}")));
        }
    }

    /// Sets variables of a container.
    pub fn variables(&mut self, container: &Node, set: &[(&str, Json)]) {
        let known = container.at(&["env"]);
        let (mut new, mut made) = (Vec::new(), Ok(()));
        for (name, value) in set {
            let Some(old) = known.and_then(|known| variable(known, name)) else {
                new.push(serde_json::json!({"name": name, "value": value}));
                continue;
            };
            match old.map().and_then(|map| map.entry("valueFrom")) {
                Some(from) => self.edits.swap(from, "value", value),
                None => made = made.and(self.edits.set(old, &[("value", value.clone())])),
            }
        }
        if !new.is_empty() {
            made = made.and(match known {
                Some(known) => self.edits.insert(known, 0, &new),
                None => self.edits.set(container, &[("env", Json::from(new))]),
            });
        }
        self.note(made, "`env`");
    }
}

/// A variable in a list of them.
pub fn variable<'n>(list: &'n Node, name: &str) -> Option<&'n Node> {
    list.list()?.iter().find(|item| item.at(&["name"]).and_then(Node::text) == Some(name))
}

/// Whether a container says a variable, in whatever way.
pub fn has(container: &Node, name: &str) -> bool {
    container.at(&["env"]).is_some_and(|list| variable(list, name).is_some())
}

/// The value of a variable that a container says by itself.
pub fn value<'n>(container: &'n Node, name: &str) -> Option<&'n str> {
    variable(container.at(&["env"])?, name)?.at(&["value"])?.text()
}

/// Words of a container's command and arguments.
pub fn words(container: &Node) -> impl Iterator<Item = &str> {
    let lists = ["command", "args"].into_iter().filter_map(|key| container.at(&[key])?.list());
    lists.flatten().filter_map(Node::text)
}

/// Objects of a text: also those of lists.
///
/// # Errors
/// When a document cannot be read.
pub fn objects(text: &str) -> Result<Vec<Node>, Fault> {
    let mut all = Vec::new();
    for document in parse(text) {
        let root = document.root?;
        match root.at(&["items"]).and_then(Node::list) {
            Some(items) if root.at(&["kind"]).and_then(Node::text).is_some_and(|kind| kind.ends_with("List")) => {
                all.extend(items.iter().cloned());
            }
            _ => all.push(root),
        }
    }
    Ok(all)
}

/// What a string of a manifest has, as YAML or JSON; none if it cannot be read.
pub fn within(string: &str) -> Option<Node> {
    parse(string).into_iter().next()?.root.ok()
}

/// Makes a manifest ready.
///
/// # Errors
/// When a document cannot be read.
pub fn adapted(text: &str, wanted: &Wanted<'_>) -> Result<Adapted, Fault> {
    let mut draft = Draft {
        wanted: *wanted,
        edits: Edits::of(text),
        told: false,
        placed: !wanted.is_known(),
        backed: false,
        lacks: None,
    };
    for object in objects(text)? {
        let kind = object.at(&["kind"]).and_then(Node::text).unwrap_or_default();
        let pods = [&["spec", "template", "spec"][..], &["spec"]].into_iter().find_map(|path| {
            let containers = object.at(path)?.at(&["containers"])?.list()?;
            Some(containers.to_vec())
        });
        match kind {
            "ConfigMap" => {
                flannel::settings(&mut draft, &object);
                calico::settings(&mut draft, &object);
                cilium::settings(&mut draft, &object);
            }
            "Installation" => calico::installation(&mut draft, &object),
            _ => {
                for container in pods.iter().flatten() {
                    flannel::container(&mut draft, container);
                    calico::container(&mut draft, container);
                    weave::container(&mut draft, container);
                }
            }
        }
    }
    let Draft { edits, told, placed, backed, lacks, .. } = draft;
    Ok(Adapted { text: edits.done(), told, placed, backed, lacks })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A manifest for these networks of pods.
    pub fn of(text: &str, pods: &[&str]) -> Adapted {
        adapted(text, &Wanted::of(pods.iter().copied())).unwrap()
    }

    /// A manifest that is told a device, too.
    pub fn told(text: &str, pods: &[&str], device: &Device) -> Adapted {
        let flags = ["--iface=eth1".to_owned()];
        let wanted = Wanted { flags: &flags, device: Some(device), ..Wanted::of(pods.iter().copied()) };
        adapted(text, &wanted).unwrap()
    }

    /// What YAML says, as JSON: the first document with this kind, at a path. Numbers are texts.
    pub fn at(text: &str, kind: &str, path: &[&str]) -> Json {
        let all = objects(text).unwrap_or_else(|fault| panic!("{fault}: {text}"));
        let object = all.iter().find(|object| object.at(&["kind"]).and_then(Node::text) == Some(kind));
        object.and_then(|object| object.at(path)).map_or(Json::Null, json)
    }

    /// A value as JSON.
    pub fn json(node: &Node) -> Json {
        use kiln_yaml::node::Value;
        match &node.value {
            Value::Null => Json::Null,
            Value::Bool(is) => Json::from(*is),
            Value::Number(number) => Json::from(number.canonical()),
            Value::Text(text) => Json::from(text.as_str()),
            Value::List(items) => items.iter().map(json).collect(),
            Value::Map(map) => map.entries.iter().map(|entry| (entry.key.clone(), json(&entry.value))).collect(),
        }
    }

    /// Variables of the first container of the first DaemonSet: name and value.
    pub fn variables(text: &str) -> Vec<(String, String)> {
        let containers = at(text, "DaemonSet", &["spec", "template", "spec", "containers"]);
        let list = containers[0]["env"].as_array().cloned().unwrap_or_default();
        let word = |json: &Json| json.as_str().map_or_else(|| json.to_string(), str::to_owned);
        list.iter().map(|item| (word(&item["name"]), word(&item["value"]))).collect()
    }

    /// A DaemonSet with one container.
    pub fn daemons(container: &str) -> String {
        format!(
            "apiVersion: apps/v1\nkind: DaemonSet\nspec:\n  template:\n    spec:\n      containers:\n      - {}\n",
            container.replace('\n', "\n        ")
        )
    }

    #[test]
    fn other_manifests_stay_as_they_are() {
        for text in ["", "kind: A\n", "a: [1,  2]\n---\n# x\n---\nkind: List\nitems: 3\n", "kind: List\nitems: [3]\n"] {
            let made = of(text, &["10.1.0.0/16"]);
            assert_eq!(made, Adapted { text: text.to_owned(), ..Adapted::default() });
        }
        assert!(of("kind: A\n", &[]).placed, "nobody knows the network");
        let fault = adapted("a: 1\nb: [\n", &Wanted::default()).unwrap_err();
        assert!(fault.span.start > 4, "{fault}");
    }

    #[test]
    fn variables_are_set_wherever_they_come_from() {
        let text = daemons(
            "name: calico-node\nenv:\n- name: CALICO_IPV4POOL_CIDR\n  valueFrom:\n    configMapKeyRef: {name: a, key: b}\n  # more\n- name: X\n  value: 1",
        );
        let made = of(&text, &["10.1.0.0/16"]);
        assert_eq!(
            made.text,
            text.replace("valueFrom:\n            configMapKeyRef: {name: a, key: b}", "\"value\": \"10.1.0.0/16\"")
        );
        let json = serde_json::json!({"kind": "List", "items": [{"kind": "DaemonSet", "spec": {"template": {"spec": {"containers": [
            {"name": "calico-node", "env": [{"name": "X", "value": "1"}]}]}}}}]});
        let made = of(&json.to_string(), &["10.1.0.0/16"]);
        let wanted = json.to_string().replace(
            "[{\"name\":\"X\"",
            "[{\"name\":\"CALICO_IPV4POOL_CIDR\",\"value\":\"10.1.0.0/16\"}, {\"name\":\"X\"",
        );
        assert_eq!((made.text, made.placed), (wanted, true));
        let stuck = of(&daemons("name: calico-node\nenv:\n- # the first\n  name: X"), &["10.1.0.0/16"]);
        assert_eq!(stuck.lacks, Some(Lack::Network("a place for new entries in `env`".to_owned())));
    }

    /// Whatever is written: no panic, nothing that cannot be read again, and nothing to change the second time.
    #[test]
    fn manifests_that_somebody_has_broken_stay_readable() {
        let bases = [
            "kind: ConfigMap\ndata:\n  net-conf.json: |\n    {\n      \"Network\": \"1.0.0.0/8\"\n    }\n---\nkind: A\n".to_owned(),
            daemons("name: calico-node\nenv:\n- name: IP\n  value: x\n- {name: A, valueFrom: {b: c}}\n# d\nargs: [a]"),
            daemons("command:\n  - /home/weave/launch.sh\nenv:"),
            "apiVersion: operator.b/v1\nkind: Installation\nspec:\n  calicoNetwork:\n    ipPools:\n    - a: 1\n      cidr: 1.0.0.0/8\n".to_owned(),
            "kind: ConfigMap\nmetadata: {name: cilium-config}\ndata: {cluster-pool-ipv4-cidr: 1.0.0.0/8, ipam: cluster-pool}\n".to_owned(),
        ];
        let device = Device::Towards(vec!["10.0.0.1".parse().unwrap()]);
        let flags = ["--iface=eth1".to_owned()];
        let pods = ["10.1.0.0/16", "fd01::/48"];
        let wanted = |both| Wanted {
            flags: &flags,
            device: Some(&device),
            backend: Some(Backend::Udp),
            ..Wanted::of(pods[..if both { 2 } else { 1 }].iter().copied())
        };
        let mut read = 0;
        for base in &bases {
            for at in 0..base.len() {
                for new in ["", ":", "{", "]", "-", "- ", "\n", " ", "#", "&a ", "*a", "\"", "|", "\t", "é"] {
                    let text = format!("{}{new}{}", &base[..at], &base[at + usize::from(new.is_empty())..]);
                    let Ok(made) = adapted(&text, &wanted(at % 2 == 0)) else { continue };
                    read += 1;
                    let again = adapted(&made.text, &wanted(at % 2 == 0));
                    let again = again.unwrap_or_else(|fault| panic!("{fault}: {text:?} is {:?}", made.text));
                    assert!(
                        made.lacks.is_some() || again.text == made.text,
                        "{text:?} is {:?}, then {:?}",
                        made.text,
                        again.text
                    );
                }
            }
        }
        assert!(read > 5000, "{read}");
    }
}
