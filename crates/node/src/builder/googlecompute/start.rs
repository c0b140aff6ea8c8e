//! From nothing to a machine that answers.

use std::time::{SystemTime, UNIX_EPOCH};

use kiln_clouds::{date, uuid};
use kiln_gce::client::Ask;
use kiln_gce::compute::{At, Instance, collection};
use kiln_gce::marks::{self, Thing};
use kiln_gce::operation::stopped;
use kiln_gce::sweep::remembered;
use kiln_gce::{Client, GceError, Scope};
use kiln_ledger::poll::Backoff;
use kiln_ledger::{About, Book, Entry, Ledger};

use super::config::{Config, Kind};
use super::{GoogleCompute, Made, Names, Running, body, failed, preflight};
use crate::builder::Job;
use crate::communicator::connect::{self, Unseen};
use crate::communicator::{Communicator, Login};
use crate::error::{NodeError, Result};
use crate::target::{Commanded, pause};
use crate::ui::words;

impl GoogleCompute {
    /// All of it.
    pub(super) fn start(&mut self, job: &Job<'_>) -> Result<()> {
        let config = &self.config;
        config.warnings.iter().for_each(|warning| job.ui.message(&format!("warning: {warning}")));
        let names = chosen(config)?;
        let account = &config.account;
        let client = Client::new(account.credentials.clone(), account.endpoints.clone(), &job.site.clouds);
        let client = client.map_err(failed("Error preparing the client"))?;
        let found = preflight::look(config, &client, &names, job)?;
        let login = match &config.communicator {
            Communicator::Ssh(settings) => Some(Login::prepare(settings, job.site, job.ui, true)?),
            Communicator::None => None,
        };
        let book = self.begin_book(&names, job)?;
        self.running = Some(Running {
            client,
            book,
            found,
            names,
            login,
            machine: None,
            scratch: None,
            host: String::new(),
            port: 22,
            user: config.user.clone(),
            made: Made::default(),
        });
        self.import_key(job)?;
        self.make_disks(job)?;
        self.make_instance(job)?;
        self.connect(job)
    }

    fn begin_book(&self, names: &Names, job: &Job<'_>) -> Result<Book> {
        let account = &self.config.account;
        let mut remembered = remembered(&account.project, &account.credentials, &account.endpoints);
        remembered.insert("zone".to_owned(), self.config.zone.clone());
        let about = About {
            build: names.build.clone(),
            cloud: marks::CLOUD.to_owned(),
            name: self.title.clone(),
            account: remembered,
            began: date::rfc3339(SystemTime::now()),
        };
        let begun = Ledger::open(&job.site.ledger).and_then(|ledger| ledger.begin(about));
        begun.map_err(|error| failed("Error writing down what is to be made")(error.into()))
    }

    /// OS Login: the key goes into the profile of who asks.
    fn import_key(&mut self, job: &Job<'_>) -> Result<()> {
        let Some(running) = &mut self.running else { return Ok(()) };
        if !running.found.os_login {
            return Ok(());
        }
        if !running.login.as_ref().is_some_and(|login| login.temporary) {
            job.ui.say("Private key file specified, won't import SSH key for OSLogin");
            return Ok(());
        }
        job.ui.say("Importing SSH public key for OSLogin...");
        let line = running.login.as_ref().map(Login::public_line).unwrap_or_default();
        let cancelled = || job.cancel.is_cancelled();
        let words = "Error importing SSH public key for OSLogin";
        let account = running.client.who(&cancelled).map_err(failed(words))?;
        let fingerprint = fingerprint(&line);
        let entry = running.book.intend(marks::key(&account, &fingerprint)).map_err(ledger)?;
        running.made.key = Some((account.clone(), fingerprint, entry));
        let expires = self
            .config
            .os_login
            .expires
            .map(|time| (SystemTime::now() + time).duration_since(UNIX_EPOCH).unwrap_or_default().as_micros());
        let profile = running.client.import_key(&account, &line, expires, &cancelled).map_err(failed(words))?;
        job.ui.say("Obtaining SSH Username for OSLogin...");
        let external = || match profile.starts_with("sa_") || profile.starts_with("ext_") {
            true => profile.clone(),
            false => format!("ext_{profile}"),
        };
        running.user = match self.config.os_login.user.as_deref() {
            None => profile,
            Some("__external__") => external(),
            Some(own) => own.to_owned(),
        };
        running.user = running.user.chars().take(32).collect();
        Ok(())
    }

