//! `kiln build`: a Dockerfile goes in, an image comes out.

pub mod attest;
mod cache;
pub mod inputs;
mod kubernetes;
mod look;
pub mod outputs;
mod why;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use kiln_attest::PrivateKey;
use kiln_engine::attest as attested;
use kiln_engine::event::Events;
use kiln_engine::images::Pull;
use kiln_engine::isolation::{self, Isolation};
use kiln_engine::lock::Lock;
use kiln_engine::output::ahead::Ahead;
use kiln_engine::output::{self, Artifact, Output};
use kiln_engine::remote::{self, Remote};
use kiln_engine::{Session, Settings, build, sign, world};
use kiln_oci::compress::Compression;
use kiln_oci::manifest::Annotations;
use kiln_oci::{Platform, Reference};
use kiln_plan::Outcome;
use kiln_plan::git::GitUrl;
use kiln_plan::options::{NoCache, Options, Ulimit};
use kiln_plan::step::Network;
use kiln_registry::Config;
use kiln_sandbox::{Confinement, Init, Limits, Rung, Standing};
use kiln_spec::diag::Diagnostic;
use kiln_spec::source::Source;
use kiln_spec::{ast, dockerfile};

use crate::cli::Global;
use crate::error::CliError;
use crate::keys;
use crate::options::RegistryOptions;
use crate::place::Around;
use crate::progress::{Progress, Style};
use crate::surroundings;
use inputs::Inputs;
use look::Call;

/// Steps often wait (for a network, for a compiler's single thread), so that fewer than this would leave cores idle.
const MIN_JOBS: usize = 8;

const EXAMPLES: &str = "\
Examples:
  kiln build -t app .                                  the Dockerfile here, kept as app:latest
  kiln build -f deploy/Dockerfile --target test .      another file, up to one stage
  kiln build -t registry.example/app:1 --push .        build and push; nothing is kept under a name
  kiln build -o type=local,dest=out .                  the files of the result in a directory
  kiln build -o type=oci,dest=app.tar -t app .         an OCI archive
  kiln build --secret id=npm,src=$HOME/.npmrc .        for RUN --mount=type=secret,id=npm
  kiln build --build-context lib=../lib .              for COPY --from=lib
  kiln build s3://builds/app.tar.gz                    a context from an object store
  kiln build - < Dockerfile                            a Dockerfile without a context
  tar c . | kiln build -t app -                        a context from standard input
  kiln build --cache-from reg.example/app/cache \\
    --cache-to type=registry,ref=reg.example/app/cache,mode=max .   layers shared with other machines
  kiln build --lock .                                  write Dockerfile.lock: the digests of bases and of what ADD names
  kiln build --locked .                                build from exactly these
  kiln build -t reg.example/app --push --provenance --sbom \\
    --sign cosign.key .                                say how it was made and what is in it, and sign that
  kiln build --plan .                                  what would be done, and nothing else
  kiln build --explain .                               what would run, and which input changed since the last run
  kiln build --check .                                 what is probably not meant; --check=json for programs
  kiln build --call=outline --target test .            which arguments, secrets and caches a target takes
  kiln build --call=targets,format=json .              the stages that can be built, for programs
  kiln build --on kubernetes -n builds --kiln-image registry.example/kiln \
    --platform linux/amd64,linux/arm64 --push -t registry.example/app .   as Jobs of a cluster";

