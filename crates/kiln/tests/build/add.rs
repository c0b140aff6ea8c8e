//! ADD: archives, URLs, repositories.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kiln_testkit::{EntryType, Rootfs, tools};

use crate::Bench;

fn tar() -> Vec<u8> {
    Rootfs::new()
        .dir("d", 0o750)
        .owned_file("d/f", 0o640, (7, 8), "in the archive")
        .symlink("d/l", "f")
        .hardlink("d/h", "d/f")
        .tar()
}

fn compressed(tool: &str, bytes: &[u8]) -> Vec<u8> {
    let mut child = Command::new(tools::tool(tool))
        .arg("-c")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    child.wait_with_output().unwrap().stdout
}

#[test]
fn archives_are_unpacked_by_content() {
    let b = Bench::new();
    b.t.write("plain.tar", 0o644, tar());
    for tool in ["gzip", "bzip2", "xz", "zstd"] {
        // The name says nothing.
        b.t.write(&format!("{tool}.txt"), 0o644, compressed(tool, &tar()));
    }
    b.t.write("empty.tar", 0o644, "");
    b.t.write("text.tar", 0o644, "not a tar");
    let built = b.build(
        "FROM scratch\nADD plain.tar /p\nADD gzip.txt /g\nADD bzip2.txt /b\nADD xz.txt /x\nADD zstd.txt /z\nADD empty.tar /e\nADD text.tar /t\n\
         COPY plain.tar /copied\nADD --unpack=false plain.tar /kept",
    );
    for dir in ["p", "g", "b", "x", "z"] {
        let text = built.dump_of(dir);
        assert!(text.contains(&format!("/{dir}/d d 0750 0:0")), "{text}");
        // As the entry of the hard link has it, which comes last.
        assert!(text.contains(&format!("/{dir}/d/f f 0644 0:0 14")), "{text}");
        assert!(text.contains(&format!("/{dir}/d/h h => /{dir}/d/f")), "{text}");
        assert!(text.contains(&format!("/{dir}/d/l l 0777 0:0 -> f")), "{text}");
    }
    assert!(built.dump().contains("/e f 0644 0:0 0") && built.read("t") == "not a tar");
    assert!(built.dump().contains("/copied f") && built.dump().contains("/kept f"));
}

#[test]
fn archives_cannot_leave_their_directory() {
    let b = Bench::new();
    b.t.write("up.tar", 0o644, Rootfs::new().file("../../evil", 0o644, "x").tar());
    let built = b.build("FROM scratch\nADD up.tar /d/e/");
    assert!(!built.has("evil") || built.has("d/e/evil"), "{}", built.dump());
    // A link is followed with the directory as the root, whether the archive or the image has it.
    let links = Rootfs::new().symlink("out", "/etc").file("out/made", 0o644, "x").symlink("up", "../../etc");
    b.t.write("link.tar", 0o644, links.file("up/too", 0o644, "x").file("old/three", 0o644, "x").tar());
    let built = b.build("FROM busybox\nRUN mkdir /d && ln -s /etc /d/old\nADD link.tar /d/");
    assert!(["made", "too", "three"].iter().all(|f| built.has(&format!("d/etc/{f}"))), "{}", built.dump_of("d"));
    assert!(!["made", "too", "three"].iter().any(|f| built.has(&format!("etc/{f}"))), "{}", built.dump_of("etc"));
    b.t.write("wh.tar", 0o644, Rootfs::new().file(".wh.passwd", 0o644, "").tar());
    assert!(b.fails("FROM busybox\nADD wh.tar /etc/", 1).contains(".wh."));
    b.t.write("cut.tar", 0o644, &tar()[..700]);
    assert!(b.fails("FROM busybox\nADD cut.tar /x/", 1).contains("cut.tar"));
}

#[test]
fn links_of_archives_are_as_the_system_makes_them() {
    let b = Bench::new();
    let entry = |root: Rootfs, path: &str, kind, mode, owner, target| root.entry(path, kind, mode, owner, target, b"");
    let root = Rootfs::new().owned_file("f", 0o600, (1, 2), "F").symlink("s", "f");
    let root = entry(root, "hard", EntryType::Link, 0o4755, (7, 8), Some("f"));
    let root = entry(root, "soft", EntryType::Symlink, 0o600, (7, 8), Some("f"));
    let root = entry(root, "of-soft", EntryType::Link, 0o600, (5, 6), Some("soft"));
    let root = entry(root, "old", EntryType::Link, 0o640, (3, 4), Some("there"));
    b.t.write("links.tar", 0o644, root.tar());
    let built = b.build("FROM busybox\nRUN mkdir /d; echo there > /d/there\nADD links.tar /d");
    let dump = built.dump_of("d");
    for line in [
        "/d/f f 4755 7:8 1",
        "/d/hard h => /d/f",
        "/d/soft l 0777 5:6 -> f",
        "/d/of-soft l 0777 5:6 -> f",
        "/d/s l 0777 0:0 -> f",
        "/d/old f 0640 3:4 6",
        "/d/there h => /d/old",
    ] {
        assert!(dump.contains(line), "{line} in {dump}");
    }
}

/// What gives way to an entry is at its path and below it, and nothing whose name only begins alike.
#[test]
fn a_shorter_name_leaves_longer_ones_alone() {
    let b = Bench::new();
    let tar = Rootfs::new().file("bin/arp", 0o755, "arp").symlink("bin/arch", "arp").symlink("bin/ar", "arp");
    b.t.write("a.tar", 0o644, tar.file("bin/[[", 0o644, "x").file("bin/[", 0o644, "y").tar());
    let built = b.build("FROM scratch\nADD a.tar /");
    assert!(["arp", "arch", "ar", "[[", "["].iter().all(|f| built.has(&format!("bin/{f}"))), "{}", built.dump());
}

