//! `kiln cluster`: images that hold a whole cluster.
//!
//! One file a verb; `pack` is what building and making a base have in common, `clusterfile` what those about clusters.

mod base;
mod build;
mod clusterfile;
mod config;
mod diff;
mod hosts;
mod images;
mod inspect;
mod load;
mod merge;
mod pack;
mod save;

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
  kiln cluster base --kubernetes v1.30.2 --from ./binaries -t kubernetes:v1.30.2
  kiln cluster build -t my-cluster:v1 .           the Kubefile here, with every image that it names
  kiln cluster images my-cluster:v1 --why mysql   who names an image
  kiln cluster save my-cluster:v1 -o my.tar.zst --split 4G
  kiln push my-cluster:v1 registry.example/my-cluster:v1

Cluster images are pushed, pulled, tagged, removed and listed as any image: kiln push, pull, tag, rmi, images.";

/// What can be done.
#[derive(Debug, Subcommand)]
enum Verb {
    /// Build a cluster image from a Kubefile
    Build(Box<build::Args>),
    /// Make an image of Kubernetes' own binaries, to build others from
    Base(Box<base::Args>),
    /// List the images that a cluster image contains
    Images(images::Args),
    /// Show what kubeadm is told, and by whom
    Config(config::Args),
    /// Show the hosts of a cluster, and how Kiln logs in to them
    Hosts(hosts::Args),
    /// Show what is in a cluster image
    Inspect(inspect::Args),
    /// Show which images two cluster images differ in
    Diff(diff::Args),
    /// Make one cluster image of several
    Merge(merge::Args),
    /// Write cluster images into one file, or into pieces of it
    Save(save::Args),
    /// Read cluster images from a file, or from pieces of it
    Load(load::Args),
}

/// Runs the verb.
pub fn run(args: Args, global: &mut Global) -> Result<(), CliError> {
    match args.verb {
        Verb::Build(args) => build::run(&args, global),
        Verb::Base(args) => base::run(&args, global),
        Verb::Images(args) => images::run(&args, global),
        Verb::Config(args) => config::run(&args, global),
        Verb::Hosts(args) => hosts::run(&args, global),
        Verb::Inspect(args) => inspect::run(&args, global),
        Verb::Diff(args) => diff::run(&args, global),
        Verb::Merge(args) => merge::run(&args, global),
        Verb::Save(args) => save::run(&args, global),
        Verb::Load(args) => load::run(&args, global),
    }
}
