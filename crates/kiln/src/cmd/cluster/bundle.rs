//! A cluster image of the store, as a launcher needs it.

use std::collections::BTreeMap;

use kiln_cluster::inventory::Inventory;
use kiln_clusterfile::Cluster;
use kiln_clusterfile::template::target;
use kiln_engine::stored;
use kiln_launch::Bundle;
use kiln_launch::journal::Record;
use kiln_launch::phase::network::choice::{self, Network};
use kiln_launch::phase::rootfs::{KUBEADM, is_source};
use kiln_oci::tree::NodeKind;
use kiln_oci::{Descriptor, Platform};
use kiln_store::Store;

use crate::cli::Global;
use crate::error::CliError;
use crate::named::{self, PlatformOption};

/// The most of `etc/kubeadm.yml` that is read.
const MAX: u64 = 1 << 20;
/// The most of a file that is changed for hosts.
const MAX_SOURCE: u64 = 16 << 20;
/// Bytes of all of them, and how many they are.
const MAX_SOURCES: usize = 48 << 20;
const MOST_SOURCES: usize = 5000;

/// Reads a cluster image.
pub fn read(global: &Global, image: &str, cluster: &Cluster) -> Result<Bundle, CliError> {
    let (around, progress) = named::offline(global, true, "Reading")?;
    let found = stored::find(&around.store, image)?;
    let name = named::must_have_name(&found, image)?;
    let inventory = Inventory::read(&around.store, &found)?;
    let kubernetes = inventory.spec.kubernetes.clone().ok_or_else(|| {
        CliError::input(format!("`{image}` brings no Kubernetes: it is of the type {}", inventory.spec.kind.name()))
            .with_hint("build it from a base: kiln cluster base")
    })?;
    let platforms: Vec<&Platform> = inventory.rootfs.iter().filter_map(|(d, _)| d.platform.as_ref()).collect();
    let arches = platforms.iter().map(|platform| platform.architecture.clone()).collect();
    // Names of files are those of one platform: a cluster of several processors has the same on each.
    let host = Platform::host();
    let chosen = platforms.iter().find(|p| p.serves(&host)).or(platforms.first()).map(ToString::to_string);
    let chosen = named::choose(&around, image, &PlatformOption { platform: chosen })?;
    let root = named::root(&around, &chosen)?;
    let mut files = BTreeMap::new();
    for (path, node) in root.tree.walk(b"") {
        if let (Ok(path), NodeKind::File(_) | NodeKind::Symlink { .. }) = (String::from_utf8(path), &node.kind) {
            files.insert(path.trim_start_matches('/').to_owned(), node.meta.mode);
        }
    }
    let read = |path: &str, max: u64| -> Result<Option<Vec<u8>>, CliError> {
        let failed = |why: String| CliError::input(format!("`{image}`: its {path} cannot be read: {why}"));
        match root.read_file(path.as_bytes(), max + 1).map_err(|e| failed(e.to_string()))? {
            Some(bytes) if bytes.len() as u64 > max => Err(failed(format!("more than {} KiB", max >> 10))),
            other => Ok(other),
        }
    };
    let text =
        |bytes| String::from_utf8(bytes).map_err(|_| CliError::input(format!("`{image}`: its {KUBEADM} is not UTF-8")));
    let kubeadm = read(KUBEADM, MAX)?.map(text).transpose()?;
    let apps: Vec<(String, String)> =
        inventory.spec.apps.iter().map(|app| (app.name.clone(), app.path.clone())).collect();
    let (mut sources, mut all) = (BTreeMap::new(), 0);
    for path in files.keys().filter(|path| is_source(path, &cluster.configs, &apps)) {
        let bytes = read(path, MAX_SOURCE)?.unwrap_or_default();
        all += bytes.len();
        if all > MAX_SOURCES || sources.len() >= MOST_SOURCES {
            let most = format!("{MOST_SOURCES} files or {} MiB", MAX_SOURCES >> 20);
            return Err(CliError::input(format!(
                "`{image}`: templates and files that Configs change are more than {most}"
            )));
        }
        sources.insert(path.clone(), bytes);
    }
    // What templates make is there as well.
    let made = sources.keys().filter_map(|path| Some((target(path)?.to_owned(), *files.get(path)?)));
    let made: Vec<(String, u32)> = made.collect();
    files.extend(made.iter().cloned());
    let mut bundle = Bundle {
        store: around.store.clone(),
        name: name.to_string(),
        root: inventory.root.clone(),
        blobs: inventory.blobs.clone(),
        images: inventory.images.iter().map(|image| image.contained.name.clone()).collect(),
        spec: inventory.spec,
        kubernetes,
        arches,
        files,
        kubeadm,
        sources,
        networks: BTreeMap::new(),
        parts: Vec::new(),
    };
    // A choice that fails is told when there is a launch.
    if let Ok(Network::Manifests(paths)) = choice::of(&bundle, cluster) {
        let is_changed = |path: &String| bundle.sources.contains_key(path) || made.iter().any(|(own, _)| own == path);
        for path in paths.into_iter().filter(|path| !is_changed(path)) {
            let bytes = read(&path, MAX_SOURCE)?.unwrap_or_default();
            bundle.networks.insert(path, String::from_utf8_lossy(&bytes).into_owned());
        }
    }
    progress.finish();
    Ok(bundle)
}

/// What is left of an image that is no longer needed: its name, digest and version, for verbs that give hosts back.
pub fn only_named(store: Store, record: Option<&Record>) -> Bundle {
    let mut root = Descriptor::empty();
    if let Some(digest) = record.and_then(|record| record.digest.parse().ok()) {
        root.digest = digest;
    }
    Bundle {
        store,
        name: record.map(|record| record.image.clone()).unwrap_or_default(),
        root,
        blobs: BTreeMap::new(),
        images: Vec::new(),
        spec: kiln_oci::cluster::Spec::default(),
        kubernetes: record.map(|record| record.kubernetes.clone()).unwrap_or_default(),
        arches: std::collections::BTreeSet::new(),
        files: BTreeMap::new(),
        kubeadm: None,
        sources: BTreeMap::new(),
        networks: BTreeMap::new(),
        parts: Vec::new(),
    }
}
