//! Connecting: host keys, ways there, and waiting.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use kiln_host::keys::{Kind, PrivateKey};
use kiln_host::known_hosts::KnownHosts;
use kiln_host::ssh::{Auth, HostKeys, Proxy, ProxyKind, Unreachable, WaitOptions};
use kiln_host::{Cancel, Host, HostError, Network, Secret, Ssh};

use crate::sshd::{Sshd, free_port, tool};
use crate::{network, refused, stdout};

fn knowing(server: &Sshd, network: &Network, host_keys: HostKeys) -> Ssh {
    let mut options = server.options();
    options.host_keys = host_keys;
    Ssh::new(network, options)
}

#[test]
fn host_keys_are_checked() {
    let server = Sshd::start();
    let network = network();
    let file = server.path("known/hosts");
    let files = vec![file.clone()];
    let port = server.port.to_string();
    let shown = |error: String| {
        error
            .replace(&port, "PORT")
            .replace(&server.host_key.fingerprint(), "KEY")
            .replace(&file.display().to_string(), "FILE")
    };
    let strict = || knowing(&server, &network, HostKeys::Known(files.clone()));
    insta::assert_snapshot!(shown(refused(&strict())), @"cannot connect to root@127.0.0.1:PORT: its host key is not known: ssh-ed25519 KEY for [127.0.0.1]:PORT");
    let accepting = knowing(&server, &network, HostKeys::AcceptNew(files.clone()));
    assert_eq!(stdout(&accepting, "echo in"), "in\n");
    assert_eq!(accepting.host_key().unwrap().fingerprint(), server.host_key.fingerprint());
    assert_eq!(stdout(&strict(), "echo in"), "in\n");
    assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 1);
    // Another key in its place.
    let other = PrivateKey::generate(Kind::Ed25519, "").unwrap().public();
    std::fs::remove_file(&file).unwrap();
    KnownHosts::append(&file, "127.0.0.1", server.port, &other).unwrap();
    let changed = "cannot connect to root@127.0.0.1:PORT: its host key has CHANGED to ssh-ed25519 KEY: [127.0.0.1]:PORT is known by another key at FILE:1. Either the machine was made anew, or somebody else answers in its place";
    assert_eq!(shown(refused(&strict())), changed);
    assert_eq!(shown(refused(&knowing(&server, &network, HostKeys::AcceptNew(files.clone())))), changed);
    let pinned = knowing(&server, &network, HostKeys::Pinned(vec![other]));
    insta::assert_snapshot!(shown(refused(&pinned)), @"cannot connect to root@127.0.0.1:PORT: its host key is ssh-ed25519 KEY, and not the one asked for");
    std::fs::write(&file, format!("@revoked * {}\n", server.host_key.line())).unwrap();
    insta::assert_snapshot!(shown(refused(&knowing(&server, &network, HostKeys::AcceptNew(files)))), @"cannot connect to root@127.0.0.1:PORT: its host key KEY was revoked at FILE:1");
    assert_eq!(stdout(&knowing(&server, &network, HostKeys::Any), "echo in"), "in\n");
}