/// Build an image from a Dockerfile.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The build context: a directory, an archive, a Git repository, a URL of an archive (http, s3, gs, Azure), or - for
    /// standard input
    #[arg(value_name = "CONTEXT", default_value = ".")]
    pub context: String,
    /// The Dockerfile [default: CONTEXT/Dockerfile]; - reads it from standard input
    #[arg(short = 'f', long, value_name = "FILE")]
    pub file: Option<String>,
    /// Name for the image (repeat)
    #[arg(short = 't', long = "tag", value_name = "NAME[:TAG]")]
    pub tags: Vec<String>,
    /// Stage to build
    #[arg(long, value_name = "STAGE")]
    pub target: Option<String>,
    /// Value for an ARG; without a value, from the environment (repeat)
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]")]
    pub build_args: Vec<String>,
    /// Another tree for COPY --from, FROM or RUN --mount: a directory, docker-image://, oci-layout:// or target: (repeat)
    #[arg(long = "build-context", value_name = "NAME=WHAT")]
    pub build_contexts: Vec<String>,
    /// Platform to build for; several make an image index
    #[arg(long, value_name = "OS/ARCH", value_delimiter = ',')]
    pub platform: Vec<String>,
    /// Label for the image (repeat)
    #[arg(long = "label", value_name = "NAME=VALUE")]
    pub labels: Vec<String>,
    /// Annotation for the manifest, or with `index:` for the index (repeat)
    #[arg(long = "annotation", value_name = "[LEVEL:]NAME=VALUE")]
    pub annotations: Vec<String>,
    /// Secret for RUN --mount=type=secret (repeat): id=ID[,src=FILE|env=VAR]
    #[arg(long = "secret", value_name = "SPEC")]
    pub secrets: Vec<String>,
    /// SSH agent for RUN --mount=type=ssh (repeat): default, or ID=SOCKET
    #[arg(long = "ssh", value_name = "ID[=SOCKET]")]
    pub ssh: Vec<String>,
    /// Where the result goes (repeat): type=image|registry|oci|docker|local|tar[,dest=PATH][,name=NAME], or a directory
    #[arg(short = 'o', long = "output", value_name = "SPEC")]
    pub outputs: Vec<String>,
    /// Short for --output=type=registry
    #[arg(long)]
    pub push: bool,
    /// Short for --output=type=image, which is the default
    #[arg(long)]
    pub load: bool,
    /// Write the digest of the image's configuration (of the index, for several platforms) to FILE
    #[arg(long, value_name = "FILE")]
    pub iidfile: Option<PathBuf>,
    /// Write what is known of the result to FILE, as JSON
    #[arg(long, value_name = "FILE")]
    pub metadata_file: Option<PathBuf>,
    /// Take layers of steps from elsewhere, too (repeat): a repository's or image's NAME, s3://BUCKET/PREFIX, gs://…, or
    /// type=registry|local|s3|azblob|gs,KEY=VALUE,…
    #[arg(long, value_name = "SPEC")]
    pub cache_from: Vec<String>,
    /// Keep layers of steps elsewhere: as --cache-from, with type=local,dest=DIR and [,mode=min|max]: min is the result's,
    /// max is all; type=inline, alone or beside another one, makes the image its own cache
    #[arg(long, value_name = "SPEC")]
    pub cache_to: Vec<String>,
    /// Do not look steps up in the cache
    #[arg(long)]
    pub no_cache: bool,
    /// Do not look up the steps of these stages
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    pub no_cache_filter: Vec<String>,
    /// Write the digests of all bases, URLs and Git references to FILE [default: the Dockerfile's name with .lock]
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "", conflicts_with_all = ["locked", "plan", "explain", "check", "call"])]
    pub lock: Option<String>,
    /// Use exactly what FILE says, and refuse anything else
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub locked: Option<String>,
    /// Use only the sources that FILE allows, or puts in their place (BuildKit's format) [default:
    /// $EXPERIMENTAL_BUILDKIT_SOURCE_POLICY]
    #[arg(long, value_name = "FILE")]
    pub source_policy: Option<PathBuf>,
    /// Say how the image was made, beside it: mode=min|max, version=v1|v0.2, builder-id=URI
    #[arg(long, value_name = "SPEC", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub provenance: Option<String>,
    /// Say what is installed in the image, beside it: format=spdx or format=cyclonedx
    #[arg(long, value_name = "SPEC", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub sbom: Option<String>,
    /// Attestation (repeat): type=provenance or type=sbom, [,FIELD=VALUE]
    #[arg(long, value_name = "SPEC")]
    pub attest: Vec<String>,
    /// Sign what is pushed with this private key: a file, or env://NAME (password in COSIGN_PASSWORD)
    #[arg(long, value_name = "KEY")]
    pub sign: Option<String>,
    /// Ask the registry for bases even if the store has them
    #[arg(long)]
    pub pull: bool,
    /// Network of RUN: default, host or none
    #[arg(long, value_name = "MODE", default_value = "default")]
    pub network: String,
    /// Line for /etc/hosts of RUN (repeat): NAME:ADDRESS
    #[arg(long = "add-host", value_name = "NAME:ADDRESS")]
    pub add_hosts: Vec<String>,
    /// Size of /dev/shm in RUN
    #[arg(long, value_name = "BYTES")]
    pub shm_size: Option<String>,
    /// Resource limit of RUN (repeat): nofile=1024:2048
    #[arg(long = "ulimit", value_name = "NAME=SOFT[:HARD]")]
    pub ulimits: Vec<String>,
    /// Memory a RUN may use
    #[arg(short = 'm', long, value_name = "BYTES")]
    pub memory: Option<String>,
    /// Cores a RUN may use, as a decimal number
    #[arg(long, value_name = "N")]
    pub cpus: Option<f64>,
    /// Extra rights: security.insecure (for RUN --security=insecure), network.host
    #[arg(long, value_name = "RIGHT")]
    pub allow: Vec<String>,
    /// Steps that run at once [default: number of cores, at least 8]
    #[arg(long, value_name = "N")]
    pub jobs: Option<usize>,
    /// How RUN is isolated: auto, root, userns, userns1, chroot, emulated or none
    #[arg(long, value_name = "RUNG", default_value = "auto", env = "KILN_ISOLATION", hide_env_values = true)]
    pub isolation: String,
    /// Compression of new layers: gzip, zstd or none
    #[arg(long, value_name = "HOW", default_value = "gzip")]
    pub compression: String,
    /// Level of the compression
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub compression_level: Option<i32>,
    /// With SOURCE_DATE_EPOCH, whether files that RUN writes are dated no later than it
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_value_t = true,
        default_missing_value = "true",
        action = clap::ArgAction::Set
    )]
    pub rewrite_timestamp: bool,
    /// Check the Dockerfile and stop: findings with their places; exit code 1 if there are any. FORMAT is text or json
    #[arg(
        long,
        value_name = "FORMAT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "text",
        conflicts_with_all = ["call", "plan"]
    )]
    pub check: Option<String>,
    /// Answer a question instead of building: check, outline (what the target takes) or targets (what there is to build)
    #[arg(long, value_name = "METHOD[,format=json]", conflicts_with = "plan")]
    pub call: Option<String>,
    /// Say for each step whether it is in the cache, and which input changed since the last run, and stop. FORMAT is text
    /// or json
    #[arg(
        long,
        value_name = "FORMAT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "text",
        conflicts_with_all = ["check", "call", "plan"]
    )]
    pub explain: Option<String>,
    /// Print the plan and stop; with --json, all that its keys are made of
    #[arg(long)]
    pub plan: bool,
    /// With --plan, print JSON
    #[arg(long, requires = "plan")]
    pub json: bool,
    /// Print only the digest of the image
    #[arg(short, long)]
    pub quiet: bool,
    /// How registries are reached.
    #[command(flatten)]
    pub registry: RegistryOptions,
    /// Where the build runs.
    #[command(flatten)]
    pub cluster: kubernetes::Options,
    /// A Git repository that is the context, where `context` cannot say all of it.
    #[arg(skip)]
    pub git: Option<GitUrl>,
    /// The directory of the context to take as its root.
    #[arg(skip)]
    pub context_sub_path: Option<String>,
}

