//! A push: blobs first, several at once; manifests when all their blobs are there; tags last.
//!
//! A layer of the base that the store does not have is not fetched only to be pushed: if the destination has it, or
//! can take it from the base's repository on the same registry, it never passes through here.

use std::sync::{Mutex, PoisonError};

use kiln_oci::{Descriptor, Reference, media};
use kiln_registry::MountOutcome;

use super::Artifact;
use crate::build;
use crate::error::{EngineError, Result};
use crate::event::{Direction, Event};
use crate::images::Provider;
use crate::session::Session;

/// How many blobs move at once.
const AT_ONCE: usize = 4;

/// Pushes under every name.
///
/// # Errors
/// When a registry refuses, or a blob cannot be had.
pub fn publish(names: &[Reference], artifact: &Artifact, session: &Session) -> Result<()> {
    for name in names {
        if name.digest.is_some() {
            return Err(EngineError::Unsupported(format!(
                "cannot push to `{name}`: a digest is the result of a push, not its target"
            )));
        }
        blobs(name, &build::blobs(&artifact.images), session)?;
        let client = session.images.client();
        for image in &artifact.images {
            if image.descriptor.digest != artifact.root.digest {
                let at = name.at(image.descriptor.digest.clone());
                client.push_manifest(&at, &image.descriptor.media_type, image.manifest_bytes.clone())?;
            }
        }
        client.push_manifest(name, &artifact.root.media_type, artifact.root_bytes.clone())?;
    }
    Ok(())
}

fn blobs(to: &Reference, all: &[Descriptor], session: &Session) -> Result<()> {
    let queue = Mutex::new(all.iter().filter(|d| !media::is_foreign(&d.media_type)));
    let failure: Mutex<Option<EngineError>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(all.len()) {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some(descriptor) = next else { return };
                    if failure.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
                        return;
                    }
                    if let Err(e) = blob(to, descriptor, session) {
                        failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(e);
                        return;
                    }
                }
            });
        }
    });
    failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

fn blob(to: &Reference, descriptor: &Descriptor, session: &Session) -> Result<()> {
    session.check_cancelled()?;
    let client = session.images.client();
    let provider = session.images.provider(&descriptor.digest);
    let mut upload = None;
    if let Some(Provider::Registry(from)) = &provider
        && from.registry == to.registry
        && from.repository != to.repository
    {
        match client.mount_blob(to, &from.repository, &descriptor.digest)? {
            MountOutcome::Mounted => return Ok(()),
            MountOutcome::NotMounted(session) => upload = Some(session),
        }
    }
    if !session.store.has_blob(&descriptor.digest) {
        if client.has_blob(to, &descriptor.digest)? {
            return Ok(());
        }
        session.images.fetch(descriptor)?;
    }
    let name = descriptor.digest.short();
    let total = Some(descriptor.size);
    let done = std::sync::atomic::AtomicU64::new(0);
    let report = |current: u64, finished: bool| {
        session.events.event(&Event::Transfer { name: &name, direction: Direction::Upload, current, total, finished });
    };
    let progress = |delta: u64| report(done.fetch_add(delta, std::sync::atomic::Ordering::Relaxed) + delta, false);
    let open = || -> std::io::Result<Box<dyn std::io::Read + Send>> {
        let file = session.store.open_blob(&descriptor.digest).map_err(std::io::Error::other)?;
        Ok(Box::new(file))
    };
    let pushed = match upload {
        // The registry could not mount it, but has opened an upload in the same answer.
        Some(upload) => client.push_blob_in(upload, to, descriptor, &open, &progress).map(drop),
        None => client.push_blob(to, descriptor, &open, &progress).map(drop),
    };
    report(descriptor.size, true);
    Ok(pushed?)
}
