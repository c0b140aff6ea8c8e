//! Generic netlink: features of network devices (linux/ethtool_netlink.h), services of IPVS (linux/ip_vs.h).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use rustix::net::netlink::GENERIC;
use serde::{Deserialize, Serialize};

use super::services::destination;
use super::{NetlinkError, Socket, array, attribute, attributes, text, u16_at};

/// How long it may take to ask for the destinations of services: some ten thousand are asked for in a second.
const PATIENCE: Duration = Duration::from_secs(3);

/// A service of IPVS and where it leads.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub struct VirtualService {
    /// 6 TCP, 17 UDP, 132 SCTP.
    pub protocol: u16,
    /// Its address.
    pub ip: IpAddr,
    /// Its port.
    pub port: u16,
    /// Addresses and ports of those behind it.
    pub destinations: Vec<(IpAddr, u16)>,
}

/// A socket for one family.
struct Family {
    socket: Socket,
    id: u16,
}

/// Nothing when the kernel does not have that family.
fn family(what: &'static str, name: &str) -> Result<Option<Family>, NetlinkError> {
    let mut socket = Socket::open(what, Some(GENERIC))?;
    let ask = [&[3, 1, 0, 0][..], &attribute(2, &[name.as_bytes(), &[0]].concat())].concat();
    let answers = match socket.get(what, 0x10, &ask) {
        Err(NetlinkError::Refused { errno: rustix::io::Errno::NOENT, .. }) => return Ok(None),
        answers => answers?,
    };
    let id = answers.iter().flat_map(|body| attributes(body.get(4..).unwrap_or_default())).find(|(kind, _)| *kind == 1);
    Ok(id.map(|(_, value)| Family { socket, id: u16_at(value, 0) }))
}

/// The features that a device has switched on, by ethtool's names: `tx-checksum-ip-generic`.
///
/// # Errors
/// When the kernel refuses; kernels before 5.6 cannot say.
pub fn features(device: &str) -> Result<Option<Vec<String>>, NetlinkError> {
    let what = "features of devices";
    let Some(mut family) = family(what, "ethtool")? else { return Ok(None) };
    let name = attribute(2, &[device.as_bytes(), &[0]].concat());
    let ask = [&[11, 1, 0, 0][..], &attribute(1 | 0x8000, &name)].concat();
    let answers = match family.socket.get(what, family.id, &ask) {
        Err(NetlinkError::Refused { errno: rustix::io::Errno::OPNOTSUPP, .. }) => return Ok(None),
        answers => answers?,
    };
    let active = |body: &[u8]| -> Vec<String> {
        let sets = attributes(body.get(4..).unwrap_or_default()).filter(|(kind, _)| *kind == 4);
        sets.flat_map(|(_, set)| bits(set)).collect()
    };
    Ok(Some(answers.iter().flat_map(|body| active(body)).collect()))
}

/// Switches a feature of a device on or off.
///
/// # Errors
/// When the kernel refuses: it has no such device or feature, or is older than 5.6.
pub fn set_feature(device: &str, feature: &str, on: bool) -> Result<(), NetlinkError> {
    let what = "a feature of a device";
    let refused = NetlinkError::Refused { what, errno: rustix::io::Errno::OPNOTSUPP };
    let Some(mut family) = family(what, "ethtool")? else { return Err(refused) };
    let named = |kind: u16, text: &str| attribute(kind, &[text.as_bytes(), &[0]].concat());
    let mut bit = named(2, feature);
    if on {
        bit.extend(attribute(3, &[]));
    }
    // Bits that are not listed stay as they are.
    let bits = attribute(3 | 0x8000, &attribute(1 | 0x8000, &bit));
    let header = attribute(1 | 0x8000, &named(2, device));
    let ask = [&[12, 1, 0, 0][..], &header, &attribute(3 | 0x8000, &bits)].concat();
    family.socket.get(what, family.id, &ask).map(|_| ())
}

/// The names in a set of bits that lists those that are set.
fn bits(set: &[u8]) -> Vec<String> {
    let lists = attributes(set).filter(|(kind, _)| *kind == 3);
    let entries = lists.flat_map(|(_, list)| attributes(list));
    entries.flat_map(|(_, bit)| attributes(bit)).filter(|(kind, _)| *kind == 2).map(|(_, name)| text(name)).collect()
}

/// The services of IPVS, and of how many of them, from the first on, it is known where they lead; nothing when the kernel has
/// no IPVS.
///
/// # Errors
/// When the kernel refuses.
pub fn virtual_services() -> Result<(Vec<VirtualService>, usize), NetlinkError> {
    let what = "services of IPVS";
    let Some(mut family) = family(what, "IPVS")? else { return Ok((Vec::new(), 0)) };
    let mut out = family.socket.dump(what, family.id, &[4, 1, 0, 0], |message| service(message.body))?;
    let start = Instant::now();
    let known = ask_each(&mut out, || start.elapsed() < PATIENCE, |service| destinations(&mut family, service))?;
    Ok((out, known))
}

