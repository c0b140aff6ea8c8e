//! From nothing to a machine that answers. What does not depend on each other is made side by side: the key pair beside
//! the network, the security group beside the vSwitch, the address while the machine starts.

use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use kiln_alicloud::ecs::Mark;
use kiln_alicloud::ecs::instance::Order;
use kiln_alicloud::ecs::network::{EipOrder, SecurityGroup, VSwitch};
use kiln_alicloud::sweep::Kind;
use kiln_alicloud::{Client, account, sign};
use kiln_clouds::{Config as Connections, date, uuid};
use kiln_host::keys::PublicKey;
use kiln_ledger::{About, Ledger};

use super::check::{Found, Place, check};
use super::making::Making;
use super::user_data::{self, UserData};
use super::{Alicloud, Running, failed, unwritten};
use crate::builder::Job;
use crate::communicator::connect::{self, Unseen};
use crate::communicator::{Communicator, Login};
use crate::error::{NodeError, Result};
use crate::target::Commanded;

/// The network that a machine is made in.
struct Within {
    vswitch: String,
    group: String,
}

impl Alicloud {
    pub(super) fn start(&mut self, job: &Job<'_>) -> Result<()> {
        let connections = Connections { environment: job.site.clouds.clone(), ..Connections::default() };
        let client = Client::new(&self.config.account, connections).map_err(failed("Error initializing the client"))?;
        let found = check(&self.config, &client, job)?;
        let login = match &self.config.communicator {
            Communicator::Ssh(settings) => {
                let made = settings.key_pair.is_none() && settings.password.is_none();
                Some(Login::prepare(settings, job.site, job.ui, made)?)
            }
            Communicator::None => None,
        };
        let book = self.book(&client, job)?;
        let mark = Mark::of(book.build());
        self.running = Some(Running {
            client,
            book,
            mark,
            machine: None,
            login,
            host_key: None,
            key_pair: None,
            instance: String::new(),
            host: String::new(),
            port: 22,
            source: found.image.clone(),
            ended: false,
            images: None,
        });
        self.make(&found, job)?;
        self.connect(job)
    }

    /// The ledger of this build: one run may have several.
    fn book(&self, client: &Client, job: &Job<'_>) -> Result<kiln_ledger::Book> {
        let ledger = Ledger::open(&job.site.ledger).map_err(unwritten)?;
        let build = uuid::random().map_err(|error| failed("Error making a name")(error.into()))?;
        let about = About {
            build,
            cloud: account::CLOUD.to_owned(),
            name: self.name.clone(),
            account: self.config.account.about(client.region()),
            began: date::rfc3339(SystemTime::now()),
        };
        ledger.begin(about).map_err(unwritten)
    }

    fn make(&mut self, found: &Found, job: &Job<'_>) -> Result<()> {
        let (config, running) = self.running()?;
        let broken = AtomicBool::new(false);
        let (client, book, mark) = (&running.client, &running.book, &running.mark);
        let making = Making { client, book, mark, cancel: job.cancel, broken: &broken };
        let key = running.login.as_ref().filter(|login| login.temporary).map(Login::public_line);
        let named = match &config.communicator {
            Communicator::Ssh(settings) => (settings.key_pair.clone(), settings.temporary.name.clone()),
            Communicator::None => (None, None),
        };
        let key_name = match (&key, named) {
            (Some(_), (_, name)) => Some(name.unwrap_or_else(|| making.name())),
            (None, (pair, _)) => pair,
        };
        if let (Some(_), Some(name)) = (&key, &key_name) {
            job.ui.say(&format!("Creating temporary keypair: {name}"));
        }
        let (within, imported) = std::thread::scope(|scope| {
            let import = scope.spawn(|| match (&key, &key_name) {
                (Some(line), Some(name)) => import(&making, name, line),
                _ => Ok(()),
            });
            let within = network(&making, config, found, job);
            (within, import.join())
        });
        // Of two failures the one that came of the other is not told.
        let within = match (within, joined(imported)) {
            (Err(NodeError::Cancelled), Err(error)) => return Err(error),
            (within, imported) => {
                imported.or_else(|error| if within.is_err() { Ok(()) } else { Err(error) })?;
                within?
            }
        };
        let data = match found.pin {
            true => user_data::with_key(config.machine.user_data.as_deref())?,
            false => user_data::alone(config.machine.user_data.as_deref()),
        };
        let order = order(&making, config, found, &within, key_name.as_deref(), &data);
        if config.network.vswitch.is_some() && config.network.group.is_some() {
            making.ask("Error creating instance", |stop| client.try_instance(&order, stop))?;
        }
        job.ui.say("Creating instance...");
        let (instance, host) = machine(&making, config, &order, key_name.as_deref(), job)?;
        running.key_pair = key_name;
        running.host_key = data.host_key;
        running.instance = instance;
        running.host = host;
        Ok(())
    }

