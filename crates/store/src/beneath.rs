//! A directory tree seen through one directory handle: no path in it can lead out of it.
//!
//! Every path is resolved with `openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS)`, so a symbolic
//! link that a layer or a command left behind is an error and never followed. Kernels and sandboxes without
//! `openat2` get the same by a walk of single components with `O_NOFOLLOW`. The directory opened last is kept:
//! archives and walks visit one directory's entries after each other.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use kiln_oci::name::split;
use rustix::fs::{Mode, OFlags, RawDir, ResolveFlags, fstat, openat, openat2};
use rustix::io::Errno;

/// Paths longer than this are resolved in pieces: the kernel takes at most 4095 bytes at once.
const PIECE: usize = 3800;

const HANDLE: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A tree below one directory handle.
pub(crate) struct Beneath {
    root: OwnedFd,
    near: Option<(Vec<u8>, OwnedFd)>,
    resolve: ResolveFlags,
}

impl Beneath {
    /// The tree below `root`.
    pub(crate) fn new(root: impl AsFd) -> Result<Beneath, Errno> {
        // A handle of our own, so that a caller's `O_RDONLY` offset in the directory stays untouched.
        let root = openat(root, c".", HANDLE.difference(OFlags::NOFOLLOW), Mode::empty())?;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        Ok(Beneath { root, near: None, resolve })
    }

    /// The same, refusing with `EXDEV` to enter what is mounted inside the tree.
    pub(crate) fn without_mounts(root: impl AsFd) -> Result<Beneath, Errno> {
        let mut tree = Beneath::new(root)?;
        tree.resolve |= ResolveFlags::NO_XDEV;
        Ok(tree)
    }

    /// A second handle on the same tree, for another thread.
    pub(crate) fn again(&self) -> Result<Beneath, Errno> {
        let root = rustix::io::fcntl_dupfd_cloexec(&self.root, 0)?;
        Ok(Beneath { root, near: None, resolve: self.resolve })
    }

    /// The directory at `path`, usable as the base of `*at` calls. `ELOOP` or `ENOTDIR` where a component is a
    /// symbolic link or no directory.
    pub(crate) fn dir(&mut self, path: &[u8]) -> Result<BorrowedFd<'_>, Errno> {
        if path.is_empty() {
            return Ok(self.root.as_fd());
        }
        if !matches!(&self.near, Some((near, _)) if near == path) {
            let fd = match &self.near {
                Some((near, fd)) if is_below(path, near) => self.open(fd.as_fd(), &path[near.len() + 1..], HANDLE)?,
                _ => self.open(self.root.as_fd(), path, HANDLE)?,
            };
            self.near = Some((path.to_vec(), fd));
        }
        Ok(self.near.as_ref().map_or(self.root.as_fd(), |(_, fd)| fd.as_fd()))
    }

    /// A handle of the caller's own on the directory at `path`.
    pub(crate) fn handle(&mut self, path: &[u8]) -> Result<OwnedFd, Errno> {
        rustix::io::fcntl_dupfd_cloexec(self.dir(path)?, 0)
    }

    /// The names in the directory at `path`, in no order.
    pub(crate) fn names(&mut self, path: &[u8]) -> Result<Vec<Vec<u8>>, Errno> {
        let fd = self.read_dir(path)?;
        let mut room = [MaybeUninit::uninit(); 8192];
        let mut entries = RawDir::new(&fd, &mut room);
        let mut names = Vec::new();
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(name.to_vec());
            }
        }
        Ok(names)
    }

    /// Drops the kept handle; needed after a directory was removed or replaced.
    pub(crate) fn forget(&mut self) {
        self.near = None;
    }

    /// The directory at `path`, open for reading its names.
    pub(crate) fn read_dir(&mut self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match &self.near {
            Some((near, fd)) if is_below(path, near) => self.open(fd.as_fd(), &path[near.len() + 1..], flags),
            _ if path.is_empty() => openat(&self.root, c".", flags, Mode::empty()),
            _ => self.open(self.root.as_fd(), path, flags),
        }
    }

    /// The file at `path`, open for reading. It never blocks on a named pipe.
    pub(crate) fn read_file(&mut self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let (parent, name) = split(path);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        openat(self.dir(parent)?, name, flags, Mode::empty())
    }

    fn open(&self, base: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let mut rest = path;
        let mut held: Option<OwnedFd> = None;
        loop {
            let from = held.as_ref().map_or(base, |fd| fd.as_fd());
            let Some(cut) = cut_point(rest)? else { return self.open_piece(from, rest, flags) };
            let next = self.open_piece(from, &rest[..cut], HANDLE)?;
            rest = &rest[cut + 1..];
            held = Some(next);
        }
    }

    fn open_piece(&self, base: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        loop {
            match openat2(base, path, flags, Mode::empty(), self.resolve) {
                // A rename elsewhere on the machine raced with the resolution.
                Err(Errno::AGAIN | Errno::INTR) => {}
                // Old kernels, and seccomp filters that do not know the call.
                Err(Errno::NOSYS | Errno::PERM) => {
                    let found = open_stepwise(base, path, flags)?;
                    // Finds what is mounted from another file system, which is nearly all that ever is.
                    let stays = !self.resolve.contains(ResolveFlags::NO_XDEV) || device(&found)? == device(&self.root)?;
                    return if stays { Ok(found) } else { Err(Errno::XDEV) };
                }
                other => return other,
            }
        }
    }
}

