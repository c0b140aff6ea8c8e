//! A name in the store.

use kiln_oci::Reference;

use super::Artifact;
use crate::error::Result;
use crate::session::Session;

/// Completes the image's blobs and gives it its names, which come last.
///
/// # Errors
/// When a base's layer cannot be fetched, or the store cannot be written.
pub fn publish(names: &[Reference], artifact: &Artifact, session: &Session) -> Result<()> {
    for descriptor in artifact.blobs() {
        session.check_cancelled()?;
        session.images.fetch(&descriptor)?;
    }
    for name in names {
        session.store.set_ref(&name.to_string(), &artifact.root)?;
    }
    Ok(())
}
