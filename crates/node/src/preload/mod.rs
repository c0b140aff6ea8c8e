//! Container images on a node before it boots, straight where containerd has them: blobs in its content store, names and
//! what keeps them from being collected in its database.
//!
//! Nothing is unpacked: containerd makes snapshots of an image when the first container of it starts, as it does with images
//! that were pulled without one. That keeps the node's image small, and independent of the snapshotter.
//!
//! [`bolt`] databases, written      [`metadata`] what containerd keeps in one

pub mod bolt;
pub mod metadata;

use std::path::Path;

use kiln_oci::{Descriptor, Reference};

use crate::error::{NodeError, Result};

/// Where containerd keeps all of it.
pub const ROOT: &str = "/var/lib/containerd";
/// Its blobs, below [`ROOT`].
pub const BLOBS: &str = "io.containerd.content.v1.content/blobs/sha256";
/// Its database, below [`ROOT`].
pub const DATABASE: &str = "io.containerd.metadata.v1.bolt/meta.db";
/// The largest database that is added to.
pub const MAX_DATABASE: u64 = 256 << 20;

/// An image whose blobs are in a content store.
#[derive(Debug, Clone)]
pub struct Stored {
    /// What it is called.
    pub names: Vec<Reference>,
    /// Its manifest, or the index that names it.
    pub root: Descriptor,
    /// Manifests and indexes, with their bytes.
    pub documents: Vec<(Descriptor, Vec<u8>)>,
    /// Configurations and layers.
    pub blobs: Vec<Descriptor>,
    /// The configurations among them.
    pub configs: Vec<Descriptor>,
}

/// Writes the database for images whose blobs are below `root` already.
///
/// # Errors
/// When the old database cannot be read, or the new one cannot be written.
pub fn write_database(
    root: &Path,
    before: Option<&[u8]>,
    namespace: &str,
    images: &[Stored],
    pinned: bool,
) -> Result<()> {
    let bytes = metadata::add(before, namespace, images, pinned).map_err(|why| NodeError::Unsupported {
        what: format!("the database of containerd in the image, {ROOT}/{DATABASE}, cannot be added to: {why}"),
        hint: Some("mode = \"archive\" has containerd itself take the images when the node boots".to_owned()),
    })?;
    let path = root.join(DATABASE);
    crate::builder::make_parents(&path)?;
    std::fs::write(&path, bytes).map_err(NodeError::file("write", &path))
}
