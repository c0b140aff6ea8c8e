//! The hosts of a cluster, as facts.
//!
//! [`remote`] facts over SSH

pub mod remote;

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::api::Api;
use crate::facts::kernel::Kernel;
use crate::facts::{HostFacts, Network};
use crate::netlink::route::{Link, Tables};
use crate::probe::Proof;

/// Hosts that are looked at together.
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
pub struct Fleet {
    /// Those of which there are facts.
    pub hosts: Vec<HostFacts>,
    /// Those of which there are none, and why.
    pub missing: Vec<Missing>,
    /// What the cluster says of itself, if it was asked.
    pub api: Option<Api>,
    /// What packets between hosts showed, if any were sent.
    pub proofs: Vec<Proof>,
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
        let mut fleet = Fleet { hosts, ..Fleet::default() };
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

    /// How hosts reach each other without addresses of the internet: by a network that all are in, or by routes from each
    /// to an address of every other, as networks of clouds have them. Nothing when they do not, or there are not two.
    pub fn private_way(&self) -> Option<PrivateWay<'_>> {
        let all: Option<Vec<(&HostFacts, &Tables)>> = self.hosts.iter().map(|h| Some((h, h.tables()?))).collect();
        let all = all.filter(|all| all.len() > 1)?;
        let (_, first) = all.first()?;
        let network = private(first)
            .map(|(_, network)| network)
            .find(|network| all.iter().all(|(_, tables)| private(tables).any(|(_, other)| network.contains(other.ip))));
        let reached = |ip: IpAddr, own: &HostFacts| {
            all.iter().all(|(host, tables)| host.name == own.name || leads_privately(tables, ip))
        };
        let of = |(host, tables): &(&'_ HostFacts, &'_ Tables)| {
            private(tables)
                .find(|(_, own)| match network {
                    Some(network) => network.contains(own.ip),
                    None => reached(own.ip, host),
                })
                .map(|(link, own)| (link.name.clone(), own.ip))
        };
        let own: Option<Vec<_>> = all.iter().map(|one| Some((one.0.name.as_str(), of(one)?))).collect();
        Some(PrivateWay { network, own: own?.into_iter().collect() })
    }
}

/// How hosts reach each other without addresses of the internet.
#[derive(Debug, Clone, PartialEq)]
pub struct PrivateWay<'a> {
    /// The network that all of them are in; nothing where routes lead from one to the other.
    pub network: Option<Network>,
    /// The device and address of each, by name.
    own: BTreeMap<&'a str, (String, IpAddr)>,
}

impl PrivateWay<'_> {
    /// A host's device and address on it.
    pub fn of(&self, host: &str) -> Option<(&str, IpAddr)> {
        self.own.get(host).map(|(device, ip)| (device.as_str(), *ip))
    }

    /// In words, with what a host has of it.
    pub fn words(&self, host: &str) -> String {
        let whole = match self.network {
            Some(network) => format!("all hosts share {}/{}", network.first(), network.prefix),
            None => "all hosts have routes to private addresses of the others".to_owned(),
        };
        match self.of(host) {
            Some((device, ip)) => format!("{whole}: this one has {ip} on {device}"),
            None => whole,
        }
    }
}

/// Private addresses on devices that lead out of the host.
fn private(tables: &Tables) -> impl Iterator<Item = (&Link, Network)> {
    uplink_addresses(tables).filter(|(_, network)| is_private(network.ip))
}

fn is_private(ip: IpAddr) -> bool {
    let link_local = matches!(ip, IpAddr::V4(ip) if ip.is_link_local());
    !is_public(ip) && !link_local
}

/// Whether a route of its own, not the one for everything, leads to an address through a device with a private one.
fn leads_privately(tables: &Tables, ip: IpAddr) -> bool {
    let link = tables.route_to(ip).filter(|route| route.kind == 1 && route.to.prefix > 0).and_then(|route| route.link);
    link.is_some_and(|index| private(tables).any(|(link, _)| link.index == index))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::route::{Address, Route};

    /// A host with a public and a private device; the default route is public, another leads to private addresses.
    fn host(name: &str, private: &str, public: &str, inner: Option<&str>) -> HostFacts {
        let link = |index, name: &str| Link { index, name: name.to_owned(), up: true, ..Link::default() };
        let address = |link, ip: &str, prefix| Address { link, ip: ip.parse().unwrap(), prefix };
        let route = |to: &str, link| Route {
            to: to.parse().unwrap(),
            via: None,
            link: Some(link),
            onlink: false,
            protocol: 3,
            kind: 1,
            table: 254,
            source: None,
            metric: 0,
        };
        let mut routes = vec![route("0.0.0.0/0", 3)];
        routes.extend(inner.map(|to| route(to, 2)));
        let tables = Tables {
            links: vec![link(2, "eth0"), link(3, "eth1")],
            addresses: vec![address(2, private, 22), address(3, public, 22)],
            routes,
            ..Tables::default()
        };
        let kernel = Some(Kernel { tables, ..Kernel::default() });
        HostFacts { name: name.to_owned(), kernel, ..HostFacts::default() }
    }

    #[test]
    fn private_addresses_that_routes_lead_to() {
        let two = |a: Option<&str>, b: Option<&str>| {
            Fleet::new(vec![
                host("a", "10.47.217.91", "123.56.200.187", a),
                host("b", "10.28.61.30", "59.110.67.15", b),
            ])
        };
        let fleet = two(Some("10.0.0.0/8"), Some("10.0.0.0/8"));
        let way = fleet.private_way().unwrap();
        assert_eq!((way.network, way.of("b")), (None, Some(("eth0", "10.28.61.30".parse().unwrap()))));
        assert!(way.words("a").ends_with("of the others: this one has 10.47.217.91 on eth0"), "{}", way.words("a"));
        assert_eq!(two(Some("10.0.0.0/8"), None).private_way(), None, "b sends it to the internet");
        assert_eq!(Fleet::new(two(None, None).hosts.drain(..1).collect()).private_way(), None, "there is no other");
        let shared = Fleet::new(vec![
            host("a", "10.0.0.1", "123.56.200.187", None),
            host("b", "10.0.0.2", "59.110.67.15", None),
        ]);
        assert_eq!(shared.private_way().unwrap().network.unwrap().first().to_string(), "10.0.0.0");
    }
}
