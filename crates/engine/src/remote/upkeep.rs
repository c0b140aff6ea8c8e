//! What a cache repository holds, and which of it can go: registries keep everything until they are told otherwise, and
//! some allow 10,000 tags in a repository and no more.

use std::time::Duration;

use kiln_oci::{Digest, Manifest, Mtime, Reference, time};
use kiln_registry::RegistryError;

use super::{DIFF_ID, PUSHED, TITLE};
use crate::error::{EngineError, Result};
use crate::transfer::Mover;

/// A layer of a step in a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its tag, which is the step's key.
    pub tag: String,
    /// The manifest's digest.
    pub digest: Digest,
    /// The step in words, as whoever pushed it says.
    pub title: String,
    /// When it was pushed.
    pub pushed: Mtime,
    /// Bytes of its layer, compressed.
    pub size: u64,
}

/// What a repository holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Layers of steps, newest first.
    pub entries: Vec<Entry>,
    /// Tags of something else, which is left alone.
    pub others: usize,
}

/// What is to stay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// What is older goes.
    pub age: Option<Duration>,
    /// Of the newest, as many stay.
    pub count: Option<usize>,
    /// Of the newest, as many bytes stay.
    pub size: Option<u64>,
}

/// Reads all tags of a repository.
///
/// # Errors
/// When the registry does not list them or fails.
pub fn contents(mover: &Mover<'_>, repository: &Reference) -> Result<Contents> {
    let tags = mover.images.client().tags(repository)?;
    let found = std::sync::Mutex::new(Contents::default());
    mover.parallel(&tags, |tag| {
        let name = Reference { tag: Some(tag.clone()), digest: None, ..repository.clone() };
        let fetched = match mover.images.client().manifest(&name) {
            Ok(fetched) => fetched,
            // Somebody else removed it meanwhile.
            Err(RegistryError::NotFound { .. }) => return Ok(()),
            Err(e) => return Err(e.into()),
        };
        let entry = entry(tag, &fetched.descriptor.digest, &fetched.bytes);
        let mut found = found.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match entry {
            Some(entry) => found.entries.push(entry),
            None => found.others += 1,
        }
        Ok(())
    })?;
    let mut found = found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    found.entries.sort_by(|a, b| (b.pushed, &b.tag).cmp(&(a.pushed, &a.tag)));
    Ok(found)
}

fn entry(tag: &str, digest: &Digest, bytes: &[u8]) -> Option<Entry> {
    let manifest: Manifest = serde_json::from_slice(bytes).ok()?;
    let note = |name: &str| manifest.annotations.get(name);
    note(DIFF_ID)?;
    let pushed = time::parse_rfc3339(note(PUSHED)?).ok()?;
    let size = manifest.layers.iter().map(|l| l.size).fold(0, u64::saturating_add);
    let title = note(TITLE).cloned().unwrap_or_default();
    Some(Entry { tag: tag.to_owned(), digest: digest.clone(), title, pushed, size })
}

/// The entries that limits leave no room for; `entries` are sorted, newest first.
pub fn superfluous(entries: &[Entry], limits: &Limits) -> Vec<Entry> {
    let (mut count, mut size) = (0, 0_u64);
    let mut gone = Vec::new();
    for entry in entries {
        let too_old = limits.age.is_some_and(|age| super::age(entry.pushed) > age);
        let too_many = limits.count.is_some_and(|most| count >= most);
        let too_large = limits.size.is_some_and(|most| size.saturating_add(entry.size) > most);
        if too_old || too_many || too_large {
            gone.push(entry.clone());
        } else {
            count += 1;
            size = size.saturating_add(entry.size);
        }
    }
    gone
}

/// Removes entries from a repository. Their layers go when the registry collects what nothing names.
///
/// # Errors
/// When the registry does not let manifests be deleted, or fails.
pub fn remove(mover: &Mover<'_>, repository: &Reference, entries: &[Entry]) -> Result<()> {
    mover.parallel(entries, |entry| match mover.images.client().delete(&repository.at(entry.digest.clone())) {
        Ok(()) | Err(RegistryError::NotFound { .. }) => Ok(()),
        Err(e) => Err(EngineError::from(e)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64, size: u64) -> Entry {
        let tag = format!("{secs}");
        Entry { digest: Digest::of(tag.as_bytes()), tag, title: String::new(), pushed: Mtime::secs(secs), size }
    }

    fn gone(limits: &Limits) -> Vec<String> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let now = i64::try_from(now.as_secs()).unwrap();
        let entries = [at(now, 10), at(now - 100, 50), at(now - 200, 5)];
        let gone = superfluous(&entries, limits);
        gone.iter().map(|e| entries.iter().position(|o| o == e).unwrap().to_string()).collect()
    }

    #[test]
    fn the_newest_stay() {
        assert_eq!(gone(&Limits::default()), Vec::<String>::new());
        assert_eq!(gone(&Limits { age: Some(Duration::from_secs(150)), ..Limits::default() }), ["2"]);
        assert_eq!(gone(&Limits { count: Some(1), ..Limits::default() }), ["1", "2"]);
        assert_eq!(gone(&Limits { size: Some(20), ..Limits::default() }), ["1"], "what still fits stays");
        assert_eq!(gone(&Limits { size: Some(0), ..Limits::default() }), ["0", "1", "2"]);
    }

    #[test]
    fn what_is_no_entry_is_none() {
        let digest = Digest::of(b"x");
        for bytes in [&b"{}"[..], b"", br#"{"schemaVersion":2,"config":{},"layers":[]}"#] {
            assert_eq!(entry("t", &digest, bytes), None);
        }
    }
}
