//! What changes the store: manifests that come and go. Everything here blocks.

use kiln_oci::{Descriptor, Digest, media};
use kiln_store::StoreError;
use serde_json::json;

use crate::library::{Library, own_name, unknown_manifest, unknown_name};
use crate::names::Name;
use crate::refusal::{Code, Refusal};
use crate::route::Target;
use crate::tree::Document;

/// At most so many missing blobs are named in an answer.
const MAX_MISSING: usize = 20;
/// Indexes of indexes are followed so deep when it is asked whether all of an image is here.
const MAX_NESTED: u32 = 8;

/// A manifest that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its digest.
    pub digest: Digest,
    /// What it is about.
    pub subject: Option<Digest>,
}

impl Library {
    /// Takes a manifest, if all it names is here. Its name moves last.
    pub fn put_manifest(
        &self,
        name: &Name,
        target: &Target,
        header: Option<&str>,
        bytes: &[u8],
    ) -> Result<Stored, Refusal> {
        let document = Document::read(bytes, header).map_err(|e| Refusal::new(Code::ManifestInvalid, e.to_string()))?;
        let digest = match target {
            Target::Tag(_) => Digest::of(bytes),
            Target::Digest(asked) => {
                let mut hasher = asked.hasher();
                hasher.update(bytes);
                let actual = hasher.finish();
                if actual != *asked {
                    let text = format!("the manifest has digest {actual}, not {asked}");
                    return Err(Refusal::new(Code::DigestInvalid, text));
                }
                actual
            }
        };
        let store = self.writer()?;
        self.must_have_all(name, &document, &store)?;
        self.keep(&store, &digest, bytes)?;
        let descriptor = Descriptor::new(&document.media_type, digest.clone(), bytes.len() as u64);
        let stored_as = match target {
            Target::Tag(tag) => name.full.tagged(tag),
            Target::Digest(digest) => name.full.pinned(digest),
        };
        store.set_ref(&stored_as, &descriptor).map_err(|e| self.failed(e))?;
        self.remember(&name.full, &digest);
        if matches!(target, Target::Tag(_)) {
            self.unpin(name, &document);
        }
        Ok(Stored { digest, subject: document.subject })
    }

    fn keep(&self, store: &kiln_store::Store, digest: &Digest, bytes: &[u8]) -> Result<(), Refusal> {
        if digest.algorithm() == "sha256" {
            return store.put(bytes).map(drop).map_err(|e| self.failed(e));
        }
        let mut writer = store.raw_blob_writer().map_err(|e| self.failed(e))?;
        std::io::Write::write_all(&mut writer, bytes)
            .map_err(|source| self.failed(StoreError::WriteBlob { path: store.blob_path(digest), source }))?;
        writer.commit_hashed(digest.clone()).map(drop).map_err(|e| self.failed(e))
    }

