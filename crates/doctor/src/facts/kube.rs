//! The kubelet, the runtime's configuration, static pods, and what pods of the system log.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Unread;
use super::cri::{self, Cri};
use super::kernel::Kernel;
use super::root::Root;

/// Pods whose logs say why a network is down, by how their names begin.
const PODS: [&str; 9] = [
    "kube-flannel",
    "calico",
    "canal",
    "coredns",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "etcd",
];
/// How much of the end of each log is read, in bytes, and kept, in lines.
const TAIL: u64 = 64 << 10;
const LINES: usize = 200;
const LOGS: usize = 100;

/// What is known of Kubernetes on a host.
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
pub struct Kube {
    /// Whether there is a kubelet.conf: the host joined.
    pub kubelet_conf: bool,
    /// The static pods that the kubelet is to run.
    pub manifests: Vec<StaticPod>,
    /// Settings of the kubelet's configuration that matter here, as text.
    pub kubelet: BTreeMap<String, String>,
    /// Flags that files give the kubelet, kubeadm's and an administrator's, without dashes.
    pub flags: BTreeMap<String, String>,
    /// What the runtime is told.
    pub runtime: Runtime,
    /// What the runtime says; nothing where none answers.
    pub cri: Option<Cri>,
    /// Logs of the system's pods.
    pub logs: Vec<Log>,
}

/// A static pod.
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
pub struct StaticPod {
    /// The file's name.
    pub file: String,
    /// The pod's name.
    pub name: String,
    /// The name of its first container.
    pub container: String,
    /// The image of its first container.
    pub image: String,
    /// The words of its first container's command.
    pub command: Vec<String>,
    /// Why it cannot be used.
    pub error: Option<String>,
}

/// What a container runtime is told.
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
pub struct Runtime {
    /// Whether containerd leaves cgroups to systemd.
    pub systemd_cgroup: Option<bool>,
    /// Where it looks for plugins.
    pub bin_dir: Option<String>,
    /// Where it looks for their configuration.
    pub conf_dir: Option<String>,
}

/// The end of a container's log.
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
pub struct Log {
    /// The pod's name.
    pub pod: String,
    /// The container's name.
    pub container: String,
    /// How often it was started again.
    pub restarts: u32,
    /// Its last lines, without time and stream.
    pub lines: Vec<String>,
}

impl Kube {
    pub(super) fn read(root: &Root, unread: &mut Vec<Unread>) -> Kube {
        let kubelet = kubelet(root, unread);
        // In the order of kubeadm's unit: what comes later counts.
        let files = ["/var/lib/kubelet/kubeadm-flags.env", "/etc/default/kubelet", "/etc/sysconfig/kubelet"];
        let flags = files.iter().flat_map(|path| flags(&root.text(path, unread).unwrap_or_default())).collect();
        let flags: BTreeMap<String, String> = flags;
        let endpoint = flags.get("container-runtime-endpoint").or_else(|| kubelet.get("containerRuntimeEndpoint"));
        let endpoint = endpoint.map(String::as_str).or(is_docker(&flags).then_some(DOCKER));
        Kube {
            kubelet_conf: root.exists("/etc/kubernetes/kubelet.conf"),
            manifests: manifests(root, unread),
            cri: cri::ask(root, endpoint, unread),
            runtime: if is_docker(&flags) { of_docker(&flags) } else { runtime(root, unread) },
            kubelet,
            flags,
            logs: logs(root, unread),
        }
    }

    /// Whether a program runs on this host's network.
    pub fn running(&self, name: &str, kernel: Option<&Kernel>) -> bool {
        kernel.is_some_and(|kernel| kernel.process(name).is_some())
    }

    /// A flag of a static pod's command: `--cluster-cidr` of `kube-controller-manager`.
    pub fn flag(&self, pod: &str, flag: &str) -> Option<&str> {
        let pod = self.manifests.iter().find(|manifest| manifest.name == pod)?;
        pod.command.iter().find_map(|word| word.strip_prefix(flag)?.strip_prefix('='))
    }
}

