//! An image of an OCI layout, read back as text: its tree, its layers, its configuration.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Read;
use std::path::Path;

use kiln_oci::index::LayerIndex;
use kiln_oci::tree::{DumpOptions, Tree};
use kiln_oci::{Digest, EntryKind, Index, Manifest, compress, name};
use serde_json::Value;

use crate::error::Error;

/// What is compared of an image.
#[derive(Debug, Default)]
pub(super) struct Image {
    /// The stacked tree: what is at each path, as a line of a dump.
    pub(super) tree: BTreeMap<String, String>,
    /// Short texts by their paths, for people.
    pub(super) texts: BTreeMap<String, String>,
    /// The paths of each layer's entries, whiteouts marked with `-`, sorted.
    pub(super) layers: Vec<Vec<String>>,
    /// The configuration without the digests of its layers.
    pub(super) config: Value,
}

/// Reads the only image of a layout.
pub(super) fn read(dir: &Path) -> Result<Image, Error> {
    let index: Index = json(&dir.join("index.json"))?;
    let mut descriptor = index.manifests.first().ok_or_else(|| malformed(dir, "no image"))?.clone();
    if descriptor.media_type.contains("index") {
        let inner: Index = json(&blob(dir, &descriptor.digest))?;
        descriptor = inner.manifests.first().ok_or_else(|| malformed(dir, "no image"))?.clone();
    }
    let manifest: Manifest = json(&blob(dir, &descriptor.digest))?;
    let mut config: Value = json(&blob(dir, &manifest.config.digest))?;
    let (mut tree, mut tars, mut layers) = (Tree::new(), HashMap::new(), Vec::new());
    for layer in &manifest.layers {
        let tar = layer_tar(&blob(dir, &layer.digest))?;
        let index = LayerIndex::read(&tar[..]).map_err(|e| malformed(dir, &e.to_string()))?;
        let diff_id = Digest::of(&tar);
        tree.apply(&index, &diff_id).map_err(|e| malformed(dir, &e.to_string()))?;
        layers.push(entries(&index));
        tars.insert(diff_id, tar);
    }
    let options = DumpOptions { mtimes: true, ..DumpOptions::default() };
    let dump = tree.dump_with(b"", options, &mut |file| {
        let (start, size) = (usize::try_from(file.offset).ok()?, usize::try_from(file.size).ok()?);
        Some(Digest::of(tars.get(&*file.layer)?.get(start..start + size)?))
    });
    let texts = dump.lines().filter_map(|l| l.split_once(' ')).filter_map(|(path, rest)| {
        let file = tree.at(path.trim_start_matches('/').as_bytes())?.file().filter(|f| f.size < 400)?;
        let start = usize::try_from(file.offset).ok()?;
        let bytes = tars.get(&*file.layer)?.get(start..start + usize::try_from(file.size).ok()?)?;
        rest.starts_with('f').then(|| (path.to_owned(), String::from_utf8_lossy(bytes).into_owned()))
    });
    let texts = texts.collect();
    let lines = dump.lines().filter_map(|l| l.split_once(' ')).map(|(p, rest)| (p.to_owned(), rest.trim().to_owned()));
    if let Some(object) = config.as_object_mut() {
        object.remove("rootfs");
    }
    Ok(Image { tree: lines.collect(), texts, layers, config })
}

fn entries(index: &LayerIndex) -> Vec<String> {
    let shown = index.entries.iter().map(|e| {
        let sign = match e.entry.kind {
            EntryKind::Whiteout => "-",
            EntryKind::Opaque => "--",
            _ => "",
        };
        format!("{sign}/{}", name::escape(&e.entry.path))
    });
    let mut all: Vec<String> = shown.collect();
    all.sort();
    all
}

fn layer_tar(path: &Path) -> Result<Vec<u8>, Error> {
    let read = |cause| Error::Read { path: path.to_owned(), cause };
    let bytes = fs::read(path).map_err(read)?;
    let mut tar = Vec::new();
    match compress::detect(&bytes) {
        Some(format) => compress::decompress(format, &bytes[..], None).read_to_end(&mut tar).map_err(read)?,
        None => return Ok(bytes),
    };
    Ok(tar)
}

fn blob(dir: &Path, digest: &Digest) -> std::path::PathBuf {
    dir.join("blobs/sha256").join(digest.hex())
}

fn json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let bytes = fs::read(path).map_err(|cause| Error::Read { path: path.to_owned(), cause })?;
    serde_json::from_slice(&bytes).map_err(|cause| Error::Json { what: path.display().to_string(), cause })
}

fn malformed(dir: &Path, why: &str) -> Error {
    Error::Image { dir: dir.to_owned(), why: why.to_owned() }
}
