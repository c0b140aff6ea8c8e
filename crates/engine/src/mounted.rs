//! Layers as images that the kernel mounts, where it can: what a `RUN` then needs of a layer is its tar and a table.
//!
//! Tables are made again in each build that runs commands: from a listing that takes milliseconds, and nothing of them
//! has to be kept, checked or pruned.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use kiln_oci::index::LayerIndex;
use kiln_plan::facts::Key32;
use kiln_store::lower::Lower;
use kiln_store::{SnapshotDraft, Store, erofs};

use crate::error::{EngineError, Result};

/// What the name of a tar beside its table ends with; the sandbox looks for it.
const TAR: &str = "tar";

/// The images of one build.
#[derive(Default)]
pub struct Images {
    /// Where they are; `None` when this kernel does not take them.
    place: OnceLock<Option<SnapshotDraft>>,
    /// By the chain of layers that ends with it; `None` when it has to be unpacked.
    made: Mutex<HashMap<Key32, Option<PathBuf>>>,
}

impl Images {
    /// Whether the kernel takes images as layers. Tried the first time.
    pub fn work(&self, store: &Store) -> bool {
        self.place(store).is_some()
    }

    fn place(&self, store: &Store) -> Option<&SnapshotDraft> {
        self.place.get_or_init(|| store.begin_snapshot().ok().filter(|draft| works(draft).is_some())).as_ref()
    }

    /// The image of the layer that `chain` ends with, whose tar is at `tar`; `None` when the layer, or this kernel, has
    /// none. What a layer shows as one of several depends on those below.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn image(
        &self,
        store: &Store,
        chain: &Key32,
        index: &LayerIndex,
        lower: Option<&dyn Lower>,
        tar: &Path,
    ) -> Result<Option<PathBuf>> {
        let Some(draft) = self.place(store) else { return Ok(None) };
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = made.get(chain) {
            return Ok(known.clone());
        }
        let image = match erofs::image(index, &uuid(chain), lower) {
            None => None,
            Some(bytes) => Some(keep(draft, made.len(), &bytes, tar)?),
        };
        made.insert(*chain, image.clone());
        Ok(image)
    }
}

/// Overlayfs tells layers apart by this.
fn uuid(chain: &Key32) -> [u8; 16] {
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&chain.0[..16]);
    uuid
}

fn keep(draft: &SnapshotDraft, number: usize, bytes: &[u8], tar: &Path) -> Result<PathBuf> {
    let path = draft.path().join(format!("layer{number}"));
    fs::write(&path, bytes).map_err(EngineError::file("write", &path))?;
    let beside = path.with_added_extension(TAR);
    // A second name: the tar stays with the image whatever happens to it in the store.
    fs::hard_link(tar, &beside)
        .or_else(|_| std::os::unix::fs::symlink(tar, &beside))
        .map_err(EngineError::file("link the layer to", &beside))?;
    Ok(path)
}

/// Tries an image of nothing.
fn works(draft: &SnapshotDraft) -> Option<()> {
    let nothing = draft.path().join("nothing");
    let tar = nothing.with_added_extension(TAR);
    let image = erofs::image(&LayerIndex::default(), &[1; 16], None)?;
    fs::write(&nothing, image).and_then(|()| fs::write(&tar, [0; 1024])).ok()?;
    let tried = kiln_sandbox::probe_image(&nothing, draft.fs());
    let _ = fs::remove_file(&nothing).and_then(|()| fs::remove_file(&tar));
    tried.ok()
}
