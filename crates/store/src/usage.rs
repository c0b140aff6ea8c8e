//! What the store holds: how much, since when, and what keeps it.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::fs::{self, Metadata};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use kiln_oci::Digest;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};

use crate::lock::Gate;
use crate::reach::Reach;
use crate::remove::open_beneath;
use crate::{Kind, Result, Store, StoreError, lease, lock, temp};

/// Directories nested deeper than this are not measured.
const DEEPEST: usize = 256;

/// Why something is kept by [`Store::prune`], whatever the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// An image with a name needs it.
    Named,
    /// It was made from a layer of an image with a name, and can be made again: kept unless all is to be pruned.
    Derived,
    /// A running build uses it.
    Leased,
}

/// One thing in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageEntry {
    /// What it is.
    pub kind: Kind,
    /// Its name within the kind, as [`Kind`] says.
    pub name: String,
    /// What it takes on the disk, in bytes.
    pub bytes: u64,
    /// When it was last used.
    pub last_used: SystemTime,
    /// What keeps it.
    pub held: Option<Held>,
}

/// All things of one kind together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KindUsage {
    /// The kind.
    pub kind: Kind,
    /// How many there are.
    pub count: usize,
    /// What they take on the disk, in bytes.
    pub bytes: u64,
    /// What pruning everything that may be pruned would free, in bytes.
    pub reclaimable: u64,
}

/// What [`Store::du`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// By kind; kinds without anything are left out.
    pub kinds: Vec<KindUsage>,
    /// Every thing, by kind and name.
    pub entries: Vec<UsageEntry>,
}

impl Usage {
    /// What the store takes on the disk, in bytes.
    pub fn bytes(&self) -> u64 {
        self.kinds.iter().map(|k| k.bytes).sum()
    }

    /// What pruning everything that may be pruned would free, in bytes.
    pub fn reclaimable(&self) -> u64 {
        self.kinds.iter().map(|k| k.reclaimable).sum()
    }
}

impl Store {
    /// Measures the store.
    ///
    /// # Errors
    /// When a directory cannot be listed or `index.json` is damaged.
    pub fn du(&self) -> Result<Usage> {
        let reach = Reach::new(self)?;
        let leased = match self.is_read_only() {
            true => HashSet::new(),
            false => {
                let _gate = Gate::exclusive(self.dir())
                    .map_err(|source| StoreError::Lock { path: self.own("locks/gc"), source })?;
                lease::living(self)?
            }
        };
        let mut entries = Vec::new();
        for thing in inventory(self)? {
            let held = match &thing.digest {
                _ if leased.contains(&(thing.kind, thing.name.clone())) => Some(Held::Leased),
                Some(d) => reach.holds(thing.kind, d),
                None if thing.kind == Kind::Mount => self.mount_in_use(&thing.name)?.then_some(Held::Leased),
                None => None,
            };
            let Thing { kind, name, bytes, last_used, .. } = thing;
            entries.push(UsageEntry { kind, name, bytes, last_used, held });
        }
        for orphan in orphans(self)? {
            entries.push(UsageEntry {
                kind: Kind::Temp,
                name: orphan.name,
                bytes: tree_size(&orphan.path),
                last_used: SystemTime::UNIX_EPOCH,
                held: None,
            });
        }
        entries.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
        let kinds = Kind::ALL.into_iter().filter_map(|kind| sum(kind, &entries)).collect();
        Ok(Usage { kinds, entries })
    }

    fn mount_in_use(&self, name: &str) -> Result<bool> {
        Ok(!self.is_read_only() && lock::attempt(&self.mount_lock(name), true)?.is_none())
    }
}

fn orphans(store: &Store) -> Result<Vec<temp::Orphan>> {
    match store.is_read_only() {
        true => Ok(Vec::new()),
        false => temp::orphans(store),
    }
}

fn sum(kind: Kind, entries: &[UsageEntry]) -> Option<KindUsage> {
    let mut sum = KindUsage { kind, count: 0, bytes: 0, reclaimable: 0 };
    for entry in entries.iter().filter(|e| e.kind == kind) {
        sum.count += 1;
        sum.bytes += entry.bytes;
        if !matches!(entry.held, Some(Held::Named | Held::Leased)) {
            sum.reclaimable += entry.bytes;
        }
    }
    (sum.count > 0).then_some(sum)
}

/// One thing, with where it is.
pub(crate) struct Thing {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) last_used: SystemTime,
    /// The digest that names it, if one does.
    pub(crate) digest: Option<Digest>,
}

