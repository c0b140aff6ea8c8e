//! Who owns what: attributes of files and directories, and a table for all else.
//!
//! The names and the text of the attributes are those of the store's form `virtual`, which reads them afterwards.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, XattrFlags, fstat, getxattr, openat2, removexattr, setxattr,
};
use rustix::io::Errno;

use super::super::mountpoints::times_of;
use super::place::has_attributes;
use crate::job::{KnownOwner, OsBytes};

const OWNER: &str = "user.kiln.owner";
const NODE: &str = "user.kiln.node";
/// The mode a file would have. Its own always lets its owner read and write.
pub const MODE: &str = "user.kiln.mode";
const CAPABILITY: &str = "security.capability";

/// What is not as the kernel says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Virtual {
    pub uid: u32,
    pub gid: u32,
    /// Whether it is a block device, and its numbers.
    pub node: Option<(bool, u32, u32)>,
}

struct Entry {
    /// Held open, so that its number is nobody else's; not where there are too many.
    pin: Option<OwnedFd>,
    owner: (u32, u32),
}

/// The owners of what can have no attribute.
#[derive(Default)]
pub struct Table {
    entries: HashMap<(u64, u64), Entry>,
}

fn itself(fd: impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd()))
}

impl Table {
    /// Takes over what an image's listing says; what is not there below `root` any more is nobody's.
    pub fn learn(&mut self, root: impl AsFd, known: &KnownOwner) {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let found = openat2(root, OsStr::from_bytes(&known.path.0), flags, Mode::empty(), resolve);
        if let Ok(fd) = found
            && let Ok(stat) = fstat(&fd)
            && !has_attributes(stat.st_mode)
        {
            self.note(&fd, &stat, (known.uid, known.gid));
        }
    }

    fn note(&mut self, fd: &OwnedFd, stat: &Stat, owner: (u32, u32)) {
        let key = (stat.st_dev, stat.st_ino);
        if owner == (0, 0) {
            self.entries.remove(&key);
        } else if let Some(entry) = self.entries.get_mut(&key) {
            entry.owner = owner;
        } else {
            self.entries.insert(key, Entry { pin: fd.try_clone().ok(), owner });
        }
    }

    /// What is virtual about it.
    pub fn of(&self, fd: &OwnedFd, stat: &Stat) -> Result<Virtual, Errno> {
        if !has_attributes(stat.st_mode) {
            let (uid, gid) = self.entries.get(&(stat.st_dev, stat.st_ino)).map_or((0, 0), |entry| entry.owner);
            return Ok(Virtual { uid, gid, node: None });
        }
        let path = itself(fd);
        let (uid, gid) = match attribute(&path, OWNER)? {
            Some(text) => parse_owner(&text).ok_or(Errno::INVAL)?,
            None => (0, 0),
        };
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_size == 0;
        let node = if is_file { attribute(&path, NODE)?.and_then(|text| parse_node(&text)) } else { None };
        Ok(Virtual { uid, gid, node })
    }

