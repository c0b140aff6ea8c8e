//! Putting things into a root by renaming, and changing them back.
//!
//! The stash is a directory beside the root, on the same file system and out of the command's sight. Each thing put in
//! place is one [`Swap`]; they are undone in reverse order, so one may lie inside another.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, Stat, Uid, chmodat, chownat, mkdirat, openat, renameat, statat,
};
use rustix::io::Errno;

use super::copy::copy_tree;
use super::mountpoints::{self, Kind, Planted, Wanted, open_below, times_of};
use super::mounts::{open_inside, open_source};
use super::overlay::open_place;
use super::owners::set_virtual;
use super::owners::table::set_mode as set_virtual_mode;
use super::proxy;
use crate::wire::{Fault, Step};

/// How owners and modes are given to what is put in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owning {
    /// As they are.
    Real,
    /// In attributes, where everything is one user's.
    Virtual,
}

/// Everything put into one root.
pub struct Swaps {
    root: OwnedFd,
    owning: Owning,
    stash: OwnedFd,
    stash_path: PathBuf,
    count: usize,
    done: Vec<Done>,
}

enum Done {
    Planted(Planted),
    Swapped(Box<Swap>),
}

/// One thing in place of another.
struct Swap {
    target: PathBuf,
    parent: OwnedFd,
    name: OsString,
    /// The parent before the change and after.
    before: Stat,
    after: Stat,
    /// The name in the stash of what the image has there.
    original: Option<String>,
    /// Where ours goes afterwards.
    home: Home,
    /// A secret, held so that it can be wiped wherever the command moved it; not open for writing, since a file that is
    /// cannot be executed.
    secret: Option<OwnedFd>,
}

enum Home {
    /// Thrown away.
    Nowhere,
    /// Renamed back: directory and name.
    Original { parent: OwnedFd, name: OsString },
    /// Copied back over what is there.
    CopyTo { parent: OwnedFd, name: OsString },
}

impl Swaps {
    /// Makes the stash beside the root.
    pub fn beside(root: &Path, owning: Owning) -> Result<Swaps, Fault> {
        let step = || format!("make a directory beside the root {}", root.display());
        let canonical = fs::canonicalize(root).step(step)?;
        let Some(parent) = canonical.parent() else {
            return Err(Fault::new(step(), "the machine's own root cannot be a root to run in; give a directory"));
        };
        let stash_path = make_stash(parent).step(step)?;
        let stash = open_place(&stash_path)?;
        let root = open_place(&canonical)?;
        let same = rustix::fs::fstat(&root).step(step)?.st_dev == rustix::fs::fstat(&stash).step(step)?.st_dev;
        if !same {
            let _ = fs::remove_dir(&stash_path);
            return Err(Fault::new(step(), "the root is a mount point; this isolation needs a directory inside one"));
        }
        Ok(Swaps { root, owning, stash, stash_path, count: 0, done: Vec::new() })
    }

    fn next_name(&mut self) -> String {
        self.count += 1;
        format!("{}", self.count)
    }

    /// Makes something new in the stash and puts it in place.
    pub fn place_new(
        &mut self,
        target: &Path,
        kind: Kind,
        make: impl FnOnce(&OwnedFd, &str) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let name = self.next_name();
        make(&self.stash, &name)?;
        let stash = self.stash.try_clone().step(|| "duplicate a handle".to_owned())?;
        self.swap(target, kind, &stash, OsStr::new(&name), Home::Nowhere, None)
    }

    /// Makes an empty directory and puts it in place.
    pub fn place_dir(&mut self, target: &Path, mode: u32) -> Result<(), Fault> {
        let owning = self.owning;
        self.place_new(target, Kind::Dir, |stash, name| {
            let step = || format!("make the directory {name}");
            mkdirat(stash, name, Mode::RWXU).step(step)?;
            owning.own(stash, name, mode, (0, 0)).step(step)
        })
    }

