//! A fleet of hosts to launch clusters on, without virtual machines: each is a container with a root directory, systemd,
//! SSH, containerd and an address of its own, on one bridge.
//!
//! Real: Debian 12's systemd as the first process (so `systemctl`, `journalctl`, units and reboots), OpenSSH, sudo,
//! containerd, iptables and the kernel's network. Not real: the kernel is one for all, without modules to load; what
//! a machine of few rights cannot do is gone around by `scripts/cluster-hosts.sh`, and told in
//! `docs/testing-clusters.md`.
//!
//! A fleet lives in namespaces of its own. One process beside the test keeps them and removes everything when the test
//! ends, also when it was killed. Nothing of it is seen on the machine: programs join its network by [`Fleet::command`].
//!
//! [`Fleet`] all hosts     [`Host`] one     [`kubernetes`] its programs and images, and what kubeadm must be told here
//!
//! Adding what hosts have: the packages and files in `scripts/cluster-hosts.sh`.

mod host;
pub mod kubernetes;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

pub use host::Host;

/// The address of the machine that tests run on, as hosts see it.
pub const LAUNCHER: &str = "10.77.0.1";
/// A user of hosts who may become root by saying [`PASSWORD`].
pub const USER: &str = "admin";
/// Their password.
pub const PASSWORD: &str = "an-admins-password";

/// Hosts `node1`, `node2`, … at `10.77.0.11` and `fd77::11`, `10.77.0.12` and `fd77::12`, …; gone when dropped.
pub struct Fleet {
    keeper: Keeper,
    directory: PathBuf,
    programs: Option<PathBuf>,
    hosts: Vec<Host>,
}

impl Fleet {
    /// Makes so many hosts and boots them.
    ///
    /// # Panics
    /// If a host does not come up, or the machine has not what it needs.
    #[must_use]
    pub fn start(size: usize) -> Fleet {
        Fleet::with(size, None)
    }

    /// The same, with the programs of [`kubernetes::programs`] in [`kubernetes::PROGRAMS`] on each host.
    ///
    /// # Panics
    /// If a host does not come up, or the machine has not what it needs.
    #[must_use]
    pub fn with_kubernetes(size: usize) -> Fleet {
        Fleet::with(size, Some(kubernetes::programs()))
    }

    /// The same, with the programs of [`kubernetes::docker_programs`]. Docker is on all hosts, and does not run.
    ///
    /// # Panics
    /// If a host does not come up, or the machine has not what it needs.
    #[must_use]
    pub fn with_docker(size: usize) -> Fleet {
        Fleet::with(size, Some(kubernetes::docker_programs()))
    }

    fn with(size: usize, programs: Option<PathBuf>) -> Fleet {
        assert!((1..=200).contains(&size), "a fleet has 1 to 200 hosts");
        let root = root();
        // On a disk: file systems in memory are no place for containers.
        let directory = tempfile::Builder::new().prefix("kiln-fleet-").tempdir_in("/var/tmp");
        let directory = directory.expect("make a directory for the fleet").keep();
        let cgroups = directory.file_name().expect("it has a name").to_string_lossy().into_owned();
        let keeper = Keeper::start(&directory, &cgroups);
        let mut fleet = Fleet { keeper, directory, programs, hosts: Vec::new() };
        generate(&fleet.key());
        for number in 1..=size {
            let host = Host::make(&fleet, number, &root, &cgroups);
            fleet.hosts.push(host);
        }
        let known: String = fleet.hosts.iter().map(Host::known).collect();
        fs::write(fleet.known_hosts(), known).expect("write the keys of the hosts");
        // At once, as machines do.
        std::thread::scope(|scope| {
            for host in &fleet.hosts {
                scope.spawn(move || host.boot());
            }
        });
        fleet
    }

    /// All hosts.
    #[must_use]
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The host `nodeN`, from 1.
    ///
    /// # Panics
    /// If there are not so many.
    #[must_use]
    pub fn host(&self, number: usize) -> &Host {
        &self.hosts[number - 1]
    }

    /// A command that is run on this machine, but joins the hosts' network, in which it has the address [`LAUNCHER`].
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        self.keeper.command(program)
    }

    /// The private key with which root logs in on every host, in a file.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.directory.join("id_ed25519")
    }

    /// What `ssh` must know of the hosts, in a file.
    #[must_use]
    pub fn known_hosts(&self) -> PathBuf {
        self.directory.join("known_hosts")
    }

    /// A place for files of the test, which goes away with the fleet.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

/// A process that keeps the namespaces of hosts, and removes them when this is dropped, or its owner is killed.
pub(crate) struct Keeper {
    child: Child,
    /// As long as it is open, the keeper keeps.
    lease: Option<ChildStdin>,
    /// The first process of the namespaces, above all of the hosts'.
    pub(crate) init: String,
}

impl Keeper {
    /// Starts it, with a directory and control groups for the hosts.
    pub(crate) fn start(directory: &Path, cgroups: &str) -> Keeper {
        let (mut child, init) = keeper(directory, cgroups, Stdio::piped());
        let lease = child.stdin.take();
        Keeper { child, lease, init }
    }

    /// A program of this machine in the hosts' network.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.init)).arg("--").arg(program);
        command
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.lease.take());
        // It removes everything, and then ends.
        let _ = self.child.wait();
    }
}

/// Starts the keeper, which keeps as long as the other end of `held_by` is open; and the first process of its namespaces.
fn keeper(directory: &Path, cgroups: &str, held_by: Stdio) -> (Child, String) {
    for name in ["systemd-nspawn", "nsenter", "ip", "ssh-keygen"] {
        crate::tools::tool(name);
    }
    let mut command = Command::new("setsid");
    command.args(["sh", "-c", include_str!("keep.sh"), "keep"]).arg(directory).arg(cgroups);
    command.stdin(held_by).stdout(Stdio::piped());
    let mut keeper = command.spawn().expect("start the keeper of the fleet");
    let mut init = String::new();
    let mut said = BufReader::new(keeper.stdout.take().expect("piped"));
    let _ = said.read_line(&mut init);
    assert!(!init.trim().is_empty(), "the fleet has no namespaces: tests with hosts must be run by root");
    (keeper, init.trim().to_owned())
}

/// Writes a key pair.
pub(crate) fn generate(path: &Path) {
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"]).arg(path).status();
    assert!(made.expect("start ssh-keygen").success(), "ssh-keygen cannot make {}", path.display());
}

/// The root directory that hosts share.
pub(crate) fn root() -> PathBuf {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/cluster-hosts.sh");
    let made = Command::new(script).output().expect("run scripts/cluster-hosts.sh");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    PathBuf::from(String::from_utf8(made.stdout).expect("a path in UTF-8").trim())
}

#[cfg(test)]
mod tests;
