//! `kiln chart`: charts of Helm, without the `helm` program.

mod read;
mod show;
mod template;

use crate::error::CliError;

/// The command line.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    verb: Verb,
}

const EXAMPLES: &str = "\
Examples:
  kiln chart template shop ./chart -f values.yaml     the objects that helm would make
  kiln chart template shop.tgz --set image.tag=2      of an archive, with another value
  kiln chart show values ./chart                      what can be set";

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Render the templates of a chart
    Template(Box<template::Args>),
    /// Show what a chart says of itself
    Show(show::Args),
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<(), CliError> {
    match &args.verb {
        Verb::Template(args) => template::run(args),
        Verb::Show(args) => show::run(args),
    }
}
