//! The kernel's own file systems in the command's root: `/proc`, `/sys`, `/dev`, and what of them is hidden.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, chmodat, makedev, mkdirat, mknodat, openat, openat2, symlinkat,
};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string,
    fsmount, fsopen, open_tree,
};

use super::mounts::open_inside;
use super::overlay::{attach, kernel_words};
use crate::job::{Job, Security};
use crate::sys;
use crate::wire::{Fault, Step};

/// Character devices every command may use: name, major, minor.
pub const NODES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// Links into the command's own descriptors.
pub const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// What tells about, or acts on, the machine as a whole: unreadable for the command.
const MASKED: [&str; 14] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/kernel/security",
    "/sys/kernel/debug",
];

/// What may be read and not written.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Bytes of `/dev/shm` when the job does not say.
const SHM_SIZE: u64 = 64 << 20;

/// A new file system without a place yet.
pub fn filesystem(
    kind: &str,
    options: &[(&str, &str)],
    flags: &[&str],
    attributes: MountAttrFlags,
) -> Result<OwnedFd, Fault> {
    let step = || format!("mount {kind}");
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).map_err(|errno| Fault::of("fsopen", step(), errno, ""))?;
    let configured = || {
        // Only a name for /proc/mounts.
        fsconfig_set_string(&context, "source", kind)?;
        for (key, value) in options {
            fsconfig_set_string(&context, *key, *value)?;
        }
        for flag in flags {
            fsconfig_set_flag(&context, *flag)?;
        }
        fsconfig_create(&context)
    };
    let failed = |call: &'static str| {
        let context = &context;
        move |errno| Fault::of(call, step(), errno, &kernel_words(context))
    };
    configured().map_err(failed("fsconfig"))?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(failed("fsmount"))
}

fn mount_at(root: &OwnedFd, target: &str, tree: &OwnedFd) -> Result<(), Fault> {
    let step = || format!("mount onto {target}");
    // A link in place of /proc could make the kernel's files appear where they are not hidden.
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    let place = openat2(root, &target[1..], OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve).step(step)?;
    attach(tree, place).step(step)
}

/// Mounts `/proc`, `/sys` and `/dev` into the root.
pub fn mount_system(root: &OwnedFd, job: &Job) -> Result<(), Fault> {
    let closed =
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    mount_at(root, "/proc", &or_as_here(filesystem("proc", &[], &[], closed), "/proc", closed)?)?;
    let writable = job.security == Security::Insecure;
    let sys_attributes = if writable { closed } else { closed | MountAttrFlags::MOUNT_ATTR_RDONLY };
    mount_at(root, "/sys", &or_as_here(filesystem("sysfs", &[], &[], sys_attributes), "/sys", sys_attributes)?)?;
    mount_cgroups(root, sys_attributes);
    mount_devices(root, job, closed)
}

/// In a user namespace the kernel gives no new `/proc` where parts of the one here are hidden, and no new `/sys` without
/// a network namespace of its own: then it is the one that is here, with all that hides parts of it.
fn or_as_here(fresh: Result<OwnedFd, Fault>, path: &str, attributes: MountAttrFlags) -> Result<OwnedFd, Fault> {
    let Err(fault) = fresh else { return fresh };
    let here = || {
        let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
        let tree = open_tree(CWD, path, clone)?;
        sys::mount_setattr(&tree, attributes, true)?;
        Ok::<_, Errno>(tree)
    };
    here().map_err(|_| fault)
}

/// Only where the unified hierarchy is the only one; a command finds its own limits there. Nothing depends on it, so
/// a kernel without it is no failure.
fn mount_cgroups(root: &OwnedFd, attributes: MountAttrFlags) {
    const CGROUP2_MAGIC: u64 = 0x6367_7270;
    if rustix::fs::statfs("/sys/fs/cgroup").is_ok_and(|stat| stat.f_type as u64 == CGROUP2_MAGIC)
        && let Ok(tree) = filesystem("cgroup2", &[], &[], attributes)
    {
        let _ = mount_at(root, "/sys/fs/cgroup", &tree);
    }
}

