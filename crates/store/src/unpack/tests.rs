//! Layers on real file systems.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use kiln_oci::entry::{EntryKind, Meta, Mtime};
use tempfile::TempDir;

use super::*;
use crate::fixture::{
    Layer, Mounted, Overlay, Stack, THEN, dated, dump, dump_tree, kernel_mounts_images, needs_root, open, os, tempdir,
};
use crate::reader::LowerTree;

/// The same layers in every form: as a tree, merged in one directory, as directories for overlayfs, and, where layers
/// have one, as images for overlayfs.
struct Image {
    stack: Stack,
    merged: TempDir,
    broken: TempDir,
    lowers: Vec<TempDir>,
    images: Vec<Option<Mounted>>,
}

impl Image {
    fn new(layers: &[Vec<u8>]) -> Image {
        let (stack, lowers, images) = Default::default();
        let mut image = Image { stack, merged: tempdir(), broken: tempdir(), lowers, images };
        for tar in layers {
            image.push(tar);
        }
        image
    }

    /// Adds a layer unless the tree cannot have it, or unpacking refuses what only a second pass could place.
    fn try_push(&mut self, tar: &[u8]) -> bool {
        let index = LayerIndex::read(tar).expect("index");
        let fits = self.stack.tree.clone().apply(&index, &kiln_oci::Digest::of(tar)).is_ok();
        let below = LowerTree { tree: &self.stack.tree, content: &self.stack };
        let fits = fits && unpack(tar, open(tempdir().path()), &Options::overlay(Some(&below))).is_ok();
        if fits {
            self.push(tar);
        }
        fits
    }

    fn push(&mut self, tar: &[u8]) {
        unpack(tar, open(self.merged.path()), &Options::merged()).expect("merged");
        let broken = Options { links: Links::Break, ..Options::merged() };
        unpack(tar, open(self.broken.path()), &broken).expect("merged, links broken");
        let below = LowerTree { tree: &self.stack.tree, content: &self.stack };
        let dir = tempdir();
        let unpacked = unpack(tar, open(dir.path()), &Options::overlay(Some(&below))).expect("overlay");
        assert_eq!(unpacked.index, LayerIndex::read(tar).expect("index"));
        self.lowers.push(dir);
        let lower = if self.lowers.len() == 1 { None } else { Some(&below as &dyn Lower) };
        let uuid = [u8::try_from(self.lowers.len()).expect("few layers"); 16];
        let image = crate::erofs::image(&unpacked.index, &uuid, lower);
        self.images.push(image.filter(|_| kernel_mounts_images()).map(|image| Mounted::new(&image, tar)));
        self.stack.push(tar);
    }

    fn paths(&self) -> Vec<PathBuf> {
        self.lowers.iter().map(|dir| dir.path().to_path_buf()).collect()
    }

    /// The layers' images, and the directories of those that have none.
    fn mounted(&self) -> Vec<PathBuf> {
        let images = self.images.iter().map(|image| image.as_ref().map(Mounted::path));
        images.zip(self.paths()).map(|(image, dir)| image.unwrap_or(dir)).collect()
    }

    /// That every form shows the same, and what that is.
    fn dump(&self) -> String {
        let tree = dump_tree(&self.stack);
        assert_eq!(dump(self.merged.path()), tree, "merged");
        assert_eq!(dump(self.broken.path()), tree, "merged, links broken");
        assert_eq!(dump(&Overlay::mount(&self.paths()).merged()), tree, "overlayfs");
        assert_eq!(dump(&Overlay::mount(&self.mounted()).merged()), tree, "overlayfs of images");
        let again = tempdir();
        unpack_tree(&self.stack.tree, &self.stack, open(again.path()), &Options::merged()).expect("from the tree");
        assert_eq!(dump(again.path()), tree, "from the tree");
        tree
    }
}

/// What the layer says, as far as this user can make it so.
fn as_allowed() -> Options<'static> {
    let owners = if rustix::process::geteuid().is_root() { Owners::Keep } else { Owners::Ignore };
    Options { owners, ..Options::merged() }
}

fn one(tar: Vec<u8>) -> (TempDir, Result<Unpacked, UnpackError>) {
    let dir = tempdir();
    let done = unpack(tar.as_slice(), open(dir.path()), &as_allowed());
    (dir, done)
}

