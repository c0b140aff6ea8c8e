//! Layers of steps in a place that machines share, which builds elsewhere take instead of running the step again: a
//! repository, a bucket of an object store, an OCI layout in a directory, or the image itself.
//!
//! In a repository each step is an image of one layer, tagged with the step's key: `REPOSITORY:<64 hex digits>`. In a
//! bucket it is the same manifest as an object of that name, with the layer beside it ([`bucket`](crate::bucket)). So
//! builds that share a place never write the same thing in two ways, a lookup is one request, and what is taken is not
//! downloaded before something reads it. Annotations of the manifest say the rest:
//!
//! ```text
//! build.kiln.step.key               the step's key
//! build.kiln.step.diff-id           the digest of the uncompressed layer
//! build.kiln.step.created           when the step ran: what the history of the image says
//! org.opencontainers.image.created  when the entry was pushed: how old it is
//! org.opencontainers.image.title    the step in words
//! ```
//!
//! An image that is its own cache (`inline`) has the first three on each layer that a step made. They are in the
//! manifest, so that the layers and the configuration, whose digest is the image's id, are the same with and without.
//!
//! Nothing that is read is trusted further than its digests go: an entry that is damaged is passed over with a warning,
//! and one whose layer turns out to be so makes the build start over without the cache. Who may write to the place,
//! though, decides what a key means, as with every shared cache.
//!
//! [`Place`] where entries are     `entry` what they say     `source` looking one up     `outgoing` writing them
//! [`upkeep`] listing entries, and removing old ones

mod entry;
mod outgoing;
mod place;
mod source;
pub mod upkeep;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use kiln_oci::{Digest, Mtime, Platform};
use kiln_plan::step::{Op, Step};
use kiln_plan::{Key, Plan};
use kiln_sandbox::Cancel;
use kiln_store::Store;

use crate::error::{EngineError, Result};
use crate::event::{Event, Events};
use crate::images::Images;
use crate::rootfs::{Layer, chain_text};
use crate::schedule::now;

pub(crate) use entry::notes;
use entry::{Entry, Offer};
use outgoing::{Outgoing, Target};
pub use place::Place;
use source::Source;

/// Entries on their way out that move at once.
const AT_ONCE: usize = 4;

/// Lookups at once: each is one small answer, so that what they cost is the way there and back.
const ASKED_AT_ONCE: usize = 16;

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

/// The cache of a build.
pub struct Remote {
    config: Config,
    sources: Vec<Source>,
    images: Arc<Images>,
    events: Arc<dyn Events>,
    /// What the places have; `None` where they were asked in vain.
    known: Mutex<HashMap<Key, Option<Entry>>>,
    /// Layers that were taken.
    taken: Mutex<BTreeMap<Digest, Digest>>,
    off: AtomicBool,
    out: Mutex<Option<Outgoing>>,
    offered: Mutex<BTreeSet<Key>>,
}

impl Remote {
    /// The cache for a build with this store and these registries.
    ///
    /// # Errors
    /// When what is configured about a place cannot be used.
    pub fn new(
        config: Config,
        store: Store,
        images: Arc<Images>,
        events: Arc<dyn Events>,
        cancel: Cancel,
    ) -> Result<Remote> {
        let sources = config.from.iter().map(|place| Source::open(place.clone(), &images));
        let sources = sources.collect::<Result<_>>()?;
        let target = config.to.as_ref().map(|place| Target::open(place, &images)).transpose()?;
        let out = target.map(|to| Outgoing::new(to, store, images.clone(), events.clone(), cancel));
        let (known, taken, off, offered) = Default::default();
        Ok(Remote { config, sources, images, events, known, taken, off, out: Mutex::new(out), offered })
    }

    /// Whether steps of this kind are cached here.
    pub fn has(&self, op: &Op) -> bool {
        match op {
            Op::Copy(_) => self.config.copies,
            Op::Run(_) | Op::Mkdir(_) => self.config.runs,
            Op::Scratch | Op::Image(_) => false,
        }
    }

    /// Asks for many steps at once, of a build for `platform`.
    pub fn look(&self, platform: &Platform, keys: &[Key]) {
        if self.sources.is_empty() || self.off.load(Ordering::Relaxed) {
            return;
        }
        let asked = |key: &&Key| !self.known.lock().unwrap_or_else(PoisonError::into_inner).contains_key(*key);
        let open: Vec<&Key> = keys.iter().filter(asked).collect();
        let queue = Mutex::new(open.iter());
        thread::scope(|scope| {
            for _ in 0..ASKED_AT_ONCE.min(open.len()) {
                scope.spawn(|| {
                    loop {
                        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                        let Some(key) = next else { return };
                        let found = self.ask(platform, key);
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

    fn ask(&self, platform: &Platform, key: &Key) -> Option<Entry> {
        for source in &self.sources {
            match source.ask(&self.images, platform, key) {
                Ok(Some((entry, pushed))) if self.is_young(pushed) => return Some(entry),
                Ok(_) => {}
                Err(trouble) if matches!(*trouble.error, EngineError::Cancelled) => {}
                Err(trouble) => {
                    let why = told(&trouble.error);
                    self.warn(&match trouble.whole {
                        true => format!("the cache {} is passed over: {why}", source.place),
                        false => format!("the cache entry {} is passed over: {why}", source.place.entry(key)),
                    });
                }
            }
        }
        None
    }

    fn is_young(&self, pushed: Option<Mtime>) -> bool {
        self.config.ttl.zip(pushed).is_none_or(|(ttl, pushed)| age(pushed) <= ttl)
    }

    /// Lets a step's layer go to where layers are kept, beside what else is done. `in_result` is whether it is one of the
    /// image's.
    pub fn offer(&self, plan: &Plan, step: &Step, layer: &Layer, created: &str, in_result: bool) {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&step.key).cloned().flatten();
        let wanted = self.has(&step.op) && (in_result || self.config.all);
        if !wanted || known.is_some_and(|(l, _)| l == *layer) {
            return;
        }
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(out) = &mut *out else { return };
        if self.offered.lock().unwrap_or_else(PoisonError::into_inner).insert(step.key) {
            let (title, platform) = (step.title.clone(), plan.platform.clone());
            out.send(Offer { key: step.key, title, platform, layer: layer.clone(), created: created.to_owned() });
        }
    }

    /// Waits until all that was offered has arrived or failed. Nothing can be offered afterwards.
    pub fn finish(&self) {
        let out = self.out.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(out) = out {
            out.finish();
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
        // What is made instead takes its place.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, entry| entry.as_ref().is_none_or(|(layer, _)| layer.blob.digest != blob));
        drop(known);
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

/// An error and, as it is a warning here, what to do about it. What a store of objects says names the object itself.
fn told(error: &EngineError) -> String {
    match error {
        EngineError::Object { message, hint: Some(hint), .. } => format!("{message}; {hint}"),
        _ => chain_text(error),
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
                | EngineError::Object { .. }
                | EngineError::Damaged { .. }
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
