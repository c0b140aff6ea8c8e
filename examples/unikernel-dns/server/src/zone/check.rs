//! What is wrong with a zone although each of its records is right.

use super::{Node, Record, Wrong, Zone, ZoneError, types};
use crate::answer::MAX_CHAIN;
use crate::lookup::{Found, find};
use crate::name::Name;

/// The first mistake in the order of names.
pub(super) fn check(zone: &Zone) -> Result<(), ZoneError> {
    let apex = zone.node(zone.key());
    let soa = apex.and_then(|node| node.set(types::SOA)).and_then(|set| set.records.first());
    if let Some(soa) = soa
        && apex.and_then(|node| node.set(types::NS)).is_none()
    {
        return Err(soa.error(Wrong::NoServer));
    }
    let mut cut: Option<&[u8]> = None;
    for (key, node) in &zone.nodes {
        if cut.is_none_or(|cut| !key.starts_with(cut)) {
            let delegates = node.set(types::NS).is_some() && **key != *zone.key();
            cut = delegates.then_some(&**key);
        }
        if let Some(cut) = cut {
            below(key, cut, node)?;
        }
        chain(zone, node)?;
    }
    Ok(())
}

impl Record {
    fn error(&self, wrong: Wrong) -> ZoneError {
        ZoneError { line: self.line, column: self.column, wrong }
    }
}

/// A name with NS records, or one below it.
fn below(key: &[u8], cut: &[u8], node: &Node) -> Result<(), ZoneError> {
    let here = key == cut;
    for set in &node.sets {
        let Some(first) = set.records.first() else { continue };
        match set.kind {
            types::A | types::AAAA => {}
            types::NS if here && key.ends_with(b"\x01*") && last_label(key) == Some(b"*") => {
                return Err(first.error(Wrong::Wildcard));
            }
            types::NS | types::DS if here => {}
            _ => return Err(first.error(Wrong::Below)),
        }
    }
    Ok(())
}

fn last_label(mut key: &[u8]) -> Option<&[u8]> {
    let mut last = None;
    while let Some((length, rest)) = key.split_first() {
        let (label, behind) = rest.split_at_checked(usize::from(*length))?;
        last = Some(label);
        key = behind;
    }
    last
}

/// A CNAME, and those behind it.
fn chain(zone: &Zone, node: &Node) -> Result<(), ZoneError> {
    let Some(first) = node.set(types::CNAME).and_then(|set| set.records.first()) else { return Ok(()) };
    let mut data = &*first.data;
    for _ in 0..MAX_CHAIN {
        let next = Name::read(data).map(|target| find(zone, &target, types::CNAME));
        let Some(Found::Node(node)) = next else { return Ok(()) };
        let Some(record) = node.set(types::CNAME).and_then(|set| set.records.first()) else { return Ok(()) };
        data = &record.data;
    }
    Err(first.error(Wrong::Loop))
}
