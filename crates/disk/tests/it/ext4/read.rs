//! What the reader sees of file systems that Kiln, `mke2fs` and the kernel made.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use kiln_disk::ext4::{Image, InodeFlags};
use kiln_disk::{DiskError, ReadAt};
use kiln_oci::{Entry, EntryKind, name};
use tempfile::{NamedTempFile, TempDir};

use super::tree::{CAPABILITY, Mounted, Tree, blank, e2fs, noise, options, said, xattrs_at};

const MIB: u64 = 1 << 20;

pub fn open(image: &NamedTempFile) -> Image<File> {
    Image::open(image.reopen().unwrap()).unwrap()
}

/// All that an image holds, with the bytes of the files.
pub fn contents<R: ReadAt>(image: &Image<R>) -> BTreeMap<Vec<u8>, (Entry, Vec<u8>)> {
    let mut last: Option<Vec<u8>> = None;
    let mut found = BTreeMap::new();
    for item in image.walk() {
        let item = item.unwrap();
        let mut body = Vec::new();
        if let EntryKind::File { size } = item.entry.kind {
            image.open_file(&item).unwrap().read_to_end(&mut body).unwrap();
            assert_eq!(body.len() as u64, size);
        }
        let parts = |path: &[u8]| name::components(path).map(<[u8]>::to_vec).collect::<Vec<_>>();
        assert!(last.as_deref().map(parts) < Some(parts(&item.entry.path)), "in order");
        last = Some(item.entry.path.clone());
        found.insert(item.entry.path.clone(), (item.entry, body));
    }
    found
}

/// What the writer got is what the reader gives, but for which of a file's names is its first.
fn same(tree: &Tree, found: &BTreeMap<Vec<u8>, (Entry, Vec<u8>)>) {
    let bodies: BTreeMap<&[u8], &(Entry, Vec<u8>)> = tree.0.iter().map(|item| (&item.0.path[..], item)).collect();
    let resolve = |item: &'_ (Entry, Vec<u8>)| match &item.0.kind {
        EntryKind::Hardlink { target } => target.clone(),
        _ => item.0.path.clone(),
    };
    for item in &tree.0 {
        let (want, body) = bodies[&resolve(item)[..]];
        let (_, got) =
            found.get_key_value(&item.0.path).unwrap_or_else(|| panic!("{} is missing", name::escape(&item.0.path)));
        let (got, bytes) = &found[&resolve(got)];
        let mut want_meta = want.meta.clone();
        if matches!(want.kind, EntryKind::Symlink { .. }) {
            want_meta.mode = 0o777;
        }
        assert_eq!((&got.kind, &got.meta), (&want.kind, &want_meta), "{}", name::escape(&item.0.path));
        assert!(bytes == body, "{} has other bytes", name::escape(&item.0.path));
    }
    let own = usize::from(!bodies.contains_key(&b""[..])) + usize::from(!bodies.contains_key(&b"lost+found"[..]));
    assert_eq!(found.len(), tree.0.len() + own);
}

#[test]
fn what_was_written_is_read() {
    let tree = Tree::sample();
    let image = tree.image(64 * MIB);
    let image = open(&image);
    let about = image.superblock();
    assert_eq!((&about.label[..], about.block_size, about.blocks), (&b"kiln-root"[..], 4096, 64 * MIB / 4096));
    assert_eq!(about.uuid, options(0).uuid);
    same(&tree, &contents(&image));
    assert!(image.walk().filter_map(Result::ok).any(|f| matches!(f.entry.kind, EntryKind::Hardlink { .. })));
}

