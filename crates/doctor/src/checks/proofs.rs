//! What packets between hosts showed. This row sees something only when packets were sent.

use super::Severity::Error;
use super::{Found, Row};
use crate::Fleet;

/// The rows.
pub const ROWS: &[Row] = &[Row {
    id: "probe.lost",
    severity: Error,
    line: "packets of the tunnel are lost between two hosts",
    symptoms: &[
        "both nodes are Ready, and pods do not talk",
        "ping between pods of different nodes: 100% packet loss",
        "large transfers between two nodes hang",
    ],
    cause: "What is seen says where: nothing arrives when a cloud's security group or a firewall in between drops the tunnel's protocol; what arrives and is not unpacked is dropped by the host's own rules; only large ones are lost where the network's MTU is smaller than the tunnel thinks.",
    remedy: "Open the protocol that is named between all hosts, in both directions; for sizes set `MTU` of the backend in net-conf.json to the largest that arrived.",
    after: &[
        "firewall.vxlan-blocked",
        "flannel.device-down",
        "flannel.mtu",
        "flannel.path-mtu",
        "flannel.peer-stale",
        "flannel.port-differs",
        "flannel.same-subnet",
        "flannel.vni-differs",
        "flannel.vtep-public",
    ],
    check: lost,
}];

fn lost(fleet: &Fleet) -> Vec<Found> {
    let lost = fleet.proofs.iter().filter_map(|proof| Some((proof, proof.hop.lost.as_ref()?)));
    lost.map(|(proof, why)| Found::between(&proof.from, &proof.to, format!("{}: {why}", proof.hop.what))).collect()
}
