//! Container images for nodes, as archives: from the store, else from their registries.

use std::path::Path;

use kiln_engine::Session;
use kiln_engine::output::Dest;
use kiln_engine::transfer::{Mover, Origin, Platforms};
use kiln_oci::{Platform, Reference};
use kiln_sandbox::Cancel;

use crate::error::{NodeError, Result};

/// A place that container images come from.
pub trait Images: Sync {
    /// Writes one image into an archive that `docker load` and `ctr images import` read.
    ///
    /// # Errors
    /// When there is no such image, or the archive cannot be written.
    fn archive(&self, name: &str, to: &Path, cancel: &Cancel) -> Result<()>;
}

/// The store and registries that a session of the engine has.
pub struct Known {
    /// The session.
    pub session: Session,
    /// Which platform's images are taken.
    pub platform: Platform,
}

impl Images for Known {
    fn archive(&self, name: &str, to: &Path, cancel: &Cancel) -> Result<()> {
        let bad = |e: kiln_oci::reference::ReferenceError| NodeError::Unsupported {
            what: format!("`{name}` is no name of an image: {e}"),
            hint: None,
        };
        let reference: Reference = name.parse().map_err(bad)?;
        let mover = Mover { cancel, ..Mover::of(&self.session) };
        let (origin, root) = match self.session.images.local(&reference)? {
            Some(root) => (Origin::Store, root),
            None => (Origin::Registry(reference.clone()), mover.images.client().resolve(&reference).map_err(engine)?),
        };
        let platforms = Platforms::One(self.platform.clone());
        let selection = mover.select(&origin, &reference.familiar(), root, &platforms)?;
        let names = vec![reference];
        Ok(mover.archive(&[(selection, names)], true, &Dest::Path(to.to_owned()))?)
    }
}

fn engine(e: impl Into<kiln_engine::EngineError>) -> NodeError {
    e.into().into()
}