/// Runs the verb.
pub fn run(args: Args, global: &mut Global) -> Result<(), CliError> {
    if let Some(kubernetes::Place::Kubernetes) = args.cluster.on {
        return kubernetes::run(&args, global);
    }
    let call = Call::of(&args)?;
    let standing = take_standing(&args, global)?;
    let style = if args.quiet { Style::Quiet } else { global.progress };
    let progress = Progress::start(style, if call.is_some() { "Looking" } else { "Building" });
    let mut build = Build::prepare(&args, global, args.registry.config()?, progress.events(), standing)?;
    if let Some(call) = call {
        let subject = look::Subject { source: &build.inputs.dockerfile, file: &build.file, parsed: &build.found };
        let looked = look::answer(call, &subject, &build.for_platforms(), &build.session);
        progress.finish();
        return looked.tell();
    }
    build.report_mistakes()?;
    if let Some(format) = &args.explain {
        let text = explain(format, &build)?;
        progress.finish();
        return crate::named::print(&text);
    }
    if args.plan {
        let text = build.plan(args.json)?;
        progress.finish();
        return crate::named::print(&text);
    }
    let caches = cache::wanted(&args.cache_from, &args.cache_to, &args.build_args, &Around::here())?;
    build.session.settings.inline_cache = caches.inline;
    if let Some(config) = caches.config {
        build.share(config)?;
    }
    let started = std::time::Instant::now();
    let mut summary = None;
    build.with_trust(|build| {
        let made = build.make(None)?;
        for output in &build.wanted {
            build.publish(output, &made.artifact)?;
        }
        outputs::write_files(&args, &build.names, &outputs::Outcome::from(&made.artifact))?;
        build.write_lock()?;
        summary = Some(made);
        Ok(())
    })?;
    progress.finish();
    match summary {
        Some(made) if args.quiet => println!("{}", made.artifact.root.digest),
        Some(made) => {
            outputs::summary(&build.names, &build.wanted, &made.artifact, &made.built, started.elapsed());
        }
        None => {}
    }
    Ok(())
}

