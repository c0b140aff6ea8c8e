//! `kiln rmi`: names of images are taken away.

use kiln_engine::stored::{self, Summary};

use crate::cli::Global;
use crate::error::CliError;
use crate::named;

/// The command line.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The images, by name or id
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
    /// Also by an id that has several names; images that are not there are no error
    #[arg(short, long)]
    force: bool,
}

const EXAMPLES: &str = "\
Examples:
  kiln rmi app:1 app:2                names
  kiln rmi 5f0a                       the image with this id, if it has one name
  kiln rmi -f $(kiln images -q)       all

Only names go: layers stay for the cache and other images until `kiln prune` frees what nothing needs.";

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    let store = named::store(global)?;
    let mut failed = None;
    for text in &args.images {
        match names(&stored::list(&store)?, &store, text, args.force) {
            Ok(names) => {
                for name in names {
                    store.remove_ref(&name.name.to_string())?;
                    named::print(&format!("Untagged: {}\n", name.name.familiar()))?;
                }
            }
            Err(e) if !args.force => {
                if let Some(before) = failed.replace(e) {
                    CliError::print(&before);
                }
            }
            Err(_) => {}
        }
    }
    match failed {
        Some(e) => Err(e),
        None => {
            eprintln!("Layers stay until `kiln prune` frees those that nothing needs.");
            Ok(())
        }
    }
}

/// The names a text means: itself, or those of an id.
fn names(all: &[Summary], store: &kiln_store::Store, text: &str, force: bool) -> Result<Vec<Summary>, CliError> {
    if let Ok(reference) = text.parse::<kiln_oci::Reference>()
        && let Some(found) = all.iter().find(|i| i.name == reference || i.name.to_string() == reference.to_string())
    {
        return Ok(vec![found.clone()]);
    }
    let found = stored::find(store, text)?;
    let names: Vec<Summary> = all.iter().filter(|i| i.descriptor.digest == found.descriptor.digest).cloned().collect();
    match names.len() {
        0 => Err(CliError::input(format!("`{text}` has no name to take away"))
            .with_hint("`kiln prune` removes images without names")),
        1 => Ok(names),
        _ if force => Ok(names),
        n => Err(CliError::input(format!("`{text}` has {n} names")).with_hint("take all of them with -f, or name one")),
    }
}
