//! Files in the making, in a directory that others share: of a run that was killed, the next one removes them.
//!
//! They lie in a directory of their own, beside what they become. Whoever writes holds a lock on it, shared with others; who
//! gets it alone knows that what lies there is nobody's any more.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;

use crate::registry_out::DIRECTORY;

/// The directory.
const NAME: &str = ".kiln-drafts";
/// What names in it begin with; nothing else there is touched.
const PREFIX: &str = "draft-";
/// How often it may be removed by others just before it is locked.
const TRIES: usize = 100;

/// The directory of drafts; it is removed with the last who has it.
#[derive(Debug)]
pub(crate) struct Drafts {
    root: OwnedFd,
    dir: OwnedFd,
    next: AtomicU64,
}

impl Drafts {
    /// Makes it below a directory, or takes the one that is there; what the dead left in it is removed.
    pub(crate) fn below(root: &OwnedFd) -> io::Result<Drafts> {
        for _ in 0..TRIES {
            match rustix::fs::mkdirat(root, NAME, Mode::from_raw_mode(0o700)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(e.into()),
            }
            let dir = match rustix::fs::openat(root, NAME, DIRECTORY, Mode::empty()) {
                Err(Errno::NOENT) => continue,
                dir => dir?,
            };
            // Some network file systems have no locks for directories: nothing is removed there.
            if flock(&dir, FlockOperation::NonBlockingLockExclusive).is_ok() {
                clear(&dir)?;
            }
            let _ = flock(&dir, FlockOperation::LockShared);
            if same(root, &dir) {
                return Ok(Drafts { root: root.try_clone()?, dir, next: AtomicU64::new(0) });
            }
        }
        Err(io::Error::other(format!("{NAME} is removed by others again and again")))
    }

    /// Writes a file whole, and gives it its name in `dir`, in place of what has it. Returns how many bytes it has.
    pub(crate) fn write(&self, content: &mut dyn Read, dir: &OwnedFd, name: &str) -> io::Result<u64> {
        let (draft, mut file) = self.create()?;
        let written = io::copy(content, &mut file).and_then(|count| {
            file.flush()?;
            rustix::fs::renameat(&self.dir, &*draft, dir, name)?;
            Ok(count)
        });
        if written.is_err() {
            let _ = rustix::fs::unlinkat(&self.dir, &*draft, AtFlags::empty());
        }
        written
    }

    fn create(&self) -> io::Result<(String, File)> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let draft = format!("{PREFIX}{}-{number}", std::process::id());
            match rustix::fs::openat(&self.dir, &*draft, flags, Mode::from_raw_mode(0o644)) {
                Ok(file) => return Ok((draft, File::from(file))),
                // Processes in different containers may have the same number.
                Err(Errno::EXIST) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
}

impl Drop for Drafts {
    fn drop(&mut self) {
        if flock(&self.dir, FlockOperation::NonBlockingLockExclusive).is_ok() {
            // Not with anything in it.
            let _ = rustix::fs::unlinkat(&self.root, NAME, AtFlags::REMOVEDIR);
        }
    }
}

/// Removes drafts; the caller has the lock alone.
fn clear(dir: &OwnedFd) -> io::Result<()> {
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        if entry.file_name().to_bytes().starts_with(PREFIX.as_bytes()) {
            match rustix::fs::unlinkat(dir, entry.file_name(), AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
    Ok(())
}

/// Whether the directory that was locked still has its name.
fn same(root: &OwnedFd, dir: &OwnedFd) -> bool {
    let there = rustix::fs::statat(root, NAME, AtFlags::SYMLINK_NOFOLLOW);
    let here = rustix::fs::fstat(dir);
    matches!((there, here), (Ok(there), Ok(here)) if (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    fn open(path: &Path) -> OwnedFd {
        rustix::fs::open(path, DIRECTORY, Mode::empty()).unwrap()
    }

    fn names(dir: &Path) -> BTreeSet<String> {
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn what_the_dead_left_is_removed_and_what_others_put_there_is_not() {
        let tmp = tempfile::tempdir().unwrap();
        let (root, drafts) = (open(tmp.path()), tmp.path().join(NAME));
        fs::create_dir(&drafts).unwrap();
        for name in ["draft-1-0", "draft-77-3", "mine"] {
            fs::write(drafts.join(name), "half").unwrap();
        }
        let own = Drafts::below(&root).unwrap();
        assert_eq!(names(&drafts), set(&["mine"]));
        assert_eq!(own.write(&mut &b"whole"[..], &root, "file").unwrap(), 5);
        assert_eq!(own.write(&mut &b"other"[..], &root, "file").unwrap(), 5);
        assert_eq!(fs::read(tmp.path().join("file")).unwrap(), b"other");
        drop(own);
        assert_eq!(names(&drafts), set(&["mine"]), "it is not ours");
        fs::remove_file(drafts.join("mine")).unwrap();
        drop(Drafts::below(&root).unwrap());
        assert_eq!(names(tmp.path()), set(&["file"]));
    }

    #[test]
    fn drafts_of_the_living_are_left() {
        let tmp = tempfile::tempdir().unwrap();
        let (root, drafts) = (open(tmp.path()), tmp.path().join(NAME));
        let first = Drafts::below(&root).unwrap();
        let (draft, file) = first.create().unwrap();
        // One with the same process number begins with the same names.
        let second = Drafts::below(&root).unwrap();
        assert_eq!(names(&drafts), set(&[&*draft]));
        assert_eq!(second.write(&mut &b"x"[..], &root, "file").unwrap(), 1);
        drop(second);
        assert_eq!(names(&drafts), set(&[&*draft]));
        drop((file, first));
        drop(Drafts::below(&root).unwrap());
        assert!(!drafts.exists());
    }

    #[test]
    fn what_fails_leaves_nothing() {
        struct Breaks;
        impl Read for Breaks {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("the disk broke"))
            }
        }
        let tmp = tempfile::tempdir().unwrap();
        let root = open(tmp.path());
        let drafts = Drafts::below(&root).unwrap();
        assert!(drafts.write(&mut Breaks, &root, "file").is_err());
        fs::create_dir(tmp.path().join("directory")).unwrap();
        assert!(drafts.write(&mut &b"x"[..], &root, "directory").is_err());
        assert_eq!(names(&tmp.path().join(NAME)), set(&[]));
        // A link in its place leads nowhere.
        drop(drafts);
        std::os::unix::fs::symlink("/", tmp.path().join(NAME)).unwrap();
        assert!(Drafts::below(&root).is_err());
    }
}