#[test]
fn every_kind_of_entry_in_every_form() {
    needs_root();
    let cap = Meta {
        xattrs: [(
            b"security.capability".to_vec(),
            b"\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00".to_vec(),
        )]
        .into(),
        uid: 0,
        ..dated(0o755)
    };
    let layer = Layer::new()
        .dir("ro", 0o555)
        .file("ro/f", 0o4755, "set")
        .file("ro/\n\u{e4}", 0o600, "")
        .entry(b"ro/\xff\xfe", EntryKind::File { size: 1 }, Meta { uid: 70_000, gid: 5, ..dated(0o2640) }, b"x")
        .entry("cap", EntryKind::File { size: 1 }, cap, b"c")
        .symlink("dangling", "/no/where")
        .link("hard", "ro/f")
        .put("null", EntryKind::Char { major: 1, minor: 3 }, 0o666)
        .put("disk", EntryKind::Block { major: 8, minor: 1 }, 0o660)
        .put("pipe", EntryKind::Fifo, 0o640)
        .dir("sticky", 0o1777)
        .entry("old", EntryKind::File { size: 0 }, Meta { mtime: Mtime::secs(-5), ..Meta::mode(0) }, b"");
    let image = Image::new(&[layer.tar()]);
    insta::assert_snapshot!(image.dump(), @r"
    cap f 0755 c cap 0:0 @1600000000
    dangling l /no/where 0:0 @1600000000
    disk b 0660 8:1 0:0 @1600000000
    hard f 4755 set 0:0 @1600000000
    null c 0666 1:3 0:0 @1600000000
    old f 0000  0:0 @-5
    pipe p 0640 0:0 @1600000000
    ro d 0555 0:0 @1600000000
    ro/\x0aä f 0600  0:0 @1600000000
    ro/f f 4755 set 0:0 @1600000000
    ro/\xff\xfe f 2640 x 70000:5 @1600000000
    sticky d 1777 0:0 @1600000000
    ");
    let hard = std::fs::metadata(image.merged.path().join("hard")).expect("hard");
    assert_eq!(hard.nlink(), 2);
    assert_eq!(std::fs::metadata(image.broken.path().join("hard")).expect("hard").nlink(), 1);
    assert_eq!(std::fs::metadata(image.merged.path().join("ro")).expect("ro").mtime(), THEN);
}

#[test]
fn later_layers_hide_and_replace() {
    needs_root();
    let base = Layer::new()
        .entry("etc", EntryKind::Dir, Meta { uid: 7, gid: 8, ..dated(0o750) }, b"")
        .file("etc/a", 0o644, "a")
        .file("etc/b", 0o644, "b")
        .dir("opt", 0o755)
        .dir("opt/x", 0o755)
        .file("opt/x/y", 0o644, "y")
        .dir("swap", 0o700)
        .file("swap/in", 0o644, "in")
        .file("plain", 0o644, "plain")
        .dir("gone", 0o755)
        .file("gone/deep", 0o644, "");
    let next = Layer::new()
        .file("etc/c", 0o644, "c")
        .whiteout("etc/a")
        .whiteout("etc/never")
        .whiteout("nor/this")
        .opaque("opt/x")
        .file("opt/x/z", 0o644, "z")
        .symlink("swap", "etc")
        .file("plain/now/dir", 0o644, "dir")
        .whiteout("gone")
        .link("etc/d", "etc/b");
    let last =
        Layer::new().dir("swap", 0o711).file("swap/new", 0o600, "new").dir("gone", 0o755).file("plain", 0o600, "");
    let mut image = Image::new(&[base.tar(), next.tar()]);
    insta::assert_snapshot!(image.dump(), @"
    etc d 0750 7:8 @1600000000
    etc/b f 0644 b 0:0 @1600000000
    etc/c f 0644 c 0:0 @1600000000
    etc/d f 0644 b 0:0 @1600000000
    opt d 0755 0:0 @1600000000
    opt/x d 0755 0:0 @1600000000
    opt/x/z f 0644 z 0:0 @1600000000
    plain d 0755 0:0 @0
    plain/now d 0755 0:0 @0
    plain/now/dir f 0644 dir 0:0 @1600000000
    swap l etc 0:0 @1600000000
    ");
    image.push(&last.tar());
    insta::assert_snapshot!(image.dump(), @"
    etc d 0750 7:8 @1600000000
    etc/b f 0644 b 0:0 @1600000000
    etc/c f 0644 c 0:0 @1600000000
    etc/d f 0644 b 0:0 @1600000000
    gone d 0755 0:0 @1600000000
    opt d 0755 0:0 @1600000000
    opt/x d 0755 0:0 @1600000000
    opt/x/z f 0644 z 0:0 @1600000000
    plain f 0600  0:0 @1600000000
    swap d 0711 0:0 @1600000000
    swap/new f 0600 new 0:0 @1600000000
    ");
}

#[test]
fn entries_go_through_links_inside_the_root() {
    needs_root();
    let base = Layer::new()
        .dir("usr", 0o755)
        .dir("usr/bin", 0o711)
        .file("usr/bin/sh", 0o755, "sh")
        .symlink("bin", "usr/bin")
        .symlink("up", "../../../../usr")
        .symlink("abs", "/etc")
        .file("usr/lost", 0o644, "");
    let next = Layer::new()
        .file("bin/ls", 0o755, "ls")
        .file("abs/passwd", 0o600, "mine")
        .file("up/share/doc", 0o644, "doc")
        .whiteout("up/lost")
        .link("bin/dash", "bin/sh")
        .symlink("own", "usr/bin")
        .file("own/cat", 0o755, "cat");
    let image = Image::new(&[base.tar(), next.tar()]);
    insta::assert_snapshot!(image.dump(), @"
    abs l /etc 0:0 @1600000000
    bin l usr/bin 0:0 @1600000000
    etc d 0755 0:0 @0
    etc/passwd f 0600 mine 0:0 @1600000000
    own l usr/bin 0:0 @1600000000
    up l ../../../../usr 0:0 @1600000000
    usr d 0755 0:0 @1600000000
    usr/bin d 0711 0:0 @1600000000
    usr/bin/cat f 0755 cat 0:0 @1600000000
    usr/bin/dash f 0755 sh 0:0 @1600000000
    usr/bin/ls f 0755 ls 0:0 @1600000000
    usr/bin/sh f 0755 sh 0:0 @1600000000
    usr/share d 0755 0:0 @0
    usr/share/doc f 0644 doc 0:0 @1600000000
    ");
}

#[test]
fn nothing_outside_is_touched() {
    let outside = tempdir();
    std::fs::write(outside.path().join("victim"), "safe").expect("victim");
    let target = outside.path().to_str().expect("text");
    let through = |layer: Layer| {
        let (dir, done) = one(layer.tar());
        assert_eq!(std::fs::read_to_string(outside.path().join("victim")).expect("victim"), "safe");
        assert_eq!(std::fs::read_dir(outside.path()).expect("outside").count(), 1);
        (dir, done)
    };
    // A link, then a file through it; a link replaced by itself; a chain; a link as the file's own name.
    through(Layer::new().symlink("x", target).file("x/victim", 0o644, "evil")).1.expect("in the root");
    through(Layer::new().symlink("x", target).file("x", 0o644, "evil")).1.expect("replaced");
    let up = format!("../../../../../../../../{target}");
    through(Layer::new().symlink("a", &up).symlink("b", "a").file("b/victim", 0o644, "evil")).1.expect("in the root");
    through(Layer::new().dir("d", 0o755).symlink("d", target).file("d/victim", 0o644, "evil")).1.expect("in the root");
    // Removing through a link removes nothing outside.
    through(Layer::new().symlink("x", target).whiteout("x/victim").opaque("x")).1.expect("nothing to remove");
    // A hard link to a link does not open what that names, nor does one through a link.
    let (dir, done) = through(Layer::new().symlink("x", &format!("{target}/victim")).link("y", "x"));
    done.expect("a link to a link");
    assert!(dir.path().join("y").is_symlink());
    assert!(matches!(
        through(Layer::new().symlink("x", target).link("y", "x/victim")).1,
        Err(UnpackError::LinkTarget { .. })
    ));
    // Directories' modes and times are set on directories only.
    through(Layer::new().dir("d", 0o000).symlink("d", target)).1.expect("replaced");
    assert!(std::fs::metadata(outside.path()).expect("outside").mode() & 0o777 != 0);
    assert!(matches!(
        through(Layer::new().symlink("l", "l").file("l/x", 0o644, "")).1,
        Err(UnpackError::BadEntry { .. })
    ));
}

#[test]
fn tars_with_paths_out_of_the_root_are_refused() {
    let work = tempdir();
    std::fs::create_dir(work.path().join("in")).expect("in");
    std::fs::write(work.path().join("evil"), "evil").expect("evil");
    let tar = |name: &str| {
        let args = ["-C", "in", "-P", "-cf", "-", name];
        std::process::Command::new("tar").current_dir(work.path()).args(args).output().expect("tar").stdout
    };
    let (_dir, done) = one(tar("../evil"));
    assert!(matches!(done, Err(UnpackError::ReadLayer { .. })), "{done:?}");
    let absolute = work.path().join("evil");
    let (dir, done) = one(tar(absolute.to_str().expect("text")));
    done.expect("an absolute name is one inside the root");
    assert!(dir.path().join(absolute.strip_prefix("/").expect("absolute")).is_file());
}

#[test]
fn impossible_layers_are_errors() {
    needs_root();
    let bad = |layer: Layer| one(layer.tar()).1.expect_err("must fail").to_string();
    insta::assert_snapshot!(bad(Layer::new().link("a", "b")), @"/a is a hard link to /b, which neither this layer nor one below it has as a file");
    insta::assert_snapshot!(bad(Layer::new().link("a", "b").link("b", "a")), @"the layer has an entry that cannot be unpacked, /a: its hard links form a circle or a long chain");
    insta::assert_snapshot!(bad(Layer::new().link("a", "a")), @"the layer has an entry that cannot be unpacked, /a: it is a hard link to itself");
    insta::assert_snapshot!(bad(Layer::new().dir("d", 0o755).link("a", "d")), @"/a is a hard link to /d, which neither this layer nor one below it has as a file");
    insta::assert_snapshot!(bad(Layer::new().put("a", EntryKind::Char { major: 0, minor: 0 }, 0)), @"the layer has an entry that cannot be unpacked, /a: the character device 0:0 is overlayfs's mark for removed files");
    insta::assert_snapshot!(bad(Layer::new().file("x".repeat(256), 0o644, "")), @"the layer has an entry that cannot be unpacked, /xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx: it has a component `.`, `..`, an empty one, or one longer than 255 bytes");
    let owner = Meta { uid: u32::MAX, ..Meta::mode(0o644) };
    insta::assert_snapshot!(bad(Layer::new().entry("a", EntryKind::Dir, owner, b"")), @"the layer has an entry that cannot be unpacked, /a: 4294967295 is not an owner");
    let mut cut = Layer::new().file("a", 0o644, &"x".repeat(2000)).tar();
    cut.truncate(1024);
    insta::assert_snapshot!(one(cut).1.expect_err("must fail").to_string(), @"cannot read the bytes of /a: the layer is cut short inside a");
}

#[test]
fn one_layer_says_things_twice() {
    needs_root();
    let layer = Layer::new()
        .file("a", 0o644, "first")
        .file("a", 0o600, "second")
        .dir("b", 0o755)
        .file("b/c/d", 0o644, "")
        .file("b", 0o644, "file now")
        .file("e", 0o644, "")
        .file("e/f", 0o644, "under what was a file")
        .link("late", "z")
        .file("z", 0o644, "z")
        .link("lost", "z")
        .file("lost", 0o644, "replaced a link");
    let image = Image::new(&[layer.tar()]);
    insta::assert_snapshot!(image.dump(), @r"
    a f 0600 second 0:0 @1600000000
    b f 0644 file\x20now 0:0 @1600000000
    e d 0755 0:0 @0
    e/f f 0644 under\x20what\x20was\x20a\x20file 0:0 @1600000000
    late f 0644 z 0:0 @1600000000
    lost f 0644 replaced\x20a\x20link 0:0 @1600000000
    z f 0644 z 0:0 @1600000000
    ");
}

#[test]
fn a_whiteout_spares_its_own_layer() {
    needs_root();
    let base = Layer::new()
        .dir("d", 0o755)
        .file("d/old", 0o644, "")
        .dir("e", 0o700)
        .file("e/old", 0o644, "")
        .file("f", 0o644, "");
    let next = Layer::new()
        .file("d/new", 0o644, "")
        .whiteout("d")
        .file("e/new", 0o644, "")
        .opaque("e")
        .file("f", 0o600, "new")
        .whiteout("f")
        .dir("root", 0o755);
    let image = Image::new(&[base.tar(), next.tar()]);
    insta::assert_snapshot!(image.dump(), @"
    d d 0755 0:0 @0
    d/new f 0644  0:0 @1600000000
    e d 0700 0:0 @1600000000
    e/new f 0644  0:0 @1600000000
    f f 0600 new 0:0 @1600000000
    root d 0755 0:0 @1600000000
    ");
    let all = Layer::new().file("top", 0o644, "").opaque("");
    let image = Image::new(&[Layer::new().dir("d", 0o755).file("d/x", 0o644, "").tar(), all.tar()]);
    insta::assert_snapshot!(image.dump(), @"top f 0644  0:0 @1600000000");
}

#[test]
fn links_to_lower_files_are_copies_with_their_metadata() {
    needs_root();
    let meta = Meta { uid: 3, gid: 4, ..dated(0o4711) };
    let base = Layer::new().entry("a", EntryKind::File { size: 2 }, meta, b"aa").symlink("s", "a");
    let image = Image::new(&[base.tar(), Layer::new().link("b", "a").link("t", "s").tar()]);
    insta::assert_snapshot!(image.dump(), @"
    a f 4711 aa 3:4 @1600000000
    b f 4711 aa 3:4 @1600000000
    s l a 0:0 @1600000000
    t l a 0:0 @1600000000
    ");
}

#[test]
fn without_privileges_devices_and_owners_are_left_out() {
    let layer = Layer::new()
        .entry("f", EntryKind::File { size: 0 }, Meta { uid: 12, gid: 13, ..dated(0o4755) }, b"")
        .put("null", EntryKind::Char { major: 1, minor: 3 }, 0o666)
        .dir("closed", 0o500)
        .file("closed/f", 0o000, "f")
        .dir("closed/in", 0o000)
        .file("closed/in/g", 0o400, "g");
    let dir = tempdir();
    let options = Options { devices: Devices::Skip, owners: Owners::Ignore, ..Options::merged() };
    let done = unpack(layer.tar().as_slice(), open(dir.path()), &options).expect("unpack");
    assert_eq!(done.skipped_devices, 1);
    assert_eq!(done.index.entries.len(), 6);
    let found = std::fs::metadata(dir.path().join("f")).expect("f");
    assert_eq!(found.uid(), rustix::process::geteuid().as_raw());
    assert!(!dir.path().join("null").exists());
    assert_eq!(std::fs::metadata(dir.path().join("closed")).expect("closed").mode() & 0o7777, 0o500);
    // So that the temporary directory can be removed by whoever runs this.
    for name in ["closed", "closed/in"] {
        std::fs::set_permissions(dir.path().join(name), std::fs::Permissions::from_mode(0o700)).expect("mode");
    }
}

#[test]
fn many_entries_and_deep_paths() {
    let mut layer = Layer::new();
    for n in 0..2_000 {
        layer = layer.file(format!("d{}/f{n}", n / 100), 0o644, "x");
    }
    let deep = vec!["d"; 500].join("/");
    let (dir, done) = one(layer.file(format!("{deep}/end"), 0o644, "end").tar());
    assert_eq!(done.expect("unpack").index.entries.len(), 2_001);
    assert_eq!(std::fs::read_to_string(dir.path().join(&deep).join("end")).expect("end"), "end");
    // Replacing a deep tree does not need a handle or a stack frame for each level.
    let again = Layer::new().file("d", 0o644, "flat").tar();
    unpack(again.as_slice(), open(dir.path()), &as_allowed()).expect("replaced");
    assert!(dir.path().join("d").is_file());
}

#[test]
fn an_archive_has_no_whiteouts() {
    let tar = Layer::new().file("a", 0o644, "").whiteout("a").tar();
    let dir = tempdir();
    let options = Options { read: ReadOptions::archive(), ..as_allowed() };
    let refused = unpack(tar.as_slice(), open(dir.path()), &options).expect_err("refused").to_string();
    assert!(refused.contains(".wh.a"), "{refused}");
    let few = Options { read: ReadOptions { max_entries: 1, ..ReadOptions::default() }, ..as_allowed() };
    assert!(matches!(unpack(tar.as_slice(), open(dir.path()), &few), Err(UnpackError::ReadLayer { .. })));
}

#[test]
fn the_marks_of_overlayfs() {
    needs_root();
    let mut stack = Stack::default();
    stack.push(&Layer::new().dir("d", 0o755).file("d/x", 0o644, "").file("f", 0o644, "").tar());
    let below = LowerTree { tree: &stack.tree, content: &stack };
    let tar = Layer::new().opaque("d").whiteout("f").whiteout("never").tar();
    for (xattrs, name) in
        [(OverlayXattrs::Trusted, "trusted.overlay.opaque"), (OverlayXattrs::User, "user.overlay.opaque")]
    {
        let dir = tempdir();
        let flavour = Flavour::OverlayLower { xattrs, lower: Some(&below) };
        unpack(tar.as_slice(), open(dir.path()), &Options { flavour, ..Options::overlay(None) }).expect("unpack");
        let mut value = [0; 8];
        let len = rustix::fs::getxattr(dir.path().join("d"), name, &mut value[..]).expect("mark");
        assert_eq!(&value[..len], b"y");
        let mark = std::fs::symlink_metadata(dir.path().join("f")).expect("mark");
        assert_eq!((mark.mode() & 0o170_000, mark.rdev()), (0o020_000, 0));
        assert!(!dir.path().join("never").exists());
        assert_eq!(std::fs::metadata(dir.path()).expect("root").mode() & 0o7777, 0o755);
    }
}

#[test]
fn names_that_are_no_text() {
    let (dir, done) = one(Layer::new().file(b"a\xffb/\n", 0o644, "").tar());
    done.expect("unpack");
    let name = std::ffi::OsStr::from_bytes(b"a\xffb");
    assert!(dir.path().join(name).join("\n").is_file());
    assert!(Path::new(&os(b"a")).is_relative());
}

#[test]
fn odd_orders_agree() {
    needs_root();
    let base = Layer::new().file("a/b/c", 0o644, "").file("d/a", 0o644, "").file("f", 0o644, "f").tar();
    let agree = |layer: Layer| Image::new(&[base.clone(), layer.tar()]).dump();
    // Marks below what is hidden would be listed by overlayfs.
    agree(Layer::new().whiteout("d").whiteout("d/a"));
    agree(Layer::new().whiteout("a/b/c").whiteout("a"));
    agree(Layer::new().whiteout("a/b/c").opaque("a").opaque(""));
    // What stood in a lower directory's place still hides it.
    agree(Layer::new().file("a", 0o644, "").file("a/new", 0o644, ""));
    agree(Layer::new().file("a/b", 0o644, "").whiteout("a/b/c"));
    // A link names what is there at that moment.
    agree(Layer::new().link("g", "f").file("f", 0o600, "new"));
    assert_eq!(agree(Layer::new().whiteout("d").opaque("d")), agree(Layer::new().whiteout("d")));
}

#[test]
fn removals_below_a_directory_in_place_of_a_link_spare_where_it_led() {
    // Docker writes an opaque mark into a directory that replaces anything.
    let root = tempdir();
    for layer in [
        Layer::new().dir("usr", 0o755).dir("usr/lib", 0o755).file("usr/lib/libc", 0o644, "").symlink("lib", "usr/lib"),
        Layer::new().dir("lib", 0o755).opaque("lib").whiteout("lib/libc").file("lib/new", 0o644, ""),
    ] {
        unpack(layer.tar().as_slice(), open(root.path()), &as_allowed()).expect("unpack");
    }
    assert!(root.path().join("usr/lib/libc").is_file());
    assert!(root.path().join("lib/new").is_file() && !root.path().join("lib/libc").exists());
}

mod random;
