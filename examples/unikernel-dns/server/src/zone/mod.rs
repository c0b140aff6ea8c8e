//! A zone: what a master file (RFC 1035, with $TTL of RFC 2308 and unknown types of RFC 3597) says, checked.
//!
//! [`lexer`] words and entries     [`read`] entries → records     [`data`] what stands behind a type
//! [`check`] what only the whole shows     [`types`] the types
//!
//! One file is one zone: it begins with its SOA record, and everything else is at that name or below it.

mod check;
mod data;
mod lexer;
mod read;
pub mod types;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;

use crate::name::{BadName, Name};

/// The largest file that is read, in bytes.
pub const MAX_FILE: usize = 1 << 20;
/// The most records.
pub const MAX_RECORDS: usize = 20_000;
/// The most bytes of one set: they must fit into one message, with its names.
pub const MAX_SET: usize = 60_000;

/// A zone.
#[derive(Debug)]
pub struct Zone {
    origin: Name,
    key: Box<[u8]>,
    nodes: BTreeMap<Box<[u8]>, Node>,
    records: usize,
}

/// What there is at one name.
#[derive(Debug, Default)]
pub struct Node {
    sets: Vec<Set>,
}

/// The records of one name and type.
#[derive(Debug)]
pub struct Set {
    /// Their type.
    pub kind: u16,
    /// How long an answer may be kept, in seconds.
    pub ttl: u32,
    records: Vec<Record>,
}

#[derive(Debug)]
struct Record {
    data: Box<[u8]>,
    line: u32,
    column: u32,
}

impl Zone {
    /// Reads a file.
    ///
    /// # Errors
    /// The first mistake, with its place.
    pub fn parse(text: &[u8]) -> Result<Zone, ZoneError> {
        let zone = read::read(text)?;
        check::check(&zone)?;
        Ok(zone)
    }

    /// Its name.
    pub fn origin(&self) -> &Name {
        &self.origin
    }

    /// How many records it has.
    pub fn records(&self) -> usize {
        self.records
    }

    /// Its SOA record.
    pub fn soa(&self) -> Option<&Set> {
        self.nodes.get(&self.key)?.set(types::SOA)
    }

    /// Its serial number.
    pub fn serial(&self) -> Option<u32> {
        let data = self.soa()?.data().next()?;
        let numbers = data.len().checked_sub(20)?;
        Some(u32::from_be_bytes(data.get(numbers..numbers + 4)?.try_into().ok()?))
    }

    /// The key of its name.
    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    /// What there is at a name.
    pub(crate) fn node(&self, key: &[u8]) -> Option<&Node> {
        self.nodes.get(key)
    }

    /// Whether there is something at a name or below it.
    pub(crate) fn exists(&self, key: &[u8]) -> bool {
        use core::ops::Bound::{Included, Unbounded};
        let mut behind = self.nodes.range::<[u8], _>((Included(key), Unbounded));
        behind.next().is_some_and(|(found, _)| found.starts_with(key))
    }
}

impl Node {
    /// Its records of one type.
    pub fn set(&self, kind: u16) -> Option<&Set> {
        self.sets.iter().find(|set| set.kind == kind)
    }

    /// All of them.
    pub fn sets(&self) -> &[Set] {
        &self.sets
    }
}

impl Set {
    /// The data of each record, uncompressed.
    pub fn data(&self) -> impl Iterator<Item = &[u8]> {
        self.records.iter().map(|record| &*record.data)
    }
}

/// A mistake in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ZoneError {
    /// From 1.
    pub line: u32,
    /// From 1, in bytes.
    pub column: u32,
    /// What is wrong.
    pub wrong: Wrong,
}

/// What is wrong in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is said in words below")]
pub enum Wrong {
    Large,
    Many(&'static str),
    Unclosed(&'static str),
    Unopened,
    Nested,
    Control,
    Missing(&'static str),
    Expected(&'static str),
    Extra,
    Long(&'static str),
    Name(BadName),
    Directive,
    NoOwner,
    NoTtl,
    Class,
    Type,
    NoSoa,
    SecondSoa,
    Outside,
    NoServer,
    Cname,
    Ttl { line: u32 },
    Twice { line: u32 },
    Below,
    Wildcard,
    LargeSet,
    Loop,
}

impl fmt::Display for ZoneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.wrong)
    }
}

impl core::error::Error for ZoneError {}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wrong::Large => write!(f, "the file is larger than {MAX_FILE} bytes"),
            Wrong::Many(what) => write!(f, "too many {what}"),
            Wrong::Unclosed(what) => write!(f, "this {what} is never closed"),
            Wrong::Unopened => f.write_str("`)` without `(`"),
            Wrong::Nested => f.write_str("`(` within parentheses"),
            Wrong::Control => f.write_str("a control character"),
            Wrong::Missing(what) => write!(f, "here the record ends, and {what} is missing"),
            Wrong::Expected(what) => write!(f, "expected {what}"),
            Wrong::Extra => f.write_str("the record ends before this"),
            Wrong::Long(what) => f.write_str(what),
            Wrong::Name(bad) => f.write_str(bad.why()),
            Wrong::Directive => f.write_str("only $ORIGIN and $TTL are known here"),
            Wrong::NoOwner => f.write_str("the first record has no name"),
            Wrong::NoTtl => f.write_str("the record has no TTL, and there is no $TTL before it"),
            Wrong::Class => f.write_str("only the class IN is served"),
            Wrong::Type => write!(f, "no type of records: {}", types::KNOWN),
            Wrong::NoSoa => f.write_str("the first record of a zone is its SOA"),
            Wrong::SecondSoa => f.write_str("a second SOA: one file is one zone"),
            Wrong::Outside => f.write_str("the name is neither the zone's nor below it"),
            Wrong::NoServer => f.write_str("the zone's name has no NS record"),
            Wrong::Cname => f.write_str("a name with a CNAME has no other record"),
            Wrong::Ttl { line } => write!(f, "another TTL than the same type has in line {line}"),
            Wrong::Twice { line } => write!(f, "the same record stands in line {line}"),
            Wrong::Below => {
                f.write_str("below a name with NS records are only addresses of servers: this would never be answered")
            }
            Wrong::Wildcard => f.write_str("an NS record for `*` has no meaning"),
            Wrong::LargeSet => write!(f, "the records of this name and type have more than {MAX_SET} bytes"),
            Wrong::Loop => f.write_str("this CNAME leads back to itself, or over more than 16 others"),
        }
    }
}
