//! Mounting overlayfs with any number of layers.
//!
//! Layers are named as `/proc/self/fd/N`, so neither the length of their paths nor characters in them matter. Kernels
//! from 6.5 on take one layer per call; older ones take all of them in one page of text, for which the numbers alone
//! are short enough.
//!
//! A layer that is a file is an image: EROFS, with the bytes of its files in a second file beside it. It is mounted
//! without a place, for this overlay alone.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, mount, move_mount,
};

use crate::wire::{Fault, Step};

/// The kernel's own bound.
const MAX_LAYERS: usize = 500;

/// What the caller's work directory holds while a command runs: the kernel's scratch, and the mountpoint layer. Both lie
/// on the file system of the other layers, since overlayfs then shows one device and lasting inode numbers.
const OWN_WORK: &str = "overlay";
const MOUNTPOINTS: &str = "mountpoints";
/// What the name of an image's second file ends with.
const IMAGE_BYTES: &str = "tar";

/// The mountpoint layer of a root, new and empty.
pub fn mountpoint_layer(work: &Path) -> Result<OwnedFd, Fault> {
    fresh_dir(&work.join(MOUNTPOINTS))
}

/// Empties the caller's work directory again.
pub fn clear_work(work: &Path) -> Result<(), Fault> {
    [OWN_WORK, MOUNTPOINTS].iter().try_for_each(|name| remove_tree(&work.join(name)))
}

fn remove_tree(dir: &Path) -> Result<(), Fault> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).step(|| format!("remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}

/// A new directory; what an earlier command that was killed has left there goes first.
fn fresh_dir(dir: &Path) -> Result<OwnedFd, Fault> {
    remove_tree(dir)?;
    fs::DirBuilder::new().mode(0o755).create(dir).step(|| format!("make the directory {}", dir.display()))?;
    open_place(dir)
}

/// Under which names overlayfs keeps its notes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marks {
    /// `trusted.overlay.`, for root of the machine.
    Trusted,
    /// `user.overlay.`, which root of a user namespace can write too.
    User,
}

impl Marks {
    /// What the names begin with.
    pub fn prefix(self) -> &'static str {
        match self {
            Marks::Trusted => "trusted.overlay.",
            Marks::User => "user.overlay.",
        }
    }
}

/// The directories an overlay is made of, open.
pub struct Layers {
    /// Topmost first.
    lowers: Vec<OwnedFd>,
    changes: Option<Changes>,
    marks: Marks,
    /// Whether any of them is an image: a file system of its own.
    images: bool,
}

struct Changes {
    upper: OwnedFd,
    work: OwnedFd,
}

/// Opens a directory as a place: nothing is read through it.
pub fn open_place(path: &Path) -> Result<OwnedFd, Fault> {
    openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .step(|| format!("open the directory {}", path.display()))
}

/// Opens a layer as a place, and says whether it is an image.
pub fn open_layer(path: &Path) -> Result<(OwnedFd, bool), Fault> {
    match openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
        Err(Errno::NOTDIR) => Ok((open_image(path)?, true)),
        found => Ok((found.step(|| format!("open the directory {}", path.display()))?, false)),
    }
}

/// Mounts an image, without a place.
fn open_image(path: &Path) -> Result<OwnedFd, Fault> {
    let step = |path: &Path| format!("open the image {}", path.display());
    let open = |path: &Path| openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let table = open(path).step(|| step(path))?;
    let bytes = path.with_added_extension(IMAGE_BYTES);
    let bytes = open(&bytes).step(|| step(&bytes))?;
    let failed = |errno: Errno, words: String| {
        Fault::new(format!("mount the image {}", path.display()), format!("{}{words}", io::Error::from(errno)))
    };
    let context = fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC).map_err(|errno| failed(errno, String::new()))?;
    fsconfig_set_string(&context, "source", path_of(&table))
        .and_then(|()| fsconfig_set_string(&context, "device", path_of(&bytes)))
        .and_then(|()| fsconfig_create(&context))
        .and_then(|()| fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_RDONLY))
        .map_err(|errno| failed(errno, kernel_words(&context)))
}

