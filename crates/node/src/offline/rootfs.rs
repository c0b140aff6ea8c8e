//! A root directory as a tar that keeps owners, modes, links, devices and file capabilities.
//!
//! Entries are sorted by name, so that the same directory gives the same bytes. Symbolic links are kept, never followed:
//! everything is opened below the directory's own handle.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use kiln_oci::layer::LayerWriter;
use kiln_oci::{Entry, EntryKind, Meta, Mtime};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, readlinkat, statat};

use crate::error::{NodeError, Result};

/// As deep a tree may be.
const MAX_DEPTH: usize = 256;
/// As many files it may have.
const MAX_FILES: usize = 5_000_000;
/// File capabilities, the one attribute that layers keep.
const CAPABILITY: &str = "security.capability";

/// Writes the tar of a directory.
///
/// # Errors
/// When a file cannot be read, or `out` takes no more.
pub fn pack(dir: &Path, out: &mut dyn Write) -> Result<()> {
    let top = File::open(dir).map_err(NodeError::file("open", dir))?;
    let mut packer = Packer { layer: LayerWriter::new(out), names: HashMap::new(), files: 0, shown: dir.to_owned() };
    packer.directory(&top, b"", 0)?;
    packer.layer.finish().map(drop).map_err(|e| layer_error(dir, &e))
}

fn layer_error(path: &Path, e: &kiln_oci::layer::LayerError) -> NodeError {
    // What is below has the reason; a reader that went away is told from other failures by its kind.
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(e);
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            return NodeError::file("pack", path)(io::Error::new(io.kind(), io.to_string()));
        }
        cause = inner.source();
    }
    NodeError::file("pack", path)(io::Error::other(e.to_string()))
}

struct Packer<'a> {
    layer: LayerWriter<&'a mut dyn Write>,
    /// Files with several names, by device and inode.
    names: HashMap<(u64, u64), Vec<u8>>,
    files: usize,
    shown: PathBuf,
}

impl Packer<'_> {
    fn directory(&mut self, dir: &File, path: &[u8], depth: usize) -> Result<()> {
        use std::os::unix::ffi::OsStrExt;
        let shown = self.shown.join(std::ffi::OsStr::from_bytes(path));
        let failed = |e: rustix::io::Errno| NodeError::file("read", &shown)(e.into());
        if depth > MAX_DEPTH {
            return Err(NodeError::file("pack", &shown)(io::Error::other("directories are nested too deeply")));
        }
        let stat = rustix::fs::fstat(dir).map_err(failed)?;
        self.add(Entry { path: path.to_vec(), kind: EntryKind::Dir, meta: meta(&stat) }, &mut io::empty())?;
        let mut names: Vec<Vec<u8>> = Vec::new();
        for entry in Dir::read_from(dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(name.to_vec());
            }
        }
        names.sort();
        for name in names {
            self.files += 1;
            if self.files > MAX_FILES {
                return Err(NodeError::file("pack", &shown)(io::Error::other("it has too many files")));
            }
            let path = kiln_oci::name::join(path, &name);
            self.one(dir, &name, path, depth)?;
        }
        Ok(())
    }

    fn one(&mut self, dir: &File, name: &[u8], path: Vec<u8>, depth: usize) -> Result<()> {
        use std::os::unix::ffi::OsStrExt;
        let shown = self.shown.join(std::ffi::OsStr::from_bytes(&path));
        let failed = |e: rustix::io::Errno| NodeError::file("read", &shown)(e.into());
        let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        let open = |flags| openat(dir, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()).map_err(failed);
        let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        let plain = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let below = File::from(open(OFlags::RDONLY | OFlags::DIRECTORY)?);
                return self.directory(&below, &path, depth + 1);
            }
            FileType::RegularFile => return self.file(File::from(open(OFlags::RDONLY)?), path),
            FileType::Symlink => {
                let target = readlinkat(dir, name, Vec::new()).map_err(failed)?.into_bytes();
                EntryKind::Symlink { target }
            }
            FileType::CharacterDevice => EntryKind::Char { major, minor },
            FileType::BlockDevice => EntryKind::Block { major, minor },
            FileType::Fifo => EntryKind::Fifo,
            // A socket is nothing without who listens.
            _ => return Ok(()),
        };
        self.add(Entry { path, kind: plain, meta: meta(&stat) }, &mut io::empty())
    }

    fn file(&mut self, file: File, path: Vec<u8>) -> Result<()> {
        use std::os::unix::ffi::OsStrExt;
        let shown = self.shown.join(std::ffi::OsStr::from_bytes(&path));
        let stat = rustix::fs::fstat(&file).map_err(|e| NodeError::file("read", &shown)(e.into()))?;
        let mut meta = meta(&stat);
        if stat.st_nlink > 1 {
            let id = (stat.st_dev, stat.st_ino);
            if let Some(target) = self.names.get(&id) {
                let kind = EntryKind::Hardlink { target: target.clone() };
                return self.add(Entry { path, kind, meta }, &mut io::empty());
            }
            self.names.insert(id, path.clone());
        }
        let mut value = vec![0; 64];
        if let Ok(length) = rustix::fs::fgetxattr(&file, CAPABILITY, &mut value) {
            value.truncate(length);
            meta.xattrs.insert(CAPABILITY.as_bytes().to_vec(), value);
        }
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        self.add(Entry { path, kind: EntryKind::File { size }, meta }, &mut file.take(size))
    }

    fn add(&mut self, entry: Entry, body: &mut dyn Read) -> Result<()> {
        use std::os::unix::ffi::OsStrExt;
        let shown = self.shown.join(std::ffi::OsStr::from_bytes(&entry.path));
        self.layer.append(&entry, body).map(drop).map_err(|e| layer_error(&shown, &e))
    }
}

