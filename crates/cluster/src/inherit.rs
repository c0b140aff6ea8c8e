//! What a base that is a cluster image contains: an image that is built from it contains that, too, as it is there.

use kiln_engine::Session;
use kiln_engine::images::Provider;
use kiln_engine::stored::Found;
use kiln_engine::transfer::{Mover, Origin, Platforms};
use kiln_oci::{Index, Reference, media};
use kiln_plan::Plan;
use kiln_plan::facts::ImageFact;
use kiln_plan::step::Op;

use crate::error::{ClusterError, Result};
use crate::inventory::Inventory;

/// The image that the result of a plan starts from.
pub fn base(plan: &Plan) -> Option<&ImageFact> {
    let first = plan.chain(plan.result).into_iter().next()?;
    if let Op::Image(fact) = &plan.step(first).op { Some(fact) } else { None }
}

/// What a base contains, brought into the store; `None` if it is an image like any other. With `pull`, its registry is
/// asked even if the store has it.
///
/// # Errors
/// When a part of it cannot be had or read.
pub fn contents(session: &Session, fact: &ImageFact, pull: bool) -> Result<Option<Inventory>> {
    // An OCI layout has no such name, and holds no cluster images that Kiln wrote under one.
    let Ok(mut reference) = fact.name.parse::<Reference>() else { return Ok(None) };
    if reference.tag.is_some() && reference.digest.as_ref() == Some(&fact.digest) {
        // That is the manifest's, which people are shown; the index has the name.
        reference.digest = None;
    }
    let (mover, images) = (Mover::of(session), &session.images);
    let local = if pull { None } else { images.local(&reference)? };
    let (origin, root) = match local {
        Some(root) => (Origin::Store, root),
        None => {
            let root = images.client().resolve(&reference).map_err(kiln_engine::EngineError::from)?;
            (Origin::Registry(reference.clone()), root)
        }
    };
    if !media::is_index(&root.media_type) {
        return Ok(None);
    }
    let title = reference.familiar();
    let bytes = mover.document(&origin, &root, &title)?;
    let index: Index = serde_json::from_slice(&bytes)
        .map_err(|e| ClusterError::NotACluster { name: title.clone(), message: e.to_string() })?;
    if !index.is_cluster() {
        return Ok(None);
    }
    let selection = mover.select(&origin, &title, root.clone(), &Platforms::All)?;
    for (_, manifest) in &selection.manifests {
        images.provide(manifest, &Provider::Registry(reference.clone()));
    }
    mover.keep(&selection, &[])?;
    Inventory::read(&session.store, &Found { name: Some(reference), descriptor: root }).map(Some)
}
