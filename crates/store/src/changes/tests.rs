//! Both ways of finding changes, on real file systems: the same effect must give the same layer.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use kiln_oci::entry::EntryKind;
use kiln_oci::index::LayerIndex;
use kiln_oci::name::escape;
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, mknodat, utimensat};
use tempfile::TempDir;

use super::*;
use crate::fixture::{Layer, Overlay, Stack, THEN, dump, dump_tree, needs_root, open, tempdir};
use crate::reader::LowerTree;
use crate::unpack::{Links, Options, unpack};

/// A later time than that of the lower layers, to which new things are dated so that both rungs agree.
const CLAMP: i64 = THEN + 1000;

static NOTHING: Ignore = Ignore::none();
static NOBODY: Owners = Owners::new();

/// Everything as it is.
const OPTIONS: ChangeOptions<'static> =
    ChangeOptions { ignore: &NOTHING, clamp_mtime: None, form: &Form::Real, owners: &NOBODY };

/// One image that commands can be run on in both ways.
struct Rungs {
    stack: Stack,
    lowers: Vec<TempDir>,
    overlay: Overlay,
    root: TempDir,
    before: Snapshot,
}

impl Rungs {
    fn new(layers: &[Vec<u8>]) -> Rungs {
        let (mut stack, mut lowers, root) = (Stack::default(), Vec::new(), tempdir());
        for tar in layers {
            let below = LowerTree { tree: &stack.tree, content: &stack };
            let dir = tempdir();
            unpack(tar.as_slice(), open(dir.path()), &Options::overlay(Some(&below))).expect("overlay");
            let broken = Options { links: Links::Break, ..Options::merged() };
            unpack(tar.as_slice(), open(root.path()), &broken).expect("merged");
            stack.push(tar);
            lowers.push(dir);
        }
        let paths: Vec<PathBuf> = lowers.iter().map(|dir| dir.path().to_path_buf()).collect();
        let overlay = Overlay::mount(&paths);
        let before = scan(open(root.path())).expect("scan");
        Rungs { stack, lowers, overlay, root, before }
    }

    /// Does the same in both roots.
    fn run(&self, command: impl Fn(&Path)) -> &Rungs {
        command(&self.overlay.merged());
        command(self.root.path());
        self
    }

    fn both(&self, ignore: &Ignore) -> (Result<Changes, ChangeError>, Result<Changes, ChangeError>) {
        let options = ChangeOptions { ignore, clamp_mtime: Some(CLAMP), ..OPTIONS };
        let lower = LowerTree { tree: &self.stack.tree, content: &self.stack };
        let overlay = overlay_changes(open(&self.overlay.upper()), &lower, &options);
        let scanned = scan_changes(open(self.root.path()), &self.before, &lower, &options);
        (overlay, scanned.map(|(changes, _)| changes))
    }

    /// The layer, which both ways must agree on to the byte.
    fn layer(&self, ignore: &Ignore) -> (String, Vec<u8>) {
        let (overlay, scanned) = self.both(ignore);
        let (mut overlay, mut scanned) = (overlay.expect("overlay"), scanned.expect("scan"));
        assert_eq!(text(&overlay), text(&scanned), "overlayfs (left) and scan (right)");
        let (tar, index) = write_layer(&mut overlay, Vec::new()).expect("write");
        assert_eq!(tar, write_layer(&mut scanned, Vec::new()).expect("write").0);
        assert_eq!(index, LayerIndex::read(tar.as_slice()).expect("index"));
        (text(&overlay), tar)
    }

    fn changes(&self) -> String {
        self.layer(&NOTHING).0
    }

    /// That the layer found, put on the lower ones, makes what the command left; and what it holds.
    fn round_trip(mut self) -> String {
        let (text, tar) = self.layer(&NOTHING);
        let want = undated(&dump(&self.overlay.merged()));
        self.stack.push(&tar);
        assert_eq!(undated(&dump_tree(&self.stack)), want, "tree");
        unpack(tar.as_slice(), open(self.root.path()), &Options::merged()).expect("merged again");
        assert_eq!(undated(&dump(self.root.path())), want, "on top of itself");
        drop(self.lowers);
        text
    }
}

/// Without times, which the clamp changes.
fn undated(dump: &str) -> String {
    dump.lines().map(|line| line.rsplit_once(" @").map_or(line, |(line, _)| line)).collect::<Vec<_>>().join("\n")
}

