//! ADD: owners and roots of archives.

use kiln_testkit::{Rootfs, layout::gzip};

use crate::Bench;

#[test]
fn the_root_of_an_archive_is_not_the_destination() {
    let b = Bench::new();
    let root = Rootfs::new().dir(".", 0o755).owned_file("f", 0o644, (9, 9), "x");
    b.t.write("r.txt", 0o644, gzip(&root.tar()));
    let built = b.build("FROM busybox\nRUN mkdir -m 700 /there\nADD r.txt /there");
    assert!(built.dump_of("there").starts_with("/there d 0700 0:0\n/there/f f 0644 9:9"), "{}", built.dump_of("there"));
}

#[test]
fn chown_of_an_archive_is_for_its_entries_and_the_destination() {
    let b = Bench::new();
    b.t.write("a.tar", 0o644, Rootfs::new().owned_file("sub/f", 0o644, (9, 9), "x").tar());
    let built = b.build("FROM scratch\nADD --chown=5:6 a.tar /new/");
    let text = built.dump();
    for line in ["/new d 0755 5:6", "/new/sub d 0755 0:0", "/new/sub/f f 0644 5:6"] {
        assert!(text.lines().any(|l| l.starts_with(line)), "{line} in\n{text}");
    }
}

#[test]
fn chmod_is_not_for_what_is_unpacked() {
    let b = Bench::new().file("f", 0o644, "F");
    b.t.write("a.tar", 0o644, Rootfs::new().owned_file("sub/f", 0o604, (9, 9), "x").tar());
    let built =
        b.build("FROM scratch\nADD --chmod=640 a.tar /new/\nADD --chmod=640 f /plain\nCOPY --chmod=640 a.tar /copied");
    let text = built.dump();
    for line in ["/new d 0755 0:0", "/new/sub d 0755 0:0", "/new/sub/f f 0604 9:9", "/plain f 0640", "/copied f 0640"] {
        assert!(text.lines().any(|l| l.starts_with(line)), "{line} in\n{text}");
    }
}

#[test]
fn absolute_links_of_an_archive_stay_as_they_are() {
    let b = Bench::new();
    b.t.write(
        "a.tar",
        0o644,
        Rootfs::new()
            .symlink("up", "../../..")
            .symlink("abs", "/etc/passwd")
            .file("f", 0o644, "x")
            .hardlink("h", "/f")
            .tar(),
    );
    let built = b.build("FROM scratch\nADD a.tar /d/");
    let text = built.dump();
    assert!(
        text.contains("/d/up l 0777 0:0 -> ../../..") && text.contains("/d/abs l 0777 0:0 -> /etc/passwd"),
        "{text}"
    );
    assert_eq!(built.read("d/h"), "x", "a hard link is inside the archive");
}

#[test]
fn the_last_entry_of_a_name_wins_and_order_does_not_matter() {
    let b = Bench::new();
    let tar = Rootfs::new()
        .hardlink("h", "f")
        .file("f", 0o644, "one")
        .file("f", 0o600, "two")
        .file("p/c", 0o644, "c")
        .dir("p", 0o711);
    b.t.write("a.tar", 0o644, tar.tar());
    let out = b.run("FROM scratch\nADD a.tar /d/", &[]);
    if out.code == 0 {
        let built = crate::open(&b.t.store(), "t");
        assert_eq!(built.read("d/f"), "two");
        assert!(built.dump().contains("/d/p d 0711"), "{}", built.dump());
    } else {
        assert!(out.stderr.contains('h'), "a link to what comes later is named: {}", out.stderr);
    }
}