/// Brings this process where the commands of a build can have the rung it asks for; to be done before there are threads.
pub fn take_standing(args: &Args, global: &mut Global) -> Result<Standing, CliError> {
    surroundings::take_standing(global, rung(args)?)
}

/// A build before its first step: all it reads has been found, and the Dockerfile parsed.
pub struct Build {
    /// What the image is to be called.
    pub names: Vec<Reference>,
    /// Where the result is to go.
    pub wanted: Vec<Output>,
    /// What the build works with.
    pub session: Session,
    inputs: Inputs,
    file: ast::Dockerfile,
    found: Vec<Diagnostic>,
    options: Options,
    platforms: Vec<Platform>,
    annotations: Leveled,
    said: BTreeSet<String>,
    /// What was planned so far rests on.
    rests_on: Lock,
    /// What is to be said of the image.
    attestations: attested::Wanted,
    /// What the result is signed with.
    key: Option<PrivateKey>,
    /// When it began.
    started: i64,
}

/// What came of a build.
pub struct Made {
    /// The image, or the index over several.
    pub artifact: Artifact,
    /// How each platform's build went.
    pub built: Vec<build::Built>,
}

impl Build {
    /// Reads what the command line names. Mistakes in the Dockerfile are reported by the calls that follow.
    pub fn prepare(
        args: &Args,
        global: &Global,
        config: Config,
        events: Arc<dyn Events>,
        standing: Standing,
    ) -> Result<Build, CliError> {
        let platforms = platforms(args)?;
        let names = references(&args.tags)?;
        let wanted = outputs::parse(args, &names)?;
        let annotations = Leveled::parse(&args.annotations)?;
        let attestations = attest::wanted(args.provenance.as_deref(), args.sbom.as_deref(), &args.attest)?;
        let key = signing_key(args, &wanted)?;
        let pull = if args.pull { Pull::Always } else { Pull::Missing };
        let form = isolation::form(rung(args)?, &standing, &Confinement::here());
        let around = surroundings::open_with(global, config, pull, events, form)?;
        let inputs = Inputs::gather(args, &around)?;
        let (file, found) = dockerfile::parse(&inputs.dockerfile);
        let epoch = source_date_epoch(args)?;
        let mut session = session(args, &around, &inputs, epoch, standing)?;
        session.ahead = ahead(registry_names(&wanted), &session);
        let options = options(args, &inputs, epoch)?;
        let (said, rests_on) = Default::default();
        let started = session.settings.now;
        Ok(Build {
            names,
            wanted,
            session,
            inputs,
            file,
            found,
            options,
            platforms,
            annotations,
            said,
            rests_on,
            attestations,
            key,
            started,
        })
    }

    fn in_file(&self) -> impl Fn(kiln_engine::EngineError) -> CliError + use<> {
        let source = self.inputs.dockerfile.clone();
        move |error| CliError::InFile { source: Box::new(source.clone()), error: Box::new(error) }
    }

    fn for_platforms(&self) -> Vec<Options> {
        look::for_platforms(&self.options, &self.platforms)
    }

    /// Shows what the parser found; fails if it found mistakes.
    pub fn report_mistakes(&mut self) -> Result<(), CliError> {
        let events = self.session.events.clone();
        report(&self.found, &self.inputs.dockerfile, &mut self.said, &*events).map_err(self.in_file())
    }

    /// The plan of every platform, as text or JSON.
    pub fn plan(&self, json: bool) -> Result<String, CliError> {
        let mut text = String::new();
        for options in self.for_platforms() {
            let (plan, facts) = world::plan(&self.file, &options, &self.session).map_err(self.in_file())?;
            // Printed is what a second planning of the same facts gives: a plan is nothing but its inputs.
            debug_assert!(matches!(kiln_plan::build(&self.file, &options, &facts), Ok(Outcome::Plan(_))));
            text += &match json {
                true => serde_json::to_string_pretty(&kiln_plan::explain::json(&plan)).unwrap_or_default() + "\n",
                false => kiln_plan::explain::text(&plan),
            };
        }
        Ok(text)
    }

