//! `kiln doctor`: why the pod network is down; what works on this machine, and what is missing.
//!
//! [`network`] the pod network of this host, or of many     [`hosts`] which hosts, and how they are reached
//! [`path`] a packet's way     [`agents`] who sends     [`probe`] what is sent     [`fix`] what can be put right
//! [`build`] how RUN can be isolated     [`remedy`] what would bring a missing rung, in words and as lines of a pod's
//! specification

mod agents;
mod build;
mod fix;
mod hosts;
mod network;
mod path;
mod probe;
mod remedy;

use crate::cli::Global;
use crate::error::CliError;

/// The command line.
#[derive(Debug, clap::Args)]
#[command(after_help = network::EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Args {
    /// What to look at; the pod network without
    #[command(subcommand)]
    subject: Option<Subject>,
    /// The pod network, which is what is looked at when nothing is said.
    #[command(flatten)]
    network: network::Args,
}

/// What can be looked at.
#[derive(Debug, clap::Subcommand)]
enum Subject {
    /// How RUN can be isolated here
    Build(build::Args),
    /// Why the pod network is down
    #[command(after_help = network::EXAMPLES)]
    Network(Box<network::Args>),
    /// Follow a packet from one pod to another, and prove it by packets
    #[command(after_help = path::EXAMPLES)]
    Path(Box<path::Args>),
    /// Put right what can be put right without harm
    #[command(after_help = fix::EXAMPLES)]
    Fix(Box<fix::Args>),
    /// Take a fix back
    Undo(Box<fix::UndoArgs>),
    /// Send and listen for `kiln doctor path` of another machine
    #[command(hide = true)]
    Probe(probe::Args),
}

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    match &args.subject {
        Some(Subject::Build(args)) => build::run(args, global),
        Some(Subject::Network(args)) => network::run(args),
        Some(Subject::Path(args)) => path::run(args),
        Some(Subject::Fix(args)) => fix::run(args),
        Some(Subject::Undo(args)) => fix::undo(args),
        Some(Subject::Probe(args)) => probe::run(args),
        None => network::run(&args.network),
    }
}
