//! Images into the directory of a registry, as docker's registry lays it out ([`registry_dir`](crate::registry_dir) has
//! its table), and all images of such a directory into the store.
//!
//! Repositories are named with the registry that they came from, `docker.io/library/nginx`, and also without it, as
//! sealer and sealos do, where only one registry has the path. What is `localhost`'s has no other name than the short one.
//!
//! Bytes are there before anything names them, and a tag is written last; what was there stays. The directory may be
//! anybody's: nothing in it is followed that is a link.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use kiln_engine::EngineError;
use kiln_engine::event::{Direction, Event};
use kiln_engine::transfer::stream::Verified;
use kiln_engine::transfer::{Mover, Origin};
use kiln_oci::{Descriptor, Digest, Index, Manifest, Reference, media};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::drafts::Drafts;
use crate::error::{ClusterError, Result};
use crate::list::MAX_IMAGES;
use crate::registry_dir::{self, Found, REPOSITORIES, Tree, data};

/// The registry of names without one.
pub const HOME: &str = "localhost";
/// As deep an index may hold indexes.
const MAX_NESTING: usize = 4;

/// An image of the store that goes into a directory.
#[derive(Debug, Clone)]
pub struct Item {
    /// Its name.
    pub name: Reference,
    /// Its manifest or index.
    pub root: Descriptor,
    /// The index that its name has the digest of, if that is another one.
    pub index: Option<Vec<u8>>,
}

