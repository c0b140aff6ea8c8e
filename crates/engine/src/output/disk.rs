//! The files of an image as a bootable disk.
//!
//! The tree goes straight from its layers into the file system: nothing is unpacked, mounted or run. What a disk needs
//! and an image has not (boot loader, `/etc/fstab`, an empty machine id) are changes made on the way; the image itself
//! stays as it is. Identifiers come from the image's digest, so the same image gives the same disk.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use kiln_disk::boot::{Arch, Change, Tree as BootTree};
use kiln_disk::ext4::InodeFlags;
use kiln_disk::files::{self as volume, Fill};
use kiln_disk::io::Window;
use kiln_disk::layout::{Filesystem, Spec};
use kiln_disk::write::Root as RootWish;
use kiln_disk::{DiskError, btrfs, ext4, image, xfs};
use kiln_oci::tree::{FileRef, Follow, NodeKind, Tree};
use kiln_oci::{Entry, EntryKind, Meta, Platform, name};

use super::{Artifact, Inspect, files};
use crate::build::Image;
use crate::error::{EngineError, Result};
use crate::rootfs::Root;
use crate::session::Session;
use crate::whole;

/// Writes the disk that `spec` describes.
///
/// # Errors
/// When the artifact is several images, the image cannot boot, does not fit, or a file cannot be read or written.
pub fn publish(
    dest: &Path,
    spec: &Spec,
    inspect: Option<&Inspect>,
    artifact: &Artifact,
    session: &Session,
) -> Result<()> {
    let [only] = &artifact.images[..] else {
        let what = "type=disk: a disk is of one platform, and the image has several".to_owned();
        return Err(EngineError::Unsupported(what));
    };
    let spec = Spec {
        arch: arch(&only.platform)?,
        seed: seed(only),
        epoch: u64::try_from(session.settings.source_date_epoch.unwrap_or(session.settings.now)).unwrap_or_default(),
        threads: session.settings.jobs.max(1),
        ..spec.clone()
    };
    let root = session.roots.tree(&only.layers)?;
    write(dest, &spec, inspect, &root, session)
}

/// Writes a tree of files as the disk that `spec` describes, whole or not at all.
///
/// # Errors
/// When the tree cannot boot, does not fit, or a file cannot be read or written.
fn write(dest: &Path, spec: &Spec, inspect: Option<&Inspect>, root: &Root, session: &Session) -> Result<()> {
    let failed = |e| EngineError::disk(dest, e);
    let looked = Looked(root);
    let content = contents(&files::entries(&root.tree).0);
    whole::file(dest, "write", |out| {
        let raw = |raw: &mut File| {
            let mut fill =
                |target: &mut Window<&mut File>, wish: &RootWish<'_>| fill(target, wish, spec, root, session);
            kiln_disk::write::assemble(spec, &looked, content, raw, &mut fill).map_err(failed)
        };
        // A raw disk is the file itself; of others the raw one is a step on the way, without a name.
        if spec.format == image::Format::Raw {
            raw(out)?;
            return look(dest, inspect, out);
        }
        let mut between = whole::scratch(dest)?;
        raw(&mut between)?;
        session.check_cancelled()?;
        image::write(&between, &mut *out, &kiln_disk::write::image_options(spec)).map_err(failed)?;
        look(dest, inspect, out)
    })
}

/// Has a disk looked at that has no name yet.
fn look(dest: &Path, inspect: Option<&Inspect>, disk: &File) -> Result<()> {
    let Some(Inspect(inspect)) = inspect else { return Ok(()) };
    inspect(disk).map_err(|report| EngineError::NotVerified { path: dest.to_owned(), report })
}

/// Which machines boot it.
fn arch(platform: &Platform) -> Result<Arch> {
    match (&*platform.os, &*platform.architecture) {
        ("linux", "amd64") => Ok(Arch::X86_64),
        ("linux", "arm64") => Ok(Arch::Arm64),
        _ => Err(EngineError::Unsupported(format!("type=disk: disks for {platform} are not there yet"))),
    }
}

/// What all identifiers of the disk are made of.
pub(super) fn seed(image: &Image) -> [u8; 16] {
    let mut seed = [0; 16];
    let hex = image.descriptor.digest.hex();
    for (byte, pair) in seed.iter_mut().zip(hex.as_bytes().chunks(2)) {
        *byte = std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok()).unwrap_or_default();
    }
    seed
}

