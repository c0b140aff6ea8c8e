//! Images between places: the store, registries, OCI layouts and archives.
//!
//! [`Mover::select`] reads the documents of an image, all platforms or one     [`Mover::keep`] into the store (`pull`)
//! [`push`] to a registry     [`write`] into an archive or layout     [`stream`] blobs that are never kept here
//!
//! A name moves last, and only when everything it means has arrived and was verified.

pub mod push;
pub mod stream;
pub mod write;

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use kiln_oci::{Descriptor, Digest, ImageConfig, Index, Manifest, Platform, Reference, media};
use kiln_sandbox::Cancel;
use kiln_store::Store;

use crate::error::{EngineError, Result};
use crate::event::{Event, Events};
use crate::images::{Images, MAX_DOCUMENT, Provider, choose, parse, parse_manifest};
use crate::session::Session;

/// How many blobs move at once.
const AT_ONCE: usize = 4;
/// As many documents an image may have: platforms, and what refers to them.
const MAX_DOCUMENTS: usize = 4096;
/// As deep indexes may hold indexes.
const MAX_NESTING: usize = 4;

/// Which platforms of an image are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Platforms {
    /// All of them: the index, if there is one.
    All,
    /// One: its manifest.
    One(Platform),
}

/// Where an image's blobs are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The store; what it lacks and a provider is known for is fetched.
    Store,
    /// A repository.
    Registry(Reference),
    /// The directory of an OCI layout.
    Layout(PathBuf),
}

/// An image, or the part of it that was chosen: its documents are here, its blobs where `origin` says.
#[derive(Debug, Clone)]
pub struct Selection {
    /// What people call it.
    pub name: String,
    /// Where its blobs are.
    pub origin: Origin,
    /// Its manifest or index.
    pub root: Descriptor,
    /// Manifests and indexes with their bytes, what an index names before the index: the root is last.
    pub documents: Vec<(Descriptor, Vec<u8>)>,
    /// The manifests among them, read.
    pub manifests: Vec<(Descriptor, Manifest)>,
}

impl Selection {
    /// Configurations and layers, each once; without layers that may not be passed on.
    pub fn blobs(&self) -> Vec<Descriptor> {
        let mut seen = BTreeMap::new();
        for (_, manifest) in &self.manifests {
            for descriptor in manifest.layers.iter().chain([&manifest.config]) {
                if !media::is_foreign(&descriptor.media_type) {
                    seen.entry(descriptor.digest.clone()).or_insert_with(|| descriptor.clone());
                }
            }
        }
        seen.into_values().collect()
    }
}

/// What images are moved with.
#[derive(Clone, Copy)]
pub struct Mover<'a> {
    /// The store.
    pub store: &'a Store,
    /// Registries, and what is known of where blobs are.
    pub images: &'a Images,
    /// Who is told.
    pub events: &'a dyn Events,
    /// Set when the user stops it.
    pub cancel: &'a Cancel,
}

