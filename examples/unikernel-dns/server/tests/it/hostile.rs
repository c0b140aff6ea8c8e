//! Packets of strangers: whatever comes, what goes out is a message, as long as it may be, or nothing.

use dns_server::answer::Via;
use dns_server::zone::Zone;

use crate::decode::Message;
use crate::{ZONE, ask, request, with_edns, zone};

/// The code of the answer, if there is one.
fn code(packet: &[u8]) -> Option<u16> {
    let bytes = ask(&zone(), packet, Via::Udp)?;
    Some(Message::read(&bytes).unwrap().code())
}

const FORMERR: Option<u16> = Some(1);

#[test]
fn what_is_no_request_has_no_answer() {
    let whole = request("www.example.org", 1);
    for length in 0..12 {
        assert_eq!(code(&whole[..length]), None);
    }
    let mut answer = whole;
    answer[2] |= 0x80;
    assert_eq!(code(&answer), None);
}

#[test]
fn what_is_cut_off_or_longer_makes_no_sense() {
    let whole = with_edns(request("www.example.org", 1), 1232);
    for length in 12..whole.len() {
        assert_eq!(code(&whole[..length]), FORMERR, "{length}");
    }
    assert_eq!(code(&whole), Some(0));
    assert_eq!(code(&[&whole[..], &[0]].concat()), FORMERR);
}

#[test]
fn names_that_lead_somewhere_else_are_not_followed() {
    let with_name = |name: &[u8]| [&request("", 1)[..12], name, &[0, 1, 0, 1]].concat();
    assert_eq!(code(&with_name(b"\x07example\x03org\x00")), Some(0));
    // To itself, to the header, forwards; labels that are too long, or of a kind that does not exist.
    for name in [&b"\xc0\x0c"[..], b"\xc0\x00", b"\xc0\xff", b"\x01a\xc0\x0c", b"\x40", b"\x80a\x00", b"\x3fa\x00"] {
        assert_eq!(code(&with_name(name)), FORMERR, "{name:?}");
    }
    let label = [&[63][..], &[b'a'; 63]].concat();
    let longest = [&label.repeat(3)[..], &[61], &[b'a'; 61], &[0]].concat();
    assert_eq!((longest.len(), code(&with_name(&longest))), (255, Some(5)));
    assert_eq!(code(&with_name(&[&label.repeat(4)[..], &[0]].concat())), FORMERR);
    assert_eq!(code(&with_name(&[&label.repeat(3)[..], &[62], &[b'a'; 62], &[0]].concat())), FORMERR);
}

#[test]
fn counts_and_kinds() {
    let whole = request("www.example.org", 1);
    let with = |at: usize, value: u8| {
        let mut packet = whole.clone();
        packet[at] = value;
        code(&packet)
    };
    assert_eq!(with(5, 0), FORMERR);
    assert_eq!(with(5, 2), FORMERR);
    assert_eq!(with(7, 1), FORMERR);
    assert_eq!(with(10, 255), FORMERR);
    // A request for changes, which says from which ones on.
    assert_eq!(with(9, 1), Some(5));
    for kind in 1..16 {
        assert_eq!(with(2, kind << 3), Some(4), "{kind}");
    }
    for (kind, wanted) in [(0, 1), (41, 1), (250, 4), (251, 5), (252, 5), (253, 4), (254, 4)] {
        assert_eq!(code(&request("www.example.org", kind)), Some(wanted), "{kind}");
    }
}

#[test]
fn what_requests_say_of_themselves_twice_or_wrongly() {
    let plain = request("www.example.org", 1);
    let more = |count: u8, records: &[u8]| {
        let mut packet = plain.clone();
        packet[11] = count;
        packet.extend_from_slice(records);
        code(&packet)
    };
    let opt = [0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0];
    assert_eq!(more(1, &opt), Some(0));
    assert_eq!(more(2, &opt.repeat(2)), FORMERR);
    assert_eq!(more(1, &[1, b'a', 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]), FORMERR);
    // Options that are not known, a length that is too great, and a compressed name of some other record.
    assert_eq!(more(1, &[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 4, 0, 10, 0, 0]), Some(0));
    assert_eq!(more(1, &[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 9, 0, 10, 0, 0]), FORMERR);
    assert_eq!(more(1, &[0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0]), Some(0));
    assert_eq!(more(1, &[0xc0]), FORMERR);
    // A signature.
    assert_eq!(more(1, &[0, 0, 250, 0, 255, 0, 0, 0, 0, 0, 0]), Some(9));
}

