//! A directory on disk, without what its `.dockerignore` excludes.
//!
//! Directories are listed once, when something in them is first asked for, and then answered from memory: all steps
//! of a build see the same names. As in BuildKit's transfer of a context, everything is owned by root and has no
//! extended attributes.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::SystemTime;

use kiln_oci::name;
use kiln_spec::dockerignore::{Below, Ignore};
use rustix::fs::FileType;
use rustix::io::Errno;

use super::beneath::Beneath;
use super::ident::{Ident, Seen};
use super::read::Steady;
use super::{HashTable, Kind, Picked, Source, Stat, hash, scan, select};
use crate::error::{EngineError, Result};

/// A directory as a source.
pub struct DirSource {
    shown: PathBuf,
    pub(super) root: Beneath,
    pub(super) ignore: Ignore,
    ignore_name: String,
    table: Option<Arc<HashTable>>,
    listings: RwLock<HashMap<Vec<u8>, Arc<Listing>>>,
    links: Mutex<HashMap<(u64, u64), u64>>,
}

/// What a directory holds, as far as it is not excluded.
pub(super) struct Listing {
    /// Sorted by name.
    pub nodes: Vec<Node>,
    /// Which ignore rules matched the directory.
    pub below: Below,
}

/// One name in a directory.
pub(super) struct Node {
    pub name: Vec<u8>,
    pub stat: Stat,
    pub ident: Ident,
    pub hash: OnceLock<[u8; 32]>,
}

impl Listing {
    fn find(&self, name: &[u8]) -> Option<&Node> {
        self.nodes.binary_search_by(|node| node.name.as_slice().cmp(name)).ok().map(|at| &self.nodes[at])
    }
}

impl DirSource {
    /// The directory `dir`, without what the rules exclude; they come with the name of their file, for messages.
    ///
    /// # Errors
    /// When it is not a directory, or may not be entered.
    pub fn open(dir: impl AsRef<Path>, ignore: Option<(Ignore, String)>) -> Result<DirSource> {
        let dir = dir.as_ref();
        let failed = |errno: Errno| EngineError::file("open the build context", dir)(errno.into());
        let root = Beneath::open(dir).map_err(failed)?;
        let (ignore, ignore_name) = ignore.unwrap_or_default();
        let (table, listings, links) = Default::default();
        Ok(DirSource { shown: dir.to_path_buf(), root, ignore, ignore_name, table, listings, links })
    }

    /// With a memory of the hashes of its files. The caller saves it when the build is done.
    #[must_use]
    pub fn with_table(self, table: Arc<HashTable>) -> DirSource {
        DirSource { table: Some(table), ..self }
    }

    /// Where it is, for messages.
    pub fn path(&self) -> &Path {
        &self.shown
    }

    /// The error of reading `path`.
    pub(super) fn failed(&self, action: &'static str, path: &[u8], errno: Errno) -> EngineError {
        use std::os::unix::ffi::OsStrExt;
        let at = if path.is_empty() { self.shown.clone() } else { self.shown.join(std::ffi::OsStr::from_bytes(path)) };
        EngineError::file(action, at)(errno.into())
    }

    /// The number of a file with several names.
    pub(super) fn link(&self, dev: u64, ino: u64) -> u64 {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let next = links.len() as u64;
        *links.entry((dev, ino)).or_insert(next)
    }

    /// A directory that was listed before.
    pub(super) fn known(&self, dir: &[u8]) -> Option<Arc<Listing>> {
        self.listings.read().unwrap_or_else(PoisonError::into_inner).get(dir).cloned()
    }

    /// Keeps listings; the first one of a directory stays.
    fn keep(&self, found: HashMap<Vec<u8>, Arc<Listing>>) {
        let mut listings = self.listings.write().unwrap_or_else(PoisonError::into_inner);
        for (path, listing) in found {
            listings.entry(path).or_insert(listing);
        }
    }