/// Whether the kernel takes `image` as a layer of an overlay, over `dir`.
pub fn try_image(image: &Path, dir: &Path) -> Result<(), Fault> {
    let lowers = vec![open_layer(image)?.0, open_place(dir)?];
    let layers = Layers { lowers, changes: None, marks: Marks::Trusted, images: true };
    layers.mount_nowhere().map(drop).map_err(|(errno, _, words)| {
        Fault::new("mount an image as a layer", format!("{}{words}", io::Error::from(errno)))
    })
}

impl Layers {
    /// Opens layers, topmost first, for a writable overlay.
    pub fn open(lowers: &[PathBuf], upper: &Path, work: &Path, marks: Marks) -> Result<Layers, Fault> {
        let mut images = false;
        let mut open = |lower: &PathBuf| {
            let (place, is_image) = open_layer(lower)?;
            images |= is_image;
            Ok(place)
        };
        let lowers = lowers.iter().map(&mut open).collect::<Result<_, Fault>>()?;
        let changes = Changes { upper: open_place(upper)?, work: fresh_dir(&work.join(OWN_WORK))? };
        Ok(Layers { lowers, changes: Some(changes), marks, images })
    }

    /// The same layers to look at, the changes so far on top: made before anything is mounted writable.
    pub fn to_look_at(&self) -> Result<Layers, Fault> {
        let upper = self.changes.as_ref().map(|changes| &changes.upper);
        let lowers = upper.into_iter().chain(&self.lowers).map(OwnedFd::try_clone).collect::<Result<_, _>>();
        let lowers = lowers.step(|| "duplicate layer handles".to_owned())?;
        Ok(Layers { lowers, changes: None, marks: self.marks, images: self.images })
    }

    /// Whether there is one layer only.
    pub fn is_single(&self) -> bool {
        self.lowers.len() == 1
    }

    /// Gives the topmost layer to `look`, for when there is only that one.
    pub fn only_layer(&self, look: impl FnOnce(&OwnedFd) -> Result<(), Fault>) -> Result<(), Fault> {
        self.lowers.first().map_or(Ok(()), look)
    }

    /// Puts a layer on top of the read-only ones.
    pub fn push_top(&mut self, layer: OwnedFd) {
        self.lowers.insert(0, layer);
    }

    /// Mounts onto the directory `target`.
    pub fn mount_on(&self, target: &OwnedFd) -> Result<(), Fault> {
        if self.lowers.len() > MAX_LAYERS {
            let why = format!("{} layers; overlayfs takes at most {MAX_LAYERS}", self.lowers.len());
            return Err(Fault::new("mount the image's layers", why));
        }
        match self.mount_by_calls(target) {
            Err((Errno::INVAL | Errno::NOSYS, Stage::Layer, _)) => {
                self.mount_by_text(target).step(|| "mount the image's layers (old kernel)".to_owned())
            }
            Err((errno, _, words)) => {
                let step = format!("mount the image's {} layers as an overlay", self.lowers.len());
                Err(Fault::of("mount", step, errno, &words))
            }
            Ok(()) => Ok(()),
        }
    }

    fn mount_by_calls(&self, target: &OwnedFd) -> Result<(), (Errno, Stage, String)> {
        let tree = self.mount_nowhere()?;
        attach(&tree, target).map_err(|errno| (errno, Stage::Mount, String::new()))
    }

