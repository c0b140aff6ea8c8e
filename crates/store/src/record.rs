//! Small files that are checked when they are read.
//!
//! ```text
//! kiln-rec        8 bytes
//! checksum       32 bytes   blake3 of label length, label, payload
//! payload
//! ```
//! The label is what the file is supposed to be; a record moved to another name does not pass. Such files are renamed
//! into place without waiting for the disk: one that a power failure tore is no record, and is made again.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use crate::temp::{self, Sync};
use crate::{Result, Store, StoreError};

const MAGIC: &[u8; 8] = b"kiln-rec";
const HEAD: usize = MAGIC.len() + blake3::OUT_LEN;
/// Longer files are no records: nobody has to hold more in memory because of a damaged directory.
const LONGEST: u64 = 512 << 20;
/// How often a directory that vanishes is made again.
const ATTEMPTS: u32 = 100;

fn checksum(label: &str, payload: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(label.len() as u64).to_le_bytes()).update(label.as_bytes()).update(payload);
    hasher.finalize()
}

fn encode(label: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD + payload.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(checksum(label, payload).as_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

fn decode(label: &str, mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    let (magic, rest) = bytes.split_first_chunk::<{ MAGIC.len() }>()?;
    let (sum, payload) = rest.split_first_chunk::<{ blake3::OUT_LEN }>()?;
    if magic != MAGIC || checksum(label, payload) != *sum {
        return None;
    }
    bytes.drain(..HEAD);
    Some(bytes)
}

/// Reads and checks a record. `Ok(None)` when there is none.
pub(crate) fn read(path: &Path, label: &str) -> io::Result<Option<Result<Vec<u8>, Broken>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let size = file.metadata()?.len();
    if size > LONGEST {
        return Ok(Some(Err(Broken)));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    file.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(Some(decode(label, bytes).ok_or(Broken)))
}

/// What is there is not the record it should be.
pub(crate) struct Broken;

/// Writes a record.
pub(crate) fn write(store: &Store, path: &Path, label: &str, payload: &[u8]) -> Result<()> {
    store.writable("write a record")?;
    let bytes = encode(label, payload);
    let replace = || temp::replace(store, path, &bytes, Sync::Checked);
    let mut written = replace();
    // A prune may remove the directory, empty again, as often as it is made.
    for _ in 0..ATTEMPTS {
        let (Err(e), Some(dir)) = (&written, path.parent()) else { break };
        if e.kind() != io::ErrorKind::NotFound {
            break;
        }
        written = fs::create_dir_all(dir).and_then(|()| replace());
    }
    written.map_err(|source| StoreError::WriteRecord { path: path.to_path_buf(), source })
}

/// Reads a record, taking a damaged or unreadable one for none: it is removed, with a warning.
pub(crate) fn read_or_discard(store: &Store, path: &Path, label: &str) -> Option<Vec<u8>> {
    match read(path, label) {
        Ok(None) => None,
        Ok(Some(Ok(payload))) => Some(payload),
        Ok(Some(Err(Broken))) => {
            let removed = !store.is_read_only() && fs::remove_file(path).is_ok();
            store.warn(path, if removed { "the record was damaged and is removed" } else { "the record is damaged" });
            None
        }
        Err(e) => {
            store.warn(path, format!("the record cannot be read: {e}"));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_change_is_noticed(payload in proptest::collection::vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>(), flip in 1..=255u8) {
            let bytes = encode("label", &payload);
            prop_assert_eq!(decode("label", bytes.clone()), Some(payload));
            prop_assert_eq!(decode("other", bytes.clone()), None);
            let at = at.index(bytes.len());
            prop_assert_eq!(decode("label", bytes[..at].to_vec()), None);
            let mut changed = bytes;
            changed[at] ^= flip;
            prop_assert_eq!(decode("label", changed), None);
        }
    }
}
