//! GNU tar, gzip, zstd, xz and bzip2 as judges.

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use kiln_oci::compress::{self, Format};
use kiln_oci::entry::{Mtime, Xattrs};
use kiln_oci::{Compression, Digest, Entry, EntryKind, LayerIndex, LayerReader, LayerSink, LayerWriter, Meta, Tree};

/// Feeds a command and returns what it prints; fails when it fails or complains.
fn pipe(command: &str, args: &[&str], input: &[u8]) -> Vec<u8> {
    let spawned = Command::new(command)
        .args(args)
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = spawned.unwrap_or_else(|e| panic!("{command} cannot be started: {e}"));
    let mut stdin = child.stdin.take().unwrap();
    let out = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input));
        child.wait_with_output().unwrap()
    });
    let complaint = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success() && complaint.is_empty(), "{command} {args:?}: {} {complaint}", out.status);
    out.stdout
}

fn entry(path: &str, kind: EntryKind, mode: u32) -> Entry {
    let meta = Meta { mode, uid: 7, gid: 8, mtime: Mtime::secs(1_700_000_000), xattrs: Xattrs::new() };
    Entry { path: path.into(), kind, meta }
}

/// One of everything a layer may hold.
fn everything() -> (Vec<u8>, LayerIndex) {
    let long = format!("long/{}/{}", "d".repeat(150), "ü".repeat(90));
    let mut old = entry("old", EntryKind::File { size: 4 }, 0o4755);
    old.meta.mtime = Mtime::secs(-86_400);
    old.meta.uid = 3_000_000;
    old.meta
        .xattrs
        .insert(b"security.capability".to_vec(), vec![1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let entries = [
        (entry("", EntryKind::Dir, 0o755), &b""[..]),
        (entry("dir", EntryKind::Dir, 0o1777), b""),
        (entry("dir/file", EntryKind::File { size: 6 }, 0o640), b"hello\n"),
        (entry("dir/hard", EntryKind::Hardlink { target: b"dir/file".into() }, 0o640), b""),
        (entry("dir/link", EntryKind::Symlink { target: b"../x y".into() }, 0o777), b""),
        (entry("dir/null", EntryKind::Char { major: 1, minor: 3 }, 0o666), b""),
        (entry("dir/pipe", EntryKind::Fifo, 0o600), b""),
        (entry("dir/gone", EntryKind::Whiteout, 0), b""),
        (entry(&long, EntryKind::File { size: 0 }, 0o644), b""),
        (old, b"old\n"),
        (entry("sub", EntryKind::Opaque, 0), b""),
    ];
    let mut w = LayerWriter::indexed(Vec::new());
    for (entry, body) in entries {
        w.append(&entry, &mut { body }).unwrap();
    }
    w.finish_indexed().unwrap()
}

#[test]
fn gnu_tar_reads_what_we_write() {
    let (tar, _) = everything();
    let list =
        String::from_utf8(pipe("tar", &["--numeric-owner", "-tvf", "-", "--quoting-style=literal"], &tar)).unwrap();
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines.len(), 11, "{list}");
    assert!(lines[1].starts_with("drwxrwxrwt 7/8") && lines[1].ends_with(" dir/"), "{list}");
    assert!(lines[3].ends_with(" dir/hard link to dir/file"), "{list}");
    assert!(lines[4].ends_with(" dir/link -> ../x y"), "{list}");
    assert!(lines[5].starts_with("crw-rw-rw- 7/8") && lines[5].contains("1,3"), "{list}");
    assert!(lines[7].ends_with(" dir/.wh.gone"), "{list}");
    assert!(lines[8].ends_with(&"ü".repeat(90)), "{list}");
    assert!(lines[9].starts_with("-rwsr-xr-x 3000000/8") && lines[9].contains("1969-12-31"), "{list}");
    assert!(lines[10].ends_with(" sub/.wh..wh..opq"), "{list}");
    assert_eq!(pipe("tar", &["-xOf", "-", "dir/file"], &tar), b"hello\n");
}

#[test]
fn the_usual_programs_read_what_we_compress() {
    let (mut tar, _) = everything();
    // Several blocks, so that they must join; text and noise in turn.
    let mut seed = 1_u64;
    for n in 0..500_000_u32 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        match (n >> 14) % 2 {
            0 => tar.extend_from_slice(format!("line {n}\n").as_bytes()),
            _ => tar.extend_from_slice(&(seed ^ seed >> 32).to_le_bytes()),
        }
    }
    for (compression, command) in [(Compression::Gzip { level: 6 }, "gzip"), (Compression::Zstd { level: 3 }, "zstd")] {
        let mut sink = LayerSink::new(Vec::new(), compression, 2);
        sink.write_all(&tar).unwrap();
        let (blob, digests) = sink.finish().unwrap();
        let back = pipe(command, &["-dc"], &blob);
        assert_eq!(Digest::of(&back), digests.diff_id, "{command}");
    }
}

