//! `kiln cluster`: images that hold a whole cluster, and the clusters that are launched from them.
//!
//! One file a verb; `pack` is what building and making a base have in common, `clusterfile` what those about clusters,
//! `fleet`, `bundle` and `together` what those about clusters that run.

mod agent;
mod apply;
mod base;
mod build;
mod bundle;
mod cert;
mod clusterfile;
mod config;
mod diff;
mod exec;
mod fleet;
mod hosts;
mod images;
mod inspect;
mod join;
mod load;
mod merge;
mod network;
mod pack;
mod reset;
mod run;
mod save;
mod scale;
mod status;
mod together;
mod unsupported;
mod upgrade;

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
  kiln cluster run my-cluster:v1 --masters 10.0.0.1 --nodes 10.0.0.2,10.0.0.3
  kiln cluster reset                              give the hosts back as they were

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
    /// Launch a cluster on hosts over SSH
    Run(Box<run::Args>),
    /// Bring a cluster to what a Clusterfile says
    Apply(Box<apply::Args>),
    /// Join hosts to a cluster
    Join(Box<join::Args>),
    /// Join hosts to a cluster, or take them out of it
    Scale(Box<scale::Args>),
    /// Upgrade a cluster to the Kubernetes of another image
    Upgrade(Box<upgrade::Args>),
    /// Give hosts back as they were before a launch
    Reset(Box<reset::Args>),
    /// Show clusters, and how their nodes are
    Status(Box<status::Args>),
    /// Run a command on hosts of a cluster
    Exec(Box<exec::Args>),
    /// Show or renew certificates of the control plane
    Cert(Box<cert::Args>),
    /// Do something on a host for `kiln cluster run`; it is started by it
    #[command(hide = true)]
    Agent(agent::Args),
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
        Verb::Run(args) => run::run(&args, global),
        Verb::Apply(args) => apply::run(&args, global),
        Verb::Join(args) => join::run(&args, global),
        Verb::Scale(args) => scale::run(&args, global),
        Verb::Upgrade(args) => upgrade::run(&args, global),
        Verb::Reset(args) => reset::run(&args, global),
        Verb::Status(args) => status::run(&args, global),
        Verb::Exec(args) => exec::run(&args, global),
        Verb::Cert(args) => cert::run(&args, global),
        Verb::Agent(args) => agent::run(&args, global),
    }
}
