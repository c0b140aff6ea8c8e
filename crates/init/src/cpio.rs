//! An initramfs as the kernel unpacks it: cpio in its "newc" form (`Documentation/driver-api/early-userspace/
//! buffer-format.rst` of Linux).
//!
//! The same entries give the same bytes: inodes are numbered as they come, and no time of the machine is written. What the
//! kernel would silently leave out (names that are too long, files of 4 GiB) is an error here.

use std::io::{self, Read, Write};

use crate::error::{InitError, Result};

/// Names and targets of links have one byte less.
const LONGEST_NAME: usize = 4096;

/// Who an entry belongs to, and what they may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Meta {
    /// Permissions, with set-user-id, set-group-id and sticky.
    pub mode: u32,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds since 1970.
    pub mtime: u32,
}

impl Meta {
    /// Root's, from 1970.
    pub fn mode(mode: u32) -> Meta {
        Meta { mode, ..Meta::default() }
    }
}

/// What is neither a file nor a directory nor a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    /// A device of characters, with its numbers.
    Char(u32, u32),
    /// A device of blocks, with its numbers.
    Block(u32, u32),
    /// A named pipe.
    Fifo,
}

/// A file that has been written, for its further names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inode(u32);

/// An archive that is being written. Entries come parents first: the kernel makes no directories by itself.
#[derive(Debug)]
pub struct Archive<W: Write> {
    out: W,
    written: u64,
    inodes: u32,
}

struct Header {
    inode: u32,
    mode: u32,
    names: u32,
    size: u32,
    device: (u32, u32),
}

impl<W: Write> Archive<W> {
    /// An archive with nothing in it.
    pub fn new(out: W) -> Archive<W> {
        Archive { out, written: 0, inodes: 0 }
    }

    /// How many bytes it has so far.
    pub fn len(&self) -> u64 {
        self.written
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.written == 0
    }

    /// Adds a directory.
    ///
    /// # Errors
    /// As [`Archive::file`].
    pub fn directory(&mut self, path: &[u8], meta: Meta) -> Result<()> {
        let inode = self.next(path)?;
        let mode = 0o040_000 | meta.mode & 0o7777;
        self.head(path, meta, &Header { inode, mode, names: 2, size: 0, device: (0, 0) })
    }

    /// Adds a file of `size` bytes, which will have `names` names in all.
    ///
    /// # Errors
    /// When the path is none of an archive, the file is too large, its bytes are more or fewer than `size`, or writing
    /// fails.
    pub fn file(&mut self, path: &[u8], meta: Meta, size: u64, body: &mut dyn Read, names: u32) -> Result<Inode> {
        let length = u32::try_from(size).map_err(|_| entry(path, "files in an initramfs are smaller than 4 GiB"))?;
        let inode = self.next(path)?;
        let mode = 0o100_000 | meta.mode & 0o7777;
        self.head(path, meta, &Header { inode, mode, names: names.max(1), size: length, device: (0, 0) })?;
        let mut copied = 0;
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(InitError::Read { path: path.escape_ascii().to_string(), source }),
            };
            copied += count as u64;
            if copied > size {
                break;
            }
            self.put(&buffer[..count])?;
        }
        if copied != size {
            return Err(entry(
                path,
                &format!("it should have {size} bytes and has {}", if copied > size { "more" } else { "fewer" }),
            ));
        }
        self.pad()?;
        Ok(Inode(inode))
    }

    /// Adds another name of a file.
    ///
    /// # Errors
    /// As [`Archive::file`].
    pub fn link(&mut self, path: &[u8], meta: Meta, of: Inode, names: u32) -> Result<()> {
        check(path)?;
        let mode = 0o100_000 | meta.mode & 0o7777;
        // The kernel links names with the same number, and leaves alone what the first of them brought.
        self.head(path, meta, &Header { inode: of.0, mode, names: names.max(2), size: 0, device: (0, 0) })
    }

    /// Adds a symbolic link.
    ///
    /// # Errors
    /// As [`Archive::file`], and when the target is too long.
    pub fn symlink(&mut self, path: &[u8], meta: Meta, target: &[u8]) -> Result<()> {
        if target.is_empty() || target.len() >= LONGEST_NAME || target.contains(&0) {
            return Err(entry(path, "its target is empty, too long, or has a zero in it"));
        }
        let inode = self.next(path)?;
        let size = target.len() as u32;
        self.head(path, meta, &Header { inode, mode: 0o120_777, names: 1, size, device: (0, 0) })?;
        self.put(target)?;
        self.pad()
    }

    /// Adds a device or pipe.
    ///
    /// # Errors
    /// As [`Archive::file`].
    pub fn special(&mut self, path: &[u8], meta: Meta, what: Special) -> Result<()> {
        let (kind, device) = match what {
            Special::Char(major, minor) => (0o020_000, (major, minor)),
            Special::Block(major, minor) => (0o060_000, (major, minor)),
            Special::Fifo => (0o010_000, (0, 0)),
        };
        let inode = self.next(path)?;
        self.head(path, meta, &Header { inode, mode: kind | meta.mode & 0o7777, names: 1, size: 0, device })
    }

    /// Ends the archive.
    ///
    /// # Errors
    /// When writing fails.
    pub fn finish(mut self) -> Result<W> {
        self.head(b"TRAILER!!!", Meta::default(), &Header { inode: 0, mode: 0, names: 1, size: 0, device: (0, 0) })?;
        Ok(self.out)
    }

    fn next(&mut self, path: &[u8]) -> Result<u32> {
        check(path)?;
        self.inodes = self.inodes.checked_add(1).ok_or_else(|| entry(path, "there are too many files"))?;
        Ok(self.inodes)
    }

    fn head(&mut self, path: &[u8], meta: Meta, header: &Header) -> Result<()> {
        let Header { inode, mode, names, size, device } = header;
        let name = path.len() as u32 + 1;
        let fields = [*inode, *mode, meta.uid, meta.gid, *names, meta.mtime, *size, 0, 0, device.0, device.1, name, 0];
        let mut text = String::from("070701");
        fields.iter().for_each(|field| text.push_str(&format!("{field:08x}")));
        self.put(text.as_bytes())?;
        self.put(path)?;
        self.put(&[0])?;
        self.pad()
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.written += bytes.len() as u64;
        self.out.write_all(bytes).map_err(InitError::Write)
    }

    fn pad(&mut self) -> Result<()> {
        let over = usize::try_from(self.written % 4).unwrap_or_default();
        if over == 0 { Ok(()) } else { self.put(&[0; 3][..4 - over]) }
    }
}

