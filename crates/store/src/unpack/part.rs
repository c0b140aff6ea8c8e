//! A root put in order between commands: hard links parted for the next one, mountpoints of the last one removed.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

use kiln_oci::entry::Meta;
use kiln_oci::name::{join, split};
use rustix::fs::{AtFlags, renameat, unlinkat};
use rustix::io::Errno;

use super::error::{UnpackError, create, look, remove};
use super::make::{Maker, Spot};
use super::{Devices, Owners};
use crate::beneath::Beneath;
use crate::capability;
use crate::form;
use crate::scan::Snapshot;
use crate::stat::{FileKind, Stat};

/// Makes every regular file below `root` that has several names as many separate files with the same bytes and
/// metadata, and returns how many were made. Times of directories stay.
///
/// On overlayfs a file made by one command parts from its other names when a later command writes to it; without
/// overlayfs it has to be parted before. `snapshot` is a scan of `root` as it is; it is outdated after.
///
/// # Errors
/// A file that cannot be copied, with its path.
pub fn break_links(root: impl AsFd, snapshot: &Snapshot) -> Result<u64, UnpackError> {
    let mut tree = Beneath::without_mounts(root).map_err(|errno| UnpackError::OpenTarget { source: errno.into() })?;
    let mut maker = Maker::new(Owners::Keep, Devices::Create);
    let mut names: BTreeMap<u64, u32> = BTreeMap::new();
    let mut made = 0;
    for (path, stat) in snapshot.iter().filter(|(_, stat)| stat.kind == FileKind::File && stat.nlink > 1) {
        let seen = names.entry(stat.ino).or_default();
        *seen += 1;
        if *seen > 1 {
            part(&mut tree, &mut maker, path, stat)?;
            made += 1;
        }
    }
    Ok(made)
}

/// Removes the directories at `paths` (deepest first) that are there with nothing in them. Their parents keep their times.
///
/// # Errors
/// An empty directory that cannot be removed, with its path.
pub fn remove_empty(root: impl AsFd, paths: &[Vec<u8>]) -> Result<(), UnpackError> {
    let mut tree = Beneath::new(root).map_err(|errno| UnpackError::OpenTarget { source: errno.into() })?;
    let maker = Maker::new(Owners::Keep, Devices::Create);
    for path in paths {
        let (parent, name) = split(path);
        // What the command made of the way there is the command's.
        let Ok(dir) = tree.dir(parent) else { continue };
        let before = Stat::of(dir).map_err(look(parent))?;
        match unlinkat(dir, name, AtFlags::REMOVEDIR) {
            Ok(()) => {}
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOENT | Errno::NOTDIR) => continue,
            Err(errno) => return Err(remove(path)(errno)),
        }
        maker.date_at(Spot { dir, name: b".", path: parent }, before.mtime)?;
        tree.forget();
    }
    Ok(())
}

/// Puts a copy of the file at `path` in its place.
fn part(tree: &mut Beneath, maker: &mut Maker, path: &[u8], stat: &Stat) -> Result<(), UnpackError> {
    let file = tree.read_file(path).map_err(look(path))?;
    let mut meta = Meta { mode: stat.mode, uid: stat.uid, gid: stat.gid, mtime: stat.mtime, ..Meta::default() };
    if let Some(value) = capability::of(&file).map_err(look(path))? {
        meta.xattrs.insert(capability::NAME.to_vec(), value);
    }
    let (parent, name) = split(path);
    let dir = tree.handle(parent).map_err(look(path))?;
    let parent_stat = Stat::of(&dir).map_err(look(path))?;
    let (copy, temporary) = free_name(maker, &dir, parent, stat.ino)?;
    let attributes = form::copy(&file, &copy).map_err(create(path));
    let filled = maker.fill_file(&copy, path, stat.size, &mut std::fs::File::from(file), &meta).and(attributes);
    let placed = filled.and_then(|()| renameat(&dir, temporary.as_slice(), &dir, name).map_err(create(path)));
    if placed.is_err() {
        // The error that is reported says more than this one could.
        let _ = unlinkat(&dir, temporary.as_slice(), AtFlags::empty());
    }
    placed?;
    maker.date_at(Spot { dir: dir.as_fd(), name: b".", path: parent }, parent_stat.mtime)
}

/// A new file under a name that is not taken.
fn free_name(maker: &Maker, dir: &OwnedFd, parent: &[u8], ino: u64) -> Result<(OwnedFd, Vec<u8>), UnpackError> {
    for attempt in 0..100 {
        let name = format!(".kiln-part-{ino}-{attempt}").into_bytes();
        let path = join(parent, &name);
        if let Some(file) = maker.create_file(Spot { dir: dir.as_fd(), name: &name, path: &path })? {
            return Ok((file, name));
        }
    }
    Err(create(parent)(Errno::EXIST))
}
