//! `kiln cluster images`: what a cluster image contains, and who names it.

use kiln_cluster::inventory::{Entry, Inventory};
use kiln_cluster::report::{Image, Named};
use kiln_engine::stored;
use serde_json::{Value, json};

use crate::cli::Global;
use crate::error::CliError;
use crate::named;
use crate::table;

/// List the images that a cluster image contains.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The cluster image
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Show only images whose name contains TEXT, with every place that names them
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
    /// Show what looks like an image and is not contained, too
    #[arg(long)]
    possible: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  kiln cluster images my-cluster:v1               names, sizes, and who names each first
  kiln cluster images my-cluster:v1 --why mysql   every place that names it: file, line, object and rule
  kiln cluster images my-cluster:v1 --json | jq -r '.images[].name'";

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    let store = named::store(global)?;
    let inventory = Inventory::read(&store, &stored::find(&store, &args.image)?)?;
    let wanted = |name: &str| args.why.as_ref().is_none_or(|text| name.contains(text.as_str()) || is(name, text));
    let entries: Vec<&Entry> =
        inventory.images.iter().filter(|image| wanted(&image.contained.name.to_string())).collect();
    let possible: Vec<&Image> = inventory.report.possible.iter().filter(|image| wanted(&image.name)).collect();
    if let (Some(text), true, true) = (&args.why, entries.is_empty(), possible.is_empty()) {
        return Err(CliError::input(format!("`{}` contains no image called `{text}`", args.image))
            .with_hint(format!("kiln cluster images {} lists all", args.image)));
    }
    if args.json {
        let all: Vec<Value> = entries.iter().map(|entry| json_of(entry, &inventory)).collect();
        return named::print_json(&json!({ "images": all, "possible": possible }));
    }
    let mut out = String::new();
    if args.why.is_some() {
        for entry in entries {
            out += &format!("{}\n", entry.contained.name.familiar());
            named_of(entry, &inventory).iter().for_each(|named| out += &format!("  {}\n", named.text()));
        }
    } else {
        let mut rows = Vec::new();
        for entry in entries {
            let by = named_of(entry, &inventory);
            let more = by.len().saturating_sub(1);
            let first = by.first().map(Named::text).unwrap_or_default();
            let first = if more > 0 { format!("{first} and {more} more") } else { first };
            let name = entry.contained.name.familiar();
            rows.push(vec![name, entry.contained.root.digest.short(), table::size(entry.size()), first]);
        }
        out += &table::table(&["IMAGE", "DIGEST", "SIZE", "NAMED BY"], &rows);
    }
    if args.possible || args.why.is_some() {
        for image in possible {
            out += &format!("{} is not contained\n", image.name);
            image.named.iter().for_each(|named| out += &format!("  {}\n", named.text()));
        }
    }
    named::print(&out)
}

/// Whether a whole name is what a text names.
fn is(name: &str, text: &str) -> bool {
    text.parse::<kiln_oci::Reference>().is_ok_and(|reference| reference.to_string() == name)
}

fn named_of<'a>(entry: &Entry, inventory: &'a Inventory) -> &'a [Named] {
    let name = entry.contained.name.to_string();
    inventory.report.images.iter().find(|image| image.name == name).map_or(&[], |image| &image.named)
}

/// An image for programs.
pub fn json_of(entry: &Entry, inventory: &Inventory) -> Value {
    json!({
        "name": entry.contained.name.to_string(),
        "digest": entry.contained.root.digest,
        "index": entry.contained.from_index,
        "size": entry.size(),
        "named": named_of(entry, inventory),
    })
}
