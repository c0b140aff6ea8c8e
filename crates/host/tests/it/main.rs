//! Machines: OpenSSH's and dropbear's servers on loopback, and servers that lie. These tests run as root.

mod connect;
mod exec;
mod hostile;
mod login;
mod proxy;
mod sshd;
mod transfer;
mod tunnels;

use std::time::{Duration, Instant};

use kiln_host::{Cancel, Command, Exit, Host, Network, Ssh};

/// What a command wrote, which has to succeed.
fn stdout(host: &dyn Host, line: &str) -> String {
    let output = host.output(&Command::shell(line), &Cancel::new()).unwrap();
    assert_eq!(output.exit, Exit::Code(0), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn network() -> Network {
    Network::start().unwrap()
}

/// What connecting fails with.
fn refused(ssh: &Ssh) -> String {
    ssh.connect(&Cancel::new()).unwrap_err().to_string()
}

/// Until something is so.
fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < Duration::from_secs(20), "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
