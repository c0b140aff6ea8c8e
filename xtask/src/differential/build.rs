//! One case, built by both.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use super::case::Case;
use super::image::Image;
use super::{bases, image};
use crate::error::Error;
use crate::peers::Docker;

/// The time of all builds.
pub(super) const EPOCH: i64 = 1_600_000_000;
const SECRET: (&str, &str) = ("KILN_DIFFERENTIAL_SECRET", "a secret\n");

/// BuildKit and Kiln, and where they work.
#[derive(Debug)]
pub(super) struct Builders<'a> {
    docker: &'a Docker<'a>,
    kiln: PathBuf,
    isolation: String,
    dir: PathBuf,
    bases: Vec<String>,
    number: AtomicU64,
}

/// What came out: the image, or the end of what was said.
pub(super) type Built = Result<Image, String>;

/// Two results of one case.
#[derive(Debug)]
pub(super) struct Pair {
    /// The norm.
    pub(super) buildkit: Built,
    /// What is tested.
    pub(super) kiln: Built,
}

impl Pair {
    /// Whether there are two images.
    pub(super) fn both_built(&self) -> bool {
        self.buildkit.is_ok() && self.kiln.is_ok()
    }
}

impl<'a> Builders<'a> {
    /// `dir` is seen by both under this name.
    pub(super) fn new(docker: &'a Docker<'a>, kiln: PathBuf, isolation: &str, dir: &Path) -> Builders<'a> {
        bases::write(&dir.join("bases"));
        let bases = bases::options(&dir.join("bases"));
        Builders {
            docker,
            kiln,
            isolation: isolation.to_owned(),
            dir: dir.to_owned(),
            bases,
            number: AtomicU64::new(0),
        }
    }

    /// Builds a case.
    pub(super) fn build(&self, case: &Case) -> Result<Pair, Error> {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let dir = self.dir.join(format!("case-{number}"));
        // BuildKit takes contexts of one name for states of one, and files of one size and time for unchanged.
        let context = dir.join(format!("context-{number}"));
        case.write(&context, &format!("{}-{number}", std::process::id()))?;
        let buildkit = self.run(self.buildkit(&dir.join("buildkit")), case, &context, &dir.join("buildkit"))?;
        let kiln = self.run(self.kiln(&dir.join("kiln")), case, &context, &dir.join("kiln"))?;
        fs::remove_dir_all(&dir).map_err(|cause| Error::Write { path: dir, cause })?;
        Ok(Pair { buildkit, kiln })
    }

    fn buildkit(&self, to: &Path) -> Command {
        let mut command = self.docker.command();
        command.args(["buildx", "build", "--progress=plain", "--network=host", "--output"]);
        command.arg(format!("type=oci,tar=false,rewrite-timestamp=true,dest={}", to.display()));
        command
    }

    fn kiln(&self, to: &Path) -> Command {
        let mut command = Command::new(&self.kiln);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("KILN_STORE", self.dir.join("store"));
        command.args(["build", "--progress=plain", "--rewrite-timestamp", "--isolation", &self.isolation, "--output"]);
        command.arg(format!("type=oci,tar=false,dest={}", to.display()));
        command
    }

    fn run(&self, mut command: Command, case: &Case, context: &Path, to: &Path) -> Result<Built, Error> {
        command.env("SOURCE_DATE_EPOCH", EPOCH.to_string()).env(SECRET.0, SECRET.1).stdin(Stdio::null());
        command.args(&self.bases).args(&case.options).arg(context);
        let out = command.output().map_err(|cause| Error::Start { program: to.display().to_string(), cause })?;
        if !out.status.success() {
            return Ok(Err(reason(&out)));
        }
        Ok(image::read(to).map_err(|e| e.to_string()))
    }
}

/// The line that says why, and a little before it.
fn reason(out: &Output) -> String {
    let text = String::from_utf8_lossy(&out.stderr);
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    let start = lines.iter().rposition(|l| l.starts_with("ERROR:") || l.starts_with("error: "));
    lines[start.unwrap_or(lines.len().saturating_sub(3))..].join("\n")
}
