//! Files outside of the store that are seen only once they are whole and on the disk.
//!
//! Where the file system can, such a file has no name until then, so that a process that is killed leaves nothing
//! behind; elsewhere it is a hidden file beside its place.

use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};
use std::os::fd::AsRawFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use crate::error::{EngineError, Result};

const BUFFER: usize = 256 << 10;
/// What the umask takes away is taken away, as from a file that a shell makes.
const MODE: u32 = 0o666;

/// Writes the file `path` by `f`, replacing what has the name. A device or pipe of that name is written to as it is.
/// `action` says what is done, for errors.
///
/// # Errors
/// When the directory is not there, the file cannot be written, or what `f` says; then nothing has changed.
pub fn write(path: &Path, action: &'static str, f: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    file(path, action, |file| {
        let mut out = BufWriter::with_capacity(BUFFER, file);
        f(&mut out)?;
        out.flush().map_err(EngineError::file(action, path))
    })
}

/// The same for what is not written from front to back.
///
/// # Errors
/// As [`write`].
pub fn file(path: &Path, action: &'static str, f: impl FnOnce(&mut File) -> Result<()>) -> Result<()> {
    let failed = |e| EngineError::file(action, path)(e);
    if std::fs::metadata(path).is_ok_and(|m| !m.is_file() && !m.is_dir()) {
        let mut file = File::options().write(true).open(path).map_err(failed)?;
        return f(&mut file);
    }
    let dir = parent(path);
    let unnamed = unnamed(dir).map_err(failed)?;
    match unnamed {
        Some(mut file) => {
            f(&mut file)?;
            file.sync_all().and_then(|()| name(&mut file, dir, path)).map_err(failed)?;
        }
        None => {
            let mut draft = builder().tempfile_in(dir).map_err(failed)?;
            f(draft.as_file_mut())?;
            draft.as_file().sync_all().map_err(failed)?;
            draft.persist(path).map_err(|e| failed(e.error))?;
        }
    }
    sync_dir(dir).map_err(failed)
}

/// A file that goes when it is closed, on the file system where `path` will be.
///
/// # Errors
/// When the directory is not there or cannot be written.
pub fn scratch(path: &Path) -> Result<File> {
    tempfile::tempfile_in(parent(path)).map_err(EngineError::file("write beside", path))
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn builder() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".kiln-").permissions(std::os::unix::fs::PermissionsExt::from_mode(MODE));
    builder
}

/// A file without a name, or none where the file system, or a system without `/proc`, has no such thing.
fn unnamed(dir: &Path) -> io::Result<Option<File>> {
    if !Path::new("/proc/self/fd").exists() {
        return Ok(None);
    }
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    match rustix::fs::openat(CWD, dir, flags, Mode::from_raw_mode(MODE)) {
        Ok(fd) => Ok(Some(fd.into())),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR | rustix::io::Errno::INVAL) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Gives a file without a name its name. Only where another file has it, one in between is needed.
fn name(file: &mut File, dir: &Path, path: &Path) -> io::Result<()> {
    let ours = format!("/proc/self/fd/{}", file.as_raw_fd());
    let link = |to: &Path| rustix::fs::linkat(CWD, &*ours, CWD, to, AtFlags::SYMLINK_FOLLOW).map_err(io::Error::from);
    match link(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        other => return other.or_else(|_| copied(file, dir, path)),
    }
    match builder().make_in(dir, link) {
        Ok(draft) => draft.persist(path).map(drop).map_err(|e| e.error),
        Err(_) => copied(file, dir, path),
    }
}

/// For file systems that make such files and then cannot link them.
fn copied(file: &mut File, dir: &Path, path: &Path) -> io::Result<()> {
    let mut draft = builder().tempfile_in(dir)?;
    file.rewind()?;
    io::copy(file, &mut draft)?;
    draft.as_file().sync_all()?;
    draft.persist(path).map(drop).map_err(|e| e.error)
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    match File::open(dir)?.sync_all() {
        // Some network and FUSE file systems refuse this for directories; they order renames themselves.
        Err(e) if e.kind() == io::ErrorKind::InvalidInput => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(path: &Path, text: &str) -> Result<()> {
        write(path, "write", |out| out.write_all(text.as_bytes()).map_err(EngineError::file("write", path)))
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            dir.read_dir().unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_seen_when_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        for text in ["one", "another"] {
            write(&path, "write", |out| {
                out.write_all(text.as_bytes()).and_then(|()| out.flush()).unwrap();
                assert!(std::fs::read(&path).is_ok_and(|b| b == b"one") == (text == "another"));
                assert!(names(dir.path()).iter().all(|n| n == "f"), "nothing lies about: {:?}", names(dir.path()));
                Ok(())
            })
            .unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
            assert_eq!(names(dir.path()), ["f"]);
        }
    }

    #[test]
    fn what_fails_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        put(&path, "old").unwrap();
        let outcome = write(&path, "write", |out| {
            out.write_all(b"half").unwrap();
            Err(EngineError::Cancelled)
        });
        assert!(matches!(outcome, Err(EngineError::Cancelled)));
        assert_eq!(
            (std::fs::read_to_string(&path).unwrap(), names(dir.path())),
            ("old".to_owned(), vec!["f".to_owned()])
        );
        assert!(put(&dir.path().join("missing/f"), "x").unwrap_err().to_string().contains("missing/f"));
        assert_eq!(names(dir.path()), ["f"], "no directory is made");
    }

    #[test]
    fn a_file_system_without_links_of_unnamed_files_gets_a_copy() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"bytes").unwrap();
        copied(&mut file, dir.path(), &path).unwrap();
        assert_eq!((std::fs::read(&path).unwrap(), names(dir.path())), (b"bytes".to_vec(), vec!["f".to_owned()]));
    }

    #[test]
    fn a_pipe_is_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        rustix::fs::mknodat(CWD, &path, rustix::fs::FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        let reader = std::thread::spawn({
            let path = path.clone();
            move || std::fs::read_to_string(path).unwrap()
        });
        put(&path, "text").unwrap();
        assert_eq!(reader.join().unwrap(), "text");
    }
}
