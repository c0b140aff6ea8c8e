//! Contexts as kaniko writes them, and archives of all kinds.

use std::fs;
use std::io::Write;

use kiln_testkit::server::{Say, Server};
use kiln_testkit::{Rootfs, TestContext};

use crate::Pod;

const DOCKERFILE: &str = "FROM scratch\nCOPY . /\n";

fn files(t: &TestContext, layout: &str) -> String {
    let _ = t.kiln(&["copy", &format!("oci:{layout}"), "store:made"]).ok();
    t.kiln(&["ls", "made"]).ok().stdout
}

fn build(t: &TestContext, context: &str, flags: &[&str], input: &[u8]) -> kiln_testkit::Output {
    let layout = format!("--oci-layout-path={}", t.out("layout").display());
    let context = format!("--context={context}");
    t.kiln_with_input(&[&["executor", "--log-format=text", "--no-push", &layout, &context], flags].concat(), input)
}

/// A zip as Info-ZIP writes it: stored entries with Unix modes.
fn zip(entries: &[(&str, u32, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut directory = Vec::new();
    for (name, mode, body) in entries {
        let mut crc = flate2_crc(body).to_le_bytes().to_vec();
        let size = u32::try_from(body.len()).unwrap().to_le_bytes();
        crc.extend(size);
        crc.extend(size);
        let offset = u32::try_from(out.len()).unwrap();
        let length = u16::try_from(name.len()).unwrap().to_le_bytes();
        // Version, flags, method, time and date: 1980-01-01.
        let common = [&[20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0][..], &crc, &length, &[0, 0]].concat();
        out.extend([b"PK\x03\x04", &common[..], name.as_bytes(), body].concat());
        directory.extend([b"PK\x01\x02", &[20, 3][..], &common].concat());
        directory.extend([0; 6]);
        directory.extend((mode << 16).to_le_bytes());
        directory.extend(offset.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let count = u16::try_from(entries.len()).unwrap().to_le_bytes();
    let (at, size) = (u32::try_from(out.len()).unwrap(), u32::try_from(directory.len()).unwrap());
    out.extend(&directory);
    out.extend([b"PK\x05\x06", &[0; 4][..], &count, &count, &size.to_le_bytes(), &at.to_le_bytes(), &[0, 0]].concat());
    out
}

fn flate2_crc(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

#[test]
fn archives_come_as_files_and_on_standard_input() {
    let t = Pod::machine();
    let tar = Rootfs::new().file("Dockerfile", 0o644, DOCKERFILE).file("in/a", 0o600, "A").tar();
    let zipped =
        zip(&[("Dockerfile", 0o100_644, DOCKERFILE.as_bytes()), ("in/", 0o040_755, b""), ("in/a", 0o100_600, b"A")]);
    fs::write(t.root().join("c.tar"), &tar).unwrap();
    fs::write(t.root().join("c.zip"), &zipped).unwrap();
    for (context, input) in [
        (format!("tar://{}/c.tar", t.root().display()), &b""[..]),
        (format!("tar://{}/c.zip", t.root().display()), b""),
        ("tar://stdin".to_owned(), &tar),
        ("tar://stdin".to_owned(), &zipped),
    ] {
        let _ = build(&t, &context, &[], input).ok();
        let list = files(&t, t.out("layout").to_str().unwrap());
        assert!(list.contains("in/a"), "{context}: {list}");
        assert_eq!(t.kiln(&["cat", "made", "/in/a"]).ok().stdout, "A");
    }
}

#[test]
fn zips_made_by_others_keep_modes_links_and_times() {
    let t = Pod::machine().file("Dockerfile", 0o644, DOCKERFILE).file("in/run", 0o755, "#!").symlink("in/link", "run");
    let made = std::process::Command::new("python3")
        .args(["-c", "import shutil; shutil.make_archive('../made', 'zip', '.')"])
        .current_dir(t.context())
        .status();
    // Python follows links; the zip above has them.
    assert!(made.unwrap().success());
    let linked = zip(&[("Dockerfile", 0o100_644, DOCKERFILE.as_bytes()), ("l", 0o120_777, b"in/run")]);
    fs::write(t.root().join("linked.zip"), linked).unwrap();
    let made = t.context().parent().unwrap().join("made.zip");
    let _ = build(&t, &format!("tar://{}", made.display()), &[], b"").ok();
    let list = files(&t, t.out("layout").to_str().unwrap());
    assert!(list.contains("in/run"), "{list}");
    let _ = build(&t, &format!("tar://{}/linked.zip", t.root().display()), &[], b"").ok();
    let _ = files(&t, t.out("layout").to_str().unwrap());
    let link = t.kiln(&["ls", "made"]).ok();
    assert!(link.stdout.contains("/l l 0777 0:0 -> in/run"), "{link}");
}

#[test]
fn hostile_zips_are_refused() {
    let t = Pod::machine();
    let dockerfile = ("Dockerfile", 0o100_644, DOCKERFILE.as_bytes());
    let mut cut = zip(&[dockerfile, ("a", 0o100_644, &[7; 5000])]);
    let whole = cut.clone();
    cut.truncate(2000);
    let mut lying = whole.clone();
    let at = lying.iter().position(|b| *b == 7).unwrap();
    lying[at] = 8;
    for (name, bytes, text) in [
        ("outside", zip(&[dockerfile, ("../outside", 0o100_644, b"x")]), "outside"),
        ("absolute link", zip(&[dockerfile, ("l", 0o120_777, b"/etc"), ("l/x", 0o100_644, b"x")]), ""),
        ("cut", cut, "cannot unpack the zip"),
        ("checksum", lying, "cannot unpack the zip"),
        ("empty", b"PK\x05\x06".to_vec(), "cannot unpack the zip"),
    ] {
        fs::write(t.root().join("c.zip"), &bytes).unwrap();
        let refused = build(&t, &format!("tar://{}/c.zip", t.root().display()), &[], b"");
        assert!(!t.root().join("outside").exists() && !std::path::Path::new("/etc/x").exists(), "{name}");
        if !text.is_empty() {
            let refused = refused.exits(1);
            assert!(refused.stderr.contains(text), "{name}: {refused}");
        }
    }
}

#[test]
fn a_part_of_a_context_is_its_root() {
    let t = Pod::machine()
        .file("sub/Dockerfile", 0o644, DOCKERFILE)
        .file("sub/a", 0o644, "A")
        .symlink("out", "/etc")
        .file("file", 0o644, "");
    let context = t.context().display().to_string();
    let _ = build(&t, &context, &["--context-sub-path=sub"], b"").ok();
    let list = files(&t, t.out("layout").to_str().unwrap());
    assert!(list.contains('a') && !list.contains("sub"), "{list}");
    for bad in ["none", "../..", "out", "file"] {
        let refused = build(&t, &context, &[&format!("--context-sub-path={bad}")], b"").exits(1);
        assert!(refused.stderr.contains(&format!("has no directory `{bad}`")), "{refused}");
    }
}

#[test]
fn a_dockerfile_may_be_at_a_url() {
    let t = Pod::machine().file("a", 0o644, "A");
    let server = Server::start(|_, _| Say::ok("FROM scratch\nCOPY a /from-url\n"));
    let file = format!("--dockerfile=http://{}/Dockerfile?sig=hunter2", server.host);
    let done = build(&t, &t.context().display().to_string(), &[&file], b"").ok();
    assert!(!done.stderr.contains("hunter2"), "{done}");
    let list = files(&t, t.out("layout").to_str().unwrap());
    assert!(list.contains("from-url"), "{list}");
}

#[test]
fn a_repository_is_fetched_with_a_token_nobody_sees() {
    let t = Pod::machine();
    let repository = t.root().join("repository");
    let git = |args: &[&str]| {
        let mut command = std::process::Command::new("git");
        let identity = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "init.defaultBranch=main"];
        assert!(command.args(identity).arg("-C").arg(&repository).args(args).status().unwrap().success());
    };
    fs::create_dir(&repository).unwrap();
    git(&["init", "-q"]);
    let mut file = fs::File::create(repository.join("Dockerfile")).unwrap();
    file.write_all(DOCKERFILE.as_bytes()).unwrap();
    git(&["add", "."]);
    git(&["commit", "-qm", "one"]);
    git(&["update-server-info"]);
    let root = repository.join(".git");
    // The protocol of plain files, behind a password.
    let server = Server::start(move |seen, _| {
        let wanted = "Basic aHVudGVyMjo=";
        if seen.header("authorization") != Some(wanted) {
            return Say::status(401).header("WWW-Authenticate", "Basic realm=\"x\"");
        }
        let path = seen.path.split('?').next().unwrap_or_default().trim_start_matches("/team/app/");
        fs::read(root.join(path)).map_or_else(|_| Say::status(404), Say::ok)
    });
    let t = t.env("GIT_TOKEN", "hunter2").env("GIT_PULL_METHOD", "http");
    let done = build(&t, &format!("git://{}/team/app#refs/heads/main", server.host), &[], b"").ok();
    assert!(!done.stderr.contains("hunter2"), "{done}");
    assert!(files(&t, t.out("layout").to_str().unwrap()).contains("Dockerfile"));
}
