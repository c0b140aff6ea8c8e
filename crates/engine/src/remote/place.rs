//! Where entries are.

use std::fmt;
use std::path::PathBuf;

use kiln_oci::Reference;
use kiln_plan::Key;

use crate::bucket::Bucket;

/// A place for entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A repository.
    Repository(Reference),
    /// The directory of an OCI layout, which need not be there yet.
    Layout(PathBuf),
    /// A bucket of an object store.
    Bucket(Bucket),
    /// An image that names the steps its layers came of. It can only be looked into.
    Image(Reference),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Repository(name) | Place::Image(name) => name.fmt(f),
            Place::Layout(dir) => dir.display().fmt(f),
            Place::Bucket(bucket) => bucket.fmt(f),
        }
    }
}

impl Place {
    /// The entry of a key, for messages.
    pub(super) fn entry(&self, key: &Key) -> String {
        match self {
            Place::Repository(repository) => tagged(repository, key).to_string(),
            Place::Layout(dir) => format!("{}:{key}", dir.display()),
            Place::Bucket(bucket) => format!("{bucket} {key}"),
            Place::Image(image) => image.to_string(),
        }
    }
}

/// The name of an entry in a repository.
pub(super) fn tagged(repository: &Reference, key: &Key) -> Reference {
    Reference { tag: Some(key.to_string()), digest: None, ..repository.clone() }
}
