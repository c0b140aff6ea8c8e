//! What the reader sees of file systems that Kiln, `mke2fs` and the kernel made.

use std::fs::{self, File};
use std::io::Read;

use kiln_disk::DiskError;
use kiln_disk::ext4::{Image, InodeFlags};
use kiln_disk::fs::{Files, Fs};
use kiln_oci::EntryKind;
use tempfile::NamedTempFile;

use super::tree::{Mounted, Tree, blank, e2fs, noise, options, said};
use crate::reading::{contents, same, same_as_directory, source};

const MIB: u64 = 1 << 20;

pub fn open(image: &NamedTempFile) -> Image<File> {
    Image::open(image.reopen().unwrap()).unwrap()
}

#[test]
fn what_was_written_is_read() {
    let tree = Tree::sample();
    let image = tree.image(64 * MIB);
    let image = open(&image);
    let about = image.superblock();
    assert_eq!((&about.label[..], about.block_size, about.blocks), (&b"kiln-root"[..], 4096, 64 * MIB / 4096));
    assert_eq!(about.uuid, options(0).uuid);
    let image = Fs::from(image);
    same(&tree, &contents(&image));
    assert!(image.walk().filter_map(Result::ok).any(|f| matches!(f.entry.kind, EntryKind::Hardlink { .. })));
}

#[test]
fn all_kinds_that_mke2fs_makes_are_read() {
    let source = source();
    for how in [
        "-t ext2",
        "-t ext2 -b 1024",
        "-t ext3",
        "-t ext3 -b 1024 -I 128",
        "-t ext4",
        "-t ext4 -b 1024",
        "-t ext4 -b 2048",
        "-t ext4 -O ^metadata_csum",
        "-t ext4 -O ^64bit",
        "-t ext4 -O ^64bit,^metadata_csum,uninit_bg",
        "-t ext4 -O inline_data",
        "-t ext4 -O inline_data -I 512 -b 1024",
        "-t ext4 -O ^extent,^64bit",
        "-t ext4 -O meta_bg,^resize_inode -b 1024",
        "-t ext4 -O ^flex_bg",
        "-t ext4 -O ea_inode,large_dir",
        "-t ext4 -O metadata_csum_seed",
        "-t ext4 -O orphan_file,fast_commit",
        "-t ext4 -O ^dir_index,sparse_super2",
        "-t ext4 -O quota,project -I 256",
        "-t ext4 -O mmp,encrypt,^has_journal",
    ] {
        println!("{how}");
        let image = blank(400 * MIB);
        let mut args: Vec<&str> = how.split(' ').collect();
        args.extend(["-q", "-F", "-d", source.path().to_str().unwrap(), image.path().to_str().unwrap()]);
        e2fs("mke2fs", &args);
        let read = Image::open(image.reopen().unwrap());
        if how.contains("encrypt") {
            let text = read.err().unwrap().to_string();
            assert_eq!(text, "the ext4 file system uses what Kiln cannot read: encrypt");
            continue;
        }
        // `mke2fs -d` keeps whole seconds.
        same_as_directory(&read.unwrap().into(), source.path(), false);
    }
}

#[test]
fn what_the_kernel_wrote_is_read() {
    let source = source();
    for how in ["-t ext4", "-t ext4 -O inline_data", "-t ext3 -b 1024", "-t ext4 -O ^has_journal"] {
        let image = blank(500 * MIB);
        let mut args: Vec<&str> = how.split(' ').collect();
        args.extend(["-q", "-F", image.path().to_str().unwrap()]);
        e2fs("mke2fs", &args);
        let mounted = Mounted::new(image.path(), "loop");
        let (from, to) = (format!("{}/.", source.path().display()), mounted.path().display().to_string());
        said("cp", "coreutils", &["-a", &from, &to]);
        fs::remove_file(mounted.path().join("many/a-name-that-takes-some-space-7")).unwrap();
        fs::write(mounted.path().join("late"), noise(200, 3)).unwrap();
        said("sync", "coreutils", &["-f", &to]);
        let remounted = said("mount", "mount", &["-o", "remount,ro", &to]);
        assert_eq!(remounted, "");
        same_as_directory(&open(&image).into(), mounted.path(), !how.contains("ext3"));
    }
}

