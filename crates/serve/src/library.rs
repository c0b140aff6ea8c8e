//! The store as a registry sees it: which repository has what. Everything here blocks.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kiln_oci::{Descriptor, Digest, media};
use kiln_store::{Lease, Store, StoreError};
use serde_json::json;

use crate::catalog::{Catalog, Origin, Repository};
use crate::fresh::{Fresh, Now};
use crate::log::Log;
use crate::names::{Full, Name};
use crate::refusal::{Code, Refusal};
use crate::route::Target;
use crate::tree::{MAX_MANIFEST, Tree};

/// What was uploaded, and is not yet named by a manifest, is kept from pruning so long at least.
pub const GRACE: Duration = Duration::from_secs(3600);
/// A tree that may grow is looked at again after this.
const GROWING: Duration = Duration::from_secs(2);
/// The most trees that are remembered.
const MAX_TREES: usize = 4096;
/// The most names of one repository that wait for what their manifests name.
const MAX_EXPECTED: usize = 1000;
/// How many bytes of manifests are kept in memory.
const MAX_DOCUMENTS: usize = 16 << 20;

/// Locks a mutex whose data stays meaningful when another thread panicked.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A manifest that was asked for.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its digest.
    pub digest: Digest,
    /// Its type.
    pub media_type: String,
    /// Its bytes.
    pub bytes: Bytes,
}

/// Manifests in memory.
#[derive(Default)]
struct Documents {
    bytes: usize,
    by_digest: HashMap<Digest, Bytes>,
}

/// A handle for writing, and the lease that keeps what went through it.
struct Writer {
    since: Instant,
    store: Store,
    _lease: Lease,
}

/// The store, and what is known of it.
pub struct Library {
    store: Store,
    only: Vec<String>,
    writers: Mutex<VecDeque<Writer>>,
    /// Of `index.json`.
    catalog: Fresh<Catalog>,
    trees: Mutex<HashMap<Digest, (Instant, Arc<Tree>)>>,
    documents: Mutex<Documents>,
    /// What came lately, by repository.
    recent: Mutex<HashMap<(Full, Digest), Instant>>,
    /// What names mean whose manifests are here, but not yet all that those name: they are being fetched.
    expected: Mutex<HashMap<Full, HashMap<String, Descriptor>>>,
    pub(crate) log: Arc<Log>,
}

impl Library {
    /// The store, and `only` these images of it and what they contain, unless there are none.
    pub fn new(store: Store, only: Vec<String>, log: Arc<Log>) -> Library {
        let catalog = Fresh::unread(&[&store.dir().join("index.json")], Catalog::default());
        Library {
            store,
            only,
            writers: Mutex::default(),
            catalog,
            trees: Mutex::default(),
            documents: Mutex::default(),
            recent: Mutex::default(),
            expected: Mutex::default(),
            log,
        }
    }

    /// For reading. It holds no lease: what is open stays readable.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// For writing: what goes through it is kept for [`GRACE`] at least, and not forever.
    pub fn writer(&self) -> Result<Store, Refusal> {
        let mut writers = locked(&self.writers);
        while writers.front().is_some_and(|w| writers.len() > 1 && w.since.elapsed() > 3 * GRACE) {
            writers.pop_front();
        }
        if let Some(newest) = writers.back().filter(|w| w.since.elapsed() < GRACE) {
            return Ok(newest.store.clone());
        }
        let open = || -> kiln_store::Result<Writer> {
            let store = Store::open(self.store.dir())?;
            let lease = store.lease()?;
            Ok(Writer { since: Instant::now(), store, _lease: lease })
        };
        let writer = open().map_err(|e| self.failed(e))?;
        let store = writer.store.clone();
        writers.push_back(writer);
        Ok(store)
    }

    /// Tells the log, and makes an answer of it.
    pub fn failed(&self, error: StoreError) -> Refusal {
        if !matches!(error, StoreError::MissingBlob { .. } | StoreError::DigestMismatch { .. }) {
            self.log.say(&format!("the store: {error}"));
        }
        error.into()
    }