    /// Puts a file with the given content in place; a secret is wiped afterwards.
    pub fn place_file(
        &mut self,
        target: &Path,
        content: &[u8],
        (mode, uid, gid): (u32, u32, u32),
        secret: bool,
    ) -> Result<(), Fault> {
        let step = || format!("write the file for {}", target.display());
        let name = self.next_name();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mut file = fs::File::from(openat(&self.stash, &name, flags, Mode::RUSR | Mode::WUSR).step(step)?);
        file.write_all(content).step(step)?;
        self.owning.own(&self.stash, &name, mode, (uid, gid)).step(step)?;
        let handle = openat(&self.stash, &name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
        let handle = handle.step(step)?;
        let stash = self.stash.try_clone().step(step)?;
        self.swap(target, Kind::File, &stash, OsStr::new(&name), Home::Nowhere, secret.then_some(handle))
    }

    /// Puts a listening socket in place.
    pub fn place_socket(&mut self, target: &Path, mode: u32, owner: (u32, u32)) -> Result<UnixListener, Fault> {
        let name = self.next_name();
        let listener = proxy::listen(Path::new(&format!("/proc/self/fd/{}/{name}", self.stash.as_raw_fd())))?;
        self.owning.own(&self.stash, &name, mode, owner).step(|| "set the owner of a forwarded socket".to_owned())?;
        let stash = self.stash.try_clone().step(|| "duplicate a handle".to_owned())?;
        self.swap(target, Kind::File, &stash, OsStr::new(&name), Home::Nowhere, None)?;
        Ok(listener)
    }

    /// Puts a copy in place, thrown away afterwards with all that was written to it.
    pub fn place_copy(&mut self, target: &Path, source: &OwnedFd) -> Result<(), Fault> {
        let kind = kind_of(source).step(|| format!("look at the source of {}", target.display()))?;
        let owning = self.owning;
        self.place_new(target, kind, |stash, name| copy_tree(source, stash, OsStr::new(name), owning))
    }

    /// Puts the thing itself in place; where it lies on another file system a copy, copied back afterwards.
    pub fn place_original(&mut self, target: &Path, source: &Path, subpath: &Path) -> Result<(), Fault> {
        let step = || format!("put {} at {}", source.display(), target.display());
        let fd = open_source(source, subpath)?;
        let kind = kind_of(&fd).step(step)?;
        // Through the descriptor, so that a confined subpath is the same thing that was just opened.
        let path = fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).step(step)?;
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Fault::new(step(), "the machine's own root cannot be put there"));
        };
        let parent = open_place(parent)?;
        let (device, stash_device) = (device_of(&fd).step(step)?, device_of(&self.stash).step(step)?);
        if device == stash_device && device_of(&parent).step(step)? == device {
            let home = Home::Original { parent: parent.try_clone().step(step)?, name: name.to_owned() };
            return self.swap(target, kind, &parent, name, home, None);
        }
        let copy = self.next_name();
        copy_tree(&fd, &self.stash, OsStr::new(&copy), self.owning)?;
        let stash = self.stash.try_clone().step(step)?;
        self.swap(target, kind, &stash, OsStr::new(&copy), Home::CopyTo { parent, name: name.to_owned() }, None)
    }

    /// The change itself: the image's thing into the stash, ours into its place.
    fn swap(
        &mut self,
        target: &Path,
        kind: Kind,
        from: &OwnedFd,
        from_name: &OsStr,
        home: Home,
        secret: Option<OwnedFd>,
    ) -> Result<(), Fault> {
        let step = || format!("put something at {}", target.display());
        let wanted = Wanted { target: target.to_owned(), kind };
        let place = mountpoints::find_for(&self.root, &wanted)?.place();
        let (Some(parent_path), Some(name)) = (place.parent(), place.file_name()) else {
            return Err(Fault::new(step(), "the root itself cannot be a mount target"));
        };
        let parent_wanted = Wanted { target: parent_path.to_owned(), kind: Kind::Dir };
        if !parent_path.as_os_str().is_empty() {
            let missing = mountpoints::missing(&self.root, &[parent_wanted])?;
            self.done.push(Done::Planted(Planted::plant(&self.root, &missing)?));
        }
        let parent = open_below(&self.root, parent_path).step(step)?;
        let before = rustix::fs::fstat(&parent).step(step)?;
        let original = match statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => {
                let stashed = self.next_name();
                renameat(&parent, name, &self.stash, &stashed).step(step)?;
                Some(stashed)
            }
            Err(_) => None,
        };
        let mut swap = Swap {
            target: target.to_owned(),
            name: name.to_owned(),
            before,
            after: before,
            original,
            home,
            secret,
            parent,
        };
        let moved = renameat(from, from_name, &swap.parent, name).step(step);
        if moved.is_err() {
            // Ours is still at home; only the image's thing has to go back.
            swap.home = Home::Nowhere;
        }
        let after = rustix::fs::fstat(&swap.parent).step(step);
        if let Ok(after) = after {
            swap.after = after;
        }
        self.done.push(Done::Swapped(Box::new(swap)));
        moved.and(after.map(drop))
    }

    /// Changes everything back and removes the stash. Goes on after a failure and returns the first.
    pub fn undo(mut self) -> Result<(), Fault> {
        let mut result = Ok(());
        while let Some(done) = self.done.pop() {
            let undone = match done {
                Done::Planted(planted) => planted.remove(),
                Done::Swapped(swap) => self.change_back(*swap),
            };
            result = result.and(undone);
        }
        result.and(fs::remove_dir_all(&self.stash_path).step(|| format!("remove {}", self.stash_path.display())))
    }

    fn change_back(&mut self, swap: Swap) -> Result<(), Fault> {
        let step = || format!("take away what was at {}", swap.target.display());
        let wiped = swap.secret.map_or(Ok(()), wipe).step(step);
        let now = rustix::fs::fstat(&swap.parent).step(step)?;
        let ours = self.next_name();
        let taken = match renameat(&swap.parent, &swap.name, &self.stash, &ours) {
            Ok(()) => true,
            // The command removed it, or the whole directory.
            Err(Errno::NOENT) => false,
            Err(errno) => return Err(errno).step(step),
        };
        let brought_home = match &swap.home {
            Home::Nowhere => Ok(()),
            Home::Original { parent, name } if taken => renameat(&self.stash, &ours, parent, name).step(step),
            Home::Original { parent, name } => mkdirat(parent, name, Mode::from_raw_mode(0o755)).step(step),
            Home::CopyTo { parent, name } => self.copy_home(taken.then_some(ours.as_str()), parent, name),
        };
        let restored = match &swap.original {
            Some(original) => match renameat(&self.stash, original, &swap.parent, &swap.name) {
                Ok(()) | Err(Errno::NOENT) => Ok(()),
                Err(errno) => Err(errno).step(step),
            },
            None => Ok(()),
        };
        let untouched = (now.st_mtime, now.st_mtime_nsec) == (swap.after.st_mtime, swap.after.st_mtime_nsec);
        let times = times_of(if untouched { &swap.before } else { &now });
        let timed = match rustix::fs::utimensat(&swap.parent, ".", &times, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno).step(step),
        };
        wiped.and(brought_home).and(restored).and(timed)
    }

    /// Copies next to the original first, so that there is always a whole one.
    fn copy_home(&self, ours: Option<&str>, parent: &OwnedFd, name: &OsStr) -> Result<(), Fault> {
        let step = || format!("copy {} back", name.display());
        let mut fresh = name.to_owned();
        fresh.push(".kiln-new");
        match ours {
            Some(ours) => {
                let ours = openat(&self.stash, ours, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
                    .step(step)?;
                copy_tree(&ours, parent, &fresh, self.owning)?;
            }
            None => mkdirat(parent, &fresh, Mode::from_raw_mode(0o755)).step(step)?,
        }
        let old = open_inside(parent, Path::new(name), OFlags::PATH | OFlags::NOFOLLOW).step(step)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", parent.as_raw_fd())).join(name);
        let removed =
            if kind_of(&old).step(step)? == Kind::Dir { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        removed.step(step)?;
        renameat(parent, &fresh, parent, name).step(step)
    }
}

/// A new directory of our own; one of the same name may be another's, or left by a supervisor that was killed.
fn make_stash(parent: &Path) -> Result<PathBuf, Errno> {
    let id = std::process::id();
    for number in 0..1000 {
        let path = parent.join(format!(".kiln-stash-{id}-{number}"));
        match mkdirat(CWD, &path, Mode::RWXU) {
            Err(Errno::EXIST) => {}
            result => return result.map(|()| path),
        }
    }
    Err(Errno::EXIST)
}

fn kind_of(fd: &OwnedFd) -> Result<Kind, Errno> {
    let file_type = FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode);
    Ok(if file_type == FileType::Directory { Kind::Dir } else { Kind::File })
}

