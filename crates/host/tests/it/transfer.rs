//! Files and directories, by both protocols, to a server of OpenSSH and to this machine.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use kiln_host::copy::{Links, Put, RemotePath, Source, Transfer, get_file, put_file};
use kiln_host::{Cancel, Host, HostError, Local, Network, Ssh};

use crate::network;
use crate::proxy::{self, Weather};
use crate::sshd::Sshd;

fn by(server: &Sshd, network: &Network, transfer: Transfer) -> Ssh {
    let mut options = server.options();
    options.transfer = transfer;
    Ssh::new(network, options)
}

/// A directory as text: name, mode, contents or target.
fn dump(root: &Path) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut left = vec![root.to_owned()];
    while let Some(path) = left.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let name = path.strip_prefix(root).unwrap().display().to_string();
        let mode = metadata.mode() & 0o7777;
        let text = if metadata.is_symlink() {
            format!("-> {}", fs::read_link(&path).unwrap().display())
        } else if metadata.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            format!("d {mode:o}")
        } else {
            format!("f {mode:o} {}", String::from_utf8_lossy(&fs::read(&path).unwrap()))
        };
        all.insert(name, text);
    }
    all
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A directory with what is difficult.
fn difficult(root: &Path) {
    fs::create_dir_all(root.join("empty dir")).unwrap();
    fs::create_dir_all(root.join("sub/deep")).unwrap();
    for name in ["plain", "with space", "qu'o\"te", "-dash", "$HOME", "ü", "sub/deep/x", "empty", "a\\b", "*"] {
        fs::write(root.join(name), if name == "empty" { "" } else { name }).unwrap();
    }
    mode(&root.join("plain"), 0o600);
    mode(&root.join("sub/deep/x"), 0o4755);
    mode(&root.join("sub/deep"), 0o555);
    mode(&root.join("empty dir"), 0o700);
}

fn contract(host: &dyn Host, scratch: &Path) {
    let cancel = Cancel::new();
    let here = scratch.join("from");
    difficult(&here);
    let keep = Put::default();
    let path = |name: &str| RemotePath::from(scratch.join(name).as_path());
    // With and without the slash.
    fs::create_dir(scratch.join("there")).unwrap();
    host.put_directory(&here, &path("there"), &keep, &cancel).unwrap();
    let mut wanted = dump(&here);
    let root = wanted.insert(String::new(), "d 755".to_owned());
    assert_eq!(root.as_deref(), Some("d 755"));
    assert_eq!(dump(&scratch.join("there/from")), wanted);
    host.put_directory(&here.join(""), &path("new/and/newer"), &keep, &cancel).unwrap();
    assert_eq!(dump(&scratch.join("new/and/newer")), wanted);
    // And back: bits that make a program somebody else's do not come along.
    wanted.insert("sub/deep/x".to_owned(), "f 755 sub/deep/x".to_owned());
    host.get_directory(&path("there/from"), &scratch.join("back"), &cancel).unwrap();
    assert_eq!(dump(&scratch.join("back/from")), wanted);
    host.get_directory(&path("there/from/"), &scratch.join("back2"), &cancel).unwrap();
    assert_eq!(dump(&scratch.join("back2")), wanted);
    // Single files.
    for name in ["plain", "with space", "qu'o\"te", "-dash", "$HOME", "empty"] {
        put_file(host, &here.join(name), &path(""), &keep, &cancel).unwrap();
        assert_eq!(fs::read(scratch.join(name)).unwrap(), fs::read(here.join(name)).unwrap(), "{name}");
        get_file(host, &path(name), &scratch.join("fetched"), &cancel).unwrap();
        assert_eq!(fs::read(scratch.join("fetched")).unwrap(), fs::read(here.join(name)).unwrap(), "{name}");
    }
    assert_eq!(scratch.join("plain").metadata().unwrap().mode() & 0o7777, 0o600);
    // Modes, whatever the umask there is, and whole files.
    for atomic in [false, true] {
        let how = Put { mode: Some(0o666), atomic, ..Put::default() };
        host.put_bytes(b"one", &path("moded"), &how, &cancel).unwrap();
        let how = Put { mode: Some(0o751), atomic, ..Put::default() };
        host.put_bytes(b"two!", &path("moded"), &how, &cancel).unwrap();
        assert_eq!(scratch.join("moded").metadata().unwrap().mode() & 0o7777, 0o751);
        assert_eq!(fs::read(scratch.join("moded")).unwrap(), b"two!");
    }
    // A source that is shorter than it says leaves an atomic file as it was, and nothing beside it.
    let count = || fs::read_dir(scratch).unwrap().count();
    let before = count();
    let how = Put { atomic: true, ..Put::default() };
    let source = Source { name: "short", reader: &mut &b"abc"[..], length: 9 };
    let error = host.put(source, &path("moded"), &how, &cancel).unwrap_err().to_string();
    assert_eq!(error, "cannot read short: it became shorter while it was copied");
    assert_eq!((fs::read(scratch.join("moded")).unwrap(), count()), (b"two!".to_vec(), before));
    // Much.
    let big: Vec<u8> = (0..9_000_001_u32).map(|n| (n / 7) as u8).collect();
    host.put_bytes(&big, &path("big"), &Put::default(), &cancel).unwrap();
    assert!(fs::read(scratch.join("big")).unwrap() == big);
    let mut back = Vec::new();
    assert_eq!(host.get(&path("big"), &mut back, &cancel).unwrap(), 0o644);
    assert!(back == big);
    // What is not there, and what is a directory.
    assert!(host.get(&path("none"), &mut Vec::new(), &cancel).unwrap_err().to_string().contains("o such file"));
    assert!(host.get(&path("from"), &mut Vec::new(), &cancel).is_err());
    assert!(host.put_bytes(b"x", &path("no/such/dir"), &Put::default(), &cancel).is_err());
    mode(&here.join("sub/deep"), 0o755);
}

