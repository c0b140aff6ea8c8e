//! Images of a few files of this machine, which no Dockerfile describes: their layers, and the documents around them.
//!
//! Owners are root, times the epoch: the same files give the same image.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use kiln_oci::compress::Compression;
use kiln_oci::entry::{Entry, EntryKind, Meta};
use kiln_oci::index::LayerIndex;
use kiln_oci::layer::LayerWriter;
use kiln_oci::manifest::Annotations;
use kiln_oci::{Descriptor, Digest, ImageConfig, Index, LayerSink, Manifest, media};
use kiln_store::BlobWriter;

use crate::error::{EngineError, Result};
use crate::rootfs::chain_text;
use crate::step::record;
use crate::transfer::{Mover, image_error};

/// Where a file's bytes are.
#[derive(Debug, Clone, Copy)]
pub enum Bytes<'a> {
    /// In a file of this machine.
    Of(&'a Path),
    /// Here.
    These(&'a [u8]),
}

/// A file of a layer.
#[derive(Debug, Clone, Copy)]
pub struct Packed<'a> {
    /// Its path from the root, without a slash before it.
    pub path: &'a str,
    /// Its permissions.
    pub mode: u32,
    /// Its bytes.
    pub bytes: Bytes<'a>,
}

/// Writes a layer of files, with the directories that they are in, into the store.
///
/// # Errors
/// When a file cannot be read or changes meanwhile, or the store fails.
pub fn layer(mover: &Mover<'_>, files: &[Packed<'_>], compression: Compression) -> Result<(Descriptor, Digest)> {
    let mut writer = writer(mover, compression)?;
    let mut made: BTreeSet<&str> = BTreeSet::new();
    let bad = |e: kiln_oci::LayerError| {
        EngineError::of_disk(&e, mover.store.dir()).unwrap_or_else(|| image_error("the layer", chain_text(&e)))
    };
    let entry = |path: &str, kind, mode| Entry { path: path.as_bytes().to_vec(), kind, meta: Meta::mode(mode) };
    for file in files {
        for (at, _) in file.path.match_indices('/') {
            if made.insert(&file.path[..at]) {
                writer.append(&entry(&file.path[..at], EntryKind::Dir, 0o755), &mut io::empty()).map_err(bad)?;
            }
        }
        mover.check()?;
        let (mut from, size): (Box<dyn Read + '_>, u64) = match file.bytes {
            Bytes::These(bytes) => (Box::new(bytes), bytes.len() as u64),
            Bytes::Of(path) => {
                let opened = File::open(path).map_err(EngineError::file("read", path))?;
                let size = opened.metadata().map_err(EngineError::file("read", path))?.len();
                (Box::new(opened), size)
            }
        };
        writer.append(&entry(file.path, EntryKind::File { size }, file.mode), &mut from).map_err(bad)?;
    }
    let (sink, index) = writer.finish_indexed().map_err(bad)?;
    commit(mover, sink, &index)
}

/// A layer on its way into the store.
pub(crate) fn writer(mover: &Mover<'_>, compression: Compression) -> Result<LayerWriter<LayerSink<BlobWriter>>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(LayerWriter::indexed(LayerSink::new(mover.store.raw_blob_writer()?, compression, threads)))
}

/// Ends such a layer: its blob and its index are in the store.
pub(crate) fn commit(
    mover: &Mover<'_>,
    sink: LayerSink<BlobWriter>,
    index: &LayerIndex,
) -> Result<(Descriptor, Digest)> {
    let (blob, digests) = sink.finish().map_err(EngineError::file("write the layer to", mover.store.dir()))?;
    blob.commit_hashed(digests.digest.clone())?;
    mover.store.index_put(&digests.diff_id, &index.encode())?;
    mover.store.record_layer(&record(&digests))?;
    Ok((digests.descriptor(false), digests.diff_id))
}

/// Writes configuration and manifest of an image whose layers are in the store; it has no name yet.
///
/// # Errors
/// When the store cannot be written.
pub fn manifest(
    mover: &Mover<'_>,
    config: &ImageConfig,
    layers: Vec<Descriptor>,
    annotations: Annotations,
) -> Result<Descriptor> {
    manifest_of(mover, &serde_json::to_vec(config).unwrap_or_default(), layers, annotations)
}

/// The same for a configuration that was written by others, whose bytes stay as they are.
pub(crate) fn manifest_of(
    mover: &Mover<'_>,
    config: &[u8],
    layers: Vec<Descriptor>,
    annotations: Annotations,
) -> Result<Descriptor> {
    mover.store.put(config)?;
    let manifest = Manifest { annotations, ..Manifest::new(Descriptor::of(media::OCI_CONFIG, config), layers) };
    put(mover, media::OCI_MANIFEST, &serde_json::to_vec(&manifest).unwrap_or_default())
}

/// Writes an index.
///
/// # Errors
/// When the store cannot be written.
pub fn index(mover: &Mover<'_>, index: &Index) -> Result<Descriptor> {
    put(mover, media::OCI_INDEX, &serde_json::to_vec(index).unwrap_or_default())
}

fn put(mover: &Mover<'_>, media_type: &str, bytes: &[u8]) -> Result<Descriptor> {
    mover.store.put(bytes)?;
    Ok(Descriptor::of(media_type, bytes))
}
