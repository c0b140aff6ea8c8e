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
use std::path::Path;
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
    rows: Mutex<Rows>,
}

#[derive(Default)]
struct Rows {
    by_ident: HashMap<[u8; 16], Row>,
    changed: bool,
}

struct Row {
    hash: [u8; 32],
    idle: u8,
    used: bool,
}

impl HashTable {
    /// What the store remembers of the context at `dir`. A damaged table, or one of another version, is empty.
    pub fn load(store: &Store, dir: &Path) -> HashTable {
        let real = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
        let name = format!("context {}", kiln_oci::name::escape(real.as_os_str().as_encoded_bytes()));
        let by_ident = store.load_table(&name).and_then(|bytes| decode(&bytes)).unwrap_or_default();
        HashTable { name, rows: Mutex::new(Rows { by_ident, changed: false }) }
    }

    /// Writes the table, if anything was added to it.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn save(&self, store: &Store) -> Result<()> {
        let mut rows = self.rows();
        if !rows.changed || store.is_read_only() {
            return Ok(());
        }
        rows.by_ident.retain(|_, row| {
            row.idle = if row.used { 0 } else { row.idle.saturating_add(1) };
            row.idle < IDLE
        });
        if rows.by_ident.len() > MAX_ROWS {
            rows.by_ident.retain(|_, row| row.used);
        }
        store.save_table(&self.name, &encode(&rows.by_ident))?;
        rows.changed = false;
        Ok(())
    }

    /// The number of hashes in it.
    pub fn len(&self) -> usize {
        self.rows().by_ident.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The hash of a file that is still as it was.
    pub(super) fn recall(&self, ident: &Ident) -> Option<[u8; 32]> {
        let key = key(ident);
        let mut rows = self.rows();
        let row = rows.by_ident.get_mut(&key)?;
        row.used = true;
        Some(row.hash)
    }

    /// Remembers the hash of a file whose reading began at `now`, unless it may still change unseen.
    pub(super) fn remember(&self, ident: &Ident, hash: [u8; 32], now: SystemTime) {
        if is_racy(ident, now) {
            return;
        }
        let key = key(ident);
        let mut rows = self.rows();
        rows.by_ident.insert(key, Row { hash, idle: 0, used: true });
        rows.changed = true;
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

fn key(ident: &Ident) -> [u8; 16] {
    let mut bytes = Vec::with_capacity(48);
    for number in [ident.dev, ident.ino, ident.size] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    for time in [ident.mtime, ident.ctime] {
        bytes.extend_from_slice(&time.secs.to_le_bytes());
        bytes.extend_from_slice(&time.nanos.to_le_bytes());
    }
    let mut key = [0; 16];
    key.copy_from_slice(&blake3::hash(&bytes).as_bytes()[..16]);
    key
}

fn encode(rows: &HashMap<[u8; 16], Row>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4 + rows.len() * ROW);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    for (key, row) in rows {
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(&row.hash);
        bytes.push(row.idle);
    }
    bytes
}

fn decode(bytes: &[u8]) -> Option<HashMap<[u8; 16], Row>> {
    let (version, rest) = bytes.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*version) != VERSION || !rest.len().is_multiple_of(ROW) {
        return None;
    }
    let mut rows = HashMap::with_capacity(rest.len() / ROW);
    for row in rest.chunks_exact(ROW) {
        let (key, row) = row.split_first_chunk::<16>()?;
        let (hash, idle) = row.split_first_chunk::<32>()?;
        rows.insert(*key, Row { hash: *hash, idle: *idle.first()?, used: false });
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
        let row = Row { hash: [7; 32], idle: 3, used: true };
        let bytes = encode(&HashMap::from([([1; 16], row)]));
        assert_eq!(decode(&bytes).unwrap()[&[1; 16]].hash, [7; 32]);
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
