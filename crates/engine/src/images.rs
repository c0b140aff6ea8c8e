//! Where images come from: the store first, then the registry. Manifests and configurations are fetched when an image
//! is resolved; layers only when a step reads them or an output needs them.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use kiln_oci::{Descriptor, Digest, ImageConfig, Index, Manifest, Platform, Reference, media};
use kiln_plan::facts::{ImageFact, ImageName, ImageQuery};
use kiln_registry::{BlobSink, Client, RegistryError};
use kiln_store::{BlobWriter, ErrorKind, Lease, Store};

use crate::bucket;
use crate::error::{EngineError, Result};
use crate::event::{Direction, Event, Events, Phase, Spending};

/// Manifests and configurations larger than this are refused.
pub const MAX_DOCUMENT: u64 = 16 << 20;

/// When a registry is asked although the store has an image of that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pull {
    /// Never while the store has it.
    Missing,
    /// Always.
    Always,
    /// Not even if the store lacks it.
    Never,
}

/// Where the bytes of a blob can be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Provider {
    /// A repository.
    Registry(Reference),
    /// An OCI layout.
    Layout(PathBuf),
    /// A bucket of an object store.
    Bucket(Arc<bucket::Opened>),
}

/// One image of one platform, resolved.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The platform's manifest.
    pub manifest: Manifest,
    /// Its descriptor.
    pub descriptor: Descriptor,
    /// Its configuration.
    pub config: ImageConfig,
}

/// Finds images and fetches their parts.
pub struct Images {
    store: Store,
    client: Client,
    pull: Pull,
    providers: Mutex<HashMap<Digest, Provider>>,
    fetching: Mutex<HashMap<Digest, Arc<Mutex<()>>>>,
    /// Layouts that may have blobs of any image.
    layouts: Mutex<Vec<PathBuf>>,
    /// Blobs whose provider failed.
    broken: Mutex<HashSet<Digest>>,
    lease: Arc<Lease>,
    events: Arc<dyn Events>,
}

impl Images {
    /// Images of `store`, completed from registries through `client`.
    pub fn new(store: Store, client: Client, pull: Pull, lease: Arc<Lease>, events: Arc<dyn Events>) -> Images {
        let (providers, fetching, layouts, broken) = Default::default();
        Images { store, client, pull, providers, fetching, layouts, broken, lease, events }
    }

    /// The registry client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Answers a planner's question.
    ///
    /// # Errors
    /// When there is no such image, none for the platform, or it cannot be read.
    pub fn answer(&self, query: &ImageQuery) -> Result<ImageFact> {
        let (name, resolved) = match &query.name {
            ImageName::Reference(text) => {
                let reference: Reference = text.parse().map_err(|e| image_error(text, e))?;
                let resolved = self.resolve(&reference, &query.platform)?;
                (reference.to_string(), resolved)
            }
            ImageName::OciLayout(text) => (text.clone(), self.resolve_layout(text, &query.platform)?),
        };
        let (layers, ids) = (resolved.manifest.layers.len(), resolved.config.rootfs.diff_ids.len());
        if layers != ids {
            return Err(image_error(&name, format!("its manifest lists {layers} layers, its configuration {ids}")));
        }
        let digest = resolved.descriptor.digest;
        let name = if name.contains('@') { name } else { format!("{name}@{digest}") };
        Ok(ImageFact { name, digest, config: resolved.config, layers: resolved.manifest.layers })
    }

    /// Resolves a reference for a platform: in the store, else in its registry.
    ///
    /// # Errors
    /// When there is no such image, none for the platform, or it cannot be read.
    pub fn resolve(&self, reference: &Reference, platform: &Platform) -> Result<Resolved> {
        let name = reference.to_string();
        if self.pull != Pull::Always
            && let Some(local) = self.local(reference)?
        {
            match self.resolve_stored(&name, &local, platform) {
                Err(e) if self.pull == Pull::Missing && is_incomplete(&e) => {}
                Ok(resolved) => {
                    if self.pull == Pull::Missing {
                        // Its documents may have come without its layers.
                        self.provide(&resolved.manifest, &Provider::Registry(reference.clone()));
                    }
                    return Ok(resolved);
                }
                Err(e) => return Err(e),
            }
        }
        if self.pull == Pull::Never {
            return Err(EngineError::NoSuchImage(reference.familiar()));
        }
        let top = self.client.resolve(reference)?;
        let bytes = self.document(&top, reference)?;
        let (descriptor, bytes) = match media::is_index(&top.media_type) {
            true => {
                let index: Index = parse(&name, &bytes)?;
                let child = choose(&name, &index, platform)?.clone();
                let bytes = self.document(&child, reference)?;
                (child, bytes)
            }
            false => (top, bytes),
        };
        let manifest: Manifest = parse_manifest(&name, &descriptor, &bytes)?;
        self.provide(&manifest, &Provider::Registry(reference.clone()));
        self.fetch(&manifest.config)?;
        let config = self.config(&name, &manifest.config)?;
        Ok(Resolved { manifest, descriptor, config })
    }