/// The bytes of all files.
fn contents(entries: &[Entry]) -> u64 {
    let size = |entry: &Entry| match entry.kind {
        EntryKind::File { size } => size.next_multiple_of(4096),
        _ => 4096,
    };
    entries.iter().map(size).sum()
}

/// Writes the root file system.
fn fill(
    target: &mut Window<&mut File>,
    wish: &RootWish<'_>,
    spec: &Spec,
    root: &Root,
    session: &Session,
) -> Result<(), DiskError> {
    let rows = rows(&root.tree, wish.changes)?;
    let time = u32::try_from(wish.epoch).unwrap_or(u32::MAX);
    let (label, flags) = (wish.label.to_owned(), spec.flags.clone());
    if spec.filesystem == Filesystem::Ext4 {
        let options = ext4::Options { label, time, blank: true, flags, ..ext4::Options::new(wish.len, wish.id.0) };
        return write_ext4(target, options, &rows, root, session);
    }
    let mut options = volume::Options { label, time, flags, blank: true, ..volume::Options::new(wish.len, wish.id.0) };
    if spec.filesystem == Filesystem::Xfs {
        return write_xfs(target, options, xfs::Features::default(), &rows, root, session);
    }
    let mut plan = btrfs::Plan::new();
    rows.iter().for_each(|(entry, _)| plan.add(entry));
    keep_marks(&mut options.flags, &rows);
    write_rows(Box::new(btrfs::Writer::new(target, options, Some(&plan))?), &rows, root, session)
}

