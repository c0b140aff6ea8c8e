//! `null`: provisioners without an image: on a machine that is there already, or, with the communicator `none`, here.

use kiln_packer::config::Config;
use kiln_packer::fields::Fields;
use kiln_packer::model::BuildFacts;

use super::{Builder, Job, NoMachine};
use crate::artifact::Artifact;
use crate::communicator::connect::{self, Unseen};
use crate::communicator::{self, Address, Communicator, Login, Machine, Settings};
use crate::error::Result;
use crate::guard;
use crate::target::{Commanded, Target};

/// The builder `null`.
pub struct Null {
    way: Option<Way>,
    machine: Option<Commanded<Machine>>,
    login: Option<Login>,
    none: NoMachine,
}

/// The machine, and how it is reached.
struct Way {
    settings: Box<Settings>,
    host: String,
    port: u16,
    user: String,
}

impl Null {
    /// Reads its configuration.
    ///
    /// # Errors
    /// When it has mistakes.
    pub fn parse(config: &Config) -> Result<Null> {
        let f = config.fields();
        f.ignore(&guard::KEYS);
        let communicator = Communicator::parse(&f)?;
        // What is missing may be there under a wrong name, and that says more.
        if let Some(unknown) = f.unknown().into_iter().next() {
            return Err(unknown.into());
        }
        let way = match communicator {
            Communicator::None => None,
            Communicator::Ssh(settings) => Some(way(&f, settings)?),
        };
        f.finish()?;
        Ok(Null { way, machine: None, login: None, none: NoMachine { builder: "null" } })
    }
}

fn way(f: &Fields<'_>, settings: Box<Settings>) -> Result<Way> {
    let Some(host) = settings.host.clone() else {
        let fault = f.missing("ssh_host");
        return Err(fault.hint("which machine; without any: \"communicator\": \"none\"").into());
    };
    let user = settings.user(f)?;
    if settings.key.is_none() && settings.password.is_none() && !settings.agent {
        let message = "one of ssh_private_key_file, ssh_password and ssh_agent_auth must be specified";
        return Err(f.fault("ssh_host", "NoLogin", message).into());
    }
    Ok(Way { host, port: settings.port.unwrap_or(22), user, settings })
}

impl Builder for Null {
    fn begin(&mut self, job: &Job<'_>) -> Result<()> {
        let Some(way) = &self.way else { return Ok(()) };
        let login = Login::prepare(&way.settings, job.site, job.ui, false)?;
        let options = login.options(&way.settings, &way.host, way.port, &way.user, false, job.site)?;
        let machine = connect::connect(options, &way.settings, Box::new(Unseen), job.ui, job.cancel)?;
        self.machine = Some(Commanded::new(machine, job.ui.clone(), job.cancel.clone()));
        self.login = Some(login);
        Ok(())
    }

    fn facts(&self) -> BuildFacts {
        let Some(way) = &self.way else {
            return BuildFacts { id: "Null".to_owned(), conn_type: "none".to_owned(), ..BuildFacts::default() };
        };
        let facts = BuildFacts { id: "Null".to_owned(), ..BuildFacts::default() };
        let host_key = self.machine.as_ref().map(|machine| machine.look().host_key()).unwrap_or_default();
        let at = Address { host: &way.host, port: way.port, user: &way.user, host_key: &host_key };
        communicator::facts(facts, self.login.as_ref(), &way.settings, at)
    }

    fn target(&mut self) -> &mut dyn Target {
        match &mut self.machine {
            Some(machine) => machine,
            None => &mut self.none,
        }
    }

    fn finish(&mut self, _: &Job<'_>) -> Result<Option<Artifact>> {
        let text = "Did not export anything. This is the null builder";
        Ok(Some(Artifact::of_files("fnoeding.null", "Null", Vec::new(), text)))
    }

    fn clean_up(&mut self, _: &Job<'_>, _: bool) {
        self.machine = None;
    }
}
