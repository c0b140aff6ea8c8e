//! What kaniko's flags and environment ask for, in the words of `kiln build`. A pure table from one to the other; what
//! does not fit together is refused as kaniko refuses it.

use std::path::PathBuf;
use std::time::Duration;

use kiln_engine::remote::{self, Place};
use kiln_objects::Environment;
use kiln_oci::Reference;
use kiln_plan::git::GitUrl;
use kiln_registry::config::{ClientCert, HostCa, Mirror};
use kiln_registry::{Config, Helper};

use super::flags::{self, Given};
use crate::cmd::build;
use crate::error::CliError;
use crate::place::{self, Around, Use};

/// Registries are asked at least this often again, whatever the flags say: fewer helps no one.
const LEAST_RETRIES: u32 = 5;

/// The object of a bucket that is named alone.
const DEFAULT_OBJECT: &str = "context.tar.gz";

/// Variables of the environment.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What is asked for.
#[derive(Debug)]
pub struct Wanted {
    /// The build.
    pub build: build::Args,
    /// Other stages to build, which are not pushed.
    pub also: Vec<String>,
    /// Where to push.
    pub destinations: Vec<Reference>,
    /// Whether nothing is pushed.
    pub no_push: bool,
    /// `--tar-path`.
    pub tar: Option<PathBuf>,
    /// `--oci-layout-path`.
    pub layout: Option<PathBuf>,
    /// Media types of Docker instead of OCI's.
    pub docker_format: bool,
    /// Where digests are written.
    pub files: Files,
    /// Whether pushing is tried before the build.
    pub check_push: bool,
    /// Whether a tag that may not move is no failure.
    pub ignore_immutable: bool,
    /// The cache in a repository.
    pub cache: Option<Cache>,
    /// `--cache-dir`.
    pub cache_dir: PathBuf,
    /// Where everything is kept.
    pub dir: Option<PathBuf>,
    /// Whether all steps make one layer.
    pub single_layer: bool,
    /// Only print the plan.
    pub dry_run: bool,
    /// What the user is to know.
    pub warnings: Vec<String>,
}

/// Files that get the digest.
#[derive(Debug, Default)]
pub struct Files {
    /// `--digest-file`.
    pub digest: Option<String>,
    /// `--image-name-with-digest-file`.
    pub name: Option<String>,
    /// `--image-name-tag-with-digest-file`.
    pub name_tag: Option<String>,
    /// `$BUILDER_OUTPUT`.
    pub builder_output: Option<PathBuf>,
}

/// `--cache` and what belongs to it.
#[derive(Debug, PartialEq, Eq)]
pub struct Cache {
    /// Where it is.
    pub place: Place,
    /// How old a layer may be.
    pub ttl: Duration,
    /// Whether layers are pushed to it.
    pub push: bool,
    /// Whether it has layers of COPY and ADD.
    pub copies: bool,
    /// Whether it has layers of RUN.
    pub runs: bool,
}

impl Cache {
    /// The same as a build knows it.
    pub fn config(&self) -> remote::Config {
        remote::Config {
            from: vec![self.place.clone()],
            to: self.push.then(|| self.place.clone()),
            ttl: Some(self.ttl),
            all: true,
            copies: self.copies,
            runs: self.runs,
        }
    }
}

/// A mistake in kaniko's words, which are what people search for.
fn usage(text: impl Into<String>) -> CliError {
    CliError::usage(text)
}