fn text(changes: &Changes) -> String {
    let line = |entry: &Entry| {
        let meta = &entry.meta;
        let what = match &entry.kind {
            EntryKind::File { size } => format!("f {size}"),
            EntryKind::Dir => "d".to_owned(),
            EntryKind::Symlink { target } => format!("l {}", escape(target)),
            EntryKind::Hardlink { target } => format!("h {}", escape(target)),
            EntryKind::Char { major, minor } => format!("c {major}:{minor}"),
            EntryKind::Block { major, minor } => format!("b {major}:{minor}"),
            EntryKind::Fifo => "p".to_owned(),
            EntryKind::Whiteout => return format!("{} gone", escape(&entry.path)),
            EntryKind::Opaque => "opaque".to_owned(),
        };
        let cap = if meta.xattrs.is_empty() { "" } else { " cap" };
        let age = meta.mtime.secs - THEN;
        format!("{} {what} {:04o} {}:{} +{age}{cap}", escape(&entry.path), meta.mode, meta.uid, meta.gid)
    };
    changes.entries().map(line).collect::<Vec<_>>().join("\n")
}

fn base() -> Vec<u8> {
    Layer::new()
        .dir("d", 0o755)
        .dir("d/e", 0o755)
        .file("d/e/f", 0o644, "f")
        .file("d/g", 0o644, "g")
        .file("one", 0o644, "same")
        .link("two", "one")
        .symlink("link", "d")
        .dir("x", 0o700)
        .file("x/1", 0o644, "1")
        .file("x/2", 0o644, "2")
        .put("null", EntryKind::Char { major: 1, minor: 3 }, 0o666)
        .tar()
}

fn set_time(path: &Path, secs: i64) {
    let at = Timespec { tv_sec: secs, tv_nsec: 123_456 };
    let times = Timestamps { last_access: at, last_modification: at };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).expect("time");
}

#[test]
fn what_changes_nothing_is_no_layer() {
    needs_root();
    let rungs = Rungs::new(&[base()]);
    assert_eq!(rungs.changes(), "");
    rungs.run(|root| {
        fs::set_permissions(root.join("one"), Permissions::from_mode(0o644)).expect("chmod to what it was");
        fs::rename(root.join("x/1"), root.join("x/away")).expect("rename");
        fs::rename(root.join("x/away"), root.join("x/1")).expect("and back");
        fs::write(root.join("d/g"), "g").expect("the same bytes");
        set_time(&root.join("d/g"), THEN);
        fs::write(root.join("d/new"), "").expect("new");
        fs::remove_file(root.join("d/new")).expect("and gone");
        chown(root.join("d"), Some(0), Some(0)).expect("chown to what it was");
        fs::remove_file(root.join("link")).expect("link");
        symlink("d", root.join("link")).expect("and made again");
        set_time(&root.join("link"), THEN);
        drop(UnixListener::bind(root.join("d/socket")).expect("socket"));
    });
    assert_eq!(rungs.changes(), "");
}