#[test]
fn by_sftp() {
    let server = Sshd::start();
    contract(&by(&server, &network(), Transfer::Sftp), &server.scratch("s"));
}

#[test]
fn by_scp() {
    let server = Sshd::start();
    contract(&by(&server, &network(), Transfer::Scp), &server.scratch("s"));
}

#[test]
fn on_this_machine() {
    let scratch = tempfile::tempdir().unwrap();
    contract(&Local::new(&network()), scratch.path());
}

#[test]
fn links_and_names_that_are_no_text() {
    let server = Sshd::start();
    let network = network();
    let scratch = server.scratch("s");
    let from = scratch.join("from");
    fs::create_dir_all(from.join("real")).unwrap();
    fs::write(from.join("real/file"), "x").unwrap();
    symlink("real", from.join("dir-link")).unwrap();
    symlink("/etc/nowhere", from.join("dangling")).unwrap();
    fs::write(from.join(std::ffi::OsStr::from_bytes(b"latin\xe9")), "y").unwrap();
    fs::write(from.join("new\nline"), "z").unwrap();
    let (sftp, scp) = (by(&server, &network, Transfer::Sftp), by(&server, &network, Transfer::Scp));
    let cancel = Cancel::new();
    let to = RemotePath::from(scratch.join("to").as_path());
    for _ in 0..2 {
        sftp.put_directory(&from.join(""), &to, &Put::default(), &cancel).unwrap();
        assert_eq!(dump(&scratch.join("to")), dump(&from));
        sftp.get_directory(&to.join(b""), &scratch.join("back"), &cancel).unwrap();
        assert_eq!(dump(&scratch.join("back")), dump(&from));
    }
    let error = |host: &Ssh, links| {
        let how = Put { links, ..Put::default() };
        host.put_directory(&from.join(""), &RemotePath::from(scratch.join("to2").as_path()), &how, &cancel)
            .unwrap_err()
            .to_string()
    };
    insta::assert_snapshot!(error(&scp, Links::Keep), @"copying the link `dangling` by scp is not possible: that protocol has no links; SFTP has, or let them be followed");
    assert!(error(&sftp, Links::Follow).ends_with("dangling: No such file or directory (os error 2)"));
    fs::remove_file(from.join("dangling")).unwrap();
    insta::assert_snapshot!(error(&scp, Links::Follow), @r"copying `new\nline` by scp is not possible: its name has a line end, which that protocol cannot say; SFTP can");
    fs::remove_file(from.join("new\nline")).unwrap();
    for (host, name) in [(&scp, "f1"), (&sftp, "f2")] {
        let how = Put { links: Links::Follow, ..Put::default() };
        host.put_directory(&from.join(""), &RemotePath::from(scratch.join(name).as_path()), &how, &cancel).unwrap();
        assert_eq!(fs::read(scratch.join(name).join("dir-link/file")).unwrap(), b"x");
        assert!(scratch.join(name).join("dir-link").symlink_metadata().unwrap().is_dir());
    }
}

#[test]
fn a_full_disk_is_called_one() {
    let server = Sshd::start();
    let network = network();
    let bytes = vec![7_u8; 1 << 20];
    let small = RemotePath::from(server.path("small/file").as_path());
    for (transfer, wanted) in
        [(Transfer::Sftp, "the disk there is full (0 bytes left)"), (Transfer::Scp, "No space left on device")]
    {
        let ssh = by(&server, &network, transfer);
        for atomic in [true, false] {
            let how = Put { atomic, ..Put::default() };
            let error = ssh.put_bytes(&bytes, &small, &how, &Cancel::new()).unwrap_err();
            assert!(matches!(&error, HostError::Remote { what: "write", .. }), "{error}");
            assert!(error.to_string().ends_with(wanted), "{error}");
            let left = crate::stdout(&ssh, &format!("ls -A {}", server.path("small").display()));
            assert_eq!(left, if atomic { "" } else { "file\n" });
            crate::stdout(&ssh, &format!("rm -f {}/*", server.path("small").display()));
        }
    }
}

