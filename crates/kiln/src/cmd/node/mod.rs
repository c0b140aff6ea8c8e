//! `kiln node`: images that machines boot from.

mod account;
mod build;
mod console;
mod data;
mod export;
mod fmt;
mod gc;
mod inspect;
mod ledger;
mod pack;
mod publish;
mod remote;
mod run;
mod script;
mod target;
mod template;
pub mod unikernel;
mod validate;
pub mod verify;

use std::path::PathBuf;

use clap::Subcommand;
use kiln_checks::profile::find::FindError;
use kiln_node::verify::{Wish, WishError};

use crate::cli::Global;
use crate::error::{CliError, in_color};

pub use build::failed;

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
    Build(Box<build::Args>),
    /// Say whether a template has mistakes
    Validate(validate::Args),
    /// Show what a template consists of, or which unikernel is in a file or image
    Inspect(inspect::Args),
    /// Write templates in HCL2 in their canonical form
    Fmt(fmt::Args),
    /// Try expressions of a template
    Console(console::Args),
    /// Print what kube-up, Terraform, Cluster API or kubeadm need to know of an image
    Export(export::Args),
    /// Print Kiln's own provisioners of a template as a script for a Dockerfile
    Script(script::Args),
    /// Pack a unikernel made elsewhere into an image
    Pack(Box<pack::Args>),
    /// Run a machine with one application, or a unikernel, until that ends
    Run(Box<run::Args>),
    /// Make an image in a cloud of a disk of this machine
    Publish(Box<publish::Args>),
    /// Delete what killed builds left in clouds
    Gc(gc::Args),
    /// Check that a system will work as a node
    Verify(Box<verify::Args>),
}

/// What a result must be, from the command line.
pub fn wish(profiles: &[String], ignored: &[String], reports: &[PathBuf]) -> Result<Wish, CliError> {
    Wish::of(profiles, ignored, reports).map_err(|e| {
        let hint = e.hint();
        let told = match e {
            WishError::Profile(FindError::Mistakes(e)) => {
                eprint!("{}", e.render(in_color()));
                return CliError::Found;
            }
            WishError::Profile(e @ (FindError::Read { .. } | FindError::Text { .. })) => CliError::input(e.to_string()),
            e => CliError::usage(e.to_string()),
        };
        told.with_any_hint(hint)
    })
}

/// Runs the verb.
pub fn run(args: Args, global: &mut Global) -> Result<(), CliError> {
    match args.verb {
        Verb::Build(args) => build::run(&args, global),
        Verb::Validate(args) => validate::run(&args),
        Verb::Inspect(args) => inspect::run(&args, global),
        Verb::Fmt(args) => fmt::run(&args),
        Verb::Console(args) => console::run(&args),
        Verb::Export(args) => export::run(&args),
        Verb::Script(args) => script::run(&args),
        Verb::Pack(args) => pack::run(&args, global),
        Verb::Run(args) => run::run(&args, global),
        Verb::Publish(args) => publish::run(&args, global),
        Verb::Gc(args) => gc::run(&args, global),
        Verb::Verify(args) => verify::run(&args, global),
    }
}