/// Something of everything, as files of this machine.
fn source() -> TempDir {
    let dir = TempDir::new().unwrap();
    let at = |path: &str| dir.path().join(path);
    fs::create_dir_all(at("a/b/c")).unwrap();
    fs::create_dir(at("many")).unwrap();
    fs::write(at("a/tiny"), b"tiny").unwrap();
    fs::write(at("a/inline"), noise(100, 1)).unwrap();
    fs::write(at("a/medium"), noise(70_000, 2)).unwrap();
    fs::write(at("a/b/large"), noise(6_000_000, 3)).unwrap();
    let holes = File::create(at("a/holes")).unwrap();
    for (offset, n) in [(0, 4), (5 * MIB, 5), (100 * MIB + 77, 6), (290 * MIB, 7)] {
        std::os::unix::fs::FileExt::write_all_at(&holes, &noise(5000, n), offset).unwrap();
    }
    for n in 0..1500 {
        fs::write(at(&format!("many/a-name-that-takes-some-space-{n}")), n.to_string()).unwrap();
    }
    symlink("tiny", at("a/link")).unwrap();
    symlink("x".repeat(90), at("a/inline-link")).unwrap();
    symlink("/a/../a/b/./large".to_owned() + &"/.".repeat(100), at("a/slow")).unwrap();
    fs::hard_link(at("a/medium"), at("z-hard")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), rustix::fs::FileType::Fifo, 0o640.into(), 0).unwrap();
    let null = rustix::fs::makedev(1, 3);
    rustix::fs::mknodat(rustix::fs::CWD, at("null"), rustix::fs::FileType::CharacterDevice, 0o666.into(), null)
        .unwrap();
    fs::set_permissions(at("a/tiny"), fs::Permissions::from_mode(0o4751)).unwrap();
    std::os::unix::fs::chown(at("a/tiny"), Some(70_000), Some(123_456)).unwrap();
    let attr = |path, name: &str, value: &[u8]| {
        rustix::fs::setxattr(at(path), name, value, rustix::fs::XattrFlags::empty()).unwrap();
    };
    attr("a/medium", "security.capability", &CAPABILITY);
    attr("a/medium", "user.more", &noise(400, 8));
    attr("a/b", "user.dir", b"on a directory");
    said("setfacl", "acl", &["-m", "u:1000:rw,d:g:50:r", at("a/b").to_str().unwrap()]);
    dir
}

fn same_as_directory<R: ReadAt>(image: &Image<R>, root: &Path, nanos: bool) {
    let found = contents(image);
    let mut seen = 0;
    let mut left = vec![Vec::new()];
    while let Some(path) = left.pop() {
        let real = root.join(std::str::from_utf8(&path).unwrap());
        let stat = fs::symlink_metadata(&real).unwrap();
        let (entry, body) = found.get(&path).unwrap_or_else(|| panic!("{} is missing", real.display()));
        seen += 1;
        let kind = match &entry.kind {
            EntryKind::Hardlink { target } => &found[target].0.kind,
            other => other,
        };
        let meta = (entry.meta.mode, entry.meta.uid, entry.meta.gid, entry.meta.mtime.secs);
        if !path.is_empty() {
            assert_eq!(meta, (stat.mode() & 0o7777, stat.uid(), stat.gid(), stat.mtime()), "{}", real.display());
            assert_eq!(entry.meta.xattrs, xattrs_at(&real), "{}", real.display());
            assert!(!nanos || i64::from(entry.meta.mtime.nanos) == stat.mtime_nsec(), "{}", real.display());
        }
        match kind {
            EntryKind::Dir => {
                assert!(stat.is_dir());
                let below = fs::read_dir(&real).unwrap().map(|e| e.unwrap().file_name().into_encoded_bytes());
                left.extend(below.map(|base| name::join(&path, &base)));
            }
            EntryKind::File { size } => {
                assert_eq!((*size, stat.is_file()), (stat.size(), true));
                assert!(matches!(entry.kind, EntryKind::Hardlink { .. }) || fs::read(&real).unwrap() == *body);
            }
            EntryKind::Symlink { target } => {
                assert_eq!(fs::read_link(&real).unwrap().into_os_string().into_encoded_bytes(), *target);
            }
            EntryKind::Char { major: 1, minor: 3 } => assert!(stat.file_type().is_char_device()),
            EntryKind::Fifo => assert!(stat.file_type().is_fifo()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(found.len(), seen + usize::from(!root.join("lost+found").exists()));
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
        same_as_directory(&read.unwrap(), source.path(), false);
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
        same_as_directory(&open(&image), mounted.path(), !how.contains("ext3"));
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