fn device_of(fd: &OwnedFd) -> Result<u64, Errno> {
    Ok(rustix::fs::fstat(fd)?.st_dev)
}

impl Owning {
    fn own(self, at: &OwnedFd, name: &str, mode: u32, (uid, gid): (u32, u32)) -> Result<(), Errno> {
        if self == Owning::Virtual {
            let fd = openat(at, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
            if FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) == FileType::Socket {
                // The owner of a socket is noted where it is asked for.
                return chmodat(at, name, Mode::from_raw_mode(mode & 0o777), AtFlags::empty());
            }
            set_virtual(&PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd())), (uid, gid))?;
            return set_virtual_mode(&fd, mode);
        }
        chownat(at, name, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::SYMLINK_NOFOLLOW)?;
        chmodat(at, name, Mode::from_raw_mode(mode & 0o7777), AtFlags::empty())
    }
}

/// How long to wait for Kiln to take what the command has printed.
const OUTPUT_PATIENCE: Duration = Duration::from_secs(2);

/// Overwrites a file with zeros and empties it.
///
/// A command may have put the file's very pages into its output (`cat` does, with `sendfile`); they are overwritten
/// only after they have been read.
fn wipe(handle: OwnedFd) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).open(format!("/proc/self/fd/{}", handle.as_raw_fd()))?;
    let end = Instant::now() + OUTPUT_PATIENCE;
    let unread = || {
        let pending = |fd| rustix::io::ioctl_fionread(fd).unwrap_or(0);
        pending(rustix::stdio::stdout()) + pending(rustix::stdio::stderr()) > 0
    };
    while unread() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(1));
    }
    if !unread() {
        let length = file.metadata()?.len();
        std::io::copy(&mut std::io::Read::take(std::io::repeat(0), length), &mut file)?;
    }
    file.set_len(0)
}
