//! Images in the directory of a registry: what sealer and sealos keep in `registry/`, as docker's registry lays it out.
//!
//! ```text
//! docker/registry/v2/repositories/REPOSITORY/_manifests/tags/TAG/current/link       the digest of a manifest
//! docker/registry/v2/repositories/REPOSITORY/_manifests/revisions/sha256/HEX/link   that it belongs to the repository
//! docker/registry/v2/blobs/sha256/XX/HEX/data                                       the bytes
//! ```
//!
//! Both leave the registry's host out of a repository's name: `k8s.gcr.io/pause` is `pause` there. A name is looked for
//! with its host first, then without. (distribution, `registry/storage/paths.go`; sealer, `pkg/image/save`; sealos,
//! `pkg/registry`.) The directory is hostile: paths are resolved inside of it, documents have a limit, and every blob is
//! compared with its digest.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use kiln_engine::images::{MAX_DOCUMENT, media_type_of};
use kiln_engine::rootfs::Root;
use kiln_engine::transfer::Mover;
use kiln_oci::tree::Follow;
use kiln_oci::{Descriptor, Digest, Index, Manifest, Reference, media};
use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::error::{ClusterError, Result};
use crate::list::MAX_IMAGES;

pub(crate) const REPOSITORIES: &str = "docker/registry/v2/repositories";
const BLOBS: &str = "docker/registry/v2/blobs";
/// A link is `sha256:` and 64 digits.
const MAX_LINK: u64 = 200;
/// As deep repositories' names may nest.
const MAX_DEPTH: usize = 32;
/// As many directories are looked into for repositories.
const MAX_DIRECTORIES: usize = 100_000;
/// As deep an index may hold indexes.
const MAX_NESTING: usize = 4;

/// A directory tree with files in it: on this machine, or in an image.
pub trait Tree: Sync {
    /// What to call it.
    fn title(&self) -> String;

    /// Opens a regular file; `None` if there is none.
    ///
    /// # Errors
    /// When it cannot be opened, or its path leads out of the tree.
    fn open(&self, path: &str) -> io::Result<Option<Box<dyn Read + Send>>>;

    /// The names of what is in a directory; `None` if there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    fn list(&self, path: &str) -> io::Result<Option<Vec<String>>>;
}

/// A directory of this machine.
pub struct Directory {
    path: PathBuf,
    handle: OwnedFd,
}

impl Directory {
    /// Opens a directory that has `docker/registry/v2` in it.
    ///
    /// # Errors
    /// When there is no such directory, or it is no registry's.
    pub fn open(path: &Path) -> Result<Directory> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let bad = |message: String| ClusterError::RegistryDir { dir: path.display().to_string(), message };
        let handle = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| bad(io::Error::from(e).to_string()))?;
        let directory = Directory { path: path.to_path_buf(), handle };
        match directory.list(REPOSITORIES) {
            Ok(Some(_)) => Ok(directory),
            Ok(None) => Err(bad(format!("there is no {REPOSITORIES} in it"))),
            Err(e) => Err(bad(e.to_string())),
        }
    }

    fn at(&self, path: &str, flags: OFlags) -> io::Result<Option<File>> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        match rustix::fs::openat2(&self.handle, path, flags, Mode::empty(), resolve) {
            Ok(fd) => Ok(Some(File::from(fd))),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }
}

impl Tree for Directory {
    fn title(&self) -> String {
        self.path.display().to_string()
    }

    fn open(&self, path: &str) -> io::Result<Option<Box<dyn Read + Send>>> {
        let Some(file) = self.at(path, OFlags::empty())? else { return Ok(None) };
        match file.metadata()?.is_file() {
            true => Ok(Some(Box::new(file))),
            false => Err(io::Error::other(format!("{path} is no regular file"))),
        }
    }

    fn list(&self, path: &str) -> io::Result<Option<Vec<String>>> {
        let Some(dir) = self.at(path, OFlags::DIRECTORY)? else { return Ok(None) };
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(dir)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        names.sort();
        Ok(Some(names))
    }
}

/// A directory of an image.
pub struct InImage<'a> {
    /// The image's files.
    pub root: &'a Root,
    /// The directory's path in it.
    pub dir: &'static str,
}

impl InImage<'_> {
    /// Whether there is a registry's directory in the image.
    pub fn is_there(&self) -> bool {
        self.list(REPOSITORIES).is_ok_and(|names| names.is_some())
    }
}

impl Tree for InImage<'_> {
    fn title(&self) -> String {
        format!("/{} of the image", self.dir)
    }

    fn open(&self, path: &str) -> io::Result<Option<Box<dyn Read + Send>>> {
        let path = format!("{}/{path}", self.dir);
        let found = self.root.tree.lookup(path.as_bytes(), Follow::All).map_err(io::Error::other)?;
        match found.as_ref().and_then(|found| found.node.file()) {
            Some(file) => self.root.open_file(file).map(Some),
            None => Ok(None),
        }
    }

    fn list(&self, path: &str) -> io::Result<Option<Vec<String>>> {
        let path = format!("{}/{path}", self.dir);
        let children = self.root.tree.children(path.as_bytes()).map_err(io::Error::other)?;
        Ok(children.map(|c| c.keys().map(|name| String::from_utf8_lossy(name.as_ref()).into_owned()).collect()))
    }
}