    /// All names as they are now.
    pub fn catalog(&self) -> Result<Arc<Catalog>, Refusal> {
        let read = |last: &Catalog| -> Result<Catalog, StoreError> {
            let fresh = Catalog::read(&self.store, &self.only, last)?;
            for conflict in fresh.conflicts.iter().filter(|c| !last.conflicts.contains(c)) {
                self.log.say(conflict);
            }
            Ok(fresh)
        };
        match self.catalog.now(read) {
            Now::Same(catalog) | Now::Changed(catalog) => Ok(catalog),
            Now::Failed { error, .. } => Err(self.failed(error)),
        }
    }

    /// What lies under a manifest.
    fn tree(&self, root: &Digest) -> Arc<Tree> {
        if let Some((since, tree)) = locked(&self.trees).get(root)
            && (tree.whole || since.elapsed() < GROWING)
        {
            return tree.clone();
        }
        let made = self.catalog.last().made(root);
        let tree = Arc::new(Tree::of(&self.store, root, made.as_deref()));
        let mut trees = locked(&self.trees);
        if trees.len() >= MAX_TREES {
            trees.clear();
        }
        trees.insert(root.clone(), (Instant::now(), tree.clone()));
        tree
    }

    /// Whether a manifest of `root` names this one.
    pub fn leads_to(&self, root: &Digest, manifest: &Digest) -> bool {
        self.tree(root).manifests.contains_key(manifest)
    }

    /// Forgets what was known of a tree that has grown.
    pub fn forget_tree(&self, root: &Digest) {
        locked(&self.trees).remove(root);
    }

