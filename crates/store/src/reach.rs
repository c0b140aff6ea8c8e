//! What images with names need: found by following their manifests.

use std::collections::HashSet;

use kiln_oci::Digest;
use serde_json::Value;

use crate::usage::Held;
use crate::{Kind, Result, Store, StoreError};

/// Manifests and configurations longer than this are not looked into; registries refuse manifests above 4 MiB.
const LONGEST: u64 = 16 << 20;
/// Indexes within indexes are followed this far.
const DEEPEST: usize = 16;

/// Everything reachable from `index.json`.
#[derive(Default)]
pub(crate) struct Reach {
    roots: Vec<(Option<String>, Digest)>,
    blobs: HashSet<Digest>,
    layers: HashSet<Digest>,
}

impl Reach {
    /// Follows all names.
    pub(crate) fn new(store: &Store) -> Result<Reach> {
        let mut reach = Reach::default();
        reach.refresh(store)?;
        Ok(reach)
    }

    /// Adds what was named since. What lost its name meanwhile is still counted: it goes next time.
    pub(crate) fn refresh(&mut self, store: &Store) -> Result<()> {
        let roots = store.roots()?;
        if roots != self.roots {
            for (_, digest) in &roots {
                self.follow(store, digest, 0)?;
            }
            self.roots = roots;
        }
        Ok(())
    }

    fn follow(&mut self, store: &Store, digest: &Digest, depth: usize) -> Result<()> {
        if !self.blobs.insert(digest.clone()) || depth > DEEPEST {
            return Ok(());
        }
        let Some(document) = read_document(store, digest)? else { return Ok(()) };
        let list = |key: &str| document.get(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        for child in list("manifests") {
            if let Some(digest) = digest_of(child) {
                self.follow(store, &digest, depth + 1)?;
            }
        }
        for layer in list("layers").iter().filter_map(digest_of) {
            if let Some(known) = store.layer_of(&layer) {
                self.layers.insert(known.diff_id);
            }
            self.blobs.insert(layer);
        }
        if let Some(config) = document.get("config").and_then(digest_of) {
            if let Some(config) = read_document(store, &config)? {
                let ids = config.pointer("/rootfs/diff_ids").and_then(Value::as_array);
                let ids = ids.into_iter().flatten().filter_map(|id| id.as_str()?.parse().ok());
                self.layers.extend(ids);
            }
            self.blobs.insert(config);
        }
        Ok(())
    }

    /// What keeps a thing named by a digest.
    pub(crate) fn holds(&self, kind: Kind, digest: &Digest) -> Option<Held> {
        match kind {
            Kind::Blob => self.blobs.contains(digest).then_some(Held::Named),
            Kind::Snapshot | Kind::Tar | Kind::Index | Kind::Layer => {
                self.layers.contains(digest).then_some(Held::Derived)
            }
            Kind::Record | Kind::Table | Kind::Mount | Kind::Temp => None,
        }
    }
}

fn digest_of(descriptor: &Value) -> Option<Digest> {
    descriptor.get("digest")?.as_str()?.parse().ok()
}

/// A blob as JSON; `None` if it is not here, not JSON, or too long to be a manifest. Anything else that keeps it from
/// being read is an error: nothing is to be removed because a disk stumbled.
pub(crate) fn read_document(store: &Store, digest: &Digest) -> Result<Option<Value>> {
    let path = store.blob_path(digest);
    let failed = |source| StoreError::ReadBlob { digest: digest.clone(), path: path.clone(), source };
    match std::fs::metadata(&path) {
        Ok(meta) if meta.is_file() && meta.len() <= LONGEST => {}
        Ok(_) => return Ok(None),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed(e)),
    }
    match std::fs::read(&path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(failed(e)),
    }
}
