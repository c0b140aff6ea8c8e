//! What verbs of clusters that run have in common: which cluster, its hosts, how they are reached, and who is told.

use std::fs;
use std::io::Read as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use kiln_clusterfile::model::{Env, Role, Ssh as Login};
use kiln_clusterfile::{Cluster, Flags, Host, Origin, Said};
use kiln_host::command::Sudo;
use kiln_host::{Cancel, Network, Secret, Ssh};
use kiln_launch::clock::Clock;
use kiln_launch::event::{Event, Events};
use kiln_launch::journal::{Record, State};
use kiln_launch::launch::{Learned, random_hex};
use kiln_launch::{Bundle, Launch, Machine, Member, Options, Peers, run};

use super::{clusterfile, unsupported};
use crate::cli::Global;
use crate::error::{self, CliError};
use crate::options::RegistryOptions;
use crate::progress::Style;
use crate::{ssh, surroundings};

/// Where a password is taken from, as options are in everybody's `ps`.
const PASSWORD: &str = "KILN_SSH_PASSWORD";
/// Who says what is remembered.
const RECORD: Origin = Origin::Flag("the record of the cluster");

/// How hosts are reached, and how a launch goes about it.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub struct Args {
    /// The Clusterfile, of sealer or sealos
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    file: Option<PathBuf>,
    /// The name of the cluster [default: that of the Clusterfile, else my-cluster]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Who to log in as; who is not root uses sudo [default: as ssh does]
    #[arg(short = 'u', long, value_name = "USER", help_heading = "Hosts")]
    user: Option<String>,
    /// The port of SSH servers
    #[arg(long, value_name = "PORT", help_heading = "Hosts")]
    port: Option<u16>,
    /// A private key to log in with; passwords are taken from KILN_SSH_PASSWORD, or from the Clusterfile
    #[arg(short = 'i', long, value_name = "FILE", help_heading = "Hosts")]
    pk: Option<String>,
    /// Accept hosts whose keys are not in known_hosts, and keep their keys
    #[arg(long, help_heading = "Hosts")]
    accept_new_host_keys: bool,
    /// The address by which its peers reach a host (repeat)
    #[arg(long, value_name = "HOST=ADDRESS", help_heading = "Hosts")]
    node_address: Vec<String>,
    /// The command for services on hosts
    #[arg(long, value_name = "COMMAND", default_value = "systemctl", help_heading = "Hosts")]
    service_manager: String,
    /// Hosts that are worked on at one time
    #[arg(long, value_name = "N", default_value_t = 64, help_heading = "Hosts")]
    parallel: usize,
    /// Where clusters are remembered [default: $KILN_STATE, else ~/.local/state/kiln/clusters]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

/// How a launch goes about it: for verbs that bring an image to hosts.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub struct Launching {
    /// Pass over these checks, by kubeadm's names; `all` is every one
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    ignore_preflight_errors: Vec<String>,
    /// Send the image from here to each host, in place of having hosts bring each other what one of them has
    #[arg(long, help_heading = "Hosts")]
    no_peer_distribution: bool,
    /// The port that hosts listen at while they bring each other the image [default: any that is free]
    #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true, help_heading = "Hosts")]
    peer_port: u16,
    /// The most that a host sends to others, in MiB a second
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=1 << 20), help_heading = "Hosts")]
    peer_rate: Option<u64>,
    /// How long nodes may take to become ready, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    wait: u64,
    /// How registries are reached, for images that the store does not have.
    #[command(flatten)]
    pub registry: RegistryOptions,
}

/// Hosts on the command line.
#[derive(Debug, Clone, Default, clap::Args)]
#[group(skip)]
pub struct Hosts {
    /// Masters: addresses, ranges (10.0.0.1-10.0.0.3) and ports, with commas between
    #[arg(long, value_name = "LIST", help_heading = "Hosts")]
    pub masters: Option<String>,
    /// Workers, likewise
    #[arg(long, value_name = "LIST", help_heading = "Hosts")]
    pub nodes: Option<String>,
}

