//! Images in one file: docker archives (`docker save`) and OCI layouts.
//!
//! What Kiln writes is both at once, as Docker does since version 25: an OCI layout with a `manifest.json` beside it.
//! The documents come first, then the blobs, so that a reader knows early what it is getting.
//!
//! ```text
//! oci-layout  index.json  manifest.json (docker archives only)
//! blobs/sha256/…   manifests and configurations, then layers, each once
//! ```
//! What Kiln reads is also what older tools wrote: configurations and layers under any names that `manifest.json` gives,
//! and, from before there was a `manifest.json`, one directory a layer with `repositories` naming the topmost.
//! [`part`] tells by a member's name what it is.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::manifest::Annotations;
use crate::{Descriptor, Digest, Index, Manifest, Reference};

/// The layout's version file.
pub const LAYOUT: &str = "oci-layout";
/// The layout's index.
pub const INDEX: &str = "index.json";
/// The docker archive's list of images.
pub const MANIFEST: &str = "manifest.json";
/// The names in a docker archive without a [`MANIFEST`].
pub const REPOSITORIES: &str = "repositories";
/// The annotation with an image's tag.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The annotation with an image's whole name, which containerd and Docker read.
pub const IMAGE_NAME: &str = "io.containerd.image.name";

/// Why an archive's documents do not make an image.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// JSON that is not the document it should be.
    #[error("`{name}` in the archive is not valid: {source}")]
    Document {
        /// The member's name.
        name: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A layout of a version nobody has defined.
    #[error("the archive is an OCI layout of version `{0}`; only 1.0.0 is known")]
    Version(String),
    /// A legacy layer whose parent is not in the archive.
    #[error("layer `{0}` is missing from the archive")]
    MissingLayer(String),
    /// Legacy layers that are each other's parents.
    #[error("layer `{0}` is its own ancestor")]
    Cycle(String),
    /// An index of an image that names a document which was not given.
    #[error("the image's document {0} is missing")]
    MissingDocument(Digest),
}

/// The content of [`LAYOUT`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LayoutFile {
    /// Always `1.0.0`.
    pub image_layout_version: String,
}

impl LayoutFile {
    /// The bytes of the file Kiln writes.
    pub const BYTES: &'static [u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

    /// Reads and checks the file.
    ///
    /// # Errors
    /// Not the document, or another version.
    pub fn parse(bytes: &[u8]) -> Result<LayoutFile, ArchiveError> {
        let file: LayoutFile = document(LAYOUT, bytes)?;
        match file.image_layout_version.as_str() {
            "1.0.0" => Ok(file),
            other => Err(ArchiveError::Version(other.chars().take(64).collect())),
        }
    }
}

/// One image in [`MANIFEST`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SavedImage {
    /// The member with the configuration.
    pub config: String,
    /// Names, with tags.
    #[serde(default)]
    pub repo_tags: Option<Vec<String>>,
    /// The members with the layers, lowest first.
    #[serde(default)]
    pub layers: Option<Vec<String>>,
    /// Descriptors of layers, by diff id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub layer_sources: BTreeMap<Digest, Descriptor>,
}

/// Reads [`MANIFEST`].
///
/// # Errors
/// [`ArchiveError::Document`].
pub fn parse_saved(bytes: &[u8]) -> Result<Vec<SavedImage>, ArchiveError> {
    document(MANIFEST, bytes)
}

/// [`REPOSITORIES`]: repository → tag → topmost layer.
pub type Repositories = BTreeMap<String, BTreeMap<String, String>>;

/// Reads [`REPOSITORIES`].
///
/// # Errors
/// [`ArchiveError::Document`].
pub fn parse_repositories(bytes: &[u8]) -> Result<Repositories, ArchiveError> {
    document(REPOSITORIES, bytes)
}

