//! Lines of logs that say what is wrong. A row of the table [`LINES`] is a pattern; rows of the catalogue refer to it.

use kiln_spec::diag::harmful;

use super::Severity::{Error, Warning};
use super::{Found, Row};
use crate::Fleet;
use crate::facts::kube::Log;

/// What a log says: in whose, all of these words in one line, unless a later line has these.
struct Line {
    pods: &'static [&'static str],
    words: &'static [&'static str],
    unless: Option<&'static str>,
    times: usize,
}

/// The rows.
pub const ROWS: &[Row] = &[
    Row {
        id: "logs.flannel-api",
        severity: Error,
        line: "flannel cannot reach the API server through its service",
        symptoms: &[
            "Failed to create SubnetManager: error retrieving pod spec for 'kube-system/kube-flannel-ds-…': Get https://10.96.0.1:443/…: dial tcp 10.96.0.1:443: i/o timeout",
        ],
        cause: "kube-proxy's rules are missing, or the answer leaves by another network: the API server advertises an address that this host does not reach from the address it uses. When it recovers after some restarts, kube-proxy was only later.",
        remedy: "Look at kube-proxy of this host; set advertiseAddress to an address that all hosts reach, and clusterCIDR of kube-proxy.",
        after: &["services.no-rules", "services.no-answer", "addresses.advertise-public"],
        check: |fleet| {
            lines(
                fleet,
                &Line {
                    pods: &["kube-flannel"],
                    words: &["Failed to create SubnetManager", "dial tcp"],
                    unless: Some("Lease acquired"),
                    times: 1,
                },
            )
        },
    },
    Row {
        id: "logs.flannel-lease",
        severity: Error,
        line: "flannel does not find its own node",
        symptoms: &["failed to register network: failed to acquire lease: node \"iz25beglnhtz\" not found"],
        cause: "The kubelet registered under another name (--hostname-override, or it writes the host's name in small letters), or the node was deleted. Once, at the start, it means nothing: the next try finds it.",
        remedy: "Compare `kubectl get nodes` with the host's name; give flannel NODE_NAME from spec.nodeName.",
        after: &[],
        check: |fleet| {
            lines(
                fleet,
                &Line {
                    pods: &["kube-flannel"],
                    words: &["failed to acquire lease", "not found"],
                    unless: Some("Lease acquired"),
                    times: 1,
                },
            )
        },
    },
    Row {
        id: "logs.flannel-misses",
        severity: Warning,
        line: "flannel's log is full of misses",
        symptoms: &["Ignoring not a miss: 46:6c:7a:a6:06:60, 10.244.1.2", "L3 miss: 10.244.1.2"],
        cause: "A flannel before 0.8 asks the kernel for every address; when answers do not arrive, VXLAN packets are lost between the hosts.",
        remedy: "Use a current flannel; check that UDP of its port passes between the hosts' addresses it uses.",
        after: &["flannel.vtep-public", "flannel.one-way"],
        check: |fleet| {
            lines(fleet, &Line { pods: &["kube-flannel"], words: &["Ignoring not a miss"], unless: None, times: 5 })
        },
    },
    Row {
        id: "logs.flannel-config",
        severity: Error,
        line: "flannel cannot read its configuration",
        symptoms: &[
            "failed to read net conf: open /etc/kube-flannel/net-conf.json: no such file or directory",
            "error parsing subnet config",
        ],
        cause: "The ConfigMap kube-flannel-cfg is missing or not JSON.",
        remedy: "Apply flannel's manifest again.",
        after: &[],
        check: |fleet| {
            lines(
                fleet,
                &Line {
                    pods: &["kube-flannel"],
                    words: &["failed to read net conf"],
                    unless: Some("Lease acquired"),
                    times: 1,
                },
            )
        },
    },
    Row {
        id: "logs.no-pod-cidr",
        severity: Error,
        line: "the node has no network for its pods",
        symptoms: &["Error registering network: failed to acquire lease: node \"x\" pod cidr not assigned"],
        cause: "kubeadm init ran without --pod-network-cidr (podSubnet), or the range is used up.",
        remedy: "Set --cluster-cidr and --allocate-node-cidrs of kube-controller-manager (podSubnet of kubeadm).",
        after: &[],
        check: |fleet| {
            lines(
                fleet,
                &Line {
                    pods: &["kube-flannel"],
                    words: &["pod cidr not assigned"],
                    unless: Some("Lease acquired"),
                    times: 1,
                },
            )
        },
    },
    Row {
        id: "logs.flannel-rights",
        severity: Error,
        line: "flannel may not read nodes",
        symptoms: &[
            "nodes is forbidden: User \"system:serviceaccount:kube-flannel:flannel\" cannot get resource \"nodes\" in API group",
        ],
        cause: "Its ClusterRole or the binding is missing: an older manifest, or another namespace.",
        remedy: "Apply flannel's whole manifest again.",
        after: &[],
        check: |fleet| {
            lines(
                fleet,
                &Line {
                    pods: &["kube-flannel"],
                    words: &["forbidden", "resource \"nodes\""],
                    unless: Some("Lease acquired"),
                    times: 1,
                },
            )
        },
    },
    Row {
        id: "logs.flannel-mac",
        severity: Warning,
        line: "something changes the address of flannel's device",
        symptoms: &["failed to ensure address of interface", "mac address wanted … but got"],
        cause: "systemd since 242 gives virtual devices a persistent address (MACAddressPolicy=persistent).",
        remedy: "Write /etc/systemd/network/50-flannel.link with [Match] OriginalName=flannel* and [Link] MACAddressPolicy=none.",
        after: &["flannel.peer-stale"],
        check: |fleet| {
            lines(fleet, &Line { pods: &["kube-flannel"], words: &["mac", "wanted", "got"], unless: None, times: 1 })
        },
    },
    Row {
        id: "logs.dns-loop",
        severity: Error,
        line: "CoreDNS asks itself",
        symptoms: &[
            "[FATAL] plugin/loop: Loop (127.0.0.1:55953 -> :53) detected for zone \".\", see https://coredns.io/plugins/loop#troubleshooting",
        ],
        cause: "The name server that it forwards to is a stub on the host's loopback.",
        remedy: "Set resolvConf of the kubelet to the file with the real name servers; start CoreDNS's pods again.",
        after: &["machine.dns-loop"],
        check: |fleet| {
            lines(fleet, &Line { pods: &["coredns"], words: &["plugin/loop", "detected"], unless: None, times: 1 })
        },
    },
    Row {
        id: "logs.taint",
        severity: Warning,
        line: "pods wait because the only nodes are tainted for the control plane",
        symptoms: &[
            "0/1 nodes are available: 1 node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }",
            "1 node(s) had taint {node-role.kubernetes.io/master: }, that the pod didn't tolerate",
            "PodToleratesNodeTaints",
        ],
        cause: "kubeadm keeps pods off control planes; no worker has joined.",
        remedy: "Join a worker; or kubectl taint nodes --all node-role.kubernetes.io/control-plane- (before 1.25 also node-role.kubernetes.io/master-).",
        after: &[],
        check: |fleet| {
            lines(
                fleet,
                &Line {
                    pods: &["kube-scheduler"],
                    words: &["taint", "node-role.kubernetes.io/"],
                    unless: None,
                    times: 1,
                },
            )
        },
    },
    Row {
        id: "logs.certificate-time",
        severity: Error,
        line: "a certificate is not valid at this host's time",
        symptoms: &[
            "x509: certificate has expired or is not yet valid: current time … is after …",
            "x509: certificate has expired or is not yet valid: current time … is before …",
        ],
        cause: "A clock is wrong, or the certificates of kubeadm, which are good for a year, have run out.",
        remedy: "Set the clocks; kubeadm certs check-expiration, kubeadm certs renew all.",
        after: &["machine.clock"],
        check: |fleet| {
            lines(
                fleet,
                &Line {
                    pods: &["kube-", "etcd", "calico", "coredns"],
                    words: &["certificate has expired or is not yet valid"],
                    unless: None,
                    times: 3,
                },
            )
        },
    },
];

