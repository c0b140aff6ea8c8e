//! One file per verb.

pub mod build;

use crate::cli::{Cli, Verb};
use crate::error::CliError;

/// Does what the command line says.
pub fn run(cli: Cli) -> Result<(), CliError> {
    match cli.verb {
        Verb::Build(args) => build::run(*args, &cli.global),
    }
}
