//! Which of its addresses a host is reached by.
//!
//! A host with several networks has several addresses, and the one that `kubeadm` takes by itself, that of the default
//! route, need not be the one that other nodes can reach: nodes then have one address twice, or stay NotReady. Here the
//! choice is a function of facts, and says why:
//!
//! 1. what the user said (`nodeAddress`, `--node-address`), if the host has it;
//! 2. of the networks in which every host has an address, the one with most of the addresses that we log in at, then a
//!    private one, then the first;
//! 3. without such a network, the address to which each peer has a route: one of its own networks, or a route that is
//!    not the default one, before the default route.
//!
//! Never chosen are addresses of loopback and of the link, those of devices of containers, and those that two hosts
//! have: every machine of VirtualBox is 10.0.2.15 on its first device.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;

use crate::model::{Cidr, Host, Origin, Said};

/// What is known of the addresses of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Addresses {
    /// Its addresses, in the order of its devices.
    pub addresses: Vec<Address>,
    /// Its routes.
    pub routes: Vec<Route>,
}

/// An address of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The device: `eth0`.
    pub interface: String,
    /// The address.
    pub address: IpAddr,
    /// Bits of its network.
    pub prefix: u8,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Where to; a prefix of 0 is the default route.
    pub destination: Cidr,
    /// The device.
    pub interface: String,
}

/// An address, and why it is the one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The address.
    pub address: IpAddr,
    /// Its device.
    pub interface: String,
    /// Its network.
    pub network: Cidr,
    /// Why.
    pub reason: Reason,
    /// Addresses that it could also have been.
    pub others: Vec<IpAddr>,
}

/// Why an address was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The user said so.
    Said(Origin),
    /// There is no other.
    Only,
    /// All hosts have an address in its network.
    Shared {
        /// How many hosts there are.
        hosts: usize,
    },
    /// All peers have a route to it.
    Routed,
    /// There are no peers, and it is the one that we log in at.
    Login,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Said(origin) => write!(f, "said by {origin}"),
            Reason::Only => f.write_str("the only address of the host"),
            Reason::Shared { hosts } => write!(f, "all {hosts} hosts have an address in its network"),
            Reason::Routed => f.write_str("all peers have a route to it"),
            Reason::Login => f.write_str("the address to log in at"),
        }
    }
}

/// Why a host has no address for its peers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The host does not have the address that the user chose.
    #[error("{host} does not have the address {wanted} ({origin}); it has {}", list(.has))]
    NotThere {
        /// The host.
        host: IpAddr,
        /// The address.
        wanted: IpAddr,
        /// Who said it.
        origin: Origin,
        /// What it has.
        has: Vec<IpAddr>,
    },
    /// The host has no address of the family that is of use.
    #[error("{host} has no {} address that peers can use", family(.v6))]
    None {
        /// The host.
        host: IpAddr,
        /// Which family.
        v6: bool,
    },
    /// The address that the user chose is of a family that the cluster's networks are not of.
    #[error("{host} is to be reached at {wanted} ({origin}), and the cluster's networks have no {} addresses", family(&.wanted.is_ipv6()))]
    OtherFamily {
        /// The host.
        host: IpAddr,
        /// The address.
        wanted: IpAddr,
        /// Who said it.
        origin: Origin,
    },
    /// A peer cannot reach any of them.
    #[error("{peer} has no route to any address of {host} ({})", list(.tried))]
    Unreachable {
        /// The host.
        host: IpAddr,
        /// The peer.
        peer: IpAddr,
        /// The addresses of the host.
        tried: Vec<IpAddr>,
    },
}

fn family(v6: &bool) -> &'static str {
    if *v6 { "IPv6" } else { "IPv4" }
}

