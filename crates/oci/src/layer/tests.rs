//! Layers written and read back, and tars nobody should have written.

use std::io::{self, Read};

use proptest::prelude::*;

use super::header::{BLOCK, Fields, encode};
use super::*;
use crate::entry::{Entry, EntryKind, Meta, Mtime, Xattrs};
use crate::index::{IndexedEntry, LayerIndex};
use crate::{Digest, name};

fn entry(path: &str, kind: EntryKind) -> Entry {
    let mode = if kind == EntryKind::Dir { 0o755 } else { 0o644 };
    Entry { path: path.into(), kind, meta: Meta::mode(mode) }
}

fn file(path: &str, size: u64) -> Entry {
    entry(path, EntryKind::File { size })
}

fn write(entries: &[(Entry, &[u8])]) -> Vec<u8> {
    let mut w = LayerWriter::new(Vec::new());
    for (entry, body) in entries {
        w.append(entry, &mut &**body).unwrap();
    }
    w.finish().unwrap()
}

fn read(tar: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, LayerError> {
    read_with(tar, ReadOptions::default())
}

fn read_with(tar: &[u8], options: ReadOptions) -> Result<Vec<(Entry, Vec<u8>)>, LayerError> {
    let mut reader = LayerReader::with_options(tar, options);
    let mut out = Vec::new();
    while let Some(mut found) = reader.next_entry()? {
        let mut body = Vec::new();
        found.read_to_end(&mut body).map_err(LayerError::Read)?;
        let at = found.offset as usize;
        assert_eq!(&tar[at..at + body.len()], body, "the offset says where the body is");
        out.push((found.entry, body));
    }
    Ok(out)
}

/// A raw header and its body, for tars the writer would not write.
fn raw(flag: u8, name: &[u8], link: &[u8], body: &[u8]) -> Vec<u8> {
    let fields =
        Fields { name, link, flag, mode: 0o644, uid: 0, gid: 0, size: body.len() as u64, mtime: 0, major: 0, minor: 0 };
    let mut out = encode(&fields).to_vec();
    out.extend_from_slice(body);
    out.resize(out.len().next_multiple_of(BLOCK), 0);
    out
}

fn end(mut parts: Vec<Vec<u8>>) -> Vec<u8> {
    parts.push(vec![0; 2 * BLOCK]);
    parts.concat()
}

fn resum(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block[..BLOCK].iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

#[test]
fn a_plain_layer_has_these_bytes() {
    let tar = write(&[(entry("a", EntryKind::Dir), b""), (file("a/b", 3), b"hi\n")]);
    assert_eq!(tar.len(), 5 * BLOCK);
    assert_eq!(&tar[..3], b"a/\0");
    assert_eq!(&tar[100..108], b"0000755\0");
    assert_eq!(&tar[124..156], b"00000000000\x0000000000000\x00007425\0 ");
    assert_eq!(tar[156], b'5');
    assert_eq!(&tar[257..265], b"ustar\x0000");
    assert_eq!(&tar[329..345], b"0000000\x000000000\0");
    assert_eq!(&tar[2 * BLOCK..2 * BLOCK + 4], b"hi\n\0");
    assert_eq!(Digest::of(&tar).short(), "f09ec9d47a7c");
}

#[test]
fn whiteouts_and_links_have_their_names() {
    let mut gone = entry("etc/passwd", EntryKind::Whiteout);
    gone.meta = Meta { mode: 0o777, uid: 5, gid: 5, mtime: Mtime::secs(99), xattrs: Xattrs::new() };
    let tar = write(&[
        (gone, b""),
        (entry("", EntryKind::Opaque), b""),
        (entry("var", EntryKind::Opaque), b""),
        (entry("top", EntryKind::Whiteout), b""),
        (entry("h", EntryKind::Hardlink { target: b"a/b".into() }), b""),
        (entry("", EntryKind::Dir), b""),
    ]);
    let names: Vec<&[u8]> =
        tar.chunks(BLOCK).map(|b| b[..100].split(|c| *c == 0).next().unwrap()).filter(|n| !n.is_empty()).collect();
    let want: [&[u8]; 6] = [b"etc/.wh.passwd", b".wh..wh..opq", b"var/.wh..wh..opq", b".wh.top", b"h", b"./"];
    assert_eq!(names, want);
    assert_eq!(&tar[100..124], b"0000000\x000000000\x000000000\0", "what a whiteout's metadata was does not show");
    let back: Vec<EntryKind> = read(&tar).unwrap().into_iter().map(|(e, _)| e.kind).collect();
    assert_eq!(back[..4], [EntryKind::Whiteout, EntryKind::Opaque, EntryKind::Opaque, EntryKind::Whiteout]);
}

#[test]
fn marks_of_removal_have_no_bytes() {
    let tar = end(vec![raw(b'0', b"d/.wh.x", b"", b"bytes"), raw(b'0', b"f", b"", b"more")]);
    let mut reader = LayerReader::new(&tar[..]);
    let mut read = |kind: &dyn Fn(&EntryKind) -> bool| {
        let mut entry = reader.next_entry().unwrap().unwrap();
        assert!(kind(&entry.entry.kind));
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        text
    };
    assert_eq!(read(&|kind| *kind == EntryKind::Whiteout), "");
    assert_eq!(read(&|kind| *kind == EntryKind::File { size: 4 }), "more");
}

#[test]
fn large_values_get_pax_records_sorted_by_key() {
    let mut e = file(&"n".repeat(101), 0);
    e.meta = Meta {
        mode: 0o644,
        uid: 4_000_000_000,
        gid: 2_097_152,
        mtime: Mtime { secs: -5, nanos: 7 },
        xattrs: Xattrs::from([
            (b"security.capability".to_vec(), vec![1, 0, 10]),
            (b"user.dropped".to_vec(), b"x".to_vec()),
        ]),
    };
    let tar = write(&[(e.clone(), b"")]);
    let records = String::from_utf8_lossy(&tar[BLOCK..2 * BLOCK]).into_owned();
    let at = |key: &str| records.find(key).unwrap_or_else(|| panic!("no {key} in {records:?}"));
    let keys = [" SCHILY.xattr.security.capability=", " gid=2097152\n", " mtime=-5\n", " path=nn", " uid=4000000000\n"];
    assert!(keys.map(at).is_sorted(), "{records:?}");
    assert!(!records.contains("user.dropped"));
    let back = read(&tar).unwrap().remove(0).0;
    assert_eq!(back.path, e.path);
    assert_eq!((back.meta.uid, back.meta.gid, back.meta.mtime), (4_000_000_000, 2_097_152, Mtime::secs(-5)));
    assert_eq!(back.meta.xattrs.len(), 1);
    // At the limits of ustar there is no record.
    let mut plain = file(&"n".repeat(100), 0);
    plain.meta =
        Meta { mode: 0o7777, uid: 2_097_151, gid: 2_097_151, mtime: Mtime::secs(8_589_934_591), xattrs: Xattrs::new() };
    assert_eq!(write(&[(plain.clone(), b"")]).len(), 3 * BLOCK);
    assert_eq!(read(&write(&[(plain.clone(), b"")])).unwrap()[0].0, plain);
}

#[test]
fn bodies_of_another_length_are_errors_and_break_the_layer() {
    let mut w = LayerWriter::new(Vec::new());
    let short = w.append(&file("f", 5), &mut &b"four"[..]).unwrap_err();
    assert_eq!(short.to_string(), "`f` changed while it was read: expected 5 bytes, found 4");
    assert!(matches!(w.append(&file("g", 0), &mut io::empty()), Err(LayerError::Incomplete)));
    assert!(matches!(w.finish(), Err(LayerError::Incomplete)));
    let long = LayerWriter::new(Vec::new()).append(&file("f", 3), &mut &b"four"[..]).unwrap_err();
    assert!(matches!(long, LayerError::BodyLength { found, .. } if found == "more"));
}

#[test]
fn entries_a_layer_cannot_hold_are_refused() {
    let refused = |e: Entry| LayerWriter::new(Vec::new()).append(&e, &mut io::empty()).unwrap_err();
    for path in ["/a", "a/", "../a", "a//b", "a\0"] {
        assert!(matches!(refused(file(path, 0)), LayerError::Entry { .. }), "{path}");
    }
    for path in [".wh.a", "a/.wh.b", ".wh.d/x"] {
        assert!(matches!(refused(file(path, 0)), LayerError::Reserved { .. }), "{path}");
    }
    assert!(matches!(refused(file("", 0)), LayerError::Entry { .. }));
    assert!(matches!(refused(entry("d", EntryKind::Char { major: 1 << 21, minor: 0 })), LayerError::Entry { .. }));
    assert!(matches!(refused(entry("l", EntryKind::Symlink { target: vec![] })), LayerError::Entry { .. }));
    assert!(matches!(refused(entry("l", EntryKind::Hardlink { target: b"/a".into() })), LayerError::Entry { .. }));
}

#[test]
fn names_are_made_uniform_and_confined() {
    let kinds = |name: &[u8]| read(&end(vec![raw(b'0', name, b"", b"")])).map(|v| v[0].0.path.clone());
    assert_eq!(kinds(b"/etc//./x").unwrap(), b"etc/x");
    assert_eq!(kinds(b"./x").unwrap(), b"x");
    for bad in [&b"../x"[..], b"a/../../x", b"/.."] {
        assert!(matches!(kinds(bad), Err(LayerError::Traversal { .. })));
    }
    let link = |flag, target: &[u8]| read(&end(vec![raw(flag, b"l", target, b"")])).map(|v| v[0].0.kind.clone());
    assert!(matches!(link(b'1', b"../x"), Err(LayerError::Traversal { .. })));
    assert_eq!(link(b'1', b"/a/b").unwrap(), EntryKind::Hardlink { target: b"a/b".into() });
    assert_eq!(link(b'2', b"../../x").unwrap(), EntryKind::Symlink { target: b"../../x".into() });
    assert!(link(b'2', b"").is_err());
    let pax_nul = raw(b'x', b"p", b"", b"12 path=a\0b\n");
    assert!(matches!(read(&end(vec![pax_nul, raw(b'0', b"f", b"", b"")])), Err(LayerError::Traversal { .. })));
}

#[test]
fn an_archive_stays_inside_and_may_not_delete() {
    let archive = |tar: &[u8]| read_with(tar, ReadOptions::archive());
    let tar = end(vec![raw(b'0', b"../../a/../b", b"", b""), raw(b'1', b"h", b"../../b", b"")]);
    let got = archive(&tar).unwrap();
    assert_eq!(got[0].0.path, b"b");
    assert_eq!(got[1].0.kind, EntryKind::Hardlink { target: b"b".into() });
    for name in [&b".wh.x"[..], b"a/.wh..wh..opq", b".wh.d/f"] {
        let tar = end(vec![raw(b'0', name, b"", b"")]);
        assert!(matches!(archive(&tar), Err(LayerError::Reserved { .. })));
    }
}

#[test]
fn whiteouts_of_no_name_are_errors_and_files_of_aufs_are_passed_over() {
    let of = |name: &[u8]| read(&end(vec![raw(b'0', name, b"", b"body"), raw(b'0', b"z", b"", b"z")]));
    for bad in [&b".wh."[..], b".wh..", b".wh...", b"a/.wh..."] {
        assert!(matches!(of(bad), Err(LayerError::Traversal { .. })), "{}", name::escape(bad));
    }
    assert!(matches!(of(b".wh.dir/file"), Err(LayerError::Reserved { .. })));
    for private in [&b".wh..wh.aufs"[..], b".wh..wh.plnk/17", b"a/.wh..wh.orph"] {
        let got = of(private).unwrap();
        assert_eq!((got.len(), &got[0].0.path[..]), (1, &b"z"[..]));
    }
}

#[test]
fn gnu_and_pax_and_v7_names() {
    let long = [b"d/".as_slice(), &[b'x'; 200]].concat();
    let gnu = end(vec![
        raw(b'L', b"././@LongLink", b"", &[&long[..], b"\0"].concat()),
        raw(b'K', b"././@LongLink", b"", b"target\0"),
        raw(b'2', b"cut", b"cut", b""),
    ]);
    let got = read(&gnu).unwrap().remove(0).0;
    assert_eq!(got.path, long);
    assert_eq!(got.kind, EntryKind::Symlink { target: b"target".into() });
    let global = end(vec![raw(b'g', b"g", b"", b"14 comment=abc\n"), raw(b'0', b"f", b"", b"x")]);
    assert_eq!(read(&global).unwrap()[0].0.path, b"f");
    let mut v7 = raw(0, b"old/", b"", b"");
    v7[257..265].fill(0);
    v7[345..350].copy_from_slice(b"junk!");
    resum(&mut v7);
    let got = read(&end(vec![v7])).unwrap().remove(0).0;
    assert_eq!((&got.path[..], got.kind), (&b"old"[..], EntryKind::Dir));
    let mut prefixed = raw(b'0', b"name", b"", b"");
    prefixed[345..348].copy_from_slice(b"dir");
    resum(&mut prefixed);
    assert_eq!(read(&end(vec![prefixed])).unwrap()[0].0.path, b"dir/name");
}

#[test]
fn a_size_record_wins_over_the_header() {
    let mut header = raw(b'0', b"f", b"", b"");
    header[124..136].copy_from_slice(b"00000000000\0");
    resum(&mut header);
    let tar = end(vec![raw(b'x', b"p", b"", b"10 size=4\n"), header, b"body".to_vec(), vec![0; BLOCK - 4]]);
    assert_eq!(read(&tar).unwrap()[0].1, b"body");
    let negative = end(vec![raw(b'x', b"p", b"", b"11 size=-4\n"), raw(b'0', b"f", b"", b"")]);
    assert!(matches!(read(&negative), Err(LayerError::Entry { .. })));
}

#[test]
fn damage_is_reported_where_it_is() {
    let good = write(&[(file("a", 3), b"abc"), (file("b", 600), &[7; 600])]);
    assert!(read(&good[..good.len() - 2 * BLOCK]).is_ok(), "the end blocks may be missing");
    assert!(read(&good[..5 * BLOCK - 424]).is_ok(), "the last padding may be missing");
    assert!(matches!(read(&good[..4 * BLOCK]), Err(LayerError::Read(e)) if e.kind() == io::ErrorKind::UnexpectedEof));
    assert!(matches!(LayerIndex::read(&good[..4 * BLOCK]), Err(LayerError::Truncated(at)) if at == "b"));
    assert!(matches!(read(&good[..2 * BLOCK + 100]), Err(LayerError::Truncated(_))));
    let mut flipped = good.clone();
    flipped[2 * BLOCK] ^= 1;
    assert!(matches!(read(&flipped), Err(LayerError::Header { offset: 1024, .. })));
    let lone = [vec![0; BLOCK], raw(b'0', b"f", b"", b"")].concat();
    assert!(matches!(read(&lone), Err(LayerError::Header { .. })));
    let mut trailing = good.clone();
    trailing.extend_from_slice(b"garbage of any length");
    assert_eq!(read(&trailing).unwrap().len(), 2);
    assert_eq!(LayerIndex::read(&trailing[..]).unwrap().tar_size, trailing.len() as u64);
    assert!(read(b"").unwrap().is_empty());
}

#[test]
fn what_images_do_not_hold_is_an_error_that_names_it() {
    let of = |flag| read(&end(vec![raw(flag, b"x", b"", b"")])).unwrap_err();
    assert!(matches!(of(b'S'), LayerError::Sparse { path } if path == "x"));
    for flag in [b's', b'M', b'Z', 0xff] {
        assert!(matches!(of(flag), LayerError::UnknownType { .. }));
    }
    let sparse = end(vec![raw(b'x', b"p", b"", b"22 GNU.sparse.major=1\n"), raw(b'0', b"f", b"", b"")]);
    assert!(matches!(read(&sparse), Err(LayerError::Sparse { .. })));
    assert!(matches!(read(&end(vec![raw(b'0', b"./", b"", b"")])), Err(LayerError::Entry { .. })));
    assert!(read(&end(vec![raw(b'V', b"label", b"", b"")])).unwrap().is_empty());
}

#[test]
fn limits_hold() {
    let tar = write(&[(file("a", 0), b""), (file("b", 0), b"")]);
    let with = |f: &dyn Fn(&mut ReadOptions)| {
        let mut options = ReadOptions::default();
        f(&mut options);
        read_with(&tar, options)
    };
    assert!(matches!(with(&|o| o.max_entries = 1), Err(LayerError::Limit { what: "entries", limit: 1 })));
    assert!(matches!(with(&|o| o.max_size = 1000), Err(LayerError::Limit { what: "bytes", .. })));
    assert!(matches!(with(&|o| o.max_names = 1), Err(LayerError::Limit { what: "bytes of names and attributes", .. })));
    let attributes = |n: usize| {
        let record = format!("SCHILY.xattr.user.{}={}", "n".repeat(n), "v".repeat(n));
        let length = record.len() + 6;
        end(vec![
            raw(b'x', b"p", b"", format!("{length:4} {record}\n").trim_start().as_bytes()),
            raw(b'0', b"f", b"", b""),
        ])
    };
    let limited = ReadOptions { max_names: 1000, ..ReadOptions::default() };
    assert!(read_with(&attributes(490), limited).is_ok());
    assert!(matches!(read_with(&attributes(600), limited), Err(LayerError::Limit { .. })));
    let mut huge = raw(b'x', b"p", b"", b"");
    huge[124..136].copy_from_slice(b"77777777777\0");
    resum(&mut huge);
    assert!(matches!(read(&huge), Err(LayerError::Limit { limit: 1_048_576, .. })));
    let mut endless = raw(b'0', b"f", b"", b"");
    endless[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    resum(&mut endless);
    assert!(read(&endless).is_err());
    let deep = "a/".repeat(600);
    let long = raw(b'L', b"l", b"", deep.as_bytes());
    assert!(matches!(read(&end(vec![long, raw(b'0', b"f", b"", b"")])), Err(LayerError::Entry { .. })));
}

#[test]
fn a_million_entries() {
    let mut block = raw(b'0', b"d/0000000", b"", b"");
    let mut tar = Vec::with_capacity(513 << 20);
    for n in 0..1_000_000 {
        block[2..9].copy_from_slice(format!("{n:07}").as_bytes());
        resum(&mut block);
        tar.extend_from_slice(&block);
    }
    let index = LayerIndex::read(&*tar).unwrap();
    assert_eq!(index.entries.len(), 1_000_000);
    assert_eq!(index.entries[999_999].entry.path, b"d/0999999");
    let few = ReadOptions { max_entries: 999_999, ..ReadOptions::default() };
    let mut reader = LayerReader::with_options(&*tar, few);
    assert!(std::iter::from_fn(|| reader.next_entry().map(|e| e.map(drop)).transpose()).any(|e| e.is_err()));
}

#[test]
fn an_index_kept_while_writing_is_the_index_that_is_read() {
    let mut w = LayerWriter::indexed(Vec::new());
    let mut odd = file("f", 4);
    odd.meta.mtime = Mtime { secs: -3, nanos: 5 };
    odd.meta.xattrs.insert(b"user.x".to_vec(), b"1".to_vec());
    odd.meta.mode = 0o10_4755;
    w.append(&entry("d", EntryKind::Dir), &mut io::empty()).unwrap();
    w.append(&odd, &mut &b"body"[..]).unwrap();
    w.append(&entry("gone", EntryKind::Whiteout), &mut io::empty()).unwrap();
    let (tar, index) = w.finish_indexed().unwrap();
    assert_eq!(LayerIndex::read(&tar[..]).unwrap(), index);
}

fn names() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        "[a-z]{1,8}".prop_map(String::into_bytes),
        "[ä-ü ]{1,4}".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>().prop_filter("names", |b| !matches!(b, 0 | b'/')), 1..120),
    ];
    let ok = |p: &Vec<u8>| !p.starts_with(WHITEOUT) && p != b"." && p != b"..";
    proptest::collection::vec(part.prop_filter("a name", ok), 1..6).prop_map(|parts| parts.join(&b'/'))
}

