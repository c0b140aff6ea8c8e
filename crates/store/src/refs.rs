//! Images by name: the manifests of `index.json`.
//!
//! A name is written to both annotations other tools look for, so skopeo and containerd find images under their full
//! reference. The file is changed under a lock, and replaced whole. What other tools wrote there is kept as it is.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::PathBuf;

use kiln_oci::{Descriptor, Digest};
use serde_json::{Map, Value};

use crate::lock::{self, Gate};
use crate::temp::{self, Sync};
use crate::{Result, Store, StoreError};

/// The annotation the OCI layout specification names.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The annotation containerd writes the full name to.
pub const IMAGE_NAME: &str = "io.containerd.image.name";

/// An `index.json` longer than this is not read: some two hundred thousand names fit.
const LONGEST: u64 = 64 << 20;
const LONGEST_NAME: usize = 4096;

/// A name and what it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRef {
    /// The name, usually a full reference.
    pub name: String,
    /// The manifest or index, without the annotations that hold the name.
    pub descriptor: Descriptor,
}

fn check_name(name: &str) -> Result<()> {
    let bad = |why| StoreError::RefName { name: name.chars().take(100).collect(), why };
    if name.is_empty() {
        return Err(bad("it is empty"));
    }
    if name.len() > LONGEST_NAME {
        return Err(bad("it is longer than 4096 bytes"));
    }
    match name.chars().any(|c| c.is_control() || c.is_whitespace()) {
        true => Err(bad("it holds white space or control characters")),
        false => Ok(()),
    }
}

/// The name of an entry: containerd's annotation is always full, the other may be no more than a tag.
fn name_of(entry: &Value) -> Option<&str> {
    let annotations = entry.get("annotations")?;
    let name = |key| annotations.get(key).and_then(Value::as_str).filter(|n| !n.is_empty());
    name(IMAGE_NAME).or_else(|| name(REF_NAME))
}

/// `index.json`, as far as it is needed; the rest is carried along.
struct IndexFile {
    path: PathBuf,
    document: Map<String, Value>,
}

impl IndexFile {
    fn read(store: &Store) -> Result<IndexFile> {
        let path = store.dir().join("index.json");
        let damaged = |why: String| StoreError::Damaged { path: path.clone(), why };
        let failed = |source| StoreError::ReadRefs { path: path.clone(), source };
        let mut bytes = Vec::new();
        let file = File::open(&path).map_err(failed)?;
        file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > LONGEST {
            return Err(damaged(format!("it is longer than {LONGEST} bytes")));
        }
        let document: Map<String, Value> =
            serde_json::from_slice(&bytes).map_err(|e| damaged(format!("it is not an image index: {e}")))?;
        match document.get("manifests") {
            None | Some(Value::Array(_)) => Ok(IndexFile { path, document }),
            Some(_) => Err(damaged("`manifests` is not a list".to_owned())),
        }
    }

    fn entries(&self) -> &[Value] {
        self.document.get("manifests").and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    fn entries_mut(&mut self) -> &mut Vec<Value> {
        let slot = self.document.entry("manifests").or_insert_with(|| Value::Array(Vec::new()));
        if !slot.is_array() {
            *slot = Value::Array(Vec::new());
        }
        match slot {
            Value::Array(entries) => entries,
            _ => unreachable!("it was made an array above"),
        }
    }

    fn write(&self, store: &Store) -> Result<()> {
        let failed = |source| StoreError::WriteRefs { path: self.path.clone(), source };
        let bytes = serde_json::to_vec(&self.document).map_err(|e| failed(e.into()))?;
        if bytes.len() as u64 > LONGEST {
            return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, "too many names")));
        }
        temp::replace(store, &self.path, &bytes, Sync::Durable).map_err(failed)
    }

    fn refs(&self) -> impl Iterator<Item = StoredRef> {
        self.entries().iter().filter_map(|entry| {
            let name = name_of(entry)?.to_owned();
            let mut descriptor: Descriptor = serde_json::from_value(entry.clone()).ok()?;
            descriptor.annotations.remove(REF_NAME);
            descriptor.annotations.remove(IMAGE_NAME);
            Some(StoredRef { name, descriptor })
        })
    }
}