fn list(addresses: &[IpAddr]) -> String {
    match addresses {
        [] => "none".to_owned(),
        some => some.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}

/// Devices that containers, their networks and balancers make.
const CONTAINERS: [&str; 16] = [
    "docker",
    "cni",
    "flannel",
    "cali",
    "vxlan.calico",
    "tunl",
    "veth",
    "br-",
    "virbr",
    "kube-",
    "weave",
    "lxc",
    "cilium",
    "nodelocaldns",
    "lxdbr",
    "podman",
];

/// Chooses an address of one family for each host; `facts` are those of the hosts, in the same order.
pub fn choose(hosts: &[&Host], facts: &[Addresses], v6: bool) -> Vec<Result<Choice, AddressError>> {
    let none = Addresses::default();
    let facts: Vec<&Addresses> = (0..hosts.len()).map(|i| facts.get(i).unwrap_or(&none)).collect();
    let usable = usable(&facts, v6);
    let shared = shared(hosts, &usable);
    (0..hosts.len()).map(|i| one(i, hosts, &facts, &usable, shared, v6)).collect()
}

/// Of each host the addresses that may be chosen.
fn usable<'f>(facts: &[&'f Addresses], v6: bool) -> Vec<Vec<&'f Address>> {
    let mut count: HashMap<IpAddr, usize> = HashMap::new();
    for facts in facts {
        let own: std::collections::BTreeSet<IpAddr> = facts.addresses.iter().map(|a| a.address).collect();
        own.into_iter().for_each(|address| *count.entry(address).or_default() += 1);
    }
    let fits = |a: &&Address| {
        let local = a.address.is_loopback() || a.address.is_unspecified() || is_link_local(a.address);
        let containers = a.interface == "lo" || CONTAINERS.iter().any(|name| a.interface.starts_with(name));
        a.address.is_ipv6() == v6 && !local && !containers && count.get(&a.address) == Some(&1)
    };
    facts.iter().map(|facts| facts.addresses.iter().filter(fits).collect()).collect()
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

fn is_private(address: IpAddr) -> bool {
    match address {
        // With the range that clouds and carriers share, 100.64.0.0/10.
        IpAddr::V4(v4) => v4.is_private() || (v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64),
        IpAddr::V6(v6) => v6.is_unique_local(),
    }
}

fn network(address: &Address) -> Cidr {
    let cidr = Cidr { address: address.address, prefix: address.prefix };
    Cidr { address: cidr.first(), prefix: address.prefix }
}

/// The best network in which every host has an address.
fn shared(hosts: &[&Host], usable: &[Vec<&Address>]) -> Option<Cidr> {
    let mut networks: BTreeMap<(IpAddr, u8), (usize, usize, usize)> = BTreeMap::new();
    let mut order = 0;
    for (host, addresses) in hosts.iter().zip(usable) {
        let mut seen = Vec::new();
        for address in addresses {
            let network = network(address);
            let key = (network.address, network.prefix);
            order += 1;
            let entry = networks.entry(key).or_insert((0, 0, order));
            if !seen.contains(&key) {
                entry.0 += 1;
                seen.push(key);
            }
            entry.1 += usize::from(host.addresses.iter().any(|login| login.value == address.address));
        }
    }
    let all = networks.into_iter().filter(|(_, (count, ..))| *count == hosts.len());
    let best =
        all.max_by_key(|((address, _), (_, logins, order))| (*logins, is_private(*address), std::cmp::Reverse(*order)));
    best.map(|((address, prefix), _)| Cidr { address, prefix })
}