/// An image in a registry's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The repository, as the directory has it.
    pub repository: String,
    /// What it names: a manifest or an index.
    pub digest: Digest,
}

fn failed(tree: &dyn Tree, message: impl ToString) -> ClusterError {
    ClusterError::RegistryDir { dir: tree.title(), message: message.to_string() }
}

/// The repositories that a name may be kept under, the surest first.
fn candidates(name: &Reference) -> Vec<String> {
    let mut all = vec![format!("{}/{}", name.registry, name.repository), name.repository.clone()];
    // Those who leave the host out may leave `library/` out, too.
    all.extend(name.repository.strip_prefix("library/").map(str::to_owned));
    all
}

/// Looks an image up.
///
/// # Errors
/// When a link is no digest, or cannot be read.
pub fn find(tree: &dyn Tree, name: &Reference) -> Result<Option<Found>> {
    for repository in candidates(name) {
        let manifests = format!("{REPOSITORIES}/{repository}/_manifests");
        let path = match &name.digest {
            Some(digest) => format!("{manifests}/revisions/{}/{}/link", digest.algorithm(), digest.hex()),
            None => format!("{manifests}/tags/{}/current/link", name.tag_or_latest().unwrap_or("latest")),
        };
        if let Some(digest) = link(tree, &path)? {
            if name.digest.as_ref().is_some_and(|wanted| *wanted != digest) {
                return Err(failed(tree, format!("{path} leads to {digest}")));
            }
            return Ok(Some(Found { repository, digest }));
        }
    }
    Ok(None)
}

fn link(tree: &dyn Tree, path: &str) -> Result<Option<Digest>> {
    let Some(file) = tree.open(path).map_err(|e| failed(tree, format!("{path}: {e}")))? else { return Ok(None) };
    let mut text = String::new();
    file.take(MAX_LINK).read_to_string(&mut text).map_err(|e| failed(tree, format!("{path}: {e}")))?;
    text.trim().parse().map(Some).map_err(|_| failed(tree, format!("{path} holds no digest")))
}

/// All tagged images, by repository and tag.
///
/// # Errors
/// When the directory cannot be read, is too large, or a link is no digest.
pub fn all(tree: &dyn Tree) -> Result<Vec<(String, Found)>> {
    let mut found = Vec::new();
    for repository in repositories(tree)? {
        let tags = format!("{REPOSITORIES}/{repository}/_manifests/tags");
        for tag in tree.list(&tags).map_err(|e| failed(tree, format!("{tags}: {e}")))?.unwrap_or_default() {
            if found.len() >= MAX_IMAGES {
                return Err(too_large(tree));
            }
            if let Some(digest) = link(tree, &format!("{tags}/{tag}/current/link"))? {
                found.push((tag, Found { repository: repository.clone(), digest }));
            }
        }
    }
    Ok(found)
}

/// All manifests that belong to repositories, tagged or not, by repository.
///
/// # Errors
/// As [`all`].
pub fn revisions(tree: &dyn Tree) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    for repository in repositories(tree)? {
        let revisions = format!("{REPOSITORIES}/{repository}/_manifests/revisions/sha256");
        let names = tree.list(&revisions).map_err(|e| failed(tree, format!("{revisions}: {e}")))?.unwrap_or_default();
        for hex in names {
            if found.len() >= MAX_IMAGES {
                return Err(too_large(tree));
            }
            // What was deleted leaves a directory without a link.
            if let Some(digest) = link(tree, &format!("{revisions}/{hex}/link"))? {
                found.push(Found { repository: repository.clone(), digest });
            }
        }
    }
    Ok(found)
}

fn too_large(tree: &dyn Tree) -> ClusterError {
    failed(tree, "it has too many images, or repositories that nest too deeply")
}

