//! Servers that lie, stall, or are none; and dropbear, which is one.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command as Tool, Stdio};
use std::time::{Duration, Instant};

use kiln_host::copy::{Put, RemotePath, Transfer};
use kiln_host::keys::{Kind, PrivateKey};
use kiln_host::ssh::{Auth, HostKeys, WaitOptions};
use kiln_host::{Cancel, Command, Exit, Host, Network, Ssh, SshOptions};

use crate::sshd::{free_port, tool};
use crate::{eventually, network, refused, stdout};

/// Serves each connection by this.
fn server(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = std::sync::Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = std::sync::Arc::clone(&serve);
            std::thread::spawn(move || serve(stream));
        }
    });
    port
}

fn to(network: &Network, port: u16) -> Ssh {
    let mut options = SshOptions::new("127.0.0.1", "root", HostKeys::Any);
    options.port = port;
    options.handshake_timeout = Duration::from_millis(900);
    Ssh::new(network, options)
}

/// The reason, without the address.
fn why(ssh: &Ssh) -> String {
    let error = refused(ssh);
    let (_, why) = error.split_once(": ").unwrap();
    why.to_owned()
}

#[test]
fn servers_that_are_none() {
    let network = network();
    let silent = server(|stream| {
        std::thread::sleep(Duration::from_secs(30));
        drop(stream);
    });
    insta::assert_snapshot!(why(&to(&network, silent)), @"the port is open, but no SSH server greeted within 0.9 s: it is not up yet");
    let closing = server(drop);
    insta::assert_snapshot!(why(&to(&network, closing)), @"the connection was closed before any greeting: the server is not up yet");
    let web = server(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad\x1b[31m Request\r\n\r\n");
    });
    insta::assert_snapshot!(why(&to(&network, web)), @r"what listens there is no SSH server; it says `HTTP/1.1 400 Bad\u{1b}[31m Request`");
    let endless = server(|mut stream| while stream.write_all(&[b'x'; 4096]).is_ok() {});
    assert!(why(&to(&network, endless)).starts_with("what listens there is no SSH server; it says `xxxxxx"));
    let half = server(|mut stream| {
        let _ = stream.write_all(b"SSH-2.0-Half\r\n");
        std::thread::sleep(Duration::from_secs(30));
    });
    insta::assert_snapshot!(why(&to(&network, half)), @"the handshake took longer than 0.9 s");
    let garbage = server(|mut stream| {
        let _ = stream.write_all(b"SSH-2.0-Odd\r\n");
        let _ = stream.write_all(&[0xff; 4096]);
        let mut buffer = [0; 4096];
        while stream.read(&mut buffer).is_ok_and(|n| n > 0) {}
    });
    assert!(why(&to(&network, garbage)).starts_with("the handshake failed: "), "{}", why(&to(&network, garbage)));
    let refuses = to(&network, free_port());
    assert!(why(&refuses).ends_with("refuses connections: nothing listens there"), "{}", why(&refuses));
    let nowhere = Ssh::new(&network, SshOptions::new("no-such-host.invalid", "root", HostKeys::Any));
    assert!(why(&nowhere).starts_with("the name no-such-host.invalid has no address: "), "{}", why(&nowhere));
}

#[test]
fn a_deadline_in_an_attempt_keeps_the_reason_before() {
    let network = network();
    let silent = server(|stream| {
        std::thread::sleep(Duration::from_secs(30));
        drop(stream);
    });
    let mut options = to(&network, silent).options().clone();
    options.handshake_timeout = Duration::from_secs(20);
    let start = Instant::now();
    let ssh = Ssh::new(&network, options);
    let error = ssh.wait(&WaitOptions::new(Duration::from_secs(4)), &Cancel::new(), &mut |_, _| {}).unwrap_err();
    assert!(error.to_string().contains("no SSH server greeted within"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
}

/// dropbear, whose commands know signals and whose scp is OpenSSH's.
#[test]
fn dropbear_is_a_server_too() {
    tool("/usr/sbin/dropbear", "dropbear-bin");
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let user = PrivateKey::generate(Kind::Ed25519, "").unwrap();
    let made = Tool::new("dropbearkey").args(["-t", "ed25519", "-f"]).arg(root.join("key")).output().unwrap();
    assert!(made.status.success());
    std::fs::create_dir(root.join("root-ssh")).unwrap();
    std::fs::write(root.join("root-ssh/authorized_keys"), user.public().line()).unwrap();
    let port = free_port();
    // Its authorized keys are always in ~/.ssh: a mount namespace has another one.
    let script = format!(
        "mount -t tmpfs -o mode=700 none /root && mkdir -m 700 /root/.ssh && cp {0}/root-ssh/authorized_keys /root/.ssh/ && \
         chmod 600 /root/.ssh/authorized_keys && exec dropbear -F -E -s -r {0}/key -p 127.0.0.1:{port} -P {0}/pid",
        root.display()
    );
    let mut child = Tool::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", &script])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("dropbear listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    let mut options = SshOptions::new("127.0.0.1", "root", HostKeys::Any);
    options.port = port;
    options.transfer = Transfer::Scp;
    options.auth = vec![Auth::Key { key: user, certificate: None }];
    let ssh = Ssh::new(&network(), options);
    let cancel = Cancel::new();
    assert_eq!(stdout(&ssh, "echo $((6 * 7))"), "42\n");
    assert_eq!(ssh.output(&Command::shell("exit 9"), &cancel).unwrap().exit, Exit::Code(9));
    assert_eq!(ssh.output(&Command::shell("kill -KILL $$"), &cancel).unwrap().exit, Exit::Signal("KILL".to_owned()));
    let path = RemotePath::from(root.join("file").as_path());
    ssh.put_bytes(&vec![5; 1_000_000], &path, &Put { atomic: true, ..Put::default() }, &cancel).unwrap();
    let mut back = Vec::new();
    ssh.get(&path, &mut back, &cancel).unwrap();
    assert_eq!(back.len(), 1_000_000);
    let later = cancel.clone();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(400));
        later.cancel();
    });
    assert!(ssh.output(&Command::shell("trap '' TERM; sleep 7201; sleep 7201"), &cancel).is_err());
    let left = Tool::new("pgrep").args(["-f", "^sleep 7201"]).output().unwrap();
    assert!(left.stdout.is_empty());
    child.kill().unwrap();
    child.wait().unwrap();
}
