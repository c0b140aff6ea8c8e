//! Container images put into containerd before the node boots: what Debian's containerd says of them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kiln_testkit::Rootfs;
use kiln_testkit::rootfs::busybox_rootfs;

use crate::{Node, base, template};

const STORE: &str = "var/lib/containerd";

/// A containerd of its own, on the files of a node.
struct Containerd {
    dir: tempfile::TempDir,
    child: Child,
}

impl Containerd {
    fn on(root: &Path) -> Containerd {
        assert!(
            Path::new("/usr/bin/containerd").exists(),
            "/usr/bin/containerd is missing: apt-get install containerd"
        );
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().to_owned();
        let at = |name: &str| own.join(name).display().to_string();
        // Without the plugin that wants networks: what it would do is done by `ctr`.
        let config = format!(
            "version = 2\nroot = \"{}\"\nstate = \"{}\"\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\naddress = \"{}\"\n",
            root.display(),
            at("state"),
            at("sock")
        );
        std::fs::write(at("config.toml"), config).unwrap();
        let log = File::create(at("log")).unwrap();
        let child = Command::new("containerd")
            .args(["-c", &at("config.toml")])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let containerd = Containerd { dir, child };
        let start = Instant::now();
        while containerd.ctr(&["version"]).is_err() {
            let log = std::fs::read_to_string(at("log")).unwrap();
            assert!(start.elapsed() < Duration::from_secs(60), "containerd does not start: {log}");
            std::thread::sleep(Duration::from_millis(50));
        }
        containerd
    }

    fn ctr(&self, args: &[&str]) -> Result<String, String> {
        let socket = self.dir.path().join("sock");
        let out = Command::new("ctr").arg("-a").arg(socket).args(["-n", "k8s.io"]).args(args).output().unwrap();
        match out.status.success() {
            true => Ok(String::from_utf8_lossy(&out.stdout).into_owned()),
            false => Err(String::from_utf8_lossy(&out.stderr).into_owned()),
        }
    }

