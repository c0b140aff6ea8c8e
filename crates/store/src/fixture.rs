//! Layers, trees and overlay mounts for the tests of `unpack`, `scan` and `changes`.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_oci::Digest;
use kiln_oci::entry::{Entry, EntryKind, Meta, Mtime};
use kiln_oci::index::LayerIndex;
use kiln_oci::layer::LayerWriter;
use kiln_oci::name::escape;
use kiln_oci::tree::{FileRef, Tree};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, mount, move_mount, unmount,
};
use tempfile::TempDir;

use crate::capability;
use crate::reader::{Content, entry_kind};
use crate::scan::scan;
use crate::stat::FileKind;

/// The time of everything a test layer holds, unless it says otherwise.
pub(crate) const THEN: i64 = 1_600_000_000;

/// A layer, entry by entry.
pub(crate) struct Layer {
    writer: LayerWriter<Vec<u8>>,
}

impl Layer {
    pub(crate) fn new() -> Layer {
        Layer { writer: LayerWriter::new(Vec::new()) }
    }

    pub(crate) fn entry(mut self, path: impl AsRef<[u8]>, kind: EntryKind, meta: Meta, mut body: &[u8]) -> Layer {
        let path = path.as_ref().to_vec();
        self.writer.append(&Entry { path, kind, meta }, &mut body).expect("entry");
        self
    }

    pub(crate) fn put(self, path: impl AsRef<[u8]>, kind: EntryKind, mode: u32) -> Layer {
        self.entry(path, kind, dated(mode), b"")
    }

    pub(crate) fn dir(self, path: impl AsRef<[u8]>, mode: u32) -> Layer {
        self.put(path, EntryKind::Dir, mode)
    }

    pub(crate) fn file(self, path: impl AsRef<[u8]>, mode: u32, body: &str) -> Layer {
        self.entry(path, EntryKind::File { size: body.len() as u64 }, dated(mode), body.as_bytes())
    }

    pub(crate) fn symlink(self, path: impl AsRef<[u8]>, target: &str) -> Layer {
        self.put(path, EntryKind::Symlink { target: target.as_bytes().to_vec() }, 0o777)
    }

    pub(crate) fn link(self, path: impl AsRef<[u8]>, target: &str) -> Layer {
        self.put(path, EntryKind::Hardlink { target: target.as_bytes().to_vec() }, 0o644)
    }

    pub(crate) fn whiteout(self, path: impl AsRef<[u8]>) -> Layer {
        self.put(path, EntryKind::Whiteout, 0)
    }

    pub(crate) fn opaque(self, path: impl AsRef<[u8]>) -> Layer {
        self.put(path, EntryKind::Opaque, 0)
    }

    pub(crate) fn tar(self) -> Vec<u8> {
        self.writer.finish().expect("layer")
    }
}

pub(crate) fn dated(mode: u32) -> Meta {
    Meta { mtime: Mtime::secs(THEN), ..Meta::mode(mode) }
}

/// Layers in memory and the tree they make.
#[derive(Default)]
pub(crate) struct Stack {
    pub(crate) tree: Tree,
    tars: HashMap<Arc<Digest>, Vec<u8>>,
}

impl Stack {
    pub(crate) fn push(&mut self, tar: &[u8]) {
        let digest = Digest::of(tar);
        let index = LayerIndex::read(tar).expect("index");
        self.tree.apply(&index, &digest).expect("stacking");
        self.tars.insert(Arc::new(digest), tar.to_vec());
    }
}

impl Content for Stack {
    fn open(&self, file: &FileRef) -> io::Result<Box<dyn Read + Send>> {
        let tar = self.tars.get(&file.layer).ok_or(io::ErrorKind::NotFound)?;
        let at = usize::try_from(file.offset).expect("offset");
        let size = usize::try_from(file.size).expect("size");
        Ok(Box::new(io::Cursor::new(tar[at..at + size].to_vec())))
    }
}

/// That this process may mount and give files away; a test that cannot has not passed.
pub(crate) fn needs_root() {
    assert!(rustix::process::geteuid().is_root(), "this test mounts and gives files away: run it as root");
}

pub(crate) fn tempdir() -> TempDir {
    tempfile::tempdir().expect("temporary directory")
}

pub(crate) fn open(path: &Path) -> File {
    File::open(path).expect("open")
}

/// One line a path: `path type mode uid:gid [size bytes | target | device]`, and `time` for all but directories.
pub(crate) fn dump(root: &Path) -> String {
    let snapshot = scan(open(root)).expect("scan");
    let mut lines = Vec::new();
    for (path, stat) in snapshot.iter() {
        let full = root.join(os(path));
        let what = match stat.kind {
            FileKind::File => {
                let cap = capability::of(open(&full)).expect("capability").map_or("", |_| " cap");
                format!("f {:04o} {}{cap}", stat.mode, escape(&std::fs::read(&full).expect("read")))
            }
            FileKind::Dir => format!("d {:04o}", stat.mode),
            FileKind::Symlink => {
                let target = std::fs::read_link(&full).expect("link");
                format!("l {}", target.display())
            }
            FileKind::Char => format!("c {:04o} {}:{}", stat.mode, stat.rdev.0, stat.rdev.1),
            FileKind::Block => format!("b {:04o} {}:{}", stat.mode, stat.rdev.0, stat.rdev.1),
            FileKind::Fifo => format!("p {:04o}", stat.mode),
            FileKind::Socket => "s".to_owned(),
        };
        lines.push(format!("{} {what} {}:{} @{}", escape(path), stat.uid, stat.gid, stat.mtime.secs));
    }
    lines.join("\n")
}

