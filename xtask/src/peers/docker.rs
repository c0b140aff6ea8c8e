//! dockerd inside the chroot, for the BuildKit in it: no network of its own, no state that outlives it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use super::{Peers, child_of};
use crate::error::Error;

const SOCKET: &str = "/run/kiln-docker.sock";
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the daemon keeps images, layers and its cache.
#[derive(Debug)]
pub(crate) enum Data {
    /// In memory: nothing is synced to a disk. For many small builds.
    Memory,
    /// In this directory of the share, on its disk. For measuring.
    Directory(PathBuf),
}

/// A running dockerd. Dropped, it ends, with what it started.
#[derive(Debug)]
pub(crate) struct Docker<'a> {
    peers: &'a Peers,
    daemon: Child,
    log: PathBuf,
    cgroup: String,
}

impl<'a> Docker<'a> {
    /// Starts it and waits until it answers. Its log is `dockerd.log` in the directory `logs` of the share.
    pub(crate) fn start(peers: &'a Peers, data: &Data, logs: &Path) -> Result<Docker<'a>, Error> {
        let log = logs.join("dockerd.log");
        let file = fs::File::create(&log).map_err(|cause| Error::Write { path: log.clone(), cause })?;
        let copy = file.try_clone().map_err(|cause| Error::Write { path: log.clone(), cause })?;
        let root = match data {
            Data::Memory => Path::new("/tmp/docker"),
            Data::Directory(dir) => dir,
        };
        let cgroup = format!("kiln-peers-{}", std::process::id());
        let mut command = peers.command("dockerd");
        command.args(["--iptables=false", "--ip6tables=false", "--bridge=none", "--host", &format!("unix://{SOCKET}")]);
        command.args(["--exec-root=/run/docker", "--pidfile=/run/kiln-docker.pid", "--cgroup-parent", &cgroup]);
        command.arg("--data-root").arg(root).stdout(file).stderr(copy);
        let daemon = command.spawn().map_err(|cause| Error::Start { program: "dockerd".to_owned(), cause })?;
        let mut docker = Docker { peers, daemon, log, cgroup };
        docker.wait_until_ready()?;
        Ok(docker)
    }

    /// The `docker` client, speaking to this daemon.
    pub(crate) fn command(&self) -> Command {
        self.command_of("docker")
    }

    /// Another client of it.
    pub(crate) fn command_of(&self, program: &str) -> Command {
        let mut command = self.peers.command(program);
        command.env("DOCKER_HOST", format!("unix://{SOCKET}")).env("BUILDX_NO_DEFAULT_ATTESTATIONS", "1");
        command
    }

    /// The daemon's process, as the machine numbers it; its containerd is a child.
    pub(crate) fn pid(&self) -> u32 {
        // nsenter forks to be inside the process namespace.
        child_of(self.daemon.id()).unwrap_or(self.daemon.id())
    }

    /// Makes the root filesystem of a tar the image `name`.
    pub(crate) fn import(&self, tar: &Path, name: &str) -> Result<(), Error> {
        self.run(self.command().arg("import").arg(tar).arg(name))
    }

    /// Runs a command to its end; what it said is in the error.
    pub(crate) fn run(&self, command: &mut Command) -> Result<(), Error> {
        let shown = format!("{command:?}");
        let out = command.output().map_err(|cause| Error::Start { program: "docker".to_owned(), cause })?;
        if out.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        Err(Error::Failed { command: shown, status: out.status.to_string(), said })
    }

    fn wait_until_ready(&mut self) -> Result<(), Error> {
        let start = Instant::now();
        while self.run(self.command().arg("version")).is_err() {
            let ended = self.daemon.try_wait().ok().flatten().is_some();
            if ended || start.elapsed() > PATIENCE {
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                let tail = lines[lines.len().saturating_sub(10)..].join("\n");
                return Err(Error::Peers(format!("start dockerd; the end of its log:\n{tail}")));
            }
            thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }
}

impl Drop for Docker<'_> {
    fn drop(&mut self) {
        let pid = i32::try_from(self.pid()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let start = Instant::now();
        while self.daemon.try_wait().ok().flatten().is_none() {
            if start.elapsed() > Duration::from_secs(20) {
                let _ = self.daemon.kill();
                let _ = self.daemon.wait();
                break;
            }
            thread::sleep(Duration::from_millis(50));
        }
        remove_cgroups(&self.cgroup);
    }
}

/// Removes the cgroups the daemon made for its builds: empty directories, in every hierarchy of the machine.
fn remove_cgroups(name: &str) {
    let base = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(base).into_iter().flatten().flatten().map(|e| e.path());
    for dir in hierarchies.chain([base.to_owned()]).map(|d| d.join(name)).filter(|d| d.is_dir()) {
        remove_empty(&dir, 0);
    }
}

fn remove_empty(dir: &Path, depth: u32) {
    let children = fs::read_dir(dir).into_iter().flatten().flatten();
    for child in children.filter(|c| depth < 8 && c.file_type().is_ok_and(|t| t.is_dir())) {
        remove_empty(&child.path(), depth + 1);
    }
    let _ = fs::remove_dir(dir);
}
