//! What the store has under names, as repositories: the images themselves, and those that cluster images contain.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use kiln_oci::{Descriptor, Digest, Index, Reference, media};
use kiln_store::refs::REF_NAME;
use kiln_store::{Store, StoredRef};

use crate::names::{Full, Name, full_reference};
use crate::tree::MAX_MANIFEST;

/// Where something in a repository comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// It has this name in the store.
    Named(String),
    /// This image contains it.
    Contained(String),
}

/// What a tag or a digest means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// The manifest.
    pub descriptor: Descriptor,
    /// Where it comes from.
    pub origin: Origin,
}

/// One repository.
#[derive(Debug, Clone, Default)]
pub struct Repository {
    /// What tags mean.
    pub tags: BTreeMap<String, Root>,
    /// Manifests that have a name by digest only.
    pub pinned: BTreeMap<Digest, Root>,
}

impl Repository {
    /// All roots, some perhaps more than once.
    pub fn roots(&self) -> impl Iterator<Item = &Root> {
        self.tags.values().chain(self.pinned.values())
    }
}

/// What an image contains, by the names it gives: kept between two readings, since images do not change.
type Contents = Arc<Vec<(Reference, Descriptor)>>;

/// All repositories at one moment.
#[derive(Debug, Default)]
pub struct Catalog {
    repositories: BTreeMap<Full, Repository>,
    /// Registries by repository: for names without one.
    by_path: HashMap<String, Vec<String>>,
    contents: HashMap<Digest, Contents>,
    /// Indexes that are in no store: made for images that are contained for several platforms.
    made: HashMap<Digest, Bytes>,
    /// Names that mean different things in different images, and who won.
    pub conflicts: Vec<String>,
}

impl Catalog {
    /// Reads the names of a store; `only` these and what they contain, unless it is empty. `before` is what was known.
    ///
    /// # Errors
    /// When `index.json` cannot be read.
    pub fn read(store: &Store, only: &[String], before: &Catalog) -> kiln_store::Result<Catalog> {
        let mut refs = store.list_refs()?;
        if !only.is_empty() {
            refs.retain(|r| only.contains(&r.name));
        }
        let mut catalog = Catalog::default();
        for stored in &refs {
            if let Some(reference) = full_reference(&stored.name) {
                catalog.insert(&reference, stored.descriptor.clone(), Origin::Named(stored.name.clone()));
            }
        }
        for stored in refs.iter().filter(|r| media::is_index(&r.descriptor.media_type)) {
            catalog.contain(store, stored, before);
        }
        for full in catalog.repositories.keys() {
            catalog.by_path.entry(full.repository.clone()).or_default().push(full.registry.clone());
        }
        Ok(catalog)
    }

    fn contain(&mut self, store: &Store, stored: &StoredRef, before: &Catalog) {
        let digest = &stored.descriptor.digest;
        let known = self.contents.get(digest).or_else(|| before.contents.get(digest)).cloned();
        let Some(contents) = known.or_else(|| contents(store, digest)) else { return };
        self.contents.insert(digest.clone(), contents.clone());
        let mut by_name: BTreeMap<&Reference, Vec<&Descriptor>> = BTreeMap::new();
        for (reference, descriptor) in contents.iter() {
            by_name.entry(reference).or_default().push(descriptor);
        }
        for (reference, descriptors) in by_name {
            let descriptor = match descriptors[..] {
                [one] => one.clone(),
                _ => self.index_of(&descriptors),
            };
            self.insert(reference, descriptor, Origin::Contained(stored.name.clone()));
        }
    }

    /// An index of one image for several platforms.
    fn index_of(&mut self, descriptors: &[&Descriptor]) -> Descriptor {
        let index = Index::new(descriptors.iter().map(|d| (*d).clone()).collect());
        let bytes = Bytes::from(serde_json::to_vec(&index).unwrap_or_default());
        let descriptor = Descriptor::of(media::OCI_INDEX, &bytes);
        self.made.insert(descriptor.digest.clone(), bytes);
        descriptor
    }

    /// A name of the store itself goes before what an image contains; of images that contain different things under
    /// one name, the first goes first.
    fn insert(&mut self, reference: &Reference, descriptor: Descriptor, origin: Origin) {
        let full = Full { registry: reference.registry.clone(), repository: reference.repository.clone() };
        let repository = self.repositories.entry(full).or_default();
        let root = Root { descriptor, origin };
        let Some(tag) = reference.tag_or_latest() else {
            repository.pinned.entry(root.descriptor.digest.clone()).or_insert(root);
            return;
        };
        match repository.tags.get(tag) {
            None => {
                repository.tags.insert(tag.to_owned(), root);
            }
            Some(there) if there.descriptor.digest != root.descriptor.digest => {
                if let (Origin::Contained(first), Origin::Contained(second)) = (&there.origin, &root.origin) {
                    self.conflicts
                        .push(format!("{reference} is not the same in {first} and in {second}: the first is served"));
                }
                repository.pinned.insert(root.descriptor.digest.clone(), root);
            }
            Some(_) => {}
        }
    }

    /// Where a name leads: the repository it names, or for a name without a registry the only one of its path.
    pub fn find(&self, name: &Name) -> Option<(&Full, &Repository)> {
        if let Some(found) = self.repositories.get_key_value(&name.full) {
            return Some(found);
        }
        if name.explicit {
            return None;
        }
        let short = || format!("library/{}", name.full.repository);
        let paths = match name.full.repository.contains('/') {
            true => vec![name.full.repository.clone()],
            false => vec![name.full.repository.clone(), short()],
        };
        let mut found = paths.iter().flat_map(|path| {
            let registries = self.by_path.get(path).into_iter().flatten();
            registries.map(|registry| Full { registry: registry.clone(), repository: path.clone() })
        });
        let first = found.next()?;
        match found.next() {
            None => self.repositories.get_key_value(&first),
            Some(_) => None,
        }
    }

    /// The registries a short name may mean, if there are several.
    pub fn ambiguous(&self, name: &Name) -> Option<&[String]> {
        let registries = self.by_path.get(&name.full.repository)?;
        (!name.explicit && registries.len() > 1).then_some(registries)
    }

    /// All repositories, in order.
    pub fn repositories(&self) -> impl Iterator<Item = (&Full, &Repository)> {
        self.repositories.iter()
    }

    /// An index that was made for an image of several platforms.
    pub fn made(&self, digest: &Digest) -> Option<Bytes> {
        self.made.get(digest).cloned()
    }
}

/// What a cluster image contains: the manifests of its index that have a full name.
fn contents(store: &Store, digest: &Digest) -> Option<Contents> {
    let bytes = store.read_blob(digest, MAX_MANIFEST).ok()?;
    let index: Index = serde_json::from_slice(&bytes).ok()?;
    let named = |mut descriptor: Descriptor| {
        let reference = full_reference(descriptor.annotations.get(REF_NAME)?)?;
        descriptor.annotations.remove(REF_NAME);
        Some((reference, descriptor))
    };
    Some(Arc::new(index.manifests.into_iter().filter_map(named).collect()))
}
