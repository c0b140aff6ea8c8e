//! `kiln registry serve`: options and a configuration file become settings, and signals end it.

use std::fs;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kiln_registry::{Client, Credential};
use kiln_serve::auth::Auth;
use kiln_serve::auth::access::Access;
use kiln_serve::auth::htpasswd::Htpasswd;
use kiln_serve::auth::token::{Issuer, Verifier};
use kiln_serve::config::{self, Config, Remote, Remotes};
use kiln_serve::log::{Form, Log};
use kiln_serve::proxy::Upstreams;
use kiln_serve::tls::Certificate;
use kiln_serve::{Policy, Running, ServeError, Settings};
use kiln_spec::source::Source;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::Global;
use crate::cmd::registry::unit;
use crate::error::CliError;
use crate::named;
use crate::options::{RegistryOptions, size, time};
use crate::surroundings;

/// Where it listens when nothing says otherwise: only this machine can reach it.
const ADDRESS: &str = "127.0.0.1:5000";
/// The most connections at a time when nothing says otherwise.
const MAX_CONNECTIONS: usize = 1024;
/// The longest blob that is taken when nothing says otherwise.
const MAX_UPLOAD: u64 = 64 << 30;
/// A connection on which nothing moves for so long is closed, when nothing says otherwise.
const PATIENCE: Duration = Duration::from_secs(60);

/// The command line.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Where to listen [default: 127.0.0.1:5000]; `:5000` means all addresses of this machine
    #[arg(long, value_name = "ADDRESS")]
    addr: Option<String>,
    /// A configuration file of Docker's registry, as cluster images have in etc/registry_config.yml; options override it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Serve only this image of the store, and the images it contains (repeat); nothing can be pushed then
    #[arg(long, value_name = "NAME")]
    image: Vec<String>,
    /// The certificate, with its chain, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its key, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Make a certificate, and an authority that clients can trust, and keep both in DIR
    #[arg(long, value_name = "DIR", conflicts_with = "tls_cert")]
    tls_self: Option<PathBuf>,
    /// A host name or address for that certificate (repeat) [default: localhost, 127.0.0.1, ::1]
    #[arg(long, value_name = "HOST", requires = "tls_self")]
    tls_name: Vec<String>,
    /// Users and passwords, as `kiln registry passwd` and `htpasswd -B` write them; without, everyone may do everything
    #[arg(long, value_name = "FILE")]
    htpasswd: Option<PathBuf>,
    /// Give tokens to these users, as Docker Hub does, instead of taking a password with each request
    #[arg(long)]
    token: bool,
    /// Rights of users, a line each: WHO REPOSITORIES ACTIONS, as in `ci team/** pull,push`; without, who has a password
    /// may do everything
    #[arg(long, value_name = "FILE")]
    access: Option<PathBuf>,
    /// Let everyone pull; users are needed to push
    #[arg(long)]
    anonymous_pull: bool,
    /// Take nothing
    #[arg(long)]
    read_only: bool,
    /// Let images be deleted
    #[arg(long)]
    allow_delete: bool,
    /// Fetch images of this registry when they are asked for, and keep them (repeat): docker.io, http://10.0.0.1:5000
    #[arg(long, value_name = "REGISTRY")]
    proxy: Vec<String>,
    /// How long tags of such registries are believed before they are asked for again [default: 5m]
    #[arg(long, value_name = "TIME")]
    proxy_ttl: Option<String>,
    /// The longest blob that is taken [default: 64g]
    #[arg(long, value_name = "SIZE")]
    max_upload: Option<String>,
    /// The most connections at a time [default: 1024, or fewer if the process may not open as many files]
    #[arg(long, value_name = "N")]
    connections: Option<usize>,
    /// The most of them from one address [default: half of them]
    #[arg(long, value_name = "N")]
    connections_per_address: Option<usize>,
    /// Close connections on which nothing moves for this long [default: 60s]
    #[arg(long, value_name = "TIME")]
    idle_timeout: Option<String>,
    /// Tell numbers for Prometheus (/metrics) and health (/healthz) at this address
    #[arg(long, value_name = "ADDRESS")]
    metrics: Option<String>,
    /// Log in JSON, an object a line
    #[arg(long)]
    json: bool,
    /// Do not log requests
    #[arg(long)]
    no_access_log: bool,
    /// Print a unit for systemd that serves with these options
    #[arg(long)]
    print_unit: bool,
    /// How other registries are reached.
    #[command(flatten)]
    registry: RegistryOptions,
}

