//! What a cache holds, and which of it can go: registries and buckets keep everything until they are told otherwise, and
//! some registries allow 10,000 tags in a repository and no more.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kiln_oci::{Digest, Manifest, Mtime, Reference, time};
use kiln_registry::RegistryError;

use super::entry::{DIFF_ID, PUSHED, TITLE};
use crate::bucket::Opened;
use crate::error::{EngineError, Result};
use crate::transfer::Mover;

/// The hexadecimal digits of a digest.
const HEX: usize = 64;

/// A layer of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its tag or name, which is the step's key.
    pub tag: String,
    /// The manifest's digest.
    pub digest: Digest,
    /// The layer.
    pub layers: Vec<Digest>,
    /// The step in words, as whoever pushed it says.
    pub title: String,
    /// When it was pushed.
    pub pushed: Mtime,
    /// Bytes of its layer, compressed.
    pub size: u64,
}

/// What a cache holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Layers of steps, newest first.
    pub entries: Vec<Entry>,
    /// Tags or documents of something else, which is left alone.
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
    let found = Mutex::new(Contents::default());
    mover.parallel(&tags, |tag| {
        let name = Reference { tag: Some(tag.clone()), digest: None, ..repository.clone() };
        let fetched = match mover.images.client().manifest(&name) {
            Ok(fetched) => fetched,
            // Somebody else removed it meanwhile.
            Err(RegistryError::NotFound { .. }) => return Ok(()),
            Err(e) => return Err(e.into()),
        };
        found.lock().unwrap_or_else(PoisonError::into_inner).add(tag, &fetched.descriptor.digest, &fetched.bytes);
        Ok(())
    })?;
    Ok(found.into_inner().unwrap_or_else(PoisonError::into_inner).sorted())
}

/// Reads all documents of a bucket that have its name.
///
/// # Errors
/// When the store does not list them or fails.
pub fn bucket_contents(mover: &Mover<'_>, bucket: &Opened) -> Result<Contents> {
    let found = Mutex::new(Contents::default());
    let documents = bucket.documents()?;
    let own: Vec<_> = documents.iter().filter_map(|d| Some((d, d.name_in(bucket.bucket())?))).collect();
    mover.parallel(&own, |(document, name)| {
        // Somebody else may have removed it meanwhile.
        if let Some(bytes) = bucket.listed(document)? {
            found.lock().unwrap_or_else(PoisonError::into_inner).add(name, &Digest::of(&bytes), &bytes);
        }
        Ok(())
    })?;
    Ok(found.into_inner().unwrap_or_else(PoisonError::into_inner).sorted())
}

impl Contents {
    fn add(&mut self, tag: &str, digest: &Digest, bytes: &[u8]) {
        match entry(tag, digest, bytes) {
            Some(entry) => self.entries.push(entry),
            None => self.others += 1,
        }
    }

    fn sorted(mut self) -> Contents {
        self.entries.sort_by(|a, b| (b.pushed, &b.tag).cmp(&(a.pushed, &a.tag)));
        self
    }
}

fn entry(tag: &str, digest: &Digest, bytes: &[u8]) -> Option<Entry> {
    let manifest: Manifest = serde_json::from_slice(bytes).ok()?;
    let note = |name: &str| manifest.annotations.get(name);
    note(DIFF_ID)?;
    let pushed = time::parse_rfc3339(note(PUSHED)?).ok()?;
    let size = manifest.layers.iter().map(|l| l.size).fold(0, u64::saturating_add);
    let title = note(TITLE).cloned().unwrap_or_default();
    let layers = manifest.layers.into_iter().map(|layer| layer.digest).collect();
    Some(Entry { tag: tag.to_owned(), digest: digest.clone(), layers, title, pushed, size })
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

/// Removes entries from a bucket, and then the layers that no document, whoever's it is, names any more.
///
/// Another build may just be about to name such a layer again, as it was there a moment ago: its entry is then passed
/// over with a warning when it is used, and written anew.
///
/// # Errors
/// When the store of objects does not let them be deleted, or fails.
pub fn remove_from_bucket(mover: &Mover<'_>, bucket: &Opened, entries: &[Entry]) -> Result<()> {
    let gone: HashSet<&Digest> = entries.iter().flat_map(|entry| &entry.layers).collect();
    // What others name is known before anything goes: if it cannot be, nothing does.
    let going: HashSet<&str> = entries.iter().map(|entry| &*entry.tag).collect();
    let named = Mutex::new(HashSet::new());
    let others = if gone.is_empty() { Vec::new() } else { bucket.documents()? };
    mover.parallel(&others, |document| {
        if document.name_in(bucket.bucket()).is_some_and(|name| going.contains(name)) {
            return Ok(());
        }
        let Some(bytes) = bucket.listed(document)? else { return Ok(()) };
        named.lock().unwrap_or_else(PoisonError::into_inner).extend(digests_in(&bytes));
        Ok(())
    })?;
    let named = named.into_inner().unwrap_or_else(PoisonError::into_inner);
    mover.parallel(entries, |entry| bucket.remove_document(&entry.tag))?;
    let found = |digest: &&Digest| digest.algorithm() == "sha256" && !named.contains(*digest);
    let unnamed: Vec<&Digest> = gone.into_iter().filter(found).collect();
    mover.parallel(&unnamed, |digest| bucket.remove_blob(digest))
}

/// All digests that a document mentions, whatever kind of document it is.
fn digests_in(bytes: &[u8]) -> HashSet<Digest> {
    const PREFIX: &[u8] = b"sha256:";
    let starts = bytes.windows(PREFIX.len()).enumerate().filter(|(_, window)| *window == PREFIX);
    let digest = |at: usize| std::str::from_utf8(bytes.get(at..at + PREFIX.len() + HEX)?).ok()?.parse().ok();
    starts.filter_map(|(at, _)| digest(at)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64, size: u64) -> Entry {
        let tag = format!("{secs}");
        Entry {
            digest: Digest::of(tag.as_bytes()),
            tag,
            layers: Vec::new(),
            title: String::new(),
            pushed: Mtime::secs(secs),
            size,
        }
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

    #[test]
    fn digests_are_found_in_any_document() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let text = format!("{{\"x\":[\"{a}\",\"sha256:12\"]}} ü {b}sha256:");
        assert_eq!(digests_in(text.as_bytes()), HashSet::from([a, b]));
        assert_eq!(digests_in(b"sha256:"), HashSet::new());
    }
}
