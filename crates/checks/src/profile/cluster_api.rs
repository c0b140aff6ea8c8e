//! `cluster-api`: what image-builder verifies of an image, on distributions with dpkg or rpm.

use super::{Rule, pattern};
use crate::Test;

/// Kernel parameters, and their values.
const SYSCTL: [(&str, &str); 8] = [
    ("net.bridge.bridge-nf-call-iptables", "1"),
    ("net.bridge.bridge-nf-call-ip6tables", "1"),
    ("net.ipv4.ip_forward", "1"),
    ("net.ipv6.conf.all.forwarding", "1"),
    ("net.ipv6.conf.all.disable_ipv6", "0"),
    ("vm.overcommit_memory", "1"),
    ("kernel.panic", "10"),
    ("kernel.panic_on_oops", "1"),
];
/// Commands of packages that go by different names on dpkg's and rpm's systems.
const COMMANDS: [&str; 6] = ["conntrack", "curl", "jq", "socat", "auditctl", "chronyd"];
/// Packages of Kubernetes.
const KUBERNETES: [&str; 4] = ["kubeadm", "kubelet", "kubectl", "kubernetes-cni"];
/// Images that a control plane starts from.
const IMAGES: [&str; 7] =
    ["coredns", "etcd", "kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "pause"];

/// The table.
pub(super) fn rules() -> Vec<Rule> {
    let mut rules = vec![Rule::no_package("ntp"), Rule::package("cloud-init")];
    rules.extend(KUBERNETES.map(Rule::package));
    rules.extend(COMMANDS.map(Rule::tool));
    rules.push(Rule::of("k8s.bin.versions"));
    rules.extend([
        Rule::service("containerd", true, true),
        Rule::service("dockerd", false, false),
        Rule::service("kubelet", true, false),
        Rule::service("conntrackd", false, false),
        Rule::service("auditd", true, true),
        Rule::of("os.time-sync").error(),
        Rule::of("os.timers.autoupdate").error(),
    ]);
    rules.extend(["overlay", "br_netfilter"].map(Rule::module));
    rules.extend(SYSCTL.map(|(key, value)| match key {
        // What the kernel itself starts with.
        "net.ipv6.conf.all.disable_ipv6" => {
            let test = Test::Sysctl { key: key.into(), values: vec![value.into()], default: Some("0".into()) };
            Rule::new(format!("os.sysctl.required.{key}"), format!("{key} is {value}"), test)
        }
        _ => Rule::sysctl(key, value),
    }));
    rules.extend([
        Rule::of("os.swap"),
        Rule::of("cri.cgroup-driver"),
        Rule::of("cri.sandbox"),
        Rule::of("cni.plugins"),
    ]);
    let images = Test::Images { names: IMAGES.map(str::to_owned).to_vec() };
    rules.push(Rule::new("cri.images.required", "images of the control plane are preloaded", images));
    let crictl = Test::Run { command: vec!["crictl".into(), "ps".into()], exit: 0, stdout: None };
    rules.push(Rule::new("host.command.crictl-ps", "crictl reaches the runtime", crictl));
    let release = pattern("^IMAGE_BUILDER_VERSION=");
    let release = Test::FileContains { path: "/etc/image-builder-release".into(), pattern: release, wanted: true };
    rules.push(Rule::new("os.files.image-builder-release", "the image says which builder made it", release).warning());
    let limit = pattern(r"^\s*LimitNOFILE=1048576\s*$");
    let path = "/etc/systemd/system/containerd.service.d/limit-nofile.conf";
    let limit = Test::FileContains { path: path.into(), pattern: limit, wanted: true };
    rules.push(Rule::new("os.files.limit-nofile", "containerd may open a million files", limit).warning());
    rules.extend([
        Rule::of("os.ssh.hostkeys-absent"),
        Rule::of("os.machine-id.empty"),
        Rule::of("os.cloudinit.clean"),
        Rule::of("os.cores"),
        Rule::of("os.logs.size"),
        Rule::of("os.history"),
        Rule::of("os.ssh.authorized-keys-absent"),
    ]);
    rules
}
