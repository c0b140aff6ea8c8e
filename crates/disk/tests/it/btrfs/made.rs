//! File systems of `mkfs.btrfs` that the kernel fills, and what is in them by the kernel and by the reader.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use kiln_disk::ReadAt;
use kiln_disk::btrfs::Image;
use kiln_disk::fs::Files;
use kiln_oci::{Entry, EntryKind, name};
use tempfile::NamedTempFile;

use crate::ext4::tree::{Mounted, blank, xattrs_at};
use crate::tools::{run, text};

pub const MIB: u64 = 1 << 20;

/// An empty file system, made as `how` says.
pub fn mkfs(how: &str, size: u64) -> NamedTempFile {
    let image = blank(size);
    let mut args: Vec<&str> = how.split(' ').filter(|word| !word.is_empty()).collect();
    args.extend(["-q", "-f", text(image.path())]);
    run("mkfs.btrfs", &args);
    image
}

/// The kernel's view of it, `how` beside `loop`.
pub fn mount(image: &NamedTempFile, how: &str) -> Mounted {
    Mounted::of("btrfs", image.path(), &format!("loop{how}"))
}

pub fn open(image: &NamedTempFile) -> Image<File> {
    Image::open(image.reopen().unwrap()).unwrap()
}

pub type Contents = BTreeMap<Vec<u8>, (Entry, Vec<u8>)>;

/// All that an image holds, with the bytes of the files.
pub fn contents<R: ReadAt>(image: &Image<R>) -> Contents {
    let mut found = BTreeMap::new();
    for item in image.walk() {
        let item = item.unwrap();
        let mut body = Vec::new();
        if let EntryKind::File { size } = item.entry.kind {
            image.open_file(&item).unwrap().read_to_end(&mut body).unwrap();
            assert_eq!(body.len() as u64, size);
        }
        found.insert(item.entry.path.clone(), (item.entry, body));
    }
    found
}

/// What the reader says is what the kernel says.
pub fn same_as_mounted<R: ReadAt>(image: &Image<R>, root: &Path) {
    let found = contents(image);
    let mut left = vec![Vec::new()];
    let mut seen = 0;
    while let Some(path) = left.pop() {
        let real = root.join(std::ffi::OsStr::from_bytes(&path));
        let (stat, shown) = (fs::symlink_metadata(&real).unwrap(), real.display());
        let (entry, body) = found.get(&path).unwrap_or_else(|| panic!("{shown} is missing"));
        seen += 1;
        let kind = match &entry.kind {
            EntryKind::Hardlink { target } => {
                let first = fs::symlink_metadata(root.join(std::ffi::OsStr::from_bytes(target))).unwrap();
                assert_eq!(first.ino(), stat.ino(), "{shown}");
                &found[target].0.kind
            }
            other => other,
        };
        let meta = &entry.meta;
        let said = (meta.mode, meta.uid, meta.gid, meta.mtime.secs, i64::from(meta.mtime.nanos));
        assert_eq!(said, (stat.mode() & 0o7777, stat.uid(), stat.gid(), stat.mtime(), stat.mtime_nsec()), "{shown}");
        let mut attrs = xattrs_at(&real);
        attrs.retain(|name, _| !name.starts_with(b"btrfs."));
        assert_eq!(meta.xattrs, attrs, "{shown}");
        let device = |major, minor| rustix::fs::makedev(major, minor);
        match kind {
            EntryKind::Dir => {
                assert!(stat.is_dir(), "{shown}");
                let below = fs::read_dir(&real).unwrap().map(|e| e.unwrap().file_name().into_encoded_bytes());
                left.extend(below.map(|base| name::join(&path, &base)));
            }
            EntryKind::File { size } => {
                assert_eq!((*size, stat.is_file()), (stat.size(), true), "{shown}");
                let hard = matches!(entry.kind, EntryKind::Hardlink { .. });
                assert!(hard || fs::read(&real).unwrap() == *body, "{shown} has other bytes");
            }
            EntryKind::Symlink { target } => {
                assert_eq!(fs::read_link(&real).unwrap().as_os_str().as_bytes(), target, "{shown}");
            }
            EntryKind::Char { major, minor } => {
                assert!(stat.file_type().is_char_device() && stat.rdev() == device(*major, *minor), "{shown}");
            }
            EntryKind::Block { major, minor } => {
                assert!(stat.file_type().is_block_device() && stat.rdev() == device(*major, *minor), "{shown}");
            }
            EntryKind::Fifo => assert!(stat.file_type().is_fifo(), "{shown}"),
            other => panic!("{shown}: {other:?}"),
        }
    }
    assert_eq!(found.len(), seen);
}
