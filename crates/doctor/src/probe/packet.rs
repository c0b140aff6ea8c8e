//! The bytes of probes: IPv4 (RFC 791), UDP (RFC 768), VXLAN (RFC 7348), IP in IP (RFC 2003). Nothing here sends them.

use std::net::Ipv4Addr;

use super::{Kind, Mark, Probe, SMALLEST};

const UDP: u8 = 17;
const IPIP: u8 = 4;
/// "Discard": what comes there is thrown away.
const PORT: u16 = 9;
/// Addresses of Ethernet and the type of what is in it.
const ETHERNET: usize = 14;
const VXLAN: usize = 8;
/// IPv4 without options.
const IP: usize = 20;
const UDP_HEADER: usize = 8;
/// Do not fragment.
const DF: u16 = 0x4000;

/// Where a packet was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// At the host, as it came.
    Arrived,
    /// As what was in it.
    Unpacked,
}

/// One packet, with what is around it; `size` is that of the inner packet.
pub fn write(probe: &Probe, mark: &Mark, size: u16) -> Vec<u8> {
    let size = size.max(SMALLEST);
    let mut payload = mark.to_vec();
    payload.extend(size.to_be_bytes());
    payload.resize(usize::from(size) - IP - UDP_HEADER, 0);
    let inner = ip(UDP, probe.from, probe.to, &udp(PORT, &payload));
    match &probe.kind {
        Kind::Plain => inner,
        Kind::Ipip { hosts } => ip(IPIP, hosts.0, hosts.1, &inner),
        Kind::Vxlan { hosts, port, vni, macs } => {
            // Flag I, then 24 bits each: reserved, VNI.
            let mut out = vec![8, 0, 0, 0];
            out.extend((vni << 8).to_be_bytes());
            out.extend(macs.1.0);
            out.extend(macs.0.0);
            out.extend([8, 0]);
            out.extend(inner);
            ip(UDP, hosts.0, hosts.1, &udp(*port, &out))
        }
    }
}

fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(UDP_HEADER + payload.len()).unwrap_or(u16::MAX);
    let mut out = Vec::with_capacity(usize::from(length));
    // A port as VXLAN takes them. No checksum: IPv4 allows it.
    for word in [49_152u16, port, length, 0] {
        out.extend(word.to_be_bytes());
    }
    out.extend(payload);
    out
}

fn ip(protocol: u8, from: Ipv4Addr, to: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(IP + payload.len()).unwrap_or(u16::MAX);
    let mut out = vec![0x45, 0];
    out.extend(length.to_be_bytes());
    out.extend([0, 0]);
    out.extend(DF.to_be_bytes());
    out.extend([64, protocol, 0, 0]);
    out.extend(from.octets());
    out.extend(to.octets());
    let sum = checksum(&out);
    for (to, from) in out.iter_mut().skip(10).zip(sum.to_be_bytes()) {
        *to = from;
    }
    out.extend(payload);
    out
}

