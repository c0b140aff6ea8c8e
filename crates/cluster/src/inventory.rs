//! A cluster image that is in the store, read.

use std::collections::{BTreeMap, BTreeSet};

use kiln_attest::statement::{ATTESTATION_MANIFEST, REFERENCE_DIGEST, REFERENCE_TYPE};
use kiln_engine::images::MAX_DOCUMENT;
use kiln_engine::stored::Found;
use kiln_oci::archive::REF_NAME;
use kiln_oci::cluster::{CONTENTS, FROM_INDEX, KUBERNETES, REPORT, SPEC, Spec, TYPE, VERSION};
use kiln_oci::manifest::Annotations;
use kiln_oci::{Descriptor, Digest, Index, Manifest, Reference, media};
use kiln_store::Store;

use crate::contain::Contained;
use crate::error::{ClusterError, Result};
use crate::list::MAX_IMAGES;
use crate::report::Report;

/// A contained image.
#[derive(Debug, Clone)]
pub struct Entry {
    /// As it is packed.
    pub contained: Contained,
    /// Its blobs and documents, with their sizes.
    pub blobs: BTreeMap<Digest, u64>,
}

impl Entry {
    /// What it takes, in bytes, if nothing else has any of it.
    pub fn size(&self) -> u64 {
        self.blobs.values().sum()
    }
}

/// What is in a cluster image.
#[derive(Debug, Clone)]
pub struct Inventory {
    /// What it is called.
    pub title: String,
    /// Its index.
    pub root: Descriptor,
    /// What a launcher must know.
    pub spec: Spec,
    /// Annotations that are not the format's own.
    pub annotations: Annotations,
    /// Manifests of root file systems, one for each platform.
    pub rootfs: Vec<(Descriptor, Manifest)>,
    /// Contained images, by name.
    pub images: Vec<Entry>,
    /// What is said of root file systems and contained images.
    pub attached: Vec<Descriptor>,
    /// Who named them.
    pub report: Report,
    /// Everything, each blob once.
    pub blobs: BTreeMap<Digest, u64>,
}

/// Whether an image of the store is a cluster image.
///
/// # Errors
/// When it is an index that cannot be read.
pub fn is_cluster(store: &Store, found: &Found) -> Result<bool> {
    if !media::is_index(&found.descriptor.media_type) {
        return Ok(false);
    }
    let bytes = store.read_blob(&found.descriptor.digest, MAX_DOCUMENT)?;
    Ok(serde_json::from_slice::<Index>(&bytes).is_ok_and(|index| index.is_cluster()))
}

impl Inventory {
    /// Reads a cluster image.
    ///
    /// # Errors
    /// When it is none, of a newer version, or parts of it are missing or make no sense.
    pub fn read(store: &Store, found: &Found) -> Result<Inventory> {
        let title = found.title();
        let reader = Reader { store, title: &title };
        if !media::is_index(&found.descriptor.media_type) {
            return Err(reader.bad("it is an image, and not a cluster image"));
        }
        let index: Index = reader.document(&found.descriptor.digest)?;
        match index.annotations.get(VERSION).map(String::as_str) {
            Some(kiln_oci::cluster::CURRENT) => {}
            Some(other) => {
                return Err(reader.bad(format!("it is a cluster image of version {other}, which is not known")));
            }
            None => return Err(reader.bad("it is an index of images, and not a cluster image")),
        }
        if index.manifests.len() > MAX_IMAGES + 100 {
            return Err(reader.bad(format!("it has more than {MAX_IMAGES} images")));
        }
        let spec = index.annotations.get(SPEC).map_or(Ok(Spec::default()), |text| Spec::parse(text));
        let spec = spec.map_err(|e| reader.bad(format!("its annotation {SPEC} cannot be read: {e}")))?;
        let own = [VERSION, SPEC, TYPE, KUBERNETES];
        let mut annotations = index.annotations.clone();
        annotations.retain(|name, _| !own.contains(&&**name));
        let mut inventory = Inventory {
            title: title.clone(),
            root: found.descriptor.clone(),
            spec,
            annotations,
            rootfs: Vec::new(),
            images: Vec::new(),
            attached: Vec::new(),
            report: Report::default(),
            blobs: BTreeMap::from([(found.descriptor.digest.clone(), found.descriptor.size)]),
        };
        let mut kept = BTreeMap::new();
        for entry in &index.manifests {
            inventory.add(entry, &reader, &mut kept)?;
        }
        for image in &mut inventory.images {
            let from = image.contained.from_index.as_ref();
            image.contained.index = from.and_then(|digest| kept.get(digest)).cloned();
        }
        Ok(inventory)
    }

