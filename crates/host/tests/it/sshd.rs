//! A server of OpenSSH on a port of loopback, with users, passwords and a small disk of its own: in a mount namespace, so
//! that nothing of this machine is changed.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kiln_host::keys::{Kind, PrivateKey, PublicKey};
use kiln_host::ssh::{Auth, HostKeys};
use kiln_host::{Network, Ssh, SshOptions};
use tempfile::TempDir;

/// Who may log in besides root.
pub const USER: &str = "kiln-test";
pub const PASSWORD: &str = "correct horse";
/// Its `crypt`, made by `openssl passwd -6`.
const CRYPTED: &str = "$6$kiln$";

/// A running server.
pub struct Sshd {
    pub directory: TempDir,
    pub port: u16,
    pub user_key: PrivateKey,
    pub host_key: PublicKey,
    extra: String,
    child: Option<Child>,
}

impl Sshd {
    pub fn start() -> Sshd {
        Sshd::with("")
    }

    /// With more lines of configuration.
    pub fn with(extra: &str) -> Sshd {
        Sshd::with_host_key(extra, Kind::Ed25519)
    }

    pub fn with_host_key(extra: &str, kind: Kind) -> Sshd {
        tool("/usr/sbin/sshd", "openssh-server");
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let host_key = PrivateKey::generate(kind, "").unwrap();
        let user_key = PrivateKey::generate(Kind::Ed25519, "test").unwrap();
        let mut server = Sshd {
            port: free_port(),
            user_key,
            host_key: host_key.public(),
            directory,
            extra: extra.to_owned(),
            child: None,
        };
        server.write("host_key", host_key.openssh().unwrap().expose(), 0o600);
        server.write("host_key.pub", &host_key.public().line(), 0o644);
        server.furnish();
        server.up();
        server
    }

    /// Starts it, or starts it again.
    pub fn up(&mut self) {
        let path = |name: &str| self.path(name).display().to_string();
        let mut mounts = String::new();
        for (file, over) in [("passwd", "/etc/passwd"), ("shadow", "/etc/shadow"), ("sudoers", "/etc/sudoers")] {
            mounts.push_str(&format!("mount --bind {} {over} && ", path(file)));
        }
        let script = format!(
            "{mounts}mount -t tmpfs -o size=256k,mode=0777 none {} && mkdir -p /run/sshd && exec /usr/sbin/sshd -D -e -f {}",
            path("small"),
            path("config")
        );
        let log = fs::File::create(self.path("log")).unwrap();
        let child = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", &script])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(start.elapsed() < Duration::from_secs(20), "sshd does not start: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends the server, not the sessions it has.
    pub fn down(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn furnish(&self) {
        let root = self.directory.path().display();
        for name in ["small", "home", "keys"] {
            fs::create_dir(self.path(name)).unwrap();
        }
        std::os::unix::fs::chown(self.path("home"), Some(12345), Some(12345)).unwrap();
        let line = self.user_key.public().line();
        self.write("keys/root", &format!("{line}\n"), 0o644);
        self.write(&format!("keys/{USER}"), &format!("{line}\n"), 0o644);
        self.write("passwd", &format!("root:x:0:0:root:/root:/bin/sh\nsshd:x:101:65534::/run/sshd:/bin/false\n{USER}:x:12345:12345::{root}/home:/bin/sh\n"), 0o644);
        self.write("shadow", &format!("root:*:19000:0:99999:7:::\n{USER}:{}:19000:0:99999:7:::\n", crypted()), 0o600);
        self.write(
            "sudoers",
            &format!("Defaults !lecture, timestamp_timeout=0\nroot ALL=(ALL:ALL) ALL\n{USER} ALL=(ALL:ALL) ALL\n"),
            0o440,
        );
        let config = format!(
            "Port {}\nListenAddress 127.0.0.1\nHostKey {root}/host_key\nAuthorizedKeysFile {root}/keys/%u\nStrictModes no\n\
             PidFile none\nPermitRootLogin yes\nUsePAM yes\nPrintMotd no\nPrintLastLog no\nLogLevel VERBOSE\n\
             MaxStartups 400\nSubsystem sftp /usr/lib/openssh/sftp-server\nPasswordAuthentication no\n{}\n",
            self.port, self.extra
        );
        self.write("config", &config, 0o644);
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str, mode: u32) {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// What the server noted.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Options that log in as root, with the key, knowing the server's.
    pub fn options(&self) -> SshOptions {
        let mut options = SshOptions::new("127.0.0.1", "root", HostKeys::Pinned(vec![self.host_key.clone()]));
        options.port = self.port;
        options.auth = vec![self.key()];
        options
    }

    pub fn key(&self) -> Auth {
        Auth::Key { key: self.user_key.clone(), certificate: None }
    }

    pub fn ssh(&self, network: &Network) -> Ssh {
        Ssh::new(network, self.options())
    }

    /// A scratch directory that the server's users can use as well.
    pub fn scratch(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        path
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.down();
    }
}

fn crypted() -> String {
    tool("/usr/bin/openssl", "openssl");
    let output = Command::new("openssl").args(["passwd", "-6", "-salt", "kiln", PASSWORD]).output().unwrap();
    let crypted = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    assert!(crypted.starts_with(CRYPTED), "{crypted}");
    crypted
}

pub fn tool(path: &str, package: &str) {
    assert!(Path::new(path).exists(), "{path} is missing: apt-get install {package}");
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
