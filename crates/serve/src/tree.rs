//! What lies under a manifest: the manifests it leads to, and the blobs they name.

use std::collections::{BTreeMap, HashMap};

use kiln_oci::{Descriptor, Digest, media};
use kiln_store::Store;
use serde::Deserialize;
use serde_json::Value;

/// The longest manifest, in bytes: the limit that registries agree on.
pub const MAX_MANIFEST: u64 = 4 << 20;
/// No more manifests than this are followed under one.
const MAX_NODES: usize = 20_000;

/// What a manifest or an index says, as far as a registry must know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its type.
    pub media_type: String,
    /// The manifests it leads to.
    pub manifests: Vec<Descriptor>,
    /// Configuration and layers, without those that are only to be had elsewhere.
    pub blobs: Vec<Descriptor>,
    /// What it is about.
    pub subject: Option<Digest>,
    /// What kind of artefact it is: its own word, else the type of its configuration.
    pub artifact_type: Option<String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

/// Why bytes are no manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Not JSON, or not of the form.
    #[error("it is not a manifest: {0}")]
    Form(String),
    /// Another type of document.
    #[error("manifests of type `{0}` are not supported")]
    Type(String),
    /// The header and the document disagree.
    #[error("Content-Type is `{header}`, but the manifest says `{document}`")]
    Disagree {
        /// What the header says.
        header: String,
        /// What the document says.
        document: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: u64,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    subject: Option<Descriptor>,
    annotations: Option<BTreeMap<String, String>>,
    #[serde(rename = "fsLayers")]
    fs_layers: Option<Value>,
}

impl Document {
    /// Reads a manifest. `header` is the type that came with it, if one did.
    ///
    /// # Errors
    /// When it is none, or of a type that is not supported: Docker's schema 1 is not.
    pub fn read(bytes: &[u8], header: Option<&str>) -> Result<Document, DocumentError> {
        let header = header.map(|h| h.split(';').next().unwrap_or(h).trim()).filter(|h| !h.is_empty());
        let generic = ["application/json", "application/octet-stream", "text/plain"];
        let header = header.filter(|h| !generic.contains(h));
        if let Some(header) = header.filter(|h| !media::is_index(h) && !media::is_manifest(h)) {
            return Err(DocumentError::Type(header.to_owned()));
        }
        let raw: Raw = serde_json::from_slice(bytes).map_err(|e| DocumentError::Form(e.to_string()))?;
        if raw.schema_version != 2 || raw.fs_layers.is_some() {
            return Err(DocumentError::Type(format!("schema {}", raw.schema_version)));
        }
        if let (Some(header), Some(document)) = (header, raw.media_type.as_deref())
            && header != document
        {
            return Err(DocumentError::Disagree { header: header.to_owned(), document: document.to_owned() });
        }
        raw.document(header)
    }
}

impl Raw {
    fn document(self, header: Option<&str>) -> Result<Document, DocumentError> {
        let guessed = if self.manifests.is_some() { media::OCI_INDEX } else { media::OCI_MANIFEST };
        let media_type = header.map(str::to_owned).or(self.media_type).unwrap_or_else(|| guessed.to_owned());
        let form = |text: &str| DocumentError::Form(text.to_owned());
        if !media::is_index(&media_type) && !media::is_manifest(&media_type) {
            return Err(DocumentError::Type(media_type));
        }
        // One document must not mean two things to two readers.
        if self.manifests.is_some() && (self.layers.is_some() || self.config.is_some()) {
            return Err(form("it has both manifests and layers"));
        }
        if media::is_index(&media_type) != self.manifests.is_some() {
            return Err(form("its type and its content disagree"));
        }
        let mut blobs = self.layers.unwrap_or_default();
        blobs.retain(|layer| !media::is_foreign(&layer.media_type));
        let config_type = self.config.as_ref().map(|c| c.media_type.clone());
        match (self.config, media::is_manifest(&media_type)) {
            (Some(config), _) => blobs.push(config),
            (None, true) => return Err(form("it has no config")),
            (None, false) => {}
        }
        Ok(Document {
            media_type,
            manifests: self.manifests.unwrap_or_default(),
            blobs,
            subject: self.subject.map(|s| s.digest),
            artifact_type: self.artifact_type.or(config_type),
            annotations: self.annotations.unwrap_or_default(),
        })
    }
}

