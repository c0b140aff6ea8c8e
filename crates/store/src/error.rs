//! What can go wrong with a store, by what was being tried.

use std::io;
use std::path::{Path, PathBuf};

use kiln_oci::Digest;

/// Why something could not be done with the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No place for the store could be derived from the environment.
    #[error("there is no place for the store: neither KILN_STORE, XDG_DATA_HOME nor HOME is set")]
    NoDefaultDir,
    /// The directory could not be made or completed.
    #[error("cannot create the store at {path}: {source}")]
    Create {
        /// What was being made.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The directory exists but could not be read.
    #[error("cannot open the store at {path}: {source}")]
    Open {
        /// What was being opened.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The directory holds something else.
    #[error("{path} is not a Kiln store and not empty (it holds `{found}`): choose an empty or a new directory")]
    NotAStore {
        /// The directory.
        path: PathBuf,
        /// One of the things in it.
        found: String,
    },
    /// A newer Kiln made it.
    #[error(
        "the store at {path} has version {found}, this Kiln reads version {supported}: use a newer Kiln, or another store"
    )]
    Version {
        /// The directory.
        path: PathBuf,
        /// What its version file says.
        found: String,
        /// What this build reads.
        supported: u32,
    },
    /// A file without which the store makes no sense is missing or unreadable.
    #[error("the store is damaged: {path}: {why}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Something was to be written to a store that can only be read.
    #[error("cannot {intent}: the store at {path} is read-only")]
    ReadOnly {
        /// The store.
        path: PathBuf,
        /// What was being tried.
        intent: &'static str,
    },
    /// A blob could not be written.
    #[error("cannot write a blob at {path}: {source}")]
    WriteBlob {
        /// The file being written.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A blob is there but could not be read.
    #[error("cannot read blob {digest} at {path}: {source}")]
    ReadBlob {
        /// Its digest.
        digest: Digest,
        /// Its file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A blob is not in the store.
    #[error("blob {digest} is not in the store")]
    MissingBlob {
        /// Its digest.
        digest: Digest,
    },
    /// The bytes are not those the digest names.
    #[error("the bytes have digest {actual}, expected {expected}")]
    DigestMismatch {
        /// What was asked for.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// A different number of bytes came than was announced.
    #[error("{actual} bytes came, expected {expected}")]
    SizeMismatch {
        /// What was announced, in bytes.
        expected: u64,
        /// What came, in bytes.
        actual: u64,
    },
    /// A blob to be read into memory is longer than the caller allows.
    #[error("blob {digest} has {size} bytes, more than the {max} allowed here")]
    BlobTooLarge {
        /// Its digest.
        digest: Digest,
        /// Its length in bytes.
        size: u64,
        /// The limit in bytes.
        max: u64,
    },
    /// `index.json` could not be read.
    #[error("cannot read the image names in {path}: {source}")]
    ReadRefs {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// `index.json` could not be replaced.
    #[error("cannot write the image names to {path}: {source}")]
    WriteRefs {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A name no image may have.
    #[error("`{name}` cannot name an image: {why}")]
    RefName {
        /// The name, shortened.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A name was to be given to something that is not in the store.
    #[error("cannot name {digest} `{name}`: it is not in the store")]
    DanglingRef {
        /// The name.
        name: String,
        /// What it was to mean.
        digest: Digest,
    },
    /// A record (cache, layer index, layer record, context table) could not be written.
    #[error("cannot write the record {path}: {source}")]
    WriteRecord {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A record is there but could not be read.
    #[error("cannot read the record {path}: {source}")]
    ReadRecord {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A kind of cache record whose name would not be a file name.
    #[error("`{kind}` cannot be a kind of cache record: use lower-case letters, digits and `-`")]
    CacheKind {
        /// The kind.
        kind: String,
    },
    /// A directory for a new layer could not be made.
    #[error("cannot make a directory for a layer at {path}: {source}")]
    MakeDraft {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A finished layer directory could not be moved into place.
    #[error("cannot keep the unpacked layer {chain} at {path}: {source}")]
    CommitSnapshot {
        /// The layer and those below it.
        chain: Digest,
        /// Where it was to be.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A directory for `RUN --mount=type=cache` could not be prepared.
    #[error("cannot prepare the cache mount `{id}` at {path}: {source}")]
    PrepareMount {
        /// The id in the Dockerfile.
        id: String,
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A lock file could not be opened or locked.
    #[error("cannot lock {path}: {source}")]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The caller gave up waiting for a lock.
    #[error("gave up waiting for `{name}`, which another process holds")]
    LockCancelled {
        /// What was waited for.
        name: String,
    },
    /// The list of what a build uses could not be written.
    #[error("cannot note in {path} what this build uses: {source}")]
    WriteLease {
        /// The lease file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A directory could not be listed or measured.
    #[error("cannot list {path}: {source}")]
    List {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Something could not be deleted.
    #[error("cannot remove {path}: {source}")]
    Remove {
        /// What stays.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Data could not be forced to the disk.
    #[error("cannot flush {path} to the disk: {source}")]
    Flush {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// What a caller can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The disk is full, or a quota is used up.
    NoSpace,
    /// The store, or its file system, can only be read.
    ReadOnly,
    /// The user may not do this.
    Permission,
    /// Something asked for is not there.
    Missing,
    /// Bytes are not what they should be.
    Damaged,
    /// The caller asked to stop.
    Cancelled,
    /// The arguments or the place make no sense.
    Usage,
    /// Any other answer of the operating system.
    System,
}

impl StoreError {
    /// What kind of trouble this is, for exit codes and hints.
    pub fn kind(&self) -> ErrorKind {
        match self {
            StoreError::NoDefaultDir
            | StoreError::NotAStore { .. }
            | StoreError::Version { .. }
            | StoreError::RefName { .. }
            | StoreError::CacheKind { .. } => ErrorKind::Usage,
            StoreError::Damaged { .. }
            | StoreError::DigestMismatch { .. }
            | StoreError::SizeMismatch { .. }
            | StoreError::BlobTooLarge { .. } => ErrorKind::Damaged,
            StoreError::MissingBlob { .. } | StoreError::DanglingRef { .. } => ErrorKind::Missing,
            StoreError::ReadOnly { .. } => ErrorKind::ReadOnly,
            StoreError::LockCancelled { .. } => ErrorKind::Cancelled,
            StoreError::Create { source, .. }
            | StoreError::Open { source, .. }
            | StoreError::WriteBlob { source, .. }
            | StoreError::ReadBlob { source, .. }
            | StoreError::ReadRefs { source, .. }
            | StoreError::WriteRefs { source, .. }
            | StoreError::WriteRecord { source, .. }
            | StoreError::ReadRecord { source, .. }
            | StoreError::MakeDraft { source, .. }
            | StoreError::CommitSnapshot { source, .. }
            | StoreError::PrepareMount { source, .. }
            | StoreError::Lock { source, .. }
            | StoreError::WriteLease { source, .. }
            | StoreError::List { source, .. }
            | StoreError::Remove { source, .. }
            | StoreError::Flush { source, .. } => kind_of(source),
        }
    }
}

/// The same classification for an answer of the operating system, as [`BlobWriter`](crate::BlobWriter) gives it.
pub fn kind_of(error: &io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::NoSpace,
        io::ErrorKind::ReadOnlyFilesystem => ErrorKind::ReadOnly,
        io::ErrorKind::PermissionDenied => ErrorKind::Permission,
        io::ErrorKind::NotFound => ErrorKind::Missing,
        _ => ErrorKind::System,
    }
}

/// Turns an [`io::Error`] about `path` into one of the variants: `.map_err(at(path, |path, source| …))`.
pub(crate) fn at<'a>(
    path: &'a Path,
    make: impl FnOnce(PathBuf, io::Error) -> StoreError + 'a,
) -> impl FnOnce(io::Error) -> StoreError + 'a {
    move |source| make(path.to_path_buf(), source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_disks_and_read_only_file_systems_are_told_apart() {
        let kind = |errno: rustix::io::Errno| {
            StoreError::WriteBlob { path: "x".into(), source: io::Error::from(errno) }.kind()
        };
        assert_eq!(kind(rustix::io::Errno::NOSPC), ErrorKind::NoSpace);
        assert_eq!(kind(rustix::io::Errno::DQUOT), ErrorKind::NoSpace);
        assert_eq!(kind(rustix::io::Errno::ROFS), ErrorKind::ReadOnly);
        assert_eq!(kind(rustix::io::Errno::ACCESS), ErrorKind::Permission);
        assert_eq!(kind(rustix::io::Errno::IO), ErrorKind::System);
    }
}
