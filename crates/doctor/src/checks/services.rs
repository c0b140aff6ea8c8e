//! Services: kube-proxy's rules, IPVS.

use std::net::IpAddr;

use super::Severity::{Error, Warning};
use super::addresses::service_network;
use super::{Found, Row};
use crate::Fleet;
use crate::facts::Network;
use crate::facts::kernel::Kernel;

/// The rows.
pub const ROWS: &[Row] = &[
    Row {
        id: "services.no-rules",
        severity: Error,
        line: "kube-proxy runs, and there are no rules for services",
        symptoms: &[
            "dial tcp 10.96.0.1:443: i/o timeout",
            "dial tcp 10.96.0.1:443: connect: connection refused",
            "Failed to create SubnetManager",
        ],
        cause: "kube-proxy cannot reach the API server, or its rules were flushed after it wrote them.",
        remedy: "Look into its log; start its pod again.",
        after: &[],
        check: no_rules,
    },
    Row {
        id: "services.no-answer",
        severity: Error,
        line: "connections to services get no answer",
        symptoms: &[
            "Get https://10.96.0.1:443/…: dial tcp 10.96.0.1:443: i/o timeout",
            "Failed to create SubnetManager: error retrieving pod spec",
            "SYN_SENT [UNREPLIED]",
        ],
        cause: "The packets leave with the address of another network than the API server's answers take, or by a device that does not lead there.",
        remedy: "Set clusterCIDR of kube-proxy's configuration (it then masquerades), and an advertiseAddress that all hosts reach; see the route to the endpoint with `kiln doctor path`.",
        after: &["services.no-rules"],
        check: no_answer,
    },
    Row {
        id: "services.vip-removed",
        severity: Error,
        line: "the virtual address of the control plane is missing from IPVS",
        symptoms: &[
            "dial tcp 10.103.97.2:6443: connect: connection refused",
            "apiserver.cluster.local: connection refused",
        ],
        cause: "kube-proxy in mode ipvs deletes services that it does not know, unless ipvs.excludeCIDRs has them.",
        remedy: "Set ipvs.excludeCIDRs: [10.103.97.2/32] in kube-proxy's configuration; start lvscare's pod again.",
        after: &[],
        check: vip_removed,
    },
    Row {
        id: "services.connection-reuse",
        severity: Warning,
        line: "new connections to services of IPVS are delayed by a second",
        symptoms: &["1 second delay with IPVS", "net.ipv4.vs.conn_reuse_mode"],
        cause: "Kernels before 5.9 drop the first packet of a connection whose port was just used, when conn_reuse_mode is 1.",
        remedy: "sysctl net.ipv4.vs.conn_reuse_mode=0, or a newer kernel.",
        after: &[],
        check: connection_reuse,
    },
];

/// Whether there are rules of kube-proxy, of whatever mode.
pub fn has_rules(kernel: &Kernel) -> bool {
    let iptables = kernel.ruleset.chains.iter().any(|chain| chain.name == "KUBE-SERVICES" && chain.rules > 0);
    let nftables = kernel.ruleset.chains.iter().any(|chain| chain.table == "kube-proxy");
    let legacy = kernel.legacy.iter().any(|chain| chain.name == "KUBE-SERVICES" && chain.rules > 0);
    iptables || nftables || legacy || !kernel.virtual_services.is_empty()
}

fn no_rules(fleet: &Fleet) -> Vec<Found> {
    let bare = fleet.nodes().filter(|(host, kernel)| {
        let unread = host.unread.iter().any(|unread| {
            unread.what.contains("iptables") || unread.what.contains("tables") || unread.what.contains("IPVS")
        });
        kernel.process("kube-proxy").is_some() && !has_rules(kernel) && !unread
    });
    bare.map(|(host, _)| Found::on(&host.name, "no KUBE-SERVICES, no table kube-proxy, no services of IPVS")).collect()
}

fn no_answer(fleet: &Fleet) -> Vec<Found> {
    let usual = Network { ip: IpAddr::from([10, 96, 0, 0]), prefix: 12 };
    let services = fleet.hosts.iter().find_map(service_network).unwrap_or(usual);
    let mut out = Vec::new();
    for (host, kernel) in fleet.nodes() {
        let waiting = kernel.unanswered.iter().filter(|(ip, count)| services.contains(**ip) && **count >= 3);
        out.extend(
            waiting.map(|(ip, count)| {
                Found::on(&host.name, format!("{count} connections to {ip} wait for a first answer"))
            }),
        );
    }
    out
}

/// `--vs ADDRESS:PORT` of sealer's and sealos's static pod.
fn vip_removed(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for (host, kernel) in fleet.nodes() {
        for pod in host.kube.manifests.iter().filter(|pod| pod.name.contains("lvscare")) {
            let after = pod.command.iter().position(|word| word == "--vs").and_then(|at| pod.command.get(at + 1));
            let Some((ip, port)) = after.and_then(|text| text.rsplit_once(':')) else { continue };
            let (Ok(ip), Ok(port)) = (ip.parse::<IpAddr>(), port.parse::<u16>()) else { continue };
            if !kernel.virtual_services.iter().any(|service| service.ip == ip && service.port == port) {
                out.push(Found::on(&host.name, format!("{} keeps {ip}:{port}, and IPVS does not have it", pod.file)));
            }
        }
    }
    out
}

fn connection_reuse(fleet: &Fleet) -> Vec<Found> {
    let old = |kernel: &Kernel| super::machine::release(&kernel.release).is_some_and(|release| release < (5, 9));
    let hosts = fleet.nodes().filter(|(_, kernel)| old(kernel) && !kernel.virtual_services.is_empty());
    let on = hosts.filter(|(_, kernel)| kernel.setting("net/ipv4/vs/conn_reuse_mode") == Some(1));
    on.map(|(host, kernel)| Found::on(&host.name, format!("conn_reuse_mode is 1 on kernel {}", kernel.release)))
        .collect()
}
