//! Ports of one side that lead to the other.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use kiln_host::Cancel;

use crate::sshd::{Sshd, free_port};
use crate::{eventually, network};

/// A server that answers each connection with what it got, reversed.
fn reverser() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                stream.read_to_end(&mut bytes).unwrap();
                bytes.reverse();
                stream.write_all(&bytes).unwrap();
            });
        }
    });
    port
}

fn ask(port: u16, text: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(text).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

#[test]
fn both_ways_and_their_end() {
    let server = Sshd::start();
    let ssh = server.ssh(&network());
    let cancel = Cancel::new();
    let port = reverser();
    let local = ssh.forward_local("127.0.0.1:0".parse().unwrap(), "127.0.0.1", port, &cancel).unwrap();
    let remote = ssh.forward_remote("127.0.0.1", 0, &format!("127.0.0.1:{port}"), &cancel).unwrap();
    let big: Vec<u8> = (0..3_000_000_u32).map(|n| n as u8).collect();
    for tunnel in [&local, &remote] {
        assert_eq!(ask(tunnel.port(), b"abc"), b"cba");
        let mut answer = ask(tunnel.port(), &big);
        answer.reverse();
        assert!(answer == big);
    }
    let again = ssh.forward_remote("127.0.0.1", remote.port(), "127.0.0.1:1", &cancel).unwrap_err().to_string();
    assert!(again.contains("the port is in use there"), "{again}");
    // Nothing behind it: the connection is closed, and the tunnel stays.
    let dead = ssh.forward_local("127.0.0.1:0".parse().unwrap(), "127.0.0.1", free_port(), &cancel).unwrap();
    let mut answer = Vec::new();
    // Whether it is an end or a reset is for the kernel to say.
    let _ = TcpStream::connect(("127.0.0.1", dead.port())).unwrap().read_to_end(&mut answer);
    assert!(answer.is_empty());
    assert_eq!(ask(local.port(), b"abc"), b"cba");
    let (a, b) = (local.port(), remote.port());
    drop((local, remote));
    for port in [a, b] {
        eventually("the port is closed", || TcpStream::connect(("127.0.0.1", port)).is_err());
    }
}

#[test]
fn a_server_that_allows_none_says_so() {
    let server = Sshd::with("AllowTcpForwarding no");
    let ssh = server.ssh(&network());
    let error = ssh.forward_remote("127.0.0.1", 0, "127.0.0.1:1", &Cancel::new()).unwrap_err().to_string();
    assert!(error.contains("it allows no forwarding"), "{error}");
}
