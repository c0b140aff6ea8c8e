//! The builders that are measured, and how each is asked for the same thing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Mode;
use super::measure::{Meter, Ran};
use super::workload::Workload;
use crate::error::Error;
use crate::peers::{Data, Docker, Peers};

/// A builder of images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Tool {
    /// This tree's.
    #[value(skip)]
    Kiln,
    /// This tree's, on the rung `chroot`: what a pod with the usual rights has
    KilnChroot,
    /// This tree's, on the rung `userns`: what a pod with users of its own has
    KilnUserns,
    /// BuildKit in Docker of Debian sid, with containerd's image store, overlayfs and runc
    Buildkit,
    /// buildah of this Debian release, chroot isolation
    Buildah,
    /// buildah of Debian sid, chroot isolation
    BuildahSid,
    /// podman of Debian sid, crun
    Podman,
}

impl Tool {
    /// As printed.
    pub(super) fn name(self) -> &'static str {
        match self {
            Tool::Kiln => "kiln",
            Tool::KilnChroot => "kiln-chroot",
            Tool::KilnUserns => "kiln-userns",
            Tool::Buildkit => "buildkit",
            Tool::Buildah => "buildah",
            Tool::BuildahSid => "buildah-sid",
            Tool::Podman => "podman",
        }
    }

    /// The isolation that Kiln is asked for; `None` for other builders.
    pub(super) fn rung(self) -> Option<&'static str> {
        match self {
            Tool::Kiln => Some("auto"),
            Tool::KilnChroot => Some("chroot"),
            Tool::KilnUserns => Some("userns"),
            Tool::Buildkit | Tool::Buildah | Tool::BuildahSid | Tool::Podman => None,
        }
    }

    /// Whether it keeps steps in a registry in a way that the bench knows.
    pub(super) fn shares(self) -> bool {
        self != Tool::Podman
    }

    /// Whether it runs in the chroot of `scripts/peers.sh`.
    pub(super) fn in_chroot(self) -> bool {
        matches!(self, Tool::Buildkit | Tool::BuildahSid | Tool::Podman)
    }
}

/// buildah and podman ask for limits that a machine may not allow to raise; these are within everyone's.
const CONTAINERS_CONF: &str = "[containers]\ndefault_ulimits = [\"nofile=4096:4096\", \"nproc=4096:4096\"]\n";

/// What every build is asked for.
#[derive(Debug)]
pub(super) struct Request<'a> {
    /// Of which workload.
    pub(super) workload: &'a Workload,
    /// How.
    pub(super) mode: Mode,
    /// Of what.
    pub(super) context: &'a Path,
    /// As what.
    pub(super) target: &'a str,
    /// Packages come through this proxy.
    pub(super) proxy: Option<&'a str>,
    /// Steps come from or go to a repository.
    pub(super) cache: Option<Cache<'a>>,
}

/// A repository with steps.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cache<'a> {
    /// Steps go there.
    To(&'a str),
    /// Steps come from there.
    From(&'a str),
}

/// A builder that is here.
#[derive(Debug)]
pub(super) struct Builder<'a> {
    /// Which.
    pub(super) tool: Tool,
    /// What it says of itself.
    pub(super) version: String,
    binary: PathBuf,
    peers: Option<&'a Peers>,
}

impl<'a> Builder<'a> {
    /// Kiln on one of its rungs, by its binary.
    pub(super) fn kiln(tool: Tool, binary: PathBuf) -> Result<Builder<'a>, Error> {
        let version = first_line(Command::new(&binary).arg("--version"))?;
        Ok(Builder { tool, version, binary, peers: None })
    }

    /// A peer; those of the chroot need it.
    pub(super) fn peer(tool: Tool, peers: Option<&'a Peers>) -> Result<Builder<'a>, Error> {
        let program = match tool {
            Tool::Kiln | Tool::KilnChroot | Tool::KilnUserns | Tool::Buildah | Tool::BuildahSid => "buildah",
            Tool::Podman => "podman",
            Tool::Buildkit => "dockerd",
        };
        if !tool.in_chroot() {
            let binary = kiln_testkit::tools::find(program).map_err(Error::MissingTool)?;
            let version = first_line(Command::new(&binary).arg("--version"))?;
            return Ok(Builder { tool, version, binary, peers: None });
        }
        let peers = peers.ok_or_else(|| Error::MissingTool("there is no chroot of Debian sid".to_owned()))?;
        let mut version = first_line(peers.command(program).arg("--version"))?;
        if tool == Tool::Podman {
            // crun refuses a machine with both kinds of cgroups; in the chroot's mounts there is then one kind only.
            let mut umount = peers.command("umount");
            umount.args(["--quiet", "/sys/fs/cgroup/unified"]).stdout(Stdio::null()).stderr(Stdio::null());
            let _ = umount.status();
        }
        if tool == Tool::Buildkit {
            version = format!("{version}; {}", first_line(peers.command("docker").args(["buildx", "version"]))?);
        }
        Ok(Builder { tool, version, binary: program.into(), peers: Some(peers) })
    }

    /// A place with nothing in it for this builder to work in, below `dir`.
    pub(super) fn site(&self, dir: &Path) -> Result<Site<'_>, Error> {
        let dir = dir.join(format!("site-{}", self.tool.name()));
        let mut site = Site { builder: self, dir, docker: None };
        site.prepare()?;
        Ok(site)
    }
}

/// Where a builder works; emptied and removed when dropped.
#[derive(Debug)]
pub(super) struct Site<'a> {
    builder: &'a Builder<'a>,
    dir: PathBuf,
    docker: Option<Docker<'a>>,
}