    fn connect(&mut self, job: &Job<'_>) -> Result<()> {
        let (config, running) = self.running()?;
        let Communicator::Ssh(settings) = &config.communicator else { return Ok(()) };
        let Some(login) = &running.login else { return Ok(()) };
        let mut settings = (**settings).clone();
        if let Some(host) = &settings.host {
            running.host = host.clone();
        }
        running.port = settings.port.unwrap_or(22);
        let pinned: Option<PublicKey> = running.host_key.clone();
        settings.host_key = settings.host_key.or_else(|| pinned.clone());
        let options = login.options(&settings, &running.host, running.port, &config.user, false, job.site)?;
        let machine = connect::connect(options, &settings, Box::new(Unseen), job.ui, job.cancel).map_err(|error| match error {
            NodeError::HostKey { action, why } if pinned.is_some() => {
                let why = format!(
                    "{why}\n    it was given a host key by its user data; an image without cloud-init does not heed that: \
                     \"ssh_strict_host_key_checking\": \"no\""
                );
                NodeError::HostKey { action, why }
            }
            other => other,
        })?;
        running.machine = Some(Commanded::new(machine, job.ui.clone(), job.cancel.clone()));
        Ok(())
    }
}

/// The result of a thread.
fn joined<T>(result: std::thread::Result<Result<T>>) -> Result<T> {
    result
        .unwrap_or_else(|_| Err(NodeError::Machine { action: "building".to_owned(), why: "a thread ended".to_owned() }))
}

fn import(making: &Making<'_>, name: &str, line: &str) -> Result<()> {
    let made = making.make("Error creating temporary keypair", making.line(Kind::KeyPair, name), |stop| {
        making.client.import_key_pair(name, line.trim(), &making.tags(), stop).map(|()| name.to_owned())
    });
    made.map(drop)
}

fn network(making: &Making<'_>, config: &super::Config, found: &Found, job: &Job<'_>) -> Result<Within> {
    let (vpc, zone, block) = match &found.place {
        Place::Within(vswitch) => {
            job.ui.message(&format!("Using vswitch: {}", vswitch.v_switch_id));
            let group = group(making, config, &vswitch.vpc_id, found, &mut |line| line.tell(job))?;
            return Ok(Within { vswitch: vswitch.v_switch_id.clone(), group });
        }
        Place::Part(vpc, zone, block) => {
            job.ui.message(&format!("Using vpc: {}", vpc.vpc_id));
            (vpc.vpc_id.clone(), zone, block)
        }
        Place::New(zone, block) => (vpc(making, config, job)?, zone, block),
    };
    // The lines of the one that is told second wait for the first.
    let mut later = Vec::new();
    let (vswitch, group) = std::thread::scope(|scope| {
        let group = scope.spawn(|| group(making, config, &vpc, found, &mut |line| later.push(line)));
        let vswitch = vswitch(making, config, &vpc, zone, block, job);
        (vswitch, group.join())
    });
    later.into_iter().for_each(|line| line.tell(job));
    // Of two failures the one that came of the other is not told.
    match (vswitch, joined(group)) {
        (Err(NodeError::Cancelled), Err(error)) => Err(error),
        (vswitch, group) => Ok(Within { vswitch: vswitch?, group: group? }),
    }
}

