//! A push: blobs first, several at once; manifests when all their blobs are there, an index after what it names; the
//! tag last.
//!
//! ```text
//! blob                                            how it gets there
//! may not be distributed                          not at all
//! in another repository of the same registry      mounted, if the registry can
//! at the destination                              stays as it is
//! in the store or a layout                        uploaded
//! at another registry only                        for a build's output: fetched, then uploaded
//!                                                 for a copy: streamed, never on this disk
//! ```

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use kiln_oci::{Descriptor, Digest, Manifest, Reference};
use kiln_registry::{MountOutcome, RegistryError};

use super::{Mover, Origin, Platforms, Selection};
use crate::error::{EngineError, Result};
use crate::event::{Direction, Event};
use crate::images::Provider;

impl Mover<'_> {
    /// Pushes a selection under a name. Returns the digest of what the name now means.
    ///
    /// # Errors
    /// When the registry refuses, or a blob cannot be had.
    pub fn push(&self, selection: &Selection, to: &Reference) -> Result<Digest> {
        check_target(to)?;
        self.upload(&selection.origin, to, &selection.blobs())?;
        for (descriptor, bytes) in &selection.documents {
            self.check()?;
            let last = descriptor.digest == selection.root.digest;
            let at = if last { to.clone() } else { to.at(descriptor.digest.clone()) };
            let client = self.images.client();
            match selection.manifests.iter().find(|(d, _)| d.digest == descriptor.digest) {
                // Attestations are to be found among the referrers of their image there too.
                Some((_, manifest @ Manifest { subject: Some(subject), .. })) if !last => {
                    client.push_referrer(to, &subject.digest, &manifest.as_referrer(descriptor), bytes.clone())?;
                }
                _ => drop(client.push_manifest(&at, &descriptor.media_type, bytes.clone())?),
            }
        }
        Ok(selection.root.digest.clone())
    }

    /// Uploads blobs that the destination lacks.
    ///
    /// # Errors
    /// As [`Mover::push`].
    pub fn upload(&self, origin: &Origin, to: &Reference, blobs: &[Descriptor]) -> Result<()> {
        let neighbours = self.neighbours(origin, to);
        self.parallel(blobs, |descriptor| self.upload_one(origin, to, descriptor, &neighbours))
    }

    /// Which other repository of the destination's registry is known to have which blob: what images are called in
    /// the store says where they came from or went to. It is only a guess; the registry has the last word.
    fn neighbours(&self, origin: &Origin, to: &Reference) -> HashMap<Digest, String> {
        let mut found = HashMap::new();
        if *origin != Origin::Store {
            return found;
        }
        for stored in self.store.list_refs().unwrap_or_default() {
            let Ok(name) = stored.name.parse::<Reference>() else { continue };
            if name.registry != to.registry || name.repository == to.repository {
                continue;
            }
            if let Ok(other) = self.select(&Origin::Store, &stored.name, stored.descriptor, &Platforms::All) {
                found.extend(other.blobs().into_iter().map(|d| (d.digest, name.repository.clone())));
            }
        }
        found
    }

    /// The repository to mount a blob from.
    fn mountable(
        &self,
        origin: &Origin,
        to: &Reference,
        digest: &Digest,
        known: &HashMap<Digest, String>,
    ) -> Option<String> {
        let beside =
            |r: &Reference| (r.registry == to.registry && r.repository != to.repository).then(|| r.repository.clone());
        match origin {
            Origin::Registry(from) => beside(from),
            Origin::Store => match self.images.provider(digest) {
                Some(Provider::Registry(from)) => beside(&from),
                _ => known.get(digest).cloned(),
            },
            Origin::Layout(_) => None,
        }
    }

    /// Brings one blob to a registry; `known` says which other repository of it has which blob.
    pub(crate) fn upload_one(
        &self,
        origin: &Origin,
        to: &Reference,
        descriptor: &Descriptor,
        known: &HashMap<Digest, String>,
    ) -> Result<()> {
        let client = self.images.client();
        let mut session = None;
        if let Some(from) = self.mountable(origin, to, &descriptor.digest, known) {
            match client.mount_blob(to, &from, &descriptor.digest) {
                Ok(MountOutcome::Mounted) => return Ok(()),
                Ok(MountOutcome::NotMounted(open)) => session = Some(open),
                Err(RegistryError::Cancelled) => return Err(EngineError::Cancelled),
                // Someone who may not read the other repository may still push here.
                Err(_) => {}
            }
        }
        if *origin == Origin::Store && !self.store.has_blob(&descriptor.digest) {
            if client.has_blob(to, &descriptor.digest)? {
                return Ok(());
            }
            self.images.fetch(descriptor)?;
        }
        let name = descriptor.digest.short();
        let total = Some(descriptor.size);
        let done = AtomicU64::new(0);
        let report = |current: u64, finished: bool| {
            self.events.event(&Event::Transfer { name: &name, direction: Direction::Upload, current, total, finished });
        };
        let progress = |delta: u64| report(done.fetch_add(delta, Ordering::Relaxed) + delta, false);
        let open = || self.open(origin, descriptor).map_err(io::Error::other);
        let pushed = match session {
            // The registry could not mount it, but has opened an upload in the same answer.
            Some(session) => client.push_blob_in(session, to, descriptor, &open, &progress),
            None => client.push_blob(to, descriptor, &open, &progress),
        };
        // What failed has not arrived: only the error tells of it.
        pushed?;
        report(descriptor.size, true);
        Ok(())
    }
}

/// That a push has a tag to go to.
///
/// # Errors
/// When the name has a digest.
pub fn check_target(to: &Reference) -> Result<()> {
    match to.digest {
        None => Ok(()),
        Some(_) => Err(EngineError::Unsupported(format!(
            "cannot push to `{to}`: a digest is the result of a push, not its target"
        ))),
    }
}