/// All repositories that have manifests, in order.
fn repositories(tree: &dyn Tree) -> Result<Vec<String>> {
    let (mut ahead, mut found, mut seen) = (vec![(String::new(), 0)], Vec::new(), 0);
    while let Some((repository, depth)) = ahead.pop() {
        seen += 1;
        if depth > MAX_DEPTH || seen > MAX_DIRECTORIES {
            return Err(too_large(tree));
        }
        let path = format!("{REPOSITORIES}{}{repository}", if repository.is_empty() { "" } else { "/" });
        let names = tree.list(&path).map_err(|e| failed(tree, format!("{path}: {e}")))?.unwrap_or_default();
        for name in names {
            if name == "_manifests" {
                found.push(repository.clone());
            } else if !name.starts_with('_') {
                let below = if repository.is_empty() { name } else { format!("{repository}/{name}") };
                ahead.push((below, depth + 1));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Brings an image into the store, of an index only what is there. Returns its manifest's or index's descriptor.
///
/// # Errors
/// When a blob is missing, is not what its digest says, or a document is too large or none.
pub fn import(tree: &dyn Tree, found: &Found, mover: &Mover<'_>) -> Result<Descriptor> {
    import_beside(tree, found, mover, &mut BTreeSet::new())
}

/// [`import`] of one of several: documents that were `seen` are in the store already, with all they name.
///
/// # Errors
/// As [`import`].
pub fn import_beside(
    tree: &dyn Tree,
    found: &Found,
    mover: &Mover<'_>,
    seen: &mut BTreeSet<Digest>,
) -> Result<Descriptor> {
    import_document(tree, &found.digest, mover, 0, seen)
}

fn import_document(
    tree: &dyn Tree,
    digest: &Digest,
    mover: &Mover<'_>,
    depth: usize,
    seen: &mut BTreeSet<Digest>,
) -> Result<Descriptor> {
    mover.check()?;
    let bytes = document(tree, digest)?;
    let bad = |what: &str| failed(tree, format!("the document {digest} is {what}"));
    let media_type = media_type_of(&bytes).ok_or_else(|| bad("neither a manifest nor an index"))?;
    let descriptor = Descriptor::of(&media_type, &bytes);
    if depth > MAX_NESTING {
        return Err(bad("nested too deeply"));
    }
    if !seen.insert(digest.clone()) {
        return Ok(descriptor);
    }
    if media::is_index(&media_type) {
        let index: Index = serde_json::from_slice(&bytes).map_err(|_| bad("no index"))?;
        for child in &index.manifests {
            // Registries that keep one platform of an image have the index whole.
            if tree.open(&data(&child.digest)).map_err(|e| failed(tree, e))?.is_some() {
                import_document(tree, &child.digest, mover, depth + 1, seen)?;
            }
        }
    } else if media::is_manifest(&media_type) {
        let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|_| bad("no manifest"))?;
        let wanted: Vec<&Descriptor> = manifest.layers.iter().chain([&manifest.config]).collect();
        mover.parallel(&wanted, |blob| copy(tree, blob, mover).map_err(into_engine))?;
    } else {
        return Err(bad("of a type that is not known"));
    }
    mover.store.put(&bytes)?;
    Ok(descriptor)
}

/// Errors of copies pass through a function that knows the engine's only.
pub(crate) fn into_engine(error: ClusterError) -> kiln_engine::EngineError {
    match error {
        ClusterError::Engine(error) => *error,
        other => kiln_engine::EngineError::Image { name: "contained image".to_owned(), message: other.to_string() },
    }
}

pub(crate) fn data(digest: &Digest) -> String {
    let hex = digest.hex();
    format!("{BLOBS}/{}/{}/{hex}/data", digest.algorithm(), hex.get(..2).unwrap_or_default())
}

fn document(tree: &dyn Tree, digest: &Digest) -> Result<Vec<u8>> {
    let path = data(digest);
    let file = tree.open(&path).map_err(|e| failed(tree, format!("{path}: {e}")))?;
    let file = file.ok_or_else(|| failed(tree, format!("{path} is missing")))?;
    let mut bytes = Vec::new();
    file.take(MAX_DOCUMENT + 1).read_to_end(&mut bytes).map_err(|e| failed(tree, format!("{path}: {e}")))?;
    if bytes.len() as u64 > MAX_DOCUMENT {
        return Err(failed(tree, format!("{path} is larger than {} MiB, so it is no manifest", MAX_DOCUMENT >> 20)));
    }
    let mut hasher = digest.hasher();
    hasher.update(&bytes);
    match hasher.finish() == *digest {
        true => Ok(bytes),
        false => Err(failed(tree, format!("{path} is not what its name says"))),
    }
}

fn copy(tree: &dyn Tree, blob: &Descriptor, mover: &Mover<'_>) -> Result<()> {
    if mover.store.has_blob(&blob.digest) || media::is_foreign(&blob.media_type) {
        return Ok(());
    }
    let path = data(&blob.digest);
    let bad = |message: String| failed(tree, format!("{path} {message}"));
    let mut file = tree.open(&path).map_err(|e| bad(e.to_string()))?.ok_or_else(|| bad("is missing".to_owned()))?;
    let mut writer = mover.store.blob_writer()?.limit(blob.size);
    if let Err(e) = io::copy(&mut file, &mut writer) {
        return Err(kiln_engine::EngineError::of_disk(&e, mover.store.dir())
            .map_or_else(|| bad(format!("cannot be copied: {e}")), ClusterError::from));
    }
    match writer.commit(Some(&blob.digest), Some(blob.size)) {
        Ok(_) => Ok(()),
        Err(kiln_store::StoreError::DigestMismatch { .. } | kiln_store::StoreError::SizeMismatch { .. }) => {
            Err(bad("is not what its name says".to_owned()))
        }
        Err(e) => Err(e.into()),
    }
}