fn kinds() -> impl Strategy<Value = (EntryKind, Vec<u8>)> {
    let body = proptest::collection::vec(any::<u8>(), 0..1500);
    let target = || proptest::collection::vec(1_u8..=255, 1..200);
    prop_oneof![
        body.prop_map(|b| (EntryKind::File { size: b.len() as u64 }, b)),
        Just((EntryKind::Dir, vec![])),
        target().prop_map(|target| (EntryKind::Symlink { target }, vec![])),
        names().prop_map(|target| (EntryKind::Hardlink { target }, vec![])),
        (0..=0o7_777_777_u32, 0..256_u32).prop_map(|(major, minor)| (EntryKind::Char { major, minor }, vec![])),
        (0..4096_u32, 0..256_u32).prop_map(|(major, minor)| (EntryKind::Block { major, minor }, vec![])),
        Just((EntryKind::Fifo, vec![])),
        Just((EntryKind::Whiteout, vec![])),
        Just((EntryKind::Opaque, vec![])),
    ]
}

fn metas() -> impl Strategy<Value = Meta> {
    let xattrs = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40));
    (0..=0o7777_u32, any::<u32>(), any::<u32>(), any::<i64>(), xattrs).prop_map(|(mode, uid, gid, secs, cap)| Meta {
        mode,
        uid,
        gid,
        mtime: Mtime::secs(secs),
        xattrs: cap.into_iter().map(|v| (b"security.capability".to_vec(), v)).collect(),
    })
}

