//! Deleting trees, and only our own.
//!
//! Every step is taken from an open directory, never follows a symbolic link and never enters a mount: a link planted
//! in a layer, or a mount that was left behind, costs nothing outside. Directories without permissions are opened up
//! first. Deep trees are folded: what lies deeper than a limit is moved up, so that neither stack nor file handles
//! run out.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::StoreError;

/// Directories deeper than this below the one being removed are moved up first.
const DEEPEST: usize = 64;

/// Removes whatever is at `path`: a file, a link (not what it points to), or a directory with everything in it.
/// Nothing there is fine.
///
/// # Errors
/// [`StoreError::Remove`] with the path that could not be removed: for want of permission, or because something is
/// mounted there. Everything that could be removed is gone then.
pub fn remove_tree(path: &Path) -> Result<(), StoreError> {
    let failed = |source| StoreError::Remove { path: path.to_path_buf(), source };
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "it is not below a directory")));
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = match rustix::fs::openat(CWD, parent, flags, Mode::empty()) {
        Ok(dir) => dir,
        Err(Errno::NOENT) => return Ok(()),
        Err(e) => return Err(failed(e.into())),
    };
    let name = CString::new(name.as_bytes()).map_err(|e| failed(e.into()))?;
    Remover { top: None, folded: 0 }
        .entry(dir.as_fd(), &name, 0)
        .map_err(|f| StoreError::Remove { path: parent.join(f.path()), source: f.errno.into() })
}

/// What could not be removed; the path is put together on the way out.
struct Failed {
    errno: Errno,
    innermost_first: Vec<CString>,
}

impl Failed {
    fn path(&self) -> PathBuf {
        self.innermost_first.iter().rev().map(|c| OsStr::from_bytes(c.to_bytes())).collect()
    }

    fn below(mut self, name: &CStr) -> Failed {
        self.innermost_first.push(name.to_owned());
        self
    }
}

struct Remover {
    /// The directory deep ones are moved to: the one being removed.
    top: Option<OwnedFd>,
    folded: u64,
}

impl Remover {
    fn entry(&mut self, parent: BorrowedFd<'_>, name: &CStr, depth: usize) -> Result<(), Failed> {
        let failed = |errno| Failed { errno, innermost_first: vec![name.to_owned()] };
        match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(e) => return Err(failed(e)),
        }
        match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            // Not a directory, so it was the file that may not be unlinked.
            Err(Errno::NOTDIR) => return Err(failed(Errno::PERM)),
            Err(e) => return Err(failed(e)),
        }
        let dir = open_dir(parent, name).map_err(failed)?;
        if depth >= DEEPEST && self.fold(parent, name).is_ok() {
            return Ok(());
        }
        if depth == 0 {
            self.top = dir.try_clone().ok();
        }
        self.contents(&dir, depth).map_err(|f| f.below(name))?;
        match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(failed(e)),
        }
    }

    /// Removes everything in a directory, also what is moved into it meanwhile.
    fn contents(&mut self, dir: &OwnedFd, depth: usize) -> Result<(), Failed> {
        loop {
            let names = names(dir).map_err(|errno| Failed { errno, innermost_first: Vec::new() })?;
            if names.is_empty() {
                return Ok(());
            }
            let mut first = None;
            for name in &names {
                if let Err(failed) = self.entry(dir.as_fd(), name, depth + 1) {
                    first.get_or_insert(failed);
                }
            }
            if let Some(failed) = first {
                return Err(failed);
            }
        }
    }

    fn fold(&mut self, parent: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
        let top = self.top.as_ref().ok_or(Errno::BADF)?;
        loop {
            self.folded += 1;
            let to = format!(".kiln-folded-{}", self.folded);
            match rustix::fs::renameat_with(parent, name, top, &*to, rustix::fs::RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => {}
                other => return other,
            }
        }
    }
}

fn names(dir: &OwnedFd) -> Result<Vec<CString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

/// Opens a directory for emptying: not a link, not a mount, and with the permissions that takes.
fn open_dir(parent: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let dir = match open_beneath(parent, name, OFlags::RDONLY) {
        Err(Errno::ACCESS) => {
            let handle = open_beneath(parent, name, OFlags::PATH)?;
            // There is no fchmod for O_PATH handles; their name in /proc leads to the very same directory.
            let proc = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&handle));
            rustix::fs::chmod(proc, Mode::RWXU).map_err(|_| Errno::ACCESS)?;
            open_beneath(parent, name, OFlags::RDONLY)?
        }
        other => other?,
    };
    let mode = Mode::from_raw_mode(rustix::fs::fstat(&dir)?.st_mode);
    if !mode.contains(Mode::RWXU) {
        // A directory of someone else may still let us delete in it.
        let _ = rustix::fs::fchmod(&dir, Mode::RWXU);
    }
    Ok(dir)
}

/// Opens a directory right below `parent`; `XDEV` when something is mounted there.
pub(crate) fn open_beneath(parent: BorrowedFd<'_>, name: &CStr, access: OFlags) -> Result<OwnedFd, Errno> {
    let flags = access | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
    match rustix::fs::openat2(parent, name, flags, Mode::empty(), resolve) {
        // Sandboxed kernels (gVisor, old seccomp profiles) do not know the call: at least no other device is entered.
        Err(Errno::NOSYS | Errno::PERM) => {
            let dir = rustix::fs::openat(parent, name, flags, Mode::empty())?;
            let same = rustix::fs::fstat(&dir)?.st_dev == rustix::fs::fstat(parent)?.st_dev;
            if same { Ok(dir) } else { Err(Errno::XDEV) }
        }
        other => other,
    }
}