/// Puts a command line into the words of `kiln build`. `args` is what `kiln build` has without any option.
///
/// # Errors
/// What has no meaning or does not fit together.
pub fn wanted(given: &Given, args: build::Args, env: Env<'_>) -> Result<Wanted, CliError> {
    let mut warnings = given.warnings(&flags::GROUPS);
    warnings.extend(env_warnings(env));
    warnings.extend(unknown_helpers(given));
    let no_push = match env("KANIKO_NO_PUSH") {
        Some(text) => flags::boolean(&text).map_err(|e| usage(format!("KANIKO_NO_PUSH is `{text}`: {e}")))?,
        None => given.switch("no-push"),
    };
    let destinations = destinations(&given.list("destination"))?;
    let files = Files {
        digest: given.some("digest-file"),
        name: given.some("image-name-with-digest-file"),
        name_tag: given.some("image-name-tag-with-digest-file"),
        builder_output: env("BUILDER_OUTPUT").filter(|d| !d.is_empty()).map(PathBuf::from),
    };
    let tar = given.some("tar-path").or_else(|| given.some("tarPath")).map(PathBuf::from);
    conflicts(given, no_push, destinations.is_empty(), &files, tar.is_some())?;
    let mut targets: Vec<String> =
        given.text("target").split(',').map(|t| t.trim().to_owned()).filter(|t| !t.is_empty()).collect();
    let first = if targets.is_empty() { None } else { Some(targets.remove(0)) };
    let cache = cache(given, destinations.first())?;
    let dir = given.some("kaniko-dir").or_else(|| env("KANIKO_DIR")).filter(|d| !d.is_empty());
    Ok(Wanted {
        build: build::Args { target: first, ..self::build(given, args, env)? },
        also: targets,
        no_push,
        docker_format: given.text("image-format") == "docker",
        check_push: !no_push && !given.switch("skip-push-permission-check"),
        ignore_immutable: given.switch("push-ignore-immutable-tag-errors"),
        tar,
        layout: given.some("oci-layout-path").map(PathBuf::from),
        files,
        destinations,
        cache,
        cache_dir: PathBuf::from(given.text("cache-dir")),
        dir: dir.map(PathBuf::from),
        single_layer: given.switch("single-snapshot"),
        dry_run: given.switch("dryrun"),
        warnings,
    })
}

/// What kaniko refuses.
fn conflicts(given: &Given, no_push: bool, no_name: bool, files: &Files, tar: bool) -> Result<(), CliError> {
    if !no_push && no_name {
        return Err(usage("you must provide --destination, or use --no-push"));
    }
    let docker = given.text("image-format") == "docker";
    let zstd = given.text("compression") == "zstd";
    let cacheless = given.switch("cache") && no_push && !given.switch("no-push-cache");
    let rules = [
        (no_name && files.name.is_some(), "you must provide --destination if setting ImageNameDigestFile"),
        (no_name && files.name_tag.is_some(), "you must provide --destination if setting ImageNameTagDigestFile"),
        (
            cacheless && given.text("cache-repo").is_empty(),
            "if using cache with --no-push, specify cache repo with --cache-repo",
        ),
        (
            docker && zstd,
            "--compression=zstd and --image-format=docker exclude each other: Docker's media types have no zstd",
        ),
        (tar && zstd, "--compression=zstd and --tar-path exclude each other: such an archive cannot hold zstd layers"),
        (
            tar && given.text("image-format") == "oci",
            "--image-format=oci and --tar-path exclude each other: the archive is Docker's; use --oci-layout-path",
        ),
    ];
    match rules.iter().find(|(broken, _)| *broken) {
        Some((_, text)) => Err(usage(*text)),
        None => Ok(()),
    }
}

fn destinations(texts: &[String]) -> Result<Vec<Reference>, CliError> {
    let parse = |text: &String| {
        let name: Reference =
            text.parse().map_err(|e| usage(format!("getting tag for destination: --destination {text}: {e}")))?;
        match name.digest {
            None => Ok(name),
            Some(_) => Err(usage(format!("--destination {text}: a destination has a tag, not a digest"))),
        }
    };
    texts.iter().map(parse).collect()
}

/// What `kiln build` is asked for.
fn build(given: &Given, args: build::Args, env: Env<'_>) -> Result<build::Args, CliError> {
    let platform = given.some("custom-platform").or_else(|| given.some("customPlatform"));
    let mut build_args: Vec<String> = given.list("build-arg").iter().map(|text| with_value(text, env)).collect();
    if given.switch("reproducible") && env("SOURCE_DATE_EPOCH").is_none() {
        build_args.insert(0, "SOURCE_DATE_EPOCH=0".to_owned());
    }
    let annotations = given.list("annotation");
    if let Some(bad) = annotations.iter().find(|a| !a.contains('=')) {
        return Err(usage(format!("--annotation {bad}: expected NAME=VALUE")));
    }
    let (context, git) = context(given, env)?;
    Ok(build::Args {
        context,
        git,
        context_sub_path: given.some("context-sub-path"),
        file: given.has("dockerfile").then(|| given.text("dockerfile").to_owned()),
        build_args,
        platform: platform.into_iter().collect(),
        labels: given.list("label"),
        // A colon belongs to the name here; `kiln build` reads levels before it.
        annotations: annotations.iter().map(|a| format!("manifest:{a}")).collect(),
        secrets: given.list("secret"),
        // kaniko knows no cache without this; a volume with an old store is none either.
        no_cache: !given.switch("cache"),
        compression: given.text("compression").to_owned(),
        compression_level: i32::try_from(given.number("compression-level")).ok(),
        ..args
    })
}

