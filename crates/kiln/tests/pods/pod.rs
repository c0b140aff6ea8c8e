//! A pod: its volume, its root, and commands run in it, each in a container of its own.
//!
//! The root's overlay is mounted in a mount namespace that ends with runc, runc runs in a process namespace that ends
//! with it, and it ends with the test: whatever becomes of a test, no process and no mount stays.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use kiln_testkit::{Filters, Output, TestContext, command, tools};

use crate::spec::{self, Settings, Volume};

/// Longer than any command in a pod takes on two slow cores.
const PATIENCE: Duration = Duration::from_secs(180);

/// Where the pod's volume is.
pub const VOLUME: &str = "/kiln";

/// The token that a service account's pod has.
pub const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// Makes the overlay of the root and becomes runc: `$1` the directory, `$2` the container.
const START: &str = "set -e; d=$1; \
    mount -t overlay overlay -o lowerdir=$d/image,upperdir=$d/changes,workdir=$d/work $d/root; \
    exec runc --root $d/state run --bundle $d $2";

static CONTAINERS: AtomicU32 = AtomicU32::new(0);

/// A pod with a volume at [`VOLUME`] and a context at `/context`.
pub struct Pod {
    pub t: TestContext,
    settings: Settings,
    env: Vec<String>,
    store: &'static str,
}

impl Pod {
    /// A pod whose commands find an image's root with `kiln`, busybox, a user `kiln` and certificates.
    pub fn new(settings: Settings) -> Pod {
        let t = TestContext::new();
        // Users of the pod reach through it, who are nobody outside.
        fs::set_permissions(t.root(), fs::Permissions::from_mode(0o755)).unwrap();
        let pod = Pod { t, settings, env: Vec::new(), store: "/kiln/store" };
        for dir in ["image", "changes", "work", "root", "state", "volume/tmp", "token"] {
            fs::create_dir_all(pod.dir().join(dir)).unwrap();
        }
        pod.fill_image();
        fs::write(pod.dir().join("token/token"), "MARK_service_account").unwrap();
        pod.give(&pod.dir().join("image"), 0);
        pod.give(&pod.dir().join("changes"), 0);
        pod.give(&pod.dir().join("volume"), settings.uid);
        pod
    }

    /// A variable of the container.
    pub fn env(mut self, name: &str, value: &str) -> Pod {
        self.env.push(format!("{name}={value}"));
        self
    }

    /// Another place for the store.
    pub fn store_at(mut self, place: &'static str) -> Pod {
        self.store = place;
        self
    }

    /// The pod's directory on the machine.
    pub fn dir(&self) -> PathBuf {
        self.t.root().join("out")
    }

    /// The store on the machine.
    pub fn store(&self) -> PathBuf {
        self.dir().join("volume/store")
    }

    fn fill_image(&self) {
        let image = self.dir().join("image");
        for dir in ["bin", "etc/ssl/certs", "root", "proc", "sys", "dev", "kiln", "context", "var/run/secrets"] {
            fs::create_dir_all(image.join(dir)).unwrap();
        }
        fs::create_dir(image.join("tmp")).unwrap();
        fs::set_permissions(image.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
        fs::copy(tools::tool("busybox"), image.join("bin/busybox")).unwrap();
        for applet in ["sh", "cat", "grep", "ls", "mount", "id", "test", "sleep", "mkdir", "sed"] {
            symlink("busybox", image.join("bin").join(applet)).unwrap();
        }
        fs::write(image.join("bin/kiln"), "").unwrap();
        fs::write(image.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nkiln:x:1000:1000::/kiln:/bin/sh\n").unwrap();
        fs::write(image.join("etc/group"), "root:x:0:\nkiln:x:1000:\n").unwrap();
        fs::copy("/etc/ssl/certs/ca-certificates.crt", image.join("etc/ssl/certs/ca-certificates.crt")).unwrap();
        for file in ["hosts", "resolv.conf"] {
            fs::copy(Path::new("/etc").join(file), image.join("etc").join(file)).unwrap();
        }
    }

    /// Makes the pod's user own a tree.
    pub fn give(&self, path: &Path, uid: u32) {
        let id = self.settings.outside(uid);
        if !path.is_symlink() {
            let mode = fs::metadata(path).unwrap().permissions();
            chown(path, Some(id), Some(id)).unwrap();
            fs::set_permissions(path, mode).unwrap();
        }
        if path.is_dir() && !path.is_symlink() {
            fs::read_dir(path).unwrap().for_each(|entry| self.give(&entry.unwrap().path(), uid));
        }
    }

    /// Runs a command in a container of the pod.
    pub fn run(&self, argv: &[&str]) -> Output {
        let id = format!("kiln-test-{}-{}", std::process::id(), CONTAINERS.fetch_add(1, Ordering::SeqCst));
        let (context, volume, token) = (self.t.context(), self.dir().join("volume"), self.dir().join("token"));
        let token_place = TOKEN.trim_end_matches("/token");
        let volumes = [
            Volume { source: Path::new(env!("CARGO_BIN_EXE_kiln")), target: "/bin/kiln", writable: false },
            Volume { source: &context, target: "/context", writable: false },
            Volume { source: &volume, target: VOLUME, writable: true },
            Volume { source: &token, target: token_place, writable: false },
        ];
        let env = self.environment();
        let config = spec::config(&self.settings, &id, &self.dir().join("root"), &volumes, &env, argv);
        fs::write(self.dir().join("config.json"), serde_json::to_vec(&config).unwrap()).unwrap();
        let _removed = Container(&id);
        let mut command = Command::new(tools::tool("setpriv"));
        command.args(["--pdeathsig", "KILL"]).arg(tools::tool("unshare"));
        command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", START, "sh"]);
        command.arg(self.dir()).arg(&id);
        command::run(command, b"", PATIENCE, &Filters::standard())
    }

    fn environment(&self) -> Vec<String> {
        let own = [
            "PATH=/bin",
            "HOME=/root",
            "TMPDIR=/kiln/tmp",
            "NO_COLOR=1",
            "COLUMNS=120",
            "KUBERNETES_SERVICE_HOST=10.96.0.1",
            "KUBERNETES_SERVICE_PORT=443",
        ];
        let store = format!("KILN_STORE={}", self.store);
        own.into_iter().map(str::to_owned).chain([store]).chain(self.env.iter().cloned()).collect()
    }

    /// Runs `kiln` in the pod.
    pub fn kiln(&self, args: &[&str]) -> Output {
        self.run(&[&["/bin/kiln"], args].concat())
    }
}

/// A container. runc removes its control groups after an orderly end; otherwise they are removed here.
struct Container<'a>(&'a str);

impl Drop for Container<'_> {
    fn drop(&mut self) {
        for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            let group = hierarchy.path().join(self.0);
            // A process that has just been killed stays counted for a moment.
            for pause in 0..50 {
                match fs::remove_dir(&group) {
                    Err(error) if error.kind() == ErrorKind::ResourceBusy => {
                        std::thread::sleep(Duration::from_millis(pause))
                    }
                    _ => break,
                }
            }
        }
        let _ = fs::remove_dir(Path::new("/sys/fs/cgroup").join(self.0));
    }
}
