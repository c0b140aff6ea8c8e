//! Builders: where provisioners find what they change, and what becomes of it.
//!
//! | builder | target | artifact |
//! |---|---|---|
//! | [`null`] | a machine that is there, or none | none |
//! | [`file`] | none | a file |
//! | [`offline`] | the files of a root | a root, as tar, directory or image |
//! | [`qemu`] | a virtual machine | its disk |
//! | [`googlecompute`] | an instance in Google's cloud | an image there |
//! | [`alicloud`] | a machine in Alibaba Cloud | an image there |
//!
//! [`keys`] has which keys other builders have; [`fetched`] gets what they start from.
//!
//! Adding a builder: implement [`Builder`], and give it an arm in [`choose`]. One with a machine hands out a
//! [`Commanded`](crate::target::Commanded).

pub mod alicloud;
pub mod fetched;
pub mod file;
pub mod googlecompute;
pub mod keys;
pub mod null;
pub mod offline;
pub mod qemu;
pub mod site;

use std::path::Path;

use kiln_packer::model::{Build, BuildFacts};
use kiln_sandbox::Cancel;

use crate::artifact::Artifact;
use crate::error::{NodeError, Result};
use crate::offline::Workshop;
use crate::target::{Script, Target, Upload};
use crate::ui::BuildUi;

pub use site::{Fetcher, Site};

/// What a builder works with.
pub struct Job<'a> {
    /// Where it says what it does.
    pub ui: &'a BuildUi,
    /// Stops it.
    pub cancel: &'a Cancel,
    /// `-force`: what is in the way of the result is removed.
    pub force: bool,
    /// What the offline builder works with.
    pub workshop: &'a Workshop,
    /// What builders with a machine work with.
    pub site: &'a Site,
    /// The identifier of the run.
    pub uuid: &'a str,
}

/// A way to make an image.
pub trait Builder: Send {
    /// Makes a target.
    ///
    /// # Errors
    /// When it cannot be had.
    fn begin(&mut self, job: &Job<'_>) -> Result<()>;

    /// What is known of the target.
    fn facts(&self) -> BuildFacts;

    /// What provisioners change; to be asked after [`Builder::begin`].
    fn target(&mut self) -> &mut dyn Target;

    /// Makes the artifact; `None` if it has none.
    ///
    /// # Errors
    /// When it cannot be made.
    fn finish(&mut self, job: &Job<'_>) -> Result<Option<Artifact>>;

    /// Takes away what is not to stay: always called at the end, unless the user wants everything left as it is.
    fn clean_up(&mut self, job: &Job<'_>, failed: bool);
}

/// What the command line says about builders.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// `-builder`: this one, whatever the template says.
    pub builder: Option<String>,
    /// `-base`: what the offline builder starts from.
    pub base: Option<String>,
    /// `-base-checksum`: what that must be, as `iso_checksum` says it.
    pub base_checksum: Option<String>,
    /// `-format`: how it writes the result.
    pub format: Option<String>,
}

/// Types that this version can build.
pub const KINDS: [&str; 6] = ["alicloud-ecs", "file", "googlecompute", "null", "offline", "qemu"];

/// The builder of a build.
///
/// # Errors
/// When there is none of its type, or its configuration has mistakes.
pub fn choose(build: &Build, choice: &Choice) -> Result<Box<dyn Builder>> {
    match choice.builder.as_deref() {
        Some("offline") => return offline::Offline::parse(build, choice).map(boxed),
        // The template's own, also where the offline builder would be taken.
        Some(own) if own == build.kind => {}
        Some(other) => {
            let hint = "leave -builder out to take the template's own".to_owned();
            let what = format!("-builder {other}: only `offline` can stand in for another builder");
            return Err(NodeError::Unsupported { what, hint: Some(hint) });
        }
        None => {}
    }
    match &*build.kind {
        "null" => null::Null::parse(&build.config).map(boxed),
        "file" => file::File::parse(&build.config).map(boxed),
        "offline" => offline::Offline::parse(build, choice).map(boxed),
        // Nothing forces a machine: the base is here, and its files are all that is changed.
        "qemu" if choice.builder.is_none() && offline::machine_needed(build, choice)?.is_none() => {
            offline::Offline::parse(build, choice).map(boxed)
        }
        "qemu" => qemu::Qemu::parse(build).map(boxed),
        "googlecompute" => googlecompute::GoogleCompute::parse(build).map(boxed),
        "alicloud-ecs" => alicloud::Alicloud::parse(build).map(boxed),
        kind => {
            let fault = build.place.error("UnknownBuilder", format!("there is no builder `{kind}` here"));
            let known = offline::known(kind);
            Err(match known {
                true => fault.hint("the offline builder takes its template unchanged: -builder offline -base BASE"),
                false => fault.suggest(kind, KINDS),
            }
            .into())
        }
    }
}

fn boxed(builder: impl Builder + 'static) -> Box<dyn Builder> {
    Box::new(builder)
}

/// A target that is none.
pub struct NoMachine {
    /// Who has none.
    pub builder: &'static str,
}

impl NoMachine {
    fn none<T>(&self, what: &str) -> Result<T> {
        Err(NodeError::Unsupported {
            what: format!("cannot {what}: the builder `{}` has no machine", self.builder),
            hint: Some("only shell-local, sleep and breakpoint need none".to_owned()),
        })
    }
}

impl Target for NoMachine {
    fn run(&mut self, script: &Script) -> Result<()> {
        self.none(&format!("run {}", script.title))
    }

    fn upload(&mut self, _: &Upload, destination: &str) -> Result<()> {
        self.none(&format!("upload to {destination}"))
    }

    fn download(&mut self, source: &str, _: &str) -> Result<()> {
        self.none(&format!("download {source}"))
    }

    fn read(&mut self, path: &str) -> Result<Option<Vec<u8>>> {
        self.none(&format!("read {path}"))
    }

    fn is_offline(&self) -> bool {
        false
    }

    fn obey(&mut self, _: Cancel) {}
}

/// Makes the directories above a file.
///
/// # Errors
/// When one cannot be made.
pub fn make_parents(path: &Path) -> Result<()> {
    match path.parent().filter(|p| !p.as_os_str().is_empty()) {
        Some(parent) => std::fs::create_dir_all(parent).map_err(NodeError::file("make", parent)),
        None => Ok(()),
    }
}
