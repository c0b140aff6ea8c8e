//! Hosts that answer, lie, hang and refuse: a program that stands for Kiln is sent to this machine and run.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use kiln_doctor::Fleet;
use kiln_doctor::facts::gather;
use kiln_doctor::fleet::remote::{Asking, Parcel, Placed, gather as ask, parse, run};
use kiln_doctor::probe::Order;
use kiln_doctor::report::{Outcome, Report};
use kiln_host::recording::Answer;
use kiln_host::{Cancel, Host, Local, Network, Recording};

fn program(directory: &Path, script: &str) -> PathBuf {
    let path = directory.join("program");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// What is said of this machine when it runs this script.
fn said(script: &str) -> Fleet {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("facts"), facts()).unwrap();
    let binary = program(directory.path(), &format!("cd {}\n{script}", directory.path().display()));
    let network = Network::start().unwrap();
    let local = || ("h0".to_owned(), Box::new(Local::new(&network)) as Box<dyn Host>);
    let fleet = asked(&[local()], &binary);
    // As one of many, for which it is packed, it says the same.
    let packed = Parcel::new(&binary, 100);
    let again = asked_by(&[local()], &packed);
    assert_eq!(
        (fleet.hosts.len(), fleet.missing.len()),
        (again.hosts.len(), again.missing.len()),
        "{:?}",
        again.missing
    );
    // Nothing stays behind.
    for directory in ["/tmp", "/var/tmp", "/run"] {
        for entry in fs::read_dir(directory).unwrap().flatten() {
            let left = fs::read(entry.path().join("kiln")).unwrap_or_default();
            assert!(left != fs::read(&binary).unwrap(), "{}", entry.path().display());
        }
    }
    fleet
}

fn asked(hosts: &[(String, Box<dyn Host>)], binary: &Path) -> Fleet {
    asked_by(hosts, &Parcel::new(binary, hosts.len()))
}

fn asked_by(hosts: &[(String, Box<dyn Host>)], binary: &Parcel) -> Fleet {
    let cancel = Cancel::new();
    ask(hosts, &Asking { binary, limit: Duration::from_secs(3), sudo: false, cancel: &cancel })
}

/// Many hosts get the program packed; one that has no gzip gets it as it is.
#[test]
fn a_host_without_gzip() {
    let (directory, cancel) = (tempfile::tempdir().unwrap(), Cancel::new());
    let parcel = Parcel::new(&program(directory.path(), "exit 0"), 100);
    let asking = Asking { binary: &parcel, limit: Duration::from_secs(3), sudo: false, cancel: &cancel };
    let sent = |gzip: Answer| {
        let host = Recording::new("root@h");
        host.answer("mktemp", Answer::output("/tmp/kiln-doctor.a1B2c3D4"));
        host.answer("gzip", gzip);
        let placed = Placed::new("h", &host, &asking, &cancel).map(drop);
        (placed.is_ok(), host.file("/tmp/kiln-doctor.a1B2c3D4/kiln").map(|(mode, _)| mode))
    };
    assert_eq!(sent(Answer::output("")), (true, None));
    assert_eq!(sent(Answer::failure(127, "sh: gzip: not found")), (true, Some(0o700)));
    let absent = Parcel::new(&directory.path().join("nothing"), 100);
    let host = Recording::new("root@h");
    host.answer("mktemp", Answer::output("/tmp/kiln-doctor.a1B2c3D4"));
    let error = Placed::new("h", &host, &Asking { binary: &absent, ..asking }, &cancel).err().unwrap().to_string();
    assert!(error.contains("cannot read") && error.contains("nothing"), "{error}");
}

/// The small program is what hosts get to tell of themselves, and the whole one for everything else.
#[test]
fn hosts_get_no_more_than_they_need() {
    let (directory, cancel) = (tempfile::tempdir().unwrap(), Cancel::new());
    let parcel = Parcel::with_part(&program(directory.path(), "exit 0"), b"the part");
    let asking = Asking { binary: &parcel, limit: Duration::from_secs(3), sudo: false, cancel: &cancel };
    let host = Recording::new("root@h");
    host.answer("mktemp", Answer::output("/tmp/kiln-doctor.a1B2c3D4"));
    host.answer("gzip", Answer::output(""));
    drop(Placed::new("h", &host, &asking, &cancel).unwrap());
    let unpacked = host.ran().into_iter().find(|ran| ran.line.contains("gzip")).unwrap();
    assert_eq!(unpacked.stdin, b"the part");
    assert_eq!(host.file("/tmp/kiln-doctor.a1B2c3D4/kiln"), None);
    run("h", &host, &asking, &["doctor", "fix", "undo"]).unwrap();
    let (_, sent) = host.file("/tmp/kiln-doctor.a1B2c3D4/kiln").unwrap();
    assert_eq!(sent, fs::read(directory.path().join("program")).unwrap());
}

