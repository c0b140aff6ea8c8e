//! Build cache records, and what is remembered of build contexts.

use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use crate::error::at;
use crate::{Kind, Result, Store, StoreError, record};

/// One cache record, as [`Store::cache_list`] reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheEntry {
    /// The key it was put under.
    pub key: String,
    /// The length of its value in bytes.
    pub size: u64,
    /// When it was last written or read.
    pub last_used: SystemTime,
}

fn check_kind(kind: &str) -> Result<()> {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    match !kind.is_empty() && kind.len() <= 64 && kind.bytes().all(good) {
        true => Ok(()),
        false => Err(StoreError::CacheKind { kind: kind.chars().take(64).collect() }),
    }
}

fn label(kind: &str) -> String {
    format!("cache {kind}")
}

/// A file name for a text that may hold anything.
pub(crate) fn file_name(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex()[..40].to_owned()
}

/// The name of a record among the things of the store.
fn record_name(kind: &str, key: &str) -> String {
    format!("{kind}/{}", file_name(key))
}

impl Store {
    fn record_path(&self, kind: &str, key: &str) -> PathBuf {
        self.own("cache").join(kind).join(file_name(key))
    }

    /// The value put under `key`, any text, among the records of one kind. A damaged record is removed, with a
    /// warning, and counts as none.
    pub fn cache_get(&self, kind: &str, key: &str) -> Option<Vec<u8>> {
        check_kind(kind).ok()?;
        let path = self.record_path(kind, key);
        // A build that relies on a record keeps it for those that wait for the same step.
        let name = record_name(kind, key);
        let _hold = self.hold(Kind::Record, &name).map_err(|e| self.warn(&path, e.to_string())).ok()?;
        let mut payload = record::read_or_discard(self, &path, &label(kind))?;
        let (found, start) = split_key(&payload)?;
        // Two keys with the same hash: the newer one wins, and the older is not found.
        if found != key {
            return None;
        }
        payload.drain(..start);
        self.stamp(Kind::Record, &name, &path);
        Some(payload)
    }

    /// Puts a value under `key`, replacing the one there. `kind` is a short word: lower-case letters, digits, `-`.
    ///
    /// # Errors
    /// When the kind is no such word, or the record cannot be written.
    pub fn cache_put(&self, kind: &str, key: &str, value: &[u8]) -> Result<()> {
        check_kind(kind)?;
        let mut payload = Vec::with_capacity(8 + key.len() + value.len());
        payload.extend_from_slice(&(key.len() as u64).to_le_bytes());
        payload.extend_from_slice(key.as_bytes());
        payload.extend_from_slice(value);
        let _hold = self.hold(Kind::Record, &record_name(kind, key))?;
        record::write(self, &self.record_path(kind, key), &label(kind), &payload)
    }

    /// Removes the value put under `key`, if there is one.
    ///
    /// # Errors
    /// When it is there and cannot be removed.
    pub fn cache_remove(&self, kind: &str, key: &str) -> Result<()> {
        check_kind(kind)?;
        self.writable("remove a record")?;
        let path = self.record_path(kind, key);
        fs::remove_file(&path)
            .or_else(crate::temp::ignore_missing)
            .map_err(at(&path, |path, source| StoreError::Remove { path, source }))
    }

    /// The records of one kind, by key. Damaged ones are removed, with a warning.
    ///
    /// # Errors
    /// When the directory cannot be listed.
    pub fn cache_list(&self, kind: &str) -> Result<Vec<CacheEntry>> {
        check_kind(kind)?;
        let dir = self.own("cache").join(kind);
        let mut entries = Vec::new();
        for (path, meta) in crate::usage::files(&dir)? {
            let Some(payload) = record::read_or_discard(self, &path, &label(kind)) else { continue };
            if let Some((key, start)) = split_key(&payload) {
                let last_used = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                entries.push(CacheEntry { key: key.to_owned(), size: (payload.len() - start) as u64, last_used });
            }
        }
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(entries)
    }

    fn table_path(&self, name: &str) -> PathBuf {
        self.own("context").join(file_name(name))
    }

    /// The table saved under `name` (the path of a build context, say). A damaged one counts as none.
    pub fn load_table(&self, name: &str) -> Option<Vec<u8>> {
        let path = self.table_path(name);
        let table = record::read_or_discard(self, &path, &format!("table {name}"))?;
        self.stamp(Kind::Table, &file_name(name), &path);
        Some(table)
    }

    /// Saves a table, replacing the one of the same name.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save_table(&self, name: &str, bytes: &[u8]) -> Result<()> {
        record::write(self, &self.table_path(name), &format!("table {name}"), bytes)
    }
}

/// The key a payload begins with, and where the value starts.
fn split_key(payload: &[u8]) -> Option<(&str, usize)> {
    let (length, rest) = payload.split_first_chunk::<8>()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let key = std::str::from_utf8(rest.get(..length)?).ok()?;
    Some((key, 8 + length))
}
