//! Settings and counters of the kernel.

use super::Severity::{Error, Warning};
use super::{Found, Row};
use crate::Fleet;
use crate::fleet::uplink_addresses;

/// The rows.
pub const ROWS: &[Row] = &[
    Row {
        id: "kernel.br-netfilter",
        severity: Error,
        line: "packets between pods of one host pass the host's rules by",
        symptoms: &[
            "[ERROR FileContent--proc-sys-net-bridge-bridge-nf-call-iptables]: /proc/sys/net/bridge/bridge-nf-call-iptables does not exist",
            "Failed to check br_netfilter: stat /proc/sys/net/bridge/bridge-nf-call-iptables: no such file or directory",
            "a service does not answer when its pod is on the same node",
        ],
        cause: "The module br_netfilter is not loaded, or its setting is off; kubeadm since 1.30 no longer looks.",
        remedy: "kiln doctor fix kernel.br-netfilter: modprobe br_netfilter, sysctl net.bridge.bridge-nf-call-iptables=1, and both in files for the next boot.",
        after: &[],
        check: br_netfilter,
    },
    Row {
        id: "kernel.ip-forward",
        severity: Error,
        line: "the host does not forward packets",
        symptoms: &[
            "[ERROR FileContent--proc-sys-net-ipv4-ip_forward]: /proc/sys/net/ipv4/ip_forward contents are not set to 1",
            "pods cannot reach anything outside of their node",
        ],
        cause: "net.ipv4.ip_forward is 0: never set, or reset by a file of sysctl.d, a cloud's agent or a network manager.",
        remedy: "kiln doctor fix kernel.ip-forward sets it, and writes a file in /etc/sysctl.d; a file that counts later and sets it to 0 has to go.",
        after: &[],
        check: ip_forward,
    },
    Row {
        id: "kernel.rp-filter",
        severity: Warning,
        line: "strict reverse path filtering drops packets on a host with several networks",
        symptoms: &["martian source", "IPReversePathFilter", "connections to one of two addresses time out"],
        cause: "rp_filter=1 drops what comes in by another device than the answer would leave by.",
        remedy: "sysctl net.ipv4.conf.all.rp_filter=2 (or 0), and the same for the device: the larger of both counts.",
        after: &[],
        check: rp_filter,
    },
    Row {
        id: "kernel.conntrack-full",
        severity: Error,
        line: "the table of connections is full",
        symptoms: &["nf_conntrack: table full, dropping packet", "new connections time out under load"],
        cause: "More connections than net.netfilter.nf_conntrack_max, which kube-proxy sets from the number of cores.",
        remedy: "Raise it (conntrack.maxPerCore of kube-proxy's configuration), or find who opens so many connections.",
        after: &[],
        check: conntrack_full,
    },
    Row {
        id: "kernel.conntrack-races",
        severity: Warning,
        line: "connections were dropped because two packets of one came at once",
        symptoms: &["DNS lookups take 5 seconds", "insert_failed", "conntrack -S"],
        cause: "A resolver asks for A and AAAA at the same moment from one port; the second packet loses the race to be entered.",
        remedy: "Use nodelocaldns, or `options single-request-reopen` in the pods' resolv.conf.",
        after: &[],
        check: conntrack_races,
    },
    Row {
        id: "kernel.checksums",
        severity: Warning,
        line: "packets arrive from the tunnel with wrong checksums",
        symptoms: &["bad udp cksum", "services answer after 63 seconds", "no DNS from some nodes", "InCsumErrors"],
        cause: "Network cards, and kernels before 5.7, get the checksum of UDP around translated packets wrong when it is left to the card.",
        remedy: "ethtool -K flannel.1 tx-checksum-ip-generic off on all hosts, and again whenever flannel makes the device anew.",
        after: &[],
        check: checksums,
    },
    Row {
        id: "kernel.churn",
        severity: Warning,
        line: "devices of pods are made and deleted in a loop",
        symptoms: &["57988: tunl0", "FailedCreatePodSandBox repeated", "interface index in the ten thousands"],
        cause: "Adding a pod to the network fails, and the kubelet tries again for ever; each try makes a device.",
        remedy: "Find the pod that stays in ContainerCreating and the error of its plugin; other findings of this host are the likely reason.",
        after: &[
            "leases.leaked",
            "leases.exhausted",
            "flannel.bridge-address",
            "flannel.no-subnet",
            "cni.plugin-missing",
        ],
        check: churn,
    },
    Row {
        id: "kernel.neighbours-full",
        severity: Error,
        line: "the table of neighbours is full",
        symptoms: &["neighbour: arp_cache: neighbor table overflow!", "No buffer space available"],
        cause: "More neighbours than net.ipv4.neigh.default.gc_thresh3: a large cluster, or many pods on one bridge.",
        remedy: "Raise net.ipv4.neigh.default.gc_thresh1, gc_thresh2 and gc_thresh3.",
        after: &[],
        check: neighbours_full,
    },
];

/// One wrong packet in so many is noise.
const NOISE: u64 = 100_000;

fn br_netfilter(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for (host, kernel) in fleet.nodes().filter(|(host, _)| host.cni.uses("bridge")) {
        let path = "net/bridge/bridge-nf-call-iptables";
        match kernel.settings.get(path).map(String::as_str) {
            None => out.push(Found::on(&host.name, format!("/proc/sys/{path} does not exist"))),
            Some("0") => out.push(Found::on(&host.name, format!("/proc/sys/{path} is 0"))),
            Some(_) => {}
        }
    }
    out
}