/// kaniko gives an ARG without a value the variable of that name, or the empty text.
fn with_value(text: &str, env: Env<'_>) -> String {
    match text.contains('=') {
        true => text.to_owned(),
        false => format!("{text}={}", env(text).unwrap_or_default()),
    }
}

/// The context, as `kiln build` writes it, or a Git repository.
fn context(given: &Given, env: Env<'_>) -> Result<(String, Option<GitUrl>), CliError> {
    let text = match given.some("bucket") {
        Some(bucket) if bucket.contains("://") => bucket,
        Some(bucket) => format!("gs://{bucket}"),
        None => given.text("context").to_owned(),
    };
    let Some((scheme, rest)) = text.split_once("://") else { return Ok((text, None)) };
    match scheme {
        "dir" => Ok((rest.to_owned(), None)),
        "tar" if rest == "stdin" => Ok(("-".to_owned(), None)),
        "tar" => Ok((rest.to_owned(), None)),
        "git" => Ok((text.clone(), Some(git(rest, &given.list("git"), env)?))),
        "s3" | "gs" => {
            let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
            let key = if key.is_empty() { DEFAULT_OBJECT } else { key };
            Ok((format!("{scheme}://{bucket}/{key}"), None))
        }
        "https" | "http" => Ok((text, None)),
        _ => Err(usage(format!(
            "unknown build context prefix provided, please use one of the following: gs://, dir://, tar://, s3://, \
             git://, https:// (`{scheme}://` is none of them)"
        ))),
    }
}

/// `HOST/PATH[#REF[#COMMIT]]`, with what `--git` says and who the environment says one is.
fn git(rest: &str, options: &[String], env: Env<'_>) -> Result<GitUrl, CliError> {
    let mut parts = rest.split('#');
    let place = parts.next().unwrap_or_default();
    let (reference, commit) = (parts.next().filter(|p| !p.is_empty()), parts.next().filter(|p| !p.is_empty()));
    let mut url = GitUrl {
        remote: remote(place, env)?,
        reference: reference.map(str::to_owned),
        // kaniko fetches no submodules unless asked.
        submodules: Some(false),
        ..GitUrl::default()
    };
    for option in options.iter().flat_map(|o| o.split(',')) {
        let (key, value) = option.split_once('=').unwrap_or((option, "true"));
        let flag = || flags::boolean(value).map_err(|e| usage(format!("--git {option}: {e}")));
        match key {
            "branch" => url.reference = Some(value.to_owned()),
            "recurse-submodules" => url.submodules = Some(flag()?),
            // One commit is fetched, which is less than either asks for.
            "single-branch" => drop(flag()?),
            "depth" => drop(value.parse::<u32>().map_err(|_| usage(format!("--git {option}: expected a number")))?),
            "insecure-skip-tls" if flag()? => {
                return Err(usage("--git insecure-skip-tls is not supported")
                    .with_hint("set GIT_SSL_NO_VERIFY=true in the environment"));
            }
            "insecure-skip-tls" => {}
            _ => {
                return Err(usage(format!(
                    "--git {option}: expected branch, single-branch, depth, recurse-submodules or insecure-skip-tls"
                )));
            }
        }
    }
    if let Some(commit) = commit {
        url.reference = Some(commit.to_owned());
    }
    let dashed = [Some(&url.remote), url.reference.as_ref()].into_iter().flatten().find(|t| t.starts_with('-'));
    match dashed {
        Some(bad) => Err(usage(format!("`{bad}` is not allowed in a Git context"))),
        None => Ok(url),
    }
}