#[test]
fn we_read_what_the_usual_programs_compress() {
    let (tar, index) = everything();
    for (command, args, format) in [
        ("gzip", &["-9c"][..], Format::Gzip),
        ("bzip2", &["-c"], Format::Bzip2),
        ("xz", &["-c"], Format::Xz),
        ("xz", &["-9e", "-c", "--check=sha256"], Format::Xz),
        ("zstd", &["-q", "-19", "-c"], Format::Zstd),
        ("zstd", &["-q", "--ultra", "-22", "--long=27", "-c"], Format::Zstd),
    ] {
        let packed = pipe(command, args, &tar);
        assert_eq!(compress::detect(&packed), Some(format));
        assert_eq!(compress::archive_format(&packed[..]).unwrap(), Some(format));
        let read = LayerIndex::read(compress::decompress(format, &packed[..], None)).unwrap();
        assert_eq!(read, index, "{command} {args:?}");
        // Two streams one after the other are one.
        let mut text = Vec::new();
        let twice = [pipe(command, args, b"one "), pipe(command, args, b"two")].concat();
        compress::decompress(format, &twice[..], None).read_to_end(&mut text).unwrap();
        assert_eq!(text, b"one two", "{command} {args:?}");
    }
}

fn tar_of(dir: &Path, args: &[&str]) -> Vec<u8> {
    let mut all = vec!["-C", dir.to_str().unwrap(), "--numeric-owner", "--owner=5", "--group=6", "-cf", "-"];
    all.extend_from_slice(args);
    pipe("tar", &all, b"")
}

#[test]
fn every_dialect_of_gnu_tar_is_the_same_tree() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dialects");
    let _ = std::fs::remove_dir_all(&dir);
    let long = dir.join("d".repeat(90)).join("e".repeat(90)).join("f".repeat(90));
    std::fs::create_dir_all(&long).unwrap();
    std::fs::write(long.join("file"), "body").unwrap();
    std::fs::write(dir.join("plain"), "x".repeat(1000)).unwrap();
    std::fs::hard_link(dir.join("plain"), dir.join("second")).unwrap();
    std::os::unix::fs::symlink("t".repeat(150), dir.join("link")).unwrap();
    let dump = |tar: &[u8]| {
        let mut tree = Tree::new();
        tree.apply(&LayerIndex::read(tar).unwrap(), &Digest::of(b"")).unwrap();
        tree.dump_with(b"", kiln_oci::tree::DumpOptions::default(), &mut |_| None)
    };
    let gnu = dump(&tar_of(&dir, &["--format=gnu", "--sort=name", "."]));
    assert_eq!(gnu.lines().count(), 8, "{gnu}");
    assert!(gnu.contains("/second h => /plain"), "{gnu}");
    assert_eq!(dump(&tar_of(&dir, &["--format=posix", "--sort=name", "."])), gnu);
    assert_eq!(dump(&tar_of(&dir, &["--format=oldgnu", "--sort=name", "."])), gnu);
    let short = dump(&tar_of(&dir, &["--format=v7", "plain", "second"]));
    assert_eq!(dump(&tar_of(&dir, &["--format=ustar", "plain", "second"])), short);
    assert!(short.contains("/plain f 0644 5:6 1000"), "{short}");
}

#[test]
fn sparse_files_are_refused_by_name() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sparse");
    std::fs::create_dir_all(&dir).unwrap();
    let file = std::fs::File::create(dir.join("holes")).unwrap();
    file.set_len(10 << 20).unwrap();
    for format in ["--format=gnu", "--format=posix"] {
        let tar = tar_of(&dir, &[format, "--sparse", "holes"]);
        let error = LayerIndex::read(&tar[..]).unwrap_err().to_string();
        assert!(error.contains("holes") && error.contains("sparse"), "{error}");
    }
}

#[test]
fn bodies_are_where_the_index_says() {
    let (tar, index) = everything();
    let mut reader = LayerReader::new(&tar[..]);
    let mut seen = 0;
    while let Some(mut found) = reader.next_entry().unwrap() {
        let mut body = Vec::new();
        found.read_to_end(&mut body).unwrap();
        let at = index.entries[seen].offset as usize;
        assert_eq!(&tar[at..at + body.len()], body);
        seen += 1;
    }
    assert_eq!(seen, index.entries.len());
    assert_eq!(io::copy(&mut &tar[..], &mut io::sink()).unwrap(), index.tar_size);
}
