//! Links, addresses, routes and neighbours, as `ip -d` shows them. Attributes: linux/if_link.h, linux/if_addr.h,
//! linux/rtnetlink.h, linux/neighbour.h.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::{NetlinkError, Socket, array, attribute, attributes, text, u16_at, u32_at, u64_at};
use crate::facts::Network;

/// The table that routes are in where nothing else is said.
pub const MAIN: u32 = 254;

/// An address of a device on its link.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> Result<Mac, String> {
        let mut out = [0; 6];
        let parts: Vec<&str> = text.split(':').collect();
        if parts.len() != 6 {
            return Err("not the address of a device".to_owned());
        }
        for (to, part) in out.iter_mut().zip(parts) {
            *to = u8::from_str_radix(part, 16).map_err(|e| e.to_string())?;
        }
        Ok(Mac(out))
    }
}

impl Serialize for Mac {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Mac, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A network device.
#[derive(Debug, Clone, Serialize, Deserialize, Default, PartialEq)]
pub struct Link {
    /// Its number in this namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// `bridge`, `vxlan`, `veth`, …; nothing for hardware.
    pub kind: Option<String>,
    /// Its address.
    pub mac: Option<Mac>,
    /// The largest packet, in bytes.
    pub mtu: u32,
    /// Whether it is switched on.
    pub up: bool,
    /// The bridge or bond it is a port of.
    pub master: Option<u32>,
    /// The device it sits on, or the number of its other end.
    pub over: Option<u32>,
    /// Whether that is in another namespace.
    pub elsewhere: bool,
    /// What a VXLAN device was made with.
    pub vxlan: Option<Vxlan>,
    /// What it counted.
    pub counters: Counters,
}

/// What a VXLAN device was made with.
#[derive(Debug, Clone, Serialize, Deserialize, Default, PartialEq)]
pub struct Vxlan {
    /// The number of the network.
    pub vni: u32,
    /// The port of UDP it sends to and listens on.
    pub port: u16,
    /// The address it sends from.
    pub local: Option<IpAddr>,
    /// The device it sends through.
    pub through: Option<u32>,
    /// Whether it learns addresses from packets.
    pub learning: bool,
    /// Whether it carries the marks of group-based policies.
    pub gbp: bool,
}

/// Packets since the device exists.
#[derive(Debug, Clone, Serialize, Deserialize, Default, PartialEq)]
pub struct Counters {
    /// Received.
    pub rx: u64,
    /// Sent.
    pub tx: u64,
    /// Received and thrown away.
    pub rx_dropped: u64,
    /// Not sent.
    pub tx_dropped: u64,
    /// Not sent, or wrongly.
    pub tx_errors: u64,
}

/// An address of a device.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub struct Address {
    /// The device's number.
    pub link: u32,
    /// The address.
    pub ip: IpAddr,
    /// How many of its bits the network has.
    pub prefix: u8,
}

/// A route, of any table but the kernel's own for its addresses.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub struct Route {
    /// Where to.
    pub to: Network,
    /// Through whom.
    pub via: Option<IpAddr>,
    /// Through which device.
    pub link: Option<u32>,
    /// Whether `via` is taken to be on that device, whatever its addresses say.
    pub onlink: bool,
    /// Who made it: 2 the kernel, 3 boot, 4 an administrator, 12 bird; linux/rtnetlink.h.
    pub protocol: u8,
    /// 1 a route, 6 a black hole, 7 unreachable, 8 prohibited.
    pub kind: u8,
    /// The table; 254 is main.
    pub table: u32,
    /// The address to send from.
    pub source: Option<IpAddr>,
    /// The smaller, the sooner taken.
    pub metric: u32,
}

/// A rule that says which table of routes is looked into, and when.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Default)]
pub struct PolicyRule {
    /// The smaller, the sooner.
    pub priority: u32,
    /// For packets from there.
    pub from: Option<Network>,
    /// For packets to there.
    pub to: Option<Network>,
    /// The table.
    pub table: u32,
    /// 1 a table, 6 a black hole, 7 unreachable, 8 prohibited.
    pub kind: u8,
    /// Routes with so few bits or fewer do not count.
    pub suppress: Option<u32>,
    /// Whether there are conditions beside these: marks, devices, users.
    pub more: bool,
}

/// Who has an address on a link: an entry of ARP or of NDP.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub struct Neighbour {
    /// The device's number.
    pub link: u32,
    /// The address.
    pub ip: IpAddr,
    /// Who has it.
    pub mac: Option<Mac>,
    /// 0x80 permanent, 0x20 failed, 0x01 incomplete; linux/neighbour.h.
    pub state: u16,
}

