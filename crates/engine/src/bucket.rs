//! A bucket of an object store as a place for blobs, by digest, and for small documents, by name.
//!
//! ```text
//! ROOT/blobs/sha256:…          a blob
//! ROOT/manifests/NAME/KEY      a document; NAME keeps those of one user of the bucket apart
//! ```
//!
//! An object is there whole or not at all, and one that is written twice is what was written last: two builds that write
//! the same blob do not disturb each other. A blob is compared with its digest as it comes, a document is what whoever
//! reads it can make of it.

use std::fmt;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use kiln_objects::{Client, Config, Environment, Location, ObjectError};
use kiln_oci::{Descriptor, Digest, Hasher};
use kiln_store::{BlobWriter, Store};

use crate::error::{EngineError, Result};

/// No document is longer.
const MAX_DOCUMENT: usize = 1 << 20;
/// The same of documents that others may have put there, of which only the digests count.
const MAX_FOREIGN: usize = 64 << 20;
/// A listing with more documents than this is refused: nothing sensible has so many.
const MAX_LISTED: usize = 1_000_000;

/// Where in which store, and who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// What the keys of all objects begin with.
    pub root: Location,
    /// What follows it in the keys of documents, as `manifests/`.
    pub documents: String,
    /// Whose documents are meant.
    pub name: String,
    /// What follows the root in the keys of blobs, as `blobs/`.
    pub blobs: String,
    /// Endpoints and credentials.
    pub environment: Environment,
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.root.fmt(f)
    }
}

impl Bucket {
    /// Its documents and blobs, through a client that stops once `cancel` is set.
    ///
    /// # Errors
    /// When what is configured cannot be used. Nothing is connected to yet.
    pub fn open(&self, cancel: Arc<AtomicBool>) -> Result<Opened> {
        let config = Config { cancel, environment: self.environment.clone(), ..Config::default() };
        let client = Client::new(config).map_err(|e| failed(&self.root, &e))?;
        Ok(Opened { bucket: self.clone(), client })
    }

    fn at(&self, key: &str) -> Result<Location> {
        let key = format!("{}{key}", self.root.key());
        self.root.with_key(&key).map_err(|e| EngineError::Object {
            name: self.to_string(),
            message: e.to_string(),
            hint: Some(e.hint()),
        })
    }

    fn document(&self, name: &str) -> Result<Location> {
        self.at(&format!("{}{}/{name}", self.documents, self.name))
    }

    fn blob(&self, digest: &Digest) -> Result<Location> {
        self.at(&format!("{}{digest}", self.blobs))
    }
}

/// A bucket that can be asked.
#[derive(Debug, Clone)]
pub struct Opened {
    bucket: Bucket,
    client: Client,
}

impl PartialEq for Opened {
    fn eq(&self, other: &Opened) -> bool {
        self.bucket == other.bucket
    }
}

impl Eq for Opened {}

/// A document in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Whose it is, and its name: `NAME/KEY`.
    path: String,
    at: Location,
}

impl Listed {
    /// Its name, if it is one of `bucket`'s own.
    pub fn name_in(&self, bucket: &Bucket) -> Option<&str> {
        self.path.strip_prefix(&*bucket.name)?.strip_prefix('/')
    }
}

impl Opened {
    /// Which bucket it is.
    pub fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    /// A document; `None` if there is none of this name.
    ///
    /// # Errors
    /// When the store cannot be reached or refuses, or the document is too long.
    pub fn document(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.read(&self.bucket.document(name)?, MAX_DOCUMENT)
    }

    /// A document of a listing; `None` if it is gone.
    ///
    /// # Errors
    /// As [`document`](Opened::document).
    pub fn listed(&self, listed: &Listed) -> Result<Option<Vec<u8>>> {
        self.read(&listed.at, MAX_FOREIGN)
    }

    fn read(&self, at: &Location, most: usize) -> Result<Option<Vec<u8>>> {
        let mut sink = Bounded { bytes: Vec::new(), most, over: false };
        match self.client.get(at, &mut sink, &|_| {}) {
            Ok(_) => Ok(Some(sink.bytes)),
            Err(e) if e.is_not_found() && !e.is_no_bucket() => Ok(None),
            Err(_) if sink.over => {
                Err(damaged(at, format!("it is longer than the {most} bytes that such a document may have")))
            }
            Err(e) => Err(failed(at, &e)),
        }
    }

    /// Writes a document.
    ///
    /// # Errors
    /// When the store cannot be reached or refuses.
    pub fn put_document(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let at = self.bucket.document(name)?;
        let put = self.client.put(&at, &bytes.to_vec(), bytes.len() as u64, &|_| {});
        put.map_err(|e| failed(&at, &e))
    }

    /// Removes a document; one that is not there is as good as removed.
    ///
    /// # Errors
    /// When the store cannot be reached or refuses.
    pub fn remove_document(&self, name: &str) -> Result<()> {
        self.remove(&self.bucket.document(name)?)
    }

