//! `executor login`, `executor push` and `executor version`, for scripts that call them.

use std::path::PathBuf;

use clap::{ArgMatches, Args as _, Command, FromArgMatches};
use kiln_engine::images::Pull;
use kiln_oci::Reference;
use kiln_registry::Config;
use kiln_store::Form;

use super::flags::{self, Given, Group};
use super::log::{Level, Log};
use crate::cli::Global;
use crate::cmd::{copy, login, version};
use crate::error::CliError;
use crate::progress::Progress;
use crate::surroundings;

/// One of them.
#[derive(Debug)]
pub enum Verb {
    /// A credential is kept.
    Login(login::Args),
    /// An image in a file or layout is pushed.
    Push(Push),
    /// What this is.
    Version(version::Args),
}

/// `executor push`.
#[derive(Debug)]
pub struct Push {
    given: Given,
    path: PathBuf,
}

/// The flags of `executor push`: the registries', and where to.
fn push_groups() -> [Group; 2] {
    let destination = flags::GROUPS[1].1.split_at(1).0;
    [("Output", destination), flags::GROUPS[3]]
}

/// Adds them to the executor's command.
pub fn add(command: Command) -> Command {
    let push = Command::new("push").about("Push an image that was built before: an archive or an OCI layout");
    let path = clap::Arg::new("path").value_name("PATH").required(true).help("The archive, or the layout's directory");
    let skip = clap::Arg::new("skip-push-permission-check")
        .long("skip-push-permission-check")
        .action(clap::ArgAction::SetTrue)
        .help("Accepted: nothing is checked that the push itself does not find");
    command
        .subcommand(login::Args::augment_args(Command::new("login").about("Keep the login to a registry")))
        .subcommand(flags::add(push, &push_groups()).arg(path).arg(skip))
        .subcommand(version::Args::augment_args(Command::new("version").about("Show the version")))
}

/// The one that was given.
pub fn given(matches: &ArgMatches) -> Result<Option<Verb>, clap::Error> {
    Ok(match matches.subcommand() {
        Some(("login", m)) => Some(Verb::Login(login::Args::from_arg_matches(m)?)),
        Some(("push", m)) => {
            let path = m.get_one::<String>("path").map(PathBuf::from).unwrap_or_default();
            Some(Verb::Push(Push { given: Given::new(m), path }))
        }
        Some(("version", m)) => Some(Verb::Version(version::Args::from_arg_matches(m)?)),
        _ => None,
    })
}

impl Verb {
    /// Does it.
    pub fn run(&self, global: &Global, log: &Log) -> Result<(), CliError> {
        match self {
            Verb::Login(args) => login::run(args),
            Verb::Push(push) => push.run(global, log),
            Verb::Version(args) => version::run(args),
        }
    }
}

impl Push {
    fn run(&self, global: &Global, log: &Log) -> Result<(), CliError> {
        for text in super::options::unknown_helpers(&self.given) {
            log.say(Level::Warn, &text);
        }
        let destinations = self.given.list("destination");
        if destinations.is_empty() {
            return Err(CliError::usage("at least one --destination is required"));
        }
        if !self.path.exists() {
            return Err(CliError::input(format!("path {} not readable: no such file", self.path.display())));
        }
        let names: Vec<Reference> =
            destinations.iter().map(|d| crate::named::reference(d)).collect::<Result<_, _>>()?;
        let hosts: Vec<String> = names.iter().map(|name| name.registry.clone()).collect();
        let config = super::options::registries(&self.given, Config::from_env(), &hosts, &super::variable)?;
        let progress = Progress::told_by(Box::new(log.clone()));
        let around = surroundings::open_with(global, config, Pull::Never, progress.events(), Form::Real)?;
        for to in &names {
            log.say(Level::Info, &format!("Pushing image to {to}"));
            let digest = copy::push_file(&self.path, to, &around)?;
            log.say(Level::Info, &format!("Pushed {}@{digest}", to.name()));
        }
        progress.finish();
        Ok(())
    }
}