/// What became of it.
#[derive(Debug, Default)]
pub struct Exported {
    /// The repositories of each image, in the order in which they were given; the first is the surest.
    pub repositories: Vec<Vec<String>>,
    /// Bytes that were written.
    pub written: u64,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// The repositories that images go into, and what cannot be had by its short name.
///
/// # Errors
/// When one name stands for two images, or an image has no name that a registry's directory can hold.
pub fn places(items: &[Item]) -> Result<(Vec<Vec<String>>, Vec<String>)> {
    let mut registries: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut tagged: BTreeMap<String, &Digest> = BTreeMap::new();
    for item in items {
        let name = item.name.to_string();
        if tagged.insert(name.clone(), &item.root.digest).is_some_and(|other| *other != item.root.digest) {
            return Err(ClusterError::Export(format!("`{name}` stands for two images")));
        }
        registries.entry(&item.name.repository).or_default().insert(&item.name.registry);
    }
    let (mut all, mut warnings) = (Vec::new(), BTreeSet::new());
    for Reference { registry, repository, .. } in items.iter().map(|item| &item.name) {
        let mut own = Vec::new();
        if registry != HOME && is_component(registry) {
            own.push(format!("{registry}/{repository}"));
        }
        let owners = &registries[&**repository];
        if registry == HOME || owners.len() == 1 {
            own.push(repository.clone());
        } else if own.is_empty() {
            let message = format!("`{registry}/{repository}`: no path of a registry can have `{registry}` in it");
            return Err(ClusterError::Export(format!("{message}, and `{repository}` alone is also another's")));
        } else if !owners.contains(HOME) {
            let whose = owners.iter().copied().collect::<Vec<_>>().join(", ");
            warnings.insert(format!(
                "`{repository}` is in several registries ({whose}): only their whole names lead to it"
            ));
        }
        all.push(own);
    }
    Ok((all, warnings.into_iter().collect()))
}

/// Whether docker's registry takes it as a part of a repository's name: small letters and digits, and between them one
/// of `.`, `_` and `__`, or hyphens. (distribution, `reference/regexp.go`.)
fn is_component(text: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let mut separators = text.split(alphanumeric).filter(|part| !part.is_empty());
    text.starts_with(alphanumeric)
        && text.ends_with(alphanumeric)
        && separators.all(|s| matches!(s, "." | "_" | "__") || s.bytes().all(|b| b == b'-'))
}

/// What an image consists of, as far as the store has it.
#[derive(Default)]
struct Parts {
    documents: BTreeMap<Digest, Vec<u8>>,
    blobs: BTreeMap<Digest, Descriptor>,
}

impl Parts {
    fn add(&mut self, root: &Descriptor, name: &str, mover: &Mover<'_>, depth: usize) -> Result<()> {
        mover.check()?;
        let bad = |what: String| ClusterError::Export(format!("`{name}`: {what}"));
        if depth > MAX_NESTING {
            return Err(bad("its indexes are nested too deeply".to_owned()));
        }
        if self.documents.contains_key(&root.digest) {
            return Ok(());
        }
        let bytes = mover.document(&Origin::Store, root, name)?;
        let unreadable =
            |e: serde_json::Error| bad(format!("its document {} cannot be read: {e}", root.digest.short()));
        if media::is_index(&root.media_type) {
            let index: Index = serde_json::from_slice(&bytes).map_err(unreadable)?;
            // Of an image that was pulled for one platform, the index is there whole.
            let here = |child: &&Descriptor| mover.store.has_blob(&child.digest);
            let before = self.documents.len();
            for child in index.manifests.iter().filter(here) {
                self.add(child, name, mover, depth + 1)?;
            }
            if self.documents.len() == before && !index.manifests.iter().any(|c| self.documents.contains_key(&c.digest))
            {
                return Err(bad("the store has none of its platforms".to_owned()));
            }
        } else {
            let manifest: Manifest = serde_json::from_slice(&bytes).map_err(unreadable)?;
            let named = manifest.layers.iter().chain([&manifest.config]);
            let own = named.filter(|blob| !media::is_foreign(&blob.media_type));
            self.blobs.extend(own.map(|blob| (blob.digest.clone(), blob.clone())));
        }
        self.documents.insert(root.digest.clone(), bytes);
        Ok(())
    }
}

/// Writes images into a directory, which is made if it is not there.
///
/// # Errors
/// When an image is not whole in the store, names collide, or the directory cannot be written.
pub fn export(items: &[Item], dir: &Path, mover: &Mover<'_>) -> Result<Exported> {
    let (repositories, warnings) = places(items)?;
    let target = Target::make(dir)?;
    let mut images = Vec::new();
    let mut all = Parts::default();
    for item in items {
        let mut parts = Parts::default();
        parts.add(&item.root, &item.name.familiar(), mover, 0)?;
        if let Some(index) = &item.index {
            parts.documents.insert(Digest::of(index), index.clone());
        }
        all.documents.extend(parts.documents.clone());
        all.blobs.extend(parts.blobs.clone());
        images.push(parts);
    }
    let written = AtomicU64::new(0);
    let blobs: Vec<Descriptor> = all.blobs.into_values().collect();
    mover.parallel(&blobs, |blob| {
        let bytes = target.blob(blob, mover).map_err(registry_dir::into_engine)?;
        written.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    })?;
    for (digest, bytes) in &all.documents {
        written.fetch_add(target.bytes(&data(digest), bytes)?, Ordering::Relaxed);
    }
    target.sync()?;
    for (parts, own) in images.iter().zip(&repositories) {
        for repository in own {
            let at = format!("{REPOSITORIES}/{repository}");
            for digest in parts.blobs.keys() {
                target.link(&format!("{at}/_layers/{}/{}/link", digest.algorithm(), digest.hex()), digest)?;
            }
            for digest in parts.documents.keys() {
                let place = format!("{at}/_manifests/revisions/{}/{}/link", digest.algorithm(), digest.hex());
                target.link(&place, digest)?;
            }
        }
    }
    target.sync()?;
    for (item, own) in items.iter().zip(&repositories) {
        let Some(tag) = item.name.tag_or_latest() else { continue };
        let digest = &item.root.digest;
        for repository in own {
            let at = format!("{REPOSITORIES}/{repository}/_manifests/tags/{tag}");
            target.link(&format!("{at}/index/{}/{}/link", digest.algorithm(), digest.hex()), digest)?;
            target.link(&format!("{at}/current/link"), digest)?;
        }
    }
    target.sync()?;
    Ok(Exported { repositories, written: written.into_inner(), warnings })
}

/// The directory that is written.
struct Target {
    path: PathBuf,
    root: OwnedFd,
    drafts: Drafts,
}

/// How directories of a registry are opened: links are none.
pub(crate) const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Target {
    fn make(path: &Path) -> Result<Target> {
        let failed = |e: io::Error| ClusterError::from(EngineError::file("write", path)(e));
        std::fs::create_dir_all(path).map_err(failed)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| failed(e.into()))?;
        let drafts = Drafts::below(&root).map_err(failed)?;
        let target = Target { path: path.to_path_buf(), root, drafts };
        // A registry without an image has these, too.
        target.directory(REPOSITORIES).map_err(|e| target.failed(REPOSITORIES, e))?;
        Ok(target)
    }

    fn failed(&self, place: &str, e: io::Error) -> ClusterError {
        EngineError::file("write", self.path.join(place))(e).into()
    }