    /// The lines of a command that begin with `name`.
    fn line(&self, args: &[&str], name: &str) -> String {
        let text = self.ctr(args).unwrap();
        let found = text.lines().find(|line| line.split_whitespace().next() == Some(name));
        found.unwrap_or_else(|| panic!("no {name} in\n{text}")).to_owned()
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // By its signal, so that it closes its database.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

/// The store of a node that was built, in a directory.
fn unpacked(node: &Node) -> PathBuf {
    let to = node.t.out("node");
    let _ = std::fs::remove_dir_all(&to);
    std::fs::create_dir(&to).unwrap();
    let _ = node.t.tool("tar", &["-xf", node.image().to_str().unwrap(), "-C", to.to_str().unwrap(), STORE]).ok();
    to.join(STORE)
}

/// A node's builder whose store has `example.com/app:1`, and an archive of `other:2` beside the template.
fn node(root: Rootfs) -> Node {
    let node = Node::over(root);
    for name in ["example.com/app:1", "other:2"] {
        let content = busybox_rootfs().file("etc/name", 0o644, name);
        let _ = node.t.kiln_with_input(&["import", "-", name], &content.tar()).ok();
    }
    let _ = node.t.kiln(&["save", "-o", "other.tar", "other:2"]).ok();
    node
}

const BOTH: &str = r#"{"type": "kiln-preload", "images": ["example.com/app:1"]},
    {"type": "shell", "inline": ["true"]},
    {"type": "kiln-preload", "archives": ["other.tar"], "pinned": false}"#;

#[test]
fn containerd_has_and_runs_what_was_put_there() {
    let node = node(base());
    let out = node.provision(BOTH, &[]).ok();
    assert!(out.stdout.contains("node: in containerd: example.com/app:1"), "{out}");
    assert!(!node.listing().contains("preload"), "nothing has to be loaded");
    let store = unpacked(&node);
    let containerd = Containerd::on(&store);
    let app = containerd.line(&["images", "ls"], "example.com/app:1");
    assert!(
        app.contains("io.cri-containerd.image=managed") && app.contains("io.cri-containerd.pinned=pinned"),
        "{app}"
    );
    let other = containerd.line(&["images", "ls"], "docker.io/library/other:2");
    assert!(other.contains("managed") && !other.contains("pinned"), "{other}");
    for name in ["example.com/app:1", "docker.io/library/other:2"] {
        let check = containerd.line(&["images", "check", "--snapshotter", "native"], name);
        assert!(check.contains("complete") && check.contains("false"), "{check}");
    }
    // A garbage collection leaves them, and takes what nothing names.
    let mut stray = node.t.out("stray");
    std::fs::write(&stray, "nothing names this").unwrap();
    stray = store.join("io.containerd.content.v1.content/blobs/sha256").join("ab".repeat(32));
    std::fs::write(&stray, "nothing names this").unwrap();
    let digest = |line: &str| line.split_whitespace().nth(2).unwrap().to_owned();
    let all = containerd.ctr(&["images", "ls"]).unwrap();
    let gone = all.lines().filter(|line| line.contains(&digest(&other))).filter_map(|line| line.split(' ').next());
    let _ = containerd.ctr(&[&["images", "rm", "--sync"], &gone.collect::<Vec<_>>()[..]].concat()).unwrap();
    assert!(!stray.exists(), "the collection ran");
    let check = containerd.line(&["images", "check", "--snapshotter", "native"], "example.com/app:1");
    assert!(check.contains("complete"), "{check}");
    let run =
        ["run", "--rm", "--snapshotter", "native", "--net-host", "example.com/app:1", "c1", "/bin/cat", "/etc/name"];
    assert_eq!(containerd.ctr(&run).unwrap(), "example.com/app:1");
    drop(containerd);
    // What Kiln's own checks see of it.
    node.write(
        "own.yaml",
        "name: own\nchecks:\n  - {id: own.images, title: it is there, images: [\"example.com/app:1\"]}\n",
    );
    let root = store.ancestors().nth(3).unwrap().display().to_string();
    let out = node.t.kiln(&["node", "verify", &root, "-p", "own.yaml", "--json"]).ok().json();
    assert_eq!(out["checks"][0]["verdict"], "pass");
}

#[test]
fn what_containerd_wrote_itself_is_added_to() {
    // A database by containerd, with an image and what else it notes.
    let first = self::node(base());
    let store = first.t.out("theirs").join(STORE);
    std::fs::create_dir_all(&store).unwrap();
    {
        let containerd = Containerd::on(&store);
        let archive = first.t.context().join("other.tar");
        let _ = containerd.ctr(&["images", "import", "--no-unpack", archive.to_str().unwrap()]).unwrap();
        let _ = containerd.ctr(&["images", "label", "docker.io/library/other:2", "mine=kept"]).unwrap();
    }
    let node = self::node(base());
    let archive = node.t.context().join("base.tar");
    let parts = ["io.containerd.content.v1.content/blobs", "io.containerd.metadata.v1.bolt"];
    let parts = parts.map(|part| format!("{STORE}/{part}"));
    let (archive, theirs) = (archive.to_str().unwrap(), first.t.out("theirs"));
    let append = ["-rf", archive, "-C", theirs.to_str().unwrap(), &parts[0], &parts[1]];
    let _ = node.t.tool("tar", &append).ok();
    let one = r#"{"type": "kiln-preload", "images": ["example.com/app:1"], "mode": "content"}"#;
    let _ = node.build(&template(one, ""), &[]).ok();
    let containerd = Containerd::on(&unpacked(&node));
    let theirs = containerd.line(&["images", "ls"], "docker.io/library/other:2");
    assert!(theirs.contains("mine=kept"), "{theirs}");
    for name in ["example.com/app:1", "docker.io/library/other:2"] {
        let check = containerd.line(&["images", "check", "--snapshotter", "native"], name);
        assert!(check.contains("complete"), "{check}");
    }
}

#[test]
fn what_cannot_be_put_there_is_said() {
    let broken = base().dir("var", 0o755).dir("var/lib", 0o755).dir(STORE, 0o711);
    let broken = broken.dir(&format!("{STORE}/io.containerd.metadata.v1.bolt"), 0o711);
    let broken = broken.file(&format!("{STORE}/io.containerd.metadata.v1.bolt/meta.db"), 0o644, "no database");
    let node = node(broken);
    let out = node.provision(r#"{"type": "kiln-preload", "images": ["example.com/app:1"]}"#, &[]).exits(1);
    assert!(out.stdout.contains("meta.db, cannot be added to: it is not a database of bbolt"), "{out}");
    let out =
        node.provision(r#"{"type": "kiln-preload", "archives": ["base.tar"], "namespace": "moby"}"#, &[]).exits(1);
    assert!(out.stdout.contains("base.tar"), "{out}");
    let out = node.provision(r#"{"type": "kiln-preload", "images": ["a"], "mode": "content", "directory": "/x"}"#, &[]);
    assert!(out.exits(1).stderr.contains("archives lie in a directory"));
}
