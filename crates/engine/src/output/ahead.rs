//! Pushing a layer while the steps after it still run.
//!
//! What arrives is an orphan in its repository until the manifest comes, and stays one if the build fails: registries
//! collect those. Nothing depends on it: what could not be pushed ahead is pushed, or reported, by
//! [`publish`](super::registry::publish).

use std::collections::{HashMap, HashSet};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use kiln_oci::{Descriptor, Digest, Reference};
use kiln_sandbox::Cancel;
use kiln_store::Store;

use crate::event::Silent;
use crate::images::Images;
use crate::transfer::{Mover, Origin};

/// Layers that move at once. Of a cached build most are mounted from another repository: a request, and no bytes.
const AT_ONCE: usize = 4;

/// Layers on their way to where the image will be pushed.
pub struct Ahead {
    queue: Mutex<Option<Sender<Descriptor>>>,
    workers: Mutex<Vec<JoinHandle<()>>>,
    work: Arc<Work>,
}

struct Work {
    queue: Mutex<Receiver<Descriptor>>,
    targets: Vec<Reference>,
    store: Store,
    images: Arc<Images>,
    cancel: Cancel,
    done: Mutex<Done>,
}

#[derive(Default)]
struct Done {
    arrived: HashSet<(String, Digest)>,
    /// Repositories that refused a layer.
    given_up: HashSet<String>,
}

fn repository(name: &Reference) -> String {
    format!("{}/{}", name.registry, name.repository)
}

impl Ahead {
    /// Pushes to these names, as layers come.
    pub fn new(targets: Vec<Reference>, store: Store, images: Arc<Images>, cancel: Cancel) -> Ahead {
        let (sender, receiver) = channel();
        let work = Work { queue: Mutex::new(receiver), targets, store, images, cancel, done: Mutex::default() };
        Ahead { queue: Mutex::new(Some(sender)), workers: Mutex::default(), work: Arc::new(work) }
    }

    /// A layer of the image is in the store.
    pub fn push(&self, layer: &Descriptor) {
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        if workers.len() < AT_ONCE {
            let work = self.work.clone();
            // Without threads to spare, all is pushed at the end.
            workers.extend(thread::Builder::new().name("push".to_owned()).spawn(move || work.run()));
        }
        if let Some(queue) = &*self.queue.lock().unwrap_or_else(PoisonError::into_inner) {
            // The receiver lives as long as this.
            let _ = queue.send(layer.clone());
        }
    }

    /// Waits until all that was begun has arrived or failed.
    pub fn finish(&self) {
        drop(self.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        for worker in self.workers.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = worker.join();
        }
    }

    /// Whether a blob has arrived where `name` is.
    pub fn has(&self, name: &Reference, digest: &Digest) -> bool {
        let done = self.work.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.arrived.contains(&(repository(name), digest.clone()))
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Work {
    fn run(&self) {
        loop {
            let next = self.queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(layer) = next else { return };
            for target in &self.targets {
                self.one(target, &layer);
            }
        }
    }

    fn one(&self, target: &Reference, layer: &Descriptor) {
        let place = repository(target);
        let done = || self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let known = (place.clone(), layer.digest.clone());
        if self.cancel.is_cancelled() || done().given_up.contains(&place) || done().arrived.contains(&known) {
            return;
        }
        let mover = Mover { store: &self.store, images: &self.images, events: &Silent, cancel: &self.cancel };
        let arrived = mover.upload_one(&Origin::Store, target, layer, &HashMap::new()).is_ok();
        match arrived {
            true => done().arrived.insert(known),
            false => done().given_up.insert(place),
        };
    }
}
