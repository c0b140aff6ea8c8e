//! Entries on their way out: a few at once, beside what else is done.

use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use kiln_oci::{Descriptor, Digest, Reference, media};
use kiln_sandbox::Cancel;
use kiln_store::Store;

use super::AT_ONCE;
use super::entry::Offer;
use super::place::{Place, tagged};
use crate::bucket::Opened;
use crate::error::{EngineError, Result};
use crate::event::{Event, Events};
use crate::images::Images;
use crate::layout;
use crate::transfer::{Mover, Origin};

/// The queue and who works it off.
pub(super) struct Outgoing {
    queue: Option<Sender<Offer>>,
    workers: Vec<JoinHandle<()>>,
    work: Arc<Work>,
}

/// What the threads that push need.
pub(super) struct Work {
    pub queue: Mutex<Receiver<Offer>>,
    pub to: Target,
    pub store: Store,
    pub images: Arc<Images>,
    pub events: Arc<dyn Events>,
    pub cancel: Cancel,
    /// The first failure has been told; a place that refuses one entry refuses all.
    pub failed: AtomicBool,
}

/// Where they go.
pub(super) enum Target {
    Repository(Reference),
    Layout(std::path::PathBuf),
    Bucket(Opened),
}

impl Target {
    /// A place that can be written to.
    pub(super) fn open(place: &Place, images: &Images) -> Result<Target> {
        match place {
            Place::Repository(repository) => Ok(Target::Repository(repository.clone())),
            Place::Layout(dir) => Ok(Target::Layout(dir.clone())),
            Place::Bucket(bucket) => bucket.open(images.client().config().cancel.clone()).map(Target::Bucket),
            Place::Image(image) => {
                Err(EngineError::Unsupported(format!("the image {image} cannot be written to as a cache")))
            }
        }
    }
}

impl Outgoing {
    /// To a place, with what is needed on the way.
    pub(super) fn new(
        to: Target,
        store: Store,
        images: Arc<Images>,
        events: Arc<dyn Events>,
        cancel: Cancel,
    ) -> Outgoing {
        let (sender, receiver) = channel();
        let work =
            Work { queue: Mutex::new(receiver), to, store, images, events, cancel, failed: AtomicBool::new(false) };
        Outgoing { queue: Some(sender), workers: Vec::new(), work: Arc::new(work) }
    }

    /// Lets an entry go.
    pub(super) fn send(&mut self, offer: Offer) {
        if self.workers.len() < AT_ONCE {
            let work = self.work.clone();
            self.workers.extend(thread::Builder::new().name("cache".to_owned()).spawn(move || work.run()));
        }
        if let Some(queue) = &self.queue {
            // The receiver lives as long as this.
            let _ = queue.send(offer);
        }
    }

    /// Waits until all have arrived or failed.
    pub(super) fn finish(self) {
        drop(self.queue);
        for worker in self.workers {
            let _ = worker.join();
        }
    }
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
                let text = format!("steps are not pushed to the cache: {}", super::told(&e));
                self.events.event(&Event::Warning(&text));
            }
        }
    }

    fn push(&self, offer: &Offer) -> Result<()> {
        match &self.to {
            Target::Repository(repository) => self.to_repository(offer, repository),
            Target::Layout(dir) => self.to_layout(offer, dir),
            Target::Bucket(bucket) => self.to_bucket(offer, bucket),
        }
    }

    /// The configuration, in the store.
    fn config(&self, offer: &Offer) -> Result<Descriptor> {
        let config = offer.config();
        self.store.put(&config)?;
        Ok(Descriptor::of(media::OCI_CONFIG, &config))
    }

    fn to_repository(&self, offer: &Offer, repository: &Reference) -> Result<()> {
        let config = self.config(offer)?;
        let manifest = offer.manifest(&config);
        let to = tagged(repository, &offer.key);
        let (store, images, cancel) = (&self.store, &*self.images, &self.cancel);
        let mover = Mover { store, images, events: &crate::event::Silent, cancel };
        mover.upload(&Origin::Store, &to, &[offer.blob(), config])?;
        self.images.client().push_manifest(&to, media::OCI_MANIFEST, manifest)?;
        Ok(())
    }

    fn to_layout(&self, offer: &Offer, dir: &Path) -> Result<()> {
        let (blob, config) = (offer.blob(), self.config(offer)?);
        let manifest = offer.manifest(&config);
        self.images.fetch(&blob)?;
        let descriptor = Descriptor::of(media::OCI_MANIFEST, &manifest);
        self.store.put(&manifest)?;
        std::fs::create_dir_all(dir).map_err(EngineError::file("make the OCI layout", dir))?;
        let open = |digest: &Digest| -> Result<Box<dyn Read + Send>> { Ok(Box::new(self.store.open_blob(digest)?)) };
        // The manifest comes last, so that none is there without what it names.
        let blobs = [blob.digest, config.digest, descriptor.digest.clone()];
        layout::write(dir, &[(Some(offer.key.to_string()), descriptor)], &blobs, &open)
    }

    fn to_bucket(&self, offer: &Offer, bucket: &Opened) -> Result<()> {
        let blob = offer.blob();
        // One that could not be used is written anew, whatever its size is.
        if self.images.is_broken(&blob.digest) || !bucket.has_blob(&blob)? {
            self.images.fetch(&blob)?;
            bucket.put_blob(&blob, &self.store)?;
        }
        bucket.put_document(&offer.key.to_string(), &offer.bare())
    }
}