    /// Opens a directory below, and makes what is not there of it.
    fn directory(&self, path: &str) -> io::Result<OwnedFd> {
        let mut at = self.root.try_clone()?;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            match rustix::fs::mkdirat(&at, part, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(e.into()),
            }
            at = rustix::fs::openat(&at, part, DIRECTORY, Mode::empty())?;
        }
        Ok(at)
    }

    /// Writes a file whole, unless one of this size is there. Returns how many bytes were written.
    fn file(&self, place: &str, size: u64, content: &mut dyn Read) -> io::Result<u64> {
        let (dir, name) = place.rsplit_once('/').unwrap_or(("", place));
        let dir = self.directory(dir)?;
        if let Ok(stat) = rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)
            && rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file()
            && u64::try_from(stat.st_size) == Ok(size)
        {
            return Ok(0);
        }
        self.drafts.write(content, &dir, name)
    }

    fn blob(&self, blob: &Descriptor, mover: &Mover<'_>) -> Result<u64> {
        let place = data(&blob.digest);
        let mut content = Verified::new(mover.open(&Origin::Store, blob)?, blob);
        let count = self.file(&place, blob.size, &mut content).map_err(|e| self.failed(&place, e))?;
        let (name, total) = (blob.digest.short(), Some(blob.size));
        let event =
            Event::Transfer { name: &name, direction: Direction::Upload, current: blob.size, total, finished: true };
        mover.events.event(&event);
        Ok(count)
    }

    fn bytes(&self, place: &str, bytes: &[u8]) -> Result<u64> {
        let mut content = bytes;
        self.file(place, bytes.len() as u64, &mut content).map_err(|e| self.failed(place, e))
    }

    /// Writes a link, unless it is there.
    fn link(&self, place: &str, digest: &Digest) -> Result<()> {
        let text = digest.to_string();
        let written = || -> io::Result<()> {
            let (dir, name) = place.rsplit_once('/').unwrap_or(("", place));
            let dir = self.directory(dir)?;
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
            if let Ok(there) = rustix::fs::openat(&dir, name, flags, Mode::empty()) {
                let mut known = String::new();
                let read = File::from(there).take(text.len() as u64 + 1).read_to_string(&mut known);
                if read.is_ok() && known == text {
                    return Ok(());
                }
            }
            self.drafts.write(&mut text.as_bytes(), &dir, name).map(drop)
        };
        written().map_err(|e| self.failed(place, e))
    }

    /// All that was written is on the disk when this returns.
    fn sync(&self) -> Result<()> {
        rustix::fs::syncfs(&self.root).map_err(|e| self.failed("", e.into()))
    }
}

/// What of a directory came into the store.
#[derive(Debug, Default)]
pub struct Imported {
    /// Names, and what they stand for.
    pub names: Vec<(Reference, Descriptor)>,
    /// Manifests without a tag that were left.
    pub left: usize,
}

/// Brings all images of a directory into the store, and names them when all are there. Repositories without a registry
/// in their name belong to `registry`; `untagged` ones come, too, by their digest, if that is wanted.
///
/// # Errors
/// When the directory is damaged or has names that are none, or the store cannot be written.
pub fn import(tree: &dyn Tree, registry: &str, untagged: bool, mover: &Mover<'_>) -> Result<Imported> {
    let tagged = registry_dir::all(tree)?;
    let (mut imported, mut seen) = (Imported::default(), BTreeSet::new());
    for (tag, found) in &tagged {
        if is_alias(tag, found, &tagged) {
            continue;
        }
        let name = name(tree, found, registry, &format!(":{tag}"))?;
        imported.names.push((name, registry_dir::import_beside(tree, found, mover, &mut seen)?));
    }
    let mut once = BTreeSet::new();
    for found in registry_dir::revisions(tree)? {
        if seen.contains(&found.digest) {
            continue;
        }
        if !untagged {
            imported.left += usize::from(once.insert(found.digest));
            continue;
        }
        let name = name(tree, &found, registry, &format!("@{}", found.digest))?;
        imported.names.push((name, registry_dir::import(tree, &found, mover)?));
        if imported.names.len() > MAX_IMAGES {
            return Err(ClusterError::Export(format!("{} has more than {MAX_IMAGES} images", tree.title())));
        }
    }
    for (name, descriptor) in &imported.names {
        mover.store.set_ref(&name.to_string(), descriptor)?;
    }
    Ok(imported)
}

/// Whether a repository without a registry is the short name of one with it.
fn is_alias(tag: &str, found: &Found, all: &[(String, Found)]) -> bool {
    let short = format!("/{}", found.repository);
    host_of(&found.repository).is_none()
        && all.iter().any(|(other, whole)| {
            let registry = whole.repository.strip_suffix(&short);
            other == tag && whole.digest == found.digest && registry.is_some_and(|r| !r.contains('/') && is_host(r))
        })
}

fn is_host(first: &str) -> bool {
    first.contains('.') || first == HOME
}

/// The registry that a repository's name begins with.
fn host_of(repository: &str) -> Option<&str> {
    repository.split_once('/').map(|(first, _)| first).filter(|first| is_host(first))
}

