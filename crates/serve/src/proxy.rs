//! Other registries' images, fetched when they are asked for and kept.
//!
//! Only registries that are configured are ever asked. A manifest is fetched once though many ask at once; a blob is
//! passed on while it arrives, but not to its end before its digest was compared. Names get into the store when all that
//! they need is there, so that an interrupted fetch leaves nothing half-done; until then they are known here only.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use http::StatusCode;
use kiln_oci::{Descriptor, Digest, Reference};
use kiln_registry::{BlobSink, Client, RegistryError};
use kiln_store::BlobWriter;
use tokio::sync::{Semaphore, watch};

use crate::body::Arrival;
use crate::library::{Library, locked, unknown_manifest};
use crate::log::Log;
use crate::metrics::Metrics;
use crate::names::{Full, HOME, Name};
use crate::refusal::{Code, Refusal};
use crate::route::Target;

/// So many blobs are fetched at a time.
const FETCHES: usize = 16;
/// When a registry cannot be reached, it is not asked for the same again before this.
const AFTER_FAILURE: Duration = Duration::from_secs(15);
/// The most names whose time of checking is remembered.
const MAX_CHECKED: usize = 50_000;

/// A blob on its way.
struct Fetch {
    file: OnceLock<File>,
    state: watch::Sender<Arrival>,
}

/// What a reader of such a blob gets.
pub struct Fetched {
    /// The file; none where only headers are wanted.
    pub file: Option<File>,
    /// The length of the whole blob.
    pub size: u64,
    /// How far it is.
    pub state: watch::Receiver<Arrival>,
}

/// What is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstreams {
    /// The registries, as references name them.
    pub registries: Vec<String>,
    /// How long a tag is believed before it is asked for again.
    pub ttl: Duration,
}

/// One lock for each name that is being asked for.
type Asking = HashMap<String, Arc<tokio::sync::Mutex<()>>>;

/// Fetches.
pub struct Proxy {
    client: Client,
    upstreams: Upstreams,
    library: Arc<Library>,
    metrics: Arc<Metrics>,
    log: Arc<Log>,
    checked: Mutex<HashMap<String, Instant>>,
    asking: Mutex<Asking>,
    fetching: Mutex<HashMap<Digest, Arc<Fetch>>>,
    slots: Arc<Semaphore>,
}

impl Proxy {
    /// Asks these registries.
    pub fn new(
        client: Client,
        upstreams: Upstreams,
        library: Arc<Library>,
        metrics: Arc<Metrics>,
        log: Arc<Log>,
    ) -> Proxy {
        Proxy {
            client,
            upstreams,
            library,
            metrics,
            log,
            checked: Mutex::default(),
            asking: Mutex::default(),
            fetching: Mutex::default(),
            slots: Arc::new(Semaphore::new(FETCHES)),
        }
    }

    /// A name without a registry means the first one that is configured, unless something was pushed here under it.
    pub fn adopt(&self, name: Name) -> Name {
        let Some(first) = self.upstreams.registries.first() else { return name };
        if name.explicit || self.library.catalog().is_ok_and(|c| c.find(&name).is_some_and(|(f, _)| f.registry == HOME))
        {
            return name;
        }
        let read = format!("{first}/{}", name.full.repository).parse::<Reference>();
        match read {
            Ok(read) => {
                let full = Full { registry: read.registry, repository: read.repository };
                Name { full, explicit: true, ..name }
            }
            Err(_) => name,
        }
    }

    /// Whether the repository is one of a configured registry.
    pub fn covers(&self, name: &Name) -> bool {
        self.upstreams.registries.contains(&name.full.registry)
    }

    fn reference(name: &Name, target: &Target) -> Reference {
        let (tag, digest) = match target {
            Target::Tag(tag) => (Some(tag.clone()), None),
            Target::Digest(digest) => (None, Some(digest.clone())),
        };
        Reference { registry: name.full.registry.clone(), repository: name.full.repository.clone(), tag, digest }
    }

    fn is_fresh(&self, key: &str) -> bool {
        locked(&self.checked).get(key).is_some_and(|until| *until > Instant::now())
    }

    fn fresh_for(&self, key: &str, time: Duration) {
        let mut checked = locked(&self.checked);
        if checked.len() >= MAX_CHECKED {
            checked.clear();
        }
        checked.insert(key.to_owned(), Instant::now() + time);
    }