#[test]
fn each_difference_is_an_entry() {
    needs_root();
    let rungs = Rungs::new(&[base()]);
    rungs.run(|root| {
        fs::write(root.join("d/g"), "G").expect("bytes");
        set_time(&root.join("d/g"), THEN);
        fs::set_permissions(root.join("d/e/f"), Permissions::from_mode(0o4755)).expect("mode");
        chown(root.join("two"), Some(5), Some(6)).expect("owner");
        set_time(&root.join("x/1"), THEN + 7);
        let cap = b"\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
        rustix::fs::setxattr(root.join("x/2"), "security.capability", cap, XattrFlags::empty()).expect("capability");
        fs::remove_file(root.join("null")).expect("null");
        mknodat(
            CWD,
            root.join("null"),
            FileType::CharacterDevice,
            Mode::from_raw_mode(0o666),
            rustix::fs::makedev(1, 5),
        )
        .expect("device");
        fs::write(root.join("new"), "new").expect("new");
        fs::hard_link(root.join("new"), root.join("d/new")).expect("link");
        fs::remove_file(root.join("link")).expect("link");
        symlink("x", root.join("link")).expect("elsewhere");
        mknodat(CWD, root.join("pipe"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("pipe");
    });
    insta::assert_snapshot!(rungs.round_trip(), @"
    d d 0755 0:0 +1000
    d/e d 0755 0:0 +0
    d/e/f f 1 4755 0:0 +0
    d/g f 1 0644 0:0 +0
    d/new f 3 0644 0:0 +1000
    link l x 0777 0:0 +1000
    new h d/new 0644 0:0 +1000
    null c 1:5 0644 0:0 +1000
    pipe p 0600 0:0 +1000
    two f 4 0644 5:6 +0
    x d 0700 0:0 +0
    x/1 f 1 0644 0:0 +7
    x/2 f 1 0644 0:0 +0 cap
    ");
}

#[test]
fn removals() {
    needs_root();
    let rungs = Rungs::new(&[base()]);
    rungs.run(|root| {
        fs::remove_dir_all(root.join("d")).expect("a tree");
        fs::remove_dir_all(root.join("x")).expect("a tree");
        fs::create_dir(root.join("x")).expect("made again");
        fs::set_permissions(root.join("x"), Permissions::from_mode(0o700)).expect("as it was");
        fs::write(root.join("x/2"), "two").expect("one of its files");
        fs::remove_file(root.join("one")).expect("file");
        fs::remove_file(root.join("null")).expect("device");
        drop(UnixListener::bind(root.join("null")).expect("a socket in place of a device"));
    });
    insta::assert_snapshot!(rungs.changes(), @"
    d gone
    null gone
    one gone
    x d 0700 0:0 +1000
    x/1 gone
    x/2 f 3 0644 0:0 +1000
    ");
}

#[test]
fn types_change_and_change_back() {
    needs_root();
    let second = Layer::new().whiteout("d").symlink("d", "x").tar();
    let rungs = Rungs::new(&[base(), second]);
    rungs.run(|root| {
        fs::remove_file(root.join("d")).expect("link");
        fs::create_dir(root.join("d")).expect("a directory again");
        fs::write(root.join("d/g"), "new").expect("file");
        fs::remove_dir_all(root.join("x")).expect("tree");
        fs::write(root.join("x"), "no tree").expect("file");
        fs::remove_file(root.join("one")).expect("file");
        fs::create_dir_all(root.join("one/deep")).expect("a tree in place of a file");
    });
    insta::assert_snapshot!(rungs.round_trip(), @"
    d d 0755 0:0 +1000
    d/g f 3 0644 0:0 +1000
    one d 0755 0:0 +1000
    one/deep d 0755 0:0 +1000
    x f 7 0644 0:0 +1000
    ");
}

#[test]
fn copies_of_a_hard_link_part_when_written() {
    needs_root();
    let rungs = Rungs::new(&[base()]);
    rungs.run(|root| {
        fs::write(root.join("two"), "changed").expect("write");
    });
    insta::assert_snapshot!(rungs.round_trip(), @"two f 7 0644 0:0 +1000");
}

#[test]
fn the_runners_own_paths_are_left_out() {
    needs_root();
    let rungs = Rungs::new(&[base()]);
    rungs.run(|root| {
        fs::create_dir_all(root.join("run/secrets")).expect("mount point");
        fs::write(root.join("run/secrets/id"), "").expect("mount point");
        fs::write(root.join("run/secrets/mine"), "mine").expect("the user's");
        fs::create_dir_all(root.join("proc/1")).expect("mount point");
        fs::create_dir_all(root.join("sys")).expect("mount point");
        fs::remove_file(root.join("x/1")).expect("ignored too");
    });
    let mut ignore = Ignore::none();
    ignore.path("run").path("run/secrets").path("run/secrets/id").path("sys").tree("proc").path("x/1");
    insta::assert_snapshot!(rungs.layer(&ignore).0, @"
    run d 0755 0:0 +1000
    run/secrets d 0755 0:0 +1000
    run/secrets/mine f 4 0644 0:0 +1000
    ");
}

#[test]
fn what_a_layer_cannot_say_is_an_error() {
    needs_root();
    let rungs = Rungs::new(&[base()]);
    rungs.run(|root| fs::write(root.join("d/.wh.g"), "").expect("write"));
    let (overlay, scanned) = rungs.both(&NOTHING);
    let message = overlay.err().expect("refused").to_string();
    assert_eq!(message, scanned.err().expect("refused").to_string());
    insta::assert_snapshot!(message, @"/d/.wh.g cannot be kept in a layer: names beginning with `.wh.` mean deletion there; remove or rename it in the same step");

    let upper = tempdir();
    fs::create_dir(upper.path().join("moved")).expect("directory");
    rustix::fs::setxattr(upper.path().join("moved"), "trusted.overlay.redirect", b"/d", XattrFlags::empty())
        .expect("mark");
    let refused = overlay_changes(open(upper.path()), &crate::lower::Scratch, &OPTIONS).err().expect("refused");
    insta::assert_snapshot!(refused.to_string(), @"/moved has the mark `trusted.overlay.redirect`: overlayfs was mounted with `redirect_dir` or `metacopy`, which Kiln does not read; mount with `redirect_dir=off,metacopy=off`");
}

#[test]
fn marks_of_a_mount_in_a_user_namespace() {
    needs_root();
    let mut stack = Stack::default();
    stack.push(&base());
    let lower = LowerTree { tree: &stack.tree, content: &stack };
    let upper = tempdir();
    let at = |name: &str| upper.path().join(name);
    let mark = |name: &str, mark: &str, value: &[u8]| {
        rustix::fs::setxattr(at(name), mark, value, XattrFlags::empty()).expect("mark");
    };
    // Everything below `d` is hidden; in `x`, files with a mark are removals.
    fs::create_dir_all(at("d/e")).expect("directory");
    mark("d", "user.overlay.opaque", b"y");
    fs::create_dir(at("x")).expect("directory");
    fs::set_permissions(at("x"), Permissions::from_mode(0o700)).expect("mode");
    mark("x", "user.overlay.opaque", b"x");
    fs::write(at("x/1"), "").expect("file");
    mark("x/1", "user.overlay.whiteout", b"");
    mknodat(CWD, at("one"), FileType::CharacterDevice, Mode::empty(), 0).expect("whiteout");
    mknodat(CWD, at("never"), FileType::CharacterDevice, Mode::empty(), 0).expect("whiteout");
    for name in ["d", "d/e", "x"] {
        set_time(&at(name), THEN);
    }
    let form = Form::mapped("");
    let options = ChangeOptions { form: &form, ..OPTIONS };
    let found = overlay_changes(open(upper.path()), &lower, &options).expect("changes");
    insta::assert_snapshot!(text(&found), @"
    one gone
    d d 0755 0:0 +0
    d/g gone
    d/e d 0755 0:0 +0
    d/e/f gone
    x d 0700 0:0 +0
    x/1 gone
    ");
    fs::write(at("x/2"), "").expect("file");
    mark("x/2", "user.overlay.metacopy", b"");
    let refused = overlay_changes(open(upper.path()), &lower, &options).err().expect("refused").to_string();
    assert!(refused.contains("/x/2") && refused.contains("user.overlay.metacopy"), "{refused}");
}

#[test]
fn dates_of_the_tree_follow_the_layer() {
    let root = tempdir();
    let options = ChangeOptions { clamp_mtime: Some(CLAMP), ..OPTIONS };
    let before = scan(open(root.path())).expect("scan");
    fs::create_dir(root.path().join("d")).expect("directory");
    fs::write(root.path().join("d/f"), "f").expect("file");
    symlink("f", root.path().join("d/l")).expect("link");
    set_time(&root.path().join("d/l"), THEN);
    let scratch = crate::lower::Scratch;
    let (mut changes, _) = scan_changes(open(root.path()), &before, &scratch, &options).expect("changes");
    let (tar, _) = write_layer(&mut changes, Vec::new()).expect("write");
    let mut stack = Stack::default();
    stack.push(&tar);
    assert_eq!(dump(root.path()), dump_tree(&stack));
    // A new scan from nothing finds the same without the clamp.
    let (mut again, _) = scan_changes(open(root.path()), &before, &scratch, &OPTIONS).expect("changes");
    assert_eq!(write_layer(&mut again, Vec::new()).expect("write").0, tar);
}

#[test]
fn files_that_change_while_they_are_read_are_noticed() {
    let root = tempdir();
    let before = scan(open(root.path())).expect("scan");
    fs::write(root.path().join("f"), "12345").expect("file");
    for bytes in ["123", "1234567", "54321"] {
        let found = scan_changes(open(root.path()), &before, &crate::lower::Scratch, &OPTIONS).expect("changes");
        let mut changes = found.0;
        // The scan returns after the clock of `ctime` moved on, so even a write of as many bytes shows.
        fs::write(root.path().join("f"), bytes).expect("file");
        let done = write_layer(&mut changes, Vec::new());
        assert!(matches!(done, Err(ChangeError::Changed { .. })), "{bytes}");
    }
}

#[test]
fn an_unusable_depth_is_an_error_not_a_crash() {
    let root = tempdir();
    let before = scan(open(root.path())).expect("scan");
    let mut handle = rustix::fs::open(root.path(), rustix::fs::OFlags::PATH, Mode::empty()).expect("open");
    for _ in 0..1100 {
        rustix::fs::mkdirat(&handle, "d", Mode::RWXU).expect("mkdir");
        handle = rustix::fs::openat(&handle, "d", rustix::fs::OFlags::PATH, Mode::empty()).expect("open");
    }
    drop(handle);
    let found = scan_changes(open(root.path()), &before, &crate::lower::Scratch, &OPTIONS);
    assert!(matches!(found, Err(ChangeError::PathTooLong { .. })));
    let overlay = overlay_changes(open(root.path()), &crate::lower::Scratch, &OPTIONS);
    assert!(matches!(overlay, Err(ChangeError::PathTooLong { .. })));
    // `TempDir` would need a stack frame for each level.
    let removed = std::process::Command::new("rm").arg("-rf").arg(root.path()).status().expect("rm");
    assert!(removed.success());
}

mod random;
