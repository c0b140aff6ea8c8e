//! `kiln executor`, which is also what this program is when it is called `executor`: kaniko's command line in front of
//! `kiln build`, for Jobs and pipelines that were written for kaniko.
//!
//! [`flags`] kaniko's flags as a table     [`options`] what they ask for, in the words of `kiln build`
//! [`log`] what happens, as kaniko tells it     [`files`] digests in files     [`warmer`] bases fetched beforehand

pub mod flags;

mod files;
mod log;
mod options;
mod subcommands;
pub mod warmer;

use std::path::{Path, PathBuf};

use clap::{ArgMatches, Command, FromArgMatches};
use kiln_engine::EngineError;
use kiln_engine::output::{Artifact, Dest, Output};
use kiln_engine::remote::Place;
use kiln_oci::Reference;
use kiln_registry::Config;

use super::build::{self, Build};
use crate::cli::Global;
use crate::error::CliError;
use crate::progress::Progress;
use flags::Given;
use log::{Format, Level, Log};
use options::Wanted;

/// The name of an archive's image that has none, as kaniko has it.
const UNNAMED: &str = "docker.io/unset-repo/unset-image-name";
/// Where kaniko's images have the registries' logins.
const KANIKO_LOGINS: &str = "/kaniko/.docker/config.json";
/// Messages of registries where a tag may not move: Artifact Registry's and ECR's.
const IMMUTABLE: [&str; 2] =
    ["The repository has enabled tag immutability", "cannot be overwritten because the tag is immutable"];

const EXAMPLES: &str = "\
Examples:
  kiln executor --context=dir:///workspace --destination=registry.example/app:1
  kiln executor --context=git://github.com/org/app.git#refs/heads/main --destination=registry.example/app:1
  kiln executor --context=tar://stdin --destination=registry.example/app:1 < context.tar.gz
  kiln executor --no-push --tar-path=app.tar --destination=app:1

It takes what kaniko's executor takes. A switch has its value after `=`: --cache=true.
`kiln build` is the other way to build, with docker's options.";

/// The command line.
#[derive(Debug)]
pub struct Args {
    given: Given,
    verb: Option<subcommands::Verb>,
}

impl clap::Args for Args {
    fn augment_args(command: Command) -> Command {
        let command = flags::add(command, &flags::GROUPS).after_help(EXAMPLES);
        subcommands::add(command).subcommand_required(false).arg_required_else_help(false)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Args::augment_args(command)
    }
}