fn manifests(root: &Root, unread: &mut Vec<Unread>) -> Vec<StaticPod> {
    let directory = "/etc/kubernetes/manifests";
    let wanted = |name: &String| !name.starts_with('.');
    let names: Vec<String> = root.list(directory, unread).into_iter().filter(wanted).take(64).collect();
    let mut out = Vec::new();
    for file in names {
        let Some(text) = root.text(&format!("{directory}/{file}"), unread) else { continue };
        let pod = StaticPod { file, ..StaticPod::default() };
        out.push(match serde_saphyr::from_str::<Value>(&text) {
            Ok(value) => static_pod(&value, pod),
            Err(error) => StaticPod { error: Some(first_line(&error.to_string())), ..pod },
        });
    }
    out
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

fn static_pod(value: &Value, mut pod: StaticPod) -> StaticPod {
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    pod.name = text("/metadata/name");
    pod.container = text("/spec/containers/0/name");
    pod.image = text("/spec/containers/0/image");
    for pointer in ["/spec/containers/0/command", "/spec/containers/0/args"] {
        let words = value.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
        pod.command.extend(words.filter_map(Value::as_str).map(str::to_owned));
    }
    if text("/kind") != "Pod" || pod.name.is_empty() || pod.image.is_empty() {
        pod.error = Some("is no Pod with a name and an image".to_owned());
    }
    pod
}

fn kubelet(root: &Root, unread: &mut Vec<Unread>) -> BTreeMap<String, String> {
    let path = "/var/lib/kubelet/config.yaml";
    let Some(text) = root.text(path, unread) else { return BTreeMap::new() };
    let value: Value = match serde_saphyr::from_str(&text) {
        Ok(value) => value,
        Err(error) => {
            unread.push(Unread { what: path.to_owned(), why: first_line(&error.to_string()) });
            return BTreeMap::new();
        }
    };
    let keys = [
        "cgroupDriver",
        "clusterDomain",
        "containerRuntimeEndpoint",
        "failSwapOn",
        "imageGCHighThresholdPercent",
        "podCIDR",
        "resolvConf",
        "staticPodPath",
    ];
    let read = |key: &str| match value.get(key)? {
        Value::String(text) => Some((key.to_owned(), text.clone())),
        other => Some((key.to_owned(), other.to_string())),
    };
    let mut out: BTreeMap<String, String> = keys.iter().filter_map(|key| read(key)).collect();
    for signal in ["nodefs.available", "imagefs.available", "nodefs.inodesFree"] {
        let threshold = value.pointer(&format!("/evictionHard/{signal}")).and_then(Value::as_str);
        out.extend(threshold.map(|threshold| (format!("evictionHard.{signal}"), threshold.to_owned())));
    }
    out
}

/// `KUBELET_KUBEADM_ARGS="--a=b --c=d"`, `KUBELET_EXTRA_ARGS=--a b`.
fn flags(text: &str) -> BTreeMap<String, String> {
    let names = ["KUBELET_KUBEADM_ARGS=", "KUBELET_EXTRA_ARGS="];
    let values = text.lines().filter_map(|line| names.iter().find_map(|name| line.trim().strip_prefix(name)));
    let mut out = BTreeMap::new();
    for value in values {
        let mut words = value.trim().trim_matches(['"', '\'']).split_whitespace().peekable();
        while let Some(word) = words.next() {
            let Some(flag) = word.strip_prefix("--") else { continue };
            match flag.split_once('=') {
                Some((name, value)) => drop(out.insert(name.to_owned(), value.to_owned())),
                None => {
                    let value = words.next_if(|next| !next.starts_with('-'));
                    out.extend(value.map(|value| (flag.to_owned(), value.to_owned())));
                }
            }
        }
    }
    out
}

/// Where a kubelet before 1.24 that runs pods with Docker answers as a runtime itself.
const DOCKER: &str = "/run/dockershim.sock";

/// Whether pods run with Docker: kubeadm tells such a kubelet how their network is made, which is the runtime's in others.
fn is_docker(flags: &BTreeMap<String, String>) -> bool {
    flags.get("container-runtime").map_or("docker", String::as_str) == "docker" && flags.contains_key("network-plugin")
}

/// Then it is the kubelet that calls plugins.
fn of_docker(flags: &BTreeMap<String, String>) -> Runtime {
    let flag = |name: &str| flags.get(name).cloned();
    Runtime { systemd_cgroup: None, bin_dir: flag("cni-bin-dir"), conf_dir: flag("cni-conf-dir") }
}

fn runtime(root: &Root, unread: &mut Vec<Unread>) -> Runtime {
    let path = "/etc/containerd/config.toml";
    let Some(text) = root.text(path, unread) else { return Runtime::default() };
    let table: toml::Table = match text.parse() {
        Ok(table) => table,
        Err(error) => {
            let why = first_line(&error.to_string());
            unread.push(Unread { what: path.to_owned(), why });
            return Runtime::default();
        }
    };
    // The tables of versions 1, 2 and 3 of this file have other names, and the same keys.
    let mut out = Runtime::default();
    let mut open: Vec<(&toml::Table, usize)> = vec![(&table, 0)];
    while let Some((table, depth)) = open.pop() {
        for (key, value) in table {
            match value {
                toml::Value::Table(inner) if depth < 12 => open.push((inner, depth + 1)),
                toml::Value::Boolean(flag) if key == "SystemdCgroup" => out.systemd_cgroup = Some(*flag),
                toml::Value::String(text) if key == "bin_dir" => out.bin_dir = Some(text.clone()),
                toml::Value::String(text) if key == "conf_dir" => out.conf_dir = Some(text.clone()),
                _ => {}
            }
        }
    }
    out
}

/// `/var/log/pods/NAMESPACE_POD_UID/CONTAINER/N.log`: the kubelet counts the starts of a container in its names.
fn logs(root: &Root, unread: &mut Vec<Unread>) -> Vec<Log> {
    let base = "/var/log/pods";
    let mut out = Vec::new();
    for directory in root.list(base, unread) {
        let mut parts = directory.splitn(3, '_');
        let (Some(_), Some(pod), Some(_)) = (parts.next(), parts.next(), parts.next()) else { continue };
        if !PODS.iter().any(|start| pod.starts_with(start)) {
            continue;
        }
        for container in root.list(&format!("{base}/{directory}"), unread) {
            let path = format!("{base}/{directory}/{container}");
            let numbers =
                root.list(&path, unread).into_iter().filter_map(|name| name.strip_suffix(".log")?.parse().ok());
            let Some(restarts) = numbers.max() else { continue };
            let Some(text) = root.tail(&format!("{path}/{restarts}.log"), TAIL) else { continue };
            if out.len() == LOGS {
                return out;
            }
            out.push(Log { pod: pod.to_owned(), container, restarts, lines: lines(&text) });
        }
    }
    out
}

/// `2016-12-28T02:52:22.09Z stderr F text`, or Docker's `{"log":"text\n","stream":"stderr","time":"…"}`.
fn lines(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let last = lines.iter().skip(lines.len().saturating_sub(LINES));
    last.map(|line| bare(line).chars().take(600).collect()).collect()
}

/// What a program wrote of a line.
fn bare(line: &str) -> Cow<'_, str> {
    if line.starts_with('{')
        && let Ok(entry) = serde_json::from_str::<Value>(line)
        && let (Some(_), Some(text)) = (entry.get("stream"), entry.get("log").and_then(Value::as_str))
    {
        return Cow::Owned(text.trim_end().to_owned());
    }
    match line.splitn(4, ' ').collect::<Vec<_>>().as_slice() {
        [_, "stdout" | "stderr", "F" | "P", text] => Cow::Borrowed(text),
        _ => Cow::Borrowed(line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubeadm_says_whether_it_is_docker() {
        let of = |text: &str| is_docker(&flags(&format!("KUBELET_KUBEADM_ARGS=\"{text}\"\n")));
        assert!(of("--network-plugin=cni --pod-infra-container-image=k8s.gcr.io/pause:3.2"));
        assert!(of("--container-runtime=docker --network-plugin=cni"));
        assert!(!of("--container-runtime=remote --container-runtime-endpoint=/run/containerd/containerd.sock"));
        assert!(!of("--container-runtime=remote --network-plugin=cni") && !of("--node-ip=10.0.0.1"));
        let found = of_docker(&flags("KUBELET_EXTRA_ARGS=--cni-bin-dir=/x\n"));
        assert_eq!((found.bin_dir.as_deref(), found.conf_dir), (Some("/x"), None));
    }

    #[test]
    fn flags_and_lines() {
        let found = flags("KUBELET_KUBEADM_ARGS=\"--node-ip=10.0.0.1 --x --cgroup-driver=systemd\"\n");
        assert_eq!(found["cgroup-driver"], "systemd");
        assert_eq!(found.len(), 2);
        let found = flags("# KUBELET_EXTRA_ARGS=--x=y\nKUBELET_EXTRA_ARGS='--node-ip 10.0.0.2 --v --resolv-conf=/x'\n");
        assert_eq!((found["node-ip"].as_str(), found["resolv-conf"].as_str(), found.len()), ("10.0.0.2", "/x", 2));
        assert_eq!(lines("2016-12-28T02:52:22.09Z stderr F a b\nbare\n"), ["a b", "bare"]);
        let docker =
            "{\"log\":\"E1 \\\"x\\\"\\n\",\"stream\":\"stderr\",\"time\":\"t\"}\n{\"log\":\"of the program\"}\n{\n";
        assert_eq!(lines(docker), ["E1 \"x\"", "{\"log\":\"of the program\"}", "{"]);
    }
}
