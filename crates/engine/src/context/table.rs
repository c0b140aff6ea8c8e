//! Hashes of files, remembered between builds of one context.
//!
//! A file is known by its device, inode, length, modification and change time. A change within the clock's grain could
//! keep all of them, so a file that was changed in the last seconds before it was hashed is hashed again next time.
//!
//! ```text
//! version   u32   1
//! row       16 bytes of BLAKE3 of what the file is known by, 32 bytes of hash, builds since it was last used (u8)
//! ```
//! Numbers are little-endian; the store keeps a checksum over all of it.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kiln_oci::Mtime;
use kiln_store::Store;

use super::ident::Ident;
use crate::error::Result;

const VERSION: u32 = 1;
const ROW: usize = 16 + 32 + 1;
/// Rows not used by this many builds that changed the table are dropped.
const IDLE: u8 = 20;
/// The most rows kept.
const MAX_ROWS: usize = 4_000_000;
/// File systems whose times are coarser than this are not known to exist.
const GRAIN: Duration = Duration::from_secs(2);

/// The hashes of a context's files.
pub struct HashTable {
    name: String,
    /// What earlier builds left: never changed, so that all threads read it at once.
    kept: Rows<Row>,
    /// What this build adds.
    added: Mutex<Rows<[u8; 32]>>,
}

type Rows<T> = HashMap<u128, T, BuildHasherDefault<Plain>>;

struct Row {
    hash: [u8; 32],
    idle: u8,
    used: AtomicBool,
}

/// Keys are hashes already.
#[derive(Default)]
struct Plain(u64);

impl Hasher for Plain {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |sum, byte| sum.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u128(&mut self, key: u128) {
        let bytes = key.to_le_bytes();
        self.write_u64(bytes.first_chunk().map_or(0, |half| u64::from_le_bytes(*half)));
    }

