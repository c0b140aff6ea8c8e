//! What an entry says: a manifest of one layer, with annotations about the step that made it.

use std::collections::BTreeMap;

use kiln_oci::config::{History, RootFs};
use kiln_oci::manifest::Annotations;
use kiln_oci::{Descriptor, Digest, ImageConfig, Manifest, Mtime, Platform, media, time};
use kiln_plan::Key;

use crate::error::{EngineError, Result};
use crate::images::parse_manifest;
use crate::rootfs::Layer;
use crate::schedule::now;

pub(super) const KEY: &str = "build.kiln.step.key";
pub(super) const DIFF_ID: &str = "build.kiln.step.diff-id";
pub(super) const RAN: &str = "build.kiln.step.created";
pub(super) const PUSHED: &str = "org.opencontainers.image.created";
pub(super) const TITLE: &str = "org.opencontainers.image.title";

/// A layer that a step made, and when.
pub(super) type Entry = (Layer, String);

/// An entry that was read.
pub(super) struct Found {
    pub entry: Entry,
    pub pushed: Mtime,
    pub manifest: Manifest,
}

/// Reads the entry of a key.
pub(super) fn read(name: &str, descriptor: &Descriptor, bytes: &[u8], key: &Key) -> Result<Found> {
    let manifest: Manifest = parse_manifest(name, descriptor, bytes)?;
    let bad = |message: &str| EngineError::Image { name: name.to_owned(), message: message.to_owned() };
    if manifest.annotations.get(KEY).is_some_and(|noted| *noted != key.to_string()) {
        return Err(bad("it is the entry of another step"));
    }
    let [blob] = &manifest.layers[..] else { return Err(bad("it has not one layer")) };
    let entry = entry(&manifest.annotations, blob).map_err(bad)?;
    let pushed = manifest.annotations.get(PUSHED).and_then(|text| time::parse_rfc3339(text).ok());
    let pushed = pushed.ok_or_else(|| bad("its date is none"))?;
    Ok(Found { entry, pushed, manifest })
}

/// What annotations say of a layer.
pub(super) fn entry(notes: &Annotations, blob: &Descriptor) -> Result<Entry, &'static str> {
    let note = |name: &str| notes.get(name).ok_or("it is not a layer of a step");
    let diff_id: Digest = note(DIFF_ID)?.parse().map_err(|_| "its diff id is no digest")?;
    let created = note(RAN)?.clone();
    time::parse_rfc3339(&created).map_err(|_| "its date is none")?;
    let blob = Descriptor { annotations: BTreeMap::default(), platform: None, ..blob.clone() };
    Ok((Layer { diff_id, blob }, created))
}

/// What a layer says of its step, in an image that is a cache at the same time.
pub(crate) fn notes(key: &Key, layer: &Layer, created: &str) -> Annotations {
    let notes = [(KEY, key.to_string()), (DIFF_ID, layer.diff_id.to_string()), (RAN, created.to_owned())];
    notes.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()
}

/// A layer on its way out.
pub(super) struct Offer {
    pub key: Key,
    pub title: String,
    pub platform: Platform,
    pub layer: Layer,
    pub created: String,
}

impl Offer {
    /// The layer's blob, as a manifest of OCI names it.
    pub(super) fn blob(&self) -> Descriptor {
        let media_type = media::to_oci(&self.layer.blob.media_type).to_owned();
        Descriptor { media_type, ..self.layer.blob.clone() }
    }

    /// The manifest of the entry.
    pub(super) fn manifest(&self, config: &Descriptor) -> Vec<u8> {
        let mut annotations = notes(&self.key, &self.layer, &self.created);
        annotations.insert(PUSHED.to_owned(), time::rfc3339(Mtime::secs(now().secs)));
        annotations.insert(TITLE.to_owned(), self.title.clone());
        let manifest = Manifest { annotations, ..Manifest::new(config.clone(), vec![self.blob()]) };
        serde_json::to_vec(&manifest).unwrap_or_default()
    }

    /// The manifest of an entry that no tool for images will look at.
    pub(super) fn bare(&self) -> Vec<u8> {
        self.manifest(&Descriptor::empty())
    }

    /// The configuration of an entry, with which any tool can look at it as an image.
    pub(super) fn config(&self) -> Vec<u8> {
        let (created, title) = (Some(self.created.clone()), Some(self.title.clone()));
        let history = History { created: created.clone(), created_by: title, ..History::default() };
        let config = ImageConfig {
            created,
            architecture: self.platform.architecture.clone(),
            variant: self.platform.variant.clone(),
            os: self.platform.os.clone(),
            rootfs: RootFs { diff_ids: vec![self.layer.diff_id.clone()], ..RootFs::default() },
            history: vec![history],
            ..ImageConfig::default()
        };
        serde_json::to_vec(&config).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer() -> Offer {
        let layer = Layer {
            diff_id: Digest::of(b"tar"),
            blob: Descriptor::of("application/vnd.oci.image.layer.v1.tar", b"tar"),
        };
        let (title, created) = ("RUN x".to_owned(), "2026-01-01T00:00:00Z".to_owned());
        Offer { key: Key([7; 32]), title, platform: Platform::host(), layer, created }
    }

    fn read_back(bytes: &[u8], key: Key) -> Result<Found, String> {
        read("e", &Descriptor::of(media::OCI_MANIFEST, bytes), bytes, &key).map_err(|e| e.to_string())
    }

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        let offer = offer();
        let found = read_back(&offer.bare(), offer.key).unwrap();
        assert_eq!(found.entry, (offer.layer.clone(), offer.created.clone()));
        let config: ImageConfig = serde_json::from_slice(&offer.config()).unwrap();
        assert_eq!(config.rootfs.diff_ids, [offer.layer.diff_id]);
    }

    #[test]
    fn entries_of_other_steps_and_damaged_ones_are_refused() {
        let offer = offer();
        let good = offer.bare();
        let text = String::from_utf8(good.clone()).unwrap();
        assert!(read_back(&good, Key([8; 32])).err().unwrap().contains("another step"));
        for (from, to, why) in [
            ("\"layers\":[{", "\"layers\":[],\"x\":[{", "not one layer"),
            (DIFF_ID, "x", "not a layer of a step"),
            (&*offer.layer.diff_id.to_string(), "sha256:00", "its diff id is no digest"),
            ("2026-01-01T00:00:00Z", "yesterday", "its date is none"),
            (PUSHED, "x", "its date is none"),
        ] {
            let changed = text.replace(from, to);
            assert_ne!(changed, text);
            let error = read_back(changed.as_bytes(), offer.key).err().unwrap();
            assert!(error.contains(why) || error.contains("cannot be read"), "{to}: {error}");
        }
        for cut in [0, 1, good.len() / 2, good.len() - 1] {
            assert!(read_back(&good[..cut], offer.key).is_err());
        }
    }
}
