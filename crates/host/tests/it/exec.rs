//! Commands: their output, input, end, and end before their time.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kiln_host::command::{Sudo, Terminal};
use kiln_host::{Cancel, Command, Exit, Facts, Host, HostError, Local, Secret, Ssh, Stdin, Streams};

use crate::sshd::{PASSWORD, Sshd, USER};
use crate::{eventually, network, stdout};

/// Everything a host has to do, whatever it is.
fn contract(host: &dyn Host) {
    let cancel = Cancel::new();
    let run = |command: Command| host.output(&command, &cancel).unwrap();
    let output = run(Command::shell("echo out; echo err >&2; exit 3"));
    assert_eq!((output.exit, &output.stdout[..], &output.stderr[..]), (Exit::Code(3), &b"out\n"[..], &b"err\n"[..]));
    assert_eq!(run(Command::shell("kill -TERM $$")).exit, Exit::Signal("TERM".to_owned()));
    let words = Command::program(["printf", "%s|", "it's", "a  b", "$HOME", "`x`", "a\nb", "*"]);
    assert_eq!(run(words).stdout, b"it's|a  b|$HOME|`x`|a\nb|*|");
    let env = Command::shell("printf %s \"$A-$B\"; cat").env("A", "x 'y'").secret_env("B", Secret::new("  s$cret\\"));
    assert_eq!(run(env).stdout, b"x 'y'-  s$cret\\");
    assert_eq!(run(Command::shell("pwd").directory("/usr/share")).stdout, b"/usr/share\n");
    assert_eq!(run(Command::shell("pwd").directory("/no/such")).exit, Exit::Code(127));
    // Input: more than any buffer, and also when nobody reads it.
    let feed = |line: &str, stdin: Stdin| {
        let (mut out, mut err) = (Vec::new(), io::sink());
        let streams = Streams { stdin, stdout: &mut out, stderr: &mut err };
        (host.run(&Command::shell(line), streams, &cancel).unwrap(), out)
    };
    let big = vec![b'x'; 5 << 20];
    assert_eq!(feed("wc -c", Stdin::Bytes(big.clone())).1, b"5242880\n");
    let reader = Box::new(io::repeat(b'y').take(3 << 20));
    assert_eq!(feed("wc -c", Stdin::Reader(reader)).1, b"3145728\n");
    assert_eq!(feed("exit 4", Stdin::Bytes(big)).0, Exit::Code(4));
    assert_eq!(feed("cat", Stdin::Empty).1, b"");
    // A daemon that keeps the output open does not hold the command up.
    let start = Instant::now();
    assert_eq!(run(Command::shell("echo a; sleep 30 & echo b")).stdout, b"a\nb\n");
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    let facts = Facts::of(host, &cancel).unwrap();
    assert_eq!((facts.uid, facts.system.as_str()), (0, "Linux"));
    assert!(facts.boot.len() == 36 && facts.os.contains_key("ID"), "{facts:?}");
}

#[test]
fn a_server_of_openssh_keeps_the_contract() {
    let server = Sshd::start();
    contract(&server.ssh(&network()));
}

#[test]
fn this_machine_keeps_the_contract() {
    contract(&Local::new(&network()));
}

