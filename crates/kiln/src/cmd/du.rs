//! `kiln du`: what takes space in the store.

use std::time::SystemTime;

use kiln_store::Held;
use serde_json::json;

use crate::cli::Global;
use crate::error::CliError;
use crate::named;
use crate::table::{ago, size, table};

/// The command line.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  kiln du\n  kiln du --verbose              every single thing\n  kiln du --json | jq .reclaimable"
)]
pub struct Args {
    /// List every thing
    #[arg(short, long)]
    verbose: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    let store = named::store(global)?;
    let usage = store.du()?;
    let held = |h: Option<Held>| match h {
        None => "no",
        Some(Held::Named) => "image",
        Some(Held::Derived) => "derived",
        Some(Held::Leased) => "in use",
    };
    let used = |t: SystemTime| {
        i64::try_from(SystemTime::now().duration_since(t).map_or(0, |d| d.as_secs())).unwrap_or(i64::MAX)
    };
    if args.json {
        let kinds: Vec<_> = usage
            .kinds
            .iter()
            .map(|k| json!({ "kind": k.kind.name(), "count": k.count, "bytes": k.bytes, "reclaimable": k.reclaimable }))
            .collect();
        let entries: Vec<_> = usage
            .entries
            .iter()
            .map(|e| {
                json!({ "kind": e.kind.name(), "name": e.name, "bytes": e.bytes, "held": held(e.held),
                    "secondsSinceUse": used(e.last_used) })
            })
            .collect();
        let mut value = json!({ "store": store.dir(), "bytes": usage.bytes(), "reclaimable": usage.reclaimable(),
                                "kinds": kinds });
        if args.verbose {
            value["entries"] = json!(entries);
        }
        return named::print_json(&value);
    }
    let mut text = String::new();
    if args.verbose {
        let rows: Vec<Vec<String>> = usage
            .entries
            .iter()
            .map(|e| {
                vec![
                    e.kind.name().to_owned(),
                    e.name.clone(),
                    size(e.bytes),
                    held(e.held).to_owned(),
                    ago(used(e.last_used)),
                ]
            })
            .collect();
        text += &table(&["TYPE", "NAME", "SIZE", "KEPT FOR", "LAST USED"], &rows);
        text += "\n";
    }
    let rows: Vec<Vec<String>> = usage
        .kinds
        .iter()
        .map(|k| vec![k.kind.name().to_owned(), k.count.to_string(), size(k.bytes), size(k.reclaimable)])
        .chain([vec![
            "total".to_owned(),
            usage.entries.len().to_string(),
            size(usage.bytes()),
            size(usage.reclaimable()),
        ]])
        .collect();
    text += &table(&["TYPE", "COUNT", "SIZE", "RECLAIMABLE"], &rows);
    named::print(&text)
}
