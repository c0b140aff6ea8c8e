//! Trees for tests, put onto images and looked at through the kernel.

use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kiln_disk::WriteAt;
use kiln_disk::ext4::{Options, Plan, Summary, Writer};
use kiln_oci::entry::Xattrs;
use kiln_oci::{Entry, EntryKind, Meta, Mtime};
use tempfile::{NamedTempFile, TempDir};

/// Runs a tool of a package.
pub fn tool(name: &str, package: &str, args: &[&str]) -> Output {
    let output = Command::new(name).args(args).env("LC_ALL", "C").output();
    output.unwrap_or_else(|e| panic!("cannot run {name}: {e}: apt-get install {package}"))
}

/// What a tool that must not fail says.
pub fn said(name: &str, package: &str, args: &[&str]) -> String {
    let output = tool(name, package, args);
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(output.status.success(), "{name} {args:?}: {}\n{text}", output.status);
    text
}

pub fn e2fs(name: &str, args: &[&str]) -> String {
    said(name, "e2fsprogs", args)
}

/// Entries with their bodies, in an order that a writer takes.
#[derive(Debug, Clone, Default)]
pub struct Tree(pub Vec<(Entry, Vec<u8>)>);

pub fn meta(mode: u32, uid: u32, gid: u32) -> Meta {
    Meta { uid, gid, mtime: Mtime { secs: 1_700_000_000, nanos: 123_456_789 }, ..Meta::mode(mode) }
}

pub fn xattrs(list: &[(&str, &[u8])]) -> Xattrs {
    list.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec())).collect()
}

/// A file capability: cap_net_raw+ep.
pub const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Bytes that look like nothing, the same for the same seed.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut x = seed | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        out.extend(x.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes());
    }
    out.truncate(len);
    out
}

impl Tree {
    pub fn add(&mut self, path: &str, kind: EntryKind, meta: Meta, body: &[u8]) -> &mut Tree {
        self.0.push((Entry { path: path.as_bytes().to_vec(), kind, meta }, body.to_vec()));
        self
    }

    pub fn dir(&mut self, path: &str) -> &mut Tree {
        self.add(path, EntryKind::Dir, meta(0o755, 0, 0), b"")
    }

    pub fn file(&mut self, path: &str, body: &[u8]) -> &mut Tree {
        self.add(path, EntryKind::File { size: body.len() as u64 }, meta(0o644, 0, 0), body)
    }

    pub fn link(&mut self, path: &str, target: &str) -> &mut Tree {
        self.add(path, EntryKind::Symlink { target: target.into() }, meta(0o777, 0, 0), b"")
    }

