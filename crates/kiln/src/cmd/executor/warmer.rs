//! `kiln warmer`: bases are fetched into a directory, from which `kiln executor --cache-dir` takes them.
//!
//! The directory is an OCI layout, each image under its whole name. A build asks the registry what a name means, as always,
//! and takes the blobs from here: so a directory that is old costs time and nothing else. kaniko's own warmer wrote tars
//! named by digests; those are not read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{ArgMatches, Command, FromArgMatches};
use kiln_engine::layout;
use kiln_engine::transfer::{Origin, Platforms};
use kiln_oci::{Descriptor, Platform, Reference};
use kiln_plan::Outcome;
use kiln_plan::facts::{Facts, ImageName, ImageQuery, Question};
use kiln_plan::options::Options;
use kiln_registry::Config;
use kiln_spec::dockerfile;
use kiln_spec::source::Source;
use kiln_store::Form;

use super::flags::{self, Fate, Flag, Given, Group, Kind};
use super::options;
use crate::cli::Global;
use crate::error::CliError;
use crate::progress::Progress;
use crate::surroundings;

const EXAMPLES: &str = "\
Examples:
  kiln warmer --cache-dir=/cache --image=debian:12 --image=golang:1.25
  kiln warmer --cache-dir=/cache --dockerfile=Dockerfile
  kiln executor --cache-dir=/cache …            builds from what is there";

const fn flag(short: Option<char>, name: &'static str, kind: Kind, help: &'static str) -> Flag {
    Flag { name, short, kind, fate: Fate::Honoured, help }
}

const OWN: &[Flag] = &[
    flag(Some('i'), "image", Kind::List, "Image to fetch"),
    flag(Some('c'), "cache-dir", Kind::Text("/cache"), "The directory"),
    flag(Some('f'), "force", Kind::Switch(false), "Fetch what is there again"),
    Flag {
        name: "cache-ttl",
        short: None,
        kind: Kind::Text("336h"),
        fate: Fate::NoEffect("registries are asked each time, and only what changed is fetched"),
        help: "How old what is there may be",
    },
    flag(None, "customPlatform", Kind::Text(""), "Platform to fetch"),
    flag(None, "custom-platform", Kind::Text(""), "Platform to fetch"),
    flag(Some('d'), "dockerfile", Kind::Text(""), "Fetch the bases that this Dockerfile names"),
    flag(None, "build-arg", Kind::List, "Value for an ARG of the Dockerfile"),
];

/// The warmer's flags: its own, those about registries, and those about the log.
pub const GROUPS: [Group; 3] = [("Warmer", OWN), flags::GROUPS[3], flags::GROUPS[5]];

/// The command line.
#[derive(Debug)]
pub struct Args {
    given: Given,
}

impl clap::Args for Args {
    fn augment_args(command: Command) -> Command {
        flags::add(command, &GROUPS).after_help(EXAMPLES)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Args::augment_args(command)
    }
}

impl FromArgMatches for Args {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Args, clap::Error> {
        Ok(Args { given: Given::new(matches) })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Args::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    let log = super::logger(&args.given);
    fetch_all(&args.given, global, &log).map_err(|e| super::told(&e, &log, &args.given))
}

fn fetch_all(given: &Given, global: &Global, log: &super::log::Log) -> Result<(), CliError> {
    for text in given.warnings(&GROUPS).into_iter().chain(options::unknown_helpers(given)) {
        log.say(super::log::Level::Warn, &text);
    }
    let platform = match given.some("custom-platform").or_else(|| given.some("customPlatform")) {
        Some(text) => text.parse().map_err(|e: kiln_oci::platform::PlatformError| CliError::usage(e.to_string()))?,
        None => Platform::host(),
    };
    let mut images: Vec<Reference> =
        given.list("image").iter().map(|text| crate::named::reference(text)).collect::<Result<_, _>>()?;
    if let Some(path) = given.some("dockerfile") {
        images.extend(bases_of(Path::new(&path), given, &platform)?);
    }
    if images.is_empty() {
        return Err(CliError::usage("you must select at least one image to cache or a dockerfilepath to parse"));
    }
    let dir = PathBuf::from(given.text("cache-dir"));
    let kept = if given.switch("force") { BTreeMap::new() } else { kept(&dir)? };
    let progress = Progress::told_by(Box::new(log.clone()));
    let config = options::registries(given, Config::from_env(), &[], &super::variable)?;
    let around =
        surroundings::open_with(global, config, kiln_engine::images::Pull::Never, progress.events(), Form::Real)?;
    let mover = crate::named::mover(&around);
    for name in &images {
        let root = around.images.client().resolve(name)?;
        let origin = Origin::Registry(name.clone());
        let selection = mover.select(&origin, &name.familiar(), root, &Platforms::One(platform.clone()))?;
        let known = kept.get(&name.to_string()).is_some_and(|d| d.digest == selection.root.digest);
        if !known {
            mover.layout(&selection, Some(&name.to_string()), &dir)?;
        }
        let what = if known { "Image already in cache" } else { "Cached" };
        log.say(super::log::Level::Info, &format!("{what}: {name}@{}", selection.root.digest));
    }
    progress.finish();
    Ok(())
}

/// The images that the stages of a Dockerfile start from.
fn bases_of(path: &Path, given: &Given, platform: &Platform) -> Result<Vec<Reference>, CliError> {
    let bytes = std::fs::read(path).map_err(|e| CliError::input(format!("cannot read {}: {e}", path.display())))?;
    let source = Source { name: path.display().to_string(), text: String::from_utf8_lossy(&bytes).into_owned() };
    let (file, found) = dockerfile::parse(&source);
    let in_file = |found| CliError::InFile {
        source: Box::new(source.clone()),
        error: Box::new(kiln_engine::EngineError::Dockerfile(found)),
    };
    let errors: Vec<_> = found.into_iter().filter(kiln_spec::diag::Diagnostic::is_error).collect();
    if !errors.is_empty() {
        return Err(in_file(errors));
    }
    let pair = |text: &String| {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        (name.to_owned(), value.to_owned())
    };
    let options =
        Options { build_args: given.list("build-arg").iter().map(pair).collect(), ..Options::new(platform.clone()) };
    // What the planner must know first are the images it starts from.
    let mut names = Vec::new();
    if let Outcome::Questions(questions) = kiln_plan::build(&file, &options, &Facts::default()).map_err(in_file)? {
        for question in &questions {
            if let Question::Image(ImageQuery { name: ImageName::Reference(text), .. }) = question {
                names.push(crate::named::reference(text)?);
            }
        }
    }
    Ok(names)
}

/// The images of a layout by name; nothing if there is no layout.
fn kept(dir: &Path) -> Result<BTreeMap<String, Descriptor>, CliError> {
    if !dir.join("index.json").exists() {
        return Ok(BTreeMap::new());
    }
    let index = layout::index(dir)?;
    let named = |d: Descriptor| Some((layout::tag(&d)?.to_owned(), d));
    Ok(index.manifests.into_iter().filter_map(named).collect())
}
