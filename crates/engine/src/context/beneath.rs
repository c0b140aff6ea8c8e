//! A directory on disk seen through a handle: no path below it can lead out of it.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use kiln_oci::name;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

const COMMON: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC);
const HANDLE: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
const RESOLVE: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// The handle. All paths given to it are clean; a symbolic link anywhere on one is an error, for whoever resolved the
/// path has seen none: it was put there since.
pub(super) struct Beneath {
    root: OwnedFd,
}

impl Beneath {
    /// The directory at `dir`, a path of the user, whose links are followed.
    pub(super) fn open(dir: &Path) -> Result<Beneath, Errno> {
        Ok(Beneath { root: openat(CWD, dir, HANDLE, Mode::empty())? })
    }

    /// The directory at `path`, to read names from it.
    pub(super) fn dir(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        self.at(path, OFlags::RDONLY | OFlags::DIRECTORY | COMMON)
    }

    /// The directory above `path`, to look `path`'s last component up in it.
    pub(super) fn parent(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        self.at(name::split(path).0, HANDLE | COMMON)
    }

    /// The file at `path`, to read it. A named pipe there does not block.
    pub(super) fn file(&self, path: &[u8]) -> Result<File, Errno> {
        self.at(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | COMMON).map(File::from)
    }

    fn at(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        if path.is_empty() {
            return openat(&self.root, c".", flags.difference(OFlags::NOFOLLOW), Mode::empty());
        }
        loop {
            match openat2(&self.root, path, flags, Mode::empty(), RESOLVE) {
                // A rename elsewhere on the machine raced with the resolution.
                Err(Errno::AGAIN | Errno::INTR) => {}
                // Old kernels, and system call filters that do not know the call.
                Err(Errno::NOSYS | Errno::PERM) => return self.stepwise(path, flags),
                other => return other,
            }
        }
    }

    fn stepwise(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let mut held: Option<OwnedFd> = None;
        let mut parts = path.split(|b| *b == b'/').peekable();
        while let Some(part) = parts.next() {
            if matches!(part, b"" | b"." | b"..") {
                return Err(Errno::XDEV);
            }
            let from = held.as_ref().map_or(self.root.as_fd(), AsFd::as_fd);
            let how = if parts.peek().is_some() { HANDLE | COMMON } else { flags };
            held = Some(openat(from, part, how, Mode::empty())?);
        }
        held.ok_or(Errno::NOENT)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn nothing_leads_out() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("in/a")).unwrap();
        std::fs::write(dir.path().join("outside"), "x").unwrap();
        std::fs::write(dir.path().join("in/a/f"), "x").unwrap();
        symlink("../outside", dir.path().join("in/up")).unwrap();
        symlink("/etc", dir.path().join("in/etc")).unwrap();
        symlink("a", dir.path().join("in/same")).unwrap();
        let root = Beneath::open(&dir.path().join("in")).unwrap();
        for bad in [&b"up"[..], b"etc/passwd", b"../outside", b"a/../../outside", b"same/f", b"/etc/passwd"] {
            assert!(root.file(bad).is_err(), "{}", name::escape(bad));
            assert!(root.stepwise(bad, OFlags::RDONLY | COMMON).is_err(), "{}", name::escape(bad));
        }
        assert!(root.file(b"a/f").is_ok());
        assert!(root.stepwise(b"a/f", OFlags::RDONLY | COMMON).is_ok());
        assert!(
            root.dir(b"").is_ok() && root.dir(b"a").is_ok() && root.parent(b"a").is_ok() && root.parent(b"a/f").is_ok()
        );
        assert!(root.parent(b"same/f").is_err());
    }
}