/// Forgets the marks of files that the disk does not have, or has no more.
pub(super) fn keep_marks(flags: &mut BTreeMap<Vec<u8>, InodeFlags>, rows: &[(Entry, Body<'_>)]) {
    let there: BTreeSet<&[u8]> = rows.iter().map(|(entry, _)| &*entry.path).collect();
    flags.retain(|path, _| there.contains(&**path));
}

/// Writes entries as an ext4 file system.
pub(super) fn write_ext4(
    target: &mut Window<&mut File>,
    mut options: ext4::Options,
    rows: &[(Entry, Body<'_>)],
    root: &Root,
    session: &Session,
) -> Result<(), DiskError> {
    let mut plan = ext4::Plan::new();
    rows.iter().for_each(|(entry, _)| plan.add(entry));
    keep_marks(&mut options.flags, rows);
    write_rows(Box::new(ext4::Writer::new(target, options, Some(&plan))?), rows, root, session)
}

/// Writes entries as an xfs file system.
pub(super) fn write_xfs(
    target: &mut Window<&mut File>,
    mut options: volume::Options,
    features: xfs::Features,
    rows: &[(Entry, Body<'_>)],
    root: &Root,
    session: &Session,
) -> Result<(), DiskError> {
    let mut plan = xfs::Plan::new();
    rows.iter().for_each(|(entry, _)| plan.add(entry));
    keep_marks(&mut options.flags, rows);
    write_rows(Box::new(xfs::Writer::with(target, options, features, Some(&plan))?), rows, root, session)
}

/// Fills a file system with entries.
fn write_rows(
    mut writer: Box<dyn Fill + '_>,
    rows: &[(Entry, Body<'_>)],
    root: &Root,
    session: &Session,
) -> Result<(), DiskError> {
    for (entry, body) in rows {
        put_row(&mut *writer, entry, body, root, session)?;
    }
    writer.finish()
}

/// # Errors
/// When who builds wants no more.
pub(super) fn stop_if_cancelled(session: &Session, entry: &Entry) -> Result<(), DiskError> {
    session.check_cancelled().map_err(|_| {
        let source = io::Error::new(io::ErrorKind::Interrupted, "cancelled");
        DiskError::Body { path: text(&entry.path), source }
    })
}

/// Puts an entry into a file system.
pub(super) fn put_row(
    writer: &mut dyn Fill,
    entry: &Entry,
    body: &Body<'_>,
    root: &Root,
    session: &Session,
) -> Result<(), DiskError> {
    stop_if_cancelled(session, entry)?;
    let opened: io::Result<Box<dyn Read + '_>> = match body {
        Body::None => Ok(Box::new(io::empty())),
        Body::Bytes(bytes) => Ok(Box::new(&**bytes)),
        Body::File(file) => root.open_file(file).map(|read| Box::new(read) as Box<dyn Read>),
    };
    let mut opened = opened.map_err(|source| DiskError::Body { path: text(&entry.path), source })?;
    writer.append(entry, &mut opened)
}

fn text(path: &[u8]) -> String {
    path.escape_ascii().to_string()
}

/// Where the bytes of an entry come from.
pub(super) enum Body<'a> {
    None,
    Bytes(&'a [u8]),
    File(FileRef),
}

/// The entries of the root file system, parents first: the tree's, changed.
pub(super) fn rows<'a>(tree: &Tree, changes: &'a [Change]) -> Result<Vec<(Entry, Body<'a>)>, DiskError> {
    let place = |path: &str| -> Result<Vec<u8>, DiskError> {
        let failed = |why: String| DiskError::Path { format: "tree", path: path.to_owned(), why };
        let (parent, base) = name::split(path.trim_start_matches('/').as_bytes());
        let found = tree.lookup(parent, Follow::All).map_err(|e| failed(e.to_string()))?;
        // What is not there is made where it is said to be.
        let parent = found.map_or_else(|| parent.to_vec(), |found| found.path.clone());
        Ok(name::join(&parent, base))
    };
    let mut gone = BTreeSet::new();
    let mut made: BTreeMap<Vec<u8>, (Entry, Body<'a>)> = BTreeMap::new();
    for change in changes {
        let (path, kind, mode, body) = match change {
            Change::Remove { path } => {
                gone.insert(place(path)?);
                continue;
            }
            Change::Write { path, mode, data } => {
                let path = place(path)?;
                gone.insert(path.clone());
                (path, EntryKind::File { size: data.len() as u64 }, *mode, Body::Bytes(data))
            }
            Change::Directory { path, mode } => {
                let path = place(path)?;
                if tree.at(&path).is_some_and(|node| node.is_dir()) {
                    continue;
                }
                gone.insert(path.clone());
                (path, EntryKind::Dir, *mode, Body::None)
            }
        };
        let entry = Entry { path: path.clone(), kind, meta: Meta::mode(mode) };
        made.insert(path, (entry, body));
    }
    let mut rows = Vec::new();
    let root = Entry { path: Vec::new(), kind: EntryKind::Dir, meta: tree.root().meta.clone() };
    rows.push((root, Body::None));
    let (entries, mut bodies) = files::entries_but(tree, |path| is_gone(&gone, path));
    for entry in entries {
        let body = match &entry.kind {
            EntryKind::File { .. } => bodies.remove(&entry.path).map_or(Body::None, Body::File),
            _ => Body::None,
        };
        rows.push((entry, body));
    }
    rows.extend(made.into_values());
    Ok(rows)
}

/// Whether a path, or a directory above it, is taken away.
fn is_gone(gone: &BTreeSet<Vec<u8>>, path: &[u8]) -> bool {
    let mut path = path;
    while !path.is_empty() {
        if gone.contains(path) {
            return true;
        }
        path = name::split(path).0;
    }
    false
}

/// A root as the boot loader's planner looks at it.
pub(super) struct Looked<'a>(pub(super) &'a Root);

impl Looked<'_> {
    fn found<T>(&self, path: &str, look: impl FnOnce(&NodeKind) -> T) -> io::Result<Option<T>> {
        let path = path.trim_matches('/').as_bytes();
        // A loop of links leads nowhere.
        let found = self.0.tree.lookup(path, Follow::All).ok().flatten();
        Ok(found.map(|found| look(&found.node.kind)))
    }
}

impl BootTree for Looked<'_> {
    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let names = self.found(dir, |kind| match kind {
            NodeKind::Dir(children) => children.keys().map(|name| String::from_utf8_lossy(name).into_owned()).collect(),
            _ => Vec::new(),
        })?;
        Ok(names.unwrap_or_default())
    }

    fn read(&self, path: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let file = self.found(path, |kind| match kind {
            NodeKind::File(file) => Some(file.clone()),
            _ => None,
        })?;
        let Some(file) = file.flatten() else { return Ok(None) };
        let mut bytes = Vec::new();
        self.0.open_file(&file)?.take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {limit} bytes")));
        }
        Ok(Some(bytes))
    }

    fn has(&self, path: &str) -> io::Result<bool> {
        Ok(self.found(path, |_| ())?.is_some())
    }
}
