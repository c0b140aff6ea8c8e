//! Ways to log in.

use std::process::Command as Tool;

use kiln_host::keys::{Certificate, Kind, PrivateKey};
use kiln_host::ssh::Auth;
use kiln_host::{Secret, Ssh};

use crate::sshd::{PASSWORD, Sshd, USER, tool};
use crate::{network, refused, stdout};

fn with(server: &Sshd, user: &str, auth: Vec<Auth>) -> Ssh {
    let mut options = server.options();
    options.user = user.to_owned();
    options.auth = auth;
    Ssh::new(&network(), options)
}

fn key(key: PrivateKey) -> Auth {
    Auth::Key { key, certificate: None }
}

#[test]
fn keys_of_every_kind() {
    let server = Sshd::start();
    let mut lines = String::new();
    let kinds = [Kind::Ed25519, Kind::Ecdsa(256), Kind::Ecdsa(384), Kind::Ecdsa(521), Kind::Rsa(2048)];
    let keys = kinds.map(|kind| PrivateKey::generate(kind, "k").unwrap());
    for key in &keys {
        lines.push_str(&format!("{}\n", key.public().line()));
    }
    server.write("keys/root", &lines, 0o644);
    for one in keys {
        assert_eq!(stdout(&with(&server, "root", vec![key(one)]), "id -u"), "0\n");
    }
}

/// Keys as ssh-keygen and openssl write them, with and without passphrases.
#[test]
fn keys_in_every_format() {
    tool("/usr/bin/ssh-keygen", "openssh-client");
    let server = Sshd::start();
    let directory = server.scratch("formats");
    let mut lines = String::new();
    let mut keys = Vec::new();
    for (index, arguments) in [
        vec!["-t", "ed25519", "-N", ""],
        vec!["-t", "ed25519", "-N", "pass phrase"],
        vec!["-t", "rsa", "-b", "2048", "-N", "pass phrase", "-Z", "aes256-gcm@openssh.com"],
        vec!["-t", "rsa", "-b", "2048", "-m", "PEM", "-N", ""],
        vec!["-t", "rsa", "-b", "2048", "-m", "PEM", "-N", "pass phrase"],
        vec!["-t", "rsa", "-b", "2048", "-m", "PKCS8", "-N", ""],
        vec!["-t", "rsa", "-b", "2048", "-m", "PKCS8", "-N", "pass phrase"],
        vec!["-t", "ecdsa", "-b", "256", "-m", "PEM", "-N", ""],
        vec!["-t", "ecdsa", "-b", "256", "-m", "PKCS8", "-N", ""],
    ]
    .into_iter()
    .enumerate()
    {
        let path = directory.join(format!("k{index}"));
        let made = Tool::new("ssh-keygen").args(["-q", "-f"]).arg(&path).args(&arguments).status().unwrap();
        assert!(made.success());
        lines.push_str(&std::fs::read_to_string(path.with_extension("pub")).unwrap());
        keys.push((arguments, Secret::new(std::fs::read_to_string(&path).unwrap())));
    }
    server.write("keys/root", &lines, 0o644);
    for (arguments, text) in keys {
        let phrase = arguments.contains(&"pass phrase").then(|| Secret::new("pass phrase"));
        let read =
            PrivateKey::parse("k", &text, phrase.as_ref()).unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
        assert_eq!(stdout(&with(&server, "root", vec![key(read)]), "echo in"), "in\n", "{arguments:?}");
        if phrase.is_some() {
            let none = PrivateKey::parse("k", &text, None).unwrap_err().to_string();
            assert_eq!(none, "cannot use the key k: it is encrypted: a passphrase is needed", "{arguments:?}");
            let wrong = PrivateKey::parse("k", &text, Some(&Secret::new("wrong"))).unwrap_err().to_string();
            assert_eq!(wrong, "cannot use the key k: the passphrase does not open it", "{arguments:?}");
        }
    }
}

#[test]
fn passwords_and_questions() {
    let server = Sshd::with("Match User kiln-test\nPasswordAuthentication yes\nKbdInteractiveAuthentication yes");
    let password = |text: &str| Auth::Password(Secret::new(text));
    let questions = |text: &str| Auth::Interactive(Secret::new(text));
    assert_eq!(stdout(&with(&server, USER, vec![password(PASSWORD)]), "id -un"), format!("{USER}\n"));
    assert_eq!(stdout(&with(&server, USER, vec![questions(PASSWORD)]), "id -un"), format!("{USER}\n"));
    let error = refused(&with(&server, USER, vec![password("wr0ng"), questions("wr0ng")]));
    let why = error.split_once(": the login").unwrap().1;
    insta::assert_snapshot!(why, @" was denied: tried a password, answering its questions; the server takes publickey, password, keyboard-interactive");
    assert!(!error.contains("wr0ng"));
}