/// What a launch is to do beside what the cluster says.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// The images; the first has Kubernetes.
    pub images: Vec<String>,
    /// Hosts in addition to those of the Clusterfile or the record.
    pub hosts: Hosts,
    /// Variables, `NAME=VALUE`.
    pub env: Vec<String>,
    /// Commands in place of the image's.
    pub commands: Vec<String>,
    /// Values of the image's arguments, `NAME=VALUE`.
    pub args: Vec<String>,
    /// Goes on with an earlier launch.
    pub resume: bool,
    /// Does this phase and those behind it again.
    pub from: Option<String>,
    /// Resets what an earlier kubeadm left on hosts.
    pub reset_leftovers: bool,
    /// How a launch goes about it; of verbs that launch.
    pub launching: Option<Launching>,
    /// Those that are left may be workers only, whose master was given back before.
    pub may_lack_masters: bool,
}

/// A cluster as it was read, once.
pub struct Known {
    /// What is wanted.
    pub cluster: Cluster,
    /// What is remembered of it.
    pub record: Option<Record>,
    /// Where.
    pub state: State,
}

impl Args {
    /// Where clusters are remembered.
    pub fn state_root(&self) -> Result<PathBuf, CliError> {
        let var = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(dir) = self.state.clone().or_else(|| var("KILN_STATE")) {
            return Ok(dir);
        }
        let base = var("XDG_STATE_HOME").or_else(|| Some(var("HOME")?.join(".local/state")));
        let base = base.ok_or_else(|| {
            CliError::environment("HOME is not set: clusters are remembered there").with_hint("say where: --state DIR")
        })?;
        Ok(base.join("kiln/clusters"))
    }

    /// Whether there is a Clusterfile.
    pub fn has_file(&self) -> bool {
        self.file.is_some()
    }

    /// The cluster as the user wants it: the Clusterfile, or what is remembered of it, and the command line over both. With
    /// what is remembered.
    pub fn cluster(&self, wish: &Wish) -> Result<Known, CliError> {
        let root = self.state_root()?;
        let file = self.file.as_deref().map(clusterfile::text).transpose()?;
        let mut flags = Flags {
            image: wish.images.first().cloned(),
            more_images: wish.images.iter().skip(1).cloned().collect(),
            name: self.name.clone(),
            masters: wish.hosts.masters.clone(),
            nodes: wish.hosts.nodes.clone(),
            user: self.user.clone(),
            password: password(),
            port: self.port,
            key: self.pk.clone(),
            env: wish.env.clone(),
            commands: wish.commands.clone(),
            args: wish.args.clone(),
            node_addresses: self.node_address.clone(),
            ..Flags::default()
        };
        let (mut cluster, record, state) = match &file {
            Some(file) => {
                let cluster = clusterfile::cluster(Some(file), &flags)?;
                let state = State::of(&root, &cluster.name.value)?;
                let record = state.record()?;
                (cluster, record, state)
            }
            // Without a Clusterfile, the hosts are those that are remembered, and those of the command line.
            None => {
                let state = State::of(&root, self.name.as_deref().unwrap_or(kiln_clusterfile::DEFAULT_NAME))?;
                let record = state.record()?;
                // Workers whose master was given back before are no cluster, and are given back all the same.
                let is_left = |known: &&Record| wish.may_lack_masters && !known.hosts.iter().any(|host| host.master);
                let left = record.as_ref().filter(is_left);
                if let (Some(known), None) = (&record, left) {
                    add(&mut flags, known);
                }
                let mut cluster = clusterfile::cluster(None, &flags)?;
                if let Some(known) = left {
                    self.add_remembered(&mut cluster, known);
                }
                (cluster, record, state)
            }
        };
        for host in &mut cluster.hosts {
            let address = host.address().to_string();
            let known = record.iter().flat_map(|record| &record.hosts).find(|known| known.address == address);
            // Whichever hosts come, those that are there stay where they are.
            let settled = known.and_then(|known| known.node_address.as_ref()?.parse().ok());
            host.node_address = host.node_address.take().or_else(|| Some(Said::new(settled?, RECORD)));
        }
        Ok(Known { cluster, record, state })
    }

