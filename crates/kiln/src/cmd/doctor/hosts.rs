//! Which hosts are looked at: this one, roots and namespaces, kept facts, others over SSH.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kiln_clusterfile::{Flags, read};
use kiln_doctor::api::Api;
use kiln_doctor::facts::{self, HostFacts};
use kiln_doctor::fleet::{Missing, remote};
use kiln_doctor::probe::agent::Here;
use kiln_doctor::{DoctorError, Fleet};
use kiln_host::ssh::target::Target as Address;
use kiln_host::{Cancel, Host, Network, Ssh};
use kiln_kube::{Cluster, Config, KubeError};
use kiln_spec::diag;
use kiln_spec::source::Source;

use crate::error::CliError;
use crate::ssh::Login;
use crate::surroundings;

/// The program for other hosts, as gzip has it; empty when this build has none (`build.rs`).
const HOST_PROGRAM: &[u8] = include_bytes!(env!("KILN_DOCTOR_HOST_PROGRAM"));

/// Options that say which hosts.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Args {
    /// Hosts to look at over SSH, as [USER@]HOST[:PORT] with commas between; nothing has to be installed there
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    hosts: Vec<String>,
    /// A Clusterfile that names the hosts (sealer's or sealos's)
    #[arg(short = 'f', long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// A directory that stands for `/`, as of a rescue system; without --netns only its files are looked at
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// A network namespace to look at instead of this one
    #[arg(long, value_name = "PATH")]
    netns: Option<PathBuf>,
    /// A host made of a root directory and a network namespace; may be given for many
    #[arg(long = "host", value_name = "NAME=DIR[,NETNS]")]
    local: Vec<String>,
    /// Facts that --facts-json printed; may be given for many hosts
    #[arg(long, value_name = "FILE")]
    facts: Vec<PathBuf>,
    /// How long one host may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
    /// Ask the cluster's API as well, by the kubeconfig of this name
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig instead of its current one
    #[arg(long, value_name = "NAME", requires = "kubeconfig")]
    kube_context: Option<String>,
    /// Accept hosts whose keys are not in known_hosts, and keep their keys
    #[arg(long)]
    accept_new_host_keys: bool,
}

impl Args {
    /// Whether this host is the one that is looked at.
    pub fn here(&self) -> bool {
        self.hosts.is_empty() && self.file.is_none() && self.local.is_empty() && self.facts.is_empty()
    }

    /// The root and the namespace of one host.
    pub fn one(&self) -> (&Path, Option<&Path>) {
        (self.root.as_deref().unwrap_or(Path::new("/")), self.netns.as_deref())
    }

    fn one_place(&self) -> Result<(), CliError> {
        if !self.here() && (self.root.is_some() || self.netns.is_some()) {
            return Err(CliError::usage("--root and --netns are for one host; --host NAME=DIR,NETNS is for many"));
        }
        Ok(())
    }

    /// Whether what is named can be changed: this host, or hosts over SSH, and nothing beside them that would be left
    /// out.
    pub fn can_be_changed(&self) -> Result<(), CliError> {
        self.one_place()?;
        let beside = [
            (!self.local.is_empty(), "--host"),
            (!self.facts.is_empty(), "--facts"),
            (self.kubeconfig.is_some(), "--kubeconfig"),
        ];
        match beside.into_iter().find(|(given, _)| *given) {
            Some((_, option)) => Err(CliError::usage(format!("{option} is for looking; changes are made on hosts"))
                .with_hint("on this host, on hosts over SSH (--hosts, -f), or below --root")),
            None => Ok(()),
        }
    }

