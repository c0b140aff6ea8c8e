//! What a release no longer accepts.
//!
//! A component that meets a flag or a feature gate it does not know exits, and `kubeadm init` waits for it in vain.

use crate::layer::Change;
use crate::schema::Kind;
use crate::value::{Content, Value};

/// Feature gates, and the minor release since which they are on for good or gone.
const GATES: [(&str, u32); 5] = [
    ("TTLAfterFinished", 25),
    ("EphemeralContainers", 25),
    ("IPv6DualStack", 25),
    ("DynamicKubeletConfig", 26),
    ("CSIInlineVolume", 27),
];

/// Flags: of which component, since when they are gone, and what they are called since.
const FLAGS: [(&str, &str, u32, Option<&str>); 6] = [
    ("controllerManager", "experimental-cluster-signing-duration", 25, Some("cluster-signing-duration")),
    ("kubelet", "container-runtime", 27, None),
    ("kubelet", "network-plugin", 24, None),
    ("kubelet", "cni-bin-dir", 24, None),
    ("kubelet", "cni-conf-dir", 24, None),
    ("apiServer", "insecure-port", 24, None),
];

const MASTER: &str = "node-role.kubernetes.io/master";
const CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane";

/// Makes a document acceptable to a minor release.
pub fn rewrite(kind: Kind, value: &mut Value, minor: u32, changes: &mut Vec<Change>) {
    let mut note =
        |path: &[&str], value: &Value, what: String| changes.push(Change::new(kind, path, &value.origin, what));
    match kind {
        Kind::ClusterConfiguration => {
            for component in ["apiServer", "controllerManager", "scheduler"] {
                arguments(value, &[component, "extraArgs"], component, minor, &mut note);
            }
        }
        Kind::InitConfiguration | Kind::JoinConfiguration => {
            arguments(value, &["nodeRegistration", "kubeletExtraArgs"], "kubelet", minor, &mut note);
            socket(value, minor, &mut note);
            taints(value, minor, &mut note);
        }
        Kind::KubeletConfiguration | Kind::KubeProxyConfiguration => {
            for (gate, since) in GATES {
                let path = ["featureGates", gate];
                if minor >= since
                    && let Some(old) = value.take(&path)
                {
                    note(&path, &old, format!("dropped: 1.{since} has no such gate, or no choice"));
                }
            }
        }
        Kind::ResetConfiguration | Kind::UpgradeConfiguration => {}
    }
}

type Note<'n> = dyn FnMut(&[&str], &Value, String) + 'n;

/// Flags, as a map or as a list.
fn arguments(value: &mut Value, path: &[&str], component: &str, minor: u32, note: &mut Note<'_>) {
    let Some(arguments) = value.at_mut(path) else { return };
    let mut pairs: Vec<(String, Value)> = match &arguments.content {
        Content::Map(entries) => entries.clone(),
        Content::List(items) => items
            .iter()
            .filter_map(|item| Some((item.at(&["name"])?.as_text()?.to_owned(), item.at(&["value"])?.clone())))
            .collect(),
        _ => return,
    };
    let count = pairs.len();
    pairs.retain_mut(|(name, value)| {
        let said = name.clone();
        let path = [path, &[said.as_str()]].concat();
        if let Some((_, _, since, new)) =
            FLAGS.iter().find(|(of, flag, since, _)| *of == component && flag == name && minor >= *since)
        {
            match new {
                Some(new) => {
                    note(&path, value, format!("renamed to {new}: 1.{since} has no --{name}"));
                    *name = (*new).to_owned();
                    value.origin.changed = true;
                }
                None => {
                    note(&path, value, format!("dropped: 1.{since} has no --{name}"));
                    return false;
                }
            }
        }
        name != "feature-gates" || gates(value, &path, minor, note)
    });
    let is_list = matches!(arguments.content, Content::List(_));
    if is_list && count != 0 {
        let named = |(name, value): (String, Value)| {
            let name = Value { content: Content::Text(name), origin: value.origin.clone() };
            let origin = value.origin.clone();
            Value { content: Content::Map(vec![("name".to_owned(), name), ("value".to_owned(), value)]), origin }
        };
        arguments.content = Content::List(pairs.into_iter().map(named).collect());
    } else if !is_list {
        arguments.content = Content::Map(pairs);
    }
}

/// `A=true,B=false`; false, if nothing is left.
fn gates(value: &mut Value, path: &[&str], minor: u32, note: &mut Note<'_>) -> bool {
    let Some(text) = value.as_text().map(str::to_owned) else { return true };
    let gone = |gate: &&str| {
        let name = gate.split('=').next().unwrap_or_default().trim();
        GATES.iter().any(|(known, since)| *known == name && minor >= *since)
    };
    let dropped: Vec<&str> = text.split(',').filter(gone).collect();
    if dropped.is_empty() {
        return true;
    }
    note(path, value, format!("dropped {}: 1.{minor} has no such gate, or no choice", dropped.join(",")));
    let kept: Vec<&str> = text.split(',').filter(|gate| !gone(gate)).collect();
    *value = Value::text(kept.join(","), &value.origin);
    !kept.is_empty()
}

fn socket(value: &mut Value, minor: u32, note: &mut Note<'_>) {
    let path = ["nodeRegistration", "criSocket"];
    let Some(socket) = value.at_mut(&path) else { return };
    let Some(text) = socket.as_text().map(str::to_owned) else { return };
    if minor < 24 {
        return;
    }
    let (new, why) = if text.ends_with("/dockershim.sock") {
        ("unix:///run/containerd/containerd.sock".to_owned(), "dockershim is gone since 1.24".to_owned())
    } else if text.starts_with('/') {
        (format!("unix://{text}"), "a socket needs its scheme since 1.24".to_owned())
    } else {
        return;
    };
    note(&path, socket, format!("is {new} now: {why}"));
    *socket = Value::text(new, &socket.origin);
}

fn taints(value: &mut Value, minor: u32, note: &mut Note<'_>) {
    let Some(Content::List(taints)) = value.at_mut(&["nodeRegistration", "taints"]).map(|value| &mut value.content)
    else {
        return;
    };
    for taint in taints {
        if let Some(key) = taint.at_mut(&["key"])
            && minor >= 25
            && key.as_text() == Some(MASTER)
        {
            note(&["nodeRegistration", "taints"], key, format!("the taint {MASTER} is {CONTROL_PLANE} since 1.25"));
            *key = Value::text(CONTROL_PLANE, &key.origin);
        }
    }
}
