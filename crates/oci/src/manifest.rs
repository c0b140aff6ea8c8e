//! The JSON documents that tie an image together. Fields Kiln does not know survive a round trip, but a document
//! that is only passed on should be passed on as its raw bytes: a digest covers bytes, not meaning.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Digest, Platform, media};

/// Annotations, in the order of their keys.
pub type Annotations = BTreeMap<String, String>;

/// What names one blob: type, digest, size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// The type of the bytes.
    pub media_type: String,
    /// Their digest.
    pub digest: Digest,
    /// Their length in bytes.
    pub size: u64,
    /// Other places they may be had from. Kiln never follows these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Annotations on the reference to the blob.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: Annotations,
    /// In an index: the platform the manifest is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// What kind of artefact the manifest is, if not an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

impl Descriptor {
    /// A descriptor of `bytes`.
    pub fn of(media_type: &str, bytes: &[u8]) -> Descriptor {
        Descriptor::new(media_type, Digest::of(bytes), bytes.len() as u64)
    }

    /// A descriptor without annotations or platform.
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Descriptor {
        Descriptor {
            media_type: media_type.to_owned(),
            digest,
            size,
            urls: Vec::new(),
            annotations: Annotations::new(),
            platform: None,
            artifact_type: None,
        }
    }

    /// What stands in a manifest where there is nothing to say, as the configuration of what is no image.
    pub fn empty() -> Descriptor {
        Descriptor::of(media::OCI_EMPTY, media::EMPTY)
    }
}

/// One image's manifest, OCI or Docker schema 2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// The document's own type; OCI allows leaving it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// What kind of artefact this is, if not an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The image configuration.
    pub config: Descriptor,
    /// The layers, lowest first. BuildKit writes `null` where there are none.
    #[serde(default, deserialize_with = "crate::config::null_is_default")]
    pub layers: Vec<Descriptor>,
    /// The manifest this one is about (referrers).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Annotations on the manifest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: Annotations,
}

impl Manifest {
    /// An OCI manifest of this configuration and these layers.
    pub fn new(config: Descriptor, layers: Vec<Descriptor>) -> Manifest {
        Manifest {
            schema_version: 2,
            media_type: Some(media::OCI_MANIFEST.to_owned()),
            artifact_type: None,
            config,
            layers,
            subject: None,
            annotations: Annotations::new(),
        }
    }

    /// The entry of this manifest, which `descriptor` names, in a list of referrers: with its own annotations.
    pub fn as_referrer(&self, descriptor: &Descriptor) -> Descriptor {
        let (artifact_type, annotations) = (self.artifact_type.clone(), self.annotations.clone());
        Descriptor { artifact_type, annotations, platform: None, ..descriptor.clone() }
    }
}

/// A list of manifests: an OCI index or a Docker manifest list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// The document's own type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// What kind of artefact this is, if not an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The manifests.
    #[serde(default)]
    pub manifests: Vec<Descriptor>,
    /// The manifest this one is about (referrers).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Annotations on the index.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: Annotations,
}

impl Index {
    /// An OCI index of these manifests.
    pub fn new(manifests: Vec<Descriptor>) -> Index {
        Index {
            schema_version: 2,
            media_type: Some(media::OCI_INDEX.to_owned()),
            artifact_type: None,
            manifests,
            subject: None,
            annotations: Annotations::new(),
        }
    }

    /// Whether all of it is for monitors: a unikernel, one manifest for each of them.
    pub fn is_for_monitors(&self) -> bool {
        let monitor = |d: &Descriptor| d.platform.as_ref().is_some_and(Platform::is_monitor);
        !self.manifests.is_empty() && self.manifests.iter().all(monitor)
    }

    /// The manifest that serves `want` best: an exact match, or the best variant at or below the one wanted.
    pub fn select(&self, want: &Platform) -> Option<&Descriptor> {
        self.manifests
            .iter()
            .filter(|d| d.platform.as_ref().is_some_and(|p| p.serves(want)))
            .max_by_key(|d| d.platform.as_ref().map_or(0, |p| p.closeness(want)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(platform: Option<&str>) -> Descriptor {
        let digest = Digest::of(platform.unwrap_or_default().as_bytes());
        let platform = platform.map(|p| p.parse().unwrap());
        Descriptor { platform, ..Descriptor::new(media::OCI_MANIFEST, digest, 2) }
    }

    #[test]
    fn the_closest_platform_is_selected() {
        let names = [None, Some("linux/arm/v6"), Some("linux/amd64"), Some("linux/arm/v7"), Some("windows/amd64")];
        let index = Index::new(names.map(entry).to_vec());
        let select = |text: &str| {
            let found = index.select(&text.parse().unwrap())?;
            found.platform.as_ref().map(Platform::to_string)
        };
        assert_eq!(select("linux/amd64").as_deref(), Some("linux/amd64"));
        assert_eq!(select("linux/arm/v7").as_deref(), Some("linux/arm/v7"));
        assert_eq!(select("linux/arm/v6").as_deref(), Some("linux/arm/v6"));
        assert_eq!(select("linux/arm/v5"), None);
        assert_eq!(select("linux/riscv64"), None);
    }

    #[test]
    fn documents_round_trip_and_hide_what_is_absent() {
        let index = Index::new(vec![entry(Some("linux/amd64"))]);
        let text = serde_json::to_string(&index).unwrap();
        assert!(!text.contains("annotations") && !text.contains("null"), "{text}");
        assert_eq!(serde_json::from_str::<Index>(&text).unwrap(), index);
        assert!(serde_json::from_str::<Manifest>(r#"{"schemaVersion":2}"#).is_err(), "a manifest has a config");
    }
}
