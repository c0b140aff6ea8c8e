//! An OCI layout on disk, written by hand from Kiln's types.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::write::GzEncoder;
use kiln_oci::config::{ContainerConfig, History, RootFs};
use kiln_oci::{Descriptor, Digest, ImageConfig, Index, Manifest, Platform, media};

use crate::rootfs::busybox_layer;

/// The annotation that names an image in a layout.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// A directory that is an OCI layout. It is not removed: put it into a [`crate::TestContext`].
#[derive(Debug)]
pub struct Layout {
    dir: PathBuf,
    index: Index,
}

impl Layout {
    /// An empty layout in `dir`, which is made.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn new(dir: impl Into<PathBuf>) -> Layout {
        let dir = dir.into();
        fs::create_dir_all(dir.join("blobs/sha256")).unwrap_or_else(|e| panic!("make {}: {e}", dir.display()));
        let layout = Layout { dir, index: Index::new(Vec::new()) };
        layout.write("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
        layout.write_index();
        layout
    }

    /// A layout in `dir` that holds the busybox image as `busybox:latest`; see [`busybox_config`].
    ///
    /// # Panics
    /// If busybox-static is not installed, or the layout cannot be written.
    pub fn busybox(dir: impl Into<PathBuf>) -> Layout {
        let mut layout = Layout::new(dir);
        layout.image("busybox:latest", busybox_config(), &[busybox_layer()]);
        layout
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Stores bytes as a blob and says what they are.
    ///
    /// # Panics
    /// If they cannot be written.
    pub fn blob(&self, media_type: &str, bytes: &[u8]) -> Descriptor {
        let descriptor = Descriptor::of(media_type, bytes);
        self.write(&format!("blobs/sha256/{}", descriptor.digest.hex()), bytes);
        descriptor
    }

    /// Adds an image of these uncompressed tars, lowest first, stored as gzip; `diff_ids` and history are filled in.
    /// Returns the digest of its manifest.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn image(&mut self, name: &str, mut config: ImageConfig, layers: &[Vec<u8>]) -> Digest {
        let diff_ids = layers.iter().map(|tar| Digest::of(tar)).collect();
        config.rootfs = RootFs { kind: "layers".to_owned(), diff_ids };
        config.history = layers
            .iter()
            .map(|_| History { created_by: Some("kiln-testkit".to_owned()), ..History::default() })
            .collect();
        let platform = config.platform();
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(media::OCI_MANIFEST.to_owned()),
            artifact_type: None,
            config: self.blob(media::OCI_CONFIG, &json(&config)),
            layers: layers.iter().map(|tar| self.blob(media::OCI_LAYER_GZIP, &gzip(tar))).collect(),
            subject: None,
            annotations: [].into(),
        };
        let descriptor = self.blob(media::OCI_MANIFEST, &json(&manifest));
        let digest = descriptor.digest.clone();
        self.add(name, Descriptor { platform: Some(platform), ..descriptor });
        digest
    }

    /// Names a manifest or index that the layout already holds.
    ///
    /// # Panics
    /// If the index cannot be written.
    pub fn add(&mut self, name: &str, mut descriptor: Descriptor) {
        descriptor.annotations.insert(REF_NAME.to_owned(), name.to_owned());
        self.index.manifests.push(descriptor);
        self.write_index();
    }

    /// The digest of the manifest or index that a name stands for.
    ///
    /// # Panics
    /// If there is no such name.
    pub fn digest(&self, name: &str) -> Digest {
        let is = |d: &&Descriptor| d.annotations.get(REF_NAME).is_some_and(|other| other == name);
        let found = self.index.manifests.iter().find(is).unwrap_or_else(|| panic!("the layout has no {name}"));
        found.digest.clone()
    }

    /// How skopeo names an image of this layout.
    pub fn skopeo(&self, name: &str) -> String {
        format!("oci:{}:{name}", self.dir.display())
    }

    fn write_index(&self) {
        self.write("index.json", &json(&self.index));
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.dir.join(name);
        fs::write(&path, bytes).unwrap_or_else(|e| panic!("write {}: {e}", path.display()));
    }
}

/// What the busybox image runs: `sh`, with a `PATH`, for this machine's platform.
pub fn busybox_config() -> ImageConfig {
    ImageConfig {
        created: Some("1970-01-01T00:00:00Z".to_owned()),
        config: ContainerConfig {
            env: vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()],
            cmd: Some(vec!["sh".to_owned()]),
            ..ContainerConfig::default()
        },
        ..ImageConfig::scratch(&Platform::host())
    }
}

/// `tar` compressed, always to the same bytes.
///
/// # Panics
/// Never: memory does not fail.
pub fn gzip(tar: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(tar).and_then(|()| encoder.finish()).expect("compress in memory")
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("documents of images are JSON")
}