/// Asks where services lead for as long as there is time; of how many that is known.
fn ask_each(
    services: &mut [VirtualService],
    in_time: impl Fn() -> bool,
    mut ask: impl FnMut(&VirtualService) -> Result<Vec<(IpAddr, u16)>, NetlinkError>,
) -> Result<usize, NetlinkError> {
    for (known, service) in services.iter_mut().enumerate() {
        if !in_time() {
            return Ok(known);
        }
        service.destinations = match ask(service) {
            // It went away meanwhile.
            Err(NetlinkError::Refused { errno: rustix::io::Errno::SRCH, .. }) => Vec::new(),
            found => found?,
        };
    }
    Ok(services.len())
}

fn destinations(family: &mut Family, service: &VirtualService) -> Result<Vec<(IpAddr, u16)>, NetlinkError> {
    let (number, address) = match service.ip {
        IpAddr::V4(ip) => (2u16, [ip.octets().as_slice(), &[0; 12]].concat()),
        IpAddr::V6(ip) => (10, ip.octets().to_vec()),
    };
    let parts = [
        attribute(1, &number.to_ne_bytes()),
        attribute(2, &service.protocol.to_ne_bytes()),
        attribute(3, &address),
        attribute(4, &service.port.to_be_bytes()),
    ];
    let ask = [&[8, 1, 0, 0][..], &attribute(1 | 0x8000, &parts.concat())].concat();
    family.socket.dump("services of IPVS", family.id, &ask, |message| destination(message.body, number))
}

fn service(body: &[u8]) -> Option<VirtualService> {
    let (_, inner) = attributes(body.get(4..)?).find(|(kind, _)| *kind == 1)?;
    let (mut family, mut protocol, mut address, mut port) = (0, 0, None, 0);
    for (kind, value) in attributes(inner) {
        match kind {
            1 => family = u16_at(value, 0),
            2 => protocol = u16_at(value, 0),
            3 => address = Some(value),
            4 => port = u16::from_be_bytes(array(value)),
            _ => {}
        }
    }
    let ip = match family {
        2 => IpAddr::V4(Ipv4Addr::from(array::<4>(address?))),
        10 => IpAddr::V6(Ipv6Addr::from(array::<16>(address?))),
        _ => return None,
    };
    Some(VirtualService { protocol, ip, port, destinations: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_of_loopback_have_names() {
        let found = features("lo").unwrap();
        assert!(found.is_none_or(|names| names.iter().any(|name| name == "loopback")));
    }

    #[test]
    fn services_are_asked_for_as_long_as_there_is_time_and_how_many_is_known() {
        let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let mut services: Vec<VirtualService> =
            (0..5000).map(|port| VirtualService { protocol: 6, ip, port, destinations: Vec::new() }).collect();
        let one = |service: &VirtualService| match service.port {
            7 => Err(NetlinkError::Refused { what: "x", errno: rustix::io::Errno::SRCH }),
            port => Ok(vec![(ip, port)]),
        };
        assert_eq!(ask_each(&mut services, || true, one).unwrap(), 5000);
        assert!(services[7].destinations.is_empty());
        assert_eq!(services[4999].destinations, [(ip, 4999)]);
        let looks = std::cell::Cell::new(0);
        let three = || looks.replace(looks.get() + 1) < 3;
        assert_eq!(ask_each(&mut services, three, one).unwrap(), 3);
        let refused = |_: &VirtualService| Err(NetlinkError::Refused { what: "x", errno: rustix::io::Errno::PERM });
        assert!(ask_each(&mut services, || true, refused).is_err());
    }

    #[test]
    fn a_service_is_read_and_garbage_is_none() {
        let parts = [
            attribute(1, &2u16.to_ne_bytes()),
            attribute(2, &6u16.to_ne_bytes()),
            attribute(3, &[[10, 96, 0, 1].as_slice(), &[0; 12]].concat()),
            attribute(4, &443u16.to_be_bytes()),
        ];
        let body = [&[4, 1, 0, 0][..], &attribute(1, &parts.concat())].concat();
        let ip = IpAddr::V4(Ipv4Addr::new(10, 96, 0, 1));
        let wanted = VirtualService { protocol: 6, ip, port: 443, destinations: Vec::new() };
        assert_eq!(service(&body), Some(wanted));
        for length in 0..body.len() {
            let _ = service(&body[..length]);
        }
        assert_eq!(service(&[255; 30]), None);
    }
}
