//! Images on a real kernel. That they show what unpacking makes is tested with unpacking, on the same layers.

use std::os::unix::fs::MetadataExt;

use super::*;
use crate::fixture::{Layer, Mounted, Stack, dump, dump_tree, kernel_mounts_images, needs_root, tempdir};
use crate::reader::LowerTree;
use crate::unpack::{Options, unpack};

fn image_of(tar: &[u8], stack: &Stack) -> Option<Vec<u8>> {
    let below = LowerTree { tree: &stack.tree, content: stack };
    image(&LayerIndex::read(tar).expect("index"), &[7; 16], Some(&below))
}

#[test]
fn directories_of_any_size_are_found_by_name() {
    needs_root();
    let mut layer = Layer::new().dir("empty", 0o700);
    // Around the two names every directory has, and across many blocks.
    for name in ["!", "+", "-", "-a", ".a", "..a", "...", "/".replace('/', "0").as_str(), "~"] {
        layer = layer.file(format!("dots/{name}"), 0o644, name);
    }
    for n in 0..1500 {
        layer = layer.file(format!("many/{n:0width$}", width = 1 + n % 250), 0o644, &n.to_string());
    }
    let long = "x".repeat(255);
    layer = layer.file(format!("{long}/{long}/{long}"), 0o644, "deep").symlink("short", "dots/!");
    for size in [440, 447, 448, 449, 511, 512, 513, 4000] {
        layer = layer.symlink(format!("links/{size}"), &"t".repeat(size));
    }
    for size in [0, 1, 511, 512, 513, 4095, 4096, 4097, 70_000] {
        layer = layer.file(format!("sizes/{size}"), 0o644, &"s".repeat(size));
    }
    let tar = layer.tar();
    let mut stack = Stack::default();
    stack.push(&tar);
    let image = image(&LayerIndex::read(tar.as_slice()).expect("index"), &[7; 16], None).expect("an image");
    if kernel_mounts_images() {
        let mounted = Mounted::new(&image, &tar);
        assert_eq!(dump(&mounted.path()), dump_tree(&stack));
        for n in 0..1500 {
            let path = mounted.path().join(format!("many/{n:0width$}", width = 1 + n % 250));
            assert_eq!(std::fs::read_to_string(path).expect("found"), n.to_string());
        }
        assert!(!mounted.path().join("many/absent").exists() && !mounted.path().join("dots/z").exists());
        let up = std::fs::metadata(mounted.path().join("many/..")).expect("parent");
        assert_eq!(up.ino(), std::fs::metadata(mounted.path()).expect("root").ino());
        assert_eq!(up.nlink(), 2 + 6);
    }
}

#[test]
fn names_of_one_file_are_one_inode() {
    needs_root();
    let tar = Layer::new().file("a", 0o644, "x").link("d/b", "a").link("c", "d/b").tar();
    let image = image(&LayerIndex::read(tar.as_slice()).expect("index"), &[7; 16], None).expect("an image");
    if kernel_mounts_images() {
        let mounted = Mounted::new(&image, &tar);
        let of = |name: &str| {
            let meta = std::fs::metadata(mounted.path().join(name)).expect("there");
            (meta.ino(), meta.nlink())
        };
        assert_eq!(of("a").1, 3);
        assert!(of("a") == of("d/b") && of("a") == of("c"));
    }
}

#[test]
fn a_layer_whose_places_are_not_plain_is_declined() {
    let base = Layer::new().dir("usr", 0o755).file("usr/f", 0o644, "f").symlink("lib", "usr").file("file", 0o644, "");
    let mut stack = Stack::default();
    stack.push(&base.tar());
    let declined = |layer: Layer| assert!(image_of(&layer.tar(), &stack).is_none());
    // Through a link of the lower layers, or of its own; in place of a file.
    declined(Layer::new().file("lib/x", 0o644, ""));
    declined(Layer::new().whiteout("lib/f"));
    declined(Layer::new().opaque("lib"));
    declined(Layer::new().symlink("own", "usr").file("own/x", 0o644, ""));
    declined(Layer::new().file("file/x", 0o644, ""));
    // It changes its mind, or says something of what is not its own.
    declined(Layer::new().file("a", 0o644, "").file("a", 0o600, ""));
    declined(Layer::new().file("a", 0o644, "").dir("a", 0o755));
    declined(Layer::new().whiteout("file").file("file", 0o644, ""));
    declined(Layer::new().file("usr/g", 0o644, "").opaque("usr"));
    declined(Layer::new().opaque(""));
    declined(Layer::new().link("g", "usr/f"));
    declined(Layer::new().link("late", "later").file("later", 0o644, ""));
    let accepted = |layer: Layer| assert!(image_of(&layer.tar(), &stack).is_some());
    accepted(Layer::new());
    accepted(Layer::new().dir("usr", 0o700).opaque("usr").file("usr/new", 0o644, ""));
    accepted(Layer::new().whiteout("usr").whiteout("nothing").dir("lib", 0o755).file("lib/x", 0o644, ""));
}

#[test]
fn an_image_shows_what_the_unpacked_directory_holds() {
    needs_root();
    let mut stack = Stack::default();
    stack.push(&Layer::new().dir("etc", 0o750).file("etc/a", 0o644, "a").dir("opt/x", 0o755).file("f", 0o6, "").tar());
    let tar = Layer::new().file("etc/b", 0o644, "b").opaque("opt").file("opt/n", 0o644, "").whiteout("f").tar();
    let below = LowerTree { tree: &stack.tree, content: &stack };
    let dir = tempdir();
    unpack(tar.as_slice(), crate::fixture::open(dir.path()), &Options::overlay(Some(&below))).expect("unpack");
    let image = image_of(&tar, &stack).expect("an image");
    if kernel_mounts_images() {
        let mounted = Mounted::new(&image, &tar);
        // Marks have no time worth comparing.
        let known =
            |root: &std::path::Path| dump(root).lines().filter(|l| !l.contains(" c ")).collect::<Vec<_>>().join("\n");
        assert_eq!(known(&mounted.path()), known(dir.path()));
        let mark = std::fs::symlink_metadata(mounted.path().join("f")).expect("mark");
        assert_eq!((mark.mode() & 0o170_000, mark.rdev()), (0o020_000, 0));
        let mut value = [0; 8];
        let len =
            rustix::fs::getxattr(mounted.path().join("opt"), "trusted.overlay.opaque", &mut value[..]).expect("opaque");
        assert_eq!(&value[..len], b"y");
    }
}