    fn mount_nowhere(&self) -> Result<OwnedFd, (Errno, Stage, String)> {
        let early = |errno| (errno, Stage::Layer, String::new());
        let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(early)?;
        let failed = |errno| (errno, Stage::Mount, kernel_words(&context));
        let _ = fsconfig_set_string(&context, "source", "overlay");
        if self.marks == Marks::User {
            fsconfig_set_flag(&context, "userxattr").map_err(failed)?;
        }
        for lower in &self.lowers {
            fsconfig_set_string(&context, "lowerdir+", path_of(lower)).map_err(early)?;
        }
        if let Some(changes) = &self.changes {
            fsconfig_set_string(&context, "upperdir", path_of(&changes.upper)).map_err(failed)?;
            fsconfig_set_string(&context, "workdir", path_of(&changes.work)).map_err(failed)?;
            // With `userxattr` the kernel takes no such option, and does as if they were given.
            let options: &[_] = if self.marks == Marks::Trusted { &OPTIONS } else { &OPTIONS[2..] };
            for (key, value) in options {
                // An option the kernel was built without is off already.
                let _ = fsconfig_set_string(&context, *key, *value);
            }
            // Skips syncing: a crash loses the step anyway, and its result is synced when it is stored.
            let _ = fsconfig_set_flag(&context, "volatile");
        }
        if self.images {
            // Files of several file systems still have one device, and numbers that last.
            let _ = fsconfig_set_string(&context, "xino", "on");
        }
        fsconfig_create(&context).map_err(failed)?;
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).map_err(failed)
    }

    fn mount_by_text(&self, target: &OwnedFd) -> Result<(), Errno> {
        let number = |fd: &OwnedFd| fd.as_raw_fd().to_string();
        let lowers: Vec<String> = self.lowers.iter().map(number).collect();
        let mut text = format!("lowerdir={}", lowers.join(":"));
        if self.marks == Marks::User {
            text += ",userxattr";
        }
        if let Some(changes) = &self.changes {
            text += &format!(",upperdir={},workdir={}", number(&changes.upper), number(&changes.work));
        }
        rustix::process::chdir("/proc/self/fd")?;
        let text = std::ffi::CString::new(text).map_err(|_| Errno::INVAL)?;
        let mounted = mount("overlay", number(target), "overlay", MountFlags::empty(), text.as_c_str());
        rustix::process::chdir("/")?;
        mounted
    }
}

enum Stage {
    Layer,
    Mount,
}

/// The upper directory has to be readable on its own: whole files, real directories.
const OPTIONS: [(&str, &str); 3] = [("redirect_dir", "off"), ("metacopy", "off"), ("index", "off")];

fn path_of(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// What the kernel says about a failed mount, when it says anything.
pub fn kernel_words(context: impl AsFd) -> String {
    let mut words = String::new();
    let mut buffer = [0; 1024];
    while let Ok(length) = rustix::io::read(context.as_fd(), &mut buffer) {
        if length == 0 || words.len() > 4096 {
            break;
        }
        words.push_str("; ");
        words.push_str(String::from_utf8_lossy(&buffer[..length]).trim());
    }
    words
}

/// Hangs a mount that has no place yet onto `target`, a file or directory held open.
pub fn attach(tree: impl AsFd, target: impl AsFd) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree, "", target, "", flags)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys;
    use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount};
    use rustix::thread::UnshareFlags;

    /// In a thread with mounts of its own; without root there is nothing to try.
    fn with_own_mounts(work: impl FnOnce() + Send) {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                if sys::unshare(UnshareFlags::NEWNS).is_ok() {
                    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
                    work();
                }
            });
        });
    }

    #[test]
    fn an_old_kernel_takes_many_layers_as_one_text() {
        let dir = tempfile::tempdir().unwrap();
        let lowers: Vec<PathBuf> = (0..200).map(|number| dir.path().join(format!("layer,with:odd-{number}"))).collect();
        for (number, lower) in lowers.iter().enumerate() {
            fs::create_dir(lower).unwrap();
            fs::write(lower.join(number.to_string()), "").unwrap();
            fs::write(lower.join("top"), number.to_string()).unwrap();
        }
        for name in ["upper", "work", "merged"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let merged = dir.path().join("merged");
        with_own_mounts(|| {
            let layers =
                Layers::open(&lowers, &dir.path().join("upper"), &dir.path().join("work"), Marks::Trusted).unwrap();
            let view = layers.to_look_at().unwrap();
            for layers in [layers, view] {
                layers.mount_by_text(&open_place(&merged).unwrap()).unwrap();
                assert_eq!(fs::read_dir(&merged).unwrap().count(), 201);
                assert_eq!(fs::read_to_string(merged.join("top")).unwrap(), "0");
                unmount(&merged, UnmountFlags::empty()).unwrap();
            }
        });
    }
}
