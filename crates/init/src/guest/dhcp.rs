//! Asking for an address: the packets of DHCP (RFC 2131, options of RFC 2132 and 3442), made and read.
//!
//! Discover, offer, request, acknowledgement. Answers are asked for as broadcasts, for the card has no address yet; what
//! comes from the network is believed only when it answers this conversation and this card.

use alloc::string::String;
use alloc::vec::Vec;

use super::address::{Ip, is_mask, usual_mask};

const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Packets have at least this length with old servers.
const LEAST: usize = 300;

mod option {
    pub const MASK: u8 = 1;
    pub const ROUTER: u8 = 3;
    pub const DNS: u8 = 6;
    pub const HOSTNAME: u8 = 12;
    pub const DOMAIN: u8 = 15;
    pub const MTU: u8 = 26;
    pub const WANTED: u8 = 50;
    pub const LEASE: u8 = 51;
    pub const OVERLOAD: u8 = 52;
    pub const KIND: u8 = 53;
    pub const SERVER: u8 = 54;
    pub const LIST: u8 = 55;
    pub const LARGEST: u8 = 57;
    pub const CLIENT: u8 = 61;
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// The card's address.
    pub card: [u8; 6],
    /// What tells this conversation from others.
    pub conversation: u32,
    /// The machine's name, or nothing.
    pub hostname: String,
}

/// What an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An address that can be had.
    Offer,
    /// It is had.
    Granted,
    /// It is not.
    Refused,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What it is.
    pub kind: Kind,
    /// The address.
    pub address: Ip,
    /// Who gives it.
    pub server: Ip,
    /// Its network's mask.
    pub mask: Ip,
    /// The way to everywhere else.
    pub gateway: Option<Ip>,
    /// Who is asked for names; at most three, as `resolv.conf` has them.
    pub dns: Vec<Ip>,
    /// What is put behind short names.
    pub domain: String,
    /// The machine's name.
    pub hostname: String,
    /// Largest packets, when it is said.
    pub mtu: Option<u16>,
    /// Seconds the address may be used.
    pub lease: u32,
}

impl Client {
    /// Who gives addresses?
    pub fn discover(&self) -> Vec<u8> {
        self.packet(1, [0; 4], &[])
    }

    /// That one, please.
    pub fn request(&self, offer: &Answer) -> Vec<u8> {
        self.packet(3, [0; 4], &[(option::WANTED, offer.address), (option::SERVER, offer.server)])
    }

    /// This one for longer: any server may say so.
    pub fn extend(&self, address: Ip) -> Vec<u8> {
        self.packet(3, address, &[])
    }

    fn packet(&self, kind: u8, mine: Ip, more: &[(u8, Ip)]) -> Vec<u8> {
        // A request, over Ethernet, with six bytes of address.
        let mut out = [1, 1, 6, 0].to_vec();
        out.extend_from_slice(&self.conversation.to_be_bytes());
        // No seconds; the answer as a broadcast.
        out.extend_from_slice(&[0, 0, 0x80, 0]);
        out.extend_from_slice(&mine);
        out.extend_from_slice(&[0; 12]);
        out.extend_from_slice(&self.card);
        out.resize(236, 0);
        out.extend_from_slice(&COOKIE);
        out.extend_from_slice(&[option::KIND, 1, kind, option::CLIENT, 7, 1]);
        out.extend_from_slice(&self.card);
        for (code, ip) in more {
            out.extend_from_slice(&[*code, 4]);
            out.extend_from_slice(ip);
        }
        let name = self.hostname.as_bytes();
        if !name.is_empty() && name.len() <= 63 {
            out.extend_from_slice(&[option::HOSTNAME, name.len() as u8]);
            out.extend_from_slice(name);
        }
        out.extend_from_slice(&[option::LARGEST, 2, 5, 220]);
        use option::{DNS, DOMAIN, LEASE, LIST, MASK, MTU, ROUTER};
        out.extend_from_slice(&[LIST, 7, MASK, ROUTER, DNS, DOMAIN, MTU, LEASE, option::HOSTNAME, 255]);
        if out.len() < LEAST {
            out.resize(LEAST, 0);
        }
        out
    }

