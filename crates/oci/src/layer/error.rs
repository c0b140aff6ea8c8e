//! What can go wrong with a layer.

use std::io;

use crate::name::{self, NameError};

/// Why a layer could not be written, read, compressed or indexed.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// The layer's own stream failed: the file, the connection, or the decompressor.
    #[error("cannot read the layer: {0}")]
    Read(#[source] io::Error),
    /// What the layer is written to failed.
    #[error("cannot write the layer: {0}")]
    Write(#[source] io::Error),
    /// The source of a file's bytes failed while the layer was written.
    #[error("cannot read `{path}` for the layer: {source}")]
    ReadBody {
        /// The entry's path, escaped.
        path: String,
        /// What the source said.
        source: io::Error,
    },
    /// A file did not have as many bytes as its entry says: it changed while it was read.
    #[error("`{path}` changed while it was read: expected {expected} bytes, found {found}")]
    BodyLength {
        /// The entry's path, escaped.
        path: String,
        /// Bytes the entry promised.
        expected: u64,
        /// `more`, or how many there were.
        found: String,
    },
    /// The layer ended inside an entry.
    #[error("the layer is cut short inside {0}")]
    Truncated(String),
    /// Bytes that are not a tar header.
    #[error("not a valid tar header at byte {offset}: {why}")]
    Header {
        /// Where in the uncompressed tar.
        offset: u64,
        /// What is wrong.
        why: String,
    },
    /// A well-formed header that says something no file can be.
    #[error("the layer's entry `{path}` is invalid: {why}")]
    Entry {
        /// The entry's path, escaped.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// A path or hard link target that would leave the root.
    #[error("the layer's entry `{path}` leaves the root: {why}")]
    Traversal {
        /// The path as written, escaped.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// A name that starts with `.wh.` where it would wrongly become a whiteout.
    #[error("`{path}`: names beginning with `.wh.` mean deletion in a layer and cannot be stored as files")]
    Reserved {
        /// The path, escaped.
        path: String,
    },
    /// GNU sparse files, in any of their encodings.
    #[error("the layer's entry `{path}` is a GNU sparse file, which OCI layers may not hold and Kiln does not read")]
    Sparse {
        /// The path, escaped.
        path: String,
    },
    /// A type of entry images do not have.
    #[error("the layer's entry `{path}` has type {flag}, which Kiln does not read")]
    UnknownType {
        /// The path, escaped.
        path: String,
        /// The type flag, escaped.
        flag: String,
    },
    /// More than the reader was told to accept.
    #[error("the layer has more than {limit} {what}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How much is accepted.
        limit: u64,
    },
    /// The writer failed before, so what it wrote is not a layer.
    #[error("the layer is incomplete: an earlier entry failed")]
    Incomplete,
    /// Bytes that are not an index of this version.
    #[error("not a usable layer index: {0}")]
    Index(&'static str),
}

impl LayerError {
    pub(crate) fn entry(path: &[u8], why: impl Into<String>) -> LayerError {
        LayerError::Entry { path: name::escape(path), why: why.into() }
    }

    pub(crate) fn name(path: &[u8], error: NameError) -> LayerError {
        let (path, why) = (name::escape(&path[..path.len().min(name::MAX_PATH)]), error.to_string());
        match error {
            NameError::DotDot | NameError::Nul => LayerError::Traversal { path, why },
            NameError::TooLong | NameError::TooDeep => LayerError::Entry { path, why },
        }
    }
}
