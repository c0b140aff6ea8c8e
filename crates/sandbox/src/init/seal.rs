//! Starting again from a copy of this program that nobody can write to.
//!
//! The command may look at its init through `/proc` and make it execute (`#!/proc/self/exe`); a command with root's
//! rights could then overwrite the program itself on the host (CVE-2019-5736). So the program first becomes itself
//! again from a read-only mount of its own file, or, where that is refused, from a sealed copy in memory.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::mount::{MountAttrFlags, OpenTreeFlags, open_tree};
use rustix::thread::UnshareFlags;

use super::INIT_ARGUMENT;
use crate::sys;

/// The stage in which this program asks to be sealed.
pub const PLAIN: &str = "unsealed";

/// The stage after sealing.
pub const SEALED: &str = "sealed";

/// Becomes this program again, sealed. Returns only when neither way works.
pub fn restart_sealed() {
    let argv = ["kiln", INIT_ARGUMENT, SEALED].map(|argument| CString::new(argument).unwrap_or_default());
    for way in [read_only_mount, read_only_mount_of_own, sealed_copy] {
        if let Ok(program) = way() {
            sys::execve_file(program, &argv, &[]);
        }
    }
}

fn read_only_mount() -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, "/proc/self/exe", flags)?;
    sys::mount_setattr(&tree, MountAttrFlags::MOUNT_ATTR_RDONLY, false)?;
    Ok(tree)
}

/// In a user namespace the mounts of the machine are not ours to copy; those of a copy of all mounts are.
fn read_only_mount_of_own() -> io::Result<OwnedFd> {
    sys::unshare(UnshareFlags::NEWNS)?;
    read_only_mount()
}

fn sealed_copy() -> io::Result<OwnedFd> {
    let memory = memfd_create("kiln", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut copy = fs::File::from(memory);
    io::copy(&mut fs::File::open("/proc/self/exe")?, &mut copy)?;
    fcntl_add_seals(&copy, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
    Ok(copy.into())
}