/// RFC 1071.
fn checksum(header: &[u8]) -> u16 {
    let words = header.chunks(2).map(|pair| {
        let at = |index: usize| u32::from(pair.get(index).copied().unwrap_or(0));
        (at(0) << 8) | at(1)
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

/// Whether a packet, from its IP header on, is one of the probe's: its size, and where it was seen.
pub fn read(packet: &[u8], probe: &Probe, mark: &Mark) -> Option<(u16, Seen)> {
    if let Some(size) = inner(packet, probe, mark) {
        return Some((size, Seen::Unpacked));
    }
    let outer = Packet::read(packet)?;
    let inside = match &probe.kind {
        Kind::Plain => return None,
        Kind::Ipip { hosts } if outer.protocol == IPIP && outer.to == hosts.1 => outer.payload,
        Kind::Vxlan { hosts, port, .. }
            if outer.protocol == UDP && outer.to == hosts.1 && destination(outer.payload) == Some(*port) =>
        {
            outer.payload.get(UDP_HEADER + VXLAN + ETHERNET..)?
        }
        _ => return None,
    };
    Some((inner(inside, probe, mark)?, Seen::Arrived))
}

/// The size of the probe that a packet is.
fn inner(packet: &[u8], probe: &Probe, mark: &Mark) -> Option<u16> {
    let packet = Packet::read(packet)?;
    let wanted = packet.protocol == UDP && packet.to == probe.to && destination(packet.payload) == Some(PORT);
    let payload = packet.payload.get(UDP_HEADER..).filter(|_| wanted)?;
    let number = payload.strip_prefix(mark.as_slice())?;
    let size = u16::from_be_bytes([*number.first()?, *number.get(1)?]);
    // One that was cut on its way is not the one that was sent.
    (size == packet.length).then_some(size)
}

/// The port a packet of UDP is for.
fn destination(udp: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes([*udp.get(2)?, *udp.get(3)?]))
}

struct Packet<'a> {
    protocol: u8,
    to: Ipv4Addr,
    /// With the header, as it says itself: what was read may be less.
    length: u16,
    payload: &'a [u8],
}

impl Packet<'_> {
    /// A whole packet of IPv4; nothing for others, and for pieces.
    fn read(bytes: &[u8]) -> Option<Packet<'_>> {
        let first = *bytes.first()?;
        let header = usize::from(first & 15) * 4;
        let pieces = u16::from_be_bytes([*bytes.get(6)?, *bytes.get(7)?]) & 0x3fff != 0;
        if first >> 4 != 4 || header < IP || pieces {
            return None;
        }
        let [a, b, c, d] = *bytes.get(16..20)? else { return None };
        Some(Packet {
            protocol: *bytes.get(9)?,
            to: Ipv4Addr::new(a, b, c, d),
            length: u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]),
            payload: bytes.get(header..)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::route::Mac;

    const MARK: Mark = *b"sixteen bytes ok";

    fn probes() -> [Probe; 3] {
        let hosts = (Ipv4Addr::new(192, 168, 77, 10), Ipv4Addr::new(192, 168, 77, 11));
        let vxlan = Kind::Vxlan { hosts, port: 8472, vni: 0xabcdef, macs: (Mac([1; 6]), Mac([2; 6])) };
        [vxlan, Kind::Ipip { hosts }, Kind::Plain].map(|kind| Probe {
            kind,
            from: Ipv4Addr::new(10, 244, 0, 0),
            to: Ipv4Addr::new(10, 244, 1, 0),
            mtu: 1450,
        })
    }

    #[test]
    fn what_is_written_is_read() {
        for (probe, around) in probes().into_iter().zip([50, 20, 0]) {
            for size in [0, SMALLEST, 1450] {
                let bytes = write(&probe, &MARK, size);
                assert_eq!(bytes.len(), usize::from(size.max(SMALLEST)) + around);
                let inside = &bytes[around..];
                assert_eq!(read(inside, &probe, &MARK), Some((size.max(SMALLEST), Seen::Unpacked)));
                let arrived = if around == 0 { Seen::Unpacked } else { Seen::Arrived };
                assert_eq!(read(&bytes, &probe, &MARK), Some((size.max(SMALLEST), arrived)));
                assert_eq!(read(&bytes, &probe, &[0; 16]), None);
                assert_eq!(read(&bytes, &probe.back(), &MARK), None);
            }
        }
    }

    #[test]
    fn a_header_as_others_write_it() {
        let bytes = write(&probes()[0], &MARK, 64);
        assert_eq!(&bytes[..12], [0x45, 0, 0, 114, 0, 0, 0x40, 0, 64, 17, bytes[10], bytes[11]]);
        assert_eq!(checksum(&bytes[..20]), 0, "a header with its checksum sums up to nothing");
        assert_eq!(&bytes[20..28], [0xc0, 0, 0x21, 0x18, 0, 94, 0, 0]);
        assert_eq!(&bytes[28..36], [8, 0, 0, 0, 0xab, 0xcd, 0xef, 0]);
    }

    #[test]
    fn garbage_and_pieces_are_none() {
        for probe in probes() {
            let good = write(&probe, &MARK, 64);
            for length in 0..good.len().min(100) {
                let _ = read(&good[..length], &probe, &MARK);
            }
            let mut piece = good.clone();
            piece[6] = 0x20;
            assert_eq!(read(&piece, &probe, &MARK), None);
            for bad in [&[0x4f; 24][..], &[0x45; 20], &[0xff; 90], &[]] {
                assert_eq!(read(bad, &probe, &MARK), None);
            }
        }
    }
}
