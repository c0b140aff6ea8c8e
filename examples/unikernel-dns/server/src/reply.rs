//! A reply that is being written, with names compressed.

use crate::name::Name;
use crate::request::{Code, Edns, HEADER, Request};
use crate::zone::{Set, types};

/// What is said of itself by a reply to a request that does: its size on the wire.
const OPT_SIZE: usize = 11;
/// The longest answer by UDP that is sent: it passes any network in one piece.
pub const UDP_SIZE: u16 = 1232;
/// How many places of names are remembered.
const MAX_NAMES: usize = 64;

/// There is no room left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// The parts of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// What was asked for.
    Answer,
    /// Who else answers, or that nobody does.
    Authority,
    /// What helps.
    Additional,
}

/// A reply.
#[derive(Debug)]
pub struct Reply<'a> {
    out: &'a mut [u8],
    at: usize,
    limit: usize,
    counts: [u16; 3],
    names: [u16; MAX_NAMES],
    known: usize,
    edns: Option<Edns>,
    /// Whether the zone says so itself.
    pub authoritative: bool,
    /// Whether something had no room.
    pub truncated: bool,
    /// How it went.
    pub code: Code,
}

/// Where a reply can be taken back to.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    at: usize,
    counts: [u16; 3],
    known: usize,
}

impl<'a> Reply<'a> {
    /// A reply to a question, of at most `limit` bytes.
    ///
    /// # Errors
    /// Not even the question has room.
    pub fn new(request: &Request, limit: usize, out: &'a mut [u8]) -> Result<Reply<'a>, Full> {
        let reserved = if request.edns.is_some() { OPT_SIZE } else { 0 };
        let limit = limit.min(out.len()).checked_sub(reserved).ok_or(Full)?;
        let mut reply = Reply {
            out,
            at: HEADER,
            limit,
            counts: [0; 3],
            names: [0; MAX_NAMES],
            known: 0,
            edns: request.edns,
            authoritative: true,
            truncated: false,
            code: Code::NoError,
        };
        reply.name(request.name.wire())?;
        reply.put(&request.kind.to_be_bytes())?;
        reply.put(&request.class.to_be_bytes())?;
        Ok(reply)
    }

    /// Where it is now.
    pub fn mark(&self) -> Mark {
        Mark { at: self.at, counts: self.counts, known: self.known }
    }

    /// Takes back what was written since.
    pub fn back(&mut self, mark: Mark) {
        (self.at, self.counts, self.known) = (mark.at, mark.counts, mark.known);
    }

    /// Writes all records of a set.
    ///
    /// # Errors
    /// They have no room; then some are written.
    pub fn set(&mut self, section: Section, owner: &Name, set: &Set, ttl: u32) -> Result<(), Full> {
        for data in set.data() {
            self.name(owner.wire())?;
            self.put(&set.kind.to_be_bytes())?;
            self.put(&types::IN.to_be_bytes())?;
            self.put(&ttl.to_be_bytes())?;
            let length_at = self.at;
            self.put(&[0, 0])?;
            self.data(set.kind, data)?;
            let length = (self.at - length_at - 2) as u16;
            self.out[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
            self.counts[section as usize] += 1;
        }
        Ok(())
    }

    /// Writes the header and what the reply says of itself; returns its length.
    pub fn finish(mut self, request: &[u8]) -> usize {
        let mut counts = self.counts;
        if let Some(edns) = self.edns {
            self.limit += OPT_SIZE;
            let [_, high] = (self.code as u16 >> 4).to_be_bytes();
            let dnssec = if edns.dnssec { 0x80 } else { 0 };
            let [a, b] = UDP_SIZE.to_be_bytes();
            // It was kept free for this.
            let written = self.put(&[0, 0, types::OPT as u8, a, b, high, 0, dnssec, 0, 0, 0]);
            counts[2] += u16::from(written.is_ok());
        }
        header(request, self.code, &mut self.out[..HEADER]);
        self.out[2] |= if self.authoritative { 0x04 } else { 0 } | if self.truncated { 0x02 } else { 0 };
        self.out[4..6].copy_from_slice(&1u16.to_be_bytes());
        for (at, count) in [6, 8, 10].into_iter().zip(counts) {
            self.out[at..at + 2].copy_from_slice(&count.to_be_bytes());
        }
        self.at
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Full> {
        let end = self.at + bytes.len();
        if end > self.limit {
            return Err(Full);
        }
        self.out[self.at..end].copy_from_slice(bytes);
        self.at = end;
        Ok(())
    }

    /// The data of a record; names are compressed in the types of RFC 1035, and in no others (RFC 3597).
    fn data(&mut self, kind: u16, data: &[u8]) -> Result<(), Full> {
        match kind {
            types::NS | types::CNAME | types::PTR => self.name(data),
            types::MX => {
                let (preference, name) = data.split_at(2);
                self.put(preference)?;
                self.name(name)
            }
            types::SOA => {
                let (names, numbers) = data.split_at(data.len() - 20);
                let first = Name::read(names).map_or(0, |name| name.wire().len());
                let (server, mailbox) = names.split_at(first);
                self.name(server)?;
                self.name(mailbox)?;
                self.put(numbers)
            }
            _ => self.put(data),
        }
    }

    /// A name, whose end may have been written before.
    fn name(&mut self, name: &[u8]) -> Result<(), Full> {
        let mut rest = name;
        while let Some(length) = rest.first().copied().filter(|length| *length != 0) {
            if let Some(place) = self.find(rest) {
                return self.put(&(0xc000 | place).to_be_bytes());
            }
            // A place is told in 14 bits.
            if self.known < MAX_NAMES && self.at < 0x4000 {
                self.names[self.known] = self.at as u16;
                self.known += 1;
            }
            let (label, behind) = rest.split_at(1 + usize::from(length));
            self.put(label)?;
            rest = behind;
        }
        self.put(&[0])
    }

    /// Where this name was written before.
    fn find(&self, name: &[u8]) -> Option<u16> {
        self.names[..self.known].iter().copied().find(|place| self.is(usize::from(*place), name))
    }

    fn is(&self, mut place: usize, mut name: &[u8]) -> bool {
        loop {
            let length = self.out[place];
            if length >= 0xc0 {
                // Written by `name`: it leads to the front.
                place = usize::from(length & 0x3f) << 8 | usize::from(self.out[place + 1]);
                continue;
            }
            let end = 1 + usize::from(length);
            let written = &self.out[place..place + end];
            if !name.get(..end).is_some_and(|label| label.eq_ignore_ascii_case(written)) {
                return false;
            }
            if length == 0 {
                return true;
            }
            (place, name) = (place + end, &name[end..]);
        }
    }
}

/// A header without counts.
pub fn header(request: &[u8], code: Code, out: &mut [u8]) {
    out.fill(0);
    out[..2].copy_from_slice(&request[..2]);
    // It is an answer; the kind of request and whether recursion was desired are repeated.
    out[2] = 0x80 | (request[2] & 0x79);
    // Whether signatures need no checking is repeated as well.
    out[3] = (request[3] & 0x10) | (code as u16 & 0xf) as u8;
}