/// One manifest of a tree.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its length in bytes.
    pub size: u64,
    /// What it says, without what it leads to.
    pub document: Document,
}

/// Everything under one manifest.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    /// The manifests that are in the store, the first included.
    pub manifests: HashMap<Digest, Node>,
    /// Configurations and layers that they name, whether they are in the store or not, with their sizes.
    pub blobs: HashMap<Digest, u64>,
    /// Whether every manifest was found: a tree that is not whole may grow.
    pub whole: bool,
}

impl Tree {
    /// Follows `root`, whose bytes may be `given` because they are in no store. What is not in the store, or is no
    /// manifest, is left out.
    pub fn of(store: &Store, root: &Digest, given: Option<&[u8]>) -> Tree {
        let mut tree = Tree { whole: true, ..Tree::default() };
        let mut ahead = vec![root.clone()];
        while let Some(digest) = ahead.pop() {
            if tree.manifests.contains_key(&digest) {
                continue;
            }
            if tree.manifests.len() >= MAX_NODES {
                break;
            }
            let bytes = match given.filter(|_| digest == *root) {
                Some(given) => Ok(given.to_vec()),
                None => store.read_blob(&digest, MAX_MANIFEST),
            };
            let Ok(bytes) = bytes else {
                tree.whole = false;
                continue;
            };
            let Ok(mut document) = Document::read(&bytes, None) else { continue };
            ahead.extend(document.manifests.drain(..).map(|d| d.digest));
            tree.blobs.extend(document.blobs.drain(..).map(|d| (d.digest, d.size)));
            tree.manifests.insert(digest, Node { size: bytes.len() as u64, document });
        }
        tree
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, header: Option<&str>) -> Result<Document, DocumentError> {
        Document::read(text.as_bytes(), header)
    }

    fn entry(media_type: &str) -> String {
        serde_json::to_string(&Descriptor::of(media_type, b"x")).unwrap()
    }

    #[test]
    fn manifests_and_indexes_are_told_apart() {
        let config = entry(media::OCI_CONFIG);
        let manifest = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[]}}"#);
        let document = read(&manifest, None).unwrap();
        assert_eq!(document.media_type, media::OCI_MANIFEST);
        assert_eq!(document.artifact_type.as_deref(), Some(media::OCI_CONFIG));
        assert_eq!(read(&manifest, Some(media::DOCKER_MANIFEST)).unwrap().media_type, media::DOCKER_MANIFEST);
        let index = r#"{"schemaVersion":2,"manifests":[]}"#;
        assert_eq!(read(index, Some("application/json; charset=utf-8")).unwrap().media_type, media::OCI_INDEX);
    }

    #[test]
    fn foreign_layers_are_not_expected_here() {
        let (config, foreign) = (entry(media::OCI_CONFIG), entry(media::DOCKER_FOREIGN_LAYER));
        let text = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{foreign}]}}"#);
        assert_eq!(read(&text, None).unwrap().blobs.len(), 1);
    }

    #[test]
    fn documents_that_mean_two_things_are_refused() {
        let config = entry(media::OCI_CONFIG);
        for bad in [
            "",
            "[]",
            "{}",
            r#"{"schemaVersion":1,"fsLayers":[]}"#,
            r#"{"schemaVersion":2}"#,
            r#"{"schemaVersion":2,"manifests":[{"digest":"sha256:1"}]}"#,
            r#"{"schemaVersion":2,"mediaType":"text/html","manifests":[]}"#,
            &format!(r#"{{"schemaVersion":2,"manifests":[],"config":{config}}}"#),
            &format!(r#"{{"schemaVersion":2,"mediaType":"{}","config":{config}}}"#, media::OCI_INDEX),
        ] {
            assert!(read(bad, None).is_err(), "{bad}");
        }
        let index = format!(r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[]}}"#, media::OCI_INDEX);
        assert!(matches!(read(&index, Some(media::DOCKER_LIST)), Err(DocumentError::Disagree { .. })));
        assert!(matches!(read(&index, Some("text/html")), Err(DocumentError::Type(_))));
        let deep = "[".repeat(100_000);
        assert!(read(&deep, None).is_err());
    }
}