    /// A host that neither a Clusterfile nor the command line names, with what the command line says of all.
    pub fn stranger(&self, address: IpAddr, port: Option<u16>, master: bool) -> Host {
        let said = |text: &Option<String>, flag| text.clone().map(|text| Said::new(text, Origin::Flag(flag)));
        let role = if master { Role::Master } else { Role::Node };
        Host {
            name: None,
            addresses: vec![Said::new(address, RECORD)],
            node_address: None,
            roles: vec![Said::new(role, RECORD)],
            ssh: Login {
                user: said(&self.user, "--user"),
                port: port.or(self.port).map(|port| Said::new(port, Origin::Flag("--port"))),
                password: password().map(|password| Said::new(password, Origin::Flag(PASSWORD))),
                key: said(&self.pk, "--pk"),
                ..Login::default()
            },
            env: Env::default(),
            labels: Vec::new(),
            taints: Vec::new(),
        }
    }

    /// Adds hosts that are remembered and that the cluster does not have: those that a Clusterfile has no longer.
    pub fn add_remembered(&self, cluster: &mut Cluster, record: &Record) {
        for known in &record.hosts {
            let Ok(address) = known.address.parse::<IpAddr>() else { continue };
            if cluster.hosts.iter().any(|host| host.address() == address) {
                continue;
            }
            let mut host = self.stranger(address, known.port, known.master);
            let said = |text: &Option<String>| text.clone().map(|text| Said::new(text, RECORD));
            host.ssh.user = host.ssh.user.or_else(|| said(&known.user));
            host.ssh.key = host.ssh.key.or_else(|| said(&known.key));
            host.node_address =
                known.node_address.as_ref().and_then(|text| Some(Said::new(text.parse().ok()?, RECORD)));
            cluster.hosts.push(host);
        }
    }

    /// Everything of a launch but the image: hosts are asked what they are.
    pub fn launch(
        &self,
        known: Known,
        wish: &Wish,
        image: impl FnOnce(&Cluster, Option<&Record>) -> Result<Bundle, CliError>,
        global: &Global,
    ) -> Result<Launch, CliError> {
        let began = Instant::now();
        let Known { cluster, record, state } = known;
        unsupported::refuse(&cluster)?;
        // What the file says of networks, registries and kubeadm would be taken back to what it is without one.
        if let (None, Some(file)) = (&self.file, record.as_ref().and_then(|record| record.file.as_ref())) {
            let text =
                format!("the cluster was launched from {}, which says more of it than its hosts", file.display());
            return Err(CliError::usage(text).with_hint(format!("give it again: -f {}", file.display())));
        }
        let bundle = image(&cluster, record.as_ref())?;
        let options = self.sending(self.options(wish)?)?;
        let cancel = surroundings::cancel();
        let events: Arc<dyn Events> = Arc::new(Lines::new(global.progress));
        let hosts = self.machines(&cluster, &cancel)?;
        let members = run::gather(hosts, &options, &*events, &cancel)?;
        let known = record.map(|record| record.id);
        // A host may know a launch that nothing is remembered of here any more: resuming takes it up.
        let theirs = members
            .iter()
            .find_map(|member| member.facts.marker.as_ref().filter(|marker| marker.cluster == cluster.name.value));
        let theirs = theirs.filter(|_| wish.resume).map(|marker| marker.id.clone());
        let id = known.or(theirs).map_or_else(|| random_hex(8), Ok)?;
        let launch = assemble(cluster, bundle, members, options, id, state, events, cancel);
        Ok(Launch { clock: Clock::since(began), ..launch }.settled()?)
    }

