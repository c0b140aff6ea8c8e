//! A place that is looked into.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use kiln_oci::{Descriptor, Mtime, Platform, Reference, media};
use kiln_plan::Key;
use kiln_registry::RegistryError;

use super::entry::{self, Entry, Found};
use super::place::{Place, tagged};
use crate::bucket::Opened;
use crate::error::{EngineError, Result};
use crate::images::{Images, Provider};
use crate::layout;

/// A place, and what is known of it.
pub(super) struct Source {
    pub place: Place,
    shelf: Shelf,
    /// It failed as a whole, and is not asked again.
    off: AtomicBool,
}

enum Shelf {
    Repository(Reference),
    /// With what is listed there, by tag; read once.
    Layout(PathBuf, OnceLock<HashMap<String, Descriptor>>),
    Bucket(Arc<Opened>),
    /// With what its layers say, by platform and key; read once for each platform.
    Image(Reference, Mutex<HashMap<String, Arc<Layers>>>),
}

/// Layers of an image that came of steps, by the steps' keys.
type Layers = HashMap<String, Entry>;

/// An entry, and when it was pushed.
type Aged = (Entry, Option<Mtime>);

/// An entry, and where its layer is.
type Placed = (Found, Provider);

/// Why there is no answer.
pub(super) struct Trouble {
    pub error: Box<EngineError>,
    /// Whether it is the place that fails, and not one entry of it.
    pub whole: bool,
}

impl From<EngineError> for Trouble {
    fn from(error: EngineError) -> Trouble {
        let whole = match &error {
            EngineError::Object { .. } => true,
            EngineError::Registry(e) => matches!(
                **e,
                RegistryError::Connect { .. }
                    | RegistryError::Untrusted { .. }
                    | RegistryError::Stalled { .. }
                    | RegistryError::Unauthorized { .. }
                    | RegistryError::TokenRefused { .. }
            ),
            _ => false,
        };
        Trouble { error: Box::new(error), whole }
    }
}

impl Source {
    /// A place to look into.
    ///
    /// # Errors
    /// When what is configured about it cannot be used.
    pub(super) fn open(place: Place, images: &Images) -> Result<Source> {
        let shelf = match &place {
            Place::Repository(repository) => Shelf::Repository(repository.clone()),
            Place::Layout(dir) => Shelf::Layout(dir.clone(), OnceLock::new()),
            Place::Bucket(bucket) => Shelf::Bucket(Arc::new(bucket.open(images.client().config().cancel.clone())?)),
            Place::Image(image) => Shelf::Image(image.clone(), Mutex::default()),
        };
        Ok(Source { place, shelf, off: AtomicBool::new(false) })
    }

    /// The entry of a key, and when it was pushed, if that is known; `None` where there is none, or nothing is asked any
    /// more. Where its layer can be had is told to `images`.
    pub(super) fn ask(&self, images: &Images, platform: &Platform, key: &Key) -> Result<Option<Aged>, Trouble> {
        if self.off.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let found = match &self.shelf {
            Shelf::Repository(repository) => in_repository(images, &tagged(repository, key), key),
            Shelf::Layout(dir, listed) => in_layout(dir, listed, key),
            Shelf::Bucket(bucket) => in_bucket(bucket, key),
            Shelf::Image(image, known) => {
                let layers = layers_of(images, image, known, platform).map_err(|e| self.whole(e))?;
                return Ok(layers.get(&key.to_string()).map(|entry| (entry.clone(), None)));
            }
        };
        let Some((found, provider)) = found.map_err(|e| self.told(e.into()))? else { return Ok(None) };
        images.provide(&found.manifest, &provider);
        Ok(Some((found.entry, Some(found.pushed))))
    }

    /// An image is one document: without it there is nothing to ask for.
    fn whole(&self, error: EngineError) -> Trouble {
        self.told(Trouble { error: Box::new(error), whole: true })
    }

    /// Only the first of several threads tells that the place fails.
    fn told(&self, mut trouble: Trouble) -> Trouble {
        if trouble.whole && self.off.swap(true, Ordering::Relaxed) {
            trouble.error = Box::new(EngineError::Cancelled);
        }
        trouble
    }
}

fn in_repository(images: &Images, name: &Reference, key: &Key) -> Result<Option<Placed>> {
    match images.client().manifest(name) {
        Ok(fetched) => {
            let found = entry::read(&name.to_string(), &fetched.descriptor, &fetched.bytes, key)?;
            Ok(Some((found, Provider::Registry(name.clone()))))
        }
        Err(RegistryError::NotFound { .. }) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

fn in_layout(dir: &Path, listed: &OnceLock<HashMap<String, Descriptor>>, key: &Key) -> Result<Option<Placed>> {
    let tags = match listed.get() {
        Some(tags) => tags,
        None => {
            let tags = list(dir);
            // Who comes second reads what the first one found, or nothing.
            let found = listed.get_or_init(|| tags.as_ref().map(Clone::clone).unwrap_or_default());
            tags?;
            found
        }
    };
    let Some(descriptor) = tags.get(&key.to_string()) else { return Ok(None) };
    let bytes = layout::read(dir, descriptor)?;
    let found = entry::read(&format!("{}:{key}", dir.display()), descriptor, &bytes, key)?;
    Ok(Some((found, Provider::Layout(dir.to_owned()))))
}

fn list(dir: &Path) -> Result<HashMap<String, Descriptor>> {
    // The first build finds nothing, and makes it.
    if !dir.join("index.json").exists() {
        return Ok(HashMap::new());
    }
    let index = layout::index(dir)?;
    Ok(index.manifests.into_iter().filter_map(|d| Some((layout::tag(&d)?.to_owned(), d))).collect())
}

fn in_bucket(bucket: &Arc<Opened>, key: &Key) -> Result<Option<Placed>> {
    let Some(bytes) = bucket.document(&key.to_string())? else { return Ok(None) };
    let name = format!("{} {key}", bucket.bucket());
    let found = entry::read(&name, &Descriptor::of(media::OCI_MANIFEST, &bytes), &bytes, key)?;
    Ok(Some((found, Provider::Bucket(bucket.clone()))))
}

/// The layers of an image for a platform that say which step they came of.
fn layers_of(
    images: &Images,
    image: &Reference,
    known: &Mutex<HashMap<String, Arc<Layers>>>,
    platform: &Platform,
) -> Result<Arc<Layers>> {
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(layers) = known.get(&platform.to_string()) {
        return Ok(layers.clone());
    }
    let bad = |message: &str| EngineError::Image { name: image.to_string(), message: message.to_owned() };
    let manifest = images.manifest(image, platform)?;
    let said = |layer: &Descriptor| {
        let key = layer.annotations.get(entry::KEY)?.clone();
        Some(entry::entry(&layer.annotations, layer).map(|entry| (key, entry)))
    };
    let layers: Result<Layers, _> = manifest.layers.iter().filter_map(said).collect();
    let layers = Arc::new(layers.map_err(bad)?);
    if layers.is_empty() {
        return Err(bad("its layers do not say which steps they came of: build it with --cache-to type=inline"));
    }
    images.provide(&manifest, &Provider::Registry(image.clone()));
    known.insert(platform.to_string(), layers.clone());
    Ok(layers)
}
