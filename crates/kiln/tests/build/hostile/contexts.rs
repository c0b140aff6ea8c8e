//! Build contexts that came from elsewhere: tars on standard input, tars of URLs, directories with links.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};

use kiln_testkit::{EntryType, Output, Rootfs};

use super::{Outside, UNTOLD, bench, untold};
use crate::{Bench, open};

/// Builds from a tar on standard input, in which a Dockerfile is unless the test brings its own.
fn build(b: &Bench, context: Rootfs, args: &[&str]) -> Output {
    b.t.kiln_with_input(&[&["build", "-t", "t", "--compression=none"], args, &["-"]].concat(), &context.tar())
}

fn with_dockerfile(text: &str) -> Rootfs {
    Rootfs::new().file("Dockerfile", 0o644, text)
}

#[test]
fn names_and_links_stay_inside() {
    let outside = Outside::new();
    let (abs, up) = (outside.dir().to_str().unwrap().to_owned(), outside.up());
    let b = bench();
    let all = "FROM scratch\nCOPY . /\n";
    for hostile in [
        with_dockerfile(all).file(&format!("{up}/made"), 0o644, "x"),
        with_dockerfile(all).file(&format!("{abs}/made"), 0o644, "x"),
        with_dockerfile(all).symlink("l", &abs).file("l/made", 0o644, "x"),
        with_dockerfile(all).symlink("l", &up).file("l/victim", 0o644, "x"),
        with_dockerfile(all).symlink("a", &up).symlink("b", "a").file("b/victim", 0o644, "x"),
        with_dockerfile(all).hardlink("h", &format!("{abs}/victim")),
        with_dockerfile(all).hardlink("h", &format!("{up}/victim")),
        with_dockerfile(all).symlink("l", &abs).hardlink("h", "l/victim"),
        with_dockerfile(all).symlink("l", &format!("{abs}/victim")).hardlink("h", "l").file("h", 0o644, "x"),
        with_dockerfile(all).dir("d", 0o755).symlink("d", &abs).dir("d", 0o700).file("d/made", 0o644, "x"),
    ] {
        // Refused, or unpacked inside; both are fine.
        let _ = build(&b, hostile, &[]);
        outside.is_untouched();
        untold(&b);
    }
}

#[test]
fn targets_of_links_are_kept_as_they_are() {
    let b = bench();
    let context = with_dockerfile("FROM scratch\nCOPY d /d\n")
        .dir("d", 0o755)
        .symlink("d/up", "../../elsewhere/./x")
        .symlink("d/absolute", "/etc//passwd")
        .symlink("d/dangling", "no such name");
    let _ = build(&b, context, &[]).ok();
    let text = open(&b.t.store(), "t").dump();
    for target in ["/d/up l 0777 0:0 -> ../../elsewhere/./x", "/d/absolute l 0777 0:0 -> /etc//passwd"] {
        assert!(text.contains(target), "{target}\n{text}");
    }
}

#[test]
fn a_url_is_no_better() {
    let outside = Outside::new();
    let b = bench();
    for hostile in [
        with_dockerfile("FROM scratch\nCOPY . /\n").file(&format!("{}/made", outside.up()), 0o644, "x"),
        with_dockerfile("FROM scratch\nCOPY . /\n").symlink("l", &outside.up()).file("l/made", 0o644, "x"),
        Rootfs::new().symlink("Dockerfile", outside.victim().to_str().unwrap()),
    ] {
        let url = super::urls::serve(hostile.tar());
        let out = b.t.kiln(&["build", "-t", "t", "--compression=none", &url]);
        assert!(!out.stderr.contains(UNTOLD), "{out}");
        outside.is_untouched();
        untold(&b);
    }
}

