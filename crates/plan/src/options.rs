//! What the command line says about a build, as far as the plan depends on it.

use std::collections::{BTreeMap, BTreeSet};

use kiln_oci::Platform;
use serde::Serialize;

use crate::step::Network;

/// Options of one build for one platform.
#[derive(Debug, Clone)]
pub struct Options {
    /// The stage to build; the last one if none is named.
    pub target: Option<String>,
    /// `--build-arg`, environment fall-backs already filled in.
    pub build_args: BTreeMap<String, String>,
    /// The platform to build for.
    pub platform: Platform,
    /// Whether the user asked for it; a base image for another platform is then a mistake, not a surprise.
    pub platform_explicit: bool,
    /// The platform Kiln runs on.
    pub build_platform: Platform,
    /// `--label`, in order.
    pub labels: Vec<(String, String)>,
    /// Which stages ignore the cache.
    pub no_cache: NoCache,
    /// `--build-context`.
    pub contexts: BTreeMap<String, NamedContext>,
    /// Ids of `--secret`.
    pub secrets: BTreeSet<String>,
    /// Ids of `--ssh`.
    pub ssh: BTreeSet<String>,
    /// `--network`: what a `RUN` without its own `--network` gets.
    pub network: Network,
    /// Whether `RUN --security=insecure` may be used (`--allow security.insecure`).
    pub allow_insecure: bool,
    /// `--add-host`.
    pub add_hosts: Vec<(String, String)>,
    /// `--shm-size` in bytes.
    pub shm_size: Option<u64>,
    /// `--ulimit`.
    pub ulimits: Vec<Ulimit>,
    /// Seconds since the epoch that stand in for the clock.
    pub source_date_epoch: Option<i64>,
    /// Whether files written by `RUN` are clamped to [`Options::source_date_epoch`].
    pub rewrite_timestamp: bool,
    /// Whether titles name the platform.
    pub several_platforms: bool,
}

impl Options {
    /// A build of the last stage for this machine's platform, with nothing else said.
    pub fn new(platform: Platform) -> Options {
        Options {
            target: None,
            build_args: BTreeMap::new(),
            build_platform: platform.clone(),
            platform,
            platform_explicit: false,
            labels: Vec::new(),
            no_cache: NoCache::Never,
            contexts: BTreeMap::new(),
            secrets: BTreeSet::new(),
            ssh: BTreeSet::new(),
            network: Network::Default,
            allow_insecure: false,
            add_hosts: Vec::new(),
            shm_size: None,
            ulimits: Vec::new(),
            source_date_epoch: None,
            rewrite_timestamp: false,
            several_platforms: false,
        }
    }
}

/// `--no-cache` and `--no-cache-filter`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoCache {
    /// The cache is used.
    Never,
    /// No step is looked up.
    Always,
    /// Steps of these stages are not looked up (names in lower case).
    Stages(BTreeSet<String>),
}

/// What `--build-context NAME=…` stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedContext {
    /// A directory.
    Dir,
    /// `docker-image://REFERENCE`.
    Image(String),
    /// `oci-layout://PATH[:TAG|@DIGEST]`.
    OciLayout(String),
    /// `target:NAME`: another stage of the same file.
    Target(String),
}

/// `--ulimit NAME=SOFT[:HARD]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ulimit {
    /// `nofile`, `nproc`, …
    pub name: String,
    /// Soft limit; -1 is unlimited.
    pub soft: i64,
    /// Hard limit; -1 is unlimited.
    pub hard: i64,
}