    /// The manifest that a registry has for a platform under this name, whatever the store has.
    ///
    /// # Errors
    /// When there is no such image, none for the platform, or it cannot be read.
    pub fn manifest(&self, reference: &Reference, platform: &Platform) -> Result<Manifest> {
        let name = reference.to_string();
        let top = self.client.resolve(reference)?;
        let mut bytes = self.document(&top, reference)?;
        let mut descriptor = top;
        if media::is_index(&descriptor.media_type) {
            descriptor = choose(&name, &parse(&name, &bytes)?, platform)?.clone();
            bytes = self.document(&descriptor, reference)?;
        }
        parse_manifest(&name, &descriptor, &bytes)
    }

    /// The descriptor the store has under this name.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn local(&self, reference: &Reference) -> Result<Option<Descriptor>> {
        let found = self.store.get_ref(&reference.to_string())?;
        match (&reference.digest, found) {
            (None, found) => Ok(found),
            // A digest says what is meant; whether some name points to it does not matter.
            (Some(digest), _) => {
                let size = self.store.blob_size(digest);
                Ok(size.and_then(|size| {
                    let bytes = self.store.read_blob(digest, MAX_DOCUMENT).ok()?;
                    Some(Descriptor::new(&media_type_of(&bytes)?, digest.clone(), size))
                }))
            }
        }
    }

    /// Resolves an image whose blobs are in the store.
    ///
    /// # Errors
    /// When it has nothing for the platform or cannot be read.
    pub fn resolve_stored(&self, name: &str, top: &Descriptor, platform: &Platform) -> Result<Resolved> {
        self.lease.touch_blob(&top.digest)?;
        let bytes = self.store.read_blob(&top.digest, MAX_DOCUMENT)?;
        let (descriptor, bytes) = match media::is_index(&top.media_type) {
            true => {
                let index: Index = parse(name, &bytes)?;
                let child = choose(name, &index, platform)?.clone();
                let bytes = self.store.read_blob(&child.digest, MAX_DOCUMENT)?;
                (child, bytes)
            }
            false => (top.clone(), bytes),
        };
        let manifest = parse_manifest(name, &descriptor, &bytes)?;
        let config = self.config(name, &manifest.config)?;
        Ok(Resolved { manifest, descriptor, config })
    }

    fn config(&self, name: &str, descriptor: &Descriptor) -> Result<ImageConfig> {
        let bytes = self.store.read_blob(&descriptor.digest, MAX_DOCUMENT)?;
        parse(name, &bytes)
    }

    /// A manifest or index, from the store if it is there, else from the registry; kept in the store.
    fn document(&self, descriptor: &Descriptor, reference: &Reference) -> Result<Vec<u8>> {
        self.lease.touch_blob(&descriptor.digest)?;
        if self.store.has_blob(&descriptor.digest)
            && let Ok(bytes) = self.store.read_blob(&descriptor.digest, MAX_DOCUMENT)
        {
            return Ok(bytes);
        }
        let fetched = self.client.manifest(&reference.at(descriptor.digest.clone()))?;
        self.store.put(&fetched.bytes)?;
        Ok(fetched.bytes.to_vec())
    }

    fn resolve_layout(&self, text: &str, platform: &Platform) -> Result<Resolved> {
        let layout = crate::layout::Layout::find(text)?;
        let (top, dir) = (layout.descriptor, layout.dir);
        let bytes = crate::layout::read(&dir, &top)?;
        let (descriptor, bytes) = match media::is_index(&top.media_type) {
            true => {
                let index: Index = parse(text, &bytes)?;
                let child = choose(text, &index, platform)?.clone();
                let bytes = crate::layout::read(&dir, &child)?;
                (child, bytes)
            }
            false => (top, bytes),
        };
        self.store.put(&bytes)?;
        let manifest = parse_manifest(text, &descriptor, &bytes)?;
        self.provide(&manifest, &Provider::Layout(dir));
        self.fetch(&manifest.config)?;
        let config = self.config(text, &manifest.config)?;
        Ok(Resolved { manifest, descriptor, config })
    }

    /// Remembers where the blobs of a manifest can be had.
    pub fn provide(&self, manifest: &Manifest, provider: &Provider) {
        let mut providers = self.providers.lock().unwrap_or_else(PoisonError::into_inner);
        for descriptor in manifest.layers.iter().chain([&manifest.config]) {
            providers.insert(descriptor.digest.clone(), provider.clone());
        }
    }

    /// Where a blob that the store lacks can be had.
    pub fn provider(&self, digest: &Digest) -> Option<Provider> {
        self.providers.lock().unwrap_or_else(PoisonError::into_inner).get(digest).cloned()
    }

    /// Makes sure the store has a blob; several threads asking for one blob wait for one transfer.
    ///
    /// # Errors
    /// When it is nowhere to be had, or the transfer fails.
    pub fn fetch(&self, descriptor: &Descriptor) -> Result<()> {
        self.lease.touch_blob(&descriptor.digest)?;
        if self.store.has_blob(&descriptor.digest) {
            return Ok(());
        }
        let gate = {
            let mut fetching = self.fetching.lock().unwrap_or_else(PoisonError::into_inner);
            fetching.entry(descriptor.digest.clone()).or_default().clone()
        };
        let _one_at_a_time = gate.lock().unwrap_or_else(PoisonError::into_inner);
        if self.store.has_blob(&descriptor.digest) {
            return Ok(());
        }
        if self.found_beside(descriptor) {
            return Ok(());
        }
        let fetched = match self.provider(&descriptor.digest) {
            Some(Provider::Registry(reference)) => self.download(descriptor, &|writer, progress| {
                let mut sink = Sink(writer);
                self.client.blob(&reference, descriptor, &mut sink, progress)?;
                // The client has compared every byte with the digest.
                sink.0.commit_hashed(descriptor.digest.clone())?;
                Ok(())
            }),
            Some(Provider::Bucket(bucket)) => self
                .download(descriptor, &|writer, progress| bucket.fetch(descriptor, writer, self.store.dir(), progress)),
            Some(Provider::Layout(dir)) => crate::layout::copy(&dir, descriptor, &self.store),
            None => Err(EngineError::Image {
                name: descriptor.digest.to_string(),
                message: "the blob is not in the store, and nothing says where it can be had".to_owned(),
            }),
        };
        if fetched.as_ref().is_err_and(speaks_of_the_blob) {
            self.broken.lock().unwrap_or_else(PoisonError::into_inner).insert(descriptor.digest.clone());
        }
        fetched
    }

    /// Lets blobs be taken from an OCI layout, whatever image they are of: what is in it is what its digest says, or is
    /// passed over.
    pub fn look_in(&self, layout: &Path) {
        self.layouts.lock().unwrap_or_else(PoisonError::into_inner).push(layout.to_owned());
    }

    /// Takes a blob from one of the layouts.
    fn found_beside(&self, descriptor: &Descriptor) -> bool {
        let layouts = self.layouts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        layouts.iter().filter(|dir| crate::layout::has(dir, &descriptor.digest)).any(|dir| {
            let copied = crate::layout::copy(dir, descriptor, &self.store);
            if let Err(e) = &copied {
                let text = crate::rootfs::chain_text(e);
                let text =
                    format!("the blob {} in {} is passed over: {text}", descriptor.digest.short(), dir.display());
                self.events.event(&Event::Warning(&text));
            }
            copied.is_ok()
        })
    }

    /// Whether a blob could not be had from where it should be.
    pub fn is_broken(&self, digest: &Digest) -> bool {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).contains(digest)
    }

    /// Fetches a blob with `transfer`, unless another process does.
    fn download(&self, descriptor: &Descriptor, transfer: &Transfer<'_>) -> Result<()> {
        let _spending = Spending::on(Phase::Fetch, &*self.events);
        let name = descriptor.digest.short();
        let total = Some(descriptor.size);
        let done = std::sync::atomic::AtomicU64::new(0);
        let report = |current: u64, finished: bool| {
            self.events.event(&Event::Transfer {
                name: &name,
                direction: Direction::Download,
                current,
                total,
                finished,
            });
        };
        let stopped = || self.client.config().cancel.load(std::sync::atomic::Ordering::Relaxed);
        let waited = || {
            // Another process fetches it: its progress is ours.
            report(self.store.downloaded(&descriptor.digest).min(descriptor.size), false);
            stopped()
        };
        let writer = match self.store.download(&descriptor.digest, descriptor.size, &waited) {
            Ok(Some(writer)) => writer,
            Ok(None) => {
                report(descriptor.size, true);
                return Ok(());
            }
            Err(_) if stopped() => return Err(EngineError::Cancelled),
            Err(e) => return Err(e.into()),
        };
        transfer(writer, &|delta: u64| {
            report(done.fetch_add(delta, std::sync::atomic::Ordering::Relaxed) + delta, false);
        })?;
        report(descriptor.size, true);
        Ok(())
    }
}