/// The `json` of a legacy layer: an image configuration with a parent instead of a list of layers.
#[derive(Debug, Deserialize)]
pub struct LegacyLayer {
    /// The layer's name, and its directory's.
    pub id: String,
    /// The layer below.
    #[serde(default)]
    pub parent: Option<String>,
    /// When it was made, RFC 3339.
    #[serde(default)]
    pub created: Option<String>,
    /// GOARCH value.
    #[serde(default)]
    pub architecture: Option<String>,
    /// GOOS value.
    #[serde(default)]
    pub os: Option<String>,
    /// Defaults for containers: the `config` of an image configuration.
    #[serde(default)]
    pub config: Option<Box<RawValue>>,
}

impl LegacyLayer {
    /// Reads the `json` of the layer `id`.
    ///
    /// # Errors
    /// [`ArchiveError::Document`].
    pub fn parse(id: &str, bytes: &[u8]) -> Result<LegacyLayer, ArchiveError> {
        document(&format!("{id}/json"), bytes)
    }
}

/// The layers from the lowest to `top`, by their ids.
///
/// # Errors
/// A parent that is missing, or that is a descendant.
pub fn legacy_chain(top: &str, layers: &BTreeMap<String, LegacyLayer>) -> Result<Vec<String>, ArchiveError> {
    let mut chain = Vec::new();
    let mut seen = HashSet::new();
    let mut next = Some(top);
    while let Some(id) = next {
        if !seen.insert(id) {
            return Err(ArchiveError::Cycle(id.to_owned()));
        }
        let layer = layers.get(id).ok_or_else(|| ArchiveError::MissingLayer(id.to_owned()))?;
        chain.push(id.to_owned());
        next = layer.parent.as_deref().filter(|p| !p.is_empty());
    }
    chain.reverse();
    Ok(chain)
}

/// What a member of an archive is, by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// [`LAYOUT`].
    Layout,
    /// [`INDEX`].
    Index,
    /// [`MANIFEST`].
    Saved,
    /// [`REPOSITORIES`].
    Repositories,
    /// A blob of an OCI layout.
    Blob(Digest),
    /// `ID/json`.
    LegacyJson(String),
    /// `ID/layer.tar`.
    LegacyLayer(String),
    /// Anything else; [`MANIFEST`] may still name it.
    Other,
}

/// What the member `path` (as [`LayerReader`](crate::LayerReader) gives it) is.
pub fn part(path: &[u8]) -> Part {
    let Ok(path) = std::str::from_utf8(path) else { return Part::Other };
    match path {
        LAYOUT => return Part::Layout,
        INDEX => return Part::Index,
        MANIFEST => return Part::Saved,
        REPOSITORIES => return Part::Repositories,
        _ => {}
    }
    if let Some(digest) = path.strip_prefix("blobs/").and_then(|p| p.split_once('/')) {
        return format!("{}:{}", digest.0, digest.1).parse().map_or(Part::Other, Part::Blob);
    }
    match path.split_once('/') {
        Some((id, "json")) => Part::LegacyJson(id.to_owned()),
        Some((id, "layer.tar")) => Part::LegacyLayer(id.to_owned()),
        _ => Part::Other,
    }
}

/// Where a layout keeps a blob.
pub fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}

/// An image to be written.
#[derive(Debug, Clone)]
pub struct ArchiveImage {
    /// Its names; none is fine.
    pub names: Vec<Reference>,
    /// Its manifest or index.
    pub root: Descriptor,
    /// The bytes of the root and, for an index, of the manifests in it that are written.
    pub documents: BTreeMap<Digest, Vec<u8>>,
    /// The manifests that are written: the root's own, or those of an index.
    pub manifests: Vec<Manifest>,
}

/// A member to be written, in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Member {
    /// A directory.
    Dir {
        /// Its path.
        path: String,
    },
    /// A document whose bytes are here.
    Document {
        /// Its path.
        path: String,
        /// Its content.
        bytes: Vec<u8>,
    },
    /// A blob whose bytes are in the store.
    Blob {
        /// Its path.
        path: String,
        /// Its digest.
        digest: Digest,
        /// Its length in bytes.
        size: u64,
    },
}