#[test]
fn a_connection_that_breaks_leaves_no_half_of_an_atomic_file() {
    let server = Sshd::start();
    let network = network();
    let scratch = server.scratch("s");
    let weather = Weather::default();
    let port = proxy::start(server.port, weather.clone());
    for transfer in [Transfer::Sftp, Transfer::Scp] {
        let mut options = server.options();
        options.port = port;
        options.transfer = transfer;
        let ssh = Ssh::new(&network, options);
        let to = RemotePath::from(scratch.join("file").as_path());
        let how = Put { atomic: true, ..Put::default() };
        weather.cut_after.store(0, Ordering::Relaxed);
        ssh.put_bytes(b"old", &to, &how, &Cancel::new()).unwrap();
        weather.cut_after.store(2_000_000, Ordering::Relaxed);
        let error = ssh.put_bytes(&vec![1; 20_000_000], &to, &how, &Cancel::new()).unwrap_err();
        assert!(matches!(error, HostError::Disconnected { .. }), "{transfer:?}: {error}");
        assert_eq!(fs::read(scratch.join("file")).unwrap(), b"old");
        // The next call connects anew.
        weather.cut_after.store(0, Ordering::Relaxed);
        ssh.put_bytes(b"new", &to, &how, &Cancel::new()).unwrap();
        assert_eq!(fs::read(scratch.join("file")).unwrap(), b"new");
    }
}

#[test]
fn a_connection_that_hangs_is_noticed_and_can_be_cancelled() {
    let server = Sshd::start();
    let network = network();
    let weather = Weather::default();
    let mut options = server.options();
    options.port = proxy::start(server.port, weather.clone());
    options.keep_alive = Some(Duration::from_millis(300));
    let ssh = Ssh::new(&network, options);
    assert_eq!(crate::stdout(&ssh, "echo in"), "in\n");
    weather.frozen.store(true, Ordering::Relaxed);
    let start = Instant::now();
    let error = ssh.output(&kiln_host::Command::shell("echo x"), &Cancel::new()).unwrap_err();
    assert!(error.to_string().ends_with("it no longer answers"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    weather.frozen.store(false, Ordering::Relaxed);
    // A copy that is given up frees its session at once.
    let scratch = server.scratch("s");
    let cancel = Cancel::new();
    let endless = std::io::repeat(3).take(u64::MAX);
    let mut reader = Slow(endless, cancel.clone(), 0);
    let source = Source { name: "endless", reader: &mut reader, length: u64::MAX };
    let ssh = server.ssh(&network);
    let error = ssh.put(source, &RemotePath::from(scratch.join("f").as_path()), &Put::default(), &cancel).unwrap_err();
    assert!(matches!(error, HostError::Cancelled), "{error}");
    for _ in 0..12 {
        ssh.put_bytes(b"x", &RemotePath::from(scratch.join("g").as_path()), &Put::default(), &Cancel::new()).unwrap();
    }
}

/// Cancels in the middle.
struct Slow<R>(R, Cancel, u32);

impl<R: Read> Read for Slow<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.2 += 1;
        if self.2 == 50 {
            self.1.cancel();
        }
        self.0.read(buffer)
    }
}

#[test]
fn a_slow_link_only_takes_longer() {
    let server = Sshd::start();
    let scratch = server.scratch("s");
    let mut options = server.options();
    let weather = Weather { delay: Duration::from_millis(15), ..Weather::default() };
    options.port = proxy::start(server.port, weather);
    let ssh = Ssh::new(&network(), options);
    let bytes = vec![9; 400_000];
    let to = RemotePath::from(scratch.join("f").as_path());
    ssh.put_bytes(&bytes, &to, &Put::default(), &Cancel::new()).unwrap();
    let mut back = Vec::new();
    ssh.get(&to, &mut back, &Cancel::new()).unwrap();
    assert!(back == bytes);
}

#[test]
fn a_server_without_sftp_says_so_and_files_of_the_kernel_are_read() {
    let server = Sshd::start();
    let ssh = server.ssh(&network());
    let mut text = Vec::new();
    ssh.get(&RemotePath::from("/proc/version"), &mut text, &Cancel::new()).unwrap();
    assert!(text.starts_with(b"Linux version"));
    fs::write(server.path("config"), fs::read_to_string(server.path("config")).unwrap().replace("Subsystem", "#"))
        .unwrap();
    let mut server = server;
    server.down();
    server.up();
    let ssh = server.ssh(&network());
    let error = ssh.get(&RemotePath::from("/proc/version"), &mut text, &Cancel::new()).unwrap_err().to_string();
    assert!(error.ends_with("the server has no SFTP; copies by scp may work"), "{error}");
}