impl FromArgMatches for Args {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Args, clap::Error> {
        Ok(Args { given: Given::new(matches), verb: subcommands::given(matches)? })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Args::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Runs the verb. A failure is told here, in the log's format, and ends with kaniko's exit code: the command's of a
/// `RUN`, else 1.
pub fn run(args: &Args, global: &mut Global) -> Result<(), CliError> {
    let log = logger(&args.given);
    let result = match &args.verb {
        Some(verb) => verb.run(global, &log),
        None => build(&args.given, global, &log),
    };
    result.map_err(|e| told(&e, &log, &args.given))
}

fn logger(given: &Given) -> Log {
    let level = Level::of(given.text("verbosity"));
    Log::new(level, Format::of(given.text("log-format")), given.switch("log-timestamp"))
}

fn told(error: &CliError, log: &Log, given: &Given) -> CliError {
    // What hints at an option of the other verbs is said with this one's.
    let text = |color| error.render(color).replace("--plain-http HOST", "--insecure-registry=HOST");
    match Format::of(given.text("log-format")) {
        Format::Json => log.say(Level::Error, &text(false)),
        Format::Color | Format::Text => eprint!("{}", text(crate::error::in_color())),
    }
    CliError::Told { code: code(error) }
}

/// kaniko's exit code: of a command that failed its own, else 1; that Kiln was stopped or has a bug stays told apart.
fn code(error: &CliError) -> u8 {
    let own = error.is_failed_command() || matches!(error.code(), 70 | 130);
    if own { error.code() } else { 1 }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn build(given: &Given, global: &mut Global, log: &Log) -> Result<(), CliError> {
    let mut wanted = options::wanted(given, build::Args::defaults()?, &variable)?;
    if let (None, Some(dir)) = (&global.store, &wanted.dir) {
        global.store = Some(dir.join("store"));
    }
    let standing = build::take_standing(&wanted.build, global)?;
    let progress = Progress::told_by(Box::new(log.clone()));
    wanted.warnings.extend(feature_flags(std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned())));
    for text in &wanted.warnings {
        log.say(Level::Warn, text);
    }
    if given.has("cache-dir") && !wanted.cache_dir.is_dir() {
        let text = format!(
            "--cache-dir {}: there is no such directory, so bases come from registries",
            wanted.cache_dir.display()
        );
        log.say(Level::Warn, &text);
    }
    let config = registries(given, &wanted)?;
    let mut build = Build::prepare(&wanted.build, global, config, progress.events(), standing)?;
    build.session.images.look_in(&wanted.cache_dir);
    build.report_mistakes()?;
    if wanted.dry_run {
        let plan = build.plan(false)?;
        progress.finish();
        return crate::named::print(&plan);
    }
    if wanted.check_push {
        check_push(&wanted.destinations, &build)?;
    }
    if let Some(cache) = &wanted.cache {
        build.share(cache.config())?;
    }
    build.session.settings.single_layer = wanted.single_layer;
    // Layers of steps go nowhere where there is one for all of them.
    build.push_ahead(if wanted.no_push || wanted.single_layer { &[] } else { &wanted.destinations });
    build.with_trust(|build| {
        let mut artifact = build.make(None)?.artifact;
        // Layers of other targets go nowhere.
        let ahead = build.session.ahead.take();
        for target in &wanted.also {
            build.make(Some(target))?;
        }
        build.session.ahead = ahead;
        if wanted.docker_format {
            artifact = artifact.docker(&build.session)?;
        }
        deliver(&wanted, build, &artifact, log)
    })?;
    progress.finish();
    Ok(())
}

/// Variables that choose between ways of kaniko to do something.
fn feature_flags(names: impl Iterator<Item = String>) -> Option<String> {
    let mut set: Vec<String> = names.filter(|name| name.starts_with("FF_KANIKO_")).collect();
    set.sort();
    (!set.is_empty()).then(|| format!("{} have no effect: they choose between ways of kaniko's own", set.join(", ")))
}

fn registries(given: &Given, wanted: &Wanted) -> Result<Config, CliError> {
    let mut config = Config::from_env();
    // kaniko's images set DOCKER_CONFIG; where another image is used, the file is looked for where Jobs put it.
    if variable("DOCKER_CONFIG").is_none() && Path::new(KANIKO_LOGINS).exists() {
        config.credentials = config.credentials.with_file(KANIKO_LOGINS);
    }
    let cache = wanted.cache.iter().filter_map(|cache| match &cache.place {
        Place::Repository(repository) => Some(repository),
        Place::Layout(_) | Place::Bucket(_) | Place::Image(_) => None,
    });
    let names = wanted.destinations.iter().chain(cache);
    let pushed: Vec<String> = names.map(|name| name.registry.clone()).collect();
    options::registries(given, config, &pushed, &variable)
}

/// Finds out that a push would be refused before the time for the build is spent.
fn check_push(destinations: &[Reference], build: &Build) -> Result<(), CliError> {
    let mut seen: Vec<String> = Vec::new();
    for name in destinations {
        if !seen.contains(&name.name()) {
            build.session.images.client().check_push(name).map_err(|e| {
                let error = EngineError::from(e);
                let text = kiln_engine::rootfs::chain_text(&error);
                let hint = crate::error::hint(&error);
                let error = CliError::environment(format!("checking push permission for {name}: {text}"));
                error.with_hint(hint.unwrap_or_else(|| "--skip-push-permission-check skips this check".to_owned()))
            })?;
            seen.push(name.name());
        }
    }
    Ok(())
}

/// Writes files, archives and layouts, and pushes: in kaniko's order, in which files come before the push.
fn deliver(wanted: &Wanted, build: &Build, artifact: &Artifact, log: &Log) -> Result<(), CliError> {
    let client = build.session.images.client();
    let digest = &artifact.root.digest;
    files::write(&wanted.files, &wanted.destinations, digest, client)?;
    if let Some(dest) = &wanted.layout {
        fresh(dest)?;
        build.publish(&Output::OciLayout { names: Vec::new(), dest: dest.clone() }, artifact)?;
    }
    if let Some(path) = &wanted.tar {
        let mut names = wanted.destinations.clone();
        if names.is_empty() {
            names.extend(UNNAMED.parse::<Reference>().ok());
        }
        build.publish(&Output::DockerArchive { names, dest: Dest::Path(path.clone()) }, artifact)?;
    }
    if wanted.no_push {
        log.say(Level::Info, "Skipping push to container registry due to --no-push flag");
        return Ok(());
    }
    for name in &wanted.destinations {
        log.say(Level::Info, &format!("Pushing image to {name}"));
        match build.publish(&Output::Registry { names: vec![name.clone()], by_digest: false }, artifact) {
            Err(e) if wanted.ignore_immutable && is_immutable(&e) => {
                log.say(Level::Info, &format!("Immutable tag error ignored for {}@{digest}", name.name()));
            }
            Err(e) => return Err(e),
            Ok(()) => {
                log.say(Level::Info, &format!("Pushed {}@{digest}", name.name()));
                log.say(Level::Info, &format!("{name}: digest: {digest} size: {}", artifact.root.size));
            }
        }
    }
    files::write_builder_output(&wanted.files, &wanted.destinations, digest)
}

/// A layout that kaniko writes holds this image and no other: what an index there lists is forgotten.
fn fresh(layout: &Path) -> Result<(), CliError> {
    let index: PathBuf = layout.join("index.json");
    match std::fs::remove_file(&index) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(EngineError::file("replace", &index)(e).into()),
        _ => Ok(()),
    }
}

fn is_immutable(error: &CliError) -> bool {
    let CliError::Engine(error) = error else { return false };
    let EngineError::Registry(error) = &**error else { return false };
    error.answer().is_some_and(|answer| IMMUTABLE.iter().any(|text| answer.message.contains(text)))
}

#[cfg(test)]
mod tests;