fn ip_forward(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for (host, kernel) in fleet.nodes().filter(|(host, _)| !host.cni.files.is_empty()) {
        let mut seen = Vec::new();
        if kernel.setting("net/ipv4/ip_forward") == Some(0) {
            seen.push("/proc/sys/net/ipv4/ip_forward is 0".to_owned());
        } else {
            let off = |name: &&str| kernel.setting(&format!("net/ipv4/conf/{name}/forwarding")) == Some(0);
            let devices = kernel.tables.links.iter().map(|link| link.name.as_str()).filter(|name| {
                *name == "cni0"
                    || name.starts_with("flannel")
                    || uplink_addresses(&kernel.tables).any(|(l, _)| l.name == *name)
            });
            seen.extend(devices.filter(off).map(|name| format!("/proc/sys/net/ipv4/conf/{name}/forwarding is 0")));
        }
        if !seen.is_empty() {
            let files = host.system.forward_files.iter().filter(|(_, value)| value == "0");
            seen.extend(files.map(|(path, _)| format!("{path} sets it to 0")));
            out.push(Found { hosts: vec![host.name.clone()], evidence: seen, edge: None });
        }
    }
    out
}

fn rp_filter(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for (host, kernel) in fleet.nodes() {
        let all = kernel.setting("net/ipv4/conf/all/rp_filter").unwrap_or(0);
        let mut names: Vec<&str> = uplink_addresses(&kernel.tables).map(|(link, _)| link.name.as_str()).collect();
        names.dedup();
        let strict =
            |name: &&str| all.max(kernel.setting(&format!("net/ipv4/conf/{name}/rp_filter")).unwrap_or(0)) == 1;
        let dropped = kernel.counter("TcpExt.IPReversePathFilter");
        let strict: Vec<&str> = names.iter().copied().filter(strict).collect();
        if names.len() > 1 && !strict.is_empty() && dropped > 0 {
            let seen = format!("rp_filter is 1 on {}; it dropped {dropped} packets", strict.join(", "));
            out.push(Found::on(&host.name, seen));
        }
    }
    out
}

fn conntrack_full(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for (host, kernel) in fleet.nodes() {
        let number = |name: &str| kernel.setting(&format!("net/netfilter/nf_conntrack_{name}"));
        if let (Some(count), Some(max)) = (number("count"), number("max").filter(|max| *max > 0))
            && count.saturating_mul(10) > max.saturating_mul(9)
        {
            out.push(Found::on(&host.name, format!("{count} connections of at most {max}")));
        }
    }
    out
}

fn conntrack_races(fleet: &Fleet) -> Vec<Found> {
    let failed = |kernel: &crate::facts::kernel::Kernel| kernel.counter("conntrack.insert_failed");
    let hosts = fleet.nodes().filter(|(_, kernel)| failed(kernel) > 1000);
    hosts
        .map(|(host, kernel)| Found::on(&host.name, format!("insert_failed of conntrack is {}", failed(kernel))))
        .collect()
}

fn checksums(fleet: &Fleet) -> Vec<Found> {
    let feature = "tx-checksum-ip-generic";
    let offloads =
        |kernel: &crate::facts::kernel::Kernel| kernel.features.values().any(|on| on.iter().any(|f| f == feature));
    let senders: Vec<&str> =
        fleet.nodes().filter(|(_, kernel)| offloads(kernel)).map(|(host, _)| host.name.as_str()).collect();
    let mut out = Vec::new();
    for (host, kernel) in fleet.nodes() {
        let sum = |names: [&str; 2]| names.iter().map(|name| kernel.counter(name)).fold(0, u64::saturating_add);
        let wrong = sum(["Udp.InCsumErrors", "Tcp.InCsumErrors"]);
        // Some come from anywhere in the internet in the course of a year.
        let many = wrong >= 10 && wrong > sum(["Udp.InDatagrams", "Tcp.InSegs"]) / NOISE;
        if many && !senders.is_empty() && kernel.tables.links.iter().any(|link| link.vxlan.is_some()) {
            let seen = format!("{wrong} packets of UDP and TCP had wrong checksums");
            out.push(
                Found::on(&host.name, seen).and(format!("{feature} is on for the tunnels of {}", senders.join(", "))),
            );
        }
    }
    out
}

/// A thousand devices an hour is no way to live; a machine that just started has made what it needs at once.
fn churn(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for (host, kernel) in fleet.nodes() {
        let Some(link) = kernel.tables.links.iter().max_by_key(|link| link.index) else { continue };
        let hours = kernel.uptime / 3600 + 1;
        if link.index > 20_000 && u64::from(link.index) / hours > 100 {
            let seen = format!("{} has number {}, {hours} hours after boot", link.name, link.index);
            out.push(Found::on(&host.name, seen));
        }
    }
    out
}

fn neighbours_full(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for (host, kernel) in fleet.nodes() {
        let entries =
            kernel.tables.neighbours.iter().filter(|entry| entry.ip.is_ipv4() && entry.state & 0x80 == 0).count();
        if let Some(max) = kernel.setting("net/ipv4/neigh/default/gc_thresh3").filter(|max| *max > 0)
            && i64::try_from(entries).unwrap_or(i64::MAX).saturating_mul(10) > max.saturating_mul(9)
        {
            out.push(Found::on(&host.name, format!("{entries} neighbours of at most {max}")));
        }
    }
    out
}
