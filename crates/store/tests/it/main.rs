//! The store as its users see it: real directories, several processes, other tools reading it.
//!
//! Some tests need a second process. They start this binary again for one of the tests in [`child`], which do nothing
//! unless the environment says what to do.

mod blobs;
mod child;
mod layers;
mod layout;
mod mounts;
mod partial;
mod processes;
mod pruning;
mod records;
mod refs;
mod removal;
mod upkeep;

use std::path::Path;

use kiln_oci::{Descriptor, Digest, Manifest, media};
use kiln_store::Store;
use tempfile::TempDir;

/// A new store in a directory that goes with it.
fn store() -> (TempDir, Store) {
    let dir = TempDir::new().expect("a temporary directory");
    let store = Store::open(dir.path().join("store")).expect("a new store");
    (dir, store)
}

/// Another handle on the same store, which knows nothing of what the first one did.
fn again(store: &Store) -> Store {
    Store::open(store.dir()).expect("the store opens again")
}

/// Puts a small image of one layer into the store, without a name.
fn image(store: &Store, salt: &str) -> (Descriptor, Digest) {
    // Two blocks of zeros are a tar without entries; the salt sits in the configuration.
    let mut tar = vec![0; 1024];
    tar.extend_from_slice(&[0; 512].repeat(salt.len() % 7));
    let layer = Descriptor::new(media::OCI_LAYER, store.put(&tar).expect("layer"), tar.len() as u64);
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{"Labels":{{"salt":"{salt}"}}}},"rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
        layer.digest
    );
    let diff_id = layer.digest.clone();
    let config_digest = store.put(config.as_bytes()).expect("config");
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(media::OCI_MANIFEST.to_owned()),
        artifact_type: None,
        config: Descriptor::new(media::OCI_CONFIG, config_digest, config.len() as u64),
        layers: vec![layer],
        subject: None,
        annotations: Default::default(),
    };
    let manifest = serde_json::to_vec(&manifest).expect("JSON");
    let digest = store.put(&manifest).expect("manifest");
    (Descriptor::new(media::OCI_MANIFEST, digest, manifest.len() as u64), diff_id)
}

/// The names of what is in a directory.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .expect("a directory")
        .map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
