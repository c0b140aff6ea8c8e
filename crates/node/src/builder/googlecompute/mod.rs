//! `googlecompute`: an instance is made from an image, provisioners change it over SSH, it is deleted, and its disk
//! becomes an image.
//!
//! [`config`] Packer's keys          [`preflight`] what is known before anything is made
//! [`body`] instances, disks and images as the service wants them     [`start`] up to a machine that answers
//! [`host_key`] which key it may have     [`startup`] its script     [`stop`] from there to an image
//! [`clean`] what is left on the way
//!
//! What Kiln does that Packer does not: names and quotas are checked before anything is made; what is about to be made is
//! written into a ledger; the machine's host key is known before it is spoken to; a wish to stop ends every wait.

mod body;
mod clean;
mod config;
mod host_key;
mod preflight;
mod start;
mod startup;
mod stop;

use kiln_gce::{Client, GceError};
use kiln_ledger::{Book, Entry};
use kiln_packer::model::{Build, BuildFacts};

use super::{Builder, Job, NoMachine};
use crate::artifact::Artifact;
use crate::communicator::{self, Address, Communicator, Login, Machine};
use crate::error::{NodeError, Result};
use crate::target::{Commanded, Target};
use config::Config;
use preflight::Found;

/// Who made it, for post-processors.
const BUILDER_ID: &str = "packer.googlecompute";

/// The builder `googlecompute`.
pub struct GoogleCompute {
    config: Config,
    /// The build's name in its template.
    title: String,
    running: Option<Running>,
    none: NoMachine,
}

/// What there is once a build has begun.
struct Running {
    client: Client,
    book: Book,
    found: Found,
    names: Names,
    login: Option<Login>,
    machine: Option<Commanded<Machine>>,
    /// Where known hosts of this build are kept.
    scratch: Option<tempfile::TempDir>,
    host: String,
    port: u16,
    user: String,
    made: Made,
}

/// How things are called.
#[derive(Debug, Clone, Default)]
struct Names {
    /// The identifier of this build: a label of everything it makes.
    build: String,
    instance: String,
    disk: String,
    /// Of the template's further disks, in their order; empty for scratch ones.
    extra: Vec<String>,
}

/// What was made, by its lines in the book.
#[derive(Default)]
struct Made {
    instance: Option<Entry>,
    disk: Option<Entry>,
    extra: Vec<(usize, Entry)>,
    key: Option<(String, String, Entry)>,
    /// The image is there, and stays.
    image: bool,
}

impl Running {
    /// Something that is still to be deleted.
    fn open<'a>(&self, entry: Option<&'a Entry>) -> Option<&'a Entry> {
        entry.filter(|entry| self.book.is_open(entry))
    }
}

impl GoogleCompute {
    /// Reads the configuration of the build.
    ///
    /// # Errors
    /// When it has mistakes.
    pub fn parse(build: &Build) -> Result<GoogleCompute> {
        let config = Config::parse(build)?;
        let none = NoMachine { builder: "googlecompute" };
        Ok(GoogleCompute { config, title: build.name.clone(), running: None, none })
    }
}

/// What an error of the cloud is here, in Packer's words.
fn failed(action: &str) -> impl FnOnce(GceError) -> NodeError + use<> {
    let action = action.to_owned();
    move |error| match error.is_cancelled() {
        true => NodeError::Cancelled,
        false => NodeError::Gce { action, source: Box::new(error) },
    }
}

impl Builder for GoogleCompute {
    fn begin(&mut self, job: &Job<'_>) -> Result<()> {
        // Tried again after a failure: what the first try made is deleted first.
        self.clean(job);
        self.forget();
        self.start(job)
    }

    fn facts(&self) -> BuildFacts {
        let Some(running) = &self.running else {
            return BuildFacts { conn_type: "none".to_owned(), ..BuildFacts::default() };
        };
        let mut facts =
            BuildFacts { id: running.names.instance.clone(), conn_type: "none".to_owned(), ..BuildFacts::default() };
        if let Communicator::Ssh(settings) = &self.config.communicator {
            let host_key = running.machine.as_ref().map(|machine| machine.look().host_key()).unwrap_or_default();
            let at = Address { host: &running.host, port: running.port, user: &running.user, host_key: &host_key };
            facts = communicator::facts(facts, running.login.as_ref(), settings, at);
        }
        facts.other.push(("SourceImageName".to_owned(), running.found.source.name.clone()));
        facts
    }

    fn target(&mut self) -> &mut dyn Target {
        match self.running.as_mut().and_then(|running| running.machine.as_mut()) {
            Some(machine) => machine,
            None => &mut self.none,
        }
    }

    fn finish(&mut self, job: &Job<'_>) -> Result<Option<Artifact>> {
        self.stop(job)
    }

    fn clean_up(&mut self, job: &Job<'_>, _: bool) {
        self.clean(job);
    }
}
