//! `kiln registry`: the store as a registry for others.

mod passwd;
mod serve;
mod unit;

use crate::cli::Global;
use crate::error::CliError;

/// The command line.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do
    #[command(subcommand)]
    verb: Verb,
}

/// What can be done.
#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Serve the images of the store to docker, podman, containerd, skopeo and kiln
    Serve(Box<serve::Args>),
    /// Add a user to a file of passwords, change the password, or take the user away
    Passwd(passwd::Args),
}

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    match &args.verb {
        Verb::Serve(args) => serve::run(args, global),
        Verb::Passwd(args) => passwd::run(args),
    }
}
