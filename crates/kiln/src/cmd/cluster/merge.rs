//! `kiln cluster merge`: several cluster images as one.

use kiln_cluster::inventory::Inventory;
use kiln_cluster::merge;
use kiln_engine::event::Event;
use kiln_engine::stored;

use crate::cli::Global;
use crate::error::CliError;
use crate::named;

/// Make one cluster image of several.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The cluster images: the first is the lowest
    #[arg(value_name = "IMAGE", required = true, num_args = 2..)]
    images: Vec<String>,
    /// Name for the result (repeat)
    #[arg(short = 't', long = "tag", value_name = "NAME[:TAG]", required = true)]
    tags: Vec<String>,
    /// Print only the digest
    #[arg(short, long)]
    quiet: bool,
}

const EXAMPLES: &str = "\
Examples:
  kiln cluster merge -t site:v1 kubernetes:v1.30.2 calico:v3 app:v7

Files of later images are over those of earlier ones, their commands run after them. One of the images may bring
Kubernetes. Layers and images that are in several are in the result once.";

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    let names = args.tags.iter().map(|text| named::reference(text)).collect::<Result<Vec<_>, _>>()?;
    let (around, progress) = named::offline(global, args.quiet, "Merging")?;
    let mut parts = Vec::new();
    for text in &args.images {
        parts.push(Inventory::read(&around.store, &stored::find(&around.store, text)?)?);
    }
    let mut warnings = Vec::new();
    let root = merge::merge(&parts, &around.store, &mut warnings)?;
    warnings.iter().for_each(|text| around.events.event(&Event::Warning(text)));
    for name in &names {
        around.store.set_ref(&name.to_string(), &root)?;
    }
    progress.finish();
    named::print(&format!("{}\n", root.digest))
}