/// All members of an archive of these images, in the order they are written; with `docker`, also `manifest.json`.
///
/// Docker takes one platform an image: `manifest.json` names the first of [`ArchiveImage::manifests`].
///
/// # Errors
/// [`ArchiveError::MissingDocument`] when an image's root is not among its documents.
pub fn members(images: &[ArchiveImage], docker: bool) -> Result<Vec<Member>, ArchiveError> {
    let document = |path: &str, bytes: Vec<u8>| Member::Document { path: path.to_owned(), bytes };
    let mut out =
        vec![document(LAYOUT, LayoutFile::BYTES.to_vec()), document(INDEX, to_json(INDEX, &layout_index(images))?)];
    if docker {
        let saved: Vec<SavedImage> = images.iter().filter_map(saved_image).collect();
        out.push(document(MANIFEST, to_json(MANIFEST, &saved)?));
    }
    let algorithms: std::collections::BTreeSet<&str> = all_blobs(images).map(Digest::algorithm).collect();
    out.push(Member::Dir { path: "blobs".to_owned() });
    out.extend(algorithms.into_iter().map(|a| Member::Dir { path: format!("blobs/{a}") }));

    let mut written = HashSet::new();
    for image in images {
        if !image.documents.contains_key(&image.root.digest) {
            return Err(ArchiveError::MissingDocument(image.root.digest.clone()));
        }
        for (digest, bytes) in &image.documents {
            if written.insert(digest) {
                out.push(document(&blob_path(digest), bytes.clone()));
            }
        }
    }
    let manifests = || images.iter().flat_map(|i| &i.manifests);
    for descriptor in manifests().map(|m| &m.config).chain(manifests().flat_map(|m| &m.layers)) {
        if written.insert(&descriptor.digest) {
            let Descriptor { digest, size, .. } = descriptor;
            out.push(Member::Blob { path: blob_path(digest), digest: digest.clone(), size: *size });
        }
    }
    Ok(out)
}

fn all_blobs(images: &[ArchiveImage]) -> impl Iterator<Item = &Digest> {
    images.iter().flat_map(|image| {
        let blobs = image.manifests.iter().flat_map(|m| std::iter::once(&m.config).chain(&m.layers));
        image.documents.keys().chain(blobs.map(|d| &d.digest))
    })
}

/// The layout's index: each image once a name, or once without.
fn layout_index(images: &[ArchiveImage]) -> Index {
    let mut manifests = Vec::new();
    for image in images {
        if image.names.is_empty() {
            manifests.push(image.root.clone());
        }
        for name in &image.names {
            let mut descriptor = image.root.clone();
            descriptor.annotations.extend(name_annotations(name));
            manifests.push(descriptor);
        }
    }
    Index::new(manifests)
}

/// What names an image in a layout's index.
pub fn name_annotations(name: &Reference) -> Annotations {
    let mut out = Annotations::from([(IMAGE_NAME.to_owned(), name.to_string())]);
    if let Some(tag) = name.tag_or_latest() {
        out.insert(REF_NAME.to_owned(), tag.to_owned());
    }
    out
}

fn saved_image(image: &ArchiveImage) -> Option<SavedImage> {
    let manifest = image.manifests.first()?;
    Some(SavedImage {
        config: blob_path(&manifest.config.digest),
        repo_tags: Some(image.names.iter().filter(|n| n.tag_or_latest().is_some()).map(Reference::familiar).collect()),
        layers: Some(manifest.layers.iter().map(|l| blob_path(&l.digest)).collect()),
        layer_sources: BTreeMap::new(),
    })
}

fn document<'a, T: Deserialize<'a>>(name: &str, bytes: &'a [u8]) -> Result<T, ArchiveError> {
    serde_json::from_slice(bytes).map_err(|source| ArchiveError::Document { name: name.to_owned(), source })
}