    /// With this program, which is sent to hosts.
    fn sending(&self, options: Options) -> Result<Options, CliError> {
        let binary =
            std::env::current_exe().map_err(|e| CliError::environment(format!("cannot find this program: {e}")))?;
        let failed = |e: std::io::Error| CliError::environment(format!("cannot read {}: {e}", binary.display()));
        let mut hasher = kiln_oci::Hasher::new();
        let mut file = fs::File::open(&binary).map_err(failed)?;
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file.read(&mut buffer).map_err(failed)? {
                0 => break,
                count => hasher.update(&buffer[..count]),
            }
        }
        Ok(Options { binary_digest: hasher.finish().hex(), binary, ..options })
    }

    /// How a launch goes about it.
    pub fn options(&self, wish: &Wish) -> Result<Options, CliError> {
        if let Some(from) = &wish.from {
            let names: Vec<&str> = kiln_launch::phase::LAUNCH.iter().map(|phase| phase.name).collect();
            if !names.contains(&from.as_str()) {
                return Err(CliError::usage(format!("there is no phase `{from}`"))
                    .with_hint(format!("they are: {}", names.join(", "))));
            }
        }
        let plain = Options::default();
        let launching = wish.launching.as_ref();
        Ok(Options {
            ignore: launching.map(|how| how.ignore_preflight_errors.clone()).unwrap_or_default(),
            service_manager: self.service_manager.clone(),
            resume: wish.resume || wish.from.is_some(),
            from: wish.from.clone(),
            parallel: self.parallel.clamp(1, 1000),
            reset_leftovers: wish.reset_leftovers,
            patience: launching.map_or(plain.patience, |how| Duration::from_secs(how.wait)),
            peers: launching.filter(|how| !how.no_peer_distribution).map(|how| Peers {
                port: how.peer_port,
                rate: how.peer_rate.map(|rate| rate << 20),
                ..Peers::default()
            }),
            file: self.file.as_deref().filter(|path| *path != Path::new("-")).and_then(|path| path.canonicalize().ok()),
            ..plain
        })
    }

    /// The hosts, not yet connected to.
    pub fn machines(&self, cluster: &Cluster, cancel: &Cancel) -> Result<Vec<(Host, Machine)>, CliError> {
        if cluster.hosts.is_empty() {
            return Err(CliError::usage("no hosts are known")
                .with_hint("name them: --masters 10.0.0.1 --nodes 10.0.0.2,10.0.0.3, or a Clusterfile with -f"));
        }
        let network = Network::start().map_err(|e| CliError::environment(e.to_string()))?;
        let user = surroundings::ssh_user(self.accept_new_host_keys)?;
        let mut hosts = cluster.hosts.clone();
        // The first master is first, and masters come before the others.
        hosts.sort_by_key(|host| !host.is_master());
        let mut warned = std::collections::BTreeSet::new();
        hosts
            .into_iter()
            .map(|host| {
                let mut warnings = Vec::new();
                let options = ssh::Login::of(&host).options(&user, &mut warnings)?;
                warnings
                    .into_iter()
                    .filter(|warning| warned.insert(warning.clone()))
                    .for_each(|w| eprintln!("warning: {}", error::printable(&w)));
                let sudo = (options.user != "root").then(|| Sudo { user: None, password: sudo_password(&host.ssh) });
                let name = host.address().to_string();
                Ok((host, Machine::new(name, Arc::new(Ssh::new(&network, options)), sudo, cancel.clone())))
            })
            .collect()
    }
}

/// Puts a launch together.
#[expect(clippy::too_many_arguments, reason = "each is one field, and made elsewhere")]
pub fn assemble(
    cluster: Cluster,
    bundle: Bundle,
    members: Vec<Member>,
    options: Options,
    id: String,
    state: State,
    events: Arc<dyn Events>,
    cancel: Cancel,
) -> Launch {
    let markers = members.iter().map(|member| member.facts.marker.clone()).collect();
    Launch {
        cluster,
        bundle,
        members,
        options,
        id,
        state,
        events,
        cancel,
        clock: Clock::default(),
        learned: Mutex::new(Learned::default()),
        markers: Mutex::new(markers),
        configuration: OnceLock::new(),
    }
}