fn vpc(making: &Making<'_>, config: &super::Config, job: &Job<'_>) -> Result<String> {
    job.ui.say("Creating vpc...");
    let name = config.network.vpc_name.clone().unwrap_or_else(|| making.name());
    let (_, id) = making.make("Error creating vpc", making.line(Kind::Vpc, &name), |stop| {
        making.client.create_vpc(&sign::nonce(), &name, &config.network.block, making.mark, stop)
    })?;
    making.ask("Failed waiting for vpc to become available", |stop| making.client.vpc_available(&id, stop))?;
    job.ui.message(&format!("Created vpc: {id}"));
    Ok(id)
}

fn vswitch(
    making: &Making<'_>,
    config: &super::Config,
    vpc: &str,
    zone: &str,
    block: &str,
    job: &Job<'_>,
) -> Result<String> {
    job.ui.say("Creating vswitch...");
    let name = config.network.vswitch_name.clone().unwrap_or_else(|| making.name());
    let new = VSwitch {
        v_switch_name: name.clone(),
        vpc_id: vpc.to_owned(),
        zone_id: zone.to_owned(),
        cidr_block: block.to_owned(),
        description: making.mark.description(),
        ..VSwitch::default()
    };
    let (_, id) = making.make("Error Creating vswitch", making.line(Kind::VSwitch, &name), |stop| {
        making.client.create_vswitch(&sign::nonce(), &new, stop)
    })?;
    making.ask("Timeout waiting for vswitch to become available", |stop| making.client.vswitch_available(&id, stop))?;
    job.ui.message(&format!("Created vswitch: {id}"));
    Ok(id)
}

/// A line of the build's.
enum Line {
    Say(String),
    Message(String),
}

impl Line {
    fn tell(self, job: &Job<'_>) {
        match self {
            Line::Say(text) => job.ui.say(&text),
            Line::Message(text) => job.ui.message(&text),
        }
    }
}

fn group(
    making: &Making<'_>,
    config: &super::Config,
    vpc: &str,
    found: &Found,
    told: &mut dyn FnMut(Line),
) -> Result<String> {
    if let Some(id) = &config.network.group {
        told(Line::Message(format!("Using security group: {id}")));
        return Ok(id.clone());
    }
    told(Line::Say("Creating security group...".to_owned()));
    let name = config.network.group_name.clone().unwrap_or_else(|| making.name());
    let new = SecurityGroup {
        security_group_name: name.clone(),
        vpc_id: vpc.to_owned(),
        description: making.mark.description(),
        ..SecurityGroup::default()
    };
    let (_, id) = making.make("Failed creating security group", making.line(Kind::SecurityGroup, &name), |stop| {
        making.client.create_security_group(&sign::nonce(), &new, &making.tags(), stop)
    })?;
    for block in &found.admitted {
        // The machine's own port of SSH; a template's other port is where its image listens.
        making.ask("Failed authorizing security group", |stop| making.client.admit(&id, port(config), block, stop))?;
    }
    told(Line::Message(format!("Created security group: {id}")));
    if !found.admitted.is_empty() {
        told(Line::Message(format!("it lets in {} by TCP at port {}", found.admitted.join(", "), port(config))));
    }
    Ok(id)
}

/// Where the machine's server of SSH listens.
fn port(config: &super::Config) -> u16 {
    match &config.communicator {
        Communicator::Ssh(settings) => settings.port.unwrap_or(22),
        Communicator::None => 22,
    }
}

