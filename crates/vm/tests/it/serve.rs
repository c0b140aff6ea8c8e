//! The server for guests, asked by curl and by people who mean no good.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};

use kiln_testkit::tools::tool;
use kiln_vm::VmError;
use kiln_vm::ports::{HTTP, Ports};
use kiln_vm::serve::{Server, Source};
use tempfile::TempDir;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn serve(source: Source) -> (Server, TempDir) {
    let locks = tempfile::tempdir().unwrap();
    let server = Server::start(source, &Ports::at(locks.path()).unwrap(), HTTP, HERE, None).unwrap();
    (server, locks)
}

fn tree() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("served/sub/empty")).unwrap();
    std::fs::create_dir_all(dir.path().join("served/site")).unwrap();
    std::fs::write(dir.path().join("secret"), "secret").unwrap();
    std::fs::write(dir.path().join("served/user-data"), "#cloud-config\n").unwrap();
    std::fs::write(dir.path().join("served/sub/a b.txt"), "0123456789").unwrap();
    std::fs::write(dir.path().join("served/site/index.html"), "<p>hi").unwrap();
    std::os::unix::fs::symlink("../secret", dir.path().join("served/up")).unwrap();
    dir
}

fn curl(server: &Server, args: &[&str], path: &str) -> String {
    let url = format!("http://{}{path}", server.address());
    let output = Command::new(tool("curl")).args(["-sS", "--path-as-is"]).args(args).arg(url).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn status(server: &Server, path: &str) -> String {
    curl(server, &["-o", "/dev/null", "-w", "%{http_code} %{redirect_url}"], path)
        .replace(&format!("http://{}", server.address()), "")
        .trim_end()
        .to_owned()
}

#[test]
fn files_lists_and_parts() {
    let dir = tree();
    let (server, _locks) = serve(Source::Directory(dir.path().join("served")));
    assert_eq!(curl(&server, &[], "/user-data"), "#cloud-config\n");
    assert_eq!(curl(&server, &["-r", "2-4"], "/sub/a%20b.txt"), "234");
    assert_eq!(curl(&server, &["-r", "-2"], "/sub/a%20b.txt"), "89");
    assert_eq!(curl(&server, &["-L"], "/site"), "<p>hi");
    assert_eq!(
        curl(&server, &[], "/sub/").lines().filter(|l| l.contains("href")).collect::<Vec<_>>(),
        ["<a href=\"a%20b.txt\">a b.txt</a>", "<a href=\"empty/\">empty/</a>"]
    );
    let cases = [
        "/absent",
        "/up",
        "/../secret",
        "/sub",
        "/user-data/",
        "/site/index.html",
        "/sub/%2e%2e/%2e%2e/secret",
        "/%00",
        "/sub/empty/",
    ];
    insta::assert_snapshot!(cases.map(|path| format!("{path}: {}", status(&server, path))).join("\n"), @"
    /absent: 404
    /up: 404
    /../secret: 404
    /sub: 301 /sub/
    /user-data/: 301 /user-data
    /site/index.html: 301 /site/
    /sub/%2e%2e/%2e%2e/secret: 404
    /%00: 400
    /sub/empty/: 200
    ");
    let head = curl(&server, &["-I"], "/sub/a%20b.txt");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("Content-Length: 10\r\n"), "{head}");
    let stamp = head.lines().find_map(|l| l.strip_prefix("Last-Modified: ")).unwrap().trim().to_owned();
    let since = format!("If-Modified-Since: {stamp}");
    let answer = curl(&server, &["-o", "/dev/null", "-w", "%{http_code}", "-H", &since], "/sub/a%20b.txt");
    assert_eq!(answer, "304");
    let put = curl(&server, &["-X", "DELETE", "-o", "/dev/null", "-w", "%{http_code}"], "/user-data");
    assert_eq!(put, "405");
    assert!(dir.path().join("served/user-data").exists());
}

#[test]
fn contents_and_the_log() {
    let locks = tempfile::tempdir().unwrap();
    let ports = Ports::at(locks.path()).unwrap();
    let files = BTreeMap::from([("/a/ks.cfg".to_owned(), b"install".to_vec()), ("/b".to_owned(), Vec::new())]);
    let lines = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&lines);
    let log = Box::new(move |line: &str| log.lock().unwrap().push(line.to_owned()));
    let server = Server::start(Source::Content(files), &ports, HTTP, HERE, Some(log)).unwrap();
    assert_eq!(curl(&server, &[], "/a/ks.cfg?x=1"), "install");
    assert_eq!(curl(&server, &[], "/b"), "");
    assert_eq!(curl(&server, &["-r", "3-"], "/a/ks.cfg"), "tall");
    assert_eq!(status(&server, "/a/"), "404");
    assert_eq!(lines.lock().unwrap()[0], "127.0.0.1 GET /a/ks.cfg?x=1 200");
    for bad in ["a", "/a/../b", "/", "/a/", "//a"] {
        let source = Source::Content(BTreeMap::from([(bad.to_owned(), Vec::new())]));
        let error = Server::start(source, &ports, HTTP, HERE, None).unwrap_err();
        assert!(matches!(error, VmError::Option { .. }), "{bad}: {error}");
    }
    let error = Server::start(Source::Directory("/absent".into()), &ports, HTTP, HERE, None).unwrap_err();
    assert!(error.to_string().starts_with("cannot open http_directory /absent"), "{error}");
}

#[test]
fn hostile_peers_do_not_stop_it() {
    let dir = tree();
    let (server, _locks) = serve(Source::Directory(dir.path().join("served")));
    let raw = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        // The server may hang up before all is sent.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
    };
    assert_eq!(raw(b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n"), "HTTP/1.1 400 Bad Request");
    assert_eq!(raw(b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nGET /user"), "HTTP/1.1 400 Bad Request");
    assert_eq!(raw(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), "HTTP/1.1 200 OK");
    raw(&vec![b'x'; 1 << 20]);
    raw(b"");
    // Many that connect and say nothing: more are turned away, and all are gone when they hang up.
    let idle: Vec<TcpStream> = (0..100).filter_map(|_| TcpStream::connect(server.address()).ok()).collect();
    drop(idle);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while raw(b"GET /user-data HTTP/1.0\r\n\r\n") != "HTTP/1.1 200 OK" {
        assert!(std::time::Instant::now() < until);
    }
    // One that is connected when the server ends does not hold it.
    let held = TcpStream::connect(server.address()).unwrap();
    drop(server);
    drop(held);
}