    /// The template's further disks, all at once.
    fn make_disks(&mut self, job: &Job<'_>) -> Result<()> {
        let (config, Some(running)) = (&self.config, &mut self.running) else { return Ok(()) };
        let mut wanted = Vec::new();
        for (index, (disk, name)) in config.disks.iter().zip(&running.names.extra).enumerate() {
            if !matches!(disk.kind, Kind::Made(_)) {
                continue;
            }
            let scope = scope_of(config, disk);
            let (project, build) = (&config.account.project, &running.names.build);
            let thing = Thing { kind: "disk", name, project, scope: &scope };
            let entry = running.book.intend(marks::resource(thing, build)).map_err(ledger)?;
            running.made.extra.push((index, entry.clone()));
            job.ui.say(&format!("Creating persistent disk {name}"));
            let place = collection(project, &scope, "disks");
            let ask = Ask::post(place, body::disk(config, disk, name, build), format!("disk {name}"));
            wanted.push((ask, scope, entry));
        }
        let (client, book, cancel, project) = (&running.client, &running.book, job.cancel, &*config.account.project);
        let results: Vec<Result<(), GceError>> = std::thread::scope(|scope| {
            let started: Vec<_> = wanted
                .into_iter()
                .map(|(ask, place, entry)| {
                    scope.spawn(move || {
                        client.make(book, &[entry], ask, (project, &place), config.timeout, &|| cancel.is_cancelled())
                    })
                })
                .collect();
            started.into_iter().map(|thread| thread.join().unwrap_or(Err(GceError::Cancelled))).collect()
        });
        results.into_iter().collect::<Result<(), GceError>>().map_err(failed("failed to create disk"))
    }

    fn make_instance(&mut self, job: &Job<'_>) -> Result<()> {
        let (config, Some(running)) = (&self.config, &mut self.running) else { return Ok(()) };
        let project = &config.account.project;
        job.ui.say(&format!("Using image: {}", running.found.source.name));
        job.ui.say("Creating instance...");
        job.ui.message(&format!("Loading zone: {}", config.zone));
        job.ui.message(&format!("Loading machine type: {}", config.machine.kind));
        let keys = ssh_keys(running);
        let first = keys.as_deref().filter(|_| config.wait_for_keys.is_zero());
        let body = body::instance(config, &running.found, &running.names, first);
        let scope = Scope::Zone(config.zone.clone());
        let intend = |kind, name: &str| -> Result<Entry> {
            let thing = Thing { kind, name, project, scope: &scope };
            running.book.intend(marks::resource(thing, &running.names.build)).map_err(ledger)
        };
        // It goes first, so the disk is written down before it.
        let disk = intend("disk", &running.names.disk)?;
        let instance = intend("instance", &running.names.instance)?;
        running.made.disk = Some(disk.clone());
        running.made.instance = Some(instance.clone());
        let kind = if config.machine.shielded { " Shielded VM" } else { "" };
        job.ui.message(&format!("Requesting{kind} instance creation..."));
        let ask =
            Ask::post(collection(project, &scope, "instances"), body, format!("instance {}", running.names.instance));
        job.ui.message("Waiting for creation operation to complete...");
        let entries = [instance, disk];
        let cancelled = || job.cancel.is_cancelled();
        let made = running.client.make(&running.book, &entries, ask, (project, &scope), config.timeout, &cancelled);
        made.map_err(failed("Error creating instance"))?;
        job.ui.message("Instance has been created!");
        job.ui.say("Waiting for the instance to become running...");
        let instance = self.until_running(job)?;
        self.take_address(&instance, job)?;
        self.add_keys(keys, job)
    }

    /// Keys that are not to be there while the guest makes itself ready.
    fn add_keys(&self, keys: Option<String>, job: &Job<'_>) -> Result<()> {
        let (config, Some(running), Some(keys)) = (&self.config, &self.running, keys) else { return Ok(()) };
        if config.wait_for_keys.is_zero() {
            return Ok(());
        }
        job.ui.message(&format!("Waiting {} before adding SSH keys...", words(config.wait_for_keys)));
        pause(config.wait_for_keys, job.cancel)?;
        let own = config.machine.metadata.get("ssh-keys").map(String::as_str);
        let Some(all) = body::joined_keys(Some(&keys), own) else { return Ok(()) };
        let at = At { project: &config.account.project, zone: &config.zone, name: &running.names.instance };
        let values = [("ssh-keys".to_owned(), all)];
        let added = running.client.add_metadata(&at, &values, config.timeout, &|| job.cancel.is_cancelled());
        added.map_err(failed("Error adding SSH keys to existing instance"))
    }