proptest! {
    #[test]
    fn any_entries_survive_the_round_trip(list in proptest::collection::vec((names(), kinds(), metas()), 0..12)) {
        let mut want = Vec::new();
        let mut w = LayerWriter::indexed(Vec::new());
        for (path, (kind, body), meta) in list {
            let marker = matches!(kind, EntryKind::Whiteout | EntryKind::Opaque);
            let entry = Entry { path, kind, meta: if marker { Meta::default() } else { meta } };
            w.append(&entry, &mut &body[..]).unwrap();
            want.push((entry, body));
        }
        let (tar, index) = w.finish_indexed().unwrap();
        prop_assert_eq!(read(&tar).unwrap(), want);
        prop_assert_eq!(LayerIndex::read(&tar[..]).unwrap(), index.clone());
        prop_assert_eq!(LayerIndex::decode(&index.encode()).unwrap(), index);
    }

    #[test]
    fn another_parser_sees_the_same_entries(list in proptest::collection::vec((names(), kinds(), metas()), 0..8)) {
        let mut w = LayerWriter::indexed(Vec::new());
        for (path, (kind, body), meta) in list {
            // The other parser ends a pax record at the first line feed, even inside its value.
            let target = match &kind {
                EntryKind::Symlink { target } | EntryKind::Hardlink { target } => &target[..],
                _ => b"",
            };
            if [&path[..], target].iter().any(|text| text.contains(&b'\n')) || !meta.xattrs.is_empty() {
                continue;
            }
            w.append(&Entry { path, kind, meta }, &mut &body[..]).unwrap();
        }
        let (tar, index) = w.finish_indexed().unwrap();
        let mut ours = index.entries.iter();
        for theirs in tar::Archive::new(&tar[..]).entries().unwrap() {
            let theirs = theirs.unwrap();
            let IndexedEntry { entry, offset } = ours.next().unwrap();
            prop_assert_eq!(theirs.raw_file_position(), *offset);
            let path = theirs.path_bytes().into_owned();
            match &entry.kind {
                EntryKind::Dir => prop_assert_eq!(path.strip_suffix(b"/").unwrap(), &entry.path),
                EntryKind::Whiteout | EntryKind::Opaque => prop_assert_eq!(theirs.size(), 0),
                _ => prop_assert_eq!(&path, &entry.path),
            }
            match &entry.kind {
                EntryKind::File { size } => prop_assert_eq!(theirs.size(), *size),
                EntryKind::Symlink { target } | EntryKind::Hardlink { target } => {
                    prop_assert_eq!(&*theirs.link_name_bytes().unwrap(), &target[..]);
                }
                _ => {}
            }
            prop_assert_eq!(theirs.header().mode().unwrap(), entry.meta.mode);
        }
        prop_assert!(ours.next().is_none());
    }

    #[test]
    fn no_bytes_make_the_reader_panic(
        mut tar in proptest::collection::vec(any::<u8>(), 0..3000),
        flags in proptest::collection::vec(proptest::sample::select(&b"\x00012345671xgLKVS"[..]), 6),
    ) {
        // Correct checksums bring the noise past the first check.
        for (block, flag) in tar.chunks_exact_mut(BLOCK).zip(flags) {
            block[156] = flag;
            block[124..136].copy_from_slice(b"00000001000\0");
            resum(block);
        }
        let _ = read(&tar);
        let _ = read_with(&tar, ReadOptions::archive());
        let _ = LayerIndex::read(&tar[..]);
    }

    #[test]
    fn no_bytes_make_the_index_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(LayerIndex::decode(&bytes).is_err());
        let _ = LayerIndex::decode(&crate::index::forged(&bytes));
    }
}
