//! What can go wrong while a layer becomes a directory, by what was being tried.

use std::io;

use kiln_oci::layer::LayerError;
use rustix::io::Errno;

use crate::beneath::shown;

/// Why a layer could not be unpacked. Paths are seen from the unpacked root.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The target directory could not be opened.
    #[error("cannot open the directory to unpack into: {source}")]
    OpenTarget {
        /// Why not.
        source: io::Error,
    },
    /// The layer's tar could not be read.
    #[error("cannot read the layer: {source}")]
    ReadLayer {
        /// Why not.
        source: LayerError,
    },
    /// An entry has a path or an owner that no entry may have.
    #[error("the layer has an entry that cannot be unpacked, {path}: {why}")]
    BadEntry {
        /// The entry.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A file, directory, link or pipe could not be made.
    #[error("cannot create {path}: {source}")]
    Create {
        /// What was being made.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// A device could not be made.
    #[error("cannot create the device {path}: {source} (making devices needs CAP_MKNOD outside a user namespace)")]
    CreateDevice {
        /// The device.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// A file's bytes could not be written to the disk.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// A file's bytes could not be read from where they come from.
    #[error("cannot read the bytes of {path}: {source}")]
    ReadBody {
        /// The file.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// A file has fewer bytes than its entry says.
    #[error("{path} has {actual} bytes, its entry says {expected}")]
    Size {
        /// The file.
        path: String,
        /// What the entry says, in bytes.
        expected: u64,
        /// What came, in bytes.
        actual: u64,
    },
    /// The owner could not be set.
    #[error("cannot give {path} to {uid}:{gid}: {source}")]
    SetOwner {
        /// The path.
        path: String,
        /// The owner.
        uid: u32,
        /// The group.
        gid: u32,
        /// Why not.
        source: io::Error,
    },
    /// The user namespace has no such ids.
    #[error(
        "cannot give {path} to {uid}:{gid}: the user namespace has no such ids; give the user more, as root: \
         usermod --add-subuids FIRST-LAST --add-subgids FIRST-LAST USER (a pod has as many as its kubelet's idsPerPod)"
    )]
    NoSuchId {
        /// The path.
        path: String,
        /// The owner.
        uid: u32,
        /// The group.
        gid: u32,
    },
    /// The permission bits could not be set.
    #[error("cannot set the mode of {path}: {source}")]
    SetMode {
        /// The path.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// An extended attribute could not be set.
    #[error("cannot set {name} on {path}: {source}")]
    SetXattr {
        /// The path.
        path: String,
        /// The attribute.
        name: String,
        /// Why not.
        source: io::Error,
    },
    /// The modification time could not be set.
    #[error("cannot set the time of {path}: {source}")]
    SetTime {
        /// The path.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// Something that the layer removes or replaces could not be removed.
    #[error("cannot remove {path}: {source}")]
    Remove {
        /// What stays.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// What is in the directory could not be looked at.
    #[error("cannot look at {path}: {source}")]
    Look {
        /// The path.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// A hard link could not be made.
    #[error("cannot link {path} to {target}: {source}")]
    Link {
        /// The new name.
        path: String,
        /// The file it names.
        target: String,
        /// Why not.
        source: io::Error,
    },
    /// A hard link names nothing.
    #[error("{path} is a hard link to {target}, which neither this layer nor one below it has as a file")]
    LinkTarget {
        /// The link.
        path: String,
        /// What it names.
        target: String,
    },
}

/// Turns the kernel's answer about `path` into one of the variants.
pub(super) fn at(
    path: &[u8],
    make: impl FnOnce(String, io::Error) -> UnpackError,
) -> impl FnOnce(Errno) -> UnpackError {
    move |errno| make(shown(path), errno.into())
}

pub(super) fn create(path: &[u8]) -> impl FnOnce(Errno) -> UnpackError {
    at(path, |path, source| UnpackError::Create { path, source })
}

pub(super) fn remove(path: &[u8]) -> impl FnOnce(Errno) -> UnpackError {
    at(path, |path, source| UnpackError::Remove { path, source })
}

pub(super) fn look(path: &[u8]) -> impl FnOnce(Errno) -> UnpackError {
    at(path, |path, source| UnpackError::Look { path, source })
}

pub(super) fn set_mode(path: &[u8]) -> impl FnOnce(Errno) -> UnpackError {
    at(path, |path, source| UnpackError::SetMode { path, source })
}

pub(super) fn set_time(path: &[u8]) -> impl FnOnce(Errno) -> UnpackError {
    at(path, |path, source| UnpackError::SetTime { path, source })
}
