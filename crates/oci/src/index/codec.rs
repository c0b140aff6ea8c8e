//! The index as bytes.
//!
//! ```text
//! magic       8  "KILNIDX" and the version, 1
//! checksum   16  the first half of the BLAKE3 of all that follows
//! tar size    v
//! count       v
//! entries        kind 1 · shared v · rest v + bytes · mode uid gid v · secs zigzag v · nanos v · offset v
//!                · what the kind needs · xattr count v, each key and value as v + bytes
//! ```
//! `v` is a little-endian base-128 number. A path is the first `shared` bytes of the path before it, and the rest.

use super::{IndexedEntry, LayerIndex};
use crate::entry::{Entry, EntryKind, Meta, Mtime, Xattrs};
use crate::layer::LayerError;
use crate::name;

const MAGIC: &[u8; 8] = b"KILNIDX\x01";
const SUM: usize = 16;
const BODY: usize = MAGIC.len() + SUM;
/// Every entry takes more bytes than this, which bounds what a forged count can allocate.
const MIN_ENTRY: usize = 10;

const FILE: u8 = 0;
const DIR: u8 = 1;
const SYMLINK: u8 = 2;
const HARDLINK: u8 = 3;
const CHAR: u8 = 4;
const BLOCK: u8 = 5;
const FIFO: u8 = 6;
const WHITEOUT: u8 = 7;
const OPAQUE: u8 = 8;

impl LayerIndex {
    /// The index as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(BODY + self.entries.len() * 48);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&[0; SUM]);
        put(&mut out, self.tar_size);
        put(&mut out, self.entries.len() as u64);
        let mut last: &[u8] = b"";
        for indexed in &self.entries {
            put_entry(&mut out, indexed, last);
            last = &indexed.entry.path;
        }
        let sum = checksum(&out[BODY..]);
        out[MAGIC.len()..BODY].copy_from_slice(&sum);
        out
    }

    /// Reads what [`LayerIndex::encode`] wrote.
    ///
    /// # Errors
    /// Another version, damaged or forged bytes: the index should be made again from the layer.
    pub fn decode(bytes: &[u8]) -> Result<LayerIndex, LayerError> {
        let body = bytes.strip_prefix(MAGIC).ok_or(LayerError::Index("it is of another version or not an index"))?;
        let (sum, body) = body.split_at_checked(SUM).ok_or(LayerError::Index("it is cut short"))?;
        if checksum(body) != *sum {
            return Err(LayerError::Index("its checksum is wrong"));
        }
        let mut cursor = Cursor(body);
        let tar_size = cursor.number()?;
        let count = cursor.size()?;
        if count > body.len() / MIN_ENTRY {
            return Err(LayerError::Index("its count is wrong"));
        }
        let mut entries: Vec<IndexedEntry> = Vec::with_capacity(count);
        for _ in 0..count {
            let last = entries.last().map_or(&b""[..], |e| &e.entry.path);
            let next = cursor.entry(last)?;
            entries.push(next);
        }
        if !cursor.0.is_empty() {
            return Err(LayerError::Index("bytes follow its end"));
        }
        Ok(LayerIndex { entries, tar_size })
    }
}

fn checksum(body: &[u8]) -> [u8; SUM] {
    let mut out = [0; SUM];
    out.copy_from_slice(&blake3::hash(body).as_bytes()[..SUM]);
    out
}

