//! The places things are mounted on: finding which are missing in an image, and making them without a trace.
//!
//! On an overlay the missing ones come from a layer of their own, put on top of the image's, so that nothing reaches
//! the upper directory. In a plain directory they are created and removed again ([`Planted`]).

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, Timespec, Timestamps, mkdirat, openat, statat, unlinkat};
use rustix::io::Errno;

use crate::wire::{Fault, Step};

/// As many symbolic links as the kernel follows in one path.
const MAX_LINKS: usize = 40;

/// Files or directories: what a mountpoint has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Dir,
    File,
}

/// A mountpoint asked for.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub target: PathBuf,
    pub kind: Kind,
}

/// Where a path leads inside a root.
#[derive(Debug)]
pub struct Found {
    /// The existing directories and file, without links, relative to the root.
    pub real: PathBuf,
    /// The last existing directory on the way.
    pub parent: OwnedFd,
    /// What is there, when all of the path exists.
    pub file_type: Option<FileType>,
    /// The names that do not exist.
    pub missing: Vec<OsString>,
}

impl Found {
    /// The whole path without links, relative to the root.
    pub fn place(&self) -> PathBuf {
        self.missing.iter().fold(self.real.clone(), |path, name| path.join(name))
    }
}

fn names(path: &Path) -> impl DoubleEndedIterator<Item = OsString> + '_ {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

fn open_dir(at: impl AsFd, name: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    openat(at, name, OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// Follows `target` inside `root`: links are taken as seen from the root, and `..` stops at it.
///
/// Only for roots in which nothing runs yet; mounting itself asks the kernel again, confined.
pub fn find(root: &OwnedFd, target: &Path) -> Result<Found, Fault> {
    let step = || format!("look for {} in the image", target.display());
    let mut trail: Vec<(OwnedFd, OsString)> = Vec::new();
    let mut todo: VecDeque<OsString> = names(target).collect();
    let mut links = 0;
    let start = || open_dir(root, ".").step(step);
    let found = |trail: Vec<(OwnedFd, OsString)>, last: Option<OsString>, file_type, missing| {
        let mut real: PathBuf = trail.iter().map(|(_, name)| name).collect();
        real.extend(last);
        let parent = trail.into_iter().next_back().map_or_else(start, |(fd, _)| Ok(fd))?;
        Ok(Found { real, parent, file_type, missing })
    };
    while let Some(name) = todo.pop_front() {
        if name == ".." {
            trail.pop();
            continue;
        }
        let here = match trail.last() {
            Some((fd, _)) => fd,
            None => &start()?,
        };
        let file_type = match statat(here, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => FileType::from_raw_mode(stat.st_mode),
            Err(Errno::NOENT) => {
                let missing: Vec<OsString> = [name].into_iter().chain(todo).collect();
                if missing.iter().any(|name| name == "..") {
                    return Err(Fault::new(step(), "`..` below a directory that does not exist"));
                }
                return found(trail, None, None, missing);
            }
            Err(errno) => return Err(errno).step(step),
        };
        match file_type {
            FileType::Symlink => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Errno::LOOP).step(step);
                }
                let link = rustix::fs::readlinkat(here, &name, Vec::new()).step(step)?;
                let link = PathBuf::from(OsString::from_vec(link.into_bytes()));
                for part in names(&link).rev() {
                    todo.push_front(part);
                }
                if link.is_absolute() {
                    trail.clear();
                }
            }
            FileType::Directory => {
                let dir = open_dir(here, &name).step(step)?;
                trail.push((dir, name));
            }
            other if todo.is_empty() => return found(trail, Some(name), Some(other), Vec::new()),
            _ => return Err(Errno::NOTDIR).step(step),
        }
    }
    found(trail, None, Some(FileType::Directory), Vec::new())
}

/// [`find`]s a target and checks that what is wanted can go there.
pub fn find_for(root: &OwnedFd, wanted: &Wanted) -> Result<Found, Fault> {
    let found = find(root, &wanted.target)?;
    check_kind(wanted, &found)?;
    Ok(found)
}

/// Opens a directory by a path without links, as [`find`] returns it.
pub fn open_below(root: &OwnedFd, real: &Path) -> Result<OwnedFd, Errno> {
    real.iter().try_fold(open_dir(root, ".")?, |at, name| open_dir(&at, name))
}