    /// The facts of all, and who can be told to send and to listen.
    pub fn look(&self) -> Result<Looked, CliError> {
        self.one_place()?;
        let (mut all, mut agents) = (Vec::new(), Vec::new());
        if self.here() {
            let (root, netns) = self.one();
            let facts = facts::gather(root, netns).map_err(environment)?;
            if netns.is_some() || root == Path::new("/") {
                agents.push(Here { name: facts.name.clone(), root: root.to_owned(), netns: netns.map(Path::to_owned) });
            }
            all.push(facts);
        }
        for text in &self.local {
            let (facts, agent) = local(text)?;
            all.push(facts);
            agents.extend(agent);
        }
        for path in &self.facts {
            all.push(kept(path)?);
        }
        let reached = self.reach()?;
        let mut missing = Vec::new();
        if let Some(reached) = &reached {
            let remote = reached.fleet();
            reached.stopped()?;
            all.extend(remote.hosts);
            missing = remote.missing;
        }
        let mut fleet = Fleet { missing, ..Fleet::new(all) };
        if self.kubeconfig.is_some() {
            match self.api() {
                Ok(api) => fleet.api = Some(api),
                Err(error) => fleet.missing.push(Missing { host: "API".to_owned(), why: error.to_string() }),
            }
        }
        Ok(Looked { fleet, agents, reached })
    }

    fn api(&self) -> Result<Api, KubeError> {
        let config = Config {
            kubeconfig: self.kubeconfig.clone(),
            context: self.kube_context.clone(),
            start_timeout: Duration::ZERO,
            cancel: Arc::default(),
        };
        kiln_doctor::api::ask(&Cluster::find(&config, None)?)
    }

    fn targets(&self) -> Result<Vec<Login>, CliError> {
        let mut out = Vec::new();
        if let Some(path) = &self.file {
            out = named(path)?;
        }
        for text in self.hosts.iter().map(|text| text.trim()).filter(|text| !text.is_empty()) {
            let address = Address::parse(text).map_err(|error| CliError::usage(error.to_string()))?;
            out.push(Login::at(address));
        }
        // A host that is named twice would look like two that have everything in common.
        let mut seen = BTreeSet::new();
        out.retain(|login| {
            let new = seen.insert((login.target.host.clone(), login.target.port.unwrap_or(22)));
            if !new {
                eprintln!("{} is named twice: it is looked at once", login.target.host);
            }
            new
        });
        Ok(out)
    }

    /// The hosts over SSH; nothing when none are named.
    pub fn reach(&self) -> Result<Option<Reached>, CliError> {
        let targets = self.targets()?;
        if targets.is_empty() {
            return Ok(None);
        }
        let network = Network::start().map_err(|error| CliError::environment(error.to_string()))?;
        let user = surroundings::ssh_user(self.accept_new_host_keys)?;
        let mut hosts: Vec<(String, Box<dyn Host>)> = Vec::new();
        let mut failed = Vec::new();
        for login in &targets {
            // Behind one address, as of a gateway that forwards ports, there may be several.
            let alone = targets.iter().filter(|other| other.target.host == login.target.host).count() == 1;
            let host = match login.target.port.filter(|_| !alone) {
                Some(port) => format!("{}:{port}", login.target.host),
                None => login.target.host.clone(),
            };
            match login.options(&user, &mut Vec::new()) {
                Ok(options) => hosts.push((host, Box::new(Ssh::new(&network, options)))),
                Err(error) => failed.push(Missing { host, why: error.message() }),
            }
        }
        let binary =
            std::env::current_exe().map_err(|e| CliError::environment(format!("cannot find this program: {e}")))?;
        // Those who are not root need its rights to see rules and namespaces.
        let (root, others) = hosts.into_iter().partition(|(_, host)| host.name().starts_with("root@"));
        let limit = Duration::from_secs(self.timeout.max(1));
        let binary = match HOST_PROGRAM {
            [] => remote::Parcel::new(&binary, targets.len()),
            part => remote::Parcel::with_part(&binary, part),
        };
        // Who is stopped takes away what was sent to hosts.
        let cancel = surroundings::cancel();
        Ok(Some(Reached { root, others, failed, binary, limit, cancel, _network: network }))
    }
}

/// What was looked at.
pub struct Looked {
    /// The facts.
    pub fleet: Fleet,
    /// Hosts of this machine that can be told to send and to listen.
    pub agents: Vec<Here>,
    /// Hosts over SSH.
    pub reached: Option<Reached>,
}

