//! The machine of `examples/unikernel-dns`, run as its README says.

use std::net::UdpSocket;
use std::process::Stdio;
use std::time::Duration;

use kiln_testkit::TestContext;
use kiln_testkit::tools::unikernel_dns;

const ZONE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/unikernel-dns/example.zone");
/// For `ns1.example.org`, type A.
const QUESTION: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03ns1\x07example\x03org\0\0\x01\0\x01";

#[test]
fn it_answers_through_a_published_port_of_udp() {
    let t = TestContext::with_kiln(env!("CARGO_BIN_EXE_kiln")).timeout(Duration::from_secs(300));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    socket.connect(("127.0.0.1", port)).unwrap();
    let (forward, kernel) = (format!("{port}:53/udp"), unikernel_dns().display().to_string());
    let args =
        ["node", "run", "--publish", &forward, "--initrd", ZONE, "--accelerator", "tcg", "--memory", "32", &kernel];
    let mut kiln = t.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut answer = [0; 512];
    let length = loop {
        // Before qemu listens, both may fail.
        let _ = socket.send(QUESTION);
        match socket.recv(&mut answer) {
            Ok(length) => break length,
            Err(_) => assert!(kiln.try_wait().unwrap().is_none(), "it ended"),
        }
    };
    assert!(answer[..length].ends_with(&[0, 4, 192, 0, 2, 1]), "{:?}", &answer[..length]);
    // Asked to end, it does not know how, and is stopped.
    let told = std::process::Command::new("kill").arg(kiln.id().to_string()).status().unwrap();
    assert!(told.success());
    let done = kiln.wait_with_output().unwrap();
    let out = String::from_utf8_lossy(&done.stdout);
    assert!(out.contains("first answer") && out.contains("10.0.2.15/24 by DHCP"), "{out}");
    assert_eq!(done.status.code(), Some(130), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn a_zone_with_a_mistake_is_its_status() {
    let t = TestContext::with_kiln(env!("CARGO_BIN_EXE_kiln")).timeout(Duration::from_secs(300));
    t.write("zone", 0o644, "$ORIGIN example.org.\n$TTL 1h\n@ SOA ns1 h 1 2 3 4\n");
    let (zone, kernel) = (t.context().join("zone").display().to_string(), unikernel_dns().display().to_string());
    let out = t.kiln(&["node", "run", "--initrd", &zone, "--accelerator", "tcg", "--memory", "32", &kernel]);
    assert_eq!(out.code, 1, "{out}");
    assert!(out.text().contains("zone file, line 3, column 20: here the record ends"), "{out}");
}