fn order(
    making: &Making<'_>,
    config: &super::Config,
    found: &Found,
    within: &Within,
    key: Option<&str>,
    data: &UserData,
) -> Order {
    let machine = &config.machine;
    let password = match &config.communicator {
        Communicator::Ssh(settings) => settings.password.as_ref().map(|p| kiln_http::Secret::new(p.expose())),
        Communicator::None => None,
    };
    Order {
        image: found.image.clone(),
        kind: machine.kind.clone(),
        vswitch: within.vswitch.clone(),
        group: within.group.clone(),
        key_pair: key.map(str::to_owned),
        name: machine.name.clone().unwrap_or_else(|| making.name()),
        description: machine.description.clone(),
        user_data: data.text.clone().map(kiln_http::Secret::new),
        password,
        role: machine.role.clone(),
        io: machine.io.clone(),
        enhancement: machine.enhancement.clone(),
        resource_group: config.image.resource_group.clone(),
        system: machine.system.clone(),
        disks: machine.disks.clone(),
        tags: making.tags().into_iter().chain(machine.tags.iter().cloned()).collect(),
    }
}

/// The machine, and where it is reached.
fn machine(
    making: &Making<'_>,
    config: &super::Config,
    order: &Order,
    key: Option<&str>,
    job: &Job<'_>,
) -> Result<(String, String)> {
    let client = making.client;
    let line = making.line(Kind::Instance, &order.name);
    let (_, id) =
        making.make("Error creating instance", line, |stop| client.run_instance(&sign::nonce(), order, stop))?;
    job.ui.message(&format!("Created instance: {id}"));
    let wants_eip = !config.network.private && matches!(config.communicator, Communicator::Ssh(_));
    if config.network.associate == Some(false) && wants_eip {
        job.ui.message(
            "associate_public_ip_address is of classic networks; ssh_private_ip does without an elastic address",
        );
    }
    let (eip, running) = std::thread::scope(|scope| {
        let running = scope.spawn(|| {
            making.ask("Error waiting for instance to start", |stop| client.instance_is(&id, "Running", stop))
        });
        let eip = if wants_eip { address(making, config, job).map(Some) } else { Ok(None) };
        if let Some(key) = key {
            job.ui.message(&format!("Attach keypair {key} to instance: {id}"));
        }
        job.ui.say(&format!("Starting instance: {id}"));
        (eip, running.join())
    });
    let (eip, running) = match (eip, joined(running)) {
        (Err(NodeError::Cancelled), Err(error)) => return Err(error),
        (eip, running) => (eip?, running?),
    };
    let host = match eip {
        Some(eip) => making.ask("Error associating eip", |stop| client.associate_eip(&eip, &id, stop))?.ip_address,
        None => running.vpc_attributes.private_ip_address.ip_address.into_iter().next().unwrap_or_default(),
    };
    Ok((id, host))
}

/// The id of an elastic address.
fn address(making: &Making<'_>, config: &super::Config, job: &Job<'_>) -> Result<String> {
    let network = &config.network;
    if let Some(id) = &network.eip {
        job.ui.message(&format!("Using eip: {id}"));
        return Ok(id.clone());
    }
    job.ui.say("Allocating eip...");
    let order = EipOrder { bandwidth: network.bandwidth, charge: network.charge.clone() };
    let token = sign::nonce();
    // It carries no mark: the token and what was asked for find it again.
    let mut line = making.line(Kind::Eip, &token);
    line.scope.insert("bandwidth".to_owned(), order.bandwidth.to_string());
    line.scope.insert("charge".to_owned(), order.charge.clone());
    let mut address = String::new();
    let (_, id) = making.make("Error allocating eip", line, |stop| {
        let (id, ip) = making.client.allocate_eip(&token, &order, stop)?;
        address = ip;
        Ok(id)
    })?;
    job.ui.message(&format!("Allocated eip: {address}"));
    Ok(id)
}