    /// Something of everything.
    pub fn sample() -> Tree {
        let mut t = Tree::default();
        t.add("", EntryKind::Dir, meta(0o755, 0, 0), b"");
        t.dir("dir").dir("dir/sub").dir("dir/sub/deep").dir("empty");
        t.file("dir/small", b"hello\n").file("dir/none", b"").file("dir/block", &noise(4096, 1));
        t.file("dir/big", &noise(3_000_001, 2));
        let mut holes = vec![0; 5 << 20];
        holes[2 << 20..(2 << 20) + 5].copy_from_slice(b"middl");
        holes[(2 << 20) + 9000] = 1;
        t.file("dir/holes", &holes);
        t.file("dir/all-zero", &vec![0; 1 << 20]).file("dir/few-zeros", &[0; 5000]);
        holes.extend(b"end");
        t.file("dir/holes-then-end", &holes);
        t.link("fast", "dir/small")
            .link("slow", &"x/".repeat(200))
            .link("59", &"a".repeat(59))
            .link("60", &"a".repeat(60));
        t.add("dir/hard", EntryKind::Hardlink { target: b"dir/small".to_vec() }, Meta::default(), b"");
        t.add("hard-link", EntryKind::Hardlink { target: b"slow".to_vec() }, Meta::default(), b"");
        t.add("null", EntryKind::Char { major: 1, minor: 3 }, meta(0o666, 0, 0), b"");
        t.add("far", EntryKind::Char { major: 300, minor: 70_000 }, meta(0o600, 0, 0), b"");
        t.add("disk", EntryKind::Block { major: 8, minor: 1 }, meta(0o660, 0, 6), b"");
        t.add("pipe", EntryKind::Fifo, meta(0o600, 1000, 1000), b"");
        t.add("owned", EntryKind::File { size: 1 }, meta(0o6751, 70_000, 4_000_000_000), b"x");
        t.add("sticky", EntryKind::Dir, meta(0o1777, 0, 0), b"");
        let mut capable = meta(0o755, 0, 0);
        capable.xattrs = xattrs(&[("security.capability", &CAPABILITY), ("user.short", b"v"), ("user.none", b"")]);
        t.add("ping", EntryKind::File { size: 4 }, capable.clone(), b"ping");
        capable.xattrs.extend(xattrs(&[("user.long", &noise(3000, 3)), ("trusted.overlay.opaque", b"y")]));
        let acl =
            [2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 232, 3, 0, 0, 4, 0, 4, 0, 255, 255, 255, 255];
        let rest = [16, 0, 5, 0, 255, 255, 255, 255, 32, 0, 5, 0, 255, 255, 255, 255];
        capable.xattrs.extend(xattrs(&[("system.posix_acl_access", &[&acl[..], &rest].concat())]));
        capable.mode = 0o655;
        t.add("many", EntryKind::Dir, capable.clone(), b"");
        t.add("many/f", EntryKind::File { size: 4 }, capable, b"many");
        for (n, secs) in [-1, 0, i64::from(i32::MAX) + 1, 10_000_000_000].into_iter().enumerate() {
            let mtime = Mtime { secs, nanos: 999_999_999 };
            t.add(&format!("time{n}"), EntryKind::File { size: 0 }, Meta { mtime, ..Meta::mode(0o600) }, b"");
        }
        t.file(&format!("dir/{}", "n".repeat(255)), b"long name");
        t.file("dir/sp ace\n\u{e9}\u{1f980}", b"strange name");
        t.file("lost+found/found", b"again");
        t
    }

    pub fn plan(&self) -> Plan {
        let mut plan = Plan::new();
        self.0.iter().for_each(|(entry, _)| plan.add(entry));
        plan
    }

    pub fn write_to(&self, target: impl WriteAt, options: Options) -> kiln_disk::Result<Summary> {
        let mut writer = Writer::new(target, options, Some(&self.plan()))?;
        for (entry, body) in &self.0 {
            writer.append(entry, &mut body.as_slice())?;
        }
        writer.finish()
    }

    /// An image of `size` bytes, checked by `e2fsck`.
    pub fn image(&self, size: u64) -> NamedTempFile {
        let file = NamedTempFile::new().unwrap();
        self.write_to(file.reopen().unwrap(), options(size)).unwrap();
        check(file.path());
        file
    }
}

pub fn options(size: u64) -> Options {
    let mut options = Options::new(size, *b"\x11\x22\x33\x44\x55\x66\x47\x88\x99\xaa\xbb\xcc\xdd\xee\xff\x01");
    options.label = "kiln-root".to_owned();
    options.time = 1_750_000_000;
    options
}

/// `e2fsck` has nothing to say about an image.
pub fn check(image: &Path) {
    let output = tool("e2fsck", "e2fsprogs", &["-fn", image.to_str().unwrap()]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    // What it would repair when asked, it only mentions.
    assert!(!text.contains("Fix?") && !text.contains("IGNORED"), "{text}");
}

/// An image that the kernel has mounted.
pub struct Mounted {
    dir: TempDir,
}

impl Mounted {
    pub fn new(image: &Path, how: &str) -> Mounted {
        Mounted::of("ext4", image, how)
    }

    pub fn of(filesystem: &str, image: &Path, how: &str) -> Mounted {
        let dir = TempDir::new().unwrap();
        said("mount", "mount", &["-o", how, "-t", filesystem, image.to_str().unwrap(), dir.path().to_str().unwrap()]);
        Mounted { dir }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.dir.path()).status().is_ok_and(|status| status.success());
        // Its files would go with the directory, and the machine would keep the mount.
        assert!(unmounted || std::thread::panicking(), "{} is in use", self.dir.path().display());
    }
}