    /// Builds for every platform, the stage asked for or another one.
    pub fn make(&mut self, target: Option<&str>) -> Result<Made, CliError> {
        let in_file = self.in_file();
        let (mut built, mut attached) = (Vec::new(), Vec::new());
        for mut options in self.for_platforms() {
            options.target = target.map(str::to_owned).or(options.target);
            let (plan, facts) = world::plan(&self.file, &options, &self.session).map_err(&in_file)?;
            self.rests_on.add(&facts);
            let events = self.session.events.clone();
            report(&plan.warnings, &self.inputs.dockerfile, &mut self.said, &*events).map_err(&in_file)?;
            let ran = build::run(plan.clone(), &facts, &self.annotations.manifest, &self.session);
            let identity = self.inputs.identity(&options);
            // What the next run is compared with is not worth failing for.
            if let Err(e) = kiln_engine::why::remember(&plan, &facts, &identity, ran.is_ok(), &self.session) {
                let text = kiln_engine::rootfs::chain_text(&e);
                self.session.warn(&format!("--explain will not know of this run: {text}"));
            }
            let ran = ran.map_err(&in_file)?;
            let source = self.inputs.source(self.started);
            let from = (&options, &facts);
            attached.extend(attested::attach(&self.attestations, &ran, from, &source, &self.names, &self.session)?);
            built.push(ran);
            self.inputs.remember(&self.session.store)?;
        }
        let images = built.iter().map(|b| b.image.clone()).collect();
        let artifact =
            Artifact::new(images, attached, &self.annotations.index, self.platforms.len() > 1, &self.session)?;
        Ok(Made { artifact, built })
    }

    /// Lets layers go to these names as they are made.
    pub fn push_ahead(&mut self, targets: &[Reference]) {
        self.session.ahead = ahead(targets.to_vec(), &self.session);
    }

    /// Writes down what the build was made from, if that is asked for.
    fn write_lock(&self) -> Result<(), CliError> {
        let Some(path) = &self.inputs.lock_file else { return Ok(()) };
        let text = self.rests_on.text();
        let write = |out: &mut dyn std::io::Write| {
            out.write_all(text.as_bytes()).map_err(kiln_engine::EngineError::file("write", path))
        };
        Ok(kiln_engine::whole::write(path, "write", write)?)
    }

    /// Shares layers of steps with other machines.
    ///
    /// # Errors
    /// When what is configured about a place cannot be used.
    pub fn share(&mut self, config: remote::Config) -> Result<(), CliError> {
        let Session { store, images, events, cancel, .. } = &self.session;
        let remote = Remote::new(config, store.clone(), images.clone(), events.clone(), cancel.clone())?;
        self.session.remote = Some(remote);
        Ok(())
    }

    /// Builds and delivers, once more if what failed was a layer of the shared cache; waits for what is on its way there.
    pub fn with_trust(&mut self, mut work: impl FnMut(&mut Build) -> Result<(), CliError>) -> Result<(), CliError> {
        let mut result = work(self);
        if let (Err(CliError::Engine(e)), Some(remote)) = (&result, &self.session.remote)
            && remote.is_to_blame(e)
        {
            result = work(self);
        }
        if let Some(remote) = &self.session.remote {
            remote.finish();
        }
        result
    }

    /// Takes the result to one place.
    pub fn publish(&self, to: &Output, artifact: &Artifact) -> Result<(), CliError> {
        output::publish(to, artifact, &self.session)?;
        if let (Output::Registry { names, .. }, Some(key)) = (to, &self.key) {
            for name in names {
                sign::artifact(name, artifact, key, self.session.images.client())?;
            }
        }
        Ok(())
    }
}

/// The key that the result is signed with; a signature is kept beside the image in a registry.
fn signing_key(args: &Args, wanted: &[Output]) -> Result<Option<PrivateKey>, CliError> {
    let Some(place) = &args.sign else { return Ok(None) };
    if !wanted.iter().any(|output| matches!(output, Output::Registry { .. })) {
        let error = CliError::usage("--sign: signatures are kept in registries, and the result goes to none");
        return Err(error.with_hint("push it: --push -t registry.example/app:tag"));
    }
    keys::private("--sign", place).map(Some)
}

/// The names that the image will be pushed under.
fn registry_names(wanted: &[Output]) -> Vec<Reference> {
    let names = |output: &Output| match output {
        Output::Registry { names, .. } => names.clone(),
        _ => Vec::new(),
    };
    wanted.iter().flat_map(names).filter(|name| name.digest.is_none()).collect()
}

