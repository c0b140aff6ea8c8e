//! What other processes do in tests.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

use kiln_oci::Digest;
use kiln_store::{ErrorKind, Store, StoreError};

const DIR: &str = "KILN_TEST_CHILD_DIR";

/// Another process that runs one of the tests below.
pub struct Other {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

fn command(test: &str, dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command.args([&format!("child::{test}"), "--exact", "--nocapture", "--test-threads=1"]).env(DIR, dir);
    command
}

impl Other {
    pub fn start(test: &str, dir: &Path) -> Other {
        let mut child =
            command(test, dir).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("this binary runs again");
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        Other { child, stdin, stdout }
    }

    /// Reads what the child says until a line with the word; returns what follows the word.
    pub fn wait_for(&mut self, word: &str) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.stdout.read_line(&mut line).expect("output"), 0, "the child ended before `{word}`");
            if let Some((_, rest)) = line.split_once(word) {
                return rest.trim().to_owned();
            }
        }
    }

    /// Lets a child go on that waits in [`pause`].
    pub fn go_on(&mut self) {
        let stdin = self.stdin.as_mut().expect("still open");
        stdin.write_all(b"\n").and_then(|()| stdin.flush()).expect("the child reads");
    }

    pub fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("gone");
    }

    pub fn finish(mut self) {
        drop(self.stdin.take());
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).expect("output");
        assert!(self.child.wait().expect("ended").success(), "{rest}");
    }
}

/// Runs a child in a mount namespace of its own, after a line of shell that sees the directory as `$D`.
pub fn in_mount_namespace(script: &str, test: &str, dir: &Path) -> Output {
    let plain = command(test, dir);
    let root = rustix::process::geteuid().is_root();
    let output = Command::new("unshare")
        .arg(if root { "-m" } else { "-rm" })
        .args(["sh", "-ec", &format!("D=\"$1\"; shift; {script}\nexec \"$@\""), "sh"])
        .arg(dir)
        .arg(plain.get_program())
        .args(plain.get_args())
        .env(DIR, dir)
        .output()
        .expect("unshare runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("1 passed"), "{text}");
    output
}

fn dir() -> Option<PathBuf> {
    std::env::var_os(DIR).map(PathBuf::from)
}

fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).expect("stdout");
}

fn pause() {
    std::io::stdin().lock().read_line(&mut String::new()).expect("stdin");
}

/// Downloads a part of a blob and then waits.
#[test]
fn downloads_half() {
    let Some(dir) = dir() else { return };
    let bytes = b"these are the bytes of a blob";
    let store = Store::open(dir).unwrap();
    let mut writer = store.download(&Digest::of(bytes), bytes.len() as u64, &|| false).unwrap().unwrap();
    writer.write_all(&bytes[..10]).unwrap();
    say("half");
    pause();
}

/// Writes blobs, images and names until it is killed.
#[test]
fn writes_until_killed() {
    let Some(dir) = dir() else { return };
    let store = Store::open(dir).unwrap();
    say("started");
    for n in 0_u64.. {
        let mut writer = store.blob_writer().unwrap();
        for chunk in 0..20_u64 {
            writer.write_all(&(n * 1000 + chunk).to_le_bytes().repeat(4096)).unwrap();
        }
        writer.commit(None, None).unwrap();
        let (descriptor, diff_id) = crate::image(&store, &format!("killed-{n}"));
        store.set_ref(&format!("example.org/killed:{}", n % 5), &descriptor).unwrap();
        store.cache_put("step", &n.to_string(), &[7; 3000]).unwrap();
        let draft = store.begin_snapshot().unwrap();
        std::fs::write(draft.fs().join("file"), n.to_string()).unwrap();
        draft.commit(&Digest::of(diff_id.to_string().as_bytes())).unwrap();
    }
}

/// Gives forty images names of its own.
#[test]
fn names_forty_images() {
    let Some(dir) = dir() else { return };
    let store = Store::open(dir).unwrap();
    let id = std::process::id();
    for n in 0..40 {
        let (descriptor, _) = crate::image(&store, &format!("{id}-{n}"));
        store.set_ref(&format!("example.org/p{id}:{n}"), &descriptor).unwrap();
    }
    say(&format!("named {id}"));
}

