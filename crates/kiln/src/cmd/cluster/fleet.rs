//! What verbs of clusters that run have in common: which cluster, its hosts, how they are reached, and who is told.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kiln_clusterfile::model::Ssh as Login;
use kiln_clusterfile::{Cluster, Flags, Host};
use kiln_host::command::Sudo;
use kiln_host::keys::PrivateKey;
use kiln_host::ssh::Auth;
use kiln_host::ssh::target::{Target, User};
use kiln_host::{Cancel, Network, Secret, Ssh, SshOptions};
use kiln_launch::clock::Clock;
use kiln_launch::event::{Event, Events};
use kiln_launch::journal::{HostRecord, Record, State};
use kiln_launch::launch::{Learned, random_hex};
use kiln_launch::{Bundle, Launch, Machine, Member, Options, run};

use super::clusterfile;
use crate::cli::Global;
use crate::error::{self, CliError};
use crate::progress::Style;
use crate::surroundings;

/// Where a password is taken from, as options are in everybody's `ps`.
const PASSWORD: &str = "KILN_SSH_PASSWORD";
/// Bytes of a key.
const KEY: u64 = 64 << 10;

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
    /// Pass over these checks, by kubeadm's names; `all` is every one
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    ignore_preflight_errors: Vec<String>,
    /// The command for services on hosts
    #[arg(long, value_name = "COMMAND", default_value = "systemctl", help_heading = "Hosts")]
    service_manager: String,
    /// Hosts that are worked on at one time
    #[arg(long, value_name = "N", default_value_t = 64, help_heading = "Hosts")]
    parallel: usize,
    /// How long nodes may take to become ready, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    wait: u64,
    /// Where clusters are remembered [default: $KILN_STATE, else ~/.local/state/kiln/clusters]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
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
    /// The image.
    pub image: Option<String>,
    /// Hosts in addition to those of the Clusterfile or the record.
    pub hosts: Hosts,
    /// Variables, `NAME=VALUE`.
    pub env: Vec<String>,
    /// Commands in place of the image's.
    pub commands: Vec<String>,
    /// Goes on with an earlier launch.
    pub resume: bool,
    /// Does this phase and those behind it again.
    pub from: Option<String>,
    /// Hosts are given back: those that are left may be workers only, whose master was given back before.
    pub giving_back: bool,
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

    /// The cluster as the user wants it: the Clusterfile, or what is remembered of it, and the command line over both. With
    /// what is remembered.
    pub fn cluster(&self, wish: &Wish) -> Result<(Cluster, Option<Record>, State), CliError> {
        let root = self.state_root()?;
        let file = self.file.as_deref().map(clusterfile::text).transpose()?;
        let mut flags = Flags {
            image: wish.image.clone(),
            name: self.name.clone(),
            masters: wish.hosts.masters.clone(),
            nodes: wish.hosts.nodes.clone(),
            user: self.user.clone(),
            password: password(),
            port: self.port,
            key: self.pk.clone(),
            env: wish.env.clone(),
            commands: wish.commands.clone(),
            node_addresses: self.node_address.clone(),
            ..Flags::default()
        };
        if let Some(file) = &file {
            let cluster = clusterfile::cluster(Some(file), &flags)?;
            let state = State::of(&root, &cluster.name.value)?;
            let record = state.record()?;
            return Ok((cluster, record, state));
        }
        // Without a Clusterfile, the hosts are those that are remembered, and those of the command line.
        let state = State::of(&root, self.name.as_deref().unwrap_or(kiln_clusterfile::DEFAULT_NAME))?;
        let record = state.record()?;
        if let Some(known) = &record {
            add(&mut flags, known, wish.giving_back);
        }
        Ok((clusterfile::cluster(None, &flags)?, record, state))
    }

    /// Everything of a launch but the image: hosts are asked what they are.
    pub fn launch(
        &self,
        wish: &Wish,
        image: impl FnOnce(&Cluster, Option<&Record>) -> Result<Bundle, CliError>,
        global: &Global,
    ) -> Result<Launch, CliError> {
        let began = Instant::now();
        let (cluster, record, state) = self.cluster(wish)?;
        // What the file says of networks, registries and kubeadm would be taken back to what it is without one.
        if let (None, Some(file)) = (&self.file, record.as_ref().and_then(|record| record.file.as_ref())) {
            let text =
                format!("the cluster was launched from {}, which says more of it than its hosts", file.display());
            return Err(CliError::usage(text).with_hint(format!("give it again: -f {}", file.display())));
        }
        let bundle = image(&cluster, record.as_ref())?;
        let options = self.options(wish)?;
        let cancel = cancel();
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
        Ok(Launch { clock: Clock::since(began), ..launch })
    }

    /// How a launch goes about it.
    pub fn options(&self, wish: &Wish) -> Result<Options, CliError> {
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
        if let Some(from) = &wish.from {
            let names: Vec<&str> = kiln_launch::phase::LAUNCH.iter().map(|phase| phase.name).collect();
            if !names.contains(&from.as_str()) {
                return Err(CliError::usage(format!("there is no phase `{from}`"))
                    .with_hint(format!("they are: {}", names.join(", "))));
            }
        }
        Ok(Options {
            ignore: self.ignore_preflight_errors.clone(),
            service_manager: self.service_manager.clone(),
            resume: wish.resume || wish.from.is_some(),
            from: wish.from.clone(),
            parallel: self.parallel.clamp(1, 1000),
            binary_digest: hasher.finish().hex(),
            binary,
            patience: Duration::from_secs(self.wait),
            file: self.file.as_deref().filter(|path| *path != Path::new("-")).and_then(|path| path.canonicalize().ok()),
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
                let options = options(&host, &user, &mut warnings)?;
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
    }
}

/// A flag that the user's signals set.
pub fn cancel() -> Cancel {
    let flag = Arc::new(std::sync::atomic::AtomicBool::new(false));
    surroundings::stop_on_signals(kiln_sandbox::Cancel::new(), flag.clone());
    Cancel::from(flag)
}

/// What is remembered of a cluster, as if it had been said on the command line. A cluster has a master: where only workers
/// are left to be given back, they are called so, which is all the same to a reset.
fn add(flags: &mut Flags, record: &Record, giving_back: bool) {
    let only_workers = giving_back && flags.masters.is_none() && !record.hosts.iter().any(|host| host.master);
    let list = |master: bool, said: Option<&String>| {
        let said_hosts: Vec<String> = said
            .and_then(|text| kiln_kubeadm::hosts::parse(text).ok())
            .into_iter()
            .flatten()
            .map(|host| host.address.to_string())
            .collect();
        let is = |host: &HostRecord| (host.master || only_workers) == master;
        let known = record.hosts.iter().filter(|host| is(host) && !said_hosts.contains(&host.address));
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
    flags.image = flags.image.clone().or_else(|| Some(record.image.clone()));
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

/// How a host is reached: what is said for it, over what the user's own settings of SSH say.
fn options(host: &Host, user: &User, warnings: &mut Vec<String>) -> Result<SshOptions, CliError> {
    let login = &host.ssh;
    let wrong = |e: kiln_host::HostError| CliError::input(e.to_string());
    let target = Target {
        user: login.user.as_ref().map(|user| user.value.clone()),
        host: host.address().to_string(),
        port: login.port.as_ref().map(|port| port.value),
    };
    let mut options = target.options(user, &mut |_| None, warnings).map_err(wrong)?;
    let mut jump = None;
    for hop in &login.jump {
        let hop = &hop.value;
        let target = Target { user: hop.user.clone(), host: hop.host.clone(), port: hop.port };
        let mut next = target.options(user, &mut |_| None, warnings).map_err(wrong)?;
        next.jump = jump.take().or(next.jump);
        jump = Some(Box::new(next));
    }
    options.jump = jump.or(options.jump);
    if let Some(path) = &login.key {
        options.auth.insert(0, key(&path.value, login, user)?);
    }
    if let Some(password) = &login.password {
        let secret = || Secret::new(password.value.expose());
        options.auth.extend([Auth::Password(secret()), Auth::Interactive(secret())]);
    }
    Ok(options)
}

fn key(path: &str, login: &Login, user: &User) -> Result<Auth, CliError> {
    let full = path.strip_prefix("~/").map_or_else(|| PathBuf::from(path), |rest| user.home.join(rest));
    let failed = |why: String| CliError::input(format!("cannot read the key {path}: {why}"));
    let mut text = String::new();
    let file = fs::File::open(&full).map_err(|e| failed(e.to_string()))?;
    file.take(KEY).read_to_string(&mut text).map_err(|e| failed(e.to_string()))?;
    let passphrase = login.passphrase.as_ref().map(|secret| Secret::new(secret.value.expose()));
    let key = PrivateKey::parse(path, &Secret::new(text), passphrase.as_ref()).map_err(|e| failed(e.to_string()))?;
    Ok(Auth::Key { key, certificate: None })
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