#[test]
fn existing_directories_keep_their_mode_at_the_root() {
    let b = Bench::new();
    b.t.write("root.tar", 0o644, Rootfs::new().dir(".", 0o700).file("f", 0o644, "x").tar());
    let built = b.build("FROM busybox\nRUN mkdir -m 751 /d\nADD root.tar /d");
    assert!(built.dump_of("d").starts_with("/d d 0751 0:0"), "{}", built.dump_of("d"));
}

/// A server with one file that counts requests and knows its ETag.
fn server(body: &'static [u8]) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = Vec::new();
            let mut buf = [0; 4096];
            while !request.windows(4).any(|w| w == b"\r\n\r\n") {
                match stream.read(&mut buf) {
                    Ok(0) | Err(_) => break,
                    Ok(n) => request.extend_from_slice(&buf[..n]),
                }
            }
            let text = String::from_utf8_lossy(&request).to_ascii_lowercase();
            let head = if text.contains("if-none-match: \"v1\"") {
                "HTTP/1.1 304 Not Modified\r\nContent-Length: 0\r\n".to_owned()
            } else if text.starts_with("get /missing") {
                "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n".to_owned()
            } else {
                count.fetch_add(1, Ordering::SeqCst);
                format!(
                    "HTTP/1.1 200 OK\r\nETag: \"v1\"\r\nLast-Modified: Thu, 01 Jan 2015 00:00:00 GMT\r\nContent-Length: {}\r\n",
                    body.len()
                )
            };
            let _ = stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes());
            if head.contains("200 OK") {
                let _ = stream.write_all(body);
            }
        }
    });
    (url, sent)
}

#[test]
fn urls() {
    let (url, sent) = server(b"from the web");
    let b = Bench::new();
    let sum = kiln_oci::Digest::of(b"from the web");
    let text =
        format!("FROM scratch\nADD {url}/dir/file.txt?x=1 /a/\nADD --checksum={sum} --chmod=755 {url}/dir/file.txt /b");
    let built = b.build(&text);
    assert_eq!(built.read("a/file.txt"), "from the web");
    assert!(built.dump().contains("/a/file.txt f 0600 0:0 12") && built.dump().contains("/b f 0755 0:0 12"));
    let long = "3c9cd2f9e37ce6ed5f0ff0a7a2b7c1b1";
    assert!(
        b.fails(&format!("FROM scratch\nADD --checksum=sha512:{} {url}/s /s", long.repeat(4)), 3)
            .contains("--checksum says")
    );
    let mut hasher = format!("sha512:{}", long.repeat(4)).parse::<kiln_oci::Digest>().unwrap().hasher();
    hasher.update(b"from the web");
    let _ = b.build(&format!("FROM scratch\nADD --checksum={} {url}/s /s", hasher.finish()));
    let _ = b.build(&text);
    let before = sent.load(Ordering::SeqCst);
    let _ = b.build(&text);
    assert_eq!(sent.load(Ordering::SeqCst), before, "the second time the ETag is enough");
    let wrong = kiln_oci::Digest::of(b"other");
    assert!(b.fails(&format!("FROM scratch\nADD --checksum={wrong} {url}/f /x"), 3).contains("--checksum says"));
    assert!(b.fails(&format!("FROM scratch\nADD {url}/missing /x"), 3).contains("404"));
}

#[test]
fn repositories() {
    let b = Bench::new();
    let repo = b.t.out("src.git");
    let git = |args: &[&str]| {
        let out = Command::new(tools::tool("git"))
            .args(["-c", "user.name=T", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main", "-C"])
            .arg(&repo)
            .args(args)
            .env("GIT_COMMITTER_DATE", "2020-01-01T00:00:00Z")
            .env("GIT_AUTHOR_DATE", "2020-01-01T00:00:00Z")
            .output()
            .unwrap();
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    };
    std::fs::create_dir_all(repo.join("sub")).unwrap();
    std::fs::write(repo.join("sub/f"), "in git").unwrap();
    git(&["init", "--quiet"]);
    git(&["add", "."]);
    git(&["commit", "--quiet", "-m", "one"]);
    git(&["tag", "v1"]);
    let commit = git(&["rev-parse", "HEAD"]);
    // git itself serves it on loopback.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut daemon = Command::new(tools::tool("git"))
        // The files may belong to another user than the test's.
        .args([
            "-c",
            "safe.directory=*",
            "daemon",
            "--reuseaddr",
            "--export-all",
            "--listen=127.0.0.1",
            &format!("--port={port}"),
        ])
        .arg(format!("--base-path={}", b.t.out("").display()))
        .stderr(std::process::Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    let up = (0..500).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    assert!(up, "git daemon does not answer");
    let url = format!("git://127.0.0.1:{port}/src.git");
    let result = std::panic::catch_unwind(|| {
        let built = b.build(&format!(
            "FROM scratch\nADD {url}#v1 /a\nADD {url}#main:sub /b\nADD --keep-git-dir=true --checksum={commit} {url} /c"
        ));
        assert_eq!((built.read("a/sub/f"), built.read("b/f")), ("in git".to_owned(), "in git".to_owned()));
        assert!(!built.has("a/.git") && built.has("c/.git/HEAD"));
        assert!(b.fails(&format!("FROM scratch\nADD {url}#nope /a"), 3).contains("no branch or tag `nope`"));
        let none = b.t.kiln(&["build", "-t", "g", &format!("{url}#main:sub")]).exits(1).stderr;
        assert!(none.contains("Dockerfile"), "{none}");
    });
    // `git daemon` is a process that starts the one that serves; the group is both.
    let _ = b.t.tool("kill", &["--", &format!("-{}", daemon.id())]);
    let _ = daemon.wait();
    result.unwrap();
}
