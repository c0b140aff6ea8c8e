//! What a zone has at a name: RFC 1034, section 4.3.2, with wildcards as RFC 4592 has them.

use crate::name::{MAX, Name};
use crate::zone::{Node, Zone, types};

/// What was found.
#[derive(Debug)]
pub enum Found<'z> {
    /// The name is not of this zone.
    Outside,
    /// The name is there, or a wildcard stands for it.
    Node(&'z Node),
    /// There is nothing at the name, but something below it.
    Empty,
    /// There is no such name.
    Absent,
    /// The name belongs to a zone that others serve.
    Cut {
        /// Where that zone begins.
        node: &'z Node,
        /// How many bytes of the name that was looked for stand in front of its name.
        skip: usize,
    },
}

/// Looks for a name. Records of type DS are above a cut, all others below.
pub fn find<'z>(zone: &'z Zone, name: &Name, kind: u16) -> Found<'z> {
    let key = name.key();
    if !key.within(zone.key()) {
        return Found::Outside;
    }
    let whole = key.bytes().len();
    let mut at = zone.key().len();
    while let Some(next) = key.next(at) {
        let above = &key.bytes()[..next];
        let node = zone.node(above);
        if let Some(node) = node
            && node.set(types::NS).is_some()
            && !(kind == types::DS && next == whole)
        {
            return Found::Cut { node, skip: whole - next };
        }
        if node.is_none() && !zone.exists(above) {
            return wildcard(zone, &key.bytes()[..at]);
        }
        at = next;
    }
    zone.node(key.bytes()).map_or(Found::Empty, Found::Node)
}

/// What stands for all names that are not there below one that is.
fn wildcard<'z>(zone: &'z Zone, encloser: &[u8]) -> Found<'z> {
    let mut key = [0; MAX + 2];
    let end = encloser.len() + 2;
    key[..encloser.len()].copy_from_slice(encloser);
    key[encloser.len()..end].copy_from_slice(b"\x01*");
    match zone.node(&key[..end]) {
        Some(node) => Found::Node(node),
        // There may be something below the wildcard's name: then it stands for names without records.
        None if zone.exists(&key[..end]) => Found::Empty,
        None => Found::Absent,
    }
}