#[test]
fn a_wrong_key_is_denied_with_what_the_server_takes() {
    let server = Sshd::with("KbdInteractiveAuthentication no");
    let wrong = PrivateKey::generate(Kind::Ed25519, "").unwrap();
    let fingerprint = wrong.public().fingerprint();
    let ssh = with(&server, "root", vec![key(wrong), Auth::Password(Secret::new("x"))]);
    let error = refused(&ssh).replace(&fingerprint, "KEY").replace(&server.port.to_string(), "PORT");
    insta::assert_snapshot!(error, @"cannot connect to root@127.0.0.1:PORT: the login was denied: tried the key ssh-ed25519 KEY, no password (not offered); the server takes publickey");
    let none = refused(&with(&server, "root", Vec::new())).replace(&server.port.to_string(), "PORT");
    insta::assert_snapshot!(none, @"cannot connect to root@127.0.0.1:PORT: the login was denied: there was nothing to try; the server takes publickey");
}

#[test]
fn two_ways_one_after_the_other() {
    let server =
        Sshd::with("Match User kiln-test\nPasswordAuthentication yes\nAuthenticationMethods publickey,password");
    let password = Auth::Password(Secret::new(PASSWORD));
    assert_eq!(stdout(&with(&server, USER, vec![password, server.key()]), "echo in"), "in\n");
    let error = refused(&with(&server, USER, vec![server.key()]));
    assert!(error.contains("(right, but the server wants more); the server takes password"), "{error}");
}

#[test]
fn an_agent_and_certificates() {
    tool("/usr/bin/ssh-agent", "openssh-client");
    let server = Sshd::start();
    let directory = server.scratch("agent");
    let run = |line: &str| {
        let status = Tool::new("sh").arg("-ec").arg(line).current_dir(&directory).status().unwrap();
        assert!(status.success(), "{line}");
    };
    run("ssh-keygen -q -t ed25519 -N '' -f ca; ssh-keygen -q -t ed25519 -N '' -f other
         ssh-keygen -q -t ed25519 -N '' -f user; ssh-keygen -q -s ca -I somebody -n root -V +1h user.pub
         ssh-keygen -q -t rsa -b 2048 -N '' -f rsa; ssh-keygen -q -s ca -I somebody -n root -V +1h rsa.pub");
    let ca = std::fs::read_to_string(directory.join("ca.pub")).unwrap();
    server.write("keys/root", &format!("cert-authority {ca}"), 0o644);
    let text = |name: &str| std::fs::read_to_string(directory.join(name)).unwrap();
    for name in ["user", "rsa"] {
        let user = PrivateKey::parse(name, &Secret::new(text(name)), None).unwrap();
        let certificate = Certificate::parse("c", &text(&format!("{name}-cert.pub"))).unwrap();
        let auth = Auth::Key { key: user.clone(), certificate: Some(certificate.clone()) };
        assert_eq!(stdout(&with(&server, "root", vec![auth]), "echo in"), "in\n", "{name}");
        assert!(refused(&with(&server, "root", vec![key(user)])).contains("denied"));
        let mixed = Auth::Key { key: PrivateKey::generate(Kind::Ed25519, "").unwrap(), certificate: Some(certificate) };
        assert!(
            refused(&with(&server, "root", vec![mixed]))
                .ends_with("the certificate is for another key than the one given")
        );
    }
    let socket = directory.join("socket");
    let mut agent =
        Tool::new("ssh-agent").arg("-D").arg("-a").arg(&socket).stdout(std::process::Stdio::null()).spawn().unwrap();
    crate::eventually("the agent listens", || socket.exists());
    let add = |names: &str| run(&format!("SSH_AUTH_SOCK={} ssh-add -q {names}", socket.display()));
    let ask = |only| with(&server, "root", vec![Auth::Agent { socket: socket.clone(), only }]);
    assert!(refused(&ask(None)).contains("no key of the agent (it has none to offer)"));
    add("other");
    assert!(refused(&ask(None)).contains("of the agent; the server takes"), "{}", refused(&ask(None)));
    add("user");
    assert_eq!(stdout(&ask(None), "echo in"), "in\n");
    let other = kiln_host::keys::PublicKey::parse(&text("other.pub")).unwrap();
    assert!(refused(&ask(Some(other.clone()))).contains("denied"));
    server.write("keys/root", &other.line(), 0o644);
    assert_eq!(stdout(&ask(Some(other)), "echo in"), "in\n");
    agent.kill().unwrap();
    agent.wait().unwrap();
    assert!(refused(&ask(None)).contains("no agent ("));
}

/// Nothing that was secret is in what anything prints.
#[test]
fn options_print_no_secrets() {
    let server = Sshd::start();
    let mut options = server.options();
    options.auth.extend([Auth::Password(Secret::new("hunter2")), Auth::Interactive(Secret::new("hunter2"))]);
    let shown = format!("{options:?} {:?}", Ssh::new(&network(), options.clone()));
    assert!(!shown.contains("hunter2") && !shown.contains("PRIVATE"), "{shown}");
}
