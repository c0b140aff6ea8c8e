//! `kiln node`: images that machines boot from.

mod target;
pub mod verify;

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
  kiln node verify ./rootfs --profile kubeadm";

/// What can be done.
#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Check that a system will work as a node
    Verify(Box<verify::Args>),
}

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    match &args.verb {
        Verb::Verify(args) => verify::run(args, global),
    }
}