    fn until_running(&self, job: &Job<'_>) -> Result<Instance> {
        let (config, Some(running)) = (&self.config, &self.running) else { return Err(NodeError::Cancelled) };
        let (project, name) = (&config.account.project, &running.names.instance);
        let cancelled = || job.cancel.is_cancelled();
        let words = "Error waiting for instance";
        let mut backoff = Backoff::new(config.timeout);
        loop {
            let found = running.client.instance(project, &config.zone, name, &cancelled).map_err(failed(words))?;
            let status = found.as_ref().map_or("GONE", |instance| &*instance.status);
            match (status, found.as_ref()) {
                ("RUNNING", Some(instance)) => return Ok(instance.clone()),
                ("PROVISIONING" | "STAGING" | "REPAIRING" | "", _) => {}
                (status, found) => {
                    let more = found.and_then(|instance| instance.status_message.as_deref()).unwrap_or_default();
                    let why = format!("instance {name} is {status}, and was to become running. {more}");
                    return Err(NodeError::Machine { action: words.to_owned(), why: why.trim_end().to_owned() });
                }
            }
            let waited = backoff.wait(&cancelled).map_err(|stop| stopped(stop, &format!("instance {name}")));
            waited.map_err(failed(words))?;
        }
    }

    fn take_address(&mut self, instance: &Instance, job: &Job<'_>) -> Result<()> {
        let (config, Some(running)) = (&self.config, &mut self.running) else { return Ok(()) };
        let inner = config.machine.network.by_inner;
        let found = instance.address(inner).map(str::to_owned);
        if let Some(address) = &found {
            job.ui.message(&format!("IP: {}", kiln_gce::printable(address)));
        }
        let Communicator::Ssh(settings) = &config.communicator else { return Ok(()) };
        running.port = settings.port.unwrap_or(22);
        let Some(host) = settings.host.clone().or(found) else {
            let what = format!(
                "instance {} has no {} address",
                running.names.instance,
                if inner { "internal" } else { "external" }
            );
            return Err(NodeError::Unsupported {
                what,
                hint: Some("see use_internal_ip and omit_external_ip".to_owned()),
            });
        };
        running.host = host;
        Ok(())
    }

    fn connect(&mut self, job: &Job<'_>) -> Result<()> {
        let Communicator::Ssh(settings) = self.config.communicator.clone() else { return Ok(()) };
        let host_keys = self.host_keys(&settings, job)?;
        let Some(running) = &mut self.running else { return Ok(()) };
        let Some(login) = &running.login else { return Ok(()) };
        let mut options = login.options(&settings, &running.host, running.port, &running.user, false, job.site)?;
        if let Some(keys) = host_keys {
            options.host_keys = keys;
        }
        let machine = connect::connect(options, &settings, Box::new(Unseen), job.ui, job.cancel)?;
        running.machine = Some(Commanded::new(machine, job.ui.clone(), job.cancel.clone()));
        Ok(())
    }
}

/// Why nothing was made: it could not be written down.
pub(super) fn ledger(error: kiln_ledger::LedgerError) -> NodeError {
    failed("Error writing down what is to be made")(error.into())
}

fn chosen(config: &Config) -> Result<Names> {
    let made_up = || uuid::random().map_err(|error| failed("Error making a name")(error.into()));
    let build = made_up()?;
    let instance = config.machine.name.clone().unwrap_or_else(|| format!("packer-{build}"));
    let disk = config.machine.disk_name.clone().unwrap_or_else(|| instance.clone());
    let mut extra = Vec::new();
    for wanted in &config.disks {
        extra.push(match (&wanted.kind, &wanted.name) {
            (Kind::Made(_), Some(name)) => name.clone(),
            (Kind::Made(_), None) => format!("packer-{}", made_up()?),
            _ => String::new(),
        });
    }
    Ok(Names { build, instance, disk, extra })
}

/// Where a further disk is.
pub(super) fn scope_of(config: &Config, disk: &super::config::Extra) -> Scope {
    match disk.zones.is_empty() {
        true => Scope::Zone(config.zone.clone()),
        false => Scope::Region(config.region.clone()),
    }
}

/// What the metadata says of the build's key. The private half stays here.
fn ssh_keys(running: &Running) -> Option<String> {
    let login = running.login.as_ref().filter(|login| login.temporary && !running.found.os_login)?;
    let line = login.public_line();
    let key: Vec<&str> = line.split(' ').take(2).collect();
    Some(format!("{0}:{1} {0}", running.user, key.join(" ")))
}

/// What OS Login calls a key by: the sum of its line.
fn fingerprint(line: &str) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(line.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}