    /// Makes sure that a manifest is here and not too old, if that can be had.
    pub async fn manifest(self: &Arc<Self>, name: &Name, target: &Target) -> Result<(), Refusal> {
        let key = Proxy::reference(name, target).to_string();
        if self.has(name, target, &key).await {
            self.metrics.cache_hits.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            return Ok(());
        }
        let lock = locked(&self.asking).entry(key.clone()).or_default().clone();
        let turn = lock.lock().await;
        let result = match self.has(name, target, &key).await {
            true => Ok(()),
            false => {
                let (proxy, name, target, key) = (self.clone(), name.clone(), target.clone(), key.clone());
                let asked = tokio::task::spawn_blocking(move || proxy.ask(&name, &target, &key)).await;
                asked.unwrap_or_else(|_| Err(Refusal::new(Code::Unknown, "the fetch has a fault")))
            }
        };
        drop(turn);
        drop(lock);
        let mut asking = locked(&self.asking);
        if asking.get(&key).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            asking.remove(&key);
        }
        result
    }

    /// Whether nobody need be asked.
    async fn has(self: &Arc<Self>, name: &Name, target: &Target, key: &str) -> bool {
        if matches!(target, Target::Tag(_)) && !self.is_fresh(key) {
            return false;
        }
        let (proxy, name, target) = (self.clone(), name.clone(), target.clone());
        tokio::task::spawn_blocking(move || proxy.library.manifest(&name, &target).is_ok()).await.unwrap_or(false)
    }

    /// Asks the registry. Blocks.
    fn ask(&self, name: &Name, target: &Target, key: &str) -> Result<(), Refusal> {
        let reference = Proxy::reference(name, target);
        let known = self.library.meaning(name, target)?;
        self.metrics.cache_misses.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let unchanged = |known: &Descriptor| self.client.resolve(&reference).map(|d| d.digest == known.digest);
        let fetched = match known.as_ref().map(unchanged) {
            Some(Ok(true)) => {
                self.fresh_for(key, self.upstreams.ttl);
                return Ok(());
            }
            Some(Err(error)) => Err(error),
            Some(Ok(false)) | None => self.client.manifest(&reference),
        };
        match fetched {
            Ok(fetched) => {
                let store = self.library.writer()?;
                store.put(&fetched.bytes).map_err(|e| self.library.failed(e))?;
                let stored_as = match target {
                    Target::Tag(tag) => name.full.tagged(tag),
                    Target::Digest(digest) => name.full.pinned(digest),
                };
                self.library.remember(&name.full, &fetched.descriptor.digest);
                self.keep(&name.full, target, &stored_as, &fetched.descriptor)?;
                self.fresh_for(key, self.upstreams.ttl);
                Ok(())
            }
            Err(error) => {
                self.metrics.upstream_errors.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                self.log.say(&format!("{reference}: {error}"));
                let gone = matches!(error, RegistryError::NotFound { .. });
                match known.is_some() && !gone {
                    true => {
                        self.fresh_for(key, AFTER_FAILURE);
                        Ok(())
                    }
                    false => Err(upstream(name, &target_text(target), &error)),
                }
            }
        }
    }

    /// A part of an index that the repository has needs no name of its own.
    fn keep(&self, full: &Full, target: &Target, stored_as: &str, descriptor: &Descriptor) -> Result<(), Refusal> {
        let part = matches!(target, Target::Digest(_))
            && self.library.expected(full).iter().any(|(_, d)| {
                self.library.forget_tree(&d.digest);
                kiln_oci::media::is_index(&d.media_type) && self.library.leads_to(&d.digest, &descriptor.digest)
            });
        if !part {
            self.library.expect(full, stored_as, descriptor);
        }
        self.name_what_is_complete(full)
    }

    fn name_what_is_complete(&self, full: &Full) -> Result<(), Refusal> {
        for (stored_as, descriptor) in self.library.expected(full) {
            self.library.forget_tree(&descriptor.digest);
            if self.library.name_when_complete(&stored_as, &descriptor)? {
                self.library.arrived(full, &stored_as, &descriptor.digest);
            }
        }
        Ok(())
    }

    /// A blob that is not here, on its way; `None` if it is here, or no manifest names it.
    pub async fn blob(self: &Arc<Self>, name: &Name, digest: &Digest, head: bool) -> Result<Option<Fetched>, Refusal> {
        let (proxy, of, what) = (self.clone(), name.clone(), digest.clone());
        let known = tokio::task::spawn_blocking(move || {
            let here = proxy.library.store().has_blob(&what);
            Ok::<_, Refusal>(if here { None } else { proxy.library.knows_blob(&of, &what)?.flatten() })
        })
        .await
        .unwrap_or(Ok(None))?;
        let Some(size) = known else { return Ok(None) };
        if head {
            let (_, state) = watch::channel(Arrival::Complete);
            return Ok(Some(Fetched { file: None, size, state }));
        }
        let fetch = self.begin(name, digest, size);
        let mut state = fetch.state.subscribe();
        let now = state.wait_for(|s| *s != Arrival::Opening).await.map(|s| *s).unwrap_or(Arrival::Failed);
        let file = fetch.file.get().and_then(|file| file.try_clone().ok());
        match (now, file) {
            (Arrival::Failed, _) | (_, None) => {
                Err(Refusal::new(Code::Unknown, "the other registry does not give the blob; the log says more")
                    .status(StatusCode::BAD_GATEWAY))
            }
            (_, file) => Ok(Some(Fetched { file, size, state })),
        }
    }

    /// Begins a fetch, or finds the one that is running.
    fn begin(self: &Arc<Self>, name: &Name, digest: &Digest, size: u64) -> Arc<Fetch> {
        let mut fetching = locked(&self.fetching);
        if let Some(running) = fetching.get(digest) {
            return running.clone();
        }
        self.metrics.cache_misses.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let fetch = Arc::new(Fetch { file: OnceLock::new(), state: watch::channel(Arrival::Opening).0 });
        fetching.insert(digest.clone(), fetch.clone());
        drop(fetching);
        let (proxy, name, digest, running) = (self.clone(), name.clone(), digest.clone(), fetch.clone());
        tokio::spawn(async move {
            let slot = proxy.slots.clone().acquire_owned().await;
            // A thread of its own: a fetch takes as long as the network wants, and the pool is for the disk.
            let run = move || {
                let _slot = slot;
                let result = proxy.fetch(&name, &digest, size, &running);
                locked(&proxy.fetching).remove(&digest);
                let end = match result {
                    Ok(()) => Arrival::Complete,
                    Err(why) => {
                        proxy.metrics.upstream_errors.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        proxy.log.say(&format!("{}@{digest}: {why}", name.full));
                        Arrival::Failed
                    }
                };
                running.state.send_replace(end);
            };
            let _ = std::thread::Builder::new().name("fetch".to_owned()).spawn(run);
        });
        fetch
    }

    fn fetch(&self, name: &Name, digest: &Digest, size: u64, fetch: &Fetch) -> Result<(), String> {
        let store = self.library.writer().map_err(|r| r.message)?;
        let text = |e: &dyn std::fmt::Display| e.to_string();
        let Some(writer) = store.download(digest, size, &|| false).map_err(|e| text(&e))? else {
            let file = store.open_blob(digest).map_err(|e| text(&e))?;
            let _ = fetch.file.set(file);
            return Ok(());
        };
        let _ = fetch.file.set(writer.reader().map_err(|e| text(&e))?);
        let mut sink = Sink { writer, fetch, attempt: 0 };
        sink.tell();
        let reference = Proxy::reference(name, &Target::Digest(digest.clone()));
        let descriptor = Descriptor::new("application/octet-stream", digest.clone(), size);
        self.client.blob(&reference, &descriptor, &mut sink, &|_| {}).map_err(|e| text(&e))?;
        sink.writer.commit_hashed(digest.clone()).map_err(|e| text(&e))?;
        self.library.remember(&name.full, digest);
        self.name_what_is_complete(&name.full).map_err(|r| r.message)
    }

    /// The tags that the registry has; `None` if it does not say, and those that are here have to do.
    pub async fn tags(self: &Arc<Self>, name: &Name) -> Option<Vec<String>> {
        let (proxy, full) = (self.clone(), name.full.clone());
        let asked = move || {
            let reference = Reference { registry: full.registry, repository: full.repository, tag: None, digest: None };
            proxy.client.tags(&reference).map_err(|error| proxy.log.say(&format!("tags of {reference}: {error}"))).ok()
        };
        tokio::task::spawn_blocking(asked).await.ok().flatten()
    }
}

