//! `kiln registry`: the store as a registry for others, and directories of registries.

mod export;
mod import;
mod passwd;
mod serve;
mod unit;

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
  kiln registry serve                                  127.0.0.1:5000, for this machine
  kiln registry passwd users alice                     a user, with a password that is asked for
  kiln registry serve --addr :5000 --tls-self tls --htpasswd users
  kiln registry serve --image shop:v1                  what one cluster image contains
  kiln registry export ./registry shop:v1              the same as a directory, for docker's registry";

/// What can be done.
#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Serve the images of the store to docker, podman, containerd, skopeo and kiln
    Serve(Box<serve::Args>),
    /// Write images as the directory of docker's registry
    Export(export::Args),
    /// Take all images of the directory of docker's registry, or of sealer's or sealos' registry/, into the store
    Import(import::Args),
    /// Add a user to a file of passwords, change the password, or take the user away
    Passwd(passwd::Args),
}

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    match &args.verb {
        Verb::Serve(args) => serve::run(args, global),
        Verb::Export(args) => export::run(args, global),
        Verb::Import(args) => import::run(args, global),
        Verb::Passwd(args) => passwd::run(args),
    }
}