/// What OpenSSH writes is understood: hashed names, several kinds of keys, certificates.
#[test]
fn files_and_certificates_of_openssh() {
    tool("/usr/bin/ssh-keyscan", "openssh-client");
    let rsa = Sshd::with_host_key("", Kind::Rsa(2048));
    let network = network();
    let file = rsa.path("known");
    let sh = |line: &str| {
        let output =
            std::process::Command::new("sh").arg("-ec").arg(line).current_dir(rsa.directory.path()).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    };
    sh(&format!("ssh-keyscan -p {} -H 127.0.0.1 >known 2>/dev/null; grep -q '^|1|' known", rsa.port));
    assert_eq!(stdout(&knowing(&rsa, &network, HostKeys::Known(vec![file.clone()])), "echo in"), "in\n");
    // A server with a second key of a type that is usually preferred is known by the one that is filed.
    let both = Sshd::with(&format!("HostKey {}", rsa.path("host_key").display()));
    let filed = both.path("known");
    KnownHosts::append(&filed, "127.0.0.1", both.port, &rsa.host_key).unwrap();
    assert_eq!(stdout(&knowing(&both, &network, HostKeys::Known(vec![filed])), "echo in"), "in\n");
    // A certificate by an authority that is trusted for the name.
    sh("ssh-keygen -q -t ed25519 -N '' -f ca; ssh-keygen -q -s ca -I host -h -n 127.0.0.1,n1 -V +1h host_key.pub");
    let ca = std::fs::read_to_string(rsa.path("ca.pub")).unwrap();
    let server = Sshd::with(&format!(
        "HostKey {0}/host_key\nHostCertificate {0}/host_key-cert.pub",
        rsa.directory.path().display()
    ));
    let authority = server.path("authority");
    std::fs::write(&authority, format!("@cert-authority [127.0.0.1]:* {ca}")).unwrap();
    let by_authority = |alias: Option<&str>| {
        let mut options = server.options();
        options.host_keys = HostKeys::Known(vec![authority.clone()]);
        options.host_key_alias = alias.map(str::to_owned);
        Ssh::new(&network, options)
    };
    assert_eq!(stdout(&by_authority(None), "echo in"), "in\n");
    std::fs::write(&authority, format!("@cert-authority * {ca}")).unwrap();
    assert_eq!(stdout(&by_authority(Some("n1")), "echo in"), "in\n");
    assert!(
        refused(&by_authority(Some("n2")))
            .ends_with("its host certificate is not good: it is for 127.0.0.1, n1, and not for n2")
    );
    std::fs::write(&authority, format!("@revoked * {ca}@cert-authority * {ca}")).unwrap();
    assert!(refused(&by_authority(None)).contains("was revoked at"), "{}", refused(&by_authority(None)));
}

#[test]
fn through_jump_hosts_each_with_its_own_login() {
    let (outer, inner) = (Sshd::start(), Sshd::start());
    let network = network();
    let mut options = inner.options();
    options.jump = Some(Box::new(outer.options()));
    assert_eq!(stdout(&Ssh::new(&network, options.clone()), "echo in"), "in\n");
    let mut denied = options.clone();
    denied.jump.as_mut().unwrap().auth = Vec::new();
    assert!(refused(&Ssh::new(&network, denied)).contains(": the jump host root@127.0.0.1:"));
    options.port = free_port();
    let error = refused(&Ssh::new(&network, options));
    assert!(error.ends_with("does not connect further: the connection failed there"), "{error}");
}

/// A proxy that speaks just enough of both, with a login.
fn proxy(target: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut first = [0; 1];
            client.read_exact(&mut first).unwrap();
            let good = if first[0] == 5 { socks(&mut client) } else { http(&mut client) };
            if !good {
                continue;
            }
            let server = TcpStream::connect(("127.0.0.1", target)).unwrap();
            let (mut a, mut b) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            let (mut c, mut d) = (client, server);
            std::thread::spawn(move || std::io::copy(&mut a, &mut b));
            std::thread::spawn(move || std::io::copy(&mut d, &mut c));
        }
    });
    port
}

fn socks(client: &mut TcpStream) -> bool {
    let mut head = [0; 1];
    client.read_exact(&mut head).unwrap();
    let mut methods = vec![0; head[0].into()];
    client.read_exact(&mut methods).unwrap();
    if !methods.contains(&2) {
        client.write_all(&[5, 255]).unwrap();
        return false;
    }
    client.write_all(&[5, 2]).unwrap();
    let mut login = [0; 8];
    client.read_exact(&mut login).unwrap();
    let good = &login == b"\x01\x02me\x03pwd";
    client.write_all(&[1, u8::from(!good)]).unwrap();
    if !good {
        return false;
    }
    let mut request = [0; 5];
    client.read_exact(&mut request).unwrap();
    let mut rest = vec![0; usize::from(request[4]) + 2];
    client.read_exact(&mut rest).unwrap();
    assert_eq!((&request[..4], &rest[..rest.len() - 2]), (&[5, 1, 0, 3][..], &b"far.example"[..]));
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).unwrap();
    true
}

