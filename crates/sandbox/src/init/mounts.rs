//! Building the command's file tree in the inner process, and moving into it.
//!
//! A file system in memory (the scratch) holds what Kiln itself brings: secrets, injected
//! files, sockets, the place the root hangs on. It lies over the root's own directory in this namespace only and is
//! detached with the old root, so it needs no removal.

use std::fs;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, chmodat, chownat, mkdirat, openat, openat2};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, OpenTreeFlags, UnmountFlags, open_tree, unmount};

use super::devices;
use super::mountpoints::{self, Kind, Wanted};
use super::overlay::{Layers, Marks, attach, mountpoint_layer, open_layer, open_place};
use super::owners;
use super::proxy;
use crate::job::{Job, Mount, OsBytes, Root, Security};
use crate::sys;
use crate::wire::{Fault, Step};

/// `f_type` of procfs: nothing may be mounted into it, or an image could pass lies off as the kernel's word.
const PROC_MAGIC: u64 = 0x9fa0;

/// Opens `path` inside `root`: no link, `..` or magic link leads out of it.
pub fn open_inside(root: impl AsFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let relative = path.strip_prefix("/").unwrap_or(path);
    let relative = if relative.as_os_str().is_empty() { Path::new(".") } else { relative };
    let confined = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    loop {
        match openat2(&root, relative, flags | OFlags::CLOEXEC, Mode::empty(), confined) {
            // A rename elsewhere on the system made the walk unsure; the kernel asks to try again.
            Err(Errno::AGAIN) => {}
            // Kernels before 5.6, filters that do not know the call, gVisor: only the rung `chroot` gets here, with
            // nothing running in the root that could change it during the walk.
            Err(Errno::NOSYS | Errno::PERM) => return open_by_walking(&root, path, flags),
            result => return result,
        }
    }
}