/// Brings a blob and keeps it, telling how many bytes came.
type Transfer<'a> = dyn Fn(BlobWriter, &dyn Fn(u64)) -> Result<()> + 'a;

/// Whether a failure to fetch a blob is its provider's: a full disk and a wish to stop say nothing of it.
fn speaks_of_the_blob(error: &EngineError) -> bool {
    match error {
        EngineError::Registry(e) => !e.is_cancelled() && !matches!(**e, RegistryError::Sink { .. }),
        EngineError::Store(e) => !matches!(e.kind(), ErrorKind::NoSpace | ErrorKind::ReadOnly | ErrorKind::Permission),
        EngineError::File { source, .. } => kiln_store::error::kind_of(source) != ErrorKind::NoSpace,
        EngineError::Object { .. } | EngineError::Damaged { .. } => true,
        _ => false,
    }
}

/// A blob on its way into the store.
pub struct Sink(pub BlobWriter);

impl BlobSink for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        std::io::Write::write_all(&mut self.0, bytes)
    }

    fn reset(&mut self) -> std::io::Result<()> {
        self.0.reset().map_err(std::io::Error::other)
    }

    fn replay(&mut self, piece: &mut dyn FnMut(&[u8])) -> std::io::Result<()> {
        self.0.replay(piece)
    }
}