/// Holds the blob `held` in a lease.
#[test]
fn holds_a_blob() {
    let Some(dir) = dir() else { return };
    let store = Store::open(dir).unwrap();
    let _lease = store.lease().unwrap();
    assert!(store.has_blob(&Digest::of(b"held")));
    say("held");
    pause();
}

/// Holds the lock `a/../name`.
#[test]
fn holds_a_lock() {
    let Some(dir) = dir() else { return };
    let store = Store::open(dir).unwrap();
    let guard = store.lock("a/../name", &|| false).unwrap();
    say("locked");
    pause();
    drop(guard);
    say("released");
}

/// Reads a store on a read-only file system, and fails to write to it.
#[test]
fn reads_only() {
    let Some(dir) = dir() else { return };
    let store = Store::open(dir.join("store")).unwrap();
    assert!(store.is_read_only());
    let _lease = store.lease().unwrap();
    let digest = Digest::of(b"kept");
    assert_eq!(store.read_blob(&digest, 100).unwrap(), b"kept");
    assert_eq!(store.cache_get("step", "key").unwrap(), b"value");
    let named = store.get_ref("example.org/a:1").unwrap().unwrap();
    assert!(store.du().unwrap().bytes() > 0);
    assert!(store.fsck(false).unwrap().problems.is_empty());
    let errors: [StoreError; 8] = [
        store.put(b"new").unwrap_err(),
        store.set_ref("example.org/a:2", &named).unwrap_err(),
        store.remove_ref("example.org/a:1").unwrap_err(),
        store.cache_put("step", "key", b"other").unwrap_err(),
        store.begin_snapshot().err().unwrap(),
        store.lock("x", &|| false).unwrap_err(),
        store.prune(&Default::default()).unwrap_err(),
        store.fsck(true).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::ReadOnly, "{error}");
        assert!(error.to_string().contains("read-only"), "{error}");
    }
}

/// Fills the disk.
#[test]
fn fills_the_disk() {
    let Some(dir) = dir() else { return };
    let store = Store::open(dir.join("small/store")).unwrap();
    let filler = std::fs::File::create(dir.join("small/filler")).unwrap();
    store.put(b"fits").unwrap();
    let mut writer = store.blob_writer().unwrap();
    let error = loop {
        if let Err(error) = writer.write_all(&[1; 65536]) {
            break error;
        }
    };
    assert_eq!(kiln_store::error::kind_of(&error), ErrorKind::NoSpace, "{error}");
    assert!(error.to_string().contains("small/store/kiln/tmp/"), "{error}");
    let error = store.put(&[2; 65536]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
    drop(writer);
    assert!(crate::names(&store.dir().join("kiln/tmp")).is_empty());
    // Pruning needs no room, neither for bytes nor for files.
    for n in 0_u64.. {
        if store.put(&n.to_le_bytes().repeat(512)).is_err() {
            break;
        }
    }
    while (&filler).write_all(&[0; 512]).is_ok() {}
    assert!(store.put(b"another one").is_err());
    assert!(std::fs::File::create(dir.join("small/one-more")).is_err());
    let report = Store::open(store.dir()).unwrap().prune(&Default::default()).unwrap();
    assert!(report.failed.is_empty() && report.freed > 100_000, "{report:?}");
    store.put(&[2; 65536]).unwrap();
    assert!(store.fsck(false).unwrap().problems.is_empty());
}

/// Removes a tree something is mounted in.
#[test]
fn removes_around_a_mount() {
    let Some(dir) = dir() else { return };
    let error = kiln_store::remove_tree(&dir.join("tree")).unwrap_err();
    assert!(error.to_string().contains("tree/a/mounted"), "{error}");
    assert!(dir.join("tree/a/mounted/precious").exists());
    assert!(!dir.join("tree/b").exists());
}

/// Removes, as a plain user, directories nobody may enter.
#[test]
fn removes_closed_directories() {
    let Some(dir) = dir() else { return };
    let tree = dir.join("tree");
    std::fs::create_dir_all(tree.join("closed/inner")).unwrap();
    std::fs::write(tree.join("closed/inner/file"), "x").unwrap();
    for (path, mode) in [("closed/inner", 0o555), ("closed", 0o000)] {
        std::fs::set_permissions(tree.join(path), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    kiln_store::remove_tree(&tree).unwrap();
    assert!(!tree.exists());
}
