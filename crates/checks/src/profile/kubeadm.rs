//! `kubeadm`: its preflight, under its names.

use super::{Rule, pattern};
use crate::Test;

/// Releases of kernels that its system validator accepts.
const KERNELS: [&str; 4] = [r"^5\.4.*$", r"^5\.10.*$", r"^5\.15.*$", r"^([6-9]|[1-9][0-9]+)\.([0-9]+)\.([0-9]+).*$"];
/// Options the kernel must have; any one of a row.
const REQUIRED: [&[&str]; 17] = [
    &["NAMESPACES"],
    &["NET_NS"],
    &["PID_NS"],
    &["IPC_NS"],
    &["UTS_NS"],
    &["CGROUPS"],
    &["CGROUP_BPF"],
    &["CGROUP_PIDS"],
    &["CGROUP_SCHED"],
    &["CPUSETS"],
    &["MEMCG"],
    &["INET"],
    &["EXT4_FS"],
    &["PROC_FS"],
    &["NETFILTER_XT_TARGET_REDIRECT", "IP_NF_TARGET_REDIRECT"],
    &["NETFILTER_XT_MATCH_COMMENT"],
    &["FAIR_GROUP_SCHED"],
];
/// Options it should have.
const OPTIONAL: [&[&str]; 6] = [
    &["OVERLAY_FS", "OVERLAYFS_FS"],
    &["BLK_DEV_DM"],
    &["CFS_BANDWIDTH"],
    &["SECCOMP"],
    &["SECCOMP_FILTER"],
    &["CGROUP_HUGETLB"],
];
/// Files that `init` and `join` write, and that must not be there before.
const FILES: [&str; 7] = [
    "/etc/kubernetes/manifests/kube-apiserver.yaml",
    "/etc/kubernetes/manifests/kube-controller-manager.yaml",
    "/etc/kubernetes/manifests/kube-scheduler.yaml",
    "/etc/kubernetes/manifests/etcd.yaml",
    "/etc/kubernetes/kubelet.conf",
    "/etc/kubernetes/bootstrap-kubelet.conf",
    "/etc/kubernetes/pki/ca.crt",
];

/// The name of a check about a path: kubeadm turns slashes into dashes.
fn dashed(kind: &str, path: &str) -> String {
    format!("{kind}-{}", path.replace('/', "-"))
}

/// The table.
pub(super) fn rules() -> Vec<Rule> {
    let kernel = Test::KernelMatches { patterns: KERNELS.map(pattern).to_vec() };
    let system = |rule: Rule| rule.named("SystemVerification");
    let mut rules = vec![
        Rule::of("host.root").named("IsPrivilegedUser"),
        Rule::of("host.cpus").named("NumCPU"),
        Rule::of("host.memory").named("Mem"),
        Rule::of("cri.socket").named("CRI"),
        Rule::of("os.hostname").named("Hostname"),
        Rule::of("os.swap").named("Swap").warning(),
        system(Rule::new("os.kernel.regex", "the kernel is one that kubeadm accepts", kernel)),
    ];
    rules.extend(REQUIRED.iter().map(|options| system(Rule::config(options))));
    rules.extend(OPTIONAL.iter().map(|options| system(Rule::config(options).warning())));
    rules.push(system(Rule::of("os.cgroup.version")));
    let existing = |name: &str| Rule::tool(name).named(format!("FileExisting-{name}"));
    rules.extend(["ip", "iptables", "mount", "nsenter"].map(existing));
    rules.extend(["conntrack", "ebtables", "ethtool", "socat", "tc", "touch"].map(|name| existing(name).warning()));
    rules.push(forwarding());
    rules.push(Rule::of("k8s.bin.versions").named("KubeletVersion"));
    rules.push(
        Rule::service("kubelet", true, false).titled("kubelet starts at boot").named("Service-Kubelet").warning(),
    );
    let firewall = Test::Service { name: "firewalld".to_owned(), enabled: Some(false), running: Some(false) };
    let firewall = Rule::new("os.services.firewalld", "no firewall closes the ports of the node", firewall);
    rules.push(firewall.named("Firewalld").warning());
    rules.extend([10250, 6443, 10259, 10257, 2379, 2380].map(Rule::port_free));
    rules.extend(FILES.map(|path| {
        let name = path.rsplit('/').next().unwrap_or(path);
        let test = Test::FileAbsent { path: path.to_owned() };
        Rule::new(format!("k8s.clean.{name}"), format!("{path} is not there"), test)
            .named(dashed("FileAvailable", path))
    }));
    const ETCD: &str = "/var/lib/etcd";
    let etcd = Rule::new("k8s.clean.etcd", "/var/lib/etcd is empty", Test::DirEmpty { path: ETCD.to_owned() });
    rules.push(etcd.named(dashed("DirAvailable", ETCD)));
    rules
}

fn forwarding() -> Rule {
    let rule = Rule::sysctl("net.ipv4.ip_forward", "1");
    rule.named("FileContent--proc-sys-net-ipv4-ip_forward")
}
