//! Container images for nodes, as archives or as blobs: from the store, else from their registries; from archives and layouts.

use std::io::Read;
use std::path::Path;

use kiln_engine::Session;
use kiln_engine::archive::{self, Input};
use kiln_engine::output::Dest;
use kiln_engine::transfer::{Mover, Origin, Platforms};
use kiln_oci::{Descriptor, Platform, Reference, media};
use kiln_sandbox::Cancel;

use crate::error::{NodeError, Result};
use crate::preload::Stored;
use crate::provision::own::Image;

/// A place that container images come from.
pub trait Images: Sync {
    /// Writes one image into an archive that `docker load` and `ctr images import` read.
    ///
    /// # Errors
    /// When there is no such image, or the archive cannot be written.
    fn archive(&self, name: &str, to: &Path, cancel: &Cancel) -> Result<()>;

    /// Writes the blobs of an image, or of all images of an archive, into a directory, each under the hexadecimal digits of
    /// its SHA-256, and says what is there.
    ///
    /// # Errors
    /// When there is no such image, a blob cannot be had, or the directory cannot be written.
    fn content(&self, image: &Image, to: &Path, cancel: &Cancel) -> Result<Vec<Stored>>;
}

/// The store and registries that a session of the engine has.
pub struct Known {
    /// The session.
    pub session: Session,
    /// Which platform's images are taken.
    pub platform: Platform,
}

impl Images for Known {
    fn archive(&self, name: &str, to: &Path, cancel: &Cancel) -> Result<()> {
        let reference = reference(name)?;
        let mover = Mover { cancel, ..Mover::of(&self.session) };
        let (origin, root) = match self.session.images.local(&reference)? {
            Some(root) => (Origin::Store, root),
            None => (Origin::Registry(reference.clone()), mover.images.client().resolve(&reference).map_err(engine)?),
        };
        let platforms = Platforms::One(self.platform.clone());
        let selection = mover.select(&origin, &reference.familiar(), root, &platforms)?;
        let names = vec![reference];
        Ok(mover.archive(&[(selection, names)], true, &Dest::Path(to.to_owned()))?)
    }

    fn content(&self, image: &Image, to: &Path, cancel: &Cancel) -> Result<Vec<Stored>> {
        let mover = Mover { cancel, ..Mover::of(&self.session) };
        let found = match image {
            Image::Name(name) => {
                let reference = reference(name)?;
                let (origin, root) = match self.session.images.local(&reference)? {
                    Some(root) => (Origin::Store, root),
                    None => {
                        let root = mover.images.client().resolve(&reference).map_err(engine)?;
                        (Origin::Registry(reference.clone()), root)
                    }
                };
                vec![(origin, root, vec![reference])]
            }
            Image::Archive(path) => {
                let input = Input::Path(path.into());
                let all = archive::select(&mover, &input)?.into_iter();
                let found: Vec<_> = all.map(|(selection, names)| (selection.origin, selection.root, names)).collect();
                if let Some((_, root, _)) = found.iter().find(|(_, _, names)| names.is_empty()) {
                    return Err(NodeError::Unsupported {
                        what: format!("`{path}`: the image {} has no name, and pods name images", root.digest),
                        hint: Some("save it with its name: kiln save -o image.tar NAME".to_owned()),
                    });
                }
                found
            }
        };
        found.into_iter().map(|(origin, root, names)| self.store(&mover, &origin, root, names, to)).collect()
    }
}

/// An index has no more bytes.
const MAX_INDEX: u64 = 8 << 20;

impl Known {
    /// Writes one image. Of an index, the platform's manifest is there, and the index itself under its digest, which is what
    /// a registry knows the image by.
    fn store(
        &self,
        mover: &Mover<'_>,
        origin: &Origin,
        root: Descriptor,
        names: Vec<Reference>,
        to: &Path,
    ) -> Result<Stored> {
        let title = names.first().map_or_else(|| root.digest.to_string(), Reference::familiar);
        let selection = mover.select(origin, &title, root.clone(), &Platforms::One(self.platform.clone()))?;
        let mut documents = selection.documents.clone();
        if selection.root.digest != root.digest {
            let mut bytes = Vec::new();
            let read = mover.open(origin, &root)?.take(MAX_INDEX).read_to_end(&mut bytes);
            read.map_err(NodeError::file("read the index of", title.as_str()))?;
            documents.push((root.clone(), bytes));
        }
        let layers = || selection.manifests.iter().flat_map(|(_, manifest)| &manifest.layers);
        if let Some(layer) = layers().find(|layer| media::is_foreign(&layer.media_type)) {
            return Err(NodeError::Unsupported {
                what: format!("`{title}` has a layer that is not passed on: {}", layer.digest),
                hint: None,
            });
        }
        for (descriptor, bytes) in &documents {
            blob(to, descriptor, &mut &bytes[..])?;
        }
        let blobs = selection.blobs();
        for descriptor in &blobs {
            blob(to, descriptor, &mut mover.open(origin, descriptor)?)?;
        }
        let configs = selection.manifests.iter().map(|(_, manifest)| manifest.config.clone()).collect();
        Ok(Stored { names, root, documents, blobs, configs })
    }
}

/// Writes a blob, unless it is there: images share them.
fn blob(to: &Path, descriptor: &Descriptor, from: &mut dyn Read) -> Result<()> {
    if !descriptor.digest.to_string().starts_with("sha256:") {
        let what = format!("{}: containerd is given blobs by their SHA-256 only", descriptor.digest);
        return Err(NodeError::Unsupported { what, hint: None });
    }
    let path = to.join(descriptor.digest.hex());
    if path.is_file() {
        return Ok(());
    }
    let failed = || NodeError::file("write", &path);
    let mut draft = tempfile::NamedTempFile::new_in(to).map_err(failed())?;
    std::io::copy(from, &mut draft).map_err(failed())?;
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o444);
    draft.as_file().set_permissions(readable).map_err(failed())?;
    draft.persist(&path).map_err(|e| failed()(e.error)).map(drop)
}

fn reference(name: &str) -> Result<Reference> {
    name.parse().map_err(|e: kiln_oci::reference::ReferenceError| NodeError::Unsupported {
        what: format!("`{name}` is no name of an image: {e}"),
        hint: None,
    })
}

fn engine(e: impl Into<kiln_engine::EngineError>) -> NodeError {
    e.into().into()
}
