//! Other builders, of their current releases, in a chroot of a newer Debian: `scripts/peers.sh` makes it.
//!
//! They run in mount and process namespaces of their own, on the chroot as their root. The first process in there waits
//! for a pipe to close: when [`Peers`] is dropped, or this process dies in any way, it ends, and the kernel ends all
//! others and takes the mounts with them. What is
//! installed is on disk; `/run` and `/tmp` are of memory and new each time. One directory of the machine, the *share*, is
//! seen inside under the same path, so that a path means the same on both sides.
//!
//! [`docker`] dockerd, and builds with the BuildKit in it     [`check`] does it all work here?
//!
//! ```text
//! let peers = Peers::start(share)?;                          // buildah, podman, skopeo: peers.command("buildah")
//! let docker = Docker::start(&peers, Data::Memory)?;         // docker.command().args(["buildx", "build", …])
//! ```

pub(crate) mod check;
pub(crate) mod docker;

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::cargo;
use crate::error::Error;

pub(crate) use docker::{Data, Docker};

/// Prepares the mounts, says that they are there, and waits as the first process of the namespace, which reaps orphans
/// while it waits for `cat`.
/// Arguments: the chroot, the shared directory.
const INIT: &str = r#"
set -e
root=$1 share=$2
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mkdir -p "$root$share"
mount --bind "$share" "$root$share"
cp /etc/resolv.conf "$root/run/resolv.conf" 2>/dev/null || true
cd "$root"
pivot_root . mnt
cd /
umount -l /mnt
echo ready
cat >/dev/null
:
"#;

/// The chroot with its mounts, ready to run commands.
#[derive(Debug)]
pub(crate) struct Peers {
    root: PathBuf,
    holder: Child,
    init: u32,
}

impl Peers {
    /// Makes the chroot if it is not there, and mounts what it needs. `share` must exist and be absolute.
    pub(crate) fn start(share: &Path) -> Result<Peers, Error> {
        let root = made()?;
        let share = share.canonicalize().map_err(|cause| Error::Read { path: share.to_owned(), cause })?;
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child=KILL", "sh", "-c", INIT, "peers"]);
        command.arg(&root).arg(share).stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut holder = command.spawn().map_err(|cause| Error::Start { program: "unshare".to_owned(), cause })?;
        let mut said = [0; 6];
        let ready = holder.stdout.take().is_some_and(|mut out| out.read_exact(&mut said).is_ok());
        let init = child_of(holder.id());
        let mut peers = Peers { root, holder, init: init.unwrap_or(0) };
        if ready && init.is_some() {
            return Ok(peers);
        }
        peers.end();
        Err(Error::Peers("prepare the mounts of the chroot: this needs root, and util-linux".to_owned()))
    }

    /// A command inside, with the environment of a login of root and nothing else.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", self.init)).args(["--mount", "--pid", "--root", "--wd=/", "--"]);
        command.arg(program).env_clear().stdin(Stdio::null()).process_group(0);
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", "/root").env("LC_ALL", "C.UTF-8");
        command
    }

    /// The chroot, as the machine sees it.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// What a tool says of its version, its first line.
    pub(crate) fn version(&self, program: &str) -> Result<String, Error> {
        let out = self.command(program).arg("--version").output();
        let out = out.map_err(|cause| Error::Start { program: program.to_owned(), cause })?;
        Ok(String::from_utf8_lossy(&out.stdout).lines().next().unwrap_or_default().to_owned())
    }

    fn end(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        self.end();
    }
}

/// Where the chroot is, made now if it is not there.
fn made() -> Result<PathBuf, Error> {
    let script = cargo::root().join("scripts/peers.sh");
    let out = Command::new(&script).stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let out = out.map_err(|cause| Error::Start { program: script.display().to_string(), cause })?;
    match String::from_utf8_lossy(&out.stdout).lines().last() {
        Some(path) if out.status.success() => Ok(PathBuf::from(path)),
        _ => Err(Error::Peers(format!("{} made no chroot", script.display()))),
    }
}

fn child_of(pid: u32) -> Option<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_ascii_whitespace().next()?.parse().ok()
}