/// The repository with its protocol, `GIT_PULL_METHOD` or https, and with the login that the environment has for it.
fn remote(place: &str, env: Env<'_>) -> Result<String, CliError> {
    let method = env("GIT_PULL_METHOD").filter(|m| matches!(&**m, "http" | "https")).unwrap_or("https".to_owned());
    let bad = |e: url::ParseError| usage(format!("the Git context cannot be read: {e}"));
    let mut url = url::Url::parse(&format!("{method}://{place}")).map_err(bad)?;
    let var = |name: &str| env(name).filter(|v| !v.is_empty());
    let (user, password) = match var("GIT_TOKEN") {
        Some(token) => (Some(token), None),
        None => (var("GIT_USERNAME"), var("GIT_PASSWORD")),
    };
    if url.username().is_empty() && (user.is_some() || password.is_some()) {
        // A URL with a host takes both.
        let _ = url.set_username(user.as_deref().unwrap_or(""));
        let _ = url.set_password(password.as_deref());
    }
    Ok(url.to_string())
}

fn cache(given: &Given, first: Option<&Reference>) -> Result<Option<Cache>, CliError> {
    if !given.switch("cache") {
        return Ok(None);
    }
    let place = match (given.some("cache-repo"), first) {
        (Some(text), _) => place_of(&text)?,
        (None, Some(first)) => place_of(&format!("{}/cache", first.name()))?,
        // There is nothing to look into, and nothing is pushed: `conflicts` has seen to that.
        (None, None) => return Ok(None),
    };
    Ok(Some(Cache {
        place,
        ttl: duration("--cache-ttl", given.text("cache-ttl"))?,
        push: !given.switch("no-push-cache"),
        copies: given.switch("cache-copy-layers"),
        runs: given.switch("cache-run-layers"),
    }))
}

/// A repository, the address of a bucket, or `oci:` and the directory of a layout.
fn place_of(text: &str) -> Result<Place, CliError> {
    if let Some(dir) = text.strip_prefix("oci:") {
        return match dir {
            "" => Err(usage(format!("--cache-repo {text}: it names no directory"))),
            dir => Ok(Place::Layout(PathBuf::from(dir))),
        };
    }
    if text.contains("://") {
        let bucket = place::parse("--cache-repo", text, Use::To, &Around::here())?.place;
        return bucket.ok_or_else(|| usage(format!("--cache-repo {text}: it names no bucket")));
    }
    let repository: Reference = text.parse().map_err(|e| usage(format!("--cache-repo {text}: {e}")))?;
    match (&repository.tag, &repository.digest) {
        (None, None) => Ok(Place::Repository(repository)),
        _ => Err(usage(format!("--cache-repo {text}: a repository has neither tag nor digest"))),
    }
}

/// A duration as Go writes it: `336h`, `1h30m`, `1.5h`.
pub fn duration(flag: &str, text: &str) -> Result<Duration, CliError> {
    let bad = || usage(format!("{flag} {text}: expected a duration such as 6h or 1h30m"));
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
        let (number, after) = rest.split_at(digits);
        let unit = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let factor = match &after[..unit] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return Err(bad()),
        };
        seconds += number.parse::<f64>().map_err(|_| bad())? * factor;
        rest = &after[unit..];
    }
    if text.is_empty() { Err(bad()) } else { Duration::try_from_secs_f64(seconds).map_err(|_| bad()) }
}

/// The clouds that logins are bought from; `None` if nothing is said.
fn helpers(given: &Given) -> Option<Vec<Helper>> {
    let names = given.list("credential-helpers");
    let known = names.iter().flat_map(|text| text.split(',')).filter_map(|name| name.parse().ok());
    (!names.is_empty()).then(|| known.collect())
}

/// What there is not among the clouds: told and passed over, as kaniko does.
pub fn unknown_helpers(given: &Given) -> Vec<String> {
    let names = given.list("credential-helpers");
    let unknown = names.iter().flat_map(|t| t.split(',')).filter(|n| !n.is_empty() && n.parse::<Helper>().is_err());
    let told = |name| format!("--credential-helpers={name} is passed over: there are env, google, ecr, acr and gitlab");
    unknown.map(told).collect()
}

