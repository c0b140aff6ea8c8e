//! The index: root file systems, contained images by name, and what is known of them.

use std::collections::BTreeMap;

use kiln_oci::archive::REF_NAME;
use kiln_oci::cluster::{CONTENTS, CURRENT, FROM_INDEX, KUBERNETES, REPORT, SPEC, Spec, TYPE, VERSION};
use kiln_oci::manifest::Annotations;
use kiln_oci::{Descriptor, Digest, Index, Manifest, media};
use kiln_store::Store;

use crate::contain::Contained;
use crate::error::{ClusterError, Result};
use crate::report::Report;

/// The media type of an index that is kept as a layer of the contents. It is none that registries know, for they would
/// look for everything that it names.
pub const KEPT_INDEX: &str = "application/vnd.kiln.cluster.index.v1+json";

/// What goes into an index.
pub struct Pack<'a> {
    /// Manifests of root file systems, each with its platform.
    pub rootfs: Vec<Descriptor>,
    /// Contained images.
    pub images: &'a [Contained],
    /// What is said of root file systems and contained images: entries for the index.
    pub attached: &'a [Descriptor],
    /// Who named them.
    pub report: &'a Report,
    /// What a launcher must know.
    pub spec: &'a Spec,
    /// `--annotation`s.
    pub annotations: &'a Annotations,
}

/// Makes the index and keeps it in the store. The same contents give the same bytes.
///
/// # Errors
/// When one name stands for two images, or the store cannot be written.
pub fn pack(pack: &Pack<'_>, store: &Store) -> Result<(Descriptor, Vec<u8>)> {
    let mut entries: BTreeMap<String, Descriptor> = BTreeMap::new();
    let mut indexes: BTreeMap<Digest, Vec<u8>> = BTreeMap::new();
    for image in pack.images {
        let name = image.name.to_string();
        let mut entry = image.root.clone();
        entry.annotations.insert(REF_NAME.to_owned(), name.clone());
        if let Some(index) = &image.from_index {
            entry.annotations.insert(FROM_INDEX.to_owned(), index.to_string());
        }
        if let Some(bytes) = &image.index {
            indexes.insert(Digest::of(bytes), bytes.clone());
        }
        if let Some(other) = entries.insert(name.clone(), entry).filter(|other| other.digest != image.root.digest) {
            let (a, b) = (other.digest.short(), image.root.digest.short());
            return Err(ClusterError::Merge(format!("`{name}` stands for two images, {a} and {b}")));
        }
    }
    let contents = contents(pack.report, indexes, store)?;
    let attached = pack.attached.iter().cloned();
    let manifests =
        pack.rootfs.iter().cloned().chain(entries.into_values()).chain(attached).chain([contents]).collect();
    let mut index = Index::new(manifests);
    index.annotations.clone_from(pack.annotations);
    let spec = pack.spec;
    for (name, value) in [
        (VERSION, Some(CURRENT.to_owned())),
        (TYPE, Some(spec.kind.name().to_owned())),
        (KUBERNETES, spec.kubernetes.clone()),
        (SPEC, Some(spec.text())),
    ] {
        index.annotations.extend(value.map(|value| (name.to_owned(), value)));
    }
    let bytes = serde_json::to_vec(&index).unwrap_or_default();
    store.put(&bytes)?;
    Ok((Descriptor::of(media::OCI_INDEX, &bytes), bytes))
}

/// The manifest that holds what is known of all images.
fn contents(report: &Report, indexes: BTreeMap<Digest, Vec<u8>>, store: &Store) -> Result<Descriptor> {
    let report = serde_json::to_vec(report).unwrap_or_default();
    let mut layers = vec![Descriptor::of(REPORT, &report)];
    store.put(&report)?;
    for bytes in indexes.into_values() {
        store.put(&bytes)?;
        layers.push(Descriptor::of(KEPT_INDEX, &bytes));
    }
    store.put(b"{}")?;
    let manifest = Manifest { artifact_type: Some(CONTENTS.to_owned()), ..Manifest::new(Descriptor::empty(), layers) };
    let bytes = serde_json::to_vec(&manifest).unwrap_or_default();
    store.put(&bytes)?;
    let mut descriptor = Descriptor::of(media::OCI_MANIFEST, &bytes);
    descriptor.artifact_type = Some(CONTENTS.to_owned());
    Ok(descriptor)
}