/// Whether the store has only a part of an image: an index, of which another platform was fetched.
fn is_incomplete(error: &EngineError) -> bool {
    match error {
        EngineError::NoPlatform { .. } => true,
        EngineError::Store(e) => e.kind() == ErrorKind::Missing,
        _ => false,
    }
}

fn image_error(name: &str, message: impl ToString) -> EngineError {
    EngineError::Image { name: name.to_owned(), message: message.to_string() }
}

pub(crate) fn parse<T: serde::de::DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|e| image_error(name, format!("a document of it cannot be read: {e}")))
}

pub(crate) fn parse_manifest(name: &str, descriptor: &Descriptor, bytes: &[u8]) -> Result<Manifest> {
    if !media::is_manifest(&descriptor.media_type) {
        return Err(image_error(name, format!("`{}` is not an image manifest", descriptor.media_type)));
    }
    parse(name, bytes)
}

/// The manifest of an index that serves a platform.
pub fn choose<'a>(name: &str, index: &'a Index, platform: &Platform) -> Result<&'a Descriptor> {
    if let Some(found) = index.select(platform) {
        return Ok(found);
    }
    // One manifest without a platform stands for all.
    let plain: Vec<&Descriptor> = index.manifests.iter().filter(|d| media::is_manifest(&d.media_type)).collect();
    if let [only] = plain[..]
        && only.platform.is_none()
    {
        return Ok(only);
    }
    let have = index.manifests.iter().filter_map(|d| d.platform.as_ref()).map(ToString::to_string).collect();
    Err(EngineError::NoPlatform { name: name.to_owned(), platform: Box::new(platform.clone()), have })
}

/// The media type a document states, or what its fields say it must be.
pub fn media_type_of(bytes: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    if let Some(stated) = value.get("mediaType").and_then(|v| v.as_str()) {
        return Some(stated.to_owned());
    }
    match (value.get("manifests"), value.get("layers")) {
        (Some(_), _) => Some(media::OCI_INDEX.to_owned()),
        (None, Some(_)) => Some(media::OCI_MANIFEST.to_owned()),
        (None, None) => None,
    }
}

/// Whether an error says that a registry has no such thing.
pub fn is_missing(error: &EngineError) -> bool {
    match error {
        EngineError::NoSuchImage(_) => true,
        EngineError::Registry(e) => matches!(&**e, RegistryError::NotFound { .. }),
        _ => false,
    }
}