    fn write_u64(&mut self, half: u64) {
        self.0 = half;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl HashTable {
    /// What the store remembers of the context at `dir`. A damaged table, or one of another version, is empty.
    pub fn load(store: &Store, dir: &Path) -> HashTable {
        let real = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
        let name = format!("context {}", kiln_oci::name::escape(real.as_os_str().as_encoded_bytes()));
        let kept = store.load_table(&name).and_then(|bytes| decode(&bytes)).unwrap_or_default();
        HashTable { name, kept, added: Mutex::default() }
    }

    /// Writes the table, if anything was added to it.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn save(&self, store: &Store) -> Result<()> {
        let added = self.added();
        if added.is_empty() || store.is_read_only() {
            return Ok(());
        }
        let mut rows: Vec<(u128, [u8; 32], u8)> = added.iter().map(|(key, hash)| (*key, *hash, 0)).collect();
        let full = self.kept.len().saturating_add(rows.len()) > MAX_ROWS;
        for (key, row) in self.kept.iter().filter(|(key, _)| !added.contains_key(*key)) {
            let used = row.used.load(Ordering::Relaxed);
            let idle = if used { 0 } else { row.idle.saturating_add(1) };
            if idle < IDLE && (used || !full) {
                rows.push((*key, row.hash, idle));
            }
        }
        store.save_table(&self.name, &encode(&rows))?;
        Ok(())
    }

    /// The number of hashes in it.
    pub fn len(&self) -> usize {
        let added = self.added();
        self.kept.len() + added.keys().filter(|key| !self.kept.contains_key(*key)).count()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn added(&self) -> MutexGuard<'_, Rows<[u8; 32]>> {
        self.added.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The hash of a file that is still as it was when an earlier build hashed it.
    pub(super) fn recall(&self, ident: &Ident) -> Option<[u8; 32]> {
        if self.kept.is_empty() {
            return None;
        }
        let row = self.kept.get(&key(ident))?;
        row.used.store(true, Ordering::Relaxed);
        Some(row.hash)
    }

    /// Remembers the hash of a file whose reading began at `now`, unless it may still change unseen.
    pub(super) fn remember(&self, ident: &Ident, hash: [u8; 32], now: SystemTime) {
        if is_racy(ident, now) {
            return;
        }
        self.added().insert(key(ident), hash);
    }
}

/// Whether a change made after `now` could leave the file's times as they are.
fn is_racy(ident: &Ident, now: SystemTime) -> bool {
    let Ok(now) = now.duration_since(UNIX_EPOCH) else { return true };
    let nanos = |time: Mtime| i128::from(time.secs) * 1_000_000_000 + i128::from(time.nanos);
    let (now, grain) = (now.as_nanos().cast_signed(), GRAIN.as_nanos().cast_signed());
    // A modification time in the future was set by someone; a change time there means that the clock went back.
    nanos(ident.ctime) > now - grain || (nanos(ident.mtime) - now).abs() < grain
}

fn key(ident: &Ident) -> u128 {
    let mut bytes = Vec::with_capacity(48);
    for number in [ident.dev, ident.ino, ident.size] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    for time in [ident.mtime, ident.ctime] {
        bytes.extend_from_slice(&time.secs.to_le_bytes());
        bytes.extend_from_slice(&time.nanos.to_le_bytes());
    }
    let hash = blake3::hash(&bytes);
    hash.as_bytes().first_chunk().map_or(0, |half| u128::from_le_bytes(*half))
}

/// Each with its key, hash, and for how many builds it was not used.
fn encode(rows: &[(u128, [u8; 32], u8)]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4 + rows.len() * ROW);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    for (key, hash, idle) in rows {
        bytes.extend_from_slice(&key.to_le_bytes());
        bytes.extend_from_slice(hash);
        bytes.push(*idle);
    }
    bytes
}

fn decode(bytes: &[u8]) -> Option<Rows<Row>> {
    let (version, rest) = bytes.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*version) != VERSION || !rest.len().is_multiple_of(ROW) {
        return None;
    }
    let mut rows = Rows::with_capacity_and_hasher(rest.len() / ROW, BuildHasherDefault::default());
    for row in rest.chunks_exact(ROW) {
        let (key, row) = row.split_first_chunk::<16>()?;
        let (hash, idle) = row.split_first_chunk::<32>()?;
        let row = Row { hash: *hash, idle: *idle.first()?, used: AtomicBool::new(false) };
        rows.insert(u128::from_le_bytes(*key), row);
    }
    Some(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ident(secs: i64) -> Ident {
        Ident { dev: 1, ino: 2, size: 3, mtime: Mtime::secs(secs), ctime: Mtime::secs(secs) }
    }

    fn at(secs: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(secs)
    }

    #[test]
    fn only_files_left_alone_are_remembered() {
        assert!(!is_racy(&ident(1000), at(1003)));
        for racy in [ident(1002), ident(1003), ident(2000)] {
            assert!(is_racy(&racy, at(1003)));
        }
        let dated_ahead = Ident { mtime: Mtime::secs(9000), ..ident(1000) };
        assert!(!is_racy(&dated_ahead, at(1003)));
        let dated_now = Ident { mtime: Mtime::secs(1003), ..ident(1000) };
        assert!(is_racy(&dated_now, at(1003)));
    }

    #[test]
    fn a_table_survives_its_encoding_and_nothing_else_does() {
        let bytes = encode(&[(1 << 100, [7; 32], 3)]);
        let rows = decode(&bytes).unwrap();
        assert_eq!((rows[&(1 << 100)].hash, rows[&(1 << 100)].idle), ([7; 32], 3));
        assert!(decode(&bytes[..bytes.len() - 1]).is_none());
        assert!(decode(&[9, 0, 0, 0]).is_none());
        assert!(decode(b"").is_none());
    }

    #[test]
    fn anything_about_a_file_makes_another_key() {
        let base = ident(5);
        let changed = [
            Ident { dev: 9, ..base },
            Ident { ino: 9, ..base },
            Ident { size: 9, ..base },
            Ident { mtime: Mtime { secs: 5, nanos: 1 }, ..base },
            Ident { ctime: Mtime { secs: 5, nanos: 1 }, ..base },
        ];
        assert!(changed.iter().all(|other| key(other) != key(&base)));
    }
}