    /// What a packet says to this client; none when it is not for it, or makes no sense.
    pub fn answer(&self, packet: &[u8]) -> Option<Answer> {
        let for_us = packet.len() >= 240
            && packet[..3] == [2, 1, 6]
            && packet[4..8] == self.conversation.to_be_bytes()
            && packet[28..34] == self.card
            && packet[236..240] == COOKIE;
        if !for_us {
            return None;
        }
        let options = Options::read(packet)?;
        let kind = match options.get(option::KIND)? {
            [2] => Kind::Offer,
            [5] => Kind::Granted,
            [6] => Kind::Refused,
            _ => return None,
        };
        let address: Ip = packet[16..20].try_into().ok()?;
        let usable = !matches!(address[0], 0 | 127 | 224..);
        if kind != Kind::Refused && !usable {
            return None;
        }
        let first = |code| options.ips(code).first().copied();
        Some(Answer {
            kind,
            address,
            server: first(option::SERVER)?,
            mask: first(option::MASK).filter(|m| is_mask(*m)).unwrap_or_else(|| usual_mask(address)),
            gateway: first(option::ROUTER).filter(|ip| *ip != [0; 4]),
            dns: options.ips(option::DNS).into_iter().filter(|ip| *ip != [0; 4]).take(3).collect(),
            domain: options.name(option::DOMAIN),
            hostname: options.name(option::HOSTNAME),
            mtu: options
                .get(option::MTU)
                .and_then(|b| Some(u16::from_be_bytes(b.try_into().ok()?)))
                .filter(|m| *m >= 576),
            lease: options.get(option::LEASE).and_then(|b| b.try_into().ok()).map_or(3600, u32::from_be_bytes).max(60),
        })
    }
}

/// Codes and what they carry; parts of one option are put together.
struct Options(Vec<(u8, Vec<u8>)>);

impl Options {
    fn read(packet: &[u8]) -> Option<Options> {
        let mut all = Options(Vec::new());
        all.add(&packet[240..])?;
        // Options may go on where the names of a file and of a server would be.
        let overload = all.get(option::OVERLOAD).and_then(|b| b.first().copied()).unwrap_or_default();
        if overload & 1 != 0 {
            all.add(&packet[108..236])?;
        }
        if overload & 2 != 0 {
            all.add(&packet[44..108])?;
        }
        Some(all)
    }

    fn add(&mut self, mut bytes: &[u8]) -> Option<()> {
        loop {
            match bytes {
                [] | [255, ..] => return Some(()),
                [0, rest @ ..] => bytes = rest,
                [code, length, rest @ ..] => {
                    let value = rest.get(..usize::from(*length))?;
                    match self.0.iter_mut().find(|(known, _)| known == code) {
                        Some((_, more)) => more.extend_from_slice(value),
                        None => self.0.push((*code, value.to_vec())),
                    }
                    bytes = &rest[value.len()..];
                }
                [_] => return None,
            }
        }
    }

    fn get(&self, code: u8) -> Option<&[u8]> {
        self.0.iter().find(|(known, _)| *known == code).map(|(_, value)| &**value)
    }

    fn ips(&self, code: u8) -> Vec<Ip> {
        let bytes = self.get(code).unwrap_or_default();
        bytes.chunks_exact(4).filter_map(|ip| ip.try_into().ok()).collect()
    }

