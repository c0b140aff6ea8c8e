//! flannel's configuration beside what runs.

use super::{device, leases};
use crate::Fleet;
use crate::checks::Found;
use crate::checks::logs::printable;

/// flannel's own number and port where nothing is said.
const VNI: u32 = 1;
const PORT: u16 = 8472;

pub(super) fn differs(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for (host, tables, subnet) in leases(fleet) {
        let Some(conf) = &host.cni.net_conf else { continue };
        let mut seen = Vec::new();
        if let Some(error) = &conf.error {
            seen.push(format!("net-conf.json: {}", printable(error)));
        }
        if let (Some(wanted), Some(network)) = (conf.network, subnet.network)
            && wanted != network
        {
            seen.push(format!("net-conf.json has Network {wanted}, FLANNEL_NETWORK is {network}"));
        }
        if let Some((link, vxlan)) = device(tables).filter(|_| conf.backend.eq_ignore_ascii_case("vxlan")) {
            let (vni, port) = (conf.vni.unwrap_or(VNI), conf.port.unwrap_or(PORT));
            if vni != vxlan.vni {
                seen.push(format!("net-conf.json has VNI {vni}, {} has {}", link.name, vxlan.vni));
            }
            if port != vxlan.port {
                seen.push(format!("net-conf.json has Port {port}, {} has {}", link.name, vxlan.port));
            }
        }
        if !seen.is_empty() {
            out.push(Found { hosts: vec![host.name.clone()], evidence: seen, edge: None });
        }
    }
    out
}
