//! The hosts of a cluster, as facts.
//!
//! [`remote`] facts over SSH

pub mod remote;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::facts::kernel::Kernel;
use crate::facts::{HostFacts, Network};
use crate::netlink::route::{Link, Tables};

/// Hosts that are looked at together.
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
pub struct Fleet {
    /// Those of which there are facts.
    pub hosts: Vec<HostFacts>,
    /// Those of which there are none, and why.
    pub missing: Vec<Missing>,
}

/// A host of which there are no facts.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub struct Missing {
    /// Who.
    pub host: String,
    /// Why.
    pub why: String,
}

impl Fleet {
    /// Hosts with these facts. Two of one name are told apart by a number.
    pub fn new(hosts: Vec<HostFacts>) -> Fleet {
        let mut fleet = Fleet { hosts, missing: Vec::new() };
        for index in 1..fleet.hosts.len() {
            let (before, rest) = fleet.hosts.split_at_mut(index);
            if let Some(host) = rest.first_mut()
                && before.iter().any(|other| other.name == host.name)
            {
                host.name = format!("{} ({})", host.name, index + 1);
            }
        }
        fleet
    }

    /// The hosts that are members of a cluster and have a kernel.
    pub fn nodes(&self) -> impl Iterator<Item = (&HostFacts, &Kernel)> {
        self.hosts.iter().filter(|host| host.is_node()).filter_map(|host| Some((host, host.kernel.as_ref()?)))
    }

    /// The host that has an address on one of its devices.
    pub fn owner(&self, ip: IpAddr) -> Option<&HostFacts> {
        self.hosts.iter().find(|host| host.tables().is_some_and(|tables| tables.owner(ip).is_some()))
    }

    /// A network of private addresses in which every host has one, on a device that leads out.
    pub fn shared_network(&self) -> Option<Network> {
        let (first, rest) = self.hosts.split_first()?;
        if rest.is_empty() {
            return None;
        }
        let private = uplink_addresses(first.tables()?).filter(|(_, network)| !is_public(network.ip));
        private.map(|(_, network)| network).find(|network| {
            rest.iter().all(|host| {
                host.tables()
                    .is_some_and(|tables| uplink_addresses(tables).any(|(_, other)| network.contains(other.ip)))
            })
        })
    }
}

/// Whether a device belongs to networks of containers or to the host itself alone.
pub fn is_pods(link: &Link) -> bool {
    let names = [
        "lo",
        "cni",
        "flannel",
        "docker",
        "br-",
        "cali",
        "tunl",
        "vxlan.calico",
        "kube-",
        "nodelocaldns",
        "weave",
        "cilium",
        "lxc",
        "virbr",
        "dummy",
    ];
    let of_pod = link.kind.as_deref() == Some("veth") && link.master.is_some();
    of_pod || link.vxlan.is_some() || names.iter().any(|start| link.name.starts_with(start))
}

/// The addresses of IPv4 on devices that lead out of the host.
pub fn uplink_addresses(tables: &Tables) -> impl Iterator<Item = (&Link, Network)> {
    let all = tables.addresses.iter().filter(|address| address.ip.is_ipv4() && !address.ip.is_loopback());
    all.filter_map(|address| {
        let link = tables.by_index(address.link)?;
        (!is_pods(link)).then_some((link, Network { ip: address.ip, prefix: address.prefix }))
    })
}

/// Whether an address is one of the internet.
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let shared = ip.octets()[0] == 100 && (64..128).contains(&ip.octets()[1]);
            !(ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() || shared)
        }
        IpAddr::V6(ip) => ip.segments()[0] & 0xe000 == 0x2000,
    }
}