fn mount_devices(root: &OwnedFd, job: &Job, closed: MountAttrFlags) -> Result<(), Fault> {
    let shm_size = job.shm_size.unwrap_or(SHM_SIZE);
    let step = || "fill /dev".to_owned();
    let dev = filesystem("tmpfs", &[("mode", "0755"), ("size", "65536k")], &[], MountAttrFlags::MOUNT_ATTR_NOSUID)?;
    mount_at(root, "/dev", &dev)?;
    for (name, major, minor) in NODES {
        let step = || format!("make the device /dev/{name}");
        if make_node(&dev, name, major, minor).step(step)? == Node::Plain && job.security == Security::Sandbox {
            keep_open(&dev, name).step(step)?;
        }
    }
    if job.security == Security::Sandbox {
        // A command may make other nodes with `mknod`, also that of the disk.
        sys::mount_setattr(&dev, MountAttrFlags::MOUNT_ATTR_NODEV, false)
            .step(|| "close /dev to other devices".to_owned())?;
    }
    for (name, target) in LINKS {
        symlinkat(target, &dev, name).step(step)?;
    }
    for name in ["pts", "shm", "mqueue"] {
        mkdirat(&dev, name, Mode::from_raw_mode(0o755)).step(step)?;
    }
    // The last one is not there in a user namespace with few ids.
    let terminals = [("mode", "0620"), ("ptmxmode", "0666"), ("gid", "5")];
    let no_exec = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    mount_at(
        root,
        "/dev/pts",
        &filesystem("devpts", &terminals, &["newinstance"], no_exec)
            .or_else(|_| filesystem("devpts", &terminals, &[], no_exec))
            .or_else(|_| filesystem("devpts", &terminals[..2], &["newinstance"], no_exec))?,
    )?;
    let size = shm_size.to_string();
    mount_at(root, "/dev/shm", &filesystem("tmpfs", &[("mode", "1777"), ("size", &size)], &[], closed)?)?;
    // A kernel may be built without message queues; few programs use them.
    if let Ok(queues) = filesystem("mqueue", &[], &[], closed) {
        mount_at(root, "/dev/mqueue", &queues)?;
    }
    Ok(())
}

/// How a device came into `/dev`.
#[derive(PartialEq, Eq)]
enum Node {
    /// As a node of that file system.
    Plain,
    /// As a mount of the host's.
    Mounted,
}

/// Makes a mount of its own of a node, which stays open when its file system is closed to devices.
fn keep_open(dev: &OwnedFd, name: &str) -> Result<(), Errno> {
    let node = open_tree(dev, name, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
    attach(&node, openat(dev, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?)
}

/// Makes a device node, or, where a device control group forbids that, mounts the host's after a look at it.
fn make_node(dev: &OwnedFd, name: &str, major: u32, minor: u32) -> Result<Node, Errno> {
    match make_plain_node(dev, name, major, minor) {
        Err(Errno::PERM | Errno::ACCESS) => {
            let host =
                openat(CWD, format!("/dev/{name}"), OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
            let stat = rustix::fs::fstat(&host)?;
            let is_device = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
            if !is_device || stat.st_rdev != makedev(major, minor) {
                return Err(Errno::NODEV);
            }
            let clone =
                OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
            let tree = open_tree(&host, "", clone)?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            openat(dev, name, flags, Mode::from_raw_mode(0o666))?;
            attach(&tree, openat(dev, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)?;
            Ok(Node::Mounted)
        }
        result => result.map(|()| Node::Plain),
    }
}

/// A character device readable and writable by all, whatever the umask.
pub fn make_plain_node(dev: &OwnedFd, name: &str, major: u32, minor: u32) -> Result<(), Errno> {
    let mode = Mode::from_raw_mode(0o666);
    mknodat(dev, name, FileType::CharacterDevice, mode, makedev(major, minor))?;
    chmodat(dev, name, mode, AtFlags::empty())
}

/// Hides what a sandboxed command must not see and protects what it must not change.
pub fn mask(root: &OwnedFd) -> Result<(), Fault> {
    for path in READ_ONLY {
        let Some(target) = existing(root, path)? else { continue };
        let step = || format!("make {path} read-only");
        let clone = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH
            | OpenTreeFlags::AT_RECURSIVE;
        let tree = open_tree(&target, "", clone).step(step)?;
        sys::mount_setattr(&tree, MountAttrFlags::MOUNT_ATTR_RDONLY, true).step(step)?;
        attach(&tree, &target).step(step)?;
    }
    let null = open_inside(root, Path::new("/dev/null"), OFlags::PATH).step(|| "open /dev/null".to_owned())?;
    let stat = rustix::fs::fstat(&null).step(|| "look at /dev/null".to_owned())?;
    if stat.st_rdev != makedev(1, 3) || FileType::from_raw_mode(stat.st_mode) != FileType::CharacterDevice {
        return Err(Fault::new("hide kernel files", "/dev/null of the sandbox has been replaced by a mount"));
    }
    let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    for path in MASKED {
        let Some(target) = existing(root, path)? else { continue };
        let step = || format!("hide {path}");
        let file_type = FileType::from_raw_mode(rustix::fs::fstat(&target).step(step)?.st_mode);
        let cover = if file_type == FileType::Directory {
            filesystem("tmpfs", &[("size", "0"), ("mode", "0755")], &[], MountAttrFlags::MOUNT_ATTR_RDONLY)?
        } else {
            open_tree(&null, "", clone).step(step)?
        };
        attach(&cover, &target).step(step)?;
    }
    Ok(())
}

/// What exists of the kernel's files differs by kernel and configuration.
fn existing(root: &OwnedFd, path: &str) -> Result<Option<OwnedFd>, Fault> {
    match open_inside(root, Path::new(path), OFlags::PATH) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => Ok(None),
        Err(errno) => Err(errno).step(|| format!("look at {path}")),
    }
}