    /// The repositories that a name stands for: the one it names, and the one it is short for. Reading looks in the
    /// first that has something; both count when a push asks what is there already.
    fn places<'c>(catalog: &'c Catalog, name: &Name) -> Vec<(Full, Option<&'c Repository>)> {
        let found = catalog.find(name).map(|(full, repository)| (full.clone(), Some(repository)));
        match found {
            Some((full, repository)) if full == name.full => vec![(full, repository)],
            Some(other) => vec![(name.full.clone(), None), other],
            None => vec![(name.full.clone(), None)],
        }
    }

    /// The manifests a repository starts from, each once.
    fn roots(&self, full: &Full, repository: Option<&Repository>) -> HashSet<Digest> {
        let expected =
            locked(&self.expected).get(full).map(|e| e.values().map(|d| d.digest.clone()).collect::<Vec<_>>());
        let named = repository.into_iter().flat_map(Repository::roots).map(|root| root.descriptor.digest.clone());
        named.chain(expected.into_iter().flatten()).collect()
    }

    fn is_recent(&self, full: &Full, digest: &Digest) -> bool {
        let key = (full.clone(), digest.clone());
        locked(&self.recent).get(&key).is_some_and(|since| since.elapsed() < GRACE)
    }

    /// Notes that a repository has something that no manifest of it names yet.
    pub fn remember(&self, full: &Full, digest: &Digest) {
        let mut recent = locked(&self.recent);
        if recent.len() >= 10_000 {
            recent.retain(|_, since| since.elapsed() < GRACE);
        }
        recent.insert((full.clone(), digest.clone()), Instant::now());
    }

    /// The repository has it no longer, unless a manifest names it. Whether it was noted.
    pub fn forget(&self, full: &Full, digest: &Digest) -> bool {
        locked(&self.recent).remove(&(full.clone(), digest.clone())).is_some()
    }

    /// A manifest was fetched, and what it names was not: the repository has it, and `stored_as` means it from now on,
    /// although the store does not know that name yet.
    pub fn expect(&self, full: &Full, stored_as: &str, descriptor: &Descriptor) {
        let mut expected = locked(&self.expected);
        let names = expected.entry(full.clone()).or_default();
        if names.len() >= MAX_EXPECTED {
            // Who still wants one of them asks for its manifest again.
            names.clear();
        }
        names.insert(stored_as.to_owned(), descriptor.clone());
    }

    /// Names that wait for what their manifests name.
    pub fn expected(&self, full: &Full) -> Vec<(String, Descriptor)> {
        let expected = locked(&self.expected);
        expected.get(full).into_iter().flatten().map(|(name, d)| (name.clone(), d.clone())).collect()
    }

    /// The store knows the name now.
    pub fn arrived(&self, full: &Full, stored_as: &str, digest: &Digest) {
        let mut expected = locked(&self.expected);
        let Some(names) = expected.get_mut(full) else { return };
        if names.get(stored_as).is_some_and(|d| d.digest == *digest) {
            names.remove(stored_as);
        }
    }

    /// Whether the repository of a name has a blob: `Some(Some(size))` if a manifest of it names one, `Some(None)` if it
    /// only came lately.
    pub fn knows_blob(&self, name: &Name, digest: &Digest) -> Result<Option<Option<u64>>, Refusal> {
        let catalog = self.catalog()?;
        let mut recent = false;
        for (full, repository) in Library::places(&catalog, name) {
            for root in self.roots(&full, repository) {
                let tree = self.tree(&root);
                if let Some(size) = tree.blobs.get(digest) {
                    return Ok(Some(Some(*size)));
                }
                // Manifests are blobs, too.
                if let Some(node) = tree.manifests.get(digest) {
                    return Ok(Some(Some(node.size)));
                }
            }
            recent |= self.is_recent(&full, digest);
        }
        Ok(recent.then_some(None))
    }

    /// Opens a blob of a repository; its length in bytes.
    pub fn blob(&self, name: &Name, digest: &Digest) -> Result<(File, u64), Refusal> {
        if self.knows_blob(name, digest)?.is_none() {
            return Err(Refusal::no_blob(digest));
        }
        let file = self.store.open_blob(digest).map_err(|e| self.failed(e))?;
        let failed =
            |source| StoreError::ReadBlob { digest: digest.clone(), path: self.store.blob_path(digest), source };
        let size = file.metadata().map_err(|e| self.failed(failed(e)))?.len();
        Ok((file, size))
    }

    /// Whether a manifest of the repository can be had by its digest.
    fn has_manifest(&self, full: &Full, repository: Option<&Repository>, digest: &Digest) -> bool {
        let roots = self.roots(full, repository);
        roots.contains(digest)
            || self.is_recent(full, digest)
            || roots.iter().any(|root| self.tree(root).manifests.contains_key(digest))
    }

    /// The bytes of a manifest that the repository is known to have.
    fn document(&self, catalog: &Catalog, digest: &Digest) -> Result<Bytes, Refusal> {
        if let Some(bytes) = catalog.made(digest) {
            return Ok(bytes);
        }
        if let Some(bytes) = locked(&self.documents).by_digest.get(digest) {
            return Ok(bytes.clone());
        }
        let unknown = || Refusal::new(Code::ManifestUnknown, "the manifest is not here");
        let bytes = match self.store.read_blob(digest, MAX_MANIFEST) {
            Ok(bytes) => Bytes::from(bytes),
            Err(StoreError::MissingBlob { .. } | StoreError::BlobTooLarge { .. }) => return Err(unknown()),
            Err(error) => return Err(self.failed(error)),
        };
        let mut documents = locked(&self.documents);
        if documents.bytes + bytes.len() > MAX_DOCUMENTS {
            *documents = Documents::default();
        }
        documents.bytes += bytes.len();
        documents.by_digest.insert(digest.clone(), bytes.clone());
        Ok(bytes)
    }

    fn awaited(&self, full: &Full, tag: &str) -> Option<Descriptor> {
        locked(&self.expected).get(full)?.get(&full.tagged(tag)).cloned()
    }

    /// What a name means here at this moment, with a descriptor.
    pub fn meaning(&self, name: &Name, target: &Target) -> Result<Option<Descriptor>, Refusal> {
        if let Target::Tag(tag) = target
            && let Some(descriptor) = self.awaited(&name.full, tag)
        {
            return Ok(Some(descriptor));
        }
        let catalog = self.catalog()?;
        let Some((_, repository)) = catalog.find(name) else { return Ok(None) };
        Ok(match target {
            Target::Tag(tag) => repository.tags.get(tag).map(|root| root.descriptor.clone()),
            Target::Digest(digest) => {
                repository.roots().find(|r| r.descriptor.digest == *digest).map(|r| r.descriptor.clone())
            }
        })
    }

    /// A manifest by tag or digest.
    pub fn manifest(&self, name: &Name, target: &Target) -> Result<Found, Refusal> {
        let catalog = self.catalog()?;
        let found = catalog.find(name);
        let digest = match target {
            Target::Tag(tag) => match self.awaited(&name.full, tag) {
                Some(descriptor) => descriptor.digest,
                None => {
                    let (_, repository) = found.ok_or_else(|| unknown_name(&catalog, name))?;
                    let root = repository.tags.get(tag).ok_or_else(|| unknown_manifest(name, tag))?;
                    root.descriptor.digest.clone()
                }
            },
            Target::Digest(digest) => {
                let places = Library::places(&catalog, name);
                if !places.iter().any(|(full, repository)| self.has_manifest(full, *repository, digest)) {
                    return Err(match found {
                        Some(_) => unknown_manifest(name, &digest.to_string()),
                        None => unknown_name(&catalog, name),
                    });
                }
                digest.clone()
            }
        };
        let bytes = self.document(&catalog, &digest)?;
        let document =
            crate::tree::Document::read(&bytes, None).map_err(|_| unknown_manifest(name, &digest.to_string()))?;
        Ok(Found { digest, media_type: document.media_type, bytes })
    }

    /// The tags of a repository, in order.
    pub fn tags(&self, name: &Name) -> Result<Vec<String>, Refusal> {
        let catalog = self.catalog()?;
        match catalog.find(name) {
            Some((_, repository)) => Ok(repository.tags.keys().cloned().collect()),
            None => Err(unknown_name(&catalog, name)),
        }
    }

    /// The repository that a name leads to; `None` if there is none yet.
    pub fn resolve(&self, name: &Name) -> Result<Option<Full>, Refusal> {
        Ok(self.catalog()?.find(name).map(|(full, _)| full.clone()))
    }

    /// All repositories, as paths name them, in order.
    pub fn names(&self) -> Result<Vec<String>, Refusal> {
        let catalog = self.catalog()?;
        let mut names: Vec<String> = catalog.repositories().map(|(full, _)| full.path()).collect();
        names.sort();
        Ok(names)
    }

    /// The manifests that are about `subject`, of one type of artefact or of all.
    pub fn referrers(&self, name: &Name, subject: &Digest, kind: Option<&str>) -> Result<Vec<Descriptor>, Refusal> {
        let catalog = self.catalog()?;
        let mut found: HashMap<Digest, Descriptor> = HashMap::new();
        for (full, repository) in Library::places(&catalog, name) {
            for root in self.roots(&full, repository) {
                for (digest, node) in &self.tree(&root).manifests {
                    let document = &node.document;
                    let fits = kind.is_none_or(|kind| document.artifact_type.as_deref() == Some(kind));
                    if document.subject.as_ref() == Some(subject) && fits {
                        let mut entry = Descriptor::new(&document.media_type, digest.clone(), node.size);
                        entry.artifact_type.clone_from(&document.artifact_type);
                        entry.annotations.clone_from(&document.annotations);
                        found.insert(digest.clone(), entry);
                    }
                }
            }
        }
        let mut found: Vec<Descriptor> = found.into_values().collect();
        found.sort_by(|a, b| a.digest.cmp(&b.digest));
        Ok(found)
    }
}

