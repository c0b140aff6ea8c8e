//! `kiln cluster apply`: brings a cluster to what its Clusterfile says; with nothing to do, nothing is done.

use super::fleet::{self, Hosts};
use super::run::{self, How};
use crate::cli::Global;
use crate::error::CliError;

const EXAMPLES: &str = "\
Examples:
  kiln cluster apply -f Clusterfile              launch it, or join hosts that are new in it
  kiln cluster apply -f Clusterfile --plan       what would be done

Hosts that are no longer in the file stay in the cluster: kiln cluster scale --remove takes them out.";

/// Bring a cluster to what a Clusterfile says
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    fleet: fleet::Args,
    #[command(flatten)]
    how: How,
}

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    let mut wish = args.how.wish(&[], &Hosts::default());
    // What is wanted is in the file, whatever stopped before.
    wish.resume = true;
    run::launch(&args.fleet, args.fleet.cluster(&wish)?, &wish, &args.how, global)
}