/// A text of a stranger's with what could change a terminal taken out, and no longer than a line.
pub fn printable(text: &str) -> String {
    let safe = |c: char| if harmful(c) { '\u{fffd}' } else { c };
    text.chars().take(300).map(safe).collect()
}

fn lines(fleet: &Fleet, line: &Line) -> Vec<Found> {
    let mut out = Vec::new();
    for host in &fleet.hosts {
        let logs = host.kube.logs.iter().filter(|log| line.pods.iter().any(|start| log.pod.starts_with(start)));
        let hit = logs.into_iter().find_map(|log| Some((log, hit(log, line)?)));
        if let Some((log, text)) = hit {
            out.push(Found::on(&host.name, format!("{}: {}", printable(&log.pod), printable(text))));
        }
    }
    out
}

fn hit<'a>(log: &'a Log, line: &Line) -> Option<&'a str> {
    let meets = |text: &&String| line.words.iter().all(|word| text.contains(word));
    let last = log.lines.iter().rposition(|text| meets(&text))?;
    let after = log.lines.get(last + 1..).unwrap_or_default();
    let healed = line.unless.is_some_and(|words| after.iter().any(|text| text.contains(words)));
    let often = log.lines.iter().filter(meets).count() >= line.times;
    log.lines.get(last).filter(|_| !healed && often).map(String::as_str)
}
