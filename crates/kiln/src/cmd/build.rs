//! `kiln build`: a Dockerfile goes in, an image comes out.

pub mod attest;
mod cache;
pub mod inputs;
mod kubernetes;
mod look;
pub mod outputs;
mod settings;
mod why;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use kiln_attest::PrivateKey;
use kiln_engine::attest as attested;
use kiln_engine::event::Events;
use kiln_engine::images::Pull;
use kiln_engine::isolation;
use kiln_engine::lock::Lock;
use kiln_engine::output::ahead::Ahead;
use kiln_engine::output::{self, Artifact, Output};
use kiln_engine::remote::{self, Remote};
use kiln_engine::{Session, build, sign, world};
use kiln_oci::{Platform, Reference};
use kiln_plan::Outcome;
use kiln_plan::facts::Facts;
use kiln_plan::git::GitUrl;
use kiln_plan::options::Options;
use kiln_registry::Config;
use kiln_sandbox::{Confinement, Standing};
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
use settings::{Leveled, options, platforms, references, rung, session, source_date_epoch};

const EXAMPLES: &str = "\
Examples:
  kiln build -t app .                                  the Dockerfile here, kept as app:latest
  kiln build -f deploy/Dockerfile --target test .      another file, up to one stage
  kiln build -t registry.example/app:1 --push .        build and push; nothing is kept under a name
  kiln build -o type=local,dest=out .                  the files of the result in a directory
  kiln build -o type=oci,dest=app.tar -t app .         an OCI archive
  kiln build -o type=disk,format=qcow2,size=8G,boot=bios+uefi,dest=node.qcow2 .
                                                       a disk that boots, of an operating system's Dockerfile
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
    /// Where the result goes (repeat): type=image|registry|oci|docker|local|tar|disk[,dest=PATH][,name=NAME], or a directory;
    /// disks also take format=, size=, boot= and others (docs/disks.md)
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
    /// Level of the compression: 0 to 9 for gzip (3 unless given), 1 to 22 for zstd (3)
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
    /// The Dockerfile itself, where it is no file.
    #[arg(skip)]
    pub dockerfile: Option<Source>,
}

impl Args {
    /// What a command line without options means.
    pub fn defaults() -> Result<Args, CliError> {
        let command = <Args as clap::Args>::augment_args(clap::Command::new("build"));
        let parsed = command.try_get_matches_from(["build"]);
        let args = parsed.and_then(|matches| <Args as clap::FromArgMatches>::from_arg_matches(&matches));
        args.map_err(|e| CliError::usage(e.to_string()))
    }
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
    /// What each of them was planned from.
    pub planned: Vec<(Options, Facts)>,
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
        Build::prepare_as(args, global, config, events, standing, &mut dockerfile::parse)
    }

    /// [`Build::prepare`] for a file of which `parse` makes a Dockerfile.
    pub fn prepare_as(
        args: &Args,
        global: &Global,
        config: Config,
        events: Arc<dyn Events>,
        standing: Standing,
        parse: &mut dyn FnMut(&Source) -> (ast::Dockerfile, Vec<Diagnostic>),
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
        let (file, found) = parse(&inputs.dockerfile);
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

    /// Values of the file's arguments, as the command line gives them.
    pub fn arguments(&self) -> &std::collections::BTreeMap<String, String> {
        &self.options.build_args
    }

    /// The file that is built, for errors with places in it.
    pub fn source(&self) -> &Source {
        &self.inputs.dockerfile
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
        let (mut built, mut attached, mut planned) = (Vec::new(), Vec::new(), Vec::new());
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
            attached.extend(self.attest(&self.attestations, &ran, (&options, &facts))?);
            built.push(ran);
            planned.push((options, facts));
            self.inputs.remember(&self.session.store)?;
        }
        let images = built.iter().map(|b| b.image.clone()).collect();
        let artifact =
            Artifact::new(images, attached, &self.annotations.index, self.platforms.len() > 1, &self.session)?;
        Ok(Made { artifact, built, planned })
    }

    /// Says of an image what is wanted.
    pub fn attest(
        &self,
        wanted: &attested::Wanted,
        built: &build::Built,
        from: (&Options, &Facts),
    ) -> kiln_engine::Result<Option<attested::Attached>> {
        let source = self.inputs.source(self.started);
        attested::attach(wanted, built, from, &source, &self.names, &self.session)
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