impl Looked {
    /// The error of whom the user stopped.
    pub fn stopped(&self) -> Result<(), CliError> {
        self.reached.as_ref().map_or(Ok(()), Reached::stopped)
    }
}

/// Hosts over SSH.
pub struct Reached {
    root: Vec<(String, Box<dyn Host>)>,
    others: Vec<(String, Box<dyn Host>)>,
    /// Those that nobody can connect to, and why.
    pub failed: Vec<Missing>,
    binary: remote::Parcel,
    limit: Duration,
    /// Stops everything.
    pub cancel: Cancel,
    _network: Network,
}

impl Reached {
    fn asking(&self, sudo: bool) -> remote::Asking<'_> {
        remote::Asking { binary: &self.binary, limit: self.limit, sudo, cancel: &self.cancel }
    }

    /// All hosts, each with how it is asked.
    pub fn all(&self) -> impl Iterator<Item = (&str, &dyn Host, remote::Asking<'_>)> {
        let root = self.root.iter().map(|(name, host)| (name.as_str(), host.as_ref(), self.asking(false)));
        root.chain(self.others.iter().map(|(name, host)| (name.as_str(), host.as_ref(), self.asking(true))))
    }

    /// The error of whom the user stopped.
    pub fn stopped(&self) -> Result<(), CliError> {
        if self.cancel.is_set() { Err(CliError::Told { code: 130 }) } else { Ok(()) }
    }

    fn fleet(&self) -> Fleet {
        let mut fleet = remote::gather(&self.root, &self.asking(false));
        let more = remote::gather(&self.others, &self.asking(true));
        fleet.hosts.extend(more.hosts);
        fleet.missing.extend(more.missing.into_iter().chain(self.failed.iter().cloned()));
        fleet
    }
}

/// The hosts of a Clusterfile.
fn named(path: &Path) -> Result<Vec<Login>, CliError> {
    let failed = |why: String| CliError::input(format!("{}: {why}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    let source = Source { name: path.display().to_string(), text };
    let read = read(Some(&source), &Flags::default());
    for found in read.found.iter().filter(|found| found.diagnostic.is_error()) {
        eprint!("{}", diag::render(&found.diagnostic, &found.source, crate::error::in_color()));
    }
    let cluster = read.cluster.ok_or(CliError::Found)?;
    if cluster.hosts.is_empty() {
        return Err(failed("names no hosts: neither spec.hosts[].ips nor spec.masters.ipList".to_owned()));
    }
    Ok(cluster.hosts.iter().map(Login::of).collect())
}

fn environment(error: DoctorError) -> CliError {
    CliError::environment(error.to_string())
}

/// `NAME=DIR[,NETNS]`.
fn local(text: &str) -> Result<(HostFacts, Option<Here>), CliError> {
    let Some((name, rest)) = text.split_once('=').filter(|(name, _)| !name.is_empty()) else {
        return Err(CliError::usage(format!("--host {text}: is not NAME=DIR or NAME=DIR,NETNS")));
    };
    let (root, netns) = rest.split_once(',').map_or((rest, None), |(root, netns)| (root, Some(Path::new(netns))));
    let facts = facts::gather(Path::new(root), netns).map_err(environment)?;
    let agent = netns.map(|netns| Here { name: name.to_owned(), root: root.into(), netns: Some(netns.to_owned()) });
    Ok((HostFacts { name: name.to_owned(), ..facts }, agent))
}

fn kept(path: &Path) -> Result<HostFacts, CliError> {
    let failed = |why: String| CliError::input(format!("{}: {why}", path.display()));
    let bytes = fs::read(path).map_err(|error| failed(error.to_string()))?;
    let mut facts = remote::parse("facts", &bytes, (0, 0)).map_err(|error| failed(error.to_string()))?;
    // They were read some time ago: its clock says nothing.
    facts.system.ahead = None;
    Ok(facts)
}