/// Where a fetch puts its bytes, and tells who waits for them.
struct Sink<'a> {
    writer: BlobWriter,
    fetch: &'a Fetch,
    attempt: u32,
}

impl Sink<'_> {
    fn tell(&self) {
        self.fetch.state.send_replace(Arrival::Bytes(self.writer.written(), self.attempt));
    }
}

impl BlobSink for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer.write_all(bytes)?;
        self.tell();
        Ok(())
    }

    fn reset(&mut self) -> io::Result<()> {
        self.attempt += 1;
        self.fetch.state.send_replace(Arrival::Bytes(0, self.attempt));
        self.writer.reset().map_err(io::Error::other)
    }

    fn replay(&mut self, piece: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        self.writer.replay(piece)
    }
}

fn target_text(target: &Target) -> String {
    match target {
        Target::Tag(tag) => tag.clone(),
        Target::Digest(digest) => digest.to_string(),
    }
}

/// What a client is told when another registry said no. What that registry wrote stays in the log.
fn upstream(name: &Name, target: &str, error: &RegistryError) -> Refusal {
    match error {
        RegistryError::NotFound { .. } => unknown_manifest(name, target),
        RegistryError::RateLimited { .. } => {
            Refusal::new(Code::TooManyRequests, format!("{} limits how often it is asked", name.full.registry))
        }
        RegistryError::Unauthorized { .. } | RegistryError::TokenRefused { .. } => {
            Refusal::new(Code::Denied, format!("{} does not let this registry in", name.full.registry))
        }
        _ => Refusal::new(Code::Unknown, format!("{} cannot be asked; the log says more", name.full.registry))
            .status(StatusCode::BAD_GATEWAY),
    }
}