/// Numbers that look random and are the same each time (xorshift).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).unwrap()
    }
}

/// `DNS_SERVER_RANDOM=10000000` makes them long.
fn rounds() -> u64 {
    std::env::var("DNS_SERVER_RANDOM").map_or(100_000, |text| text.parse().unwrap())
}

#[test]
fn packets_at_random() {
    let (zone, mut numbers) = (zone(), Numbers(0x9e37_79b9_7f4a_7c15));
    let names = ["www", "a.wild", "x.sub", "", "nobody", "deep.there.wild", "tosub", "any.alias"];
    let seeds: Vec<Vec<u8>> = names
        .iter()
        .flat_map(|name| [1, 2, 5, 6, 15, 16, 28, 43, 255].map(|kind| request(&format!("{name}.example.org"), kind)))
        .flat_map(|plain| [with_edns(plain.clone(), 1232), plain])
        .collect();
    let mut answered = 0;
    for round in 0..rounds() {
        let mut packet = seeds[numbers.below(seeds.len())].clone();
        for _ in 0..numbers.below(6) {
            let at = numbers.below(packet.len());
            match numbers.below(5) {
                0 => packet[at] = numbers.next() as u8,
                1 => packet[at] ^= 1 << numbers.below(8),
                2 => packet.truncate(at),
                3 => packet.insert(at, [0, 0xc0, 0x0c, 0x3f, 0xff][numbers.below(5)]),
                _ => drop((!packet.is_empty()).then(|| packet.remove(at))),
            }
            if packet.is_empty() {
                packet.push(0);
            }
        }
        let via = if numbers.below(2) == 0 { Via::Udp } else { Via::Tcp };
        let Some(bytes) = ask(&zone, &packet, via) else { continue };
        answered += 1;
        assert!(bytes.len() <= if via == Via::Udp { 1232 } else { 65535 }, "round {round}");
        assert_eq!((bytes[2] & 0x80, &bytes[..2]), (0x80, &packet[..2]), "round {round}");
        // The class of a question may be another one, of which the reader of these tests knows nothing.
        if bytes[3] & 0xf != 5 && bytes[3] & 0xf != 4 && !any_class(&bytes) {
            Message::read(&bytes).unwrap_or_else(|why| panic!("round {round}: {why}: {packet:02x?} → {bytes:02x?}"));
        }
    }
    assert!(answered > rounds() / 2, "{answered}");
}

fn any_class(bytes: &[u8]) -> bool {
    let Some(end) = bytes.get(12..).and_then(|name| name.iter().position(|byte| *byte == 0)) else { return false };
    bytes.get(12 + end + 3..12 + end + 5) != Some(&[0, 1])
}

#[test]
fn zones_at_random() {
    let mut numbers = Numbers(0x1234_5678_9abc_def1);
    let pieces: [&[u8]; 14] =
        [b"(", b")", b"\"", b"\\", b"\n", b"\r", b"@", b"*.", b"CNAME", b"NS", b" 60 ", b"\\300", b"$ORIGIN ", b"\xff"];
    let mut right = 0;
    for _ in 0..rounds() / 20 {
        let mut text = ZONE.as_bytes().to_vec();
        for _ in 0..=numbers.below(4) {
            let at = numbers.below(text.len());
            match numbers.below(4) {
                0 => text[at] = numbers.next() as u8,
                1 => text.truncate(text.len() - numbers.below(40).min(text.len() - 1)),
                2 => drop(text.splice(at..at, pieces[numbers.below(pieces.len())].iter().copied())),
                _ => drop(text.drain(at..(at + numbers.below(30)).min(text.len() - 1).max(at))),
            }
        }
        match Zone::parse(&text) {
            Err(error) => {
                let lines = text.split(|byte| *byte == b'\n').count();
                assert!((1..=lines).contains(&(error.line as usize)) && error.column > 0, "{error}");
            }
            Ok(zone) => {
                right += 1;
                for name in ["www.example.org", "a.wild.example.org", "x.sub.example.org"] {
                    let bytes = ask(&zone, &request(name, 1), Via::Udp).unwrap();
                    Message::read(&bytes).unwrap();
                }
            }
        }
    }
    assert!(right > 0);
}