/// Where a VXLAN device sends packets for an address of the link layer.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub struct Forward {
    /// The device's number.
    pub link: u32,
    /// For whom; zeros for all that have no entry of their own.
    pub mac: Mac,
    /// The host it is behind.
    pub host: IpAddr,
}

/// All of it.
#[derive(Debug, Clone, Serialize, Deserialize, Default, PartialEq)]
pub struct Tables {
    /// The devices.
    pub links: Vec<Link>,
    /// Their addresses.
    pub addresses: Vec<Address>,
    /// The routes.
    pub routes: Vec<Route>,
    /// Rules that choose between their tables, in the order they count.
    pub rules: Vec<PolicyRule>,
    /// Entries of ARP and NDP.
    pub neighbours: Vec<Neighbour>,
    /// Entries of VXLAN devices.
    pub forwards: Vec<Forward>,
}

impl Tables {
    /// Reads them in the namespace of this thread.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn read() -> Result<Tables, NetlinkError> {
        let mut socket = Socket::open("devices", None)?;
        let family = |family: u8| [&[family][..], &[0; 11]].concat();
        let ask = [&[0; 16][..], &attribute(29, &0u32.to_ne_bytes())].concat();
        let links = socket.dump("devices", 18, &ask, |message| link(message.body))?;
        let addresses = socket.dump("addresses", 22, &[0; 8], |message| address(message.body))?;
        let routes = socket.dump("routes", 26, &family(0), |message| routes(message.body))?;
        let mut rules = socket.dump("rules of routes", 34, &family(2), |message| policy(message.body))?;
        rules.sort_by_key(|rule| rule.priority);
        let neighbours = socket.dump("neighbours", 30, &family(0), |message| neighbour(message.body))?;
        let forwards = socket.dump("entries of bridges", 30, &family(7), |message| forward(message.body))?;
        let routes = routes.into_iter().flatten().collect();
        Ok(Tables { links, addresses, routes, rules, neighbours, forwards })
    }

    /// The device of this name.
    pub fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }

    /// The device of this number.
    pub fn by_index(&self, index: u32) -> Option<&Link> {
        self.links.iter().find(|link| link.index == index)
    }

    /// The addresses of a device.
    pub fn addresses_of(&self, link: &Link) -> impl Iterator<Item = &Address> {
        let index = link.index;
        self.addresses.iter().filter(move |address| address.link == index)
    }

    /// The route to an address, whoever sends; rules with conditions that are not known here are left out.
    pub fn route_to(&self, ip: IpAddr) -> Option<&Route> {
        self.route_from(None, ip)
    }

    /// The route to an address from another.
    pub fn route_from(&self, from: Option<IpAddr>, ip: IpAddr) -> Option<&Route> {
        let meets = |rule: &&PolicyRule| {
            !rule.more
                && rule.from.is_none_or(|network| from.is_some_and(|from| network.contains(from)))
                && rule.to.is_none_or(|network| network.contains(ip))
        };
        for rule in self.rules.iter().filter(|_| ip.is_ipv4()).filter(meets) {
            if rule.kind != 1 {
                return None;
            }
            let counts = |route: &&Route| rule.suppress.is_none_or(|prefix| u32::from(route.to.prefix) > prefix);
            if let Some(route) = self.in_table(rule.table, ip).filter(counts) {
                return Some(route);
            }
        }
        // There is always a rule for the main table, unless nobody asked for them.
        self.in_table(MAIN, ip).filter(|_| self.rules.is_empty() || !ip.is_ipv4())
    }

    fn in_table(&self, table: u32, ip: IpAddr) -> Option<&Route> {
        let fits = self.routes.iter().filter(|route| route.table == table && route.to.contains(ip));
        fits.min_by_key(|route| (std::cmp::Reverse(route.to.prefix), route.metric))
    }

    /// The device that has this address.
    pub fn owner(&self, ip: IpAddr) -> Option<&Link> {
        let address = self.addresses.iter().find(|address| address.ip == ip)?;
        self.by_index(address.link)
    }
}

pub(super) fn ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(IpAddr::V4(Ipv4Addr::from(array::<4>(bytes)))),
        16 => Some(IpAddr::V6(Ipv6Addr::from(array::<16>(bytes)))),
        _ => None,
    }
}

fn mac(bytes: &[u8]) -> Option<Mac> {
    (bytes.len() == 6).then(|| Mac(array(bytes)))
}