/// All extended attributes of a file.
pub fn xattrs_at(path: &Path) -> Xattrs {
    let mut names = vec![0; 65_536];
    let len = rustix::fs::llistxattr(path, &mut names).unwrap();
    let mut found = Xattrs::new();
    for name in names[..len].split(|b| *b == 0).filter(|name| !name.is_empty()) {
        // xfs shows to root how it stores access control lists.
        if name.starts_with(b"trusted.SGI_ACL_") {
            continue;
        }
        let mut value = vec![0; 65_536];
        let len = rustix::fs::lgetxattr(path, name, &mut value).unwrap();
        value.truncate(len);
        found.insert(name.to_vec(), value);
    }
    found
}

fn below(root: &Path, path: &[u8]) -> PathBuf {
    root.join(std::ffi::OsStr::from_bytes(path))
}

/// What the kernel shows is what the tree says; nothing more is there but `lost+found`.
pub fn same_as_mounted(tree: &Tree, root: &Path) {
    let implied = usize::from(!tree.0.iter().any(|(entry, _)| entry.path == b"lost+found"));
    same_as_mounted_but(tree, root, implied);
}

/// What the kernel shows is what the tree says; there are `implied` directories more.
pub fn same_as_mounted_but(tree: &Tree, root: &Path, implied: usize) {
    let mut names = 0;
    for (entry, body) in &tree.0 {
        names += usize::from(!entry.path.is_empty());
        let path = below(root, &entry.path);
        let stat = fs::symlink_metadata(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let shown = path.display();
        if let EntryKind::Hardlink { target } = &entry.kind {
            assert_eq!(stat.ino(), fs::symlink_metadata(below(root, target)).unwrap().ino(), "{shown}");
            continue;
        }
        let want = &entry.meta;
        let mode = if matches!(entry.kind, EntryKind::Symlink { .. }) { 0o777 } else { want.mode };
        assert_eq!((stat.mode() & 0o7777, stat.uid(), stat.gid()), (mode, want.uid, want.gid), "{shown}");
        assert_eq!((stat.mtime(), stat.mtime_nsec()), (want.mtime.secs, i64::from(want.mtime.nanos)), "{shown}");
        assert_eq!(xattrs_at(&path), want.xattrs, "{shown}");
        let more =
            tree.0.iter().filter(|(e, _)| matches!(&e.kind, EntryKind::Hardlink { target } if *target == entry.path));
        let device = |major: u32, minor: u32| rustix::fs::makedev(major, minor);
        match &entry.kind {
            EntryKind::File { size } => {
                assert_eq!(stat.size(), *size);
                assert!(fs::read(&path).unwrap() == *body, "{shown} has other bytes");
            }
            EntryKind::Symlink { target } => assert_eq!(fs::read_link(&path).unwrap().as_os_str().as_bytes(), target),
            EntryKind::Char { major, minor } => {
                assert_eq!((stat.mode() >> 12, stat.rdev()), (2, device(*major, *minor)))
            }
            EntryKind::Block { major, minor } => {
                assert_eq!((stat.mode() >> 12, stat.rdev()), (6, device(*major, *minor)))
            }
            EntryKind::Fifo => assert_eq!(stat.mode() >> 12, 1, "{shown}"),
            _ => assert!(stat.is_dir(), "{shown}"),
        }
        if !stat.is_dir() {
            assert_eq!(stat.nlink(), 1 + more.count() as u64, "{shown}");
        }
    }
    assert_eq!(count(root), names + implied);
}

fn count(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).unwrap().map(Result::unwrap);
    entries.map(|entry| 1 + if entry.file_type().unwrap().is_dir() { count(&entry.path()) } else { 0 }).sum()
}

/// A file of zeros that a tool can fill.
pub fn blank(size: u64) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    File::options().write(true).open(file.path()).unwrap().set_len(size).unwrap();
    file
}