fn meta(stat: &rustix::fs::Stat) -> Meta {
    #[expect(clippy::unnecessary_cast, reason = "the width differs between architectures")]
    let mtime = Mtime::secs(stat.st_mtime as i64);
    Meta { mode: stat.st_mode & 0o7777, uid: stat.st_uid, gid: stat.st_gid, mtime, ..Meta::default() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use kiln_oci::layer::LayerReader;

    use super::*;

    #[test]
    fn links_and_modes_are_kept_and_the_order_is_fixed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("etc")).unwrap();
        std::fs::write(at("etc/b"), "hello").unwrap();
        std::fs::set_permissions(at("etc/b"), std::fs::Permissions::from_mode(0o4755)).unwrap();
        std::fs::hard_link(at("etc/b"), at("etc/c")).unwrap();
        symlink("/etc/passwd", at("etc/a")).unwrap();
        let mut tar = Vec::new();
        pack(dir.path(), &mut tar).unwrap();
        let mut reader = LayerReader::new(&tar[..]);
        let mut seen = Vec::new();
        while let Some(entry) = reader.next_entry().unwrap() {
            let path = String::from_utf8_lossy(&entry.entry.path).into_owned();
            seen.push(match &entry.entry.kind {
                EntryKind::Symlink { target } => format!("{path} -> {}", String::from_utf8_lossy(target)),
                EntryKind::Hardlink { target } => format!("{path} = {}", String::from_utf8_lossy(target)),
                EntryKind::File { size } => format!("{path} {:o} {size}", entry.entry.meta.mode),
                _ => path,
            });
        }
        assert_eq!(seen, ["", "etc", "etc/a -> /etc/passwd", "etc/b 4755 5", "etc/c = etc/b"]);
    }

    #[test]
    fn what_cannot_be_written_is_said() {
        let dir = tempfile::tempdir().unwrap();
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let error = pack(dir.path(), &mut Full).unwrap_err();
        assert!(
            matches!(&error, NodeError::File { source, .. } if source.kind() == io::ErrorKind::StorageFull),
            "{error:?}"
        );
    }
}