fn link(body: &[u8]) -> Option<Link> {
    let mut link = Link { index: u32_at(body, 4), up: u32_at(body, 8) & 1 != 0, ..Link::default() };
    for (kind, value) in attributes(body.get(16..)?) {
        match kind {
            1 => link.mac = mac(value),
            3 => link.name = text(value),
            4 => link.mtu = u32_at(value, 0),
            5 => link.over = Some(u32_at(value, 0)).filter(|index| *index != 0),
            10 => link.master = Some(u32_at(value, 0)),
            18 => information(value, &mut link),
            23 => {
                let at = |index: usize| u64_at(value, index * 8);
                link.counters =
                    Counters { rx: at(0), tx: at(1), tx_errors: at(5), rx_dropped: at(6), tx_dropped: at(7) };
            }
            37 => link.elsewhere = true,
            _ => {}
        }
    }
    (!link.name.is_empty()).then_some(link)
}

/// `IFLA_LINKINFO`.
fn information(bytes: &[u8], link: &mut Link) {
    for (kind, value) in attributes(bytes) {
        match kind {
            1 => link.kind = Some(text(value)),
            2 if link.kind.as_deref() == Some("vxlan") => link.vxlan = Some(vxlan(value)),
            _ => {}
        }
    }
}

fn vxlan(bytes: &[u8]) -> Vxlan {
    let mut out = Vxlan::default();
    for (kind, value) in attributes(bytes) {
        match kind {
            1 => out.vni = u32_at(value, 0),
            3 => out.through = Some(u32_at(value, 0)).filter(|index| *index != 0),
            4 | 17 => out.local = ip(value).filter(|ip| !ip.is_unspecified()),
            7 => out.learning = value.first() == Some(&1),
            15 => out.port = u16_at(value, 0).to_be(),
            23 => out.gbp = true,
            _ => {}
        }
    }
    out
}

fn address(body: &[u8]) -> Option<Address> {
    let (prefix, link) = (*body.get(1)?, u32_at(body, 4));
    let mut found: [Option<IpAddr>; 2] = [None; 2];
    for (kind, value) in attributes(body.get(8..)?) {
        match kind {
            1 => found[1] = ip(value),
            2 => found[0] = ip(value),
            _ => {}
        }
    }
    // Of a link with two ends the other's address is also there: the local one counts.
    let ip = found[0].or(found[1])?;
    Some(Address { link, ip, prefix })
}

