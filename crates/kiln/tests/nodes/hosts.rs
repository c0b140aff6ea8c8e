//! Hosts verified over SSH: OpenSSH's server, host keys, users who are not root.

use kiln_testkit::{Output, TestContext};

use crate::sshd::{Sshd, USER};

/// A server, and files with the key to log in with and the key it is known by.
fn server() -> (Sshd, TestContext) {
    let sshd = Sshd::start();
    let t = TestContext::with_kiln(env!("CARGO_BIN_EXE_kiln"));
    t.write("id", 0o600, sshd.user_key.openssh().unwrap().expose());
    t.write("known", 0o644, format!("[127.0.0.1]:{} {}\n", sshd.port, sshd.host_key.line()));
    t.write(
        "own.yaml",
        0o644,
        "name: own\nchecks:\n  - {id: own.release, title: it says what it is, file: {path: /etc/os-release, exists: true}}\n  \
         - {id: own.shadow, title: passwords are read, file: {path: /etc/shadow, contains: root}}\n  \
         - {id: own.id, title: it runs commands, run: {command: [id, -u], stdout: \"^0\"}}\n",
    );
    (sshd, t)
}

fn verify(sshd: &Sshd, t: &TestContext, user: &str, more: &[&str]) -> Output {
    let target = format!("ssh://{user}@127.0.0.1:{}", sshd.port);
    t.kiln(&[&["node", "verify", &target, "-p", "own.yaml", "--identity", "id", "--json"], more].concat())
}

fn verdicts(out: &Output) -> Vec<String> {
    let json = out.json();
    json["checks"].as_array().unwrap().iter().map(|c| c["verdict"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_host_is_judged_with_the_rights_that_were_asked_for() {
    let (sshd, t) = server();
    let known = ["--known-hosts", "known"];
    let out = verify(&sshd, &t, "root", &known).ok();
    assert_eq!(verdicts(&out), ["pass", "pass", "pass"]);
    assert_eq!(out.json()["target"], format!("host root@127.0.0.1:{}", sshd.port));
    // Who may not read a file is told so: that is no pass, and no failure either.
    let out = verify(&sshd, &t, USER, &known).exits(1);
    assert_eq!(verdicts(&out), ["pass", "could-not-check", "fail"]);
    sshd.write("sudoers", &format!("root ALL=(ALL:ALL) ALL\n{USER} ALL=(ALL:ALL) NOPASSWD: ALL\n"), 0o440);
    let out = verify(&sshd, &t, USER, &[&known[..], &["--sudo"]].concat()).ok();
    assert_eq!(verdicts(&out), ["pass", "pass", "pass"]);
    // Through itself: to the host, the connection comes from there.
    let jump = format!("root@127.0.0.1:{}", sshd.port);
    let out = verify(&sshd, &t, "root", &[&known[..], &["--jump", &jump]].concat()).ok();
    assert_eq!(verdicts(&out), ["pass", "pass", "pass"]);
}

#[test]
fn who_is_not_known_is_not_trusted() {
    let (sshd, t) = server();
    let out = verify(&sshd, &t, "root", &["--known-hosts", "nothing"]).exits(3);
    assert!(out.stderr.contains("--accept-new-host-keys"), "{out}");
    let _ = verify(&sshd, &t, "root", &["--known-hosts", "new", "--accept-new-host-keys"]).ok();
    let kept = std::fs::read_to_string(t.context().join("new")).unwrap();
    assert!(kept.contains(&sshd.host_key.line()), "{kept}");
    let _ = verify(&sshd, &t, "root", &["--known-hosts", "new"]).ok();
    // Another machine answers there.
    let other = kiln_host::keys::PrivateKey::generate(kiln_host::keys::Kind::Ed25519, "").unwrap();
    t.write("known", 0o644, format!("[127.0.0.1]:{} {}\n", sshd.port, other.public().line()));
    let out = verify(&sshd, &t, "root", &["--known-hosts", "known", "--accept-new-host-keys"]).exits(3);
    assert!(!out.stderr.is_empty(), "{out}");
}

#[test]
fn what_cannot_be_reached_or_used_is_said() {
    let t = TestContext::with_kiln(env!("CARGO_BIN_EXE_kiln"));
    let port = crate::sshd::free_port();
    let nobody = format!("ssh://root@127.0.0.1:{port}");
    let out = t.kiln(&["node", "verify", &nobody, "-p", "kubeadm"]).exits(3);
    assert!(out.stderr.contains("cannot connect to"), "{out}");
    let out = t.kiln(&["node", "verify", "ssh://root:secret@x", "-p", "kubeadm"]).exits(2);
    assert!(out.stderr.contains("a password in the name of a machine") && !out.stderr.contains("secret"), "{out}");
    let out = t.kiln(&["node", "verify", &nobody, "-p", "kubeadm", "--identity", "none"]).exits(1);
    assert!(out.stderr.contains("cannot read the key none"), "{out}");
    t.write("bad", 0o600, "no key\n");
    let out = t.kiln(&["node", "verify", &nobody, "-p", "kubeadm", "--identity", "bad"]).exits(1);
    assert!(out.stderr.contains("bad"), "{out}");
}