impl Store {
    /// Gives a manifest or index a name, which then means nothing else. This is the last step of making an image: all
    /// that belongs to it is in the store before.
    ///
    /// # Errors
    /// When the name is no name, the manifest is not in the store, or `index.json` is damaged or cannot be written.
    pub fn set_ref(&self, name: &str, descriptor: &Descriptor) -> Result<()> {
        self.writable("name an image")?;
        check_name(name)?;
        let mut descriptor = descriptor.clone();
        for key in [REF_NAME, IMAGE_NAME] {
            descriptor.annotations.insert(key.to_owned(), name.to_owned());
        }
        let entry = serde_json::to_value(&descriptor)
            .map_err(|e| StoreError::WriteRefs { path: self.dir().join("index.json"), source: e.into() })?;
        // With the gate shared, pruning sees the blob either with its new name or not at all.
        let _gate =
            Gate::shared(self.dir()).map_err(|source| StoreError::Lock { path: self.own("locks/gc"), source })?;
        let _lock = lock::system(self.dir(), "refs")?;
        if !fs::symlink_metadata(self.blob_path(&descriptor.digest)).is_ok_and(|m| m.is_file()) {
            return Err(StoreError::DanglingRef { name: name.to_owned(), digest: descriptor.digest });
        }
        let mut index = IndexFile::read(self)?;
        if index.entries().iter().filter(|e| name_of(e) == Some(name)).eq([&entry]) {
            return Ok(());
        }
        let entries = index.entries_mut();
        entries.retain(|e| name_of(e) != Some(name));
        entries.push(entry);
        index.write(self)
    }

    /// What a name means, if it is known.
    ///
    /// # Errors
    /// When `index.json` is damaged or cannot be read.
    pub fn get_ref(&self, name: &str) -> Result<Option<Descriptor>> {
        // The last one wins, should another tool have written two.
        Ok(IndexFile::read(self)?.refs().filter(|r| r.name == name).last().map(|r| r.descriptor))
    }

    /// All names, in their order. Entries without a name, or that make no sense, are left out.
    ///
    /// # Errors
    /// When `index.json` is damaged or cannot be read.
    pub fn list_refs(&self) -> Result<Vec<StoredRef>> {
        let mut refs: Vec<StoredRef> = IndexFile::read(self)?.refs().collect();
        refs.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(refs)
    }

    /// Takes a name away, and returns what it meant. The bytes stay until [`Store::prune`].
    ///
    /// # Errors
    /// When `index.json` is damaged or cannot be written.
    pub fn remove_ref(&self, name: &str) -> Result<Option<Descriptor>> {
        self.writable("remove the name of an image")?;
        let _lock = lock::system(self.dir(), "refs")?;
        let mut index = IndexFile::read(self)?;
        let meant = index.refs().filter(|r| r.name == name).last().map(|r| r.descriptor);
        let before = index.entries().len();
        index.entries_mut().retain(|e| name_of(e) != Some(name));
        if index.entries().len() != before {
            index.write(self)?;
        }
        Ok(meant)
    }

    /// The digests every entry of `index.json` names, with or without a name of its own.
    pub(crate) fn roots(&self) -> Result<Vec<(Option<String>, Digest)>> {
        let index = IndexFile::read(self)?;
        let root = |entry: &Value| {
            let digest = entry.get("digest")?.as_str()?.parse().ok()?;
            Some((name_of(entry).map(str::to_owned), digest))
        };
        Ok(index.entries().iter().filter_map(root).collect())
    }

    /// Removes the entries whose digest is one of these.
    pub(crate) fn drop_roots(&self, gone: &[Digest]) -> Result<()> {
        let _lock = lock::system(self.dir(), "refs")?;
        let mut index = IndexFile::read(self)?;
        let names = |e: &Value| e.get("digest").and_then(Value::as_str).and_then(|d| d.parse::<Digest>().ok());
        index.entries_mut().retain(|e| names(e).is_none_or(|d| !gone.contains(&d)));
        index.write(self)
    }
}