    /// The listing of a directory, `None` if it is excluded, missing or no directory.
    fn listing(&self, dir: &[u8]) -> Result<Option<Arc<Listing>>> {
        if let Some(known) = self.known(dir) {
            return Ok(Some(known));
        }
        // From the root down, so that every directory's rules start from its parent's.
        let mut parent: Option<Arc<Listing>> = None;
        let ends = dir.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at).chain([dir.len()]);
        let start = (!dir.is_empty()).then_some(0);
        for end in start.into_iter().chain(ends) {
            let path = &dir[..end];
            let below = match &parent {
                None => self.ignore.root(),
                Some(above) => match above.find(name::split(path).1) {
                    Some(node) if node.stat.is_dir() => self.ignore.enter(path, &above.below).1,
                    _ => return Ok(None),
                },
            };
            parent = Some(match self.known(path) {
                Some(known) => known,
                None => self.scan(path, below, false)?,
            });
        }
        Ok(parent)
    }

    /// Reads a directory, and with `whole` everything below it.
    fn scan(&self, dir: &[u8], below: Below, whole: bool) -> Result<Arc<Listing>> {
        let found = scan::scan(self, dir, below, whole)?;
        self.keep(found);
        self.known(dir).ok_or_else(|| self.failed("read", dir, Errno::NOENT))
    }

    /// Runs `with` on what is at a path other than the root.
    fn at<T>(&self, path: &[u8], with: impl FnOnce(&Node) -> T) -> Result<Option<T>> {
        let (parent, base) = name::split(path);
        Ok(self.listing(parent)?.and_then(|listing| listing.find(base).map(with)))
    }

    /// What the call says about a name, as a source says it. `None` when it vanished.
    pub(super) fn node(&self, dir: impl std::os::fd::AsFd, parent: &[u8], base: &[u8]) -> Result<Option<Node>> {
        let path = || name::join(parent, base);
        let seen = match Seen::at(&dir, base) {
            Ok(seen) => seen,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(self.failed("look at", &path(), errno)),
        };
        let (major, minor) = seen.rdev;
        let kind = match seen.kind {
            FileType::RegularFile => Kind::File { size: seen.ident.size },
            FileType::Directory => Kind::Dir,
            FileType::Symlink => match rustix::fs::readlinkat(&dir, base, Vec::new()) {
                Ok(target) => Kind::Symlink { target: target.into_bytes() },
                Err(Errno::NOENT | Errno::INVAL) => return Ok(None),
                Err(errno) => return Err(self.failed("read the link", &path(), errno)),
            },
            FileType::CharacterDevice => Kind::Char { major, minor },
            FileType::BlockDevice => Kind::Block { major, minor },
            FileType::Fifo => Kind::Fifo,
            FileType::Socket => Kind::Socket,
            FileType::Unknown => return Ok(None),
        };
        let named_often = seen.nlink > 1 && seen.kind == FileType::RegularFile;
        let link = named_often.then(|| self.link(seen.ident.dev, seen.ident.ino));
        let stat = Stat { meta: seen.meta, kind, link };
        // Looked up here, where all threads are at work.
        let table = self.table.as_ref().filter(|_| seen.kind == FileType::RegularFile);
        let hash = table.and_then(|table| table.recall(&seen.ident)).map(OnceLock::from).unwrap_or_default();
        Ok(Some(Node { name: base.to_vec(), stat, ident: seen.ident, hash }))
    }

    /// Opens what should be a regular file.
    fn open_file(&self, path: &[u8]) -> Result<(File, Ident)> {
        let failed = |errno| self.failed("read", path, errno);
        let file = self.root.file(path).map_err(failed)?;
        let seen = Seen::of(&file).map_err(failed)?;
        if seen.kind == FileType::RegularFile {
            return Ok((file, seen.ident));
        }
        Err(replaced(path))
    }

    /// Reads and hashes a file. Its hash is remembered between builds only if the file was left alone long enough
    /// for its times to tell any later change.
    fn hash_now(&self, path: &[u8], size: u64, scanned: Ident) -> Result<[u8; 32]> {
        let now = SystemTime::now();
        let (file, before) = self.open_file(path)?;
        // Another file under the name would be cut, or padded, to the length of the one that was listed.
        if (before.dev, before.ino, before.size) != (scanned.dev, scanned.ino, scanned.size) {
            return Err(replaced(path));
        }
        let again =
            file.try_clone().map_err(|e| self.failed("read", path, Errno::from_io_error(&e).unwrap_or(Errno::IO)))?;
        let hash = hash::of_reader(path, Box::new(Steady::new(file, size, None)))?;
        if let Some(table) = &self.table
            && before == scanned
            && Seen::of(&again).is_ok_and(|after| after.ident == scanned)
        {
            table.remember(&scanned, hash, now);
        }
        Ok(hash)
    }
}

fn replaced(path: &[u8]) -> EngineError {
    EngineError::Context(format!("`{}` was replaced while the build was reading it", name::escape(path)))
}

