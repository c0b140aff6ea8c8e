//! Copying a tree as it is: types, modes, owners, times, extended attributes, holes not kept.

use std::ffi::{CStr, OsStr};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Uid, chownat, mkdirat, mknodat, openat, readlinkat, statat,
    symlinkat,
};
use rustix::io::Errno;

use super::mountpoints::{copy_xattrs, times_of};
use super::swap::Owning;
use crate::wire::{Fault, Step};

/// Deeper than any real tree; each level holds two descriptors.
const MAX_DEPTH: usize = 400;

/// Copies what `source` is to `name` in `to`, following no link inside.
pub fn copy_tree(source: &OwnedFd, to: &OwnedFd, name: &OsStr, owning: Owning) -> Result<(), Fault> {
    let step = || format!("copy {}", name.display());
    let stat = rustix::fs::fstat(source).step(step)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            // The handle is a place only; listing takes one to read through.
            let from =
                openat(source, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).step(step)?;
            copy_dir(&from, &stat, to, name, (0, owning))
        }
        FileType::RegularFile => {
            let mut file = fs::File::open(format!("/proc/self/fd/{}", source.as_raw_fd())).step(step)?;
            copy_file(&mut file, &stat, to, name, owning).step(step)
        }
        other => {
            Err(Fault::new(step(), format!("it is a {other:?}; only files and directories can be put into a root")))
        }
    }
}

fn copy_dir(
    from: &OwnedFd,
    stat: &Stat,
    to: &OwnedFd,
    name: &OsStr,
    (depth, owning): (usize, Owning),
) -> Result<(), Fault> {
    let step = || format!("copy the directory {}", name.display());
    if depth > MAX_DEPTH {
        return Err(Fault::new(step(), format!("more than {MAX_DEPTH} directories deep")));
    }
    mkdirat(to, name, Mode::RWXU).step(step)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let copy = openat(to, name, flags, Mode::empty()).step(step)?;
    for entry in Dir::read_from(from).step(step)? {
        let entry = entry.step(step)?;
        let entry: &CStr = entry.file_name();
        if !matches!(entry.to_bytes(), b"." | b"..") {
            copy_entry(from, OsStr::from_bytes(entry.to_bytes()), &copy, (depth, owning))?;
        }
    }
    finish(from, &copy, stat, owning).step(step)
}

fn copy_entry(from: &OwnedFd, name: &OsStr, to: &OwnedFd, (depth, owning): (usize, Owning)) -> Result<(), Fault> {
    let step = || format!("copy {}", name.display());
    let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW).step(step)?;
    let file_type = FileType::from_raw_mode(stat.st_mode);
    match file_type {
        FileType::Directory => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let dir = openat(from, name, flags, Mode::empty()).step(step)?;
            copy_dir(&dir, &stat, to, name, (depth + 1, owning))
        }
        FileType::RegularFile => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut file = fs::File::from(openat(from, name, flags, Mode::empty()).step(step)?);
            copy_file(&mut file, &stat, to, name, owning).step(step)
        }
        FileType::Symlink => {
            let target = readlinkat(from, name, Vec::new()).step(step)?;
            symlinkat(&target, to, name).step(step)?;
            stamp(to, name, &stat, owning).step(step)
        }
        // A socket is bound to whoever listens; a copy would be dead.
        FileType::Socket => Ok(()),
        _ => {
            mknodat(to, name, file_type, Mode::from_raw_mode(stat.st_mode & 0o7777), stat.st_rdev).step(step)?;
            stamp(to, name, &stat, owning).step(step)
        }
    }
}

fn copy_file(file: &mut fs::File, stat: &Stat, to: &OwnedFd, name: &OsStr, owning: Owning) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut copy = fs::File::from(openat(to, name, flags, Mode::RUSR | Mode::WUSR)?);
    io::copy(file, &mut copy)?;
    Ok(finish(&OwnedFd::from(file.try_clone()?), &OwnedFd::from(copy), stat, owning)?)
}

/// Owner before mode, since a change of owner clears the set-id bits; times last.
fn finish(from: &OwnedFd, copy: &OwnedFd, stat: &Stat, owning: Owning) -> Result<(), Errno> {
    if owning == Owning::Real {
        rustix::fs::fchown(copy, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    }
    rustix::fs::fchmod(copy, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    copy_xattrs(from, copy)?;
    rustix::fs::futimens(copy, &times_of(stat))
}

fn stamp(at: &OwnedFd, name: &OsStr, stat: &Stat, owning: Owning) -> Result<(), Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    if owning == Owning::Real {
        chownat(at, name, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)), flags)?;
    }
    rustix::fs::utimensat(at, name, &times_of(stat), flags)
}
