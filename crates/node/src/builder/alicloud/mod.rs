//! `alicloud-ecs`: a machine is made in Alibaba Cloud from an image, provisioners change it over SSH, an image is made of
//! its disks, and all else is deleted again.
//!
//! [`config`] Packer's keys     [`check`] what is asked before anything is made     [`making`] one resource and its line
//! in the ledger     [`start`] key pair, network, machine, address     [`user_data`] the host key on its way
//! [`images`] the image, its copies     [`clean`] the end of everything else
//!
//! What Kiln does that Packer does not: calls go over TLS; the private half of the key stays here, and the machine has to
//! have the host key that it was given; only this machine may reach it, by TCP, at its port of SSH; what can be known
//! before is asked before; nothing that is made is forgotten, however Kiln ends.

mod check;
mod clean;
mod config;
mod images;
mod making;
mod start;
mod user_data;

use kiln_alicloud::ecs::Mark;
use kiln_alicloud::{AlicloudError, Client};
use kiln_host::keys::PublicKey;
use kiln_ledger::{Book, LedgerError};
use kiln_packer::model::{Build, BuildFacts};

use super::{Builder, Job, NoMachine};
use crate::artifact::Artifact;
use crate::communicator::{self, Address, Communicator, Login, Machine, forget};
use crate::error::{NodeError, Result};
use crate::target::{Commanded, Target};
use config::Config;

/// Who made it, for post-processors.
const BUILDER_ID: &str = "alibaba.alicloud";

/// The builder `alicloud-ecs`.
pub struct Alicloud {
    name: String,
    config: Config,
    running: Option<Running>,
    none: NoMachine,
}

/// What there is once a build has begun.
struct Running {
    client: Client,
    book: Book,
    mark: Mark,
    machine: Option<Commanded<Machine>>,
    login: Option<Login>,
    /// The key that the machine was given.
    host_key: Option<PublicKey>,
    /// The key pair that its user was given.
    key_pair: Option<String>,
    instance: String,
    /// Where it is reached.
    host: String,
    port: u16,
    /// What it was made from.
    source: String,
    /// The machine has ended.
    ended: bool,
    /// The images are there, and stay.
    images: Option<Images>,
}

/// The images of a build, all of them done; `None` if none was wanted.
#[derive(Clone)]
struct Images(Option<Artifact>);

impl Alicloud {
    /// Reads the configuration of the build.
    ///
    /// # Errors
    /// When it has mistakes.
    pub fn parse(build: &Build) -> Result<Alicloud> {
        let config = Config::parse(build)?;
        Ok(Alicloud { name: build.name.clone(), config, running: None, none: NoMachine { builder: "alicloud-ecs" } })
    }

    fn running(&mut self) -> Result<(&Config, &mut Running)> {
        let missing = || NodeError::Machine { action: "building".to_owned(), why: "it has not begun".to_owned() };
        Ok((&self.config, self.running.as_mut().ok_or_else(missing)?))
    }
}

impl Builder for Alicloud {
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
        let other = vec![("SourceImageName".to_owned(), running.source.clone())];
        let facts =
            BuildFacts { id: running.instance.clone(), conn_type: "none".to_owned(), other, ..BuildFacts::default() };
        match &self.config.communicator {
            Communicator::None => facts,
            Communicator::Ssh(settings) => {
                let host_key = running.machine.as_ref().map(|machine| machine.look().host_key()).unwrap_or_default();
                let (host, port) = (&*running.host, running.port);
                let at = Address { host, port, user: &self.config.user, host_key: &host_key };
                let more = facts.other.clone();
                let mut facts = communicator::facts(facts, running.login.as_ref(), settings, at);
                facts.other.extend(more);
                facts
            }
        }
    }

    fn target(&mut self) -> &mut dyn Target {
        match self.running.as_mut().and_then(|running| running.machine.as_mut()) {
            Some(machine) => machine,
            None => &mut self.none,
        }
    }

    fn finish(&mut self, job: &Job<'_>) -> Result<Option<Artifact>> {
        let (config, running) = self.running()?;
        if let (Communicator::Ssh(settings), Some(machine), Some(login)) =
            (&config.communicator, &mut running.machine, &running.login)
        {
            forget::key(settings, login, machine, job)?;
        }
        self.make_images(job)
    }

    fn clean_up(&mut self, job: &Job<'_>, _: bool) {
        self.clean(job);
    }
}

/// An error of the cloud, with what was intended.
fn failed(action: impl Into<String>) -> impl FnOnce(AlicloudError) -> NodeError {
    let action = action.into();
    move |error| match error {
        AlicloudError::Cancelled => NodeError::Cancelled,
        source => NodeError::Alicloud { action, source: Box::new(source) },
    }
}

/// An error of the ledger.
fn unwritten(error: LedgerError) -> NodeError {
    NodeError::Machine { action: "writing down what is made".to_owned(), why: error.to_string() }
}
