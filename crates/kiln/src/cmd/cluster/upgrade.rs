//! `kiln cluster upgrade`: a cluster to the next release.

use kiln_launch::upgrade;

use super::fleet::{self, Wish};
use super::{bundle, join};
use crate::cli::Global;
use crate::error::CliError;
use crate::named;

const EXAMPLES: &str = "\
Examples:
  kiln cluster upgrade shop:v2 --plan      what would be done
  kiln cluster upgrade shop:v2             etcd is saved, masters one after the other, workers in waves

One minor release at a time. A node that does not become ready gets its old kubelet back, and the upgrade stops; the
same command goes on with the nodes that are left.";

/// Upgrade a cluster to the Kubernetes of another image
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The cluster image
    #[arg(value_name = "IMAGE")]
    image: String,
    #[command(flatten)]
    fleet: fleet::Args,
    /// Print what would be done; change nothing
    #[arg(long)]
    plan: bool,
}

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    let wish = Wish { image: Some(args.image.clone()), resume: true, ..Wish::default() };
    let known = args.fleet.cluster(&wish)?;
    let Some(record) = known.record.clone() else { return Err(join::unknown(&known.cluster.name.value)) };
    let launch = args.fleet.launch(known, &wish, |cluster, _| bundle::read(global, &args.image, cluster), global)?;
    upgrade::follows(&record.kubernetes, &launch.bundle.kubernetes)?;
    if args.plan {
        let lines = upgrade::plan(&launch, &record.kubernetes);
        return named::print(&lines.iter().map(|line| format!("{line}\n")).collect::<String>());
    }
    Ok(upgrade::upgrade(&launch, &record.kubernetes)?)
}
