//! `cargo xtask peers`: makes the chroot, and proves that what is in it works here.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Data, Docker, Peers};
use crate::error::Error;

/// `cargo xtask peers`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory for what dockerd keeps, on its disk; in memory if not given
    #[arg(long)]
    data: Option<PathBuf>,
    /// A command to run inside, with a dockerd to speak to, instead of the check
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

const TOOLS: [&str; 6] = ["dockerd", "buildah", "podman", "runc", "crun", "skopeo"];

/// Runs the check, or the command.
pub(crate) fn run(args: &Args) -> Result<(), Error> {
    let share = tempfile::Builder::new().prefix("kiln-peers-").tempdir();
    let share = share.map_err(|cause| Error::Write { path: std::env::temp_dir(), cause })?;
    let share = args.data.as_deref().unwrap_or(share.path());
    let peers = Peers::start(share)?;
    let data = args.data.as_ref().map_or(Data::Memory, |dir| Data::Directory(dir.join("docker")));
    let docker = Docker::start(&peers, &data, share)?;
    if let Some((program, rest)) = args.command.split_first() {
        return inside(&docker, program, rest);
    }
    println!("{}", peers.root().display());
    for tool in TOOLS {
        println!("{}", peers.version(tool)?);
    }
    build(&docker, share)?;
    println!("BuildKit builds");
    Ok(())
}

fn inside(docker: &Docker<'_>, program: &str, rest: &[String]) -> Result<(), Error> {
    let mut command = docker.command_of(program);
    // In this process's group, so that a shell may read from the terminal.
    let group = rustix::process::getpgrp().as_raw_nonzero().get();
    let status = command.args(rest).stdin(Stdio::inherit()).process_group(group).status();
    let status = status.map_err(|cause| Error::Start { program: program.to_owned(), cause })?;
    if status.success() {
        return Ok(());
    }
    Err(Error::Failed { command: program.to_owned(), status: status.to_string(), said: String::new() })
}

fn build(docker: &Docker<'_>, share: &Path) -> Result<(), Error> {
    let write = |name: &str, bytes: &[u8]| {
        let path = share.join(name);
        fs::write(&path, bytes).map_err(|cause| Error::Write { path, cause })
    };
    write("base.tar", &kiln_testkit::busybox_layer())?;
    docker.import(&share.join("base.tar"), "base:1")?;
    write("Dockerfile", b"FROM base:1\nRUN echo built > /built\n")?;
    let mut build: Command = docker.command();
    build.args(["buildx", "build", "--network=host", "--output"]);
    build.arg(format!("type=oci,tar=false,dest={}", share.join("image").display())).arg(share);
    docker.run(&mut build)
}
