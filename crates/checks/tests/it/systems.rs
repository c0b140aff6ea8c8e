//! What all kinds of systems answer alike: one contract, asked of each.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::Cursor;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use kiln_checks::System;
use kiln_checks::system::{Directory, ImageTree, Kind, LookError, Machine, Memory, Ran, Remote};
use kiln_oci::tree::{FileRef, Node, NodeKind};
use kiln_oci::{Digest, Meta, Tree};

/// Asks a system that has, below `base`: `a` (hello, 0640), `d/b`, `d/c`, `l` → `a`, `gone` → `nowhere`, `loop` → `loop`.
fn contract(system: &dyn System, base: &str) {
    let at = |path: &str| format!("{base}/{path}");
    assert_eq!(system.read(&at("a"), 100).unwrap().unwrap(), b"hello");
    assert_eq!(system.read(&at("l"), 5).unwrap().unwrap(), b"hello");
    for missing in ["none", "none/a", "a/b", "gone"] {
        assert_eq!(system.read(&at(missing), 100).unwrap(), None, "{missing}");
        assert_eq!(system.list(&at(missing)).unwrap(), None, "{missing}");
        assert_eq!(system.stat(&at(missing), true).unwrap(), None, "{missing}");
    }
    assert!(!matches!(system.read(&at("loop"), 100), Ok(Some(_))));
    assert!(matches!(system.read(&at("a"), 4), Err(LookError::TooLarge { max: 4, .. })));
    assert!(matches!(system.read(&at("d"), 100), Err(LookError::NotAFile { .. })));
    assert_eq!(system.list(&at("d")).unwrap().unwrap(), ["b", "c"]);
    assert_eq!(system.list(&at("a")).unwrap(), None);
    let stat = system.stat(&at("l"), true).unwrap().unwrap();
    assert_eq!((stat.kind, stat.mode, stat.size), (Kind::File, 0o640, 5));
    assert_eq!(system.stat(&at("l"), false).unwrap().unwrap().kind, Kind::Link("a".to_owned()));
    assert_eq!(system.stat(&at("gone"), false).unwrap().unwrap().kind, Kind::Link("nowhere".to_owned()));
    assert_eq!(system.stat(&at("d"), true).unwrap().unwrap().kind, Kind::Dir);
    let walk = system.walk(&at("d")).unwrap();
    let mut paths: Vec<String> = walk.found.into_iter().map(|(path, _)| path).collect();
    paths.sort();
    assert_eq!((paths, walk.whole), (vec![at("d/b"), at("d/c")], true));
    for nothing in ["a", "none", "l", "loop"] {
        let walk = system.walk(&at(nothing)).unwrap();
        assert!(walk.found.is_empty() && walk.whole, "{nothing}");
    }
}

fn on_disk() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let at = |path: &str| dir.path().join(path);
    std::fs::write(at("a"), "hello").unwrap();
    std::fs::set_permissions(at("a"), std::fs::Permissions::from_mode(0o640)).unwrap();
    std::fs::create_dir(at("d")).unwrap();
    std::fs::write(at("d/b"), "").unwrap();
    std::fs::write(at("d/c"), "").unwrap();
    symlink("a", at("l")).unwrap();
    symlink("nowhere", at("gone")).unwrap();
    symlink("loop", at("loop")).unwrap();
    dir
}

/// This machine, asked by a shell as one far away is.
struct Shell {
    asked: RefCell<Vec<String>>,
}

impl Machine for Shell {
    fn title(&self) -> String {
        "shell".to_owned()
    }

    fn run(&self, script: &str, max: u64) -> Result<Ran, LookError> {
        self.asked.borrow_mut().push(script.to_owned());
        let out = Command::new("/bin/sh").arg("-c").arg(script).output().unwrap();
        let mut stdout = out.stdout;
        stdout.truncate(usize::try_from(max).unwrap());
        Ok(Ran { code: out.status.code().unwrap(), stdout, stderr: out.stderr })
    }
}

#[test]
fn a_directory_answers() {
    let dir = on_disk();
    contract(&Directory::open(dir.path()).unwrap(), "");
    contract(&Directory::host().unwrap(), dir.path().to_str().unwrap());
    assert!(Directory::open(Path::new("/no/such/place")).is_err());
    assert!(Directory::open(&dir.path().join("a")).is_err(), "a file is no root");
}

