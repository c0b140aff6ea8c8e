//! Layers of steps in a repository, which builds on other machines take instead of running the step again. An OCI layout
//! in a directory that machines share does as well.
//!
//! Each step is an image of one layer, tagged with the step's key: `REPOSITORY:<64 hex digits>`. So builds that share a
//! repository never write the same thing in two ways, a lookup is one request, and what is taken is not downloaded
//! before something reads it. Annotations of the manifest say the rest:
//!
//! ```text
//! build.kiln.step.diff-id           the digest of the uncompressed layer
//! build.kiln.step.created           when the step ran: what the history of the image says
//! org.opencontainers.image.created  when the entry was pushed: how old it is
//! org.opencontainers.image.title    the step in words
//! ```
//!
//! Nothing in the repository is trusted further than its digests go: an entry that is damaged is passed over with a
//! warning, and one whose layer turns out to be so makes the build start over without the cache. Who may write to the
//! repository, though, decides what a key means, as with every shared cache.
//!
//! [`upkeep`] listing entries, and removing old ones

pub mod upkeep;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::error::Error;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use kiln_oci::config::{History, RootFs};
use kiln_oci::{Descriptor, Digest, ImageConfig, Manifest, Mtime, Platform, Reference, media, time};
use kiln_plan::step::{Op, Step};
use kiln_plan::{Key, Plan};
use kiln_registry::RegistryError;
use kiln_sandbox::Cancel;
use kiln_store::Store;

use crate::error::{EngineError, Result};
use crate::event::{Event, Events};
use crate::images::{Images, Provider};
use crate::layout;
use crate::rootfs::{Layer, chain_text};
use crate::schedule::now;
use crate::transfer::{Mover, Origin};

const DIFF_ID: &str = "build.kiln.step.diff-id";
const RAN: &str = "build.kiln.step.created";
const PUSHED: &str = "org.opencontainers.image.created";
const TITLE: &str = "org.opencontainers.image.title";
/// Lookups, and entries on their way out, that move at once.
const AT_ONCE: usize = 4;

/// A place for entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A repository.
    Repository(Reference),
    /// The directory of an OCI layout, which need not be there yet.
    Layout(PathBuf),
}

impl Place {
    /// The entry of a key, for messages.
    fn entry(&self, key: &Key) -> String {
        match self {
            Place::Repository(repository) => tagged(repository, key).to_string(),
            Place::Layout(dir) => format!("{}:{key}", dir.display()),
        }
    }
}

/// What is cached where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Places that are looked into, in this order.
    pub from: Vec<Place>,
    /// The place that entries are pushed to.
    pub to: Option<Place>,
    /// How old an entry may be.
    pub ttl: Option<Duration>,
    /// Whether layers of all stages are pushed, or those of the result only.
    pub all: bool,
    /// Whether layers of `COPY` and `ADD` are in it.
    pub copies: bool,
    /// Whether layers of `RUN` and `WORKDIR` are in it.
    pub runs: bool,
}

/// A layer that a step made, and when.
type Entry = (Layer, String);

/// The cache of a build.
pub struct Remote {
    config: Config,
    images: Arc<Images>,
    events: Arc<dyn Events>,
    /// What the places have; `None` where they were asked in vain.
    known: Mutex<HashMap<Key, Option<Entry>>>,
    /// What is listed in layouts, by place and tag; read once.
    listed: HashMap<PathBuf, OnceLock<HashMap<String, Descriptor>>>,
    /// Layers that were taken.
    taken: Mutex<BTreeMap<Digest, Digest>>,
    off: AtomicBool,
    out: Mutex<Out>,
    work: Arc<Work>,
}

/// Entries on their way out.
#[derive(Default)]
struct Out {
    queue: Option<Sender<Offer>>,
    workers: Vec<JoinHandle<()>>,
    offered: BTreeSet<Key>,
}

struct Offer {
    key: Key,
    title: String,
    platform: Platform,
    layer: Layer,
    created: String,
}

/// What the threads that push need.
struct Work {
    queue: Mutex<Receiver<Offer>>,
    to: Option<Place>,
    store: Store,
    images: Arc<Images>,
    events: Arc<dyn Events>,
    cancel: Cancel,
    /// The first failure has been told; a registry that refuses one entry refuses all.
    failed: AtomicBool,
}