impl<'a> Mover<'a> {
    /// With what a build has.
    pub fn of(session: &'a Session) -> Mover<'a> {
        Mover { store: &session.store, images: &session.images, events: &*session.events, cancel: &session.cancel }
    }

    /// Fails if the user has stopped it.
    ///
    /// # Errors
    /// [`EngineError::Cancelled`].
    pub fn check(&self) -> Result<()> {
        if self.cancel.is_cancelled() { Err(EngineError::Cancelled) } else { Ok(()) }
    }

    /// Fetches an image into the store and names it.
    ///
    /// # Errors
    /// When the registry does not have it or fails, or the store cannot be written.
    pub fn pull(&self, reference: &Reference, platforms: &Platforms) -> Result<Descriptor> {
        let root = self.images.client().resolve(reference)?;
        let origin = Origin::Registry(reference.clone());
        // What is contained in a cluster image belongs to it on every platform; a unikernel is for no machine, but for
        // monitors, and which of them it will be is not known yet.
        let whole = media::is_index(&root.media_type) && {
            let title = reference.familiar();
            let index: Index = parse(&title, &self.document(&origin, &root, &title)?)?;
            let asked = matches!(platforms, Platforms::One(platform) if platform.is_monitor());
            index.is_cluster() || (index.is_for_monitors() && !asked)
        };
        let platforms = if whole { &Platforms::All } else { platforms };
        let mut selection = self.select(&origin, &reference.familiar(), root.clone(), platforms)?;
        if reference.digest.is_some() && selection.root.digest != root.digest {
            // A name with a digest means what has the digest: the index, of which one platform is here.
            let bytes = self.document(&origin, &root, &reference.familiar())?;
            selection.documents.push((root.clone(), bytes));
            selection.root = root;
        }
        self.keep(&selection, std::slice::from_ref(reference))?;
        Ok(selection.root)
    }

    /// Reads the documents of an image.
    ///
    /// # Errors
    /// When a document is missing or not what it should be, or there is nothing for the platform.
    pub fn select(&self, origin: &Origin, name: &str, root: Descriptor, platforms: &Platforms) -> Result<Selection> {
        let mut selection = Selection {
            name: name.to_owned(),
            origin: origin.clone(),
            root: root.clone(),
            documents: Vec::new(),
            manifests: Vec::new(),
        };
        let chosen = match platforms {
            Platforms::One(platform) if media::is_index(&root.media_type) => {
                let index: Index = parse(name, &self.document(origin, &root, name)?)?;
                choose(name, &index, platform)?.clone()
            }
            _ => root,
        };
        self.collect(&mut selection, &chosen, 0, &mut HashSet::new())?;
        selection.root = chosen;
        Ok(selection)
    }

    /// The platforms an index lists.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn index_platforms(&self, origin: &Origin, name: &str, index: &Descriptor) -> Result<Vec<Platform>> {
        let index: Index = parse(name, &self.document(origin, index, name)?)?;
        Ok(index.manifests.into_iter().filter_map(|d| d.platform).collect())
    }

    fn collect(
        &self,
        into: &mut Selection,
        descriptor: &Descriptor,
        depth: usize,
        seen: &mut HashSet<Digest>,
    ) -> Result<()> {
        self.check()?;
        if !seen.insert(descriptor.digest.clone()) {
            return Ok(());
        }
        if depth > MAX_NESTING || seen.len() > MAX_DOCUMENTS {
            return Err(image_error(&into.name, "it has too many documents, or indexes nested too deeply"));
        }
        let bytes = self.document(&into.origin, descriptor, &into.name)?;
        if media::is_index(&descriptor.media_type) {
            let index: Index = parse(&into.name, &bytes)?;
            for child in &index.manifests {
                self.collect(into, child, depth + 1, seen)?;
            }
        } else {
            let manifest = parse_manifest(&into.name, descriptor, &bytes)?;
            into.manifests.push((descriptor.clone(), manifest));
        }
        into.documents.push((descriptor.clone(), bytes));
        Ok(())
    }

    /// A manifest or index of an image, verified.
    ///
    /// # Errors
    /// When it is missing, or not what its digest says.
    pub fn document(&self, origin: &Origin, descriptor: &Descriptor, name: &str) -> Result<Vec<u8>> {
        if self.store.has_blob(&descriptor.digest)
            && let Ok(bytes) = self.store.read_blob(&descriptor.digest, MAX_DOCUMENT)
        {
            return Ok(bytes);
        }
        match origin {
            Origin::Store => Err(image_error(
                name,
                match &descriptor.platform {
                    Some(platform) => format!(
                        "the store has no {platform} of it: fetch it with --all-platforms, or choose one with --platform"
                    ),
                    None => format!("its manifest {} is not in the store", descriptor.digest),
                },
            )),
            Origin::Registry(reference) => {
                let fetched = self.images.client().manifest(&reference.at(descriptor.digest.clone()))?;
                Ok(fetched.bytes.to_vec())
            }
            Origin::Layout(dir) => crate::layout::read(dir, descriptor),
        }
    }

