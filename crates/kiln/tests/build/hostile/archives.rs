//! Archives that `ADD` unpacks, `kiln load` and `kiln import` read.

use kiln_testkit::{EntryType, Rootfs};

use super::{Outside, bench, untold};

/// Gives a tar to everything that reads one.
fn everywhere(tar: &[u8], check: &dyn Fn(&kiln_testkit::Output)) {
    let b = bench();
    b.t.write("hostile.tar", 0o644, tar);
    check(&b.run("FROM busybox\nADD hostile.tar /d/", &[]));
    check(&b.t.kiln_with_input(&["import", "-", "imported:1"], tar));
    check(&b.t.kiln_with_input(&["load"], tar));
    check(&b.t.kiln_with_input(&["build", "-t", "t", "-"], tar));
    untold(&b);
}

#[test]
fn links_lead_into_the_image_only() {
    let outside = Outside::new();
    let (abs, up) = (outside.dir().to_str().unwrap().to_owned(), outside.up());
    for hostile in [
        Rootfs::new().file(&format!("{up}/made"), 0o644, "x"),
        Rootfs::new().file(&format!("{abs}/victim"), 0o644, "x"),
        Rootfs::new().symlink("l", &abs).file("l/victim", 0o644, "x").file("l/made", 0o644, "x"),
        Rootfs::new().symlink("l", &up).symlink("m", "l").file("m/victim", 0o644, "x"),
        Rootfs::new().hardlink("h", &format!("{abs}/victim")).file("h", 0o644, "x"),
        Rootfs::new().hardlink("h", &format!("{up}/victim")),
        Rootfs::new().symlink("l", &abs).hardlink("h", "l/victim").file("h", 0o666, "x"),
        Rootfs::new().symlink("l", &abs).entry("l/disk", EntryType::Block, 0o666, (0, 0), None, &[]),
        Rootfs::new().symlink("l", &format!("{abs}/victim")).entry("l", EntryType::Char, 0o6777, (9, 9), None, &[]),
        Rootfs::new().dir("d", 0o755).symlink("d", &abs).dir("d", 0o000),
        Rootfs::new().symlink("Dockerfile", &format!("{abs}/victim")),
    ] {
        everywhere(&hostile.tar(), &|_| outside.is_untouched());
    }
}

/// A header with this type and size, as it stands; nothing follows it.
fn header(name: &str, kind: EntryType, size: &[u8; 12]) -> Vec<u8> {
    let mut block = Rootfs::new().entry(name, kind, 0o644, (0, 0), None, &[]).tar()[..512].to_vec();
    block[124..136].copy_from_slice(size);
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

#[test]
fn headers_that_lie() {
    let four_gib = b"40000000000\0";
    let minus_one = &[0xff; 12];
    let endless = &[0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    let end = vec![0; 1024];
    let pax = |record: &str| {
        let mut tar = Rootfs::new().entry("pax", EntryType::XHeader, 0o644, (0, 0), None, record.as_bytes()).tar();
        tar.truncate(tar.len() - 1024);
        [tar, Rootfs::new().file("f", 0o644, "x").tar()].concat()
    };
    for hostile in [
        [header("p", EntryType::XHeader, four_gib), end.clone()].concat(),
        [header("g", EntryType::XGlobalHeader, four_gib), end.clone()].concat(),
        [header("l", EntryType::GNULongName, four_gib), end.clone()].concat(),
        [header("k", EntryType::GNULongLink, endless), end.clone()].concat(),
        [header("f", EntryType::Regular, four_gib), end.clone()].concat(),
        [header("f", EntryType::Regular, minus_one), end.clone()].concat(),
        [header("f", EntryType::Regular, endless), end.clone()].concat(),
        header("f", EntryType::GNUSparse, b"00000000000\0"),
        pax("11 size=-4\n"),
        pax("30 size=99999999999999999999\n"),
        pax("12 path=a\0b\n"),
        pax("18 path=../../../x"),
        pax("22 GNU.sparse.major=1\n"),
        pax("9999 path=short\n"),
        pax("6 =x\n\n"),
        Rootfs::new().file(".wh.passwd", 0o644, "").tar(),
        Rootfs::new().file("d/.wh..wh..opq", 0o644, "").tar(),
        Rootfs::new().dir(".wh.d", 0o755).file(".wh.d/f", 0o644, "").tar(),
    ] {
        everywhere(&hostile, &|out| {
            assert!(out.code == 1 || out.code == 3, "{out}");
            assert!(out.stderr.contains("error: ") && !out.stderr.contains("panicked"), "{out}");
        });
    }
}

#[test]
fn programs_of_the_image_are_not_run() {
    let b = bench();
    let tools = ["xz", "unxz", "gzip", "gunzip", "unpigz", "pigz", "bzip2", "zstd", "unzstd", "tar", "git", "chown"];
    let fakes = tools.iter().map(|t| format!("ln -sf fake /bin/{t} && ln -sf /bin/fake /usr/bin/{t}"));
    let text = format!(
        "FROM busybox\nRUN printf '#!/bin/sh\\necho run >> /ran\\n' > /bin/fake && chmod 755 /bin/fake && {}\n\
         ADD a.tar.xz /a/\nADD a.tar.gz /b/\nADD a.tar.bz2 /c/\nADD a.tar.zst /d/\nCOPY --chown=app a.tar.gz /e\n",
        fakes.collect::<Vec<_>>().join(" && ")
    );
    let tar = Rootfs::new().file("f", 0o644, "x").tar();
    for (tool, ending) in [("xz", "xz"), ("gzip", "gz"), ("bzip2", "bz2"), ("zstd", "zst")] {
        b.t.write("a.tar", 0o644, &tar);
        let _ = b.t.tool(tool, &["-k", "-f", "-q", b.t.context().join("a.tar").to_str().unwrap()]).ok();
        assert!(b.t.context().join(format!("a.tar.{ending}")).exists());
    }
    let built = b.build(&text);
    assert!(!built.has("ran"));
    for dir in ["a", "b", "c", "d"] {
        assert_eq!(built.read(&format!("{dir}/f")), "x");
    }
}