const EXAMPLES: &str = "\
Examples:
  kiln registry serve                                      the images of the store, for this machine
  kiln registry serve --addr :5000 --tls-self /etc/kiln/tls --tls-name sea.hub --htpasswd users
  kiln registry serve --htpasswd users --access rights     what each user may do: docs/registry.md
  kiln registry serve --image mycluster:1 --addr :5000     the images that a cluster image contains
  kiln registry serve --proxy docker.io --proxy quay.io    a cache of other registries
  kiln registry serve --config etc/registry_config.yml
  kiln registry serve --addr :5000 --print-unit > /etc/systemd/system/kiln-registry.service

Images keep their registry's name: docker.io/library/nginx is at /v2/docker.io/library/nginx, at /v2/library/nginx?ns=docker.io
(which is how containerd asks a mirror), and at /v2/library/nginx while no other registry has one. What is pushed to
HOST/team/app is in the store as localhost/team/app. SIGTERM ends it when transfers have ended; a second one at once.";

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    if args.print_unit {
        return named::print(&unit::text(&std::env::args().skip(1).collect::<Vec<_>>())?);
    }
    let config = match &args.config {
        Some(path) => read(path)?,
        None => Config::default(),
    };
    for warning in &config.warnings {
        eprintln!("warning: {warning}");
    }
    let settings = settings(args, &config, global)?;
    let address = settings.address;
    let (tls, open) = (settings.certificate.clone(), matches!(settings.auth, Auth::Open));
    let log = settings.log.clone();
    warn_about(address, tls.is_some(), open && !settings.policy.read_only);
    let running = Running::start(settings)?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    log.say(&format!("serving at {scheme}://{}", running.address()));
    if let Some(authority) = tls.as_ref().and_then(Certificate::authority) {
        log.say(&format!("clients must trust {}", authority.display()));
    }
    if let Some(address) = running.debug_address() {
        log.say(&format!("numbers at http://{address}/metrics"));
    }
    unit::tell_systemd(std::env::var_os("NOTIFY_SOCKET").as_deref());
    wait(running, &log)
}

/// Serves until a signal says to end, and then until transfers have ended or another signal comes.
fn wait(running: Running, log: &Log) -> Result<(), CliError> {
    let failed = |e: std::io::Error| CliError::environment(format!("cannot wait for signals: {e}"));
    let signals = running.block_on(async {
        let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        Ok((term, int))
    });
    let Some(signals) = signals else { return Ok(()) };
    let (mut term, mut int) = signals.map_err(failed)?;
    log.say("ending when transfers have ended; another signal ends at once");
    running.stop(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    });
    Ok(())
}

/// Who can reach it, and is not asked who they are.
fn warn_about(address: SocketAddr, tls: bool, open: bool) {
    if address.ip().is_loopback() {
        return;
    }
    if open {
        eprintln!("warning: everyone who reaches {address} may push and replace images: --htpasswd or --read-only");
    }
    if !tls {
        eprintln!("warning: passwords and images travel unprotected to {address}: --tls-self or --tls-cert");
    }
}

fn read(path: &Path) -> Result<Config, CliError> {
    let failed = |e: std::io::Error| CliError::input(format!("cannot read {}: {e}", path.display()));
    // sealer's two names for it are one.
    let other = path.with_extension(if path.extension().is_some_and(|e| e == "yml") { "yaml" } else { "yml" });
    let path = if !path.exists() && other.exists() { other.as_path() } else { path };
    if fs::metadata(path).map_err(failed)?.len() > config::MAX {
        return Err(CliError::input(format!("{} is too long for a configuration", path.display())));
    }
    let text = fs::read_to_string(path).map_err(failed)?;
    Ok(config::parse(&Source { name: path.display().to_string(), text })?)
}

/// `:5000`, `127.0.0.1:5000`, `localhost:5000`.
fn address(text: &str) -> Result<SocketAddr, CliError> {
    let full = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
    let found = full.to_socket_addrs().ok().and_then(|mut found| found.next());
    found.ok_or_else(|| CliError::usage(format!("`{text}` is not an address: expected HOST:PORT, or :PORT")))
}