#[test]
fn a_remote_machine_answers() {
    let dir = on_disk();
    let remote = Remote::new(Shell { asked: RefCell::default() });
    contract(&remote, dir.path().to_str().unwrap());
    std::fs::write(dir.path().join("it's $(touch bad) `x`"), "quoted").unwrap();
    let odd = format!("{}/it's $(touch bad) `x`", dir.path().display());
    assert_eq!(remote.read(&odd, 10).unwrap().unwrap(), b"quoted");
    let live = remote.live().unwrap();
    assert_eq!(live.run(&["printf", "%s", "a'b $HOME"]).unwrap().text(), "a'b $HOME");
    assert_eq!(live.run(&["no-such-command"]).unwrap().code, 127);
}

#[test]
fn memory_answers() {
    let system = Memory::new()
        .file_of("/a", 0o640, (0, 0), "hello")
        .file("/d/b", "")
        .file("/d/c", "")
        .link("/l", "a")
        .link("/gone", "nowhere")
        .link("/loop", "loop");
    contract(&system, "");
}

#[test]
fn the_tree_of_an_image_answers() {
    let mut tree = Tree::new();
    let bodies: HashMap<u64, &[u8]> = HashMap::from([(0, &b"hello"[..]), (1, b""), (2, b"")]);
    let file = |inode: u64, size: u64, mode: u32| {
        let layer = Arc::new(Digest::of(b"layer"));
        let file = FileRef { size, layer, path: Arc::from(&b"x"[..]), offset: 0, inode };
        Arc::new(Node { meta: Meta::mode(mode), kind: NodeKind::File(file) })
    };
    let link = |target: &[u8]| {
        Arc::new(Node { meta: Meta::mode(0o777), kind: NodeKind::Symlink { target: Arc::from(target) } })
    };
    tree.insert(b"a", file(0, 5, 0o640)).unwrap();
    tree.insert(b"d", Arc::new(Node::dir())).unwrap();
    tree.insert(b"d/b", file(1, 0, 0o644)).unwrap();
    tree.insert(b"d/c", file(2, 0, 0o644)).unwrap();
    tree.insert(b"l", link(b"a")).unwrap();
    tree.insert(b"gone", link(b"nowhere")).unwrap();
    tree.insert(b"loop", link(b"loop")).unwrap();
    let system = ImageTree::new("image x", &tree, |file| Ok(Box::new(Cursor::new(bodies[&file.inode].to_vec()))));
    contract(&system, "");
    assert_eq!(system.title(), "image x");
}

#[test]
fn nothing_outside_of_a_root_directory_is_seen() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "s").unwrap();
    let dir = on_disk();
    let secret = outside.path().join("secret");
    symlink(&secret, dir.path().join("absolute")).unwrap();
    symlink(format!("../../../../../../../..{}", secret.display()), dir.path().join("relative")).unwrap();
    symlink(outside.path(), dir.path().join("directory")).unwrap();
    symlink("/proc/self/root/etc/passwd", dir.path().join("magic")).unwrap();
    symlink("/a", dir.path().join("inside")).unwrap();
    let system = Directory::open(dir.path()).unwrap();
    for path in ["/absolute", "/relative", "/directory/secret", "/magic", "/../../../../../../etc/passwd"] {
        assert!(!matches!(system.read(path, 100_000), Ok(Some(_))), "{path}");
    }
    assert_eq!(system.list("/directory").unwrap(), None);
    assert_eq!(system.read("/inside", 100).unwrap().unwrap(), b"hello");
}

#[test]
fn pipes_and_devices_are_not_opened() {
    let dir = on_disk();
    let made = Command::new("mkfifo").arg(dir.path().join("pipe")).status().unwrap();
    assert!(made.success());
    symlink("/dev/zero", dir.path().join("zero")).unwrap();
    let system = Directory::open(dir.path()).unwrap();
    assert!(matches!(system.read("/pipe", 10), Err(LookError::NotAFile { .. })));
    let host = Directory::host().unwrap();
    assert!(matches!(host.read("/dev/zero", 10), Err(LookError::NotAFile { .. })));
    assert!(host.read("/proc/sys/kernel/osrelease", 1000).unwrap().is_some_and(|bytes| !bytes.is_empty()));
}