    fn add(&mut self, entry: &Descriptor, reader: &Reader<'_>, kept: &mut BTreeMap<Digest, Vec<u8>>) -> Result<()> {
        let mut blobs = BTreeMap::new();
        reader.blobs(entry, &mut blobs, 0)?;
        self.blobs.extend(blobs.clone());
        if entry.artifact_type.as_deref() == Some(CONTENTS) {
            let manifest: Manifest = reader.document(&entry.digest)?;
            for layer in &manifest.layers {
                let bytes = reader.bytes(&layer.digest)?;
                if layer.media_type == REPORT {
                    self.report = serde_json::from_slice(&bytes)
                        .map_err(|e| reader.bad(format!("its report of images cannot be read: {e}")))?;
                } else {
                    kept.insert(layer.digest.clone(), bytes);
                }
            }
            return Ok(());
        }
        if is_attached(entry) {
            self.attached.push(entry.clone());
            return Ok(());
        }
        let Some(name) = entry.annotations.get(REF_NAME) else {
            if media::is_manifest(&entry.media_type) {
                self.rootfs.push((entry.clone(), reader.document(&entry.digest)?));
            }
            return Ok(());
        };
        let name: Reference = name.parse().map_err(|e| reader.bad(format!("a contained image has no name: {e}")))?;
        let from_index = entry.annotations.get(FROM_INDEX).and_then(|digest| digest.parse().ok());
        let root = Descriptor::new(&entry.media_type, entry.digest.clone(), entry.size);
        self.images.push(Entry { contained: Contained { name, root, from_index, index: None }, blobs });
        Ok(())
    }

    /// What is said of contained images that are among `kept`.
    pub fn attached_to<'a>(&'a self, kept: &'a [Contained]) -> impl Iterator<Item = &'a Descriptor> {
        let is_kept = |image: &&Entry| kept.iter().any(|kept| kept.root.digest == image.contained.root.digest);
        let about: BTreeSet<String> =
            self.images.iter().filter(is_kept).flat_map(|image| image.blobs.keys().map(ToString::to_string)).collect();
        self.attached.iter().filter(move |entry| attached_about(entry).is_some_and(|digest| about.contains(digest)))
    }

    /// What it takes, in bytes, each blob counted once.
    pub fn size(&self) -> u64 {
        self.blobs.values().sum()
    }

    /// Blobs of the root file systems.
    pub fn rootfs_size(&self) -> u64 {
        let mut seen = BTreeSet::new();
        let layers = self.rootfs.iter().flat_map(|(_, m)| m.layers.iter().chain([&m.config]));
        layers.filter(|d| seen.insert(d.digest.clone())).map(|d| d.size).sum()
    }

    /// A contained image by its name, as it may be written.
    pub fn image(&self, text: &str) -> Option<&Entry> {
        let name = text.parse::<Reference>().ok();
        self.images.iter().find(|image| {
            let own = &image.contained.name;
            name.as_ref().is_some_and(|name| name.to_string() == own.to_string()) || own.to_string() == text
        })
    }
}

/// Whether an entry of an index is an attestation.
fn is_attached(entry: &Descriptor) -> bool {
    entry.annotations.get(REFERENCE_TYPE).is_some_and(|kind| kind == ATTESTATION_MANIFEST)
}

/// The digest of the manifest that an attestation is about.
pub(crate) fn attached_about(entry: &Descriptor) -> Option<&str> {
    entry.annotations.get(REFERENCE_DIGEST).map(String::as_str)
}

struct Reader<'a> {
    store: &'a Store,
    title: &'a str,
}

impl Reader<'_> {
    fn bad(&self, message: impl Into<String>) -> ClusterError {
        ClusterError::NotACluster { name: self.title.to_owned(), message: message.into() }
    }

    fn bytes(&self, digest: &Digest) -> Result<Vec<u8>> {
        match self.store.has_blob(digest) {
            true => Ok(self.store.read_blob(digest, MAX_DOCUMENT)?),
            false => Err(self.bad(format!("its part {digest} is not in the store: pull it"))),
        }
    }

    fn document<T: serde::de::DeserializeOwned>(&self, digest: &Digest) -> Result<T> {
        let bytes = self.bytes(digest)?;
        serde_json::from_slice(&bytes).map_err(|e| self.bad(format!("its document {digest} cannot be read: {e}")))
    }

    /// All below a manifest or an index, itself included.
    fn blobs(&self, entry: &Descriptor, into: &mut BTreeMap<Digest, u64>, depth: usize) -> Result<()> {
        if depth > 4 {
            return Err(self.bad("its indexes are nested too deeply"));
        }
        into.insert(entry.digest.clone(), entry.size);
        if media::is_index(&entry.media_type) {
            let index: Index = self.document(&entry.digest)?;
            return index.manifests.iter().try_for_each(|child| self.blobs(child, into, depth + 1));
        }
        let manifest: Manifest = self.document(&entry.digest)?;
        into.extend(manifest.layers.iter().chain([&manifest.config]).map(|d| (d.digest.clone(), d.size)));
        Ok(())
    }
}