/// The same of a tree.
pub(crate) fn dump_tree(stack: &Stack) -> String {
    let mut lines = std::collections::BTreeMap::new();
    for (path, node) in stack.tree.walk(b"").filter(|(path, _)| !path.is_empty()) {
        let mode = node.meta.mode;
        let what = match entry_kind(node) {
            EntryKind::File { .. } => {
                let mut bytes = Vec::new();
                stack.open(node.file().expect("file")).expect("open").read_to_end(&mut bytes).expect("read");
                let cap = if node.meta.xattrs.is_empty() { "" } else { " cap" };
                format!("f {mode:04o} {}{cap}", escape(&bytes))
            }
            EntryKind::Dir => format!("d {mode:04o}"),
            EntryKind::Symlink { target } => format!("l {}", os(&target).display()),
            EntryKind::Char { major, minor } => format!("c {mode:04o} {major}:{minor}"),
            EntryKind::Block { major, minor } => format!("b {mode:04o} {major}:{minor}"),
            _ => format!("p {mode:04o}"),
        };
        let (uid, gid, secs) = (node.meta.uid, node.meta.gid, node.meta.mtime.secs);
        lines.insert(path.clone(), format!("{} {what} {uid}:{gid} @{secs}", escape(&path)));
    }
    lines.into_values().collect::<Vec<_>>().join("\n")
}

pub(crate) fn os(path: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    PathBuf::from(std::ffi::OsStr::from_bytes(path))
}

/// An overlay mount, unmounted when dropped.
pub(crate) struct Overlay {
    pub(crate) dir: TempDir,
}

impl Overlay {
    /// Mounts `lowers`, the topmost last.
    pub(crate) fn mount(lowers: &[PathBuf]) -> Overlay {
        let nothing = tempdir();
        let empty = [nothing.path().to_path_buf()];
        let lowers = if lowers.is_empty() { &empty[..] } else { lowers };
        let dir = tempdir();
        for name in ["upper", "work", "merged"] {
            std::fs::create_dir(dir.path().join(name)).expect("directory");
        }
        let overlay = Overlay { dir };
        overlay.attach(lowers);
        overlay
    }

    fn attach(&self, lowers: &[PathBuf]) {
        let lowers: Vec<String> = lowers.iter().rev().map(|path| path.display().to_string()).collect();
        let (upper, work) = (self.upper(), self.dir.path().join("work"));
        let options = format!(
            "lowerdir={},upperdir={},workdir={},redirect_dir=off,metacopy=off,index=off",
            lowers.join(":"),
            upper.display(),
            work.display()
        );
        let options = CString::new(options).expect("options");
        mount("overlay", self.merged(), "overlay", MountFlags::empty(), Some(options.as_c_str())).expect("mount");
    }

    pub(crate) fn merged(&self) -> PathBuf {
        self.dir.path().join("merged")
    }

    pub(crate) fn upper(&self) -> PathBuf {
        self.dir.path().join("upper")
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        unmount(self.merged(), UnmountFlags::DETACH).expect("unmount");
    }
}

/// Whether this kernel is one that mounts layers' images: Linux 6.12 with EROFS.
pub(crate) fn kernel_mounts_images() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map(|n| n.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let known = std::fs::read_to_string("/proc/filesystems").expect("file systems");
    version >= (6, 12) && known.split_whitespace().any(|name| name == "erofs")
}

/// A layer's image, mounted; unmounted when dropped.
pub(crate) struct Mounted {
    dir: TempDir,
}

impl Mounted {
    pub(crate) fn new(image: &[u8], tar: &[u8]) -> Mounted {
        let dir = tempdir();
        for (name, bytes) in [("image", image), ("tar", tar)] {
            std::fs::write(dir.path().join(name), bytes).expect("file");
        }
        let mounted = Mounted { dir };
        std::fs::create_dir(mounted.path()).expect("directory");
        mounted.attach().expect("mount");
        mounted
    }

    fn attach(&self) -> rustix::io::Result<()> {
        let context = fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(&context, "source", self.dir.path().join("image"))?;
        fsconfig_set_string(&context, "device", self.dir.path().join("tar"))?;
        fsconfig_create(&context)?;
        let tree = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_RDONLY)?;
        move_mount(&tree, "", rustix::fs::CWD, self.path(), MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("mounted")
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        unmount(self.path(), UnmountFlags::DETACH).expect("unmount");
    }
}
