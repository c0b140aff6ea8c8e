//! A crowd: many hosts to launch clusters on, each with a root directory, an SSH server and an address, and with stand-ins
//! for systemd and Kubernetes.
//!
//! Real: OpenSSH, shells, files, processes, the network between hosts, and Kiln on both sides. Not real: `systemctl`,
//! `kubeadm`, `kubelet` and `kubectl` are scripts (`bin/`) that leave the same files and say what theirs say when all is
//! well, at once; there are no containers. So it shows what Kiln itself does with hundreds of hosts, and no more; clusters
//! that work are tried on a [`crate::Fleet`].
//!
//! As there, everything is in namespaces that one process keeps, and gone when the crowd is dropped or its owner is killed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::fleet::{Keeper, generate, root};

/// The version that the stand-ins say they have.
pub const VERSION: &str = "v1.30.2";
/// What is launched: a cluster image with the stand-ins.
pub const IMAGE: &str = "crowd:1";
/// Scripts in place of programs.
const STAND_INS: [(&str, &str); 4] = [
    ("systemctl", include_str!("bin/systemctl")),
    ("kubeadm", include_str!("bin/kubeadm")),
    ("kubelet", include_str!("bin/kubelet")),
    ("kubectl", include_str!("bin/kubectl")),
];

/// Hosts `host1`, `host2`, …; gone when dropped.
pub struct Crowd {
    keeper: Keeper,
    directory: PathBuf,
    size: usize,
}

impl Crowd {
    /// Makes so many hosts.
    ///
    /// # Panics
    /// If a host does not come up, or the machine has not what it needs.
    #[must_use]
    pub fn start(size: usize) -> Crowd {
        assert!((1..=1000).contains(&size), "a bridge has a thousand ports");
        let root = root();
        let directory = tempfile::Builder::new().prefix("kiln-crowd-").tempdir_in("/var/tmp");
        let directory = directory.expect("make a directory for the crowd").keep();
        let keeper = Keeper::start(&directory, "kiln-crowd-has-no-cgroups");
        let crowd = Crowd { keeper, directory, size };
        let at = |name: &str| crowd.directory.join(name);
        generate(&at("id_ed25519"));
        generate(&at("host_key"));
        for dir in ["bin", "home/.ssh", "cluster"] {
            fs::create_dir_all(at(dir)).expect("make directories");
        }
        for (name, text) in STAND_INS {
            executable(&at("bin").join(name), text);
        }
        fs::write(at("cluster/ca.crt"), crate::tls::Certificates::new().ca).expect("write an authority");
        let key = fs::read_to_string(at("host_key.pub")).expect("read the hosts' key");
        let known: String = (1..=size).map(|number| format!("{} {key}", crowd.address(number))).collect();
        fs::write(at("home/.ssh/known_hosts"), known).expect("write the keys of the hosts");
        fs::copy(at("id_ed25519"), at("home/.ssh/id_ed25519")).expect("copy the key");
        let mut command = Command::new("nsenter");
        command.args([
            "--target",
            &crowd.keeper.init,
            "--mount",
            "--net",
            "--pid",
            "--",
            "sh",
            "-c",
            include_str!("host.sh"),
        ]);
        command.arg("crowd").arg(&crowd.directory).arg(&root).arg(at("bin")).arg(size.to_string());
        // Hosts outlive the script, and must not hold what it says open.
        let log = fs::File::create(at("started")).expect("make a file");
        let made = command.stdout(Stdio::null()).stderr(log).status().expect("start nsenter");
        assert!(made.success(), "hosts do not start: {}", fs::read_to_string(at("started")).unwrap_or_default());
        crowd
    }

    /// The process above all of the hosts'.
    ///
    /// # Panics
    /// Never: the keeper has said a number.
    #[must_use]
    pub fn init(&self) -> u32 {
        self.keeper.init.parse().expect("a number")
    }

    /// The address of a host, from 1.
    #[must_use]
    pub fn address(&self, number: usize) -> String {
        format!("10.78.{}.{}", number / 200 + 1, number % 200 + 1)
    }

    /// A place for files of who measures.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.directory.join("home")
    }

    /// A program of this machine in the hosts' network, where it has the address 10.78.0.1; root's keys are those that
    /// hosts know, Kiln's store and records are new ones.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        let home = self.home();
        let mut command = self.keeper.command(program);
        command.env("HOME", &home).env("USER", "root").env_remove("SSH_AUTH_SOCK");
        command.env("KILN_STORE", home.join("store")).env("KILN_STATE", home.join("clusters"));
        command
    }

    /// Makes [`IMAGE`] of the stand-ins, with a file of so many bytes beside them.
    ///
    /// # Panics
    /// If `kiln` does not.
    pub fn image(&self, kiln: &Path, bytes: u64) {
        let from = self.home().join("from");
        fs::create_dir_all(from.join("bin")).expect("make a directory");
        fs::create_dir_all(from.join("statics")).expect("make a directory");
        for (name, text) in &STAND_INS[1..] {
            executable(&from.join("bin").join(name), text);
        }
        executable(&from.join("bin/crictl"), "#!/bin/sh\n");
        let mut noise = fs::File::open("/dev/urandom").map(|file| std::io::Read::take(file, bytes)).expect("open it");
        let mut file = fs::File::create(from.join("statics/noise")).expect("make a file");
        std::io::copy(&mut noise, &mut file).expect("fill a file");
        let mut command = self.command(kiln);
        command
            .args(["cluster", "base", "-q", "--kubernetes", VERSION, "--no-images", "-t", IMAGE, "--from"])
            .arg(&from);
        let made = command.output().expect("start kiln");
        assert!(made.status.success(), "no image: {}", String::from_utf8_lossy(&made.stderr));
    }

    /// Writes a Clusterfile of one master and all others as workers.
    ///
    /// # Panics
    /// If it cannot be written.
    #[must_use]
    pub fn clusterfile(&self) -> PathBuf {
        let path = self.home().join("Clusterfile");
        let workers: Vec<String> = (2..=self.size).map(|number| self.address(number)).collect();
        let text = format!(
            "apiVersion: sealer.io/v2\nkind: Cluster\nmetadata: {{name: crowd}}\nspec:\n  image: {IMAGE}\n  hosts:\n  - ips: [{}]\n    \
             roles: [master]\n  - ips: [{}]\n    roles: [node]\n",
            self.address(1),
            workers.join(", ")
        );
        fs::write(&path, text).expect("write the Clusterfile");
        path
    }
}

/// Writes a program.
fn executable(path: &Path, text: &str) {
    fs::write(path, text).expect("write a stand-in");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("set rights");
}