/// How registries are reached: `config` with what the flags say. `pushed` are the hosts that are pushed to.
///
/// # Errors
/// Values that are not `NAME=VALUE`.
pub fn registries(given: &Given, mut config: Config, pushed: &[String], env: Env<'_>) -> Result<Config, CliError> {
    if let Some(helpers) = helpers(given) {
        config.credentials = config.credentials.with_helpers(Environment::of_process(), &helpers);
    }
    config.insecure_all |= given.switch("insecure-pull") || given.switch("skip-tls-verify-pull");
    if given.switch("insecure") || given.switch("skip-tls-verify") {
        config.insecure_tls.extend(pushed.iter().cloned());
    }
    config.insecure_tls.extend(given.list("insecure-registry"));
    config.insecure_tls.extend(given.list("skip-tls-verify-registry"));
    let pair = |flag: &str, text: &str| match crate::options::key_value(text) {
        Some((host, value)) => Ok((host.to_owned(), value.to_owned())),
        None => Err(usage(format!("--{flag}: invalid argument value. expect key=value, got {text}"))),
    };
    for text in given.list("registry-certificate") {
        let (host, path) = pair("registry-certificate", &text)?;
        config.host_ca.push(HostCa { host, path: PathBuf::from(path) });
    }
    for text in given.list("registry-client-cert") {
        let (host, files) = pair("registry-client-cert", &text)?;
        let Some((cert, key)) = files.split_once(',') else {
            return Err(usage(format!("--registry-client-cert {text}: expected HOST=CERT,KEY")));
        };
        config.client_certs.push(ClientCert { host, cert: PathBuf::from(cert), key: PathBuf::from(key) });
    }
    let maps = given.list("registry-map").into_iter().chain(env("KANIKO_REGISTRY_MAP"));
    for text in maps.flat_map(|m| m.split(';').map(str::to_owned).collect::<Vec<_>>()).filter(|m| !m.is_empty()) {
        let (registry, endpoint) = pair("registry-map", &text)?;
        let registry = if registry == "index.docker.io" { "docker.io".to_owned() } else { registry };
        config.mirrors.push(Mirror { registry, endpoint });
    }
    for endpoint in given.list("registry-mirror").into_iter().chain(env("KANIKO_REGISTRY_MIRROR")) {
        config.mirrors.push(Mirror { registry: "docker.io".to_owned(), endpoint });
    }
    config.mirrors_only |= given.switch("skip-default-registry-fallback");
    for flag in ["push-retry", "image-download-retry"] {
        let wanted = u32::try_from(given.number(flag)).map_err(|_| usage(format!("--{flag}: a number from 0")))?;
        config.retries = config.retries.max(LEAST_RETRIES).max(wanted);
    }
    if let Some(client) = env("UPSTREAM_CLIENT_TYPE").filter(|c| !c.is_empty() && c.is_ascii()) {
        config.user_agent = format!("{},{client}", config.user_agent);
    }
    Ok(config)
}

/// Variables of kaniko that mean nothing here.
fn env_warnings(env: Env<'_>) -> Vec<String> {
    let unused = [
        ("SNAPSHOT_TIMEOUT_DURATION", "there are no snapshots that could take long"),
        ("KANIKO_TELEMETRY_ENDPOINT", "nothing is sent anywhere"),
        ("KANIKO_PRE_CLEANUP", "nothing of this container's files is deleted"),
        ("KANIKO_CLEANUP", "nothing of this container's files is deleted"),
        ("KANIKO_PRESERVE_CONTEXT", "nothing of this container's files is deleted"),
        ("KANIKO_PRINT_PLAN", "--dryrun prints the plan"),
        ("KANIKO_IGNORE_ASSERTIONS", "there are none of kaniko's assertions"),
        ("BENCHMARK_FILE", "--log-format=json tells how long each step took"),
    ];
    let set = unused.iter().filter(|(name, _)| env(name).is_some_and(|v| !v.is_empty() && v != "false"));
    set.map(|(name, why)| format!("{name} has no effect: {why}")).collect()
}