fn open_by_walking(root: impl AsFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let root = root.as_fd().try_clone_to_owned().map_err(|_| Errno::MFILE)?;
    let found = mountpoints::find(&root, path).map_err(|_| Errno::NOENT)?;
    match found.file_type {
        Some(FileType::Directory) => openat(found.parent, ".", flags | OFlags::CLOEXEC, Mode::empty()),
        Some(_) => {
            let name = found.real.file_name().ok_or(Errno::NOENT)?;
            openat(found.parent, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
        }
        None => Err(Errno::NOENT),
    }
}

fn kind_of(fd: &OwnedFd) -> Result<Kind, Errno> {
    let stat = rustix::fs::fstat(fd)?;
    Ok(if FileType::from_raw_mode(stat.st_mode) == FileType::Directory { Kind::Dir } else { Kind::File })
}

/// Opens the source of a bind, confined to `source` below it.
pub fn open_source(source: &Path, subpath: &Path) -> Result<OwnedFd, Fault> {
    let top = openat(CWD, source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .step(|| format!("open {} to mount it", source.display()))?;
    if subpath.as_os_str().is_empty() {
        return Ok(top);
    }
    open_inside(&top, subpath, OFlags::PATH).step(|| format!("open {} in {}", subpath.display(), source.display()))
}

/// All places something will be mounted on, in the order it will.
pub fn wanted(job: &Job) -> Result<Vec<Wanted>, Fault> {
    let dir = |target: &str| Wanted { target: target.into(), kind: Kind::Dir };
    let mut wanted = vec![dir("/proc"), dir("/sys"), dir("/dev")];
    for mount in &job.mounts {
        let kind = match mount {
            Mount::Bind { source, subpath, .. } => {
                let fd = open_source(source, subpath)?;
                kind_of(&fd).step(|| format!("look at {}", source.display()))?
            }
            Mount::Overlay { lowers, subpath, .. } => kind_in_layers(lowers, subpath),
            Mount::Tmpfs { .. } => Kind::Dir,
            Mount::File { .. } | Mount::Socket { .. } => Kind::File,
        };
        wanted.push(Wanted { target: mount.target().to_owned(), kind });
    }
    for (target, _) in job.injection.iter().flat_map(|injection| injection.files()) {
        wanted.push(Wanted { target: target.into(), kind: Kind::File });
    }
    Ok(wanted)
}

/// What a path is in joined layers, by the topmost that has it; the mount itself tells for sure.
fn kind_in_layers(lowers: &[PathBuf], subpath: &Path) -> Kind {
    let found = lowers.iter().find_map(|lower| {
        let (lower, _) = open_layer(lower).ok()?;
        kind_of(&open_inside(&lower, subpath, OFlags::PATH).ok()?).ok()
    });
    found.unwrap_or(Kind::Dir)
}

/// Files in memory, and the place the root is mounted on.
struct Scratch {
    top: OwnedFd,
    files: usize,
}

impl Scratch {
    /// Lies down over `place`.
    fn over(place: &OwnedFd) -> Result<Scratch, Fault> {
        let step = || "mount the sandbox's scratch memory".to_owned();
        // Secrets must not reach the disk through swap; kernels before 6.4 cannot promise that.
        let tree = devices::filesystem("tmpfs", &[("mode", "0700")], &["noswap"], MountAttrFlags::empty())
            .or_else(|_| devices::filesystem("tmpfs", &[("mode", "0700")], &[], MountAttrFlags::empty()))?;
        attach(&tree, place).step(step)?;
        Ok(Scratch { top: tree, files: 0 })
    }

    fn dir(&self, name: &str) -> Result<OwnedFd, Fault> {
        let step = || format!("make the scratch directory {name}");
        mkdirat(&self.top, name, Mode::from_raw_mode(0o755)).step(step)?;
        self.reopen(name).step(step)
    }

    /// Opens a scratch directory again, to see what has been mounted on it meanwhile.
    fn reopen(&self, name: &str) -> Result<OwnedFd, Errno> {
        openat(&self.top, name, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
    }

    fn next_name(&mut self) -> String {
        self.files += 1;
        format!("entry{}", self.files)
    }

    /// A file with this content, as a mount without a place yet.
    fn file(&mut self, content: &OsBytes, mode: u32, owner: (u32, u32)) -> Result<OwnedFd, Fault> {
        let step = || "write a file into scratch memory".to_owned();
        let name = self.next_name();
        let path = format!("/proc/self/fd/{}/{name}", self.top.as_raw_fd());
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).step(step)?;
        file.write_all(&content.0).step(step)?;
        self.own(&name, mode, owner).step(step)?;
        self.tree(&name).step(step)
    }

    fn own(&self, name: &str, mode: u32, (uid, gid): (u32, u32)) -> Result<(), Errno> {
        let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        match chownat(&self.top, name, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), flags) {
            // With one id it is virtual; a socket can have no attribute, its owner is known to the keeper.
            Err(Errno::INVAL) => {
                let path = format!("/proc/self/fd/{}/{name}", self.top.as_raw_fd());
                match owners::set_virtual(Path::new(&path), (uid, gid)) {
                    Err(Errno::PERM) => {}
                    other => other?,
                }
            }
            other => other?,
        }
        chmodat(&self.top, name, Mode::from_raw_mode(mode & 0o7777), rustix::fs::AtFlags::empty())
    }

    fn tree(&self, name: &str) -> Result<OwnedFd, Errno> {
        open_tree(&self.top, name, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)
    }

    /// A listening socket whose connections a process of its own hands on to `source`.
    fn socket(&mut self, source: &Path, mode: u32, owner: (u32, u32)) -> Result<OwnedFd, Fault> {
        let name = self.next_name();
        let path = PathBuf::from(format!("/proc/self/fd/{}/{name}", self.top.as_raw_fd()));
        let listener = proxy::listen(&path)?;
        self.own(&name, mode, owner).step(|| "set the owner of a forwarded socket".to_owned())?;
        proxy::start_in_own_mounts(listener, source)?;
        self.tree(&name).step(|| "mount a forwarded socket".to_owned())
    }
}

/// Mounts the root and everything in it, and makes it this process's `/`.
pub fn enter_root(job: &Job, marks: Marks) -> Result<(), Fault> {
    let wanted = wanted(job)?;
    let (mut scratch, root) = match &job.root {
        Root::Overlay { lowers, upper, work } => {
            overlay_root(&wanted, Layers::open(lowers, upper, work, marks)?, upper, work)?
        }
        Root::Dir(dir) => directory_root(dir)?,
    };
    if job.security == Security::Sandbox {
        // Device nodes of an image, and those a command makes, are files to copy, not ways to the disk.
        restrict_one(&root, MountAttrFlags::MOUNT_ATTR_NODEV, "/")?;
    }
    // Sources are paths of the host: everything is opened before the old root is left.
    devices::mount_system(&root, job)?;
    for mount in &job.mounts {
        place_mount(&mut scratch, &root, mount, job.security, marks)?;
    }
    for (target, content) in job.injection.iter().flat_map(|injection| injection.files()) {
        let tree = scratch.file(content, 0o644, (0, 0))?;
        restrict(&tree, MountAttrFlags::MOUNT_ATTR_RDONLY, target)?;
        hang(&root, tree.as_fd(), &Wanted { target: target.into(), kind: Kind::File })?;
    }
    if job.security == Security::Sandbox {
        devices::mask(&root)?;
    }
    become_root(&root)
}

fn overlay_root(wanted: &[Wanted], mut layers: Layers, upper: &Path, work: &Path) -> Result<(Scratch, OwnedFd), Fault> {
    let scratch = Scratch::over(&open_place(upper)?)?;
    let mountpoints = mountpoint_layer(work)?;
    let view = scratch.dir("view")?;
    let look = layers.to_look_at()?;
    if look.is_single() {
        // A read-only overlay needs two layers; with the changes alone these are all there is to see.
        look.only_layer(|upper| {
            let missing = mountpoints::missing(upper, wanted)?;
            mountpoints::build_layer(&mountpoints, upper, &missing)
        })?;
    } else {
        look.mount_on(&view)?;
        let inside = scratch.reopen("view").step(|| "look at the image".to_owned())?;
        let missing = mountpoints::missing(&inside, wanted)?;
        mountpoints::build_layer(&mountpoints, &inside, &missing)?;
        drop((missing, inside, view));
        let path = format!("/proc/self/fd/{}/view", scratch.top.as_raw_fd());
        unmount(path.as_str(), UnmountFlags::DETACH).step(|| "unmount the image's read-only view".to_owned())?;
    }
    drop(look);
    layers.push_top(mountpoints);
    layers.mount_on(&scratch.dir("root")?)?;
    let root = scratch.reopen("root").step(|| "open the image's root".to_owned())?;
    Ok((scratch, root))
}

fn directory_root(dir: &Path) -> Result<(Scratch, OwnedFd), Fault> {
    let step = || format!("mount the root {}", dir.display());
    let place = open_place(dir)?;
    let canonical = fs::canonicalize(dir).step(step)?;
    if canonical == Path::new("/") {
        return Err(Fault::new(step(), "the machine's own root cannot be a root to run in; give a directory"));
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = open_tree(&place, "", flags).step(step)?;
    let scratch = Scratch::over(&place)?;
    attach(&tree, scratch.dir("root")?).step(step)?;
    let root = scratch.reopen("root").step(step)?;
    Ok((scratch, root))
}

fn restrict(tree: &OwnedFd, attributes: MountAttrFlags, target: impl AsRef<Path>) -> Result<(), Fault> {
    sys::mount_setattr(tree, attributes, true).step(|| format!("restrict the mount on {}", target.as_ref().display()))
}

/// [`restrict`] for this mount alone.
fn restrict_one(tree: &OwnedFd, attributes: MountAttrFlags, target: impl AsRef<Path>) -> Result<(), Fault> {
    sys::mount_setattr(tree, attributes, false).step(|| format!("restrict the mount on {}", target.as_ref().display()))
}

fn place_mount(
    scratch: &mut Scratch,
    root: &OwnedFd,
    mount: &Mount,
    security: Security,
    marks: Marks,
) -> Result<(), Fault> {
    let hidden = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let (tree, kind) = match mount {
        Mount::Bind { source, subpath, target, readonly } => {
            let step = || format!("mount {} on {}", source.display(), target.display());
            let from = open_source(source, subpath)?;
            let kind = kind_of(&from).step(step)?;
            let tree = open_tree(&from, "", clone | OpenTreeFlags::AT_RECURSIVE).step(step)?;
            if *readonly {
                restrict(&tree, MountAttrFlags::MOUNT_ATTR_RDONLY, target)?;
            }
            (tree, kind)
        }
        Mount::Overlay { lowers, subpath, upper, work, target, readonly } => {
            let step = || format!("mount layers on {}", target.display());
            let name = scratch.next_name();
            let place = scratch.dir(&name)?;
            Layers::open(lowers, upper, work, marks)?.mount_on(&place)?;
            let top = scratch.reopen(&name).step(step)?;
            let from = open_inside(&top, subpath, OFlags::PATH).step(step)?;
            let kind = kind_of(&from).step(step)?;
            let tree = open_tree(&from, "", clone).step(step)?;
            if *readonly {
                restrict(&tree, MountAttrFlags::MOUNT_ATTR_RDONLY, target)?;
            }
            (tree, kind)
        }
        Mount::Tmpfs { size, mode, .. } => {
            let mode = format!("{:04o}", mode & 0o7777);
            let size = size.map(|size| size.to_string());
            let mut options = vec![("mode", mode.as_str())];
            options.extend(size.as_deref().map(|size| ("size", size)));
            (devices::filesystem("tmpfs", &options, &[], hidden)?, Kind::Dir)
        }
        Mount::File { target, content, mode, uid, gid } => {
            let tree = scratch.file(content, *mode, (*uid, *gid))?;
            // A script of a here-document is to be executed, a secret is not.
            let data_only = if mode & 0o111 == 0 { MountAttrFlags::MOUNT_ATTR_NOEXEC } else { MountAttrFlags::empty() };
            restrict(&tree, hidden | MountAttrFlags::MOUNT_ATTR_RDONLY | data_only, target)?;
            (tree, Kind::File)
        }
        Mount::Socket { source, mode, uid, gid, .. } => (scratch.socket(source, *mode, (*uid, *gid))?, Kind::File),
    };
    if security == Security::Sandbox {
        restrict(&tree, MountAttrFlags::MOUNT_ATTR_NODEV, mount.target())?;
    }
    hang(root, tree.as_fd(), &Wanted { target: mount.target().to_owned(), kind })
}

/// Mounts onto a target inside the root, making the mountpoint when it lies in something mounted before.
fn hang(root: &OwnedFd, tree: std::os::fd::BorrowedFd<'_>, wanted: &Wanted) -> Result<(), Fault> {
    let step = || format!("mount onto {}", wanted.target.display());
    let target = match open_inside(root, &wanted.target, OFlags::PATH) {
        Err(Errno::NOENT) => {
            mountpoints::create_in_place(root, wanted)?;
            open_inside(root, &wanted.target, OFlags::PATH)
        }
        result => result,
    };
    let target = target.step(step)?;
    let filesystem = rustix::fs::fstatfs(&target).step(step)?;
    if filesystem.f_type as u64 == PROC_MAGIC {
        return Err(Fault::new(step(), "the target lies in /proc, where nothing may be mounted"));
    }
    attach(tree, &target).step(step)
}

/// Makes the root of a mount this process's root, out of which nothing leads.
pub fn become_root(root: &OwnedFd) -> Result<(), Fault> {
    let step = "make the image's root this process's root";
    rustix::process::fchdir(root).call("fchdir", step)?;
    match rustix::process::pivot_root(".", ".") {
        // The filters of container runtimes refuse it also where they allow mounts.
        Err(errno @ (Errno::PERM | Errno::NOSYS)) => {
            let refused = |_| Fault::of("pivot_root", step, errno, "");
            move_over(root).map_err(refused)?;
            match nothing_leads_out().step(|| step.to_owned())? {
                true => Ok(()),
                false => Err(Fault::of("pivot_root", step, errno, ", and Kiln runs in a chroot")),
            }
        }
        pivoted => pivoted.and_then(|()| detach_old()).call("pivot_root", step),
    }
}

/// The old root lies over the new one, and is taken away with everything in it.
fn detach_old() -> Result<(), Errno> {
    unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")
}

/// The new root lies over the old one, as after the start of a machine: nothing below it can be reached.
fn move_over(root: &OwnedFd) -> Result<(), Errno> {
    let old = openat(CWD, "/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    attach(root, old)?;
    rustix::process::chroot(".")?;
    rustix::process::chdir("/")
}

/// Tries the way out of a chroot: from a root further in, up. Only where the place that was covered is not the root of
/// all mounts is there anything above.
fn nothing_leads_out() -> Result<bool, Errno> {
    let here = |file: &OwnedFd| rustix::fs::fstat(file).map(|stat| (stat.st_dev, stat.st_ino));
    let open = || openat(CWD, ".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let top = open()?;
    rustix::process::chroot("proc")?;
    rustix::process::fchdir(&top)?;
    rustix::process::chdir("..")?;
    let above = open()?;
    rustix::process::fchdir(&top)?;
    rustix::process::chroot(".")?;
    Ok(here(&above)? == here(&top)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn walking_finds_what_the_kernel_finds() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("root");
        fs::create_dir_all(top.join("a/b")).unwrap();
        fs::write(top.join("a/b/file"), "inside").unwrap();
        fs::write(dir.path().join("file"), "outside").unwrap();
        symlink("/a/b", top.join("absolute")).unwrap();
        symlink("../../../../a", top.join("a/up")).unwrap();
        symlink("loop", top.join("loop")).unwrap();
        let root = open_place(&top).unwrap();
        for path in
            ["/", "a/b/file", "/absolute/file", "a/up/b/file", "../file", "a/../../file", "loop", "a/b/file/x", "none"]
        {
            let place = |fd: OwnedFd| {
                let stat = rustix::fs::fstat(&fd).unwrap();
                (stat.st_dev, stat.st_ino)
            };
            let kernel = open_inside(&root, Path::new(path), OFlags::PATH).map(place);
            let walk = open_by_walking(&root, Path::new(path), OFlags::PATH).map(place);
            assert_eq!(kernel.ok(), walk.ok(), "{path}");
        }
    }
}