fn device(file: impl AsFd) -> Result<u64, Errno> {
    fstat(file).map(|found| found.st_dev)
}

/// Where to cut `path` so that its first piece fits into one call; `None` when all of it fits.
fn cut_point(path: &[u8]) -> Result<Option<usize>, Errno> {
    if path.len() <= PIECE {
        return Ok(None);
    }
    path[..PIECE].iter().rposition(|&b| b == b'/').map(Some).ok_or(Errno::NAMETOOLONG)
}

fn open_stepwise(base: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let mut held: Option<OwnedFd> = None;
    let mut parts = path.split(|&b| b == b'/').peekable();
    while let Some(part) = parts.next() {
        if part.is_empty() || part == b"." || part == b".." {
            return Err(Errno::XDEV);
        }
        let from = held.as_ref().map_or(base, |fd| fd.as_fd());
        let how = if parts.peek().is_some() { HANDLE } else { flags | OFlags::NOFOLLOW };
        held = Some(openat(from, part, how, Mode::empty())?);
    }
    held.ok_or(Errno::NOENT)
}

/// The parent of a path, and its parent, up to and without the root.
pub(crate) fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::successors(Some(split(path).0), |at| Some(split(at).0)).take_while(|at| !at.is_empty())
}

/// Whether `path` lies below `dir` (and is not `dir` itself).
pub(crate) fn is_below(path: &[u8], dir: &[u8]) -> bool {
    dir.is_empty() && !path.is_empty() || path.len() > dir.len() && path.starts_with(dir) && path[dir.len()] == b'/'
}

/// Whether `path` is one that an entry may have, and the kernel takes: normal, with no component over 255 bytes.
pub(crate) fn is_plain(path: &[u8]) -> bool {
    !path.is_empty() && kiln_oci::name::is_normal(path) && path.split(|&b| b == b'/').all(|part| part.len() <= 255)
}

/// A path as errors show it: `/etc/passwd`, on one line and without bytes that are no text.
pub(crate) fn shown(path: &[u8]) -> String {
    format!("/{}", kiln_oci::name::Escaped(path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn tree() -> (tempfile::TempDir, Beneath) {
        let dir = tempfile::tempdir().expect("temporary directory");
        std::fs::create_dir_all(dir.path().join("a/b/c")).expect("directories");
        std::fs::write(dir.path().join("a/b/f"), "x").expect("file");
        symlink("/etc", dir.path().join("out")).expect("link");
        symlink("b", dir.path().join("a/in")).expect("link");
        let fd = std::fs::File::open(dir.path()).expect("open");
        let tree = Beneath::new(&fd).expect("handle");
        (dir, tree)
    }

    #[test]
    fn links_and_dots_are_refused() {
        let (_dir, mut tree) = tree();
        assert!(tree.dir(b"a/b/c").is_ok());
        assert!(tree.dir(b"a/b").is_ok());
        for bad in [&b"out"[..], b"out/ssl", b"a/in", b"a/in/c", b"../etc", b"a/../../etc", b"/etc", b"a/b/f"] {
            tree.forget();
            assert!(tree.dir(bad).is_err(), "{}", shown(bad));
            assert!(open_stepwise(tree.root.as_fd(), bad, HANDLE).is_err(), "{}", shown(bad));
        }
        assert!(open_stepwise(tree.root.as_fd(), b"a/b/c", HANDLE).is_ok());
        assert!(tree.read_file(b"a/b/f").is_ok());
        assert!(tree.read_file(b"out").is_err());
    }

    #[test]
    fn paths_are_taken_apart() {
        assert_eq!(ancestors(b"a/b/c").collect::<Vec<_>>(), [&b"a/b"[..], b"a"]);
        assert_eq!(ancestors(b"a").count(), 0);
        assert!(is_below(b"a/b", b"a") && is_below(b"a", b"") && !is_below(b"ab", b"a") && !is_below(b"a", b"a"));
        assert!(is_plain(b"a/..b/c") && !is_plain(b"a//b") && !is_plain(b"") && !is_plain(b"a/../b"));
        assert_eq!(shown(b"etc/\xff\n"), "/etc/\\xff\\x0a");
    }
}