fn name(tree: &dyn Tree, found: &Found, registry: &str, rest: &str) -> Result<Reference> {
    let repository = &found.repository;
    let text = match host_of(repository) {
        Some(_) => format!("{repository}{rest}"),
        None => format!("{registry}/{repository}{rest}"),
    };
    text.parse().map_err(|e| ClusterError::RegistryDir {
        dir: tree.title(),
        message: format!("`{repository}{rest}` cannot name an image: {e}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(name: &str, content: &str) -> Item {
        let root = Descriptor::of(media::OCI_MANIFEST, content.as_bytes());
        Item { name: name.parse().unwrap(), root, index: None }
    }

    fn shown(names: &[&str]) -> String {
        let items: Vec<Item> = names.iter().map(|name| item(name, name)).collect();
        match places(&items) {
            Ok((all, warnings)) => {
                let rows: Vec<String> = all.iter().map(|own| own.join(" ")).chain(warnings).collect();
                rows.join("\n")
            }
            Err(e) => e.to_string(),
        }
    }

    #[test]
    fn images_have_their_whole_name_and_a_short_one_where_that_is_clear() {
        assert_eq!(shown(&["nginx:1"]), "docker.io/library/nginx library/nginx");
        assert_eq!(shown(&["localhost/team/app:1"]), "team/app");
        assert_eq!(shown(&["10.0.0.1:5000/app:1"]), "app");
        assert_eq!(
            shown(&["k8s.gcr.io/pause:3", "quay.io/pause:3"]),
            "k8s.gcr.io/pause\nquay.io/pause\n\
             `pause` is in several registries (k8s.gcr.io, quay.io): only their whole names lead to it"
        );
        // What was made here goes before what came from elsewhere.
        assert_eq!(shown(&["localhost/a/b:1", "quay.io/a/b:1"]), "a/b\nquay.io/a/b");
    }

    #[test]
    fn names_that_collide_are_refused() {
        let both = [item("nginx:1", "one"), item("docker.io/library/nginx:1", "two")];
        assert!(places(&both).unwrap_err().to_string().contains("stands for two images"));
        let refused = shown(&["10.0.0.1:5000/app:1", "quay.io/app:1"]);
        assert!(refused.contains("no path of a registry can have `10.0.0.1:5000` in it"), "{refused}");
    }

    #[test]
    fn parts_of_names_are_those_of_dockers_registry() {
        for good in ["docker.io", "a", "a__b", "a---b", "x.y-z_1"] {
            assert!(is_component(good), "{good}");
        }
        for bad in ["", ".a", "a.", "A", "a..b", "a___b", "a:1", "a._b", "[::1]", "..", "a/b"] {
            assert!(!is_component(bad), "{bad}");
        }
    }

    #[test]
    fn short_names_beside_whole_ones_are_no_images_of_their_own() {
        let found = |repository: &str, content: &str| Found {
            repository: repository.to_owned(),
            digest: Digest::of(content.as_bytes()),
        };
        let all = vec![
            ("1".to_owned(), found("docker.io/library/nginx", "x")),
            ("1".to_owned(), found("library/nginx", "x")),
            ("2".to_owned(), found("library/nginx", "y")),
            ("1".to_owned(), found("nginx", "x")),
            ("1".to_owned(), found("team/library/nginx", "x")),
        ];
        let aliases: Vec<bool> = all.iter().map(|(tag, found)| is_alias(tag, found, &all)).collect();
        assert_eq!(aliases, [false, true, false, false, false]);
    }

    #[test]
    fn a_link_in_the_directory_leads_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let (inside, outside) = (dir.path().join("registry"), dir.path().join("outside"));
        std::fs::create_dir_all(inside.join("docker/registry/v2")).unwrap();
        std::fs::create_dir(&outside).unwrap();
        std::os::unix::fs::symlink(&outside, inside.join("docker/registry/v2/blobs")).unwrap();
        let target = Target::make(&inside).unwrap();
        assert!(target.bytes("docker/registry/v2/blobs/x/data", b"x").is_err());
        // A link in the place of a file is replaced, and what it leads to stays.
        std::fs::write(outside.join("kept"), "kept").unwrap();
        let place = "docker/registry/v2/repositories/a/link";
        std::fs::create_dir(inside.join("docker/registry/v2/repositories/a")).unwrap();
        std::os::unix::fs::symlink(outside.join("kept"), inside.join(place)).unwrap();
        target.link(place, &Digest::of(b"x")).unwrap();
        assert_eq!(std::fs::read_to_string(outside.join("kept")).unwrap(), "kept");
        assert_eq!(std::fs::read_to_string(inside.join(place)).unwrap(), Digest::of(b"x").to_string());
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
    }
}
