//! A cluster image of the store, as a launcher needs it.

use std::collections::BTreeMap;

use kiln_cluster::inventory::Inventory;
use kiln_engine::stored;
use kiln_launch::Bundle;
use kiln_oci::tree::NodeKind;
use kiln_oci::{Descriptor, Platform};
use kiln_store::Store;

use crate::cli::Global;
use crate::error::CliError;
use crate::named::{self, PlatformOption};

/// The most of `etc/kubeadm.yml` that is read.
const MAX: u64 = 1 << 20;

/// Reads a cluster image.
pub fn read(global: &Global, image: &str) -> Result<Bundle, CliError> {
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
    let kubeadm = root.read_file(b"etc/kubeadm.yml", MAX);
    let kubeadm =
        kubeadm.map_err(|e| CliError::input(format!("`{image}`: its etc/kubeadm.yml cannot be read: {e}")))?;
    progress.finish();
    Ok(Bundle {
        store: around.store.clone(),
        name: name.to_string(),
        root: inventory.root.clone(),
        blobs: inventory.blobs.clone(),
        images: inventory.images.iter().map(|image| image.contained.name.clone()).collect(),
        spec: inventory.spec,
        kubernetes,
        arches,
        files,
        kubeadm: kubeadm.and_then(|bytes| String::from_utf8(bytes).ok()),
    })
}

/// What is left of an image that is no longer needed: its name and version, for verbs that give hosts back.
pub fn only_named(store: Store, name: &str, kubernetes: &str) -> Bundle {
    Bundle {
        store,
        name: name.to_owned(),
        root: Descriptor::empty(),
        blobs: BTreeMap::new(),
        images: Vec::new(),
        spec: kiln_oci::cluster::Spec::default(),
        kubernetes: kubernetes.to_owned(),
        arches: std::collections::BTreeSet::new(),
        files: BTreeMap::new(),
        kubeadm: None,
    }
}
