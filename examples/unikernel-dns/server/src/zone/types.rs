//! The types of records that a zone file may have, and those that only questions have.

/// An address of IPv4.
pub const A: u16 = 1;
/// A server of a zone.
pub const NS: u16 = 2;
/// Another name for the same.
pub const CNAME: u16 = 5;
/// The beginning of a zone.
pub const SOA: u16 = 6;
/// The name for an address.
pub const PTR: u16 = 12;
/// Who takes mail.
pub const MX: u16 = 15;
/// Text.
pub const TXT: u16 = 16;
/// An address of IPv6.
pub const AAAA: u16 = 28;
/// Where a service is.
pub const SRV: u16 = 33;

/// What a request says of itself (EDNS); it is in no zone.
pub const OPT: u16 = 41;
/// A delegation's key, which lies in the zone above: questions for it are answered there.
pub const DS: u16 = 43;
/// A signature of a whole request.
pub const TSIG: u16 = 250;
/// The changes of a zone.
pub const IXFR: u16 = 251;
/// A whole zone.
pub const AXFR: u16 = 252;
/// Mailboxes, of which nobody asks any more.
pub const MAILB: u16 = 253;
/// The same.
pub const MAILA: u16 = 254;
/// Whatever there is.
pub const ANY: u16 = 255;

/// The class of the internet, the only one here.
pub const IN: u16 = 1;
/// Whatever class there is, in questions.
pub const ANY_CLASS: u16 = 255;

const NAMES: [(&str, u16); 9] = [
    ("A", A),
    ("NS", NS),
    ("CNAME", CNAME),
    ("SOA", SOA),
    ("PTR", PTR),
    ("MX", MX),
    ("TXT", TXT),
    ("AAAA", AAAA),
    ("SRV", SRV),
];

/// For errors.
pub const KNOWN: &str = "A, AAAA, CNAME, MX, NS, PTR, SOA, SRV, TXT, and TYPE… with data as \\# LENGTH HEX";

/// A type by its name. The second value says whether its data is written as bytes (`TYPE257`).
pub fn find(name: &[u8]) -> Option<(u16, bool)> {
    if let Some((_, value)) = NAMES.iter().find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name)) {
        return Some((*value, false));
    }
    let (front, digits) = name.split_at_checked(4)?;
    if !front.eq_ignore_ascii_case(b"TYPE") || digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value: u16 = core::str::from_utf8(digits).ok()?.parse().ok()?;
    // Those have a form of their own, or are in no zone.
    let written = NAMES.iter().any(|(_, known)| *known == value);
    (!written && value != OPT && value != 0 && !(128..=255).contains(&value)).then_some((value, true))
}

/// Where in the data of a type the name begins that is looked for next, if it has one.
pub fn name_at(kind: u16) -> Option<usize> {
    match kind {
        NS | CNAME | PTR => Some(0),
        MX => Some(2),
        SRV => Some(6),
        _ => None,
    }
}
