//! URLs and repositories: passwords in them, options in them, directories beside them.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;

use kiln_testkit::tools;

use super::{Outside, UNTOLD, bench, untold};
use crate::{Bench, open};

/// The address of a server that answers every request with these bytes.
pub fn serve(body: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/context", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let (mut request, mut buf) = (Vec::new(), [0; 4096]);
            while !request.windows(4).any(|w| w == b"\r\n\r\n") {
                match stream.read(&mut buf) {
                    Ok(n) if n > 0 => request.extend_from_slice(&buf[..n]),
                    _ => break,
                }
            }
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
        }
    });
    url
}

#[test]
fn passwords_are_not_kept() {
    let url = serve(b"content".to_vec()).replace("http://", "http://user:hunter2-pw@");
    let b = bench();
    let text = format!("FROM busybox\nADD {url} /f\nRUN echo made > /made\n");
    for style in ["plain", "json", "quiet", "tty"] {
        let meta = format!("--metadata-file={}", b.t.out("meta.json").display());
        let out = b.run(&text, &["--no-cache", &format!("--progress={style}"), &meta]).ok();
        assert!(!format!("{}{}", out.stdout, out.stderr).contains("hunter2-pw"), "{style}: {out}");
    }
    for plan in [&["--plan"][..], &["--plan", "--json"]] {
        let out = b.run(&text, plan);
        assert!(!out.stdout.contains("hunter2-pw"), "{out}");
    }
    let built = open(&b.t.store(), "t");
    assert_eq!(built.read("f"), "content");
    let history = built.history().join("\n");
    assert!(history.contains("ADD http://user:xxxxx@127.0.0.1:"), "{history}");
    let found = b.t.tool(
        "grep",
        &["-r", "-l", "-a", "hunter2-pw", b.t.store().to_str().unwrap(), b.t.out("meta.json").to_str().unwrap()],
    );
    assert_eq!(found.code, 1, "{found}");
    // In what is said of mistakes, too.
    for wrong in [
        "ADD http://user:hunter2-pw@127.0.0.1:1/x /y",
        "ADD https://hunter2-pw@127.0.0.1:1/x.git#a:../b /y",
        "COPY http://u:hunter2-pw@h/x /y",
    ] {
        let out = b.run(&format!("FROM scratch\n{wrong}\n"), &[]);
        assert!(out.code != 0 && !out.stderr.contains("hunter2-pw"), "{out}");
    }
}

#[test]
fn repositories_cannot_name_options_or_leave() {
    let outside = Outside::new();
    let made = outside.dir().join("made");
    let b = bench();
    let run = format!("touch${{IFS}}{}", made.display());
    for hostile in [
        format!("https://127.0.0.1:1/x.git#--upload-pack={run}"),
        format!("--upload-pack={run}@h:x.git"),
        format!("-oProxyCommand={run}@h:x"),
        format!("git@-oProxyCommand={run}:x"),
        format!("ssh://-oProxyCommand={run}/x.git"),
        format!("ext::sh -c {run}.git"),
        format!("git://127.0.0.1:1/x.git?ref=--upload-pack={run}"),
        "https://127.0.0.1:1/x.git#main:../../..".to_owned(),
        format!("https://127.0.0.1:1/x.git#main:{}", outside.up()),
        "https://127.0.0.1:1/x.git?subdir=../..".to_owned(),
        format!("file://{}/x.git", outside.dir().display()),
    ] {
        let _ = b.run(&format!("FROM scratch\nADD [\"{hostile}\", \"/x\"]"), &[]);
        let _ = b.t.kiln(&["build", "-t", "t", "--", &hostile]);
        outside.is_untouched();
    }
}

/// A repository that is served by git itself over HTTP as plain files, and the server's address.
fn repository(b: &Bench, prepare: &dyn Fn(&std::path::Path)) -> String {
    let (work, bare) = (b.t.out("work"), b.t.out("r.git"));
    std::fs::create_dir_all(&work).unwrap();
    prepare(&work);
    let git = |args: &[&str]| {
        let out = Command::new(tools::tool("git"))
            .args(["-c", "user.name=T", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main", "-C"])
            .arg(&work)
            .args(args)
            .output()
            .unwrap();
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    };
    git(&["init", "--quiet"]);
    git(&["add", "."]);
    git(&["commit", "--quiet", "-m", "one"]);
    git(&["clone", "--quiet", "--bare", ".", bare.to_str().unwrap()]);
    let dumb = Command::new(tools::tool("git")).arg("-C").arg(&bare).arg("update-server-info").status().unwrap();
    assert!(dumb.success());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/r.git", listener.local_addr().unwrap());
    let root = b.t.out("");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut buf = [0; 8192];
            let n = stream.read(&mut buf).unwrap_or(0);
            let request = String::from_utf8_lossy(&buf[..n]).into_owned();
            let path = request.split(' ').nth(1).unwrap_or("/").split('?').next().unwrap_or("/").to_owned();
            let answer = match std::fs::read(root.join(path.trim_start_matches('/'))) {
                Ok(bytes) => [
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", bytes.len())
                        .into_bytes(),
                    bytes,
                ]
                .concat(),
                Err(_) => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec(),
            };
            let _ = stream.write_all(&answer);
        }
    });
    url
}

#[test]
fn a_subdirectory_is_no_way_out() {
    let outside = Outside::new();
    let b = bench();
    let url = repository(&b, &|work| {
        std::os::unix::fs::symlink(outside.dir(), work.join("out")).unwrap();
        std::os::unix::fs::symlink(outside.up(), work.join("up")).unwrap();
        std::os::unix::fs::symlink(outside.victim(), work.join("Dockerfile")).unwrap();
        std::fs::create_dir(work.join("in")).unwrap();
        std::fs::write(work.join("in/Dockerfile"), "FROM scratch\nCOPY . /\n").unwrap();
        std::os::unix::fs::symlink(outside.dir(), work.join("in/out")).unwrap();
    });
    for fragment in ["out", "up", "", "in"] {
        let out = b.t.kiln(&["build", "-t", "t", "--compression=none", &format!("{url}#main:{fragment}")]);
        assert!(!out.stderr.contains(UNTOLD), "{out}");
        assert_eq!(out.code == 0, fragment == "in", "{fragment}: {out}");
        let text = format!("FROM scratch\nADD {url}#main:{fragment} /d");
        let out = b.run(&text, &[]);
        assert_eq!(out.code == 0, matches!(fragment, "in" | ""), "{fragment}: {out}");
        outside.is_untouched();
        untold(&b);
    }
}