/// What is remembered of a cluster, as if it had been said on the command line.
fn add(flags: &mut Flags, record: &Record) {
    let list = |master: bool, said: Option<&String>| {
        let said_hosts: Vec<String> = said
            .and_then(|text| kiln_kubeadm::hosts::parse(text).ok())
            .into_iter()
            .flatten()
            .map(|host| host.address.to_string())
            .collect();
        let known = record.hosts.iter().filter(|host| host.master == master && !said_hosts.contains(&host.address));
        let known = known.map(|host| match (host.port, host.address.contains(':')) {
            (Some(port), true) => format!("[{}]:{port}", host.address),
            (Some(port), false) => format!("{}:{port}", host.address),
            (None, _) => host.address.clone(),
        });
        let all: Vec<String> = known.chain(said.cloned()).collect();
        (!all.is_empty()).then(|| all.join(","))
    };
    flags.masters = list(true, flags.masters.as_ref());
    flags.nodes = list(false, flags.nodes.as_ref());
    if flags.image.is_none() {
        let mut images = record.images().into_iter();
        flags.image = images.next();
        flags.more_images = images.collect();
    }
    flags.user = flags.user.clone().or_else(|| record.hosts.first()?.user.clone());
    flags.key = flags.key.clone().or_else(|| record.hosts.first()?.key.clone());
}

fn password() -> Option<kiln_clusterfile::Secret> {
    let text = std::env::var(PASSWORD).ok().filter(|text| !text.is_empty())?;
    Some(kiln_clusterfile::Secret::new(text))
}

fn sudo_password(login: &Login) -> Option<Secret> {
    let said = login.sudo_password.as_ref().or(login.password.as_ref());
    said.map(|secret| Secret::new(secret.value.expose()))
}

/// Events as lines on standard error.
pub struct Lines {
    style: Style,
}

impl Lines {
    /// Lines in a style.
    pub fn new(style: Style) -> Lines {
        Lines { style }
    }
}

impl Events for Lines {
    fn event(&self, event: Event) {
        match self.style {
            Style::Quiet => {}
            Style::Json => eprintln!("{}", json(&event)),
            _ => eprintln!("{}", error::printable(&line(&event))),
        }
    }
}

fn line(event: &Event) -> String {
    match event {
        Event::Phase { phase, hosts } => format!("{phase}: {hosts} {}", if *hosts == 1 { "host" } else { "hosts" }),
        Event::Nothing { phase } => format!("{phase}: nothing to do"),
        Event::Done { phase, host, took } => format!("{phase}: {host} done in {:.1} s", took.as_secs_f64()),
        Event::Failed { phase, host, why } => format!("{phase}: {host} FAILED: {why}"),
        Event::Moved { host, bytes, total } => {
            format!("distribute: {host} {} of {}", crate::table::size(*bytes), crate::table::size(*total))
        }
        Event::Note { host: Some(host), text } => format!("note: {host}: {text}"),
        Event::Note { host: None, text } => format!("note: {text}"),
    }
}

fn json(event: &Event) -> serde_json::Value {
    use serde_json::json;
    match event {
        Event::Phase { phase, hosts } => json!({"event": "phase", "phase": phase, "hosts": hosts}),
        Event::Nothing { phase } => json!({"event": "nothing", "phase": phase}),
        Event::Done { phase, host, took } => {
            json!({"event": "done", "phase": phase, "host": host, "seconds": took.as_secs_f64()})
        }
        Event::Failed { phase, host, why } => json!({"event": "failed", "phase": phase, "host": host, "why": why}),
        Event::Moved { host, bytes, total } => json!({"event": "moved", "host": host, "bytes": bytes, "total": total}),
        Event::Note { host, text } => json!({"event": "note", "host": host, "text": text}),
    }
}
