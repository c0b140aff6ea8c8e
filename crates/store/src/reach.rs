//! What images with names need: found by following their manifests.

use std::collections::HashSet;

use kiln_oci::{Digest, chain_ids};
use serde_json::Value;

use crate::usage::Held;
use crate::{Kind, Result, Store, StoreError};

/// Manifests and configurations longer than this are not looked into; registries refuse manifests above 4 MiB.
const LONGEST: u64 = 8 << 20;

/// Everything reachable from `index.json`.
#[derive(Default)]
pub(crate) struct Reach {
    roots: Vec<(Option<String>, Digest)>,
    blobs: HashSet<Digest>,
    layers: HashSet<Digest>,
    chains: HashSet<Digest>,
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
            self.follow(store, roots.iter().map(|(_, digest)| digest.clone()).collect())?;
            self.roots = roots;
        }
        Ok(())
    }

    /// Every document is read once, so indexes that hold each other or one thing many times cost nothing.
    fn follow(&mut self, store: &Store, mut ahead: Vec<Digest>) -> Result<()> {
        while let Some(digest) = ahead.pop() {
            if !self.blobs.insert(digest.clone()) {
                continue;
            }
            let Some(document) = read_document(store, &digest)? else { continue };
            let links = Links::of(&document);
            ahead.extend(links.manifests);
            for layer in links.layers {
                self.layers.extend(store.layer_of(&layer).map(|known| known.diff_id));
                self.blobs.insert(layer);
            }
            if let Some(config) = links.config {
                let document = read_document(store, &config)?;
                let ids = document.as_ref().and_then(|c| c.pointer("/rootfs/diff_ids")?.as_array());
                let ids: Vec<Digest> = ids.into_iter().flatten().filter_map(|id| id.as_str()?.parse().ok()).collect();
                self.chains.extend(chain_ids(&ids));
                self.layers.extend(ids);
                self.blobs.insert(config);
            }
        }
        Ok(())
    }

    /// What keeps a thing named by a digest.
    pub(crate) fn holds(&self, kind: Kind, digest: &Digest) -> Option<Held> {
        match kind {
            Kind::Blob => self.blobs.contains(digest).then_some(Held::Named),
            Kind::Snapshot => self.chains.contains(digest).then_some(Held::Derived),
            Kind::Tar | Kind::Index | Kind::Layer => self.layers.contains(digest).then_some(Held::Derived),
            Kind::Record | Kind::Table | Kind::Mount | Kind::Partial | Kind::Temp => None,
        }
    }
}

impl Store {
    /// Everything a manifest or an index needs, itself included, in no particular order: whether it is here or not.
    ///
    /// # Errors
    /// [`StoreError::ReadBlob`] when a manifest is here and cannot be read.
    pub fn blobs_under(&self, root: &Digest) -> Result<Vec<Digest>> {
        let mut reach = Reach::default();
        reach.follow(self, vec![root.clone()])?;
        Ok(reach.blobs.into_iter().collect())
    }
}

/// What a manifest or an index names, as far as it makes sense.
#[derive(Default)]
pub(crate) struct Links {
    pub(crate) manifests: Vec<Digest>,
    pub(crate) layers: Vec<Digest>,
    pub(crate) config: Option<Digest>,
}

impl Links {
    pub(crate) fn of(document: &Value) -> Links {
        let digest = |descriptor: &Value| descriptor.get("digest")?.as_str()?.parse().ok();
        let list = |key: &str| document.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(digest);
        Links {
            manifests: list("manifests").collect(),
            layers: list("layers").collect(),
            config: document.get("config").and_then(digest),
        }
    }
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
