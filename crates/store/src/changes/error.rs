//! What can go wrong while a layer is made from a directory, by what was being tried.

use std::io;

use kiln_oci::layer::LayerError;
use rustix::io::Errno;

use crate::beneath::shown;
use crate::scan::ScanError;

/// Why the changes could not be found or written. Paths are seen from the root of the image.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The tree could not be scanned.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// Something in the tree could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The path.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// A file of the lower layers could not be read to be compared.
    #[error("cannot read {path} of the layers below, to see whether it changed: {source}")]
    ReadLower {
        /// The path.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// overlayfs noted a change in a way that layers cannot say.
    #[error(
        "{path} has the mark `{mark}`: overlayfs was mounted with `redirect_dir` or `metacopy`, which Kiln does not read; \
         mount with `redirect_dir=off,metacopy=off`"
    )]
    OverlayMark {
        /// The path.
        path: String,
        /// The extended attribute.
        mark: String,
    },
    /// A name that a layer would read as a removal.
    #[error(
        "{path} cannot be kept in a layer: names beginning with `.wh.` mean deletion there; remove or rename it in the \
         same step"
    )]
    Reserved {
        /// The path.
        path: String,
    },
    /// A path longer or deeper than layers can hold.
    #[error("{path} cannot be kept in a layer: its path is too long or has too many components")]
    PathTooLong {
        /// The path.
        path: String,
    },
    /// A file was written to after the step ended.
    #[error("{path} changed while the layer was written: a process started by this step may still be running")]
    Changed {
        /// The file.
        path: String,
    },
    /// A time could not be set.
    #[error("cannot set the time of {path}: {source}")]
    Date {
        /// The path.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// The layer could not be written.
    #[error(transparent)]
    Write(LayerError),
}

pub(super) fn read(path: &[u8]) -> impl FnOnce(Errno) -> ChangeError {
    move |errno| ChangeError::Read { path: shown(path), source: errno.into() }
}
