//! The files of a base image, made from the machine's own static busybox; no network.

use std::fs;
use std::path::Path;
use std::process::Command;

use tar::{EntryType, Header};

use crate::tools::tool;

/// Files of a root, as the entries of one uncompressed tar in the order they were added.
///
/// Everything belongs to root and is dated at the epoch unless said otherwise, so the same calls give the same bytes.
#[derive(Debug, Clone, Default)]
pub struct Rootfs {
    tar: Vec<u8>,
}

impl Rootfs {
    /// No files.
    pub fn new() -> Rootfs {
        Rootfs::default()
    }

    /// A directory.
    #[must_use]
    pub fn dir(self, path: &str, mode: u32) -> Rootfs {
        self.entry(path, EntryType::Directory, mode, (0, 0), None, &[])
    }

    /// A regular file.
    #[must_use]
    pub fn file(self, path: &str, mode: u32, content: impl AsRef<[u8]>) -> Rootfs {
        self.entry(path, EntryType::Regular, mode, (0, 0), None, content.as_ref())
    }

    /// A regular file of another owner.
    #[must_use]
    pub fn owned_file(self, path: &str, mode: u32, owner: (u64, u64), content: impl AsRef<[u8]>) -> Rootfs {
        self.entry(path, EntryType::Regular, mode, owner, None, content.as_ref())
    }

    /// A symbolic link.
    #[must_use]
    pub fn symlink(self, path: &str, target: &str) -> Rootfs {
        self.entry(path, EntryType::Symlink, 0o777, (0, 0), Some(target), &[])
    }

    /// A hard link to an earlier entry.
    #[must_use]
    pub fn hardlink(self, path: &str, target: &str) -> Rootfs {
        self.entry(path, EntryType::Link, 0o644, (0, 0), Some(target), &[])
    }

    /// A whiteout: the lower layers' `path` is gone.
    #[must_use]
    pub fn whiteout(self, path: &str) -> Rootfs {
        let (dir, name) = path.rsplit_once('/').map_or((String::new(), path), |(d, n)| (format!("{d}/"), n));
        self.file(&format!("{dir}.wh.{name}"), 0o644, "")
    }

    /// An entry as hostile as one likes: the path and the link's target are written as they are.
    ///
    /// # Panics
    /// If either is longer than a tar header holds (100 bytes), or the size does not fit.
    #[must_use]
    pub fn entry(
        mut self,
        path: &str,
        kind: EntryType,
        mode: u32,
        (uid, gid): (u64, u64),
        target: Option<&str>,
        content: &[u8],
    ) -> Rootfs {
        let mut header = Header::new_ustar();
        // `set_path` refuses `..` and absolute paths, which are what a hostile layer has.
        put(&mut header.as_old_mut().name, path);
        put(&mut header.as_old_mut().linkname, target.unwrap_or(""));
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(uid);
        header.set_gid(gid);
        header.set_mtime(0);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.tar.extend_from_slice(header.as_bytes());
        self.tar.extend_from_slice(content);
        self.tar.resize(self.tar.len().next_multiple_of(512), 0);
        self
    }

    /// Extended attributes of the next entry, as a pax record each.
    #[must_use]
    pub fn xattr(self, name: &str, value: &[u8]) -> Rootfs {
        let rest = [b" SCHILY.xattr.", name.as_bytes(), b"=", value, b"\n"].concat();
        // A record begins with its own length, the digits of the length among it.
        let mut length = rest.len();
        while length != rest.len() + length.to_string().len() {
            length = rest.len() + length.to_string().len();
        }
        let record = [length.to_string().as_bytes(), &rest].concat();
        self.entry("pax", EntryType::XHeader, 0o644, (0, 0), None, &record)
    }

    /// The tar, with its end mark.
    pub fn tar(&self) -> Vec<u8> {
        let mut tar = self.tar.clone();
        tar.resize(tar.len() + 1024, 0);
        tar
    }
}

fn put(field: &mut [u8], text: &str) {
    assert!(text.len() <= field.len(), "`{text}` does not fit into a tar header");
    field[..text.len()].copy_from_slice(text.as_bytes());
}

/// A small system: the static busybox with a link for each applet, `/etc/passwd` and `/etc/group` with `root`,
/// `nobody` and `app` (1000), and the usual empty directories.
///
/// # Panics
/// If busybox-static is not installed.
pub fn busybox_rootfs() -> Rootfs {
    let busybox = tool("busybox");
    let binary = fs::read(&busybox).unwrap_or_else(|e| panic!("read {}: {e}", busybox.display()));
    let mut root = Rootfs::new();
    for (dir, mode) in [
        ("bin", 0o755),
        ("dev", 0o755),
        ("etc", 0o755),
        ("home", 0o755),
        ("proc", 0o755),
        ("root", 0o700),
        ("sys", 0o755),
        ("tmp", 0o1777),
        ("usr", 0o755),
        ("usr/bin", 0o755),
        ("var", 0o755),
        ("var/tmp", 0o1777),
    ] {
        root = root.dir(dir, mode);
    }
    root = root
        .file("etc/passwd", 0o644, PASSWD)
        .file("etc/group", 0o644, "root:x:0:\nstaff:x:50:app\napp:x:1000:\nnogroup:x:65534:\n")
        .file("bin/busybox", 0o755, binary)
        .symlink("usr/bin/env", "../../bin/busybox");
    applets(&busybox).iter().fold(root, |root, applet| root.symlink(&format!("bin/{applet}"), "busybox"))
}

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
    app:x:1000:1000:app:/home:/bin/sh\n\
    nobody:x:65534:65534:nobody:/:/bin/false\n";

/// [`busybox_rootfs`] as an uncompressed layer.
///
/// # Panics
/// If busybox-static is not installed.
pub fn busybox_layer() -> Vec<u8> {
    busybox_rootfs().tar()
}

fn applets(busybox: &Path) -> Vec<String> {
    let listed = Command::new(busybox).arg("--list").output().unwrap_or_else(|e| panic!("{}: {e}", busybox.display()));
    let text = String::from_utf8_lossy(&listed.stdout);
    text.lines().filter(|name| *name != "busybox" && !name.contains('/')).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rootfs_is_a_tar_that_others_read_and_always_the_same() {
        let tar = busybox_layer();
        assert_eq!(tar, busybox_layer());
        let mut archive = tar::Archive::new(&tar[..]);
        let paths: Vec<_> =
            archive.entries().unwrap().map(|e| e.unwrap().path().unwrap().display().to_string()).collect();
        for wanted in ["bin/sh", "bin/busybox", "etc/passwd", "tmp"] {
            assert!(paths.iter().any(|p| p == wanted), "{wanted}");
        }
    }

    #[test]
    fn hostile_names_are_written_as_they_are() {
        let tar = Rootfs::new().file("../up", 0o644, "x").symlink("/abs", "/etc").whiteout("a/b").tar();
        let mut archive = tar::Archive::new(&tar[..]);
        let names: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|e| String::from_utf8(e.unwrap().path_bytes().into_owned()).unwrap())
            .collect();
        assert_eq!(names, ["../up", "/abs", "a/.wh.b"]);
    }
}