#[test]
fn output_comes_as_it_is_written_and_there_may_be_much() {
    let server = Sshd::start();
    let ssh = server.ssh(&network());
    struct Times(Vec<Instant>, usize);
    impl Write for Times {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.push(Instant::now());
            self.1 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let run = |line: &str| {
        let mut times = Times(Vec::new(), 0);
        let streams = Streams { stdin: Stdin::Empty, stdout: &mut times, stderr: &mut io::sink() };
        ssh.run(&Command::shell(line), streams, &Cancel::new()).unwrap();
        times
    };
    let times = run("echo a; sleep 1; echo b");
    assert!(times.0[1] - times.0[0] > Duration::from_millis(700));
    assert_eq!(run("head -c 200000000 /dev/zero").1, 200_000_000);
    let error = ssh.output(&Command::shell("head -c 20000000 /dev/zero; sleep 60"), &Cancel::new()).unwrap_err();
    assert!(error.to_string().ends_with("the output of a command exceeds the limit of 16777216"), "{error}");
}

/// Cancels a command that does what it can to live on, and sees that nothing of it is left.
fn dies(host: &dyn Host, command: Command, name: &str) {
    let cancel = Cancel::new();
    let later = cancel.clone();
    let watch = std::thread::spawn({
        let name = name.to_owned();
        move || {
            eventually("the command runs", || running(&name));
            let set = Instant::now();
            later.cancel();
            set
        }
    });
    let error = host.output(&command, &cancel).unwrap_err();
    let took = watch.join().unwrap().elapsed();
    assert!(matches!(error, HostError::Cancelled), "{error}");
    assert!(took < Duration::from_millis(2500), "{took:?}");
    // A killed process is gone when the kernel comes to it.
    let killed = Instant::now();
    eventually("the command is gone", || !running(name));
    assert!(killed.elapsed() < Duration::from_secs(1), "{name} lived on");
}

fn running(name: &str) -> bool {
    let list = std::process::Command::new("ps").args(["-eo", "args"]).output().unwrap();
    String::from_utf8_lossy(&list.stdout).lines().any(|line| line == name)
}

/// Ignores TERM, has a child in a session of its own, and an output nobody closes.
fn stubborn(seconds: &str) -> String {
    format!("trap '' TERM HUP; setsid sleep {seconds} & sleep {seconds}; sleep {seconds}")
}

#[test]
fn a_cancelled_command_is_killed_there() {
    let server = Sshd::start();
    let network = network();
    let ssh = server.ssh(&network);
    dies(&ssh, Command::shell(stubborn("7101")), "sleep 7101");
    dies(&ssh, Command::shell("sleep 7102").terminal(Terminal::default()), "sleep 7102");
    dies(&Local::new(&network), Command::shell(stubborn("7104")), "sleep 7104");
    assert_eq!(stdout(&ssh, "echo still here"), "still here\n");
    let mut options = server.options();
    options.user = USER.to_owned();
    let user = Ssh::new(&network, options);
    // What carries no mark is killed by the server, which OpenSSH does for anybody but root.
    dies(&user, Command::shell("exec sleep 7103").untracked(), "sleep 7103");
    let sudo = Sudo { user: None, password: Some(Secret::new(PASSWORD)) };
    dies(&user, Command::shell(stubborn("7105")).sudo(sudo), "sleep 7105");
}

#[test]
fn sudo_gets_its_password_and_the_command_does_not() {
    let server = Sshd::start();
    let network = network();
    let mut options = server.options();
    options.user = USER.to_owned();
    let ssh = Ssh::new(&network, options);
    let cancel = Cancel::new();
    assert_eq!(stdout(&ssh, "id -u"), "12345\n");
    let sudo = |password: &str| Sudo { user: None, password: Some(Secret::new(password)) };
    let run = |ssh: &Ssh, command: Command| ssh.output(&command, &cancel).unwrap();
    let input =
        Command::shell("id -u; cat; printf %s \"$T\"").secret_env("T", Secret::new("tok en")).sudo(sudo(PASSWORD));
    assert_eq!(run(&ssh, input.clone()).stdout, b"0\ntok en");
    // Root is not asked: the password has to be skipped.
    assert_eq!(run(&server.ssh(&network), input.clone()).stdout, b"0\ntok en");
    // On a terminal it is not echoed.
    let terminal =
        Command::shell("id -u; printf %s $T").secret_env("T", Secret::new("x")).terminal(Terminal::default());
    let shown = run(&ssh, terminal.sudo(sudo(PASSWORD)));
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert_eq!(shown, "0\r\nx");
    let wrong = run(&ssh, Command::shell("id -u").sudo(sudo("wrong")));
    assert_eq!(wrong.exit, Exit::Code(1));
    assert!(wrong.stdout.is_empty());
    // Without one it fails at once rather than asking.
    let none = run(&ssh, Command::shell("id -u").sudo(Sudo::default()));
    assert_eq!(none.exit, Exit::Code(1));
    assert!(!format!("{input:?}").contains(PASSWORD));
}

#[test]
fn a_terminal_is_one() {
    let server = Sshd::start();
    let ssh = server.ssh(&network());
    let terminal = Terminal { kind: "vt100".to_owned(), columns: 91, rows: 17 };
    let command = Command::shell("tty >/dev/null && echo $TERM && stty size").terminal(terminal);
    assert_eq!(ssh.output(&command, &Cancel::new()).unwrap().stdout, b"vt100\r\n17 91\r\n");
    assert_eq!(ssh.output(&Command::shell("tty"), &Cancel::new()).unwrap().exit, Exit::Code(1));
}

#[test]
fn three_hundred_commands_at_once_share_a_connection() {
    let server = Sshd::start();
    let ssh = Arc::new(server.ssh(&network()));
    let threads: Vec<_> = (0..300)
        .map(|n| {
            let ssh = Arc::clone(&ssh);
            std::thread::spawn(move || assert_eq!(stdout(&*ssh, &format!("echo {n}")), format!("{n}\n")))
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(server.log().matches("Accepted publickey").count(), 1);
}

#[test]
fn fewer_sessions_than_thought_are_made_do_with() {
    let server = Sshd::with("MaxSessions 2");
    let ssh = Arc::new(server.ssh(&network()));
    let threads: Vec<_> = (0..20)
        .map(|n| {
            let ssh = Arc::clone(&ssh);
            std::thread::spawn(move || assert_eq!(stdout(&*ssh, &format!("echo {n}")), format!("{n}\n")))
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn two_hundred_machines_need_no_threads_of_their_own() {
    let server = Sshd::start();
    let network = network();
    let machines: Vec<Ssh> = (0..100).map(|_| server.ssh(&network)).collect();
    let before = threads();
    for machine in &machines {
        machine.connect(&Cancel::new()).unwrap();
    }
    assert!(threads() <= before + 8, "{before} threads became {}", threads());
    assert_eq!(stdout(&machines[99], "echo x"), "x\n");
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}