fn http(client: &mut TcpStream) -> bool {
    let mut header = vec![b'C'];
    while !header.ends_with(b"\r\n\r\n") {
        let mut byte = [0; 1];
        client.read_exact(&mut byte).unwrap();
        header.push(byte[0]);
    }
    let header = String::from_utf8(header).unwrap();
    let good = header.starts_with("CONNECT far.example:") && header.contains("Proxy-Authorization: Basic bWU6cHdk\r\n");
    let answer: &[u8] = if good { b"HTTP/1.1 200 fine\r\nX: y\r\n\r\n" } else { b"HTTP/1.1 407 Who are you\r\n\r\n" };
    client.write_all(answer).unwrap();
    good
}

#[test]
fn through_proxies() {
    let server = Sshd::start();
    let network = network();
    let port = proxy(server.port);
    let by = |kind, password: &str| {
        let mut options = server.options();
        options.host = "far.example".to_owned();
        let login = (!password.is_empty()).then(|| ("me".to_owned(), Secret::new(password)));
        options.proxy = Some(Proxy { kind, host: "127.0.0.1".to_owned(), port, login });
        Ssh::new(&network, options)
    };
    assert_eq!(stdout(&by(ProxyKind::Socks5, "pwd"), "echo in"), "in\n");
    assert_eq!(stdout(&by(ProxyKind::Http, "pwd"), "echo in"), "in\n");
    assert!(refused(&by(ProxyKind::Socks5, "bad")).ends_with("it does not accept the name and password"));
    assert!(refused(&by(ProxyKind::Socks5, "")).ends_with("it wants a name and password"));
    assert!(refused(&by(ProxyKind::Http, "bad")).ends_with("does not connect: HTTP/1.1 407 Who are you"));
}

#[test]
fn what_is_offered_can_be_chosen() {
    let server = Sshd::with("Ciphers aes256-ctr\nMACs hmac-sha2-512\nKexAlgorithms ecdh-sha2-nistp384");
    let network = network();
    let with = |cipher: &str, kex: &str| {
        let mut options = server.options();
        options.algorithms.ciphers = vec![cipher.to_owned()];
        options.algorithms.key_exchanges = vec![kex.to_owned()];
        Ssh::new(&network, options)
    };
    assert_eq!(stdout(&with("aes256-ctr", "ecdh-sha2-nistp384"), "echo in"), "in\n");
    let error = refused(&with("aes128-ctr", "ecdh-sha2-nistp384"));
    assert!(error.ends_with("the server has no cipher in common with Kiln; it offers aes256-ctr"), "{error}");
    let error = refused(&with("rot13", "ecdh-sha2-nistp384"));
    assert!(error.ends_with("Kiln has no cipher called `rot13`"), "{error}");
    let error = refused(&server.ssh(&network));
    assert!(
        error.contains("the server has no key exchange in common with Kiln; it offers ecdh-sha2-nistp384"),
        "{error}"
    );
}

#[test]
fn waiting_says_why_and_ends_when_the_machine_answers() {
    let mut server = Sshd::start();
    let network = network();
    let ssh = server.ssh(&network);
    server.down();
    let (mut reasons, start) = (Vec::new(), Instant::now());
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let mut note = |why: &Unreachable, _: Duration| reasons.push(why.clone());
            ssh.wait(&WaitOptions::new(Duration::from_secs(30)), &Cancel::new(), &mut note).unwrap();
            Instant::now()
        });
        std::thread::sleep(Duration::from_millis(800));
        server.up();
        let up = Instant::now();
        let found = waiting.join().unwrap();
        assert!(found < up + Duration::from_millis(1500), "{:?}", found - up);
    });
    assert!(matches!(reasons[..], [Unreachable::Refused(_)]), "{reasons:?}");
    assert!(start.elapsed() > Duration::from_millis(700));
}

