//! From what was written to a layer: what differs from below, and the directories above it.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read};

use kiln_oci::entry::KEPT_XATTRS;
use kiln_oci::name;
use kiln_oci::{Entry, EntryKind, Meta};
use kiln_store::changes::{Verdict, judge};
use kiln_store::lower::Lower;

use super::Body;
use super::dest::{Dest, Emitted, Written};

/// The entries of the layer, sorted by path.
///
/// # Errors
/// When a file that may be unchanged cannot be read for comparison.
pub fn entries(dest: Dest<'_>) -> io::Result<Vec<Emitted>> {
    let lower = dest.lower();
    let mut out: BTreeMap<Vec<u8>, Emitted> = BTreeMap::new();
    let written = dest.into_written();
    for (path, w) in &written {
        if !is_same(lower, path, w)? {
            let entry = Entry { path: path.clone(), kind: w.kind.clone(), meta: kept(&w.meta) };
            out.insert(path.clone(), Emitted { entry, body: w.body.clone() });
        }
    }
    let changed: Vec<Vec<u8>> = out.keys().cloned().collect();
    for path in changed {
        let mut parent = name::split(&path).0;
        while !parent.is_empty() && !out.contains_key(parent) {
            let meta = written.get(parent).map(|w| w.meta.clone()).or_else(|| lower.dir(parent));
            let entry = Entry {
                path: parent.to_vec(),
                kind: EntryKind::Dir,
                meta: kept(&meta.unwrap_or_else(|| Meta::mode(0o755))),
            };
            out.insert(parent.to_vec(), Emitted { entry, body: Body::None });
            parent = name::split(parent).0;
        }
    }
    let mut emitted: Vec<Emitted> = out.into_values().collect();
    link_names(&mut emitted, &written);
    Ok(emitted)
}

/// Turns all but the first name of a file, in the order of paths, into hard links to it.
fn link_names(emitted: &mut [Emitted], written: &BTreeMap<Vec<u8>, Written>) {
    let mut first: HashMap<u64, Vec<u8>> = HashMap::new();
    for e in emitted {
        let Some(group) = written.get(&e.entry.path).and_then(|w| w.group) else { continue };
        match first.get(&group) {
            None => {
                first.insert(group, e.entry.path.clone());
            }
            Some(name) if matches!(e.entry.kind, EntryKind::File { .. }) => {
                e.entry.kind = EntryKind::Hardlink { target: name.clone() };
                e.body = Body::None;
            }
            Some(_) => {}
        }
    }
}

/// What a layer holds of it: whole seconds and few attributes.
fn kept(meta: &Meta) -> Meta {
    let mut meta = meta.clone();
    meta.mtime.nanos = 0;
    meta.xattrs.retain(|k, _| KEPT_XATTRS.contains(&&k[..]));
    meta
}

/// Whether below is already what was written: then it is no part of the layer. The rule is that of a `RUN`'s changes.
fn is_same(lower: &dyn Lower, path: &[u8], w: &Written) -> io::Result<bool> {
    match judge(lower.get(path).as_ref(), &w.kind, &w.meta) {
        Verdict::Same => Ok(true),
        Verdict::Changed => Ok(false),
        Verdict::CompareBytes => same_bytes(&mut *lower.open(path)?, &mut *w.body.open()?),
    }
}

fn same_bytes(a: &mut dyn Read, b: &mut dyn Read) -> io::Result<bool> {
    let (mut left, mut right) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        let n = fill(a, &mut left)?;
        let m = fill(b, &mut right)?;
        if left[..n] != right[..m] {
            return Ok(false);
        }
        if n == 0 {
            return Ok(true);
        }
    }
}

fn fill(from: &mut dyn Read, buf: &mut [u8]) -> io::Result<usize> {
    let mut n = 0;
    while n < buf.len() {
        match from.read(&mut buf[n..]) {
            Ok(0) => break,
            Ok(k) => n += k,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(n)
}