/// Whether a mount of this kind can go where the path leads.
fn check_kind(wanted: &Wanted, found: &Found) -> Result<(), Fault> {
    let step = || format!("mount onto {}", wanted.target.display());
    let place = found.place();
    if place.as_os_str().is_empty() {
        return Err(Fault::new(step(), "the root itself cannot be a mount target"));
    }
    match (wanted.kind, found.file_type) {
        (Kind::Dir, Some(FileType::Directory)) | (_, None) => Ok(()),
        (Kind::Dir, Some(_)) => Err(Fault::new(step(), "the image has a file there; a directory is to be mounted")),
        (Kind::File, Some(FileType::Directory)) => {
            Err(Fault::new(step(), "the image has a directory there; a file is to be mounted"))
        }
        (Kind::File, Some(_)) => Ok(()),
    }
}

/// The targets that are missing, with where they really lead. Those inside an earlier target are left out: they come
/// into being when that one is mounted.
pub fn missing(root: &OwnedFd, wanted: &[Wanted]) -> Result<Vec<(Found, Kind)>, Fault> {
    let mut places: Vec<PathBuf> = Vec::new();
    let mut missing = Vec::new();
    for want in wanted {
        let found = find_for(root, want)?;
        let place = found.place();
        let inside = places.iter().any(|earlier| place.starts_with(earlier) && place != *earlier);
        if !inside && found.file_type.is_none() && !places.contains(&place) {
            missing.push((found, want.kind));
        }
        places.push(place);
    }
    Ok(missing)
}

/// Makes a layer that holds the missing mountpoints and, as the image has them, the directories above.
pub fn build_layer(layer: &OwnedFd, root: &OwnedFd, missing: &[(Found, Kind)]) -> Result<(), Fault> {
    let mut copied: Vec<(PathBuf, OwnedFd)> = Vec::new();
    for (found, kind) in missing {
        let mut at = open_dir(layer, ".").step(|| "open the mountpoint layer".to_owned())?;
        let mut image = open_dir(root, ".").step(|| "open the image's root".to_owned())?;
        let mut path = PathBuf::new();
        for name in &found.real {
            path.push(name);
            let step = || format!("copy the directory /{} for its mountpoints", path.display());
            match mkdirat(&at, name, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno).step(step),
            }
            at = open_dir(&at, name).step(step)?;
            image = open_dir(&image, name).step(step)?;
            if !copied.iter().any(|(known, _)| *known == path) {
                copied.push((path.clone(), at.as_fd().try_clone_to_owned().step(step)?));
            }
        }
        create(&at, &found.missing, *kind).step(|| format!("make the mountpoint /{}", found.place().display()))?;
    }
    // Last, since creating entries changes the times of the directories.
    copied.push((PathBuf::new(), open_dir(layer, ".").step(|| "open the mountpoint layer".to_owned())?));
    for (path, copy) in &copied {
        let step = || format!("copy the attributes of /{}", path.display());
        let relative = if path.as_os_str().is_empty() { Path::new(".") } else { path.as_path() };
        let image = openat(
            root,
            relative,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .step(step)?;
        let copy = openat(copy, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).step(step)?;
        copy_attributes(&image, &copy).step(step)?;
    }
    Ok(())
}

/// Owner, mode, extended attributes and times: an overlay takes them from the topmost layer.
fn copy_attributes(from: &OwnedFd, to: &OwnedFd) -> Result<(), Errno> {
    let stat = rustix::fs::fstat(from)?;
    rustix::fs::fchown(to, Some(rustix::fs::Uid::from_raw(stat.st_uid)), Some(rustix::fs::Gid::from_raw(stat.st_gid)))?;
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    copy_xattrs(from, to)?;
    rustix::fs::futimens(to, &times_of(&stat))
}

/// Extended attributes, except those overlayfs keeps for itself.
pub fn copy_xattrs(from: &OwnedFd, to: &OwnedFd) -> Result<(), Errno> {
    let length = match rustix::fs::flistxattr_query(from) {
        Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(()),
        result => result?,
    };
    let mut list = vec![0; length];
    let length = rustix::fs::flistxattr(from, &mut list[..])?;
    for name in list[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        if name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.") {
            continue;
        }
        let name = OsStr::from_bytes(name);
        let mut value = vec![0; rustix::fs::fgetxattr_query(from, name)?];
        let length = rustix::fs::fgetxattr(from, name, &mut value[..])?;
        rustix::fs::fsetxattr(to, name, &value[..length], rustix::fs::XattrFlags::empty())?;
    }
    Ok(())
}

