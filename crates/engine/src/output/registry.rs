//! A push of what was built.
//!
//! A layer of the base that the store does not have is not fetched only to be pushed: if the destination has it, or
//! can take it from the base's repository on the same registry, it never passes through here.

use kiln_oci::{Reference, media};

use super::Artifact;
use crate::build;
use crate::error::Result;
use crate::session::Session;
use crate::transfer::push::check_target;
use crate::transfer::{Mover, Origin};

/// Pushes under every name.
///
/// # Errors
/// When a registry refuses, or a blob cannot be had.
pub fn publish(names: &[Reference], artifact: &Artifact, session: &Session) -> Result<()> {
    let blobs: Vec<_> =
        build::blobs(&artifact.images).into_iter().filter(|d| !media::is_foreign(&d.media_type)).collect();
    for name in names {
        check_target(name)?;
        Mover::of(session).upload(&Origin::Store, name, &blobs)?;
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