/// The content of a file of at most `max` bytes of the directory `dir`: a Dockerfile, an ignore file. Links are followed
/// inside `dir` only, so that a context cannot show what is outside of it, and what is no regular file is never opened.
/// `None` when it is not there.
///
/// # Errors
/// When it is no regular file, is longer, or cannot be read.
pub fn read_inside(dir: &Path, path: &[u8], max: u64) -> Result<Option<Vec<u8>>> {
    let source = DirSource::open(dir, None)?;
    let Some(found) = super::resolve(&source, path)? else { return Ok(None) };
    let failed =
        |why: &dyn std::fmt::Display| EngineError::Context(format!("cannot read `{}`: {why}", name::escape(path)));
    match found.stat.kind {
        Kind::File { size } if size > max => return Err(failed(&format!("it has more than {max} bytes"))),
        Kind::File { .. } => {}
        _ => return Err(failed(&"it is not a regular file")),
    }
    let mut bytes = Vec::new();
    source.open(&found.path, &found.stat)?.read_to_end(&mut bytes).map_err(|e| failed(&e))?;
    Ok(Some(bytes))
}

impl Source for DirSource {
    fn stat(&self, path: &[u8]) -> Result<Option<Stat>> {
        if path.is_empty() {
            let dir = self.root.dir(b"").map_err(|errno| self.failed("open", b"", errno))?;
            let seen = Seen::of(&dir).map_err(|errno| self.failed("look at", b"", errno))?;
            return Ok(Some(Stat { meta: seen.meta, kind: Kind::Dir, link: None }));
        }
        self.at(path, |node| node.stat.clone())
    }

    fn list(&self, dir: &[u8]) -> Result<Vec<Vec<u8>>> {
        let listing = self.listing(dir)?;
        Ok(listing.map(|listing| listing.nodes.iter().map(|node| node.name.clone()).collect()).unwrap_or_default())
    }

    fn open(&self, path: &[u8], stat: &Stat) -> Result<Box<dyn Read + Send>> {
        let Kind::File { size } = stat.kind else {
            return Err(EngineError::Context(format!("`{}` is not a regular file", name::escape(path))));
        };
        let Some(hash) = self.at(path, |node| node.hash.get().copied())? else {
            return Err(self.failed("read", path, Errno::NOENT));
        };
        let (file, _) = self.open_file(path)?;
        Ok(Box::new(Steady::new(file, size, hash)))
    }

    fn content_hash(&self, path: &[u8], stat: &Stat) -> Result<[u8; 32]> {
        let Kind::File { size } = stat.kind else {
            return Err(EngineError::Context(format!("`{}` is not a regular file", name::escape(path))));
        };
        let known = self.at(path, |node| (node.hash.get().copied(), node.ident))?;
        let Some((known, ident)) = known else { return Err(self.failed("read", path, Errno::NOENT)) };
        if let Some(hash) = known {
            return Ok(hash);
        }
        let hash = self.hash_now(path, size, ident)?;
        // Two threads may have hashed it; the first one counts, and a difference shows when it is copied.
        self.at(path, |node| *node.hash.get_or_init(|| hash)).map(|first| first.unwrap_or(hash))
    }

    fn below(&self, dir: &[u8]) -> Result<Vec<Picked>> {
        let Some(top) = self.listing(dir)? else { return Ok(Vec::new()) };
        self.scan(dir, top.below.clone(), true)?;
        let mut found = Vec::new();
        let mut open = vec![(Vec::new(), top, 0)];
        while let Some((rel, listing, at)) = open.last_mut() {
            let Some(node) = listing.nodes.get(*at) else {
                open.pop();
                continue;
            };
            *at += 1;
            let picked = Picked { rel: name::join(rel, &node.name), stat: node.stat.clone() };
            select::check_count(found.len())?;
            if node.stat.is_dir()
                && let Some(listing) = self.known(&name::join(dir, &picked.rel))
            {
                open.push((picked.rel.clone(), listing, 0));
            }
            found.push(picked);
        }
        Ok(found)
    }

    fn excludes(&self, path: &[u8]) -> Option<(String, String)> {
        if self.ignore.has_exceptions() {
            return None;
        }
        // The root is excluded where everything in it is.
        let line = match path.is_empty() {
            true => self.ignore.matches_all()?,
            false => self.ignore.matched_by(path)?,
        };
        let rule = self.ignore.rule_at(line).unwrap_or_default();
        Some((format!("{}:{line}", self.ignore_name), rule.to_owned()))
    }

    fn hidden(&self, path: &[u8]) -> Result<Option<(String, String)>> {
        let Some(line) = self.ignore.matched_by(path) else { return Ok(None) };
        let base = name::split(path).1;
        // Where the way there is closed, nothing can be said to be hidden.
        let there = self.root.parent(path).is_ok_and(|dir| Seen::at(dir, base).is_ok());
        let rule = self.ignore.rule_at(line).unwrap_or_default();
        Ok(there.then(|| (format!("{}:{line}", self.ignore_name), rule.to_owned())))
    }
}