/// Everything in the store but temporary files, in no particular order. Files that are none of ours are left out.
pub(crate) fn inventory(store: &Store) -> Result<Vec<Thing>> {
    let mut things = Vec::new();
    for algorithm in ["sha256", "sha512"] {
        push(Kind::Blob, &store.dir().join("blobs").join(algorithm), &|name| named(algorithm, name), &mut things)?;
    }
    for (kind, dir) in
        [(Kind::Snapshot, "snapshots"), (Kind::Tar, "tars"), (Kind::Index, "index"), (Kind::Layer, "diffs")]
    {
        let layer = |name: &str| {
            // An unpacked layer may have the form it is kept in at the end of its name.
            let hex = if kind == Kind::Snapshot { name.split('-').next().unwrap_or(name) } else { name };
            let (id, digest) = named("sha256", hex).or_else(|| named("sha512", hex))?;
            Some((format!("{id}{}", &name[hex.len()..]), digest))
        };
        push(kind, &store.own(dir), &layer, &mut things)?;
    }
    let cache = store.own("cache");
    for (dir, meta) in listing(&cache)? {
        if let Some(kind) = dir.file_name().and_then(|n| n.to_str()).filter(|_| meta.is_dir()) {
            let plain = |name: &str| Some((format!("{kind}/{name}"), None));
            push(Kind::Record, &dir, &plain, &mut things)?;
        }
    }
    let plain = |name: &str| Some((name.to_owned(), None));
    push(Kind::Table, &store.own("context"), &plain, &mut things)?;
    let dashed = |name: &str| named(name.split_once('-')?.0, name.split_once('-')?.1);
    push(Kind::Partial, &store.own("partial"), &dashed, &mut things)?;
    push(Kind::Mount, &store.own("caches"), &plain, &mut things)?;
    Ok(things)
}

/// A thing named by the hexadecimal part of a digest; `None` for a file that is none of ours.
fn named(algorithm: &str, hex: &str) -> Option<(String, Option<Digest>)> {
    let digest: Digest = format!("{algorithm}:{hex}").parse().ok()?;
    Some((digest.to_string(), Some(digest)))
}

type Naming<'a> = &'a dyn Fn(&str) -> Option<(String, Option<Digest>)>;

fn push(kind: Kind, dir: &Path, naming: Naming<'_>, things: &mut Vec<Thing>) -> Result<()> {
    for (path, meta) in listing(dir)? {
        let Some((name, digest)) = path.file_name().and_then(|n| n.to_str()).and_then(naming) else { continue };
        let bytes = match (kind, meta.is_dir()) {
            (Kind::Snapshot, true) => snapshot_size(&path),
            (_, true) => tree_size(&path),
            (_, false) => meta.blocks() * 512,
        };
        let last_used = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        things.push(Thing { kind, name, path, bytes, last_used, digest });
    }
    Ok(())
}

/// The entries of a directory with their metadata; none if it is not there.
fn listing(dir: &Path) -> Result<Vec<(PathBuf, Metadata)>> {
    let failed = |source| StoreError::List { path: dir.to_path_buf(), source };
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed(e)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        match fs::symlink_metadata(&path) {
            Ok(meta) => found.push((path, meta)),
            // Another process was faster.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(StoreError::List { path, source }),
        }
    }
    Ok(found)
}

/// The regular files of a directory; none if it is not there.
pub(crate) fn files(dir: &Path) -> Result<Vec<(PathBuf, Metadata)>> {
    Ok(listing(dir)?.into_iter().filter(|(_, meta)| meta.is_file()).collect())
}

/// What an unpacked layer takes. It never changes, so it is measured once and written down beside it.
fn snapshot_size(path: &Path) -> u64 {
    let note = path.join("size");
    if let Some(size) = fs::read_to_string(&note).ok().and_then(|t| t.trim().parse().ok()) {
        return size;
    }
    let before = fs::symlink_metadata(path).ok();
    let size = tree_size(path);
    if fs::write(&note, format!("{size}\n")).is_ok() {
        // Writing the note must not look like a use of the layer.
        let modified = before.and_then(|m| m.modified().ok());
        if let (Some(time), Ok(dir)) = (modified, fs::File::open(path)) {
            let _ = dir.set_modified(time);
        }
    }
    size
}

/// What a tree takes on the disk, in bytes. A file with several names counts once; what cannot be read counts nothing.
pub(crate) fn tree_size(path: &Path) -> u64 {
    let Ok(name) = CString::new(path.as_os_str().as_bytes()) else { return 0 };
    let Ok(meta) = fs::symlink_metadata(path) else { return 0 };
    if !meta.is_dir() {
        return meta.blocks() * 512;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(dir) = rustix::fs::openat(CWD, &*name, flags, Mode::empty()) else { return meta.blocks() * 512 };
    let mut linked = HashSet::new();
    meta.blocks() * 512 + below(dir.as_fd(), 0, &mut linked)
}

fn below(dir: BorrowedFd<'_>, depth: usize, linked: &mut HashSet<(u64, u64)>) -> u64 {
    let Ok(entries) = Dir::read_from(dir) else { return 0 };
    let mut sum = 0;
    for entry in entries.filter_map(std::result::Result::ok) {
        let name: &CStr = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let Ok(stat) = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        let is_dir = FileType::from_raw_mode(stat.st_mode).is_dir();
        if !is_dir && stat.st_nlink > 1 && !linked.insert((stat.st_dev, stat.st_ino)) {
            continue;
        }
        sum += u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
        if is_dir
            && depth < DEEPEST
            && let Ok(sub) = open_beneath(dir, name, OFlags::RDONLY)
        {
            sum += below(sub.as_fd(), depth + 1, linked);
        }
    }
    sum
}
