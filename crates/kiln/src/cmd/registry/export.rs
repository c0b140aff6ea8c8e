//! `kiln registry export`: images of the store as the directory of a registry.

use std::collections::BTreeSet;
use std::path::PathBuf;

use kiln_cluster::inventory::{Inventory, is_cluster};
use kiln_cluster::registry_out::{self, Item};
use kiln_engine::stored::{self, Found};
use kiln_oci::Reference;
use kiln_store::Store;

use crate::cli::Global;
use crate::error::CliError;
use crate::named;

/// The command line.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The directory; it is made if it is not there, and what is in it stays
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// The images; of a cluster image, those that it contains
    #[arg(value_name = "IMAGE", required_unless_present = "all", conflicts_with = "all")]
    images: Vec<String>,
    /// All images of the store that have a name
    #[arg(long)]
    all: bool,
    /// Print nothing
    #[arg(short, long)]
    quiet: bool,
}

const EXAMPLES: &str = "\
Examples:
  kiln registry export registry my-cluster:v1       what a cluster image contains
  kiln registry export registry nginx:1 app:2       these, beside what the directory has
  kiln registry export --all /var/lib/registry

The directory is laid out as docker's registry keeps it (docker/registry/v2), so that one that is started on it serves
the same digests. Images are there under their whole names, docker.io/library/nginx, and as library/nginx where only
one registry has that.";

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    let (around, progress) = named::offline(global, args.quiet, "Exporting")?;
    let items = match args.all {
        true => all(&around.store)?,
        false => given(&around.store, &args.images)?,
    };
    let exported = registry_out::export(&items, &args.dir, &named::mover(&around))?;
    progress.finish();
    for warning in &exported.warnings {
        eprintln!("warning: {warning}");
    }
    if args.quiet {
        return Ok(());
    }
    let mut text = String::new();
    for (item, repositories) in items.iter().zip(&exported.repositories) {
        text += &format!("{} ({})\n", item.name.familiar(), repositories.join(", "));
    }
    eprintln!("{} images, {} bytes written", items.len(), exported.written);
    named::print(&text)
}

/// What the command line names.
fn given(store: &Store, images: &[String]) -> Result<Vec<Item>, CliError> {
    let mut items = Vec::new();
    for text in images {
        add(store, stored::find(store, text)?, &mut items)?;
    }
    Ok(items)
}

fn all(store: &Store) -> Result<Vec<Item>, CliError> {
    let mut items = Vec::new();
    for stored in store.list_refs()? {
        let Ok(name) = stored.name.parse::<Reference>() else { continue };
        add(store, Found { name: Some(name), descriptor: stored.descriptor }, &mut items)?;
    }
    Ok(items)
}

/// Adds an image, or what a cluster image contains.
fn add(store: &Store, found: Found, items: &mut Vec<Item>) -> Result<(), CliError> {
    let own: Vec<Item> = match is_cluster(store, &found)? {
        true => {
            let inventory = Inventory::read(store, &found)?;
            let contained = inventory.images.into_iter().map(|image| image.contained);
            contained.map(|c| Item { name: c.name, root: c.root, index: c.index }).collect()
        }
        false => {
            let title = found.title();
            let name = found.name.ok_or_else(|| {
                CliError::usage(format!("`{title}` has no name that a registry could know it by"))
                    .with_hint("kiln tag gives it one")
            })?;
            vec![Item { name, root: found.descriptor, index: None }]
        }
    };
    // What is the same in two cluster images is there once; what is not, `export` refuses.
    let known: BTreeSet<String> = items.iter().map(key).collect();
    items.extend(own.into_iter().filter(|item| !known.contains(&key(item))));
    Ok(())
}

fn key(item: &Item) -> String {
    format!("{} {}", item.name, item.root.digest)
}