pub(crate) fn unknown_name(catalog: &Catalog, name: &Name) -> Refusal {
    let refusal = Refusal::new(Code::NameUnknown, format!("there is no repository `{}` here", name.path));
    match catalog.ambiguous(name) {
        None => refusal.detail(json!({"name": name.path})),
        Some(registries) => Refusal {
            message: format!("`{}` is in several registries: name one of them, or ask with ns", name.path),
            ..refusal.detail(json!({"name": name.path, "registries": registries}))
        },
    }
}

pub(crate) fn unknown_manifest(name: &Name, target: &str) -> Refusal {
    Refusal::new(Code::ManifestUnknown, format!("`{}` has no manifest `{target}`", name.path))
        .detail(json!({"name": name.path, "reference": target}))
}

/// What a name in the store is called there, if it is one that may be taken away.
pub(crate) fn own_name(origin: &Origin) -> Result<&str, Refusal> {
    match origin {
        Origin::Named(name) => Ok(name),
        Origin::Contained(image) => {
            Err(Refusal::new(Code::Unsupported, format!("it is part of the cluster image {image}")))
        }
    }
}

/// An index of these, as the referrers API answers.
pub(crate) fn index_of(manifests: &[Descriptor]) -> String {
    json!({"schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": manifests}).to_string()
}