    /// Removes a blob; one that is not there is as good as removed.
    ///
    /// # Errors
    /// When the store cannot be reached or refuses.
    pub fn remove_blob(&self, digest: &Digest) -> Result<()> {
        self.remove(&self.bucket.blob(digest)?)
    }

    fn remove(&self, at: &Location) -> Result<()> {
        self.client.delete(at).map_err(|e| failed(at, &e))
    }

    /// All documents, whoever's they are.
    ///
    /// # Errors
    /// When the store cannot be reached or refuses, or there are too many.
    pub fn documents(&self) -> Result<Vec<Listed>> {
        let prefix = self.bucket.at(&self.bucket.documents)?;
        let (mut keys, mut over) = (Vec::new(), false);
        let listing = self.client.list(&prefix, &mut |entry| {
            over = keys.len() == MAX_LISTED;
            match over {
                true => ControlFlow::Break(()),
                false => {
                    keys.push(entry.key);
                    ControlFlow::Continue(())
                }
            }
        });
        listing.map_err(|e| failed(&prefix, &e))?;
        if over {
            return Err(damaged(&prefix, format!("there are more than {MAX_LISTED} objects")));
        }
        let listed = |key: String| {
            let path = key.strip_prefix(prefix.key())?.to_owned();
            // A key that Kiln would not write is not one of its own.
            Some(Listed { at: prefix.with_key(&key).ok()?, path })
        };
        Ok(keys.into_iter().filter_map(listed).collect())
    }

    /// Whether a blob of this size is there.
    ///
    /// # Errors
    /// When the store cannot be reached or refuses.
    pub fn has_blob(&self, blob: &Descriptor) -> Result<bool> {
        let at = self.bucket.blob(&blob.digest)?;
        match self.client.head(&at) {
            Ok(head) => Ok(head.size == blob.size),
            Err(e) if e.is_not_found() && !e.is_no_bucket() => Ok(false),
            Err(e) => Err(failed(&at, &e)),
        }
    }

    /// Uploads a blob of the store.
    ///
    /// # Errors
    /// When it cannot be read, or the store of objects cannot be reached or refuses.
    pub fn put_blob(&self, blob: &Descriptor, store: &Store) -> Result<()> {
        let at = self.bucket.blob(&blob.digest)?;
        let file = store.open_blob(&blob.digest)?;
        self.client.put(&at, &file, blob.size, &|_| {}).map_err(|e| failed(&at, &e))
    }

    /// Copies a blob into the store in `dir`, telling how many bytes came.
    ///
    /// # Errors
    /// When it is not there, or not what its digest says, or cannot be had or kept.
    pub fn fetch(&self, blob: &Descriptor, mut writer: BlobWriter, dir: &Path, progress: &dyn Fn(u64)) -> Result<()> {
        let at = self.bucket.blob(&blob.digest)?;
        // What another download left: objects are taken from their start.
        writer.reset()?;
        let mut sink = Checked { writer, hasher: blob.digest.hasher(), left: blob.size, over: false };
        match self.client.get(&at, &mut sink, progress) {
            Ok(_) => {}
            Err(_) if sink.over => return Err(damaged(&at, format!("it is longer than its {} bytes", blob.size))),
            Err(ObjectError::Sink { source, .. }) => {
                return Err(EngineError::file("write to the store in", dir)(source));
            }
            Err(e) => return Err(failed(&at, &e)),
        }
        if sink.left > 0 {
            return Err(damaged(&at, format!("{} of its {} bytes are missing", sink.left, blob.size)));
        }
        if sink.hasher.finish() != blob.digest {
            // Nothing is to go on with these bytes.
            sink.writer.reset()?;
            return Err(damaged(&at, "it is not what its digest says".to_owned()));
        }
        sink.writer.commit_hashed(blob.digest.clone())?;
        Ok(())
    }
}

fn damaged(at: &Location, message: String) -> EngineError {
    EngineError::Damaged { name: at.to_string(), message }
}

fn failed(at: &Location, error: &ObjectError) -> EngineError {
    if error.is_cancelled() {
        return EngineError::Cancelled;
    }
    EngineError::Object { name: at.to_string(), message: crate::rootfs::chain_text(error), hint: error.hint() }
}

/// A small document on its way.
struct Bounded {
    bytes: Vec<u8>,
    most: usize,
    over: bool,
}

impl Write for Bounded {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + buf.len() > self.most {
            self.over = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A blob on its way into the store.
struct Checked {
    writer: BlobWriter,
    hasher: Hasher,
    left: u64,
    over: bool,
}

impl Write for Checked {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if buf.len() as u64 > self.left {
            self.over = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let n = self.writer.write(buf)?;
        self.hasher.update(&buf[..n]);
        self.left -= n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}
