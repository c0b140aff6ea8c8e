//! Entries → records, in the places where questions find them.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::data::{self, Words};
use super::lexer::{Entry, Lexer, Place, Token};
use super::{MAX_FILE, MAX_RECORDS, MAX_SET, Node, Record, Set, Wrong, Zone, ZoneError, types};
use crate::name::Name;

/// What the entries so far say about the next one.
#[derive(Default)]
struct State {
    origin: Option<Name>,
    owner: Option<Name>,
    default_ttl: Option<u32>,
    last_ttl: Option<u32>,
    zone: Option<Zone>,
}

/// Reads a whole file.
pub(super) fn read(text: &[u8]) -> Result<Zone, ZoneError> {
    let start = Place { line: 1, column: 1 };
    if text.len() > MAX_FILE {
        return Err(start.error(Wrong::Large));
    }
    let mut lexer = Lexer::new(text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text));
    let mut state = State::default();
    while let Some(entry) = lexer.entry()? {
        state.entry(&entry)?;
    }
    state.zone.ok_or(start.error(Wrong::NoSoa))
}

impl State {
    fn entry(&mut self, entry: &Entry<'_>) -> Result<(), ZoneError> {
        let Some(first) = entry.tokens.first() else { return Ok(()) };
        if first.text.starts_with(b"$") && !first.quoted && !entry.indented {
            return self.directive(entry, first);
        }
        let rest = if entry.indented { &entry.tokens[..] } else { &entry.tokens[1..] };
        if !entry.indented {
            self.owner = Some(first.name(self.origin.as_ref())?);
        }
        let owner = self.owner.ok_or(first.place.error(Wrong::NoOwner))?;
        self.record(&owner, first.place, rest, entry.end)
    }

    fn directive(&mut self, entry: &Entry<'_>, first: &Token<'_>) -> Result<(), ZoneError> {
        let [_, value, more @ ..] = &entry.tokens[..] else {
            return Err(entry.end.error(Wrong::Missing("its value")));
        };
        if let Some(more) = more.first() {
            return Err(more.place.error(Wrong::Extra));
        }
        if first.text.eq_ignore_ascii_case(b"$ORIGIN") {
            self.origin = Some(value.name(self.origin.as_ref())?);
        } else if first.text.eq_ignore_ascii_case(b"$TTL") {
            let ttl = data::seconds(value.text).ok_or(value.place.error(Wrong::Expected("a time, as 3600 or 1h")))?;
            self.default_ttl = Some(ttl);
        } else {
            return Err(first.place.error(Wrong::Directive));
        }
        Ok(())
    }

    /// `[TTL] [IN] TYPE DATA`, or with the first two turned around.
    fn record(&mut self, owner: &Name, place: Place, mut tokens: &[Token<'_>], end: Place) -> Result<(), ZoneError> {
        let (mut ttl, mut class) = (None, false);
        let (kind, generic) = loop {
            let (token, rest) = tokens.split_first().ok_or(end.error(Wrong::Missing("a type")))?;
            tokens = rest;
            if let (None, Some(seconds)) = (ttl, data::seconds(token.text)) {
                ttl = Some(seconds);
            } else if !class && token.text.eq_ignore_ascii_case(b"IN") {
                class = true;
            } else if [&b"CH"[..], b"HS", b"CS"].iter().any(|other| token.text.eq_ignore_ascii_case(other)) {
                return Err(token.place.error(Wrong::Class));
            } else {
                break types::find(token.text).ok_or(token.place.error(Wrong::Type))?;
            }
        };
        self.last_ttl = ttl.or(self.default_ttl).or(self.last_ttl);
        let ttl = self.last_ttl.ok_or(end.error(Wrong::NoTtl))?;
        let mut words = Words { tokens, end, origin: self.origin.as_ref() };
        let data = data::read(kind, generic, &mut words)?;
        let record = Record { data, line: place.line, column: place.column };
        let zone = match &mut self.zone {
            Some(_) if kind == types::SOA => return Err(place.error(Wrong::SecondSoa)),
            Some(zone) => zone,
            None if kind == types::SOA => self.zone.insert(Zone::at(owner)),
            None => return Err(place.error(Wrong::NoSoa)),
        };
        zone.add(owner, place, Set { kind, ttl, records: Vec::new() }, record)
    }
}

impl Zone {
    fn at(origin: &Name) -> Zone {
        Zone { origin: *origin, key: Box::from(origin.key().bytes()), nodes: BTreeMap::new(), records: 0 }
    }

    fn add(&mut self, owner: &Name, place: Place, empty: Set, record: Record) -> Result<(), ZoneError> {
        let key = owner.key();
        if !key.within(&self.key) {
            return Err(place.error(Wrong::Outside));
        }
        if self.records == MAX_RECORDS {
            return Err(place.error(Wrong::Many("records in one zone")));
        }
        self.records += 1;
        let node = self.nodes.entry(Box::from(key.bytes())).or_default();
        node.add(place, empty, record)
    }
}

impl Node {
    fn add(&mut self, place: Place, empty: Set, record: Record) -> Result<(), ZoneError> {
        let (kind, ttl) = (empty.kind, empty.ttl);
        let cname = |set: &Set| set.kind == types::CNAME;
        if self.sets.iter().any(|set| cname(set) || kind == types::CNAME) {
            return Err(place.error(Wrong::Cname));
        }
        let known = self.sets.iter().position(|set| set.kind == kind);
        let index = known.unwrap_or_else(|| {
            self.sets.push(empty);
            self.sets.len() - 1
        });
        let set = &mut self.sets[index];
        if let Some(first) = set.records.first()
            && set.ttl != ttl
        {
            return Err(place.error(Wrong::Ttl { line: first.line }));
        }
        if let Some(other) = set.records.iter().find(|other| same(kind, &other.data, &record.data)) {
            return Err(place.error(Wrong::Twice { line: other.line }));
        }
        // Each has at least its name, its type, its class, its TTL and its length in front.
        let size: usize = set.records.iter().map(|other| other.data.len() + 12).sum();
        if size + record.data.len() + 12 > MAX_SET {
            return Err(place.error(Wrong::LargeSet));
        }
        set.records.push(record);
        Ok(())
    }
}

/// Whether two records say the same: names do in large and small letters.
fn same(kind: u16, one: &[u8], other: &[u8]) -> bool {
    let split = types::name_at(kind).and_then(|at| Some((one.split_at_checked(at)?, other.split_at_checked(at)?)));
    match split {
        Some(((a, name), (b, other))) => a == b && name.eq_ignore_ascii_case(other),
        None => one == other,
    }
}