    /// A name of a host or domain; nothing when it has what names have not.
    fn name(&self, code: u8) -> String {
        let bytes = self.get(code).unwrap_or_default();
        let bytes = bytes.strip_suffix(&[0]).unwrap_or(bytes);
        let good = bytes.len() <= 253 && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(b));
        if good { String::from_utf8_lossy(bytes).into_owned() } else { String::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> Client {
        Client { card: [0x52, 0x54, 0, 1, 2, 3], conversation: 0xdead_beef, hostname: "web".into() }
    }

    /// What a server sends: the fixed part, and these options.
    fn reply(options: &[&[u8]]) -> Vec<u8> {
        let mut packet = client().discover();
        packet[0] = 2;
        packet[16..20].copy_from_slice(&[10, 0, 2, 15]);
        packet.truncate(240);
        options.iter().for_each(|o| packet.extend_from_slice(o));
        packet
    }

    const OFFER: &[u8] = &[53, 1, 2, 54, 4, 10, 0, 2, 2];

    #[test]
    fn questions_are_as_the_rfc_says() {
        let offer = client().answer(&reply(&[OFFER, &[255]])).unwrap();
        for (packet, kind, mine) in [
            (client().discover(), 1, [0; 4]),
            (client().request(&offer), 3, [0; 4]),
            (client().extend([10, 0, 2, 15]), 3, [10, 0, 2, 15]),
        ] {
            assert_eq!(packet[..12], [1, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef, 0, 0, 0x80, 0]);
            assert_eq!(packet[12..16], mine);
            assert_eq!(packet[28..34], client().card);
            assert_eq!(packet[236..243], [99, 130, 83, 99, 53, 1, kind]);
            assert!(packet.len() >= LEAST);
            let options = Options::read(&packet).unwrap();
            assert_eq!(options.name(option::HOSTNAME), "web");
            let wanted = (kind == 3 && mine == [0; 4]).then_some([10, 0, 2, 15]);
            assert_eq!(options.ips(option::WANTED).first().copied(), wanted);
            assert_eq!(options.ips(option::SERVER).first().copied(), wanted.map(|_| [10, 0, 2, 2]));
        }
    }

    #[test]
    fn answers_are_read() {
        let more: &[u8] =
            &[1, 4, 255, 255, 255, 0, 3, 4, 10, 0, 2, 2, 6, 4, 10, 0, 2, 3, 0, 0, 51, 4, 0, 1, 0x51, 0x80];
        // DNS in two parts, a domain, an MTU.
        let rest: &[u8] = &[6, 4, 8, 8, 8, 8, 15, 4, b'l', b'a', b'n', 0, 26, 2, 5, 220, 12, 2, b'a', b'/', 255];
        let answer = client().answer(&reply(&[OFFER, more, rest])).unwrap();
        let wanted = Answer {
            kind: Kind::Offer,
            address: [10, 0, 2, 15],
            server: [10, 0, 2, 2],
            mask: [255, 255, 255, 0],
            gateway: Some([10, 0, 2, 2]),
            dns: [[10, 0, 2, 3], [8, 8, 8, 8]].into(),
            domain: "lan".into(),
            hostname: String::new(),
            mtu: Some(1500),
            lease: 86400,
        };
        assert_eq!(answer, wanted);
        let least = client().answer(&reply(&[OFFER])).unwrap();
        assert_eq!((least.mask, least.gateway, least.lease), ([255, 0, 0, 0], None, 3600));
    }

    #[test]
    fn options_go_on_elsewhere() {
        let mut packet = reply(&[OFFER, &[52, 1, 3, 255]]);
        packet[108..117].copy_from_slice(&[3, 4, 10, 0, 2, 2, 255, 9, 9]);
        packet[44..51].copy_from_slice(&[6, 4, 1, 1, 1, 1, 255]);
        let answer = client().answer(&packet).unwrap();
        assert_eq!((answer.gateway, answer.dns), (Some([10, 0, 2, 2]), [[1, 1, 1, 1]].into()));
    }

    #[test]
    fn what_is_for_others_or_broken_is_not_heard() {
        let good = reply(&[OFFER, &[255]]);
        assert!(client().answer(&good).is_some());
        for (at, byte) in [(0, 1), (1, 9), (2, 16), (4, 0), (28, 0), (236, 0), (242, 9), (16, 127), (16, 0), (16, 255)]
        {
            let mut bad = good.clone();
            bad[at] = byte;
            assert_eq!(client().answer(&bad), None, "{at}");
        }
        for end in 0..good.len() {
            // Without its last byte, which only ends the options, it is whole.
            assert!(client().answer(&good[..end]).is_none() || end >= good.len() - 1, "{end}");
        }
        // Without a server, and with an option that claims more than there is.
        assert_eq!(client().answer(&reply(&[&[53, 1, 2, 255]])), None);
        assert_eq!(client().answer(&reply(&[OFFER, &[6, 200, 1]])), None);
        // A mask with holes is not believed.
        let holes = client().answer(&reply(&[OFFER, &[1, 4, 255, 0, 255, 0, 255]])).unwrap();
        assert_eq!(holes.mask, [255, 0, 0, 0]);
    }
}