    /// Refuses a manifest that names what the repository does not have: whoever knows only a digest gets no blob by it.
    fn must_have_all(&self, name: &Name, document: &Document, store: &kiln_store::Store) -> Result<(), Refusal> {
        let named = document.manifests.iter().chain(&document.blobs);
        let mut missing = Vec::new();
        for descriptor in named {
            // With the lease of this handle, what is here now stays.
            let here = store.blob_size(&descriptor.digest);
            if here.is_none() || self.knows_blob(name, &descriptor.digest)?.is_none() {
                missing.push(descriptor.digest.to_string());
            } else if here != Some(descriptor.size) {
                let text =
                    format!("{} has not the {} bytes that the manifest says", descriptor.digest, descriptor.size);
                return Err(Refusal::new(Code::ManifestInvalid, text));
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        missing.truncate(MAX_MISSING);
        let text = format!("the repository does not have {}, which the manifest names", missing[0]);
        Err(Refusal::new(Code::ManifestBlobUnknown, text).detail(json!({"digests": missing})))
    }

    /// Manifests that came by digest, and are now in an index with a tag, need no name of their own. What is about
    /// something else keeps it.
    fn unpin(&self, name: &Name, document: &Document) {
        let Ok(catalog) = self.catalog() else { return };
        let Some((_, repository)) = catalog.find(name) else { return };
        for child in &document.manifests {
            if let Some(root) = repository.pinned.get(&child.digest)
                && let Ok(stored_as) = own_name(&root.origin)
                && let Ok(found) = self.manifest(name, &Target::Digest(child.digest.clone()))
                && Document::read(&found.bytes, None).is_ok_and(|d| d.subject.is_none())
                && let Err(error) = self.store().remove_ref(stored_as)
            {
                self.log.say(&format!("the store: {error}"));
            }
        }
    }

    /// Takes a tag away, or by a digest the manifest with all its tags.
    pub fn delete_manifest(&self, name: &Name, target: &Target) -> Result<(), Refusal> {
        let catalog = self.catalog()?;
        let (full, repository) = catalog.find(name).ok_or_else(|| unknown_name(&catalog, name))?;
        let mut names = Vec::new();
        match target {
            Target::Tag(tag) => {
                let root = repository.tags.get(tag).ok_or_else(|| unknown_manifest(name, tag))?;
                names.push(own_name(&root.origin)?);
            }
            Target::Digest(digest) => {
                for root in repository.roots().filter(|root| root.descriptor.digest == *digest) {
                    names.push(own_name(&root.origin)?);
                }
                if names.is_empty() {
                    self.manifest(name, target)?;
                    let text = "it is part of an index: delete that";
                    return Err(Refusal::new(Code::Unsupported, text));
                }
            }
        }
        for stored_as in names {
            self.store().remove_ref(stored_as).map_err(|e| self.failed(e))?;
        }
        if let Target::Digest(digest) = target {
            self.forget(full, digest);
        }
        Ok(())
    }

    /// Takes a blob away that no manifest of the repository names. Its bytes stay until the store is pruned.
    pub fn delete_blob(&self, name: &Name, digest: &Digest) -> Result<(), Refusal> {
        match self.knows_blob(name, digest)? {
            None => Err(Refusal::no_blob(digest)),
            Some(Some(_)) => {
                Err(Refusal::new(Code::Unsupported, "a manifest of the repository needs the blob: delete that first"))
            }
            Some(None) if self.forget(&name.full, digest) => Ok(()),
            Some(None) => Err(Refusal::no_blob(digest)),
        }
    }

    /// Takes a blob over from another repository. `false` if that does not have it.
    pub fn mount(&self, name: &Name, from: &Name, digest: &Digest) -> Result<bool, Refusal> {
        if self.knows_blob(from, digest)?.is_none() || !self.writer()?.has_blob(digest) {
            return Ok(false);
        }
        self.remember(&name.full, digest);
        Ok(true)
    }

    /// Gives a name to what was fetched, when all that it names is here: for an index, one platform of it at least.
    pub fn name_when_complete(&self, name: &str, descriptor: &Descriptor) -> Result<bool, Refusal> {
        let store = self.writer()?;
        if !complete(&store, &descriptor.digest, media::is_index(&descriptor.media_type), MAX_NESTED) {
            return Ok(false);
        }
        store.set_ref(name, descriptor).map_err(|e| self.failed(e))?;
        Ok(true)
    }
}

fn complete(store: &kiln_store::Store, digest: &Digest, index: bool, depth: u32) -> bool {
    if depth == 0 {
        return false;
    }
    let Ok(bytes) = store.read_blob(digest, crate::tree::MAX_MANIFEST) else { return false };
    let Ok(document) = Document::read(&bytes, None) else { return false };
    if !index {
        return document.blobs.iter().all(|blob| store.has_blob(&blob.digest));
    }
    let mut here = document.manifests.iter().filter(|m| store.has_blob(&m.digest)).peekable();
    here.peek().is_some() && here.all(|m| complete(store, &m.digest, media::is_index(&m.media_type), depth - 1))
}