/// The small program says what the library says, and knows nothing else.
#[test]
fn the_program_for_hosts() {
    let say = |words: &[&str]| Command::new(env!("CARGO_BIN_EXE_kiln-doctor-host")).args(words).output().unwrap();
    let told = say(&["doctor", "--facts-json"]);
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let facts = parse("h", &told.stdout, (0, i64::MAX)).unwrap();
    let here = gather(Path::new("/"), None).unwrap();
    assert_eq!((facts.system.hostname, facts.system.machine_id), (here.system.hostname, here.system.machine_id));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let order = |to: SocketAddr| serde_json::to_string(&Order::Connect { to, from: None, wait: 2000 }).unwrap();
    let open = say(&["doctor", "probe", &order(listener.local_addr().unwrap())]);
    assert!(open.status.success() && !open.stdout.is_empty(), "{open:?}");
    for bad in [&[][..], &["doctor"], &["doctor", "fix", "leases.leaked", "--yes"], &["--facts-json"]] {
        let refused = say(bad);
        assert_eq!((refused.status.code(), refused.stdout.as_slice()), (Some(2), &b""[..]), "{bad:?}");
    }
    let garbage = say(&["doctor", "probe", "{"]);
    assert!(garbage.status.code() == Some(3) && String::from_utf8_lossy(&garbage.stderr).contains("the order"));
}

fn facts() -> Vec<u8> {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("etc")).unwrap();
    fs::write(root.path().join("etc/hostname"), "node7\n").unwrap();
    serde_json::to_vec(&gather(root.path(), None).unwrap()).unwrap()
}

#[test]
fn many_hosts_answer_in_the_order_they_were_named() {
    let facts = facts();
    let host = |i: usize| {
        let host = Recording::new(format!("root@h{i}"));
        host.answer("mktemp", Answer::output("/tmp/kiln-doctor.a1B2c3D4"));
        host.answer("kiln doctor --facts-json", Answer::output(facts.clone()));
        (format!("h{i}"), Box::new(host) as Box<dyn Host>)
    };
    let mut hosts: Vec<_> = (0..40).map(host).collect();
    let silent = Recording::new("root@h40");
    silent.answer("mktemp", Answer::output("/etc"));
    hosts.push(("h40".to_owned(), Box::new(silent) as Box<dyn Host>));
    let directory = tempfile::tempdir().unwrap();
    let fleet = asked(&hosts, &program(directory.path(), ""));
    let names: Vec<String> = fleet.hosts.iter().map(|host| host.name.clone()).collect();
    assert_eq!(names, (0..40).map(|i| format!("h{i}")).collect::<Vec<_>>());
    assert!(fleet.hosts.iter().all(|host| host.system.hostname == "node7" && host.system.ahead.is_some()));
    assert_eq!(fleet.missing[0].why, "says a directory that is none");
}

/// The real program on this machine says the truth.
#[test]
fn a_program_that_prints_facts() {
    let fleet = said("test \"$1 $2\" = 'doctor --facts-json' && cat facts");
    assert_eq!(fleet.hosts[0].system.hostname, "node7", "{:?}", fleet.missing);
}

#[test]
fn hosts_that_lie_hang_or_fail_are_not_looked_at() {
    let cases = [
        ("echo '{\"version\":3}'", "cannot be read|missing field"),
        ("sed 's/\"version\":3/\"version\":99/' facts", "version 99"),
        ("printf '\\033[2J\\0garbage'", "expected"),
        ("exit 7", "7"),
        ("sleep 60", "did not answer within 3 s"),
        ("yes '[[[[[[[['", ""),
    ];
    for (script, why) in cases {
        let fleet = said(script);
        assert!(fleet.hosts.is_empty(), "{script}");
        assert_eq!(fleet.missing[0].host, "h0");
        assert!(why.split('|').any(|why| fleet.missing[0].why.contains(why)), "{script}: {}", fleet.missing[0].why);
        assert_eq!(Report::new(&fleet).outcome(), Outcome::Unknown);
    }
}
