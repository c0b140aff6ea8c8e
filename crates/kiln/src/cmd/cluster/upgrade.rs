//! `kiln cluster upgrade`: a cluster to the next release.

use kiln_launch::preflight::Finding;
use kiln_launch::upgrade;

use super::fleet::{self, Wish};
use super::{join, run as launching, together};
use crate::cli::Global;
use crate::error::CliError;
use crate::named;

const EXAMPLES: &str = "\
Examples:
  kiln cluster upgrade shop:v2 --plan      what would be done
  kiln cluster upgrade kubernetes:v1.31 calico:v4     of a cluster of several images, with another application, too
  kiln cluster upgrade shop:v2             etcd is saved, masters one after the other, workers in waves

One minor release at a time. Before anything is changed, arguments and feature gates of the cluster are looked at that the
release does not take. A node that does not become ready gets its old kubelet back, and the upgrade stops; the same command
goes on with the nodes that are left, also after kiln or a host has died.";

/// Upgrade a cluster to the Kubernetes of another image
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The cluster image; of a cluster of several, the others stay, unless there are others behind it
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
    #[command(flatten)]
    fleet: fleet::Args,
    #[command(flatten)]
    launching: fleet::Launching,
    /// Print what would be done; change nothing
    #[arg(long)]
    plan: bool,
}

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    let launching = Some(args.launching.clone());
    let wish = Wish { resume: true, launching, ..Wish::default() };
    let known = args.fleet.cluster(&wish)?;
    let Some(record) = known.record.clone() else { return Err(join::unknown(&known.cluster.name.value)) };
    let launch = args.fleet.launch(
        known,
        &wish,
        |cluster, record| {
            let before = match &cluster.image {
                Some(_) => together::of_cluster(cluster),
                None => record.map(|record| record.images()).unwrap_or_default(),
            };
            // Only Kubernetes changes: what runs on it stays.
            let others = before.into_iter().skip(1).filter(|_| args.images.len() == 1);
            let images: Vec<String> = args.images.iter().cloned().chain(others).collect();
            together::read(global, &images, cluster, &args.launching.registry)
        },
        global,
    )?;
    // An upgrade that is done is in the record.
    if (record.digest == launch.bundle.root.digest.to_string()) && record.kubernetes == launch.bundle.kubernetes {
        eprintln!("{} runs Kubernetes {} of {} already: nothing to do", record.name, record.kubernetes, record.title());
        return Ok(());
    }
    upgrade::follows(&record.kubernetes, &launch.bundle.kubernetes)?;
    if args.plan {
        let found = upgrade::findings(&launch, &record.kubernetes)?;
        let found_lines = found.iter().flat_map(Finding::lines);
        let lines = upgrade::plan(&launch, &record.kubernetes).into_iter().chain(found_lines);
        named::print(&lines.map(|line| format!("{line}\n")).collect::<String>())?;
        return if found.iter().any(Finding::is_error) { Err(CliError::Told { code: 3 }) } else { Ok(()) };
    }
    upgrade::upgrade(&launch, &record.kubernetes)?;
    launching::told(&launch, launch.first()?.name(), global.progress);
    Ok(())
}
