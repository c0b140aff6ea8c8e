//! A push of what was built.
//!
//! A layer of the base that the store does not have is not fetched only to be pushed: if the destination has it, or
//! can take it from the base's repository on the same registry, it never passes through here. What was pushed while the
//! build ran ([`ahead`](super::ahead)) is not asked for again.

use kiln_oci::{Descriptor, Reference, media};

use super::Artifact;
use crate::error::Result;
use crate::event::{Direction, Event};
use crate::session::Session;
use crate::transfer::push::check_target;
use crate::transfer::{Mover, Origin};

/// Pushes under every name, or to every repository under the digest only.
///
/// # Errors
/// When a registry refuses, or a blob cannot be had.
pub fn publish(names: &[Reference], by_digest: bool, artifact: &Artifact, session: &Session) -> Result<()> {
    let blobs: Vec<_> = artifact.blobs().into_iter().filter(|d| !media::is_foreign(&d.media_type)).collect();
    if let Some(ahead) = &session.ahead {
        ahead.finish();
    }
    for name in names {
        check_target(name)?;
        let is_there = |d: &&Descriptor| session.ahead.as_ref().is_some_and(|ahead| ahead.has(name, &d.digest));
        let (there, rest): (Vec<&Descriptor>, Vec<&Descriptor>) = blobs.iter().partition(is_there);
        for descriptor in there {
            told(descriptor, session);
        }
        let rest: Vec<Descriptor> = rest.into_iter().cloned().collect();
        Mover::of(session).upload(&Origin::Store, name, &rest)?;
        let client = session.images.client();
        for image in &artifact.images {
            if image.descriptor.digest != artifact.root.digest {
                let at = name.at(image.descriptor.digest.clone());
                client.push_manifest(&at, &image.descriptor.media_type, image.manifest_bytes.clone())?;
            }
        }
        for attached in &artifact.attached {
            client.push_referrer(name, &attached.image, &attached.as_referrer(), attached.manifest_bytes.clone())?;
        }
        let target = if by_digest { name.at(artifact.root.digest.clone()) } else { name.clone() };
        client.push_manifest(&target, &artifact.root.media_type, artifact.root_bytes.clone())?;
    }
    Ok(())
}

/// Says that a blob has been sent and arrived.
fn told(descriptor: &Descriptor, session: &Session) {
    let (current, total, direction) = (descriptor.size, Some(descriptor.size), Direction::Upload);
    let name = descriptor.digest.short();
    for finished in [false, true] {
        session.events.event(&Event::Transfer { name: &name, direction, current, total, finished });
    }
}
