//! `kiln cluster diff`: which images two cluster images differ in, and how many bytes that is.

use std::collections::BTreeSet;

use kiln_cluster::inventory::Inventory;
use kiln_engine::stored;
use serde_json::json;

use crate::cli::Global;
use crate::error::CliError;
use crate::named;
use crate::table;

/// Show which images two cluster images differ in.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The one
    #[arg(value_name = "FROM")]
    from: String,
    /// The other
    #[arg(value_name = "TO")]
    to: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  kiln cluster diff my-cluster:v1 my-cluster:v2   what an upgrade brings, and what it transfers
  kiln diff my-cluster:v1 my-cluster:v2           files of their root file systems";

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    let store = named::store(global)?;
    let read =
        |text: &str| -> Result<Inventory, CliError> { Ok(Inventory::read(&store, &stored::find(&store, text)?)?) };
    let (from, to) = (read(&args.from)?, read(&args.to)?);
    let names = |inventory: &Inventory| -> BTreeSet<String> {
        inventory.images.iter().map(|image| image.contained.name.to_string()).collect()
    };
    let (mut added, mut removed, mut changed) = (Vec::new(), Vec::new(), Vec::new());
    for name in names(&from).union(&names(&to)) {
        match (from.image(name), to.image(name)) {
            (None, Some(_)) => added.push(name.clone()),
            (Some(_), None) => removed.push(name.clone()),
            (Some(a), Some(b)) if a.contained.root.digest != b.contained.root.digest => changed.push(name.clone()),
            _ => {}
        }
    }
    let transfer: u64 = to.blobs.iter().filter(|(digest, _)| !from.blobs.contains_key(digest)).map(|(_, n)| n).sum();
    let gone: u64 = from.blobs.iter().filter(|(digest, _)| !to.blobs.contains_key(digest)).map(|(_, n)| n).sum();
    let layers = |inventory: &Inventory| -> BTreeSet<String> {
        inventory.rootfs.iter().flat_map(|(_, m)| &m.layers).map(|layer| layer.digest.to_string()).collect()
    };
    let rootfs = layers(&from) != layers(&to);
    if args.json {
        return named::print_json(&json!({
            "added": added, "removed": removed, "changed": changed, "rootfs": rootfs,
            "newBytes": transfer, "goneBytes": gone,
        }));
    }
    let mut out = String::new();
    for (sign, all) in [("+", &added), ("-", &removed), ("~", &changed)] {
        all.iter().for_each(|name| out += &format!("{sign} {name}\n"));
    }
    if rootfs {
        out += "~ the root file system\n";
    }
    out += &format!("{} are new, {} are no more\n", table::size(transfer), table::size(gone));
    named::print(&out)
}