fn entry(path: &[u8], why: &str) -> InitError {
    InitError::Entry { path: path.escape_ascii().to_string(), why: why.to_owned() }
}

/// A path from the root, that leads nowhere else, and is not the one that ends archives.
fn check(path: &[u8]) -> Result<()> {
    let part = |part: &[u8]| part.is_empty() || part == b"." || part == b"..";
    if path.len() >= LONGEST_NAME {
        return Err(entry(path, "its path is too long"));
    }
    if path.contains(&0) || path.split(|b| *b == b'/').any(part) || path == b"TRAILER!!!" {
        return Err(entry(path, "it is no path from the root"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use kiln_testkit::tools::tool;

    use super::*;

    fn sample() -> Vec<u8> {
        let mut archive = Archive::new(Vec::new());
        archive.directory(b"etc", Meta::mode(0o755)).unwrap();
        let meta = Meta { mode: 0o4750, uid: 1, gid: 2, mtime: 1_700_000_000 };
        let inode = archive.file(b"etc/a", meta, 5, &mut &b"hello"[..], 2).unwrap();
        archive.link(b"etc/b", meta, inode, 2).unwrap();
        archive.symlink(b"etc/l", Meta::default(), b"a").unwrap();
        archive.special(b"null", Meta::mode(0o666), Special::Char(1, 3)).unwrap();
        archive.special(b"pipe", Meta::mode(0o600), Special::Fifo).unwrap();
        archive.finish().unwrap()
    }

    #[test]
    fn cpio_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.cpio");
        std::fs::write(&path, sample()).unwrap();
        let input = std::fs::File::open(&path).unwrap();
        let out = std::process::Command::new(tool("cpio")).args(["-tvn"]).stdin(input).output().unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        let lines: Vec<Vec<&str>> = text.lines().map(|l| l.split_whitespace().collect()).collect();
        let seen: Vec<String> =
            lines.iter().map(|l| format!("{} {} {} {} {}", l[0], l[1], l[2], l[3], l.last().unwrap())).collect();
        assert_eq!(seen[0], "drwxr-xr-x 2 0 0 etc", "{text}");
        assert_eq!(seen[1], "-rwsr-x--- 2 1 2 etc/a");
        assert_eq!(seen[2], "-rwsr-x--- 2 1 2 etc/b");
        assert_eq!(seen[3], "lrwxrwxrwx 1 0 0 a");
        assert!(text.contains("1,   3") && lines[4][0] == "crw-rw-rw-", "{text}");
        assert_eq!(lines[5][0], "prw-------");
        let content = std::process::Command::new(tool("cpio"))
            .args(["-i", "--to-stdout", "etc/a"])
            .stdin(std::fs::File::open(&path).unwrap())
            .output()
            .unwrap();
        assert_eq!(content.stdout, b"hello");
        assert_eq!(sample(), sample());
    }

    #[test]
    fn what_the_kernel_would_leave_out_is_an_error() {
        let mut archive = Archive::new(Vec::new());
        let long = vec![b'x'; 4096];
        for path in [&b""[..], b"/a", b"a/", b"a//b", b"../a", b"a/./b", b"a\0b", b"TRAILER!!!", &long] {
            assert!(archive.directory(path, Meta::default()).is_err(), "{path:?}");
        }
        let mut file = |size: u64, body: &[u8]| {
            archive.file(b"a", Meta::default(), size, &mut &*body, 1).map_err(|e| e.to_string())
        };
        assert!(file(1 << 32, b"").unwrap_err().contains("4 GiB"));
        assert!(file(3, b"ab").unwrap_err().contains("3 bytes and has fewer"));
        assert!(file(1, b"ab").unwrap_err().contains("has more"));
        assert!(archive.symlink(b"l", Meta::default(), b"").is_err());
        assert!(archive.symlink(b"l", Meta::default(), &long).is_err());
    }
}