fn one(
    i: usize,
    hosts: &[&Host],
    facts: &[&Addresses],
    usable: &[Vec<&Address>],
    shared: Option<Cidr>,
    v6: bool,
) -> Result<Choice, AddressError> {
    let (host, own) = (hosts[i], &usable[i]);
    let name = host.address();
    let choice = |address: &Address, reason: Reason| Choice {
        address: address.address,
        interface: address.interface.clone(),
        network: network(address),
        reason,
        others: own.iter().map(|other| other.address).filter(|other| *other != address.address).collect(),
    };
    if let Some(Said { value: wanted, origin }) = &host.node_address
        && wanted.is_ipv6() == v6
    {
        let has = &facts[i].addresses;
        return match has.iter().find(|address| address.address == *wanted) {
            Some(address) => Ok(choice(address, Reason::Said(origin.clone()))),
            None => Err(AddressError::NotThere {
                host: name,
                wanted: *wanted,
                origin: origin.clone(),
                has: has.iter().map(|address| address.address).collect(),
            }),
        };
    }
    let is_login = |address: &Address| host.addresses.iter().any(|login| login.value == address.address);
    if own.is_empty() {
        return Err(AddressError::None { host: name, v6 });
    }
    if hosts.len() == 1 {
        let login = own.iter().find(|address| is_login(address));
        let default = facts[i].routes.iter().find(|route| is_default(route, v6)).map(|route| &route.interface);
        let leading = own.iter().find(|address| Some(&address.interface) == default);
        return Ok(match (login, own.len()) {
            (_, 1) => choice(own[0], Reason::Only),
            (Some(login), _) => choice(login, Reason::Login),
            (None, _) => choice(leading.unwrap_or(&own[0]), Reason::Routed),
        });
    }
    if let Some(shared) = shared
        && let Some(address) = own.iter().filter(|a| network(a) == shared).max_by_key(|a| is_login(a))
    {
        let reason = if own.len() == 1 { Reason::Only } else { Reason::Shared { hosts: hosts.len() } };
        return Ok(choice(address, reason));
    }
    let peers: Vec<usize> = (0..hosts.len()).filter(|peer| *peer != i).collect();
    let reach = |address: &Address| peers.iter().map(|peer| reach(facts[*peer], &usable[*peer], address)).min();
    // The first of the best: `max_by_key` would take the last.
    let best = own.iter().rev().max_by_key(|a| (reach(a), is_login(a), is_private(a.address)));
    match best {
        Some(address) if reach(address) > Some(Reach::Not) => {
            let reason = if own.len() == 1 { Reason::Only } else { Reason::Routed };
            Ok(choice(address, reason))
        }
        _ => {
            let blocked = peers.iter().find(|peer| {
                own.iter().all(|address| self::reach(facts[**peer], &usable[**peer], address) == Reach::Not)
            });
            let peer = blocked.or(peers.first()).map_or(name, |peer| hosts[*peer].address());
            Err(AddressError::Unreachable { host: name, peer, tried: own.iter().map(|a| a.address).collect() })
        }
    }
}

/// Whether it is the default route of a family.
fn is_default(route: &Route, v6: bool) -> bool {
    route.destination.prefix == 0 && route.destination.address.is_ipv6() == v6
}

/// How a peer gets to an address, the better the larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    /// It has no route.
    Not,
    /// Only by its default route.
    Default,
    /// By a route for it.
    Route,
    /// It is in one of its networks.
    Link,
}

fn reach(peer: &Addresses, usable: &[&Address], address: &Address) -> Reach {
    if usable.iter().any(|own| network(own).contains(address.address)) {
        return Reach::Link;
    }
    let fits = |route: &&Route| {
        let containers = CONTAINERS.iter().any(|name| route.interface.starts_with(name));
        route.destination.contains(address.address) && !containers
    };
    match peer.routes.iter().filter(fits).map(|route| route.destination.prefix).max() {
        None => Reach::Not,
        Some(0) => Reach::Default,
        Some(_) => Reach::Route,
    }
}

/// Arguments of flannel's daemon that make it take the chosen addresses, the same on every host.
///
/// The device, if it has one name everywhere; otherwise an expression that the chosen addresses match and no other
/// address of a host does.
pub fn flannel(choices: &[Choice]) -> Vec<String> {
    let Some(first) = choices.first() else { return Vec::new() };
    let interface = &first.interface;
    if choices.iter().all(|choice| choice.interface == *interface) {
        return vec![format!("--iface={interface}")];
    }
    let shared = choices.iter().all(|choice| choice.network == first.network);
    if let (true, IpAddr::V4(network), 8 | 16 | 24) = (shared, first.network.address, first.network.prefix) {
        let octets = &network.octets()[..usize::from(first.network.prefix / 8)];
        let start: String = octets.iter().map(|octet| format!("{octet}\\.")).collect();
        return vec![format!("--iface-regex=^{start}")];
    }
    let all: Vec<String> = choices.iter().map(|choice| choice.address.to_string().replace('.', "\\.")).collect();
    vec![format!("--iface-regex=^({})$", all.join("|"))]
}