fn settings(args: &Args, config: &Config, global: &Global) -> Result<Settings, CliError> {
    let store = surroundings::open_store(global)?;
    let images = args.image.iter().map(|name| known(&store, name)).collect::<Result<_, _>>()?;
    let at = args.addr.as_deref().or(config.address.as_deref()).unwrap_or(ADDRESS);
    let form = if args.json || config.json { Form::Json } else { Form::Plain };
    let access = !(args.no_access_log || config.no_access_log);
    let log = Log::start(form, access, Box::new(std::io::stderr())).map_err(ServeError::Start)?;
    let (auth, connections) = (auth(args, config)?, args.connections.unwrap_or_else(connections).max(1));
    let access = args.access.as_deref().map(Access::open).transpose()?.map(Arc::new);
    if access.is_some() && matches!(auth, Auth::Open) {
        return Err(CliError::usage("--access needs users: --htpasswd, or auth in the configuration"));
    }
    Ok(Settings {
        store,
        images,
        address: address(at)?,
        certificate: certificate(args, config),
        debug_address: args.metrics.as_deref().or(config.debug_address.as_deref()).map(address).transpose()?,
        auth,
        policy: Policy {
            delete: args.allow_delete || config.delete,
            read_only: args.read_only || config.read_only,
            headers: config.headers.clone(),
            access,
        },
        max_upload: size("--max-upload", args.max_upload.as_deref())?.unwrap_or(MAX_UPLOAD),
        connections,
        connections_per_address: args.connections_per_address.unwrap_or(connections / 2).max(1),
        patience: time("--idle-timeout", args.idle_timeout.as_deref())?.unwrap_or(PATIENCE),
        proxy: proxy(args, config)?,
        log: Arc::new(log),
    })
}

/// As many connections as there can be open files for: each has a socket, and perhaps a blob.
fn connections() -> usize {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(files.saturating_sub(128) / 2).unwrap_or(MAX_CONNECTIONS).min(MAX_CONNECTIONS)
}

/// The name of an image of the store, as the store has it.
fn known(store: &kiln_store::Store, text: &str) -> Result<String, CliError> {
    let full = named::reference(text)?.to_string();
    match store.get_ref(&full)? {
        Some(_) => Ok(full),
        None => Err(CliError::input(format!("there is no image `{text}` in the store"))
            .with_hint("kiln images lists those that are kept")),
    }
}

fn certificate(args: &Args, config: &Config) -> Option<Certificate> {
    if let Some(dir) = &args.tls_self {
        let names = match args.tls_name.is_empty() {
            true => ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec(),
            false => args.tls_name.clone(),
        };
        return Some(Certificate::Own { dir: dir.clone(), names });
    }
    let given = args.tls_cert.clone().zip(args.tls_key.clone()).or_else(|| config.tls.clone());
    given.map(|(certificate, key)| Certificate::Files { certificate, key })
}

fn auth(args: &Args, config: &Config) -> Result<Auth, CliError> {
    let file = args.htpasswd.clone().map(|path| ("Kiln registry".to_owned(), path)).or_else(|| config.htpasswd.clone());
    match (file, &config.token) {
        (Some((realm, path)), _) => {
            let users = Htpasswd::open(&path, &realm, args.anonymous_pull)?;
            Ok(match args.token {
                true => Auth::Own(Issuer::new(users, "kiln-registry")?),
                false => Auth::Basic(users),
            })
        }
        (None, Some(token)) => {
            let keys = fs::read_to_string(&token.keys)
                .map_err(|source| ServeError::ReadFile { path: token.keys.clone(), source })?;
            Ok(Auth::External(Verifier::external(&token.realm, &token.service, &token.issuer, &keys)?))
        }
        (None, None) if args.token || args.anonymous_pull => {
            Err(CliError::usage("--token and --anonymous-pull need --htpasswd"))
        }
        (None, None) => Ok(Auth::Open),
    }
}

fn proxy(args: &Args, config: &Config) -> Result<Option<(Client, Upstreams)>, CliError> {
    let given =
        args.proxy.iter().map(|text| Remote::parse(text).map_err(CliError::usage)).collect::<Result<Vec<_>, _>>()?;
    let mut remotes = match (given.is_empty(), config.proxy.clone()) {
        (true, None) => return Ok(None),
        (true, Some(remotes)) => remotes,
        (false, _) => Remotes { registries: given, login: None, ttl: config::TTL },
    };
    if let Some(ttl) = time("--proxy-ttl", args.proxy_ttl.as_deref())? {
        remotes.ttl = ttl;
    }
    let mut client = args.registry.config()?;
    let plain = remotes.registries.iter().filter(|r| r.plain_http).map(|r| r.registry.clone());
    client.plain_http.extend(plain);
    if let (Some((user, password)), Some(first)) = (remotes.login, remotes.registries.first()) {
        client.credentials = client.credentials.with(first.registry.clone(), Credential::basic(user, password));
    }
    let registries = remotes.registries.into_iter().map(|r| r.registry).collect();
    Ok(Some((Client::new(client)?, Upstreams { registries, ttl: remotes.ttl })))
}