    /// Brings all of a selection into the store, and gives it its names when everything is there.
    ///
    /// # Errors
    /// When a blob cannot be had, the image contradicts itself, or the store cannot be written.
    pub fn keep(&self, selection: &Selection, names: &[Reference]) -> Result<()> {
        let provider = match &selection.origin {
            Origin::Store => None,
            Origin::Registry(reference) => Some(Provider::Registry(reference.clone())),
            Origin::Layout(dir) => Some(Provider::Layout(dir.clone())),
        };
        for (_, manifest) in &selection.manifests {
            if let Some(provider) = &provider {
                self.images.provide(manifest, provider);
            }
            if manifest.layers.iter().any(|l| media::is_foreign(&l.media_type)) {
                let text = format!("{}: layers that may not be distributed are left out", selection.name);
                self.events.event(&Event::Warning(&text));
            }
        }
        self.parallel(&selection.blobs(), |descriptor| self.images.fetch(descriptor))?;
        for (_, manifest) in &selection.manifests {
            self.agree(&selection.name, manifest)?;
        }
        for (_, bytes) in &selection.documents {
            self.store.put(bytes)?;
        }
        for name in names {
            self.store.set_ref(&name.to_string(), &selection.root)?;
        }
        Ok(())
    }

    /// That a manifest and its configuration speak of the same layers.
    fn agree(&self, name: &str, manifest: &Manifest) -> Result<()> {
        if !matches!(&*manifest.config.media_type, media::OCI_CONFIG | media::DOCKER_CONFIG)
            || manifest.layers.iter().any(|l| l.media_type.starts_with("application/vnd.in-toto"))
        {
            return Ok(());
        }
        let bytes = self.store.read_blob(&manifest.config.digest, MAX_DOCUMENT)?;
        let config: ImageConfig = parse(name, &bytes)?;
        let (layers, ids) = (manifest.layers.len(), config.rootfs.diff_ids.len());
        match layers == ids {
            true => Ok(()),
            false => Err(image_error(name, format!("its manifest lists {layers} layers, its configuration {ids}"))),
        }
    }

    /// Opens a blob of a selection. Its bytes are verified by the time its end is read.
    ///
    /// # Errors
    /// When it cannot be had.
    pub fn open(&self, origin: &Origin, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>> {
        self.check()?;
        if self.store.has_blob(&descriptor.digest) {
            return Ok(Box::new(self.store.open_blob(&descriptor.digest)?));
        }
        match origin {
            Origin::Store => {
                self.images.fetch(descriptor)?;
                Ok(Box::new(self.store.open_blob(&descriptor.digest)?))
            }
            Origin::Registry(reference) => Ok(Box::new(stream::open(self.images.client(), reference, descriptor))),
            Origin::Layout(dir) => {
                let path = crate::layout::blob_path(dir, &descriptor.digest);
                let file = File::open(&path).map_err(EngineError::file("read the blob", &path))?;
                Ok(Box::new(stream::Verified::new(file, descriptor)))
            }
        }
    }

    /// Does something to each, several at once; the first failure ends it.
    ///
    /// # Errors
    /// The first failure.
    pub fn parallel<T: Sync>(&self, all: &[T], work: impl Fn(&T) -> Result<()> + Sync) -> Result<()> {
        let queue = Mutex::new(all.iter());
        let failure: Mutex<Option<EngineError>> = Mutex::default();
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE.min(all.len()) {
                scope.spawn(|| {
                    loop {
                        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                        let Some(item) = next else { return };
                        if failure.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
                            return;
                        }
                        if let Err(e) = self.check().and_then(|()| work(item)) {
                            failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(e);
                            return;
                        }
                    }
                });
            }
        });
        failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }
}

pub(crate) fn image_error(name: &str, message: impl ToString) -> EngineError {
    EngineError::Image { name: name.to_owned(), message: message.to_string() }
}
