//! `kiln node`: images of machines, from Packer's templates.

mod build;
mod inspect;
mod template;
mod validate;

use clap::Subcommand;

use crate::cli::Global;
use crate::error::CliError;

/// The command line.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    verb: Verb,
}

/// What can be done.
#[derive(Debug, Subcommand)]
enum Verb {
    /// Build the images of a template
    Build(build::Args),
    /// Say whether a template has mistakes
    Validate(validate::Args),
    /// Show what a template consists of
    Inspect(inspect::Args),
}

/// Runs the verb.
pub fn run(args: Args, global: &mut Global) -> Result<(), CliError> {
    match args.verb {
        Verb::Build(args) => build::run(&args, global),
        Verb::Validate(args) => validate::run(&args),
        Verb::Inspect(args) => inspect::run(&args),
    }
}