impl Remote {
    /// The cache for a build with this store and these registries.
    pub fn new(config: Config, store: Store, images: Arc<Images>, events: Arc<dyn Events>, cancel: Cancel) -> Remote {
        let (sender, receiver) = channel();
        let work = Work {
            queue: Mutex::new(receiver),
            to: config.to.clone(),
            store,
            images: images.clone(),
            events: events.clone(),
            cancel,
            failed: AtomicBool::new(false),
        };
        let out = Out { queue: Some(sender), ..Out::default() };
        let layouts = config.from.iter().filter_map(|place| match place {
            Place::Layout(dir) => Some((dir.clone(), OnceLock::new())),
            Place::Repository(_) => None,
        });
        Remote {
            listed: layouts.collect(),
            config,
            images,
            events,
            known: Mutex::default(),
            taken: Mutex::default(),
            off: AtomicBool::new(false),
            out: Mutex::new(out),
            work: Arc::new(work),
        }
    }

    /// Whether steps of this kind are cached here.
    pub fn has(&self, op: &Op) -> bool {
        match op {
            Op::Copy(_) => self.config.copies,
            Op::Run(_) | Op::Mkdir(_) => self.config.runs,
            Op::Scratch | Op::Image(_) => false,
        }
    }

    /// Asks for many steps at once.
    pub fn look(&self, keys: &[Key]) {
        if self.config.from.is_empty() || self.off.load(Ordering::Relaxed) {
            return;
        }
        let asked = |key: &&Key| !self.known.lock().unwrap_or_else(PoisonError::into_inner).contains_key(*key);
        let open: Vec<&Key> = keys.iter().filter(asked).collect();
        let queue = Mutex::new(open.iter());
        thread::scope(|scope| {
            for _ in 0..AT_ONCE.min(open.len()) {
                scope.spawn(|| {
                    loop {
                        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                        let Some(key) = next else { return };
                        let found = self.ask(key);
                        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(**key, found);
                    }
                });
            }
        });
    }

    /// The layer of a step that was looked for. It is not here: it is fetched when something reads it.
    pub fn find(&self, key: &Key) -> Option<Entry> {
        if self.off.load(Ordering::Relaxed) {
            return None;
        }
        let (layer, created) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned().flatten()?;
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.insert(layer.blob.digest.clone(), layer.diff_id.clone());
        Some((layer, created))
    }

    fn ask(&self, key: &Key) -> Option<Entry> {
        for place in &self.config.from {
            let found = match place {
                Place::Repository(repository) => self.in_repository(&tagged(repository, key)),
                Place::Layout(dir) => self.in_layout(dir, key),
            };
            match found {
                Ok(Some(entry)) => return Some(entry),
                Ok(None) => {}
                Err(EngineError::Cancelled) => return None,
                Err(e) => {
                    let name = place.entry(key);
                    self.warn(&format!("the cache entry {name} is passed over: {}", chain_text(&e)));
                }
            }
        }
        None
    }