/// A route, or one for each of its next hops.
fn routes(body: &[u8]) -> Option<Vec<Route>> {
    let family = *body.first()?;
    let zero = match family {
        2 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        10 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    let flags = u32_at(body, 8);
    let mut route = Route {
        to: Network { ip: zero, prefix: *body.get(1)? },
        via: None,
        link: None,
        onlink: flags & 4 != 0,
        protocol: *body.get(5)?,
        kind: *body.get(7)?,
        table: u32::from(*body.get(4)?),
        source: None,
        metric: 0,
    };
    let mut hops = Vec::new();
    for (kind, value) in attributes(body.get(12..)?) {
        match kind {
            1 => route.to.ip = ip(value)?,
            4 => route.link = Some(u32_at(value, 0)),
            5 => route.via = ip(value),
            6 => route.metric = u32_at(value, 0),
            7 => route.source = ip(value),
            9 => hops = next_hops(value),
            15 => route.table = u32_at(value, 0),
            _ => {}
        }
    }
    // 255: the kernel's own, of addresses; 0x200: entries of a cache; 2, 3, 5: local, broadcast, multicast.
    if route.table == 255 || flags & 0x200 != 0 || matches!(route.kind, 2 | 3 | 5) {
        return None;
    }
    if hops.is_empty() {
        return Some(vec![route]);
    }
    let with = |(link, onlink, via)| Route { link: Some(link), onlink, via, ..route.clone() };
    Some(hops.into_iter().map(with).collect())
}

/// `RTM_NEWRULE`; linux/fib_rules.h.
fn policy(body: &[u8]) -> Option<PolicyRule> {
    let (to, from) = (*body.get(1)?, *body.get(2)?);
    let flags = u32_at(body, 8);
    // 2: it is for all that do not meet it.
    let mut out = PolicyRule {
        table: u32::from(*body.get(4)?),
        kind: *body.get(7)?,
        more: flags & 2 != 0 || *body.get(3)? != 0,
        ..PolicyRule::default()
    };
    for (kind, value) in attributes(body.get(12..)?) {
        match kind {
            1 => out.to = ip(value).map(|ip| Network { ip, prefix: to }),
            2 => out.from = ip(value).map(|ip| Network { ip, prefix: from }),
            6 => out.priority = u32_at(value, 0),
            15 => out.table = u32_at(value, 0),
            14 => out.suppress = Some(u32_at(value, 0)).filter(|prefix| *prefix != u32::MAX),
            // Marks, devices, jumps, users, ports.
            3 | 4 | 5 | 10 | 13 | 17 | 19 | 20 | 22..=24 => {
                out.more |= value.iter().any(|byte| !matches!(byte, 0 | 255))
            }
            _ => {}
        }
    }
    Some(out)
}

/// `RTA_MULTIPATH`: device, whether on-link, gateway.
fn next_hops(bytes: &[u8]) -> Vec<(u32, bool, Option<IpAddr>)> {
    let mut out = Vec::new();
    let mut rest = bytes;
    while rest.len() >= 8 {
        let length = usize::from(u16_at(rest, 0));
        let Some(inner) = rest.get(8..length) else { break };
        let via = attributes(inner).find(|(kind, _)| *kind == 5).and_then(|(_, value)| ip(value));
        out.push((u32_at(rest, 4), rest.get(2).is_some_and(|flags| flags & 4 != 0), via));
        rest = rest.get((length + 3) & !3..).unwrap_or_default();
    }
    out
}

fn neighbour(body: &[u8]) -> Option<Neighbour> {
    let (family, link, state) = (*body.first()?, u32_at(body, 4), u16_at(body, 8));
    // 0x40: devices without ARP, and groups.
    if !matches!(family, 2 | 10) || state == 0x40 {
        return None;
    }
    let mut found = (None, None);
    for (kind, value) in attributes(body.get(12..)?) {
        match kind {
            1 => found.0 = ip(value),
            2 => found.1 = mac(value),
            _ => {}
        }
    }
    Some(Neighbour { link, ip: found.0?, mac: found.1, state })
}

fn forward(body: &[u8]) -> Option<Forward> {
    let link = u32_at(body, 4);
    let mut found = (None, None);
    for (kind, value) in attributes(body.get(12..)?) {
        match kind {
            1 => found.0 = ip(value),
            2 => found.1 = mac(value),
            _ => {}
        }
    }
    Some(Forward { link, host: found.0?, mac: found.1? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn garbage_is_no_entry() {
        for length in 0..64 {
            for byte in [0, 1, 2, 10, 255] {
                let body = vec![byte; length];
                let _ = (link(&body), address(&body), routes(&body), policy(&body), neighbour(&body), forward(&body));
            }
        }
    }

    #[test]
    fn rules_choose_the_table() {
        let route = |to: &str, link, table| Route {
            to: to.parse().unwrap(),
            via: None,
            link: Some(link),
            onlink: false,
            protocol: 4,
            kind: 1,
            table,
            source: None,
            metric: 0,
        };
        let main = PolicyRule { priority: 32766, table: MAIN, kind: 1, ..PolicyRule::default() };
        let mut tables = Tables {
            routes: vec![route("0.0.0.0/0", 2, MAIN), route("10.244.1.0/24", 3, MAIN), route("0.0.0.0/0", 9, 77)],
            rules: vec![main.clone()],
            ..Tables::default()
        };
        let link = |tables: &Tables, from: Option<&str>, to: &str| {
            let from = from.map(|from| from.parse().unwrap());
            tables.route_from(from, to.parse().unwrap()).and_then(|route| route.link)
        };
        assert_eq!(link(&tables, None, "10.244.1.9"), Some(3));
        let other = PolicyRule { priority: 100, table: 77, kind: 1, ..PolicyRule::default() };
        let pods = Some("10.244.0.0/16".parse().unwrap());
        tables.rules = vec![PolicyRule { to: pods, ..other.clone() }, main.clone()];
        assert_eq!((link(&tables, None, "10.244.1.9"), link(&tables, None, "1.1.1.1")), (Some(9), Some(2)));
        tables.rules = vec![PolicyRule { from: pods, ..other.clone() }, main.clone()];
        assert_eq!((link(&tables, None, "1.1.1.1"), link(&tables, Some("10.244.0.2"), "1.1.1.1")), (Some(2), Some(9)));
        tables.rules = vec![PolicyRule { more: true, ..other.clone() }, main.clone()];
        assert_eq!(link(&tables, None, "1.1.1.1"), Some(2), "a condition that nobody knows");
        tables.rules = vec![
            PolicyRule { suppress: Some(0), table: MAIN, ..other.clone() },
            PolicyRule { priority: 101, ..other.clone() },
        ];
        assert_eq!((link(&tables, None, "10.244.1.9"), link(&tables, None, "1.1.1.1")), (Some(3), Some(9)));
        tables.rules = vec![PolicyRule { to: pods, kind: 7, ..other }, main];
        assert_eq!(link(&tables, None, "10.244.1.9"), None);
        tables.rules.clear();
        assert_eq!(link(&tables, None, "10.244.1.9"), Some(3), "facts without rules");
    }

    #[test]
    fn loopback_is_there() {
        let tables = Tables::read().unwrap();
        assert!(tables.link("lo").is_some());
    }
}