fn to_json<T: Serialize>(name: &str, value: &T) -> Result<Vec<u8>, ArchiveError> {
    serde_json::to_vec(value).map_err(|source| ArchiveError::Document { name: name.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media;

    fn image(names: &[&str]) -> ArchiveImage {
        let config = Descriptor::of(media::OCI_CONFIG, b"{}");
        let layer = Descriptor::of(media::OCI_LAYER_GZIP, b"layer");
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(media::OCI_MANIFEST.to_owned()),
            artifact_type: None,
            config,
            layers: vec![layer.clone(), layer],
            subject: None,
            annotations: Annotations::new(),
        };
        let bytes = serde_json::to_vec(&manifest).unwrap();
        let root = Descriptor::of(media::OCI_MANIFEST, &bytes);
        let documents = BTreeMap::from([(root.digest.clone(), bytes)]);
        ArchiveImage {
            names: names.iter().map(|n| n.parse().unwrap()).collect(),
            root,
            documents,
            manifests: vec![manifest],
        }
    }

    #[test]
    fn members_stand_documents_first_and_each_once() {
        let members = members(&[image(&["app:1", "reg.example/app:2"]), image(&[])], true).unwrap();
        let paths: Vec<&str> = members
            .iter()
            .map(|m| match m {
                Member::Dir { path } | Member::Document { path, .. } | Member::Blob { path, .. } => path.as_str(),
            })
            .collect();
        assert_eq!(paths[..5], ["oci-layout", "index.json", "manifest.json", "blobs", "blobs/sha256"]);
        assert_eq!(paths.len(), 8, "manifest, config and layer once: {paths:?}");
        let Member::Document { bytes, .. } = &members[2] else { panic!("not a document") };
        let saved = parse_saved(bytes).unwrap();
        assert_eq!(saved[0].repo_tags.as_deref().unwrap(), ["app:1", "reg.example/app:2"]);
        assert_eq!(saved[0].layers.as_ref().unwrap().len(), 2, "a layer used twice is named twice");
        let Member::Document { bytes, .. } = &members[1] else { panic!("not a document") };
        let index: Index = serde_json::from_slice(bytes).unwrap();
        assert_eq!(index.manifests.len(), 3);
        assert_eq!(index.manifests[0].annotations[IMAGE_NAME], "docker.io/library/app:1");
        assert_eq!(index.manifests[1].annotations[REF_NAME], "2");
    }

    #[test]
    fn a_root_without_bytes_is_an_error() {
        let mut image = image(&[]);
        image.documents.clear();
        assert!(matches!(members(&[image], false), Err(ArchiveError::MissingDocument(_))));
    }

    #[test]
    fn members_are_known_by_name() {
        let d = Digest::of(b"");
        assert_eq!(part(blob_path(&d).as_bytes()), Part::Blob(d));
        assert_eq!(part(b"blobs/sha256/short"), Part::Other);
        assert_eq!(part(b"abc/json"), Part::LegacyJson("abc".into()));
        assert_eq!(part(b"abc/layer.tar"), Part::LegacyLayer("abc".into()));
        assert_eq!(part(b"manifest.json"), Part::Saved);
        assert_eq!(part(b"\xff"), Part::Other);
    }

    #[test]
    fn legacy_layers_form_a_chain() {
        let layer = |id: &str, parent: &str| {
            let text = format!(r#"{{"id":"{id}","parent":"{parent}","config":{{"Cmd":["x"]}},"unknown":1}}"#);
            (id.to_owned(), LegacyLayer::parse(id, text.as_bytes()).unwrap())
        };
        let layers =
            BTreeMap::from([layer("c", "b"), layer("b", "a"), layer("a", ""), layer("x", "y"), layer("y", "x")]);
        assert_eq!(legacy_chain("c", &layers).unwrap(), ["a", "b", "c"]);
        assert!(matches!(legacy_chain("x", &layers), Err(ArchiveError::Cycle(_))));
        assert!(matches!(legacy_chain("z", &layers), Err(ArchiveError::MissingLayer(_))));
    }

    #[test]
    fn documents_are_checked() {
        assert!(LayoutFile::parse(LayoutFile::BYTES).is_ok());
        assert!(matches!(LayoutFile::parse(br#"{"imageLayoutVersion":"2"}"#), Err(ArchiveError::Version(_))));
        assert!(parse_saved(b"{").is_err());
        let old = parse_saved(br#"[{"Config":"a.json","RepoTags":null,"Layers":null}]"#).unwrap();
        assert_eq!(old[0].layers, None);
        assert_eq!(parse_repositories(br#"{"app":{"1":"id"}}"#).unwrap()["app"]["1"], "id");
    }
}
