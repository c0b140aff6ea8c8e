//! What the options of a build mean: platforms, names, limits, and the session that all of it makes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kiln_engine::isolation::Isolation;
use kiln_engine::session::NetworkFiles;
use kiln_engine::{Session, Settings};
use kiln_oci::compress::{Compression, GZIP_LEVEL};
use kiln_oci::manifest::Annotations;
use kiln_oci::{Platform, Reference};
use kiln_plan::options::{NoCache, Options, Ulimit};
use kiln_plan::step::Network;
use kiln_sandbox::{Init, Limits, Rung, Standing};

use super::Args;
use super::inputs::Inputs;
use crate::error::CliError;
use crate::surroundings::{self, said_time, time_of};

/// Steps often wait (for a network, for a compiler's single thread), so that fewer than this would leave cores idle.
const MIN_JOBS: usize = 8;

/// The platforms to build for: those that were given, else the environment's, else this machine's.
pub fn platforms(args: &Args) -> Result<Vec<Platform>, CliError> {
    let fallback = std::env::var("DOCKER_DEFAULT_PLATFORM").ok().filter(|p| !p.is_empty());
    let texts: Vec<&str> = match (&args.platform[..], &fallback) {
        ([], Some(one)) => vec![one],
        (given, _) => given.iter().map(|p| &**p).collect(),
    };
    let mut platforms: Vec<Platform> = Vec::new();
    for text in texts {
        let platform = text.parse().map_err(|e: kiln_oci::platform::PlatformError| CliError::usage(e.to_string()))?;
        if !platforms.contains(&platform) {
            platforms.push(platform);
        }
    }
    if platforms.is_empty() {
        platforms.push(Platform::host());
    }
    Ok(platforms)
}

/// Names of `--tag`.
pub fn references(texts: &[String]) -> Result<Vec<Reference>, CliError> {
    let parse = |t: &String| t.parse::<Reference>().map_err(|e| CliError::usage(format!("--tag {t}: {e}")));
    texts.iter().map(parse).collect()
}

/// Annotations by what they are put on.
pub struct Leveled {
    pub manifest: Annotations,
    pub index: Annotations,
}

impl Leveled {
    pub fn parse(texts: &[String]) -> Result<Leveled, CliError> {
        let mut out = Leveled { manifest: Annotations::new(), index: Annotations::new() };
        for text in texts {
            let bad = || {
                CliError::usage(format!("--annotation {text}: expected NAME=VALUE, or manifest: or index: before it"))
            };
            let (levels, rest) = match text.split_once(':') {
                Some((levels, rest)) if levels.split(',').all(|l| matches!(l, "manifest" | "index")) => (levels, rest),
                Some(("manifest-descriptor" | "index-descriptor", _)) => {
                    return Err(CliError::usage(format!(
                        "--annotation {text}: annotations on descriptors are not supported yet"
                    )));
                }
                _ => ("manifest", &**text),
            };
            let (name, value) = crate::options::key_value(rest).ok_or_else(bad)?;
            for level in levels.split(',') {
                let map = if level == "index" { &mut out.index } else { &mut out.manifest };
                map.insert(name.to_owned(), value.to_owned());
            }
        }
        Ok(out)
    }
}

/// `SOURCE_DATE_EPOCH` from the build arguments, else the environment.
pub fn source_date_epoch(args: &Args) -> Result<Option<i64>, CliError> {
    let given = args.build_args.iter().rev().find_map(|a| a.strip_prefix("SOURCE_DATE_EPOCH=").map(str::to_owned));
    match given {
        None => said_time(),
        Some(text) if text.is_empty() => Ok(None),
        Some(text) => time_of(&text).map(Some),
    }
}

/// What the plan depends on.
pub fn options(args: &Args, inputs: &Inputs, epoch: Option<i64>) -> Result<Options, CliError> {
    let mut build_args = BTreeMap::new();
    for text in &args.build_args {
        match text.split_once('=') {
            Some((name, value)) => drop(build_args.insert(name.to_owned(), value.to_owned())),
            // Without a value the environment gives it, or nothing does, as docker has it.
            None => drop(std::env::var(text).map(|value| build_args.insert(text.clone(), value))),
        }
    }
    if let Some(secs) = epoch {
        build_args.insert("SOURCE_DATE_EPOCH".to_owned(), secs.to_string());
    }
    let mut labels = Vec::new();
    for text in &args.labels {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        labels.push((name.to_owned(), value.to_owned()));
    }
    let no_cache = match (args.no_cache, &args.no_cache_filter[..]) {
        (true, _) => NoCache::Always,
        (false, []) => NoCache::Never,
        (false, stages) => NoCache::Stages(stages.iter().map(|s| s.to_ascii_lowercase()).collect()),
    };
    for right in &args.allow {
        if !matches!(&**right, "security.insecure" | "network.host") {
            return Err(CliError::usage(format!("--allow {right}: expected security.insecure or network.host")));
        }
    }
    Ok(Options {
        target: args.target.clone(),
        build_args,
        platform_explicit: !args.platform.is_empty(),
        labels,
        no_cache,
        contexts: inputs.named.clone(),
        secrets: inputs.secrets.keys().cloned().collect(),
        ssh: inputs.ssh.keys().cloned().collect::<BTreeSet<_>>(),
        network: network(&args.network)?,
        allow_insecure: args.allow.iter().any(|a| a == "security.insecure"),
        add_hosts: add_hosts(&args.add_hosts)?,
        shm_size: crate::options::size("--shm-size", args.shm_size.as_deref())?,
        ulimits: ulimits(&args.ulimits)?,
        source_date_epoch: epoch,
        rewrite_timestamp: args.rewrite_timestamp,
        ..Options::new(Platform::host())
    })
}