    fn in_repository(&self, name: &Reference) -> Result<Option<Entry>> {
        match self.images.client().manifest(name) {
            Ok(fetched) => {
                let provider = Provider::Registry(name.clone());
                self.entry(&name.to_string(), &fetched.descriptor, &fetched.bytes, &provider)
            }
            Err(RegistryError::NotFound { .. }) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    fn in_layout(&self, dir: &Path, key: &Key) -> Result<Option<Entry>> {
        let listed = self.listed.get(dir).map(|once| once.get_or_init(|| self.list(dir)));
        let Some(descriptor) = listed.and_then(|tags| tags.get(&key.to_string())) else { return Ok(None) };
        let bytes = layout::read(dir, descriptor)?;
        let name = format!("{}:{key}", dir.display());
        self.entry(&name, descriptor, &bytes, &Provider::Layout(dir.to_owned()))
    }

    fn list(&self, dir: &Path) -> HashMap<String, Descriptor> {
        // The first build finds nothing, and makes it.
        if !dir.join("index.json").exists() {
            return HashMap::new();
        }
        match layout::index(dir) {
            Ok(index) => index.manifests.into_iter().filter_map(|d| Some((layout::tag(&d)?.to_owned(), d))).collect(),
            Err(e) => {
                self.warn(&format!("the cache in {} is passed over: {}", dir.display(), chain_text(&e)));
                HashMap::new()
            }
        }
    }

    /// An entry, if it is young enough.
    fn entry(&self, name: &str, descriptor: &Descriptor, bytes: &[u8], provider: &Provider) -> Result<Option<Entry>> {
        let manifest: Manifest = crate::images::parse_manifest(name, descriptor, bytes)?;
        let bad = |message: &str| EngineError::Image { name: name.to_owned(), message: message.to_owned() };
        let note = |name: &str| manifest.annotations.get(name).ok_or_else(|| bad("it is not a layer of a step"));
        let diff_id: Digest = note(DIFF_ID)?.parse().map_err(|_| bad("its diff id is no digest"))?;
        let created = note(RAN)?.clone();
        let pushed = time::parse_rfc3339(note(PUSHED)?).map_err(|_| bad("its date is none"))?;
        time::parse_rfc3339(&created).map_err(|_| bad("its date is none"))?;
        let [blob] = &manifest.layers[..] else { return Err(bad("it has not one layer")) };
        if self.config.ttl.is_some_and(|ttl| age(pushed) > ttl) {
            return Ok(None);
        }
        let blob = Descriptor { annotations: BTreeMap::default(), platform: None, ..blob.clone() };
        self.images.provide(&manifest, provider);
        Ok(Some((Layer { diff_id, blob }, created)))
    }

    /// Lets a step's layer go to the repository, beside what else is done. `in_result` is whether it is one of the
    /// image's.
    pub fn offer(&self, plan: &Plan, step: &Step, layer: &Layer, created: &str, in_result: bool) {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&step.key).cloned().flatten();
        let wanted = self.has(&step.op) && (in_result || self.config.all);
        if self.config.to.is_none() || !wanted || known.is_some_and(|(l, _)| l == *layer) {
            return;
        }
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        if !out.offered.insert(step.key) {
            return;
        }
        if out.workers.len() < AT_ONCE {
            let work = self.work.clone();
            out.workers.extend(thread::Builder::new().name("cache".to_owned()).spawn(move || work.run()));
        }
        let (title, platform) = (step.title.clone(), plan.platform.clone());
        let offer = Offer { key: step.key, title, platform, layer: layer.clone(), created: created.to_owned() };
        if let Some(queue) = &out.queue {
            // The receiver lives as long as this.
            let _ = queue.send(offer);
        }
    }

    /// Waits until all that was offered has arrived or failed. Nothing can be offered afterwards.
    pub fn finish(&self) {
        let workers = {
            let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
            drop(out.queue.take());
            std::mem::take(&mut out.workers)
        };
        for worker in workers {
            let _ = worker.join();
        }
    }

    /// Whether a failure comes of a layer that was taken from here. If so, nothing is taken any more, and whoever asks
    /// can start over.
    pub fn is_to_blame(&self, error: &EngineError) -> bool {
        if !is_about_bytes(error) {
            return false;
        }
        let culprit = {
            let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
            let broken = taken.keys().find(|blob| self.images.is_broken(blob)).cloned();
            broken.or_else(|| taken.iter().find(|(blob, diff_id)| names(error, blob, diff_id)).map(|(b, _)| b.clone()))
        };
        let Some(blob) = culprit else { return false };
        if self.off.swap(true, Ordering::Relaxed) {
            return false;
        }
        let text = chain_text(error);
        self.warn(&format!("the layer {} of the cache cannot be used, so it is made anew: {text}", blob.short()));
        true
    }

    fn warn(&self, text: &str) {
        self.events.event(&Event::Warning(text));
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Whether an error, or one below it, is about bytes that could not be had or used. A command that fails is not.
fn is_about_bytes(error: &EngineError) -> bool {
    let mut error: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(e) = error {
        match e.downcast_ref::<EngineError>() {
            Some(
                EngineError::Registry(_)
                | EngineError::Store(_)
                | EngineError::File { .. }
                | EngineError::DiffId { .. }
                | EngineError::LayerFiles { .. },
            ) => return true,
            Some(EngineError::RunFailed { .. } | EngineError::Cancelled) => return false,
            _ => error = e.source(),
        }
    }
    false
}

/// Whether an error, or one below it, is about this layer.
fn names(error: &EngineError, blob: &Digest, diff_id: &Digest) -> bool {
    let mut error: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(e) = error {
        let about = match e.downcast_ref::<EngineError>() {
            Some(EngineError::DiffId { digest, .. }) => digest == blob,
            Some(EngineError::LayerFiles { digest, full: false, .. }) => {
                *digest == blob.to_string() || *digest == diff_id.to_string()
            }
            _ => false,
        };
        if about {
            return true;
        }
        error = e.source();
    }
    false
}

fn age(since: Mtime) -> Duration {
    let now = now();
    u64::try_from(now.secs.saturating_sub(since.secs)).map_or(Duration::ZERO, |secs| Duration::new(secs, now.nanos))
}

fn tagged(repository: &Reference, key: &Key) -> Reference {
    Reference { tag: Some(key.to_string()), digest: None, ..repository.clone() }
}

impl Work {
    fn run(&self) {
        loop {
            let next = self.queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(offer) = next else { return };
            if self.failed.load(Ordering::Relaxed) || self.cancel.is_cancelled() {
                continue;
            }
            if let Err(e) = self.push(&offer)
                && !matches!(e, EngineError::Cancelled)
                && !self.failed.swap(true, Ordering::Relaxed)
            {
                let text = format!("steps are not pushed to the cache: {}", chain_text(&e));
                self.events.event(&Event::Warning(&text));
            }
        }
    }

    fn push(&self, offer: &Offer) -> Result<()> {
        let Some(place) = &self.to else { return Ok(()) };
        let config = serde_json::to_vec(&config_of(offer)).unwrap_or_default();
        let config_blob = Descriptor::of(media::OCI_CONFIG, &config);
        self.store.put(&config)?;
        let media_type = media::to_oci(&offer.layer.blob.media_type).to_owned();
        let blob = Descriptor { media_type, ..offer.layer.blob.clone() };
        let manifest = serde_json::to_vec(&manifest_of(offer, &config_blob, &blob)).unwrap_or_default();
        match place {
            Place::Repository(repository) => {
                let to = tagged(repository, &offer.key);
                let (store, images, cancel) = (&self.store, &*self.images, &self.cancel);
                let mover = Mover { store, images, events: &crate::event::Silent, cancel };
                mover.upload(&Origin::Store, &to, &[blob, config_blob])?;
                self.images.client().push_manifest(&to, media::OCI_MANIFEST, manifest)?;
            }
            Place::Layout(dir) => {
                self.images.fetch(&blob)?;
                let descriptor = Descriptor::of(media::OCI_MANIFEST, &manifest);
                self.store.put(&manifest)?;
                std::fs::create_dir_all(dir).map_err(EngineError::file("make the OCI layout", dir))?;
                let open =
                    |digest: &Digest| -> Result<Box<dyn Read + Send>> { Ok(Box::new(self.store.open_blob(digest)?)) };
                // The manifest comes last, so that none is there without what it names.
                let blobs = [blob.digest, config_blob.digest, descriptor.digest.clone()];
                layout::write(dir, &[(Some(offer.key.to_string()), descriptor)], &blobs, &open)?;
            }
        }
        Ok(())
    }
}

fn manifest_of(offer: &Offer, config: &Descriptor, blob: &Descriptor) -> Manifest {
    let notes = [
        (DIFF_ID, offer.layer.diff_id.to_string()),
        (RAN, offer.created.clone()),
        (PUSHED, time::rfc3339(Mtime::secs(now().secs))),
        (TITLE, offer.title.clone()),
    ];
    Manifest {
        schema_version: 2,
        media_type: Some(media::OCI_MANIFEST.to_owned()),
        artifact_type: None,
        config: config.clone(),
        layers: vec![blob.clone()],
        subject: None,
        annotations: notes.map(|(name, value)| (name.to_owned(), value)).into_iter().collect(),
    }
}

/// The configuration of an entry, with which any tool can look at it as an image.
fn config_of(offer: &Offer) -> ImageConfig {
    let history =
        History { created: Some(offer.created.clone()), created_by: Some(offer.title.clone()), ..History::default() };
    ImageConfig {
        created: Some(offer.created.clone()),
        architecture: offer.platform.architecture.clone(),
        variant: offer.platform.variant.clone(),
        os: offer.platform.os.clone(),
        rootfs: RootFs { diff_ids: vec![offer.layer.diff_id.clone()], ..RootFs::default() },
        history: vec![history],
        ..ImageConfig::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_layers_at_any_depth() {
        let (blob, diff_id) = (Digest::of(b"blob"), Digest::of(b"tar"));
        let wrong = |digest: &Digest| EngineError::DiffId {
            digest: digest.clone(),
            expected: diff_id.clone(),
            found: Digest::of(b"other"),
        };
        assert!(names(&wrong(&blob), &blob, &diff_id));
        assert!(!names(&wrong(&Digest::of(b"else")), &blob, &diff_id));
        let files = |full| EngineError::LayerFiles { digest: diff_id.to_string(), message: String::new(), full };
        assert!(names(&files(false), &blob, &diff_id));
        assert!(!names(&files(true), &blob, &diff_id), "a full disk is nobody's fault here");
        assert!(is_about_bytes(&wrong(&blob)) && !is_about_bytes(&EngineError::Cancelled));
        assert!(!is_about_bytes(&EngineError::Context("none".to_owned())));
    }

    #[test]
    fn old_entries_are_old() {
        assert!(age(Mtime::secs(0)) > Duration::from_secs(1_700_000_000));
        assert_eq!(age(Mtime::secs(i64::MAX)), Duration::ZERO);
    }
}
