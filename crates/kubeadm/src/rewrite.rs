//! What a release no longer accepts.
//!
//! A component that meets a flag or a feature gate it does not know exits, and `kubeadm init` waits for it in vain.

use crate::gates;
use crate::layer::Change;
use crate::schema::Kind;
use crate::value::{Content, Value};

/// Flags: of which component (`*` for all), since when they are gone, and what they are called since.
///
/// | release | why |
/// |---|---|
/// | 1.19, 1.22, 1.24 | ports and files without authentication |
/// | 1.23 | policies of the scheduler; its profiles are in a configuration file |
/// | 1.24 | dockershim, and with it all flags about Docker and CNI; dynamic configuration of kubelets |
/// | 1.26 | klog's flags about files |
/// | 1.27 | eviction by the node controller, which taints do |
const FLAGS: [(&str, &str, u32, Option<&str>); 45] = [
    ("apiServer", "basic-auth-file", 19, None),
    ("apiServer", "audit-dynamic-configuration", 19, None),
    ("apiServer", "kubelet-https", 22, None),
    ("apiServer", "insecure-port", 24, None),
    ("apiServer", "insecure-bind-address", 24, None),
    ("apiServer", "address", 24, None),
    ("apiServer", "port", 24, None),
    ("apiServer", "service-account-api-audiences", 25, Some("api-audiences")),
    ("controllerManager", "address", 24, None),
    ("controllerManager", "port", 24, None),
    ("controllerManager", "experimental-cluster-signing-duration", 25, Some("cluster-signing-duration")),
    ("controllerManager", "pod-eviction-timeout", 27, None),
    ("controllerManager", "enable-taint-manager", 27, None),
    ("scheduler", "policy-config-file", 23, None),
    ("scheduler", "policy-configmap", 23, None),
    ("scheduler", "policy-configmap-namespace", 23, None),
    ("scheduler", "use-legacy-policy-config", 23, None),
    ("scheduler", "address", 24, None),
    ("scheduler", "port", 24, None),
    ("kubelet", "network-plugin", 24, None),
    ("kubelet", "network-plugin-mtu", 24, None),
    ("kubelet", "cni-bin-dir", 24, None),
    ("kubelet", "cni-conf-dir", 24, None),
    ("kubelet", "cni-cache-dir", 24, None),
    ("kubelet", "docker-endpoint", 24, None),
    ("kubelet", "image-pull-progress-deadline", 24, None),
    ("kubelet", "experimental-dockershim-root-directory", 24, None),
    ("kubelet", "dynamic-config-dir", 24, None),
    ("kubelet", "container-runtime", 27, None),
    ("kubelet", "keep-terminated-pod-volumes", 31, None),
    ("kubelet", "pod-infra-container-image", 35, None),
    ("*", "add-dir-header", 26, None),
    ("*", "add_dir_header", 26, None),
    ("*", "alsologtostderr", 26, None),
    ("*", "log-backtrace-at", 26, None),
    ("*", "log_backtrace_at", 26, None),
    ("*", "log-dir", 26, None),
    ("*", "log_dir", 26, None),
    ("*", "log-file", 26, None),
    ("*", "log_file", 26, None),
    ("*", "log-file-max-size", 26, None),
    ("*", "logtostderr", 26, None),
    ("*", "one-output", 26, None),
    ("*", "skip-headers", 26, None),
    ("*", "stderrthreshold", 26, None),
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
            choices(value, minor, gates::gone_from_kubeadm, &mut note);
        }
        Kind::InitConfiguration | Kind::JoinConfiguration => {
            arguments(value, &["nodeRegistration", "kubeletExtraArgs"], "kubelet", minor, &mut note);
            socket(value, minor, &mut note);
            taints(value, minor, &mut note);
        }
        Kind::KubeletConfiguration | Kind::KubeProxyConfiguration => {
            choices(value, minor, gates::gone, &mut note);
        }
        Kind::ResetConfiguration | Kind::UpgradeConfiguration => {}
    }
}

type Note<'n> = dyn FnMut(&[&str], &Value, String) + 'n;

/// `featureGates`, a map.
fn choices(value: &mut Value, minor: u32, gone: fn(&str) -> Option<u32>, note: &mut Note<'_>) {
    let Some(entries) = value.at_mut(&["featureGates"]).and_then(Value::map_mut) else { return };
    entries.retain(|(gate, old)| match gone(gate) {
        Some(since) if minor >= since => {
            note(&["featureGates", gate], old, format!("dropped: 1.{since} has no such gate, or no choice"));
            false
        }
        _ => true,
    });
}

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
            FLAGS.iter().find(|(of, flag, since, _)| [component, "*"].contains(of) && flag == name && minor >= *since)
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
        gates::gone(name).is_some_and(|since| minor >= since)
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
