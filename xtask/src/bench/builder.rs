//! The builders that are measured, and how each is asked for the same thing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Mode;
use super::measure::{self, Cost};
use crate::error::Error;

/// A builder of images.
#[derive(Debug)]
pub(super) enum Builder {
    /// Kiln.
    Kiln {
        /// Its binary.
        binary: PathBuf,
    },
    /// Debian's buildah, with chroot isolation, native overlay and a cached layer per step, as `docker build` does.
    Buildah {
        /// Its binary.
        binary: PathBuf,
        /// A home without configuration.
        home: PathBuf,
    },
}

/// buildah asks for limits that a machine may not allow to raise; these are within everyone's.
const CONTAINERS_CONF: &str = "[containers]\ndefault_ulimits = [\"nofile=4096:4096\", \"nproc=4096:4096\"]\n";

impl Builder {
    /// Kiln.
    pub(super) fn kiln(binary: PathBuf) -> Builder {
        Builder::Kiln { binary }
    }

    /// Buildah, with its configuration below `dir`.
    pub(super) fn buildah(dir: &Path) -> Result<Builder, Error> {
        let binary = kiln_testkit::tools::find("buildah").map_err(Error::MissingTool)?;
        let home = dir.join("buildah-home");
        fs::create_dir_all(&home).map_err(|cause| Error::Write { path: home.clone(), cause })?;
        let path = home.join("containers.conf");
        fs::write(&path, CONTAINERS_CONF).map_err(|cause| Error::Write { path, cause })?;
        Ok(Builder::Buildah { binary, home })
    }

    /// As printed.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Builder::Kiln { .. } => "kiln",
            Builder::Buildah { .. } => "buildah",
        }
    }

    /// Builds `context` as `target`; a cold build is pushed too.
    pub(super) fn build(&self, mode: Mode, store: &Path, context: &Path, target: &str) -> Result<Cost, Error> {
        let mut build = self.command(store);
        match self {
            Builder::Kiln { .. } => {
                build.args(["build", "--tag", target]);
                if mode == Mode::Cold {
                    build.arg("--push");
                }
            }
            Builder::Buildah { .. } => {
                build.args(["build", "--isolation", "chroot", "--layers", "--tls-verify=false", "--tag", target]);
            }
        }
        if mode == Mode::NoCache {
            build.arg("--no-cache");
        }
        let built = measure::run(build.arg(context))?;
        match self {
            Builder::Buildah { .. } if mode == Mode::Cold => {
                let mut push = self.command(store);
                push.args(["push", "--quiet", "--tls-verify=false", target, &format!("docker://{target}")]);
                Ok(built.then(measure::run(&mut push)?))
            }
            _ => Ok(built),
        }
    }

    /// Removes a store. buildah leaves its overlay directory mounted on itself.
    pub(super) fn clean(&self, store: &Path) -> Result<(), Error> {
        if let Builder::Buildah { .. } = self {
            let mut umount = Command::new("umount");
            let _ = umount.arg("--lazy").arg(store.join("root/overlay")).stderr(Stdio::null()).status();
        }
        match fs::remove_dir_all(store) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::Write { path: store.to_owned(), cause })
            }
            _ => Ok(()),
        }
    }

    fn command(&self, store: &Path) -> Command {
        match self {
            Builder::Kiln { binary } => {
                let mut command = Command::new(binary);
                command.env("KILN_STORE", store).env("NO_COLOR", "1");
                command
            }
            Builder::Buildah { binary, home } => {
                let mut command = Command::new(binary);
                command.arg("--root").arg(store.join("root")).arg("--runroot").arg(store.join("run"));
                command.args(["--storage-driver", "overlay"]);
                command.env("HOME", home).env("CONTAINERS_CONF", home.join("containers.conf"));
                command
            }
        }
    }
}
