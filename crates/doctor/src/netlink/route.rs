//! Links, addresses, routes and neighbours, as `ip -d` shows them. Attributes: linux/if_link.h, linux/if_addr.h,
//! linux/rtnetlink.h, linux/neighbour.h.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::{NetlinkError, Socket, array, attribute, attributes, text, u16_at, u32_at, u64_at};
use crate::facts::Network;

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
        let neighbours = socket.dump("neighbours", 30, &family(0), |message| neighbour(message.body))?;
        let forwards = socket.dump("entries of bridges", 30, &family(7), |message| forward(message.body))?;
        let routes = routes.into_iter().flatten().collect();
        Ok(Tables { links, addresses, routes, neighbours, forwards })
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

    /// The route that the main table has for an address.
    pub fn route_to(&self, ip: IpAddr) -> Option<&Route> {
        let fits = self.routes.iter().filter(|route| route.table == 254 && route.to.contains(ip));
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
                let _ = (link(&body), address(&body), routes(&body), neighbour(&body), forward(&body));
            }
        }
    }

    #[test]
    fn loopback_is_there() {
        let tables = Tables::read().unwrap();
        assert!(tables.link("lo").is_some());
    }
}