fn network(text: &str) -> Result<Network, CliError> {
    match text {
        "default" => Ok(Network::Default),
        "host" => Ok(Network::Host),
        "none" => Ok(Network::None),
        other => Err(CliError::usage(format!("--network {other}: expected default, host or none"))),
    }
}

fn add_hosts(texts: &[String]) -> Result<Vec<(String, String)>, CliError> {
    let mut hosts = Vec::new();
    for text in texts {
        let bad = || CliError::usage(format!("--add-host {text}: expected NAME:ADDRESS"));
        let (name, address) = text.split_once(['=', ':']).ok_or_else(bad)?;
        let address = match address.trim_matches(['[', ']']) {
            // There is no bridge: the host is where the command is.
            "host-gateway" => "127.0.0.1",
            other => other,
        };
        address.parse::<std::net::IpAddr>().map_err(|_| bad())?;
        hosts.push((name.to_owned(), address.to_owned()));
    }
    Ok(hosts)
}

fn ulimits(texts: &[String]) -> Result<Vec<Ulimit>, CliError> {
    let mut limits = Vec::new();
    for text in texts {
        let bad = || CliError::usage(format!("--ulimit {text}: expected NAME=SOFT[:HARD], such as nofile=1024:2048"));
        let (name, values) = text.split_once('=').ok_or_else(bad)?;
        let (soft, hard) = values.split_once(':').unwrap_or((values, values));
        let number = |t: &str| t.parse::<i64>().ok().filter(|n| *n >= -1).ok_or_else(bad);
        let (soft, hard) = (number(soft)?, number(hard)?);
        if kiln_sandbox::Resource::by_name(name).is_none() {
            return Err(bad());
        }
        limits.push(Ulimit { name: name.to_owned(), soft, hard });
    }
    Ok(limits)
}

fn compression(args: &Args) -> Result<Compression, CliError> {
    let gzip = i32::try_from(GZIP_LEVEL).unwrap_or(i32::MAX);
    let level = |default: i32, range: std::ops::RangeInclusive<i32>| match args.compression_level.unwrap_or(default) {
        -1 => Ok(default),
        n if range.contains(&n) => Ok(n),
        n => Err(CliError::usage(format!("--compression-level {n}: expected {} to {}", range.start(), range.end()))),
    };
    match &*args.compression {
        "gzip" => Ok(Compression::Gzip { level: u32::try_from(level(gzip, 0..=9)?).unwrap_or(GZIP_LEVEL) }),
        "zstd" => Ok(Compression::Zstd { level: level(3, 1..=22)? }),
        "none" | "uncompressed" => Ok(Compression::None),
        other => Err(CliError::usage(format!("--compression {other}: expected gzip, zstd or none"))),
    }
}

/// The rung the user asked for; `None` is the strongest that works.
pub fn rung(args: &Args) -> Result<Option<Rung>, CliError> {
    match &*args.isolation {
        "auto" => Ok(None),
        name => name.parse().map(Some).map_err(|e: String| {
            CliError::usage(format!("--isolation: {e}"))
                .with_hint("auto takes the strongest that works: kiln doctor build")
        }),
    }
}

/// What the build works with.
pub fn session(
    args: &Args,
    around: &surroundings::Surroundings,
    inputs: &Inputs,
    epoch: Option<i64>,
    standing: Standing,
) -> Result<Session, CliError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let cpu_millis = match args.cpus {
        None => None,
        Some(n) if n.is_finite() && n > 0.0 && n < 1e6 => {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was checked")]
            let millis = (n * 1000.0).round() as u64;
            Some(millis)
        }
        Some(n) => return Err(CliError::usage(format!("--cpus {n}: expected a positive number"))),
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let roots = kiln_engine::rootfs::Roots::new(
        around.store.clone(),
        around.images.clone(),
        around.lease.clone(),
        around.events.clone(),
    );
    let settings = Settings {
        isolation: Isolation::new(rung(args)?, standing, Init::default()),
        jobs: args.jobs.unwrap_or(cores.max(MIN_JOBS)).max(1),
        compression: compression(args)?,
        secrets: inputs.secrets.clone(),
        ssh: inputs.ssh.clone(),
        limits: Limits { memory: crate::options::size("--memory", args.memory.as_deref())?, cpu_millis, pids: None },
        now: i64::try_from(now).unwrap_or(i64::MAX),
        source_date_epoch: epoch,
        inline_cache: false,
        single_layer: false,
        network_files: NetworkFiles::Host,
    };
    Ok(Session {
        store: around.store.clone(),
        images: around.images.clone(),
        roots: Arc::new(roots),
        contexts: inputs.contexts.clone(),
        settings,
        events: around.events.clone(),
        cancel: around.cancel.clone(),
        ahead: None,
        remote: None,
        lock: inputs.lock.clone(),
        policy: inputs.policy.clone(),
        private_roots: Default::default(),
    })
}
