//! `kiln node`: images that machines boot from.

mod build;
mod inspect;
mod target;
mod template;
mod validate;
pub mod verify;

use clap::Subcommand;

use crate::cli::Global;
use crate::error::CliError;

/// The command line.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// What to do
    #[command(subcommand)]
    verb: Verb,
}

const EXAMPLES: &str = "\
Examples:
  kiln node validate node.json
  kiln node build -builder offline -base base.tar node.json
  kiln node verify ./rootfs --profile kubeadm";

/// What can be done.
#[derive(Debug, Subcommand)]
enum Verb {
    /// Build the images of a template
    Build(build::Args),
    /// Say whether a template has mistakes
    Validate(validate::Args),
    /// Show what a template consists of
    Inspect(inspect::Args),
    /// Check that a system will work as a node
    Verify(Box<verify::Args>),
}

/// Runs the verb.
pub fn run(args: Args, global: &mut Global) -> Result<(), CliError> {
    match args.verb {
        Verb::Build(args) => build::run(&args, global),
        Verb::Validate(args) => validate::run(&args),
        Verb::Inspect(args) => inspect::run(&args),
        Verb::Verify(args) => verify::run(&args, global),
    }
}
