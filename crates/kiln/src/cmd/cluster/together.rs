//! Several cluster images, for a launch: they are merged in the store under a name that says what they are.

use kiln_cluster::inventory::Inventory;
use kiln_cluster::merge;
use kiln_cluster::together::{self as images, Files};
use kiln_clusterfile::Cluster;
use kiln_engine::EngineError;
use kiln_engine::event::Event;
use kiln_engine::stored;
use kiln_engine::transfer::Platforms;
use kiln_launch::Bundle;
use kiln_launch::bundle::{Part, together as title};
use kiln_launch::event::{Event as Told, Events as _};
use kiln_oci::{Platform, Reference};

use super::{bundle, fleet};
use crate::cli::Global;
use crate::error::CliError;
use crate::named::{self, PlatformOption};
use crate::options::RegistryOptions;
use crate::surroundings::{self, Surroundings};

/// The images of a cluster, the one with Kubernetes first.
pub fn of_cluster(cluster: &Cluster) -> Vec<String> {
    cluster.image.iter().chain(&cluster.more_images).map(|image| image.value.familiar()).collect()
}

/// Reads the images of a launch as one. Those that the store does not have are pulled first.
pub fn read(
    global: &Global,
    images: &[String],
    cluster: &Cluster,
    registry: &RegistryOptions,
) -> Result<Bundle, CliError> {
    let [first, others @ ..] = images else {
        return Err(CliError::usage("no cluster image is named"));
    };
    fetch(global, images, registry)?;
    if others.is_empty() {
        return bundle::read(global, first, cluster);
    }
    let (name, parts) = merged(global, images)?;
    let text = format!("launching {}", title(first, others));
    fleet::Lines::new(global.progress).event(Told::Note { host: None, text });
    Ok(Bundle { parts, ..bundle::read(global, &name, cluster)? })
}

/// Pulls images that the store does not have, with all that they contain.
fn fetch(global: &Global, images: &[String], registry: &RegistryOptions) -> Result<(), CliError> {
    let store = surroundings::open_store(global)?;
    // What is wrong with one otherwise is told by who reads it. A digest alone is of no registry.
    let is_missing =
        |name: &&String| matches!(stored::find(&store, name), Err(EngineError::NoSuchImage(_))) && !is_digest(name);
    let missing: Vec<Reference> = images.iter().filter(is_missing).filter_map(|name| name.parse().ok()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for reference in &missing {
        let text = format!("pulling {}, which the store does not have", reference.familiar());
        fleet::Lines::new(global.progress).event(Told::Note { host: None, text });
    }
    let (around, progress) = named::online(global, registry, false, "Pulling")?;
    let mover = named::mover(&around);
    for reference in &missing {
        mover.pull(reference, &Platforms::All)?;
    }
    progress.finish();
    Ok(())
}

/// Whether a name can only be the beginning of a digest.
fn is_digest(name: &str) -> bool {
    let hex = name.strip_prefix("sha256:").unwrap_or(name);
    (name != hex || hex.len() >= 12) && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// The name of the merged image, which is made where it is not there yet.
fn merged(global: &Global, names: &[String]) -> Result<(String, Vec<Part>), CliError> {
    let (around, progress) = named::offline(global, true, "Merging")?;
    let mut all = Vec::new();
    for name in names {
        all.push(Inventory::read(&around.store, &stored::find(&around.store, name)?)?);
    }
    images::check(&all)?;
    let name = images::name(&all);
    let reference = named::reference(&name)?;
    let is_whole = |found: &stored::Found| Inventory::read(&around.store, found).is_ok();
    if !stored::by_name(&around.store, &reference)?.as_ref().is_some_and(is_whole) {
        look(&around, &all)?;
        let mut warnings = Vec::new();
        let root = merge::merge(&all, &around.store, &mut warnings)?;
        warnings.iter().for_each(|text| around.events.event(&Event::Warning(text)));
        around.store.set_ref(&reference.to_string(), &root)?;
    }
    progress.finish();
    let part = |(name, part): (&String, &Inventory)| Part {
        name: name.clone(),
        digest: part.root.digest.to_string(),
        launch: part.spec.launch.clone(),
        inherited: part.spec.inherited,
    };
    Ok((name, names.iter().zip(&all).map(part).collect()))
}

/// Looks for files that are in each other's way: in the root file systems of one platform, as they differ in programs only.
fn look(around: &Surroundings, all: &[Inventory]) -> Result<(), CliError> {
    let host = Platform::host();
    let mut roots = Vec::new();
    for part in all {
        let platforms: Vec<&Platform> = part.rootfs.iter().filter_map(|(d, _)| d.platform.as_ref()).collect();
        let platform = platforms.iter().find(|p| p.serves(&host)).or(platforms.first()).map(ToString::to_string);
        let found = stored::find(&around.store, &part.root.digest.to_string())?;
        let chosen = named::choose_of(around, &found, &PlatformOption { platform })?;
        roots.push(named::root(around, &chosen)?);
    }
    let files: Vec<Files<'_>> = all.iter().zip(&roots).map(|(part, root)| Files { part, root }).collect();
    Ok(images::replaced(&files)?)
}