/// What takes layers to where the image will be pushed, if it will be.
fn ahead(targets: Vec<Reference>, session: &Session) -> Option<Ahead> {
    let (store, images, cancel) = (session.store.clone(), session.images.clone(), session.cancel.clone());
    (!targets.is_empty()).then(|| Ahead::new(targets, store, images, cancel))
}

/// Shows warnings, each once; fails with the errors.
fn report(
    found: &[Diagnostic],
    source: &Source,
    said: &mut BTreeSet<String>,
    events: &dyn Events,
) -> Result<(), kiln_engine::EngineError> {
    let errors: Vec<Diagnostic> = found.iter().filter(|d| d.is_error()).cloned().collect();
    if !errors.is_empty() {
        return Err(kiln_engine::EngineError::Dockerfile(errors));
    }
    for warning in found {
        let (line, _) = source.position(warning.span.start);
        let text = format!("{}: {} ({}:{line})", warning.code, warning.message, source.name);
        if said.insert(text.clone()) {
            events.event(&kiln_engine::event::Event::Warning(&text));
        }
    }
    Ok(())
}

fn platforms(args: &Args) -> Result<Vec<Platform>, CliError> {
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

fn references(texts: &[String]) -> Result<Vec<Reference>, CliError> {
    let parse = |t: &String| t.parse::<Reference>().map_err(|e| CliError::usage(format!("--tag {t}: {e}")));
    texts.iter().map(parse).collect()
}

/// Annotations by what they are put on.
struct Leveled {
    manifest: Annotations,
    index: Annotations,
}

impl Leveled {
    fn parse(texts: &[String]) -> Result<Leveled, CliError> {
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
fn source_date_epoch(args: &Args) -> Result<Option<i64>, CliError> {
    let given = args.build_args.iter().rev().find_map(|a| a.strip_prefix("SOURCE_DATE_EPOCH=").map(str::to_owned));
    let text = given.or_else(|| std::env::var("SOURCE_DATE_EPOCH").ok()).filter(|t| !t.is_empty());
    match text {
        None => Ok(None),
        Some(text) => match text.parse() {
            Ok(secs) => Ok(Some(secs)),
            Err(_) => Err(CliError::usage(format!("SOURCE_DATE_EPOCH is `{text}`: expected seconds since 1970"))),
        },
    }
}

fn options(args: &Args, inputs: &Inputs, epoch: Option<i64>) -> Result<Options, CliError> {
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
    let level = |default: i32, range: std::ops::RangeInclusive<i32>| match args.compression_level.unwrap_or(default) {
        -1 => Ok(default),
        n if range.contains(&n) => Ok(n),
        n => Err(CliError::usage(format!("--compression-level {n}: expected {} to {}", range.start(), range.end()))),
    };
    match &*args.compression {
        "gzip" => Ok(Compression::Gzip { level: u32::try_from(level(6, 0..=9)?).unwrap_or(6) }),
        "zstd" => Ok(Compression::Zstd { level: level(3, 1..=22)? }),
        "none" | "uncompressed" => Ok(Compression::None),
        other => Err(CliError::usage(format!("--compression {other}: expected gzip, zstd or none"))),
    }
}

/// The rung the user asked for; `None` is the strongest that works.
fn rung(args: &Args) -> Result<Option<Rung>, CliError> {
    match &*args.isolation {
        "auto" => Ok(None),
        name => name.parse().map(Some).map_err(|e: String| {
            CliError::usage(format!("--isolation: {e}"))
                .with_hint("auto takes the strongest that works: kiln doctor build")
        }),
    }
}

fn session(
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

/// What `--explain` prints.
fn explain(format: &str, build: &Build) -> Result<String, CliError> {
    let json = match format {
        "text" => false,
        "json" => true,
        other => {
            let error = CliError::usage(format!("--explain: there is no format `{other}`"));
            return Err(error.with_hint("there are text and json"));
        }
    };
    let mut out = String::new();
    for options in build.for_platforms() {
        let (plan, facts) = world::plan(&build.file, &options, &build.session).map_err(build.in_file())?;
        let identity = build.inputs.identity(&options);
        let explanation = kiln_engine::why::explain(&plan, &facts, &identity, &build.session)?;
        out += &match json {
            true => serde_json::to_string_pretty(&why::json(&plan, &explanation)).unwrap_or_default() + "\n",
            false => why::text(&plan, &explanation),
        };
    }
    Ok(out)
}
