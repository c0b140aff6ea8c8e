//! `qemu`: a virtual machine is started from an installer or a disk, provisioners change it over SSH, and its disk is
//! what comes of it.
//!
//! [`config`] Packer's keys     [`disks`] where the disk comes from and what becomes of it     [`media`] discs
//! [`start`] everything up to a machine that answers     [`watch`] whether it ever will     [`stop`] its end
//!
//! What Kiln does that Packer does not: an accelerator is tried before it is used; a machine is connected to as soon as
//! it answers, and the wait ends with the reason when its console shows that it never will; no machine outlives the
//! build.

mod config;
mod disks;
mod media;
mod start;
mod stop;
mod watch;

use std::sync::Arc;

use kiln_packer::model::{Build, BuildFacts};
use kiln_vm::Vm;
use kiln_vm::serve::Server;
use kiln_vm::tpm::SoftTpm;

use super::{Builder, Job, NoMachine};
use crate::artifact::Artifact;
use crate::communicator::{self, Address, Communicator, Login, Machine};
use crate::error::Result;
use crate::target::{Commanded, Target};
use config::Config;

/// Who made it, for post-processors.
const BUILDER_ID: &str = "transcend.qemu";

/// The builder `qemu`.
pub struct Qemu {
    config: Config,
    running: Running,
    none: NoMachine,
    /// Whether the output directory is this build's.
    made: bool,
}

/// What there is once a build has begun, in the order in which it goes away.
#[derive(Default)]
struct Running {
    machine: Option<Commanded<Machine>>,
    vm: Option<Arc<Vm>>,
    tpm: Option<SoftTpm>,
    server: Option<Server>,
    ports: Vec<kiln_vm::ports::Lease>,
    login: Option<Login>,
    /// Discs, and what else is only for the time of the build.
    scratch: Option<tempfile::TempDir>,
    /// Where the machine is reached.
    host: String,
    port: u16,
    http: Option<(String, u16)>,
}

impl Qemu {
    /// Reads the configuration of the build.
    ///
    /// # Errors
    /// When it has mistakes.
    pub fn parse(build: &Build) -> Result<Qemu> {
        let config = Config::parse(build)?;
        Ok(Qemu { config, running: Running::default(), none: NoMachine { builder: "qemu" }, made: false })
    }
}

impl Builder for Qemu {
    fn begin(&mut self, job: &Job<'_>) -> Result<()> {
        self.start(job)
    }

    fn facts(&self) -> BuildFacts {
        let http = self.running.http.as_ref().filter(|(_, port)| *port != 0);
        let facts = BuildFacts {
            id: self.config.name.clone(),
            conn_type: "none".to_owned(),
            http_ip: http.map(|(ip, _)| ip.clone()).unwrap_or_default(),
            http_port: http.map(|(_, port)| port.to_string()).unwrap_or_default(),
            http_addr: http.map(|(ip, port)| format!("{ip}:{port}")).unwrap_or_default(),
            ..BuildFacts::default()
        };
        match &self.config.communicator {
            Communicator::None => facts,
            Communicator::Ssh(settings) => {
                let (login, running) = (self.running.login.as_ref(), &self.running);
                let host_key = running.machine.as_ref().map(|machine| machine.look().host_key()).unwrap_or_default();
                let (host, port) = (&*running.host, running.port);
                let at = Address { host, port, user: &self.config.user, host_key: &host_key };
                communicator::facts(facts, login, settings, at)
            }
        }
    }

    fn target(&mut self) -> &mut dyn Target {
        match &mut self.running.machine {
            Some(machine) => machine,
            None => &mut self.none,
        }
    }

    fn finish(&mut self, job: &Job<'_>) -> Result<Option<Artifact>> {
        self.stop(job).map(Some)
    }

    fn clean_up(&mut self, job: &Job<'_>, failed: bool) {
        self.running.end();
        if failed && self.made {
            job.ui.say("Deleting output directory...");
            let dir = &self.config.directory;
            if let Err(error) = std::fs::remove_dir_all(dir) {
                job.ui.error(&format!("Error removing output directory {}: {error}", dir.display()));
            }
        }
    }
}

impl Running {
    /// Ends the machine, so that its files are closed, and everything that was there for it.
    fn end(&mut self) {
        if let Some(vm) = &self.vm {
            vm.kill();
        }
        *self = Running::default();
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // After `-on-error=abort` the disk is looked at by people: it is closed as it should be.
        self.running.end();
    }
}
