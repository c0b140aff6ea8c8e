//! Images as the store has them: by name, by digest, by the first digits of one.

use std::collections::BTreeMap;

use kiln_oci::{Descriptor, Digest, Index, Manifest, Reference, media};
use kiln_store::Store;

use crate::error::{EngineError, Result};
use crate::images::{MAX_DOCUMENT, media_type_of};

/// An image that was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its name, if it was found by it or has one.
    pub name: Option<Reference>,
    /// Its manifest or index.
    pub descriptor: Descriptor,
}

impl Found {
    /// What people call it.
    pub fn title(&self) -> String {
        self.name.as_ref().map_or_else(|| self.descriptor.digest.to_string(), Reference::familiar)
    }
}

/// Finds what a text names, as docker does: a whole digest, else a name, else the beginning of the digest of a manifest
/// or configuration.
///
/// # Errors
/// When there is nothing, or more than one thing, of that name.
pub fn find(store: &Store, text: &str) -> Result<Found> {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    let is_hex = !hex.is_empty() && hex.len() <= 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if is_hex && hex.len() == 64 {
        return by_prefix(store, hex)?
            .or_else(|| by_digest(store, &format!("sha256:{hex}").parse().ok()?))
            .ok_or_else(|| EngineError::NoSuchImage(text.to_owned()));
    }
    let named = text.parse::<Reference>();
    if let Ok(reference) = &named
        && let Some(found) = by_name(store, reference)?
    {
        return Ok(found);
    }
    if is_hex && let Some(found) = by_prefix(store, hex)? {
        return Ok(found);
    }
    match named {
        Ok(reference) => Err(EngineError::NoSuchImage(reference.familiar())),
        Err(e) => Err(EngineError::Image { name: text.to_owned(), message: e.to_string() }),
    }
}

/// What a reference means, if the store has it.
///
/// # Errors
/// When the store cannot be read.
pub fn by_name(store: &Store, reference: &Reference) -> Result<Option<Found>> {
    let name = Some(reference.clone());
    let named = store.get_ref(&reference.to_string())?;
    match (&reference.digest, named) {
        (None, named) => Ok(named.map(|descriptor| Found { name, descriptor })),
        (Some(digest), Some(descriptor)) if descriptor.digest == *digest => Ok(Some(Found { name, descriptor })),
        // A digest says what is meant; what some name points to does not matter.
        (Some(digest), _) => Ok(by_digest(store, digest).map(|found| Found { name, ..found })),
    }
}

fn by_digest(store: &Store, digest: &Digest) -> Option<Found> {
    let size = store.blob_size(digest).filter(|size| *size <= MAX_DOCUMENT)?;
    let bytes = store.read_blob(digest, MAX_DOCUMENT).ok()?;
    let media_type = media_type_of(&bytes).filter(|t| media::is_index(t) || media::is_manifest(t))?;
    Some(Found { name: None, descriptor: Descriptor::new(&media_type, digest.clone(), size) })
}

fn by_prefix(store: &Store, hex: &str) -> Result<Option<Found>> {
    let mut found: BTreeMap<Digest, Found> = BTreeMap::new();
    for stored in store.list_refs()? {
        for candidate in documents(store, &stored.descriptor) {
            if candidate.ids.iter().any(|id| id.hex().starts_with(hex)) {
                let name = if candidate.descriptor.digest == stored.descriptor.digest {
                    stored.name.parse().ok()
                } else {
                    None
                };
                found
                    .entry(candidate.descriptor.digest.clone())
                    .or_insert(Found { name, descriptor: candidate.descriptor });
                break;
            }
        }
    }
    if found.len() > 1 {
        let all: Vec<String> = found.keys().map(Digest::short).collect();
        return Err(EngineError::Image {
            name: hex.to_owned(),
            message: format!("several images begin so: {}", all.join(", ")),
        });
    }
    Ok(found.into_values().next())
}

struct Candidate {
    descriptor: Descriptor,
    ids: Vec<Digest>,
}

/// An image's manifest or index, then the manifests of an index, with the digests each may be called by.
fn documents(store: &Store, root: &Descriptor) -> Vec<Candidate> {
    let ids = |d: &Descriptor| {
        let config = read::<Manifest>(store, d).map(|m| m.config.digest);
        [d.digest.clone()].into_iter().chain(config).collect::<Vec<_>>()
    };
    if !media::is_index(&root.media_type) {
        return vec![Candidate { descriptor: root.clone(), ids: ids(root) }];
    }
    let mut all = vec![Candidate { descriptor: root.clone(), ids: vec![root.digest.clone()] }];
    let children = read::<Index>(store, root).map(|i| i.manifests).unwrap_or_default();
    let here = children.into_iter().filter(|c| store.has_blob(&c.digest));
    all.extend(here.map(|c| Candidate { ids: ids(&c), descriptor: c }));
    all
}

fn read<T: serde::de::DeserializeOwned>(store: &Store, descriptor: &Descriptor) -> Option<T> {
    serde_json::from_slice(&store.read_blob(&descriptor.digest, MAX_DOCUMENT).ok()?).ok()
}

/// What is known of the image behind a name, for lists.
#[derive(Debug, Clone)]
pub struct Summary {
    /// Its name.
    pub name: Reference,
    /// Its manifest or index.
    pub descriptor: Descriptor,
    /// The platforms of it that are in the store.
    pub platforms: Vec<String>,
    /// When it was made, RFC 3339.
    pub created: Option<String>,
    /// What its blobs in the store take, in bytes; each counted once.
    pub size: u64,
}

/// All images with names, in the order of their names. One that is damaged is listed with what could be read.
///
/// # Errors
/// When the list of names cannot be read.
pub fn list(store: &Store) -> Result<Vec<Summary>> {
    let mut all = Vec::new();
    for stored in store.list_refs()? {
        let Ok(name) = stored.name.parse::<Reference>() else { continue };
        let (mut platforms, mut created) = (Vec::new(), None);
        let mut blobs: BTreeMap<Digest, u64> = BTreeMap::new();
        for candidate in documents(store, &stored.descriptor) {
            blobs.insert(candidate.descriptor.digest.clone(), candidate.descriptor.size);
            let Some(manifest) = read::<Manifest>(store, &candidate.descriptor) else { continue };
            blobs.extend(manifest.layers.iter().chain([&manifest.config]).map(|d| (d.digest.clone(), d.size)));
            if let Some(config) = read::<kiln_oci::ImageConfig>(store, &manifest.config) {
                let platform = config.platform().to_string();
                if !platforms.contains(&platform) {
                    platforms.push(platform);
                }
                created = created.max(config.created);
            }
        }
        let size = blobs.iter().filter(|(d, _)| store.has_blob(d)).map(|(_, size)| size).sum();
        all.push(Summary { name, descriptor: stored.descriptor, platforms, created, size });
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}
