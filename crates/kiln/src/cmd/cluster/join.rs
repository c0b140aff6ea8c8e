//! `kiln cluster join`: more hosts for a cluster that runs.

use super::fleet::{self, Hosts};
use super::run::{self, How};
use crate::cli::Global;
use crate::error::CliError;

const EXAMPLES: &str = "\
Examples:
  kiln cluster join --nodes 10.0.0.5-10.0.0.9         workers
  kiln cluster join --masters 10.0.0.2,10.0.0.3       masters: they join one after the other
  kiln cluster join --name shop --nodes 10.0.0.5 --plan

Tokens are made anew each time: it does not matter when the cluster was launched.";

/// Join hosts to a cluster
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    hosts: Hosts,
    #[command(flatten)]
    fleet: fleet::Args,
    #[command(flatten)]
    how: How,
}

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    more(&args.hosts, &args.fleet, &args.how, global)
}

/// Joins hosts.
pub fn more(hosts: &Hosts, fleet: &fleet::Args, how: &How, global: &Global) -> Result<(), CliError> {
    if hosts.masters.is_none() && hosts.nodes.is_none() {
        return Err(CliError::usage("no hosts to join").with_hint("--nodes LIST or --masters LIST"));
    }
    let wish = how.wish(&[], hosts);
    let known = fleet.cluster(&wish)?;
    if known.record.is_none() {
        return Err(unknown(&known.cluster.name.value));
    }
    run::launch(fleet, known, &wish, how, global)
}

/// There is no cluster of that name here.
pub fn unknown(name: &str) -> CliError {
    CliError::input(format!("no cluster `{name}` is remembered here")).with_hint(
        "kiln cluster status lists those that are; --name chooses one, --state says where they are remembered",
    )
}