impl Site<'_> {
    /// Makes the place as if nothing had ever been built in it.
    pub(super) fn prepare(&mut self) -> Result<(), Error> {
        drop(self.docker.take());
        self.clear()?;
        let unwritable = |cause| Error::Write { path: self.dir.clone(), cause };
        fs::create_dir_all(self.dir.join("tmp")).map_err(unwritable)?;
        fs::write(self.dir.join("containers.conf"), CONTAINERS_CONF).map_err(unwritable)?;
        if let (Tool::Buildkit, Some(peers)) = (self.builder.tool, self.builder.peers) {
            self.docker = Some(Docker::start(peers, &Data::Directory(self.dir.join("docker")), &self.dir)?);
        }
        Ok(())
    }

    /// Builds; what was not there before is pushed too.
    pub(super) fn build(&self, request: &Request<'_>, meter: &Meter) -> Result<Ran, Error> {
        let mut build = self.command();
        let (target, push) = (request.target, matches!(request.mode, Mode::Cold | Mode::Shared));
        let tool = self.builder.tool;
        let verb: &[&str] = match tool {
            Tool::Kiln | Tool::KilnChroot | Tool::KilnUserns => &["build"],
            Tool::Buildkit => &["buildx", "build", "--network=host", "--progress=plain"],
            // A cached layer per step, as the others have.
            Tool::Buildah | Tool::BuildahSid => &["build", "--isolation=chroot", "--layers", "--tls-verify=false"],
            Tool::Podman => &["build", "--isolation=oci", "--network=host", "--layers", "--tls-verify=false"],
        };
        build.args(verb).args(["--tag", target]);
        if let Some(rung) = tool.rung() {
            build.arg(format!("--isolation={rung}"));
        }
        if let Some(cache) = request.cache {
            build.arg(cache_option(tool, cache));
        }
        let pushes = tool.rung().is_some() || tool == Tool::Buildkit;
        if pushes && push {
            build.arg("--push");
        }
        if !pushes {
            build.arg(format!("--jobs={}", request.workload.stages));
        }
        if request.mode == Mode::NoCache {
            build.arg("--no-cache");
        }
        if let Some(proxy) = request.proxy {
            build.arg(format!("--build-arg=http_proxy={proxy}"));
        }
        let daemon = self.docker.as_ref().map(Docker::pid);
        let built = meter.run(build.arg(request.context), daemon)?;
        if !push || pushes {
            return Ok(built);
        }
        let mut pushing = self.command();
        pushing.args(["push", "--quiet", "--tls-verify=false", target, &format!("docker://{target}")]);
        let pushed = meter.run(&mut pushing, daemon)?;
        Ok(Ran { cost: built.cost.then(pushed.cost), said: built.said + &pushed.said })
    }

    fn command(&self) -> Command {
        let (dir, builder) = (&self.dir, self.builder);
        let mut command = match (&self.docker, builder.peers, builder.tool) {
            (Some(docker), _, _) => return docker.command(),
            (None, Some(peers), _) => peers.command(&builder.binary.to_string_lossy()),
            (None, None, tool) if tool.rung().is_some() => {
                let mut command = Command::new(&builder.binary);
                command.env("KILN_STORE", dir.join("store")).env("KILN_PROGRESS", "json").env("NO_COLOR", "1");
                return command;
            }
            // What it leaves mounted goes with its mount namespace.
            (None, None, _) => {
                let mut command = Command::new("unshare");
                command.args(["--mount", "--propagation=private", "--"]).arg(&builder.binary);
                command
            }
        };
        command.arg("--root").arg(dir.join("root")).arg("--runroot").arg(dir.join("run"));
        command.arg("--storage-driver=overlay");
        if builder.tool == Tool::Podman {
            command.args(["--cgroup-manager=cgroupfs", "--runtime=crun"]);
        }
        command.env("HOME", dir).env("TMPDIR", dir.join("tmp"));
        command.env("CONTAINERS_CONF", dir.join("containers.conf"));
        command
    }

    /// Removes what is there. Inside the chroot overlay is left mounted on itself.
    fn clear(&self) -> Result<(), Error> {
        if let (Some(peers), true) = (self.builder.peers, self.dir.exists()) {
            let mut umount = peers.command("umount");
            umount.args(["--lazy", "--quiet"]).arg(self.dir.join("root/overlay"));
            let _ = umount.stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
        match fs::remove_dir_all(&self.dir) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::Write { path: self.dir.clone(), cause })
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Site<'_> {
    fn drop(&mut self) {
        drop(self.docker.take());
        if let Err(e) = self.clear() {
            eprintln!("bench: {e}");
        }
    }
}

/// How a builder is told of the repository.
fn cache_option(tool: Tool, cache: Cache<'_>) -> String {
    match (tool.rung().is_some() || tool == Tool::Buildkit, cache) {
        (true, Cache::To(repository)) => format!("--cache-to=type=registry,ref={repository},mode=max"),
        (true, Cache::From(repository)) => format!("--cache-from=type=registry,ref={repository}"),
        // Theirs is a repository without a tag.
        (false, Cache::To(repository)) => format!("--cache-to={repository}"),
        (false, Cache::From(repository)) => format!("--cache-from={repository}"),
    }
}

fn first_line(command: &mut Command) -> Result<String, Error> {
    let out = command.output().map_err(|cause| Error::Start { program: format!("{command:?}"), cause })?;
    if out.status.success() {
        return Ok(String::from_utf8_lossy(&out.stdout).lines().next().unwrap_or_default().to_owned());
    }
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    Err(Error::Failed { command: format!("{command:?}"), status: out.status.to_string(), said })
}