/// As whoever forwards the port of a machine that boots: what it accepts at first leads nowhere.
#[test]
fn a_connection_that_leads_nowhere_does_not_hold_up_the_next() {
    let server = Sshd::start();
    let network = network();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut options = server.options();
    options.port = listener.local_addr().unwrap().port();
    let ssh = Ssh::new(&network, options);
    let target = server.port;
    let forwarder = std::thread::spawn(move || {
        let (mut nowhere, _) = listener.accept().unwrap();
        let (client, _) = listener.accept().unwrap();
        nowhere.set_nonblocking(true).unwrap();
        let open = matches!(nowhere.read(&mut [0; 1]), Err(e) if e.kind() == std::io::ErrorKind::WouldBlock);
        let server = TcpStream::connect(("127.0.0.1", target)).unwrap();
        let (mut a, mut b) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        let (mut c, mut d) = (client, server);
        std::thread::spawn(move || std::io::copy(&mut a, &mut b));
        std::thread::spawn(move || std::io::copy(&mut d, &mut c));
        open
    });
    ssh.wait(&WaitOptions::new(Duration::from_secs(30)), &Cancel::new(), &mut |_, _| {}).unwrap();
    assert!(forwarder.join().unwrap(), "the first one is still waited for when the second is made");
    assert_eq!(stdout(&ssh, "echo in"), "in\n");
}

fn waits(ssh: &Ssh, timeout: u64) -> (String, Duration) {
    let start = Instant::now();
    let how = WaitOptions::new(Duration::from_millis(timeout));
    let error = ssh.wait(&how, &Cancel::new(), &mut |_, _| {}).unwrap_err();
    assert!(matches!(error, HostError::WaitReachable { .. }), "{error}");
    (error.to_string(), start.elapsed())
}

#[test]
fn waiting_ends_early_when_it_is_of_no_use() {
    let server = Sshd::start();
    let network = network();
    let strange = knowing(&server, &network, HostKeys::Known(vec![PathBuf::from("/nonexistent")]));
    let (error, took) = waits(&strange, 20_000);
    assert!(error.contains("its host key is not known") && took < Duration::from_secs(5), "{error}");
    let mut options = server.options();
    options.auth = Vec::new();
    let ssh = Ssh::new(&network, options);
    let mut how = WaitOptions::new(Duration::from_secs(30));
    how.denials = 3;
    let error = ssh.wait(&how, &Cancel::new(), &mut |_, _| {}).unwrap_err().to_string();
    assert!(error.contains("the login was denied"), "{error}");
    // A key that comes late is waited for.
    let late = PrivateKey::generate(Kind::Ed25519, "").unwrap();
    let mut options = server.options();
    options.auth = vec![Auth::Key { key: late.clone(), certificate: None }];
    let ssh = Ssh::new(&network, options);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(700));
            server.write("keys/root", &late.public().line(), 0o644);
        });
        ssh.wait(&WaitOptions::new(Duration::from_secs(20)), &Cancel::new(), &mut |_, _| {}).unwrap();
    });
    // And cancelling ends it.
    let cancel = Cancel::new();
    cancel.cancel();
    assert!(matches!(strange.wait(&how, &cancel, &mut |_, _| {}), Err(HostError::Cancelled)));
}

#[test]
fn a_machine_that_went_away_is_reconnected_to() {
    let mut server = Sshd::start();
    let ssh = server.ssh(&network());
    let cancel = Cancel::new();
    let mut facts = kiln_host::Facts::of(&ssh, &cancel).unwrap();
    // Its server ends in the middle of a command, with the session.
    let error = ssh.output(&kiln_host::Command::shell("kill -9 $PPID; sleep 5"), &cancel).unwrap_err();
    assert!(matches!(error, HostError::Disconnected { .. }), "{error}");
    server.down();
    assert!(matches!(ssh.connect(&cancel), Err(HostError::Connect { why: Unreachable::Refused(_), .. })));
    server.up();
    ssh.wait(&WaitOptions::new(Duration::from_secs(10)), &cancel, &mut |_, _| {}).unwrap();
    assert_eq!(stdout(&ssh, "echo back"), "back\n");
    // It did not really reboot, which is noticed.
    let how = WaitOptions::new(Duration::from_secs(4));
    let error = ssh.wait_reboot(&facts, &how, &cancel, &mut |_, _| {}).unwrap_err().to_string();
    assert!(error.ends_with("it answers, but has not been rebooted yet"), "{error}");
    facts.boot = "another".to_owned();
    ssh.wait_reboot(&facts, &how, &cancel, &mut |_, _| {}).unwrap();
}
