//! What readers give of file systems, beside what was put into them and what the kernel shows.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use kiln_disk::ReadAt;
use kiln_disk::fs::Fs;
use kiln_oci::{Entry, EntryKind, name};
use tempfile::TempDir;

use crate::ext4::tree::{CAPABILITY, Tree, noise, said, xattrs_at};

const MIB: u64 = 1 << 20;

/// All that an image holds, with the bytes of the files.
pub fn contents<R: ReadAt>(image: &Fs<R>) -> BTreeMap<Vec<u8>, (Entry, Vec<u8>)> {
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
pub fn same(tree: &Tree, found: &BTreeMap<Vec<u8>, (Entry, Vec<u8>)>) {
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

/// Something of everything, as files of this machine.
pub fn source() -> TempDir {
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

/// What is read is what the kernel shows in a directory, with its sockets left out.
pub fn same_as_directory<R: ReadAt>(image: &Fs<R>, root: &Path, nanos: bool) {
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
    let own = matches!(image, Fs::Ext4(_)) && !root.join("lost+found").exists();
    assert_eq!(found.len(), seen + usize::from(own));
}

/// Reads all that can be read; how many entries and errors there were.
pub fn exhaust<R: ReadAt>(image: &Fs<R>) -> (usize, usize) {
    let (mut entries, mut errors) = (0, 0);
    for item in image.walk() {
        let Ok(item) = item else {
            errors += 1;
            continue;
        };
        entries += 1;
        if matches!(item.entry.kind, EntryKind::File { .. }) {
            let body = image.open_file(&item).map(|body| body.take(1 << 20).read_to_end(&mut Vec::new()));
            errors += usize::from(!matches!(body, Ok(Ok(_))));
        }
        if entries % 50 == 1 {
            let _ = image.lookup(&item.entry.path);
        }
    }
    (entries, errors)
}