#[test]
fn what_cannot_be_read_is_named() {
    for (how, names) in
        [("-O bigalloc", "bigalloc"), ("-O casefold", "casefold"), ("-O bigalloc,encrypt", "encrypt, bigalloc")]
    {
        let image = blank(64 * MIB);
        let mut args: Vec<&str> = how.split(' ').collect();
        args.extend(["-q", "-F", "-t", "ext4", image.path().to_str().unwrap()]);
        e2fs("mke2fs", &args);
        match Image::open(image.reopen().unwrap()) {
            Err(DiskError::Unsupported { what, .. }) => assert_eq!(what, names),
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("{how} was opened"),
        }
    }
    assert!(matches!(Image::open(vec![0; 100]), Err(DiskError::Damaged { .. })));
    assert!(matches!(Image::open(vec![0; 10_000]), Err(DiskError::Damaged { .. })));
    let image = fs::read(Tree::sample().image(32 * MIB).path()).unwrap();
    let error = Image::open(image[..31 << 20].to_vec()).err().unwrap().to_string();
    assert!(error.contains("of which 32505856 are there"), "{error}");
}

#[test]
fn paths_are_found_through_links() {
    let mut tree = Tree::sample();
    tree.link("etc", "/usr/etc").dir("usr").dir("usr/etc").file("usr/etc/hosts", b"127.0.0.1 x\n");
    tree.link("usr/etc/up", "../../../../usr/etc/hosts").link("loop", "loop").link("a", "b").link("b", "a");
    tree.link("usr/etc/abs", "/etc/hosts").link("dangling", "/nowhere");
    let mut with = options(32 * MIB);
    with.flags.insert(b"usr/etc/hosts".to_vec(), InodeFlags::IMMUTABLE);
    let mut memory = Vec::new();
    tree.write_to(&mut memory, with).unwrap();
    let image = Image::open(memory).unwrap();
    for path in ["etc/hosts", "/etc/hosts", "usr/etc/up", "etc/abs", "dir/../etc/./up", "../../etc/hosts"] {
        let found = image.lookup(path.as_bytes()).unwrap().unwrap();
        assert_eq!(found.entry.path, b"usr/etc/hosts", "{path}");
        assert!(found.flags.has(InodeFlags::IMMUTABLE));
        assert_eq!(image.read(path.as_bytes(), 100).unwrap().unwrap(), b"127.0.0.1 x\n");
    }
    for path in ["nothing", "etc/nothing", "dangling", "dangling/x"] {
        assert_eq!(image.lookup(path.as_bytes()).unwrap(), None, "{path}");
    }
    for path in ["loop", "a/x", "etc/hosts/x", "dir/small/../small"] {
        assert!(matches!(image.lookup(path.as_bytes()), Err(DiskError::Path { .. })), "{path}");
    }
    let link = image.lookup_link(b"etc/up").unwrap().unwrap();
    assert_eq!(link.entry.kind, EntryKind::Symlink { target: b"../../../../usr/etc/hosts".to_vec() });
    assert_eq!(image.list(&image.lookup(b"etc").unwrap().unwrap()).unwrap(), [&b"abs"[..], b"hosts", b"up"]);
    assert!(image.read(b"dir/big", 1000).unwrap_err().to_string().contains("3000001 bytes, 1000 are the most"));
    assert!(image.read(b"dir", 1000).is_err());

    let holes = image.lookup(b"dir/holes").unwrap().unwrap();
    let mut body = image.open_file(&holes).unwrap();
    assert_eq!(body.hole().unwrap(), 2 * MIB);
    body.seek(2 * MIB);
    assert_eq!(body.hole().unwrap(), 0);
    let mut five = [0; 5];
    body.read_exact(&mut five).unwrap();
    assert_eq!(&five, b"middl");
}

#[test]
fn sockets_are_left_out_and_named() {
    let image = Tree::sample().image(32 * MIB);
    e2fs("debugfs", &["-w", "-R", "mknod pipe2 p", image.path().to_str().unwrap()]);
    e2fs("debugfs", &["-w", "-R", "sif pipe2 mode 0140644", image.path().to_str().unwrap()]);
    let image = open(&image);
    let mut walk = image.walk();
    assert!(walk.by_ref().all(|item| item.unwrap().entry.path != b"pipe2"));
    assert_eq!(walk.sockets(), [b"pipe2"]);
}