fn put(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_entry(out: &mut Vec<u8>, indexed: &IndexedEntry, last: &[u8]) {
    let Entry { path, kind, meta } = &indexed.entry;
    out.push(match kind {
        EntryKind::File { .. } => FILE,
        EntryKind::Dir => DIR,
        EntryKind::Symlink { .. } => SYMLINK,
        EntryKind::Hardlink { .. } => HARDLINK,
        EntryKind::Char { .. } => CHAR,
        EntryKind::Block { .. } => BLOCK,
        EntryKind::Fifo => FIFO,
        EntryKind::Whiteout => WHITEOUT,
        EntryKind::Opaque => OPAQUE,
    });
    let shared = path.iter().zip(last).take_while(|(a, b)| a == b).count();
    put(out, shared as u64);
    put_bytes(out, &path[shared..]);
    for n in [meta.mode, meta.uid, meta.gid] {
        put(out, u64::from(n));
    }
    let secs = meta.mtime.secs;
    put(out, (secs << 1 ^ secs >> 63) as u64);
    put(out, u64::from(meta.mtime.nanos));
    put(out, indexed.offset);
    match kind {
        EntryKind::File { size } => put(out, *size),
        EntryKind::Symlink { target } | EntryKind::Hardlink { target } => put_bytes(out, target),
        EntryKind::Char { major, minor } | EntryKind::Block { major, minor } => {
            put(out, u64::from(*major));
            put(out, u64::from(*minor));
        }
        EntryKind::Dir | EntryKind::Fifo | EntryKind::Whiteout | EntryKind::Opaque => {}
    }
    put(out, meta.xattrs.len() as u64);
    for (key, value) in &meta.xattrs {
        put_bytes(out, key);
        put_bytes(out, value);
    }
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn number(&mut self) -> Result<u64, LayerError> {
        let mut n = 0_u64;
        for shift in (0..64).step_by(7) {
            let (b, rest) = self.0.split_first().ok_or(LayerError::Index("it is cut short"))?;
            self.0 = rest;
            let part = u64::from(b & 0x7f);
            if shift == 63 && part > 1 {
                break;
            }
            n |= part << shift;
            if b & 0x80 == 0 {
                return Ok(n);
            }
        }
        Err(LayerError::Index("a number is too large"))
    }

    fn size(&mut self) -> Result<usize, LayerError> {
        usize::try_from(self.number()?).map_err(|_| LayerError::Index("a number is too large"))
    }

    fn small(&mut self) -> Result<u32, LayerError> {
        u32::try_from(self.number()?).map_err(|_| LayerError::Index("a number is too large"))
    }

    fn bytes(&mut self) -> Result<&'a [u8], LayerError> {
        let len = self.size()?;
        let (bytes, rest) = self.0.split_at_checked(len).ok_or(LayerError::Index("it is cut short"))?;
        self.0 = rest;
        Ok(bytes)
    }

    fn entry(&mut self, last: &[u8]) -> Result<IndexedEntry, LayerError> {
        let (tag, rest) = self.0.split_first().ok_or(LayerError::Index("it is cut short"))?;
        self.0 = rest;
        let shared = self.size()?;
        let prefix = last.get(..shared).ok_or(LayerError::Index("a path shares more than there is"))?;
        let path = [prefix, self.bytes()?].concat();
        if !name::is_normal(&path) {
            return Err(LayerError::Index("a path is not normal"));
        }
        let (mode, uid, gid) = (self.small()?, self.small()?, self.small()?);
        let secs = self.number()?;
        let mtime = Mtime { secs: (secs >> 1) as i64 ^ -((secs & 1) as i64), nanos: self.small()? };
        if mode > 0o7777 || mtime.nanos >= 1_000_000_000 {
            return Err(LayerError::Index("a mode or time is out of range"));
        }
        let offset = self.number()?;
        let kind = self.kind(*tag)?;
        let mut xattrs = Xattrs::new();
        for _ in 0..self.number()? {
            let key = self.bytes()?.to_vec();
            xattrs.insert(key, self.bytes()?.to_vec());
        }
        let meta = Meta { mode, uid, gid, mtime, xattrs };
        Ok(IndexedEntry { entry: Entry { path, kind, meta }, offset })
    }

    fn kind(&mut self, tag: u8) -> Result<EntryKind, LayerError> {
        Ok(match tag {
            FILE => EntryKind::File { size: self.number()? },
            DIR => EntryKind::Dir,
            SYMLINK => EntryKind::Symlink { target: self.bytes()?.to_vec() },
            HARDLINK => {
                let target = self.bytes()?.to_vec();
                if !name::is_normal(&target) {
                    return Err(LayerError::Index("a hard link's target is not normal"));
                }
                EntryKind::Hardlink { target }
            }
            CHAR => EntryKind::Char { major: self.small()?, minor: self.small()? },
            BLOCK => EntryKind::Block { major: self.small()?, minor: self.small()? },
            FIFO => EntryKind::Fifo,
            WHITEOUT => EntryKind::Whiteout,
            OPAQUE => EntryKind::Opaque,
            _ => return Err(LayerError::Index("an entry has an unknown kind")),
        })
    }
}

/// A body under a correct header and checksum, to get noise past the first check.
#[cfg(test)]
pub(crate) fn forged(body: &[u8]) -> Vec<u8> {
    [&MAGIC[..], &checksum(body), body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> LayerIndex {
        let file = |path: &str, offset| IndexedEntry {
            entry: Entry { path: path.into(), kind: EntryKind::File { size: 3 }, meta: Meta::mode(0o644) },
            offset,
        };
        LayerIndex { entries: vec![file("usr/lib/a", 512), file("usr/lib/b", 1536)], tar_size: 4096 }
    }

    #[test]
    fn damage_is_noticed() {
        let bytes = sample().encode();
        assert_eq!(LayerIndex::decode(&bytes).unwrap(), sample());
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(LayerIndex::decode(&damaged).is_err(), "byte {at}");
            assert!(LayerIndex::decode(&bytes[..at]).is_err(), "cut at {at}");
        }
        assert!(LayerIndex::decode(&[bytes, vec![0]].concat()).is_err());
    }

    #[test]
    fn a_forged_count_allocates_nothing() {
        let mut body = Vec::new();
        put(&mut body, 0);
        put(&mut body, u64::MAX >> 1);
        assert!(matches!(LayerIndex::decode(&forged(&body)), Err(LayerError::Index("its count is wrong"))));
        assert!(Cursor(&[0xff; 10]).number().is_err());
    }

    #[test]
    fn forged_paths_are_refused() {
        for path in ["../x", "/x", "a//b"] {
            let mut index = sample();
            index.entries[0].entry.path = path.into();
            assert!(LayerIndex::decode(&index.encode()).is_err(), "{path}");
        }
    }

    #[test]
    fn a_hundred_thousand_entries_round_trip() {
        let mut index = sample();
        let entry = index.entries[0].clone();
        index.entries = (0..100_000_u64)
            .map(|n| {
                let mut e = entry.clone();
                e.entry.path = format!("usr/share/pkg{}/file{n}", n / 50).into_bytes();
                e.offset = n * 1024;
                e
            })
            .collect();
        let bytes = index.encode();
        assert!(bytes.len() < 3_000_000, "{} bytes", bytes.len());
        assert_eq!(LayerIndex::decode(&bytes).unwrap(), index);
    }
}