#[test]
fn files_that_say_how_to_build_are_read_inside() {
    let outside = Outside::new();
    let victim = outside.victim().to_str().unwrap().to_owned();
    let b = bench();
    let dockerfile = build(&b, Rootfs::new().symlink("Dockerfile", &victim), &[]).exits(1);
    assert!(dockerfile.stderr.contains("Dockerfile") && !dockerfile.stderr.contains(UNTOLD), "{dockerfile}");
    let named = Rootfs::new().symlink("sub", outside.dir().to_str().unwrap());
    let named = build(&b, named, &["-f", "sub/victim"]).exits(1);
    assert!(!named.stderr.contains(UNTOLD), "{named}");
    // A rule that cannot be read would be shown.
    std::fs::write(outside.dir().join("victim"), format!("[{UNTOLD}")).unwrap();
    for (context, args) in [
        (with_dockerfile("FROM scratch\n").symlink(".dockerignore", &victim), &[][..]),
        (with_dockerfile("FROM scratch\n").symlink("Dockerfile.dockerignore", &victim), &[]),
        (
            Rootfs::new().symlink("sub", outside.dir().to_str().unwrap()).file(
                &format!("{}/victim", outside.dir().to_str().unwrap().trim_start_matches('/')),
                0o644,
                "FROM scratch\n",
            ),
            &["-f", "sub/victim"],
        ),
    ] {
        std::fs::copy(&victim, format!("{victim}.dockerignore")).unwrap();
        let out = build(&b, context, args);
        assert!(!out.stderr.contains(UNTOLD), "{out}");
    }
}

#[test]
fn devices_and_setuid() {
    let b = bench();
    let context = with_dockerfile("FROM scratch\nCOPY . /\n")
        .entry("disk", EntryType::Block, 0o666, (0, 0), None, &[])
        .entry("pipe", EntryType::Fifo, 0o644, (0, 0), None, &[])
        .owned_file("tool", 0o6755, (1000, 1000), "x");
    let _ = build(&b, context, &[]).ok();
    let built = open(&b.t.store(), "t");
    // Devices of a context are left out; an owner of the sender's is not the image's.
    assert!(!built.has("disk"), "{}", built.dump());
    assert!(built.dump().contains("/tool f 6755 0:0 1"), "{}", built.dump());
    assert!(built.has("pipe"));
}

#[test]
fn odd_names_are_names() {
    let b = bench();
    let context = with_dockerfile("FROM scratch\nCOPY d /d\nCOPY [\"a\\\\nb\", \"/\"]\n")
        .file("d/new\nline", 0o644, "1")
        .file("d/ space ", 0o644, "2")
        .file("d/\u{1b}[2Jclear", 0o644, "3")
        .file("d/-rf", 0o644, "4")
        .file("d/Case", 0o644, "5")
        .file("d/case", 0o644, "6")
        .file("d/$x", 0o644, "7");
    let out = build(&b, context, &[]).exits(1);
    assert!(!out.stderr.contains('\u{1b}'), "{out}");
    let context = with_dockerfile("FROM scratch\nCOPY d /d\n")
        .file("d/new\nline", 0o644, "1")
        .file("d/\u{1b}[2Jclear", 0o644, "3")
        .file("d/Case", 0o644, "5")
        .file("d/case", 0o644, "6");
    let _ = build(&b, context, &[]).ok();
    let built = open(&b.t.store(), "t");
    for (name, content) in [("d/new\nline", "1"), ("d/\u{1b}[2Jclear", "3"), ("d/Case", "5"), ("d/case", "6")] {
        assert_eq!(built.read(name), content);
    }
    let listed = b.t.kiln(&["ls", "t"]).ok();
    assert!(!listed.stdout.contains('\u{1b}'), "{listed}");
    // A name that is no text, in a directory.
    let odd = std::ffi::OsStr::from_bytes(b"d\xff");
    std::fs::write(b.t.context().join(odd), "bytes").unwrap();
    let built = b.build("FROM scratch\nCOPY . /\n");
    assert!(built.dump().contains("/d\\xff f 0644 0:0 5"), "{}", built.dump());
}

#[test]
fn a_directory_with_links_out_is_read_inside() {
    let outside = Outside::new();
    let b = bench();
    let context = b.t.context();
    symlink(outside.dir(), context.join("abs")).unwrap();
    symlink(outside.up(), context.join("up")).unwrap();
    symlink("/proc/self/root", context.join("magic")).unwrap();
    std::fs::set_permissions(&context, std::fs::Permissions::from_mode(0o755)).unwrap();
    for source in ["abs/victim", "up/victim", "magic/etc/hostname", "abs/../abs/victim", "a*/victim", "./up/./victim"] {
        let out = b.run(&format!("FROM scratch\nCOPY {source} /x"), &[]);
        assert!(out.code == 1 || source.contains('*'), "{source}: {out}");
        untold(&b);
    }
    for mount in ["abs", "up", "magic"] {
        let text =
            format!("FROM busybox\nRUN --mount=type=bind,source={mount},target=/m cat /m/victim /m/etc/hostname");
        let out = b.run(&text, &[]);
        assert!(out.code != 0 && !out.stderr.contains(UNTOLD), "{out}");
    }
    outside.is_untouched();
}