    /// Gives it to somebody. As a change of owner does, that takes the rights away which a file gives.
    pub fn give(&mut self, fd: &OwnedFd, stat: &Stat, owner: (u32, u32)) -> Result<(), Errno> {
        if !has_attributes(stat.st_mode) {
            // What is in a lower layer only is not looked at afterwards: the same time again brings it up.
            rustix::fs::utimensat(fd, "", &times_of(stat), AtFlags::EMPTY_PATH)?;
            self.note(fd, stat, owner);
            return Ok(());
        }
        set_owner(&itself(fd), owner)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(());
        }
        let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
        let mut kept = mode - Mode::SUID;
        if mode.contains(Mode::XGRP) {
            kept -= Mode::SGID;
        }
        if kept != mode {
            rustix::fs::chmod(itself(fd), kept)?;
        }
        match removexattr(itself(fd), CAPABILITY) {
            Ok(()) | Err(Errno::NODATA | Errno::NOTSUP) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Gives a new thing to somebody.
    pub fn give_new(&mut self, fd: &OwnedFd, owner: (u32, u32)) -> Result<(), Errno> {
        let stat = fstat(fd)?;
        match has_attributes(stat.st_mode) {
            true => set_owner(&itself(fd), owner),
            false => {
                self.note(fd, &stat, owner);
                Ok(())
            }
        }
    }

    /// Makes a new empty file stand for a device.
    pub fn make_node(&self, fd: &OwnedFd, block: bool, (major, minor): (u32, u32)) -> Result<(), Errno> {
        let text = format!("{}:{major}:{minor}", if block { 'b' } else { 'c' });
        setxattr(itself(fd), NODE, text.as_bytes(), XattrFlags::empty())
    }

    /// Where what is in the table is now below `root`, a path of ours that is empty for `/`, and whose it is.
    pub fn told(&self, root: &[u8]) -> Vec<KnownOwner> {
        let mut told = Vec::new();
        for entry in self.entries.values() {
            let Some(pin) = &entry.pin else { continue };
            let gone = fstat(pin).is_ok_and(|stat| stat.st_nlink == 0);
            let Ok(path) = rustix::fs::readlink(itself(pin), Vec::new()) else { continue };
            let below = path.to_bytes().strip_prefix(root).and_then(|path| path.strip_prefix(b"/"));
            if let Some(path) = below.filter(|_| !gone) {
                let (uid, gid) = entry.owner;
                told.push(KnownOwner { path: OsBytes(path.to_vec()), uid, gid });
            }
        }
        told
    }
}

/// Root needs no attribute. Where there are none of users, there is no owner but root.
pub fn set_owner(path: &std::path::Path, owner: (u32, u32)) -> Result<(), Errno> {
    if owner == (0, 0) {
        return match removexattr(path, OWNER) {
            Err(Errno::NODATA | Errno::NOTSUP) => Ok(()),
            other => other,
        };
    }
    let text = format!("{}:{}", owner.0, owner.1);
    match setxattr(path, OWNER, text.as_bytes(), XattrFlags::empty()) {
        // What the kernel says to an id that does not exist.
        Err(Errno::NOTSUP) => Err(Errno::INVAL),
        other => other,
    }
}

/// The mode on the disk for what has this mode: its owner can always read and write it.
pub fn mode_on_disk(kind: FileType, mode: u32) -> u32 {
    mode & 0o777 | if kind == FileType::Directory { 0o700 } else { 0o600 }
}

/// Gives a file or directory a mode, where who keeps it has no right but its owner's.
pub fn set_mode(fd: impl AsFd, mode: u32) -> Result<(), Errno> {
    let (stat, path, mode) = (fstat(&fd)?, itself(&fd), mode & 0o7777);
    let kept = mode_on_disk(FileType::from_raw_mode(stat.st_mode), mode);
    let changes = kept != stat.st_mode & 0o7777;
    if changes {
        rustix::fs::chmod(&path, Mode::from_raw_mode(kept))?;
    }
    if kept != mode {
        return setxattr(&path, MODE, format!("{mode:o}").as_bytes(), XattrFlags::empty());
    }
    match removexattr(&path, MODE) {
        // Nothing was changed then, and the time of a change has to be new all the same.
        Err(Errno::NODATA) if !changes => rustix::fs::chmod(&path, Mode::from_raw_mode(kept)),
        Ok(()) | Err(Errno::NODATA | Errno::NOTSUP) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// The mode that was given to it; `None` where its own is all there is.
pub fn given_mode(fd: impl AsFd) -> Result<Option<u32>, Errno> {
    let text = attribute(&itself(fd), MODE)?;
    text.map(|text| u32::from_str_radix(&text, 8).map_err(|_| Errno::INVAL)).transpose()
}

fn attribute(path: &std::path::Path, name: &str) -> Result<Option<String>, Errno> {
    let mut value = [0; 64];
    match getxattr(path, name, &mut value[..]) {
        Ok(length) => Ok(Some(String::from_utf8_lossy(&value[..length]).into_owned())),
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn parse_owner(text: &str) -> Option<(u32, u32)> {
    let (uid, gid) = text.split_once(':')?;
    Some((uid.parse().ok()?, gid.parse().ok()?))
}

fn parse_node(text: &str) -> Option<(bool, u32, u32)> {
    let mut parts = text.split(':');
    let (kind, major, minor) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some((kind == "b", major, minor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn place(path: &std::path::Path) -> (OwnedFd, Stat) {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty()).unwrap();
        let stat = fstat(&fd).unwrap();
        (fd, stat)
    }

    #[test]
    fn owners_are_kept_and_take_rights_away() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        File::create(&file).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o6755)).unwrap();
        symlink("file", &link).unwrap();
        let mut table = Table::default();
        for path in [&file, &link] {
            let (fd, stat) = place(path);
            assert_eq!(table.of(&fd, &stat), Ok(Virtual::default()));
            table.give(&fd, &stat, (5, 6)).unwrap();
            assert_eq!(table.of(&fd, &stat), Ok(Virtual { uid: 5, gid: 6, node: None }));
        }
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o755);
        fs::rename(&link, dir.path().join("moved")).unwrap();
        let told: Vec<_> = table.told(b"").into_iter().map(|k| (k.path.lossy(), k.uid, k.gid)).collect();
        assert_eq!(told, [(dir.path().join("moved").to_string_lossy()[1..].to_owned(), 5, 6)]);
        let (fd, stat) = place(&file);
        table.give(&fd, &stat, (0, 0)).unwrap();
        table.make_node(&fd, false, (1, 3)).unwrap();
        assert_eq!(table.of(&fd, &stat), Ok(Virtual { uid: 0, gid: 0, node: Some((false, 1, 3)) }));
    }
}
