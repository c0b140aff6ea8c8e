//! What somebody asks.

use crate::name::Name;
use crate::zone::types;

/// Answers' codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Code {
    /// Answered.
    NoError = 0,
    /// The request makes no sense.
    FormErr = 1,
    /// There is no such name.
    NxDomain = 3,
    /// No such kind of request is answered.
    NotImp = 4,
    /// Not by this server.
    Refused = 5,
    /// A signature that cannot be checked.
    NotAuth = 9,
    /// A newer EDNS than is known.
    BadVers = 16,
}

/// A request with one question.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// The name asked for, in the letters that it was asked in.
    pub name: Name,
    /// The type asked for.
    pub kind: u16,
    /// The class.
    pub class: u16,
    /// What the request says of itself.
    pub edns: Option<Edns>,
}

/// EDNS (RFC 6891).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edns {
    /// The longest answer that the asker takes by UDP.
    pub size: u16,
    /// Of which only 0 is known.
    pub version: u8,
    /// Whether it would like signatures; of which there are none here.
    pub dnssec: bool,
}

/// Why something is not answered as asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bad {
    /// It is no request: an answer to it would be an attack on somebody.
    Silent,
    /// It gets this code, and nothing else.
    Code(Code),
}

/// The length of a header.
pub const HEADER: usize = 12;

impl Request {
    /// Reads a packet.
    ///
    /// # Errors
    /// How to answer it instead.
    pub fn read(packet: &[u8]) -> Result<Request, Bad> {
        let header: &[u8; HEADER] = packet.first_chunk().ok_or(Bad::Silent)?;
        if header[2] & 0x80 != 0 {
            return Err(Bad::Silent);
        }
        if header[2] & 0x78 != 0 {
            return Err(Bad::Code(Code::NotImp));
        }
        let malformed = Bad::Code(Code::FormErr);
        let count = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        if (count(4), count(6), count(8)) != (1, 0, 0) {
            // A request for changes says from which ones on.
            let changes = (count(4), count(6), count(8)) == (1, 0, 1);
            return Err(if changes { Bad::Code(Code::Refused) } else { malformed });
        }
        let name = Name::read(&packet[HEADER..]).ok_or(malformed)?;
        let mut rest = packet.get(HEADER + name.wire().len()..).ok_or(malformed)?;
        let kind = short(&mut rest).ok_or(malformed)?;
        let class = short(&mut rest).ok_or(malformed)?;
        let mut request = Request { name, kind, class, edns: None };
        for _ in 0..count(10) {
            let record = record(&mut rest).ok_or(malformed)?;
            match record.kind {
                types::OPT if !record.root || request.edns.is_some() => return Err(malformed),
                types::OPT => request.edns = Some(record.edns()),
                types::TSIG => return Err(Bad::Code(Code::NotAuth)),
                _ => {}
            }
        }
        if !rest.is_empty() || kind == types::OPT || kind == 0 {
            return Err(malformed);
        }
        Ok(request)
    }
}

/// A record behind the question.
struct Record {
    root: bool,
    kind: u16,
    class: u16,
    ttl: u32,
}

impl Record {
    fn edns(&self) -> Edns {
        let [_, version, flags, _] = self.ttl.to_be_bytes();
        Edns { size: self.class, version, dnssec: flags & 0x80 != 0 }
    }
}

fn record(rest: &mut &[u8]) -> Option<Record> {
    let root = rest.first() == Some(&0);
    skip_name(rest)?;
    let (kind, class) = (short(rest)?, short(rest)?);
    let ttl = (u32::from(short(rest)?) << 16) | u32::from(short(rest)?);
    let length = short(rest)?;
    *rest = rest.get(usize::from(length)..)?;
    Some(Record { root, kind, class, ttl })
}

/// Steps over a name. Where a compressed one goes on does not matter.
fn skip_name(rest: &mut &[u8]) -> Option<()> {
    loop {
        let length = *rest.first()?;
        match length >> 6 {
            0 => *rest = rest.get(1 + usize::from(length)..)?,
            3 => {
                *rest = rest.get(2..)?;
                return Some(());
            }
            _ => return None,
        }
        if length == 0 {
            return Some(());
        }
    }
}

fn short(rest: &mut &[u8]) -> Option<u16> {
    let (value, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(u16::from_be_bytes(*value))
}