/// Both times of a file, for setting them again.
pub fn times_of(stat: &Stat) -> Timestamps {
    let time = |seconds, nanoseconds| Timespec { tv_sec: seconds, tv_nsec: i64::try_from(nanoseconds).unwrap_or(0) };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

/// Makes the missing names below `at`: directories, and at the end what is wanted.
fn create(at: &OwnedFd, missing: &[OsString], kind: Kind) -> Result<(), Errno> {
    let mut at = open_dir(at, ".")?;
    for (index, name) in missing.iter().enumerate() {
        if index + 1 == missing.len() && kind == Kind::File {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            return match openat(&at, name, flags, Mode::from_raw_mode(0o644)) {
                Ok(_) | Err(Errno::EXIST) => Ok(()),
                Err(errno) => Err(errno),
            };
        }
        match mkdirat(&at, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        at = open_dir(&at, name)?;
    }
    Ok(())
}

/// Makes a mountpoint inside something already mounted.
pub fn create_in_place(root: &OwnedFd, wanted: &Wanted) -> Result<(), Fault> {
    let found = find_for(root, wanted)?;
    create(&found.parent, &found.missing, wanted.kind)
        .step(|| format!("make the mountpoint {}", wanted.target.display()))
}

/// What was created in a directory for the time of a command.
#[derive(Default)]
pub struct Planted {
    /// In the order of creation.
    entries: Vec<Entry>,
}

struct Entry {
    parent: OwnedFd,
    /// The parent before the entry was made, and after.
    before: Stat,
    after: Stat,
    name: OsString,
    made: Stat,
    kind: Kind,
    path: PathBuf,
}

impl Planted {
    /// Creates the missing mountpoints in `root`. When it fails, what was made so far is removed again.
    pub fn plant(root: &OwnedFd, missing: &[(Found, Kind)]) -> Result<Planted, Fault> {
        let mut planted = Planted::default();
        for (found, kind) in missing {
            if let Err(fault) = planted.plant_one(root, found, *kind) {
                planted.remove()?;
                return Err(fault);
            }
        }
        Ok(planted)
    }

    fn plant_one(&mut self, root: &OwnedFd, found: &Found, kind: Kind) -> Result<(), Fault> {
        let mut path = PathBuf::new();
        let mut at = open_dir(root, ".").step(|| "open the root".to_owned())?;
        for name in &found.real {
            path.push(name);
            at = open_dir(&at, name).step(|| format!("open /{}", path.display()))?;
        }
        for (index, name) in found.missing.iter().enumerate() {
            path.push(name);
            let step = || format!("make the mountpoint /{}", path.display());
            let kind = if index + 1 == found.missing.len() { kind } else { Kind::Dir };
            if statat(&at, name, AtFlags::SYMLINK_NOFOLLOW).is_err() {
                let before = rustix::fs::fstat(&at).step(step)?;
                create(&at, std::slice::from_ref(name), kind).step(step)?;
                self.entries.push(Entry {
                    before,
                    after: rustix::fs::fstat(&at).step(step)?,
                    made: statat(&at, name, AtFlags::SYMLINK_NOFOLLOW).step(step)?,
                    parent: at.try_clone().step(step)?,
                    name: name.clone(),
                    kind,
                    path: path.clone(),
                });
            }
            if kind == Kind::Dir {
                at = open_dir(&at, name).step(step)?;
            }
        }
        Ok(())
    }

    /// Removes what was created, unless the command has put something into it or replaced it, and gives directories
    /// the times they would have had.
    pub fn remove(self) -> Result<(), Fault> {
        for entry in self.entries.iter().rev() {
            entry.remove().step(|| format!("remove the mountpoint /{}", entry.path.display()))?;
        }
        Ok(())
    }
}

impl Entry {
    fn remove(&self) -> Result<(), Errno> {
        let now = match statat(&self.parent, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(now) => now,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            Err(errno) => return Err(errno),
        };
        let same = (now.st_dev, now.st_ino, now.st_mode) == (self.made.st_dev, self.made.st_ino, self.made.st_mode);
        if !same || (self.kind == Kind::File && now.st_size != 0) {
            return Ok(());
        }
        let parent = rustix::fs::fstat(&self.parent)?;
        let flags = if self.kind == Kind::Dir { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        match unlinkat(&self.parent, &self.name, flags) {
            Ok(()) => {}
            Err(Errno::NOTEMPTY | Errno::EXIST) => return Ok(()),
            Err(errno) => return Err(errno),
        }
        let untouched = (parent.st_mtime, parent.st_mtime_nsec) == (self.after.st_mtime, self.after.st_mtime_nsec);
        let times = times_of(if untouched { &self.before } else { &parent });
        rustix::fs::utimensat(&self.parent, ".", &times, AtFlags::empty())
    }
}
