//! `kiln prune`: what no image needs is removed.

use std::io::{BufRead, IsTerminal, Write};

use kiln_store::{Filter, PrunePolicy};
use serde_json::json;

use crate::cli::Global;
use crate::error::CliError;
use crate::named;
use crate::options;
use crate::table::size;

/// The command line.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Also what can be made again: unpacked layers of images with names, and the directories of RUN --mount=type=cache
    #[arg(short, long)]
    all: bool,
    /// Keep what was used within this time, such as 24h
    #[arg(long, value_name = "TIME")]
    keep_duration: Option<String>,
    /// Stop when the store takes no more than this, such as 20GB
    #[arg(long, value_name = "SIZE")]
    max_used_space: Option<String>,
    /// Never go below this size
    #[arg(long, value_name = "SIZE")]
    reserved_space: Option<String>,
    /// Stop when this much of the disk is free
    #[arg(long, value_name = "SIZE")]
    min_free_space: Option<String>,
    /// Only what passes: type=KIND or id=TEXT (repeat)
    #[arg(long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Do not ask; needed where there is no terminal
    #[arg(short, long, visible_alias = "yes")]
    force: bool,
    /// List what was removed
    #[arg(short, long)]
    verbose: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  kiln prune                             what no image needs: build cache, layers without images
  kiln prune --all -f                    also what can be made again from images
  kiln prune --keep-duration 168h -f     what nobody used for a week
  kiln prune --max-used-space 20GB -f    the oldest, until 20 GB are left
  kiln prune --filter type=record -f     the build cache's records only

Images with names are never removed; `kiln rmi` takes names away. Running builds are not disturbed.";

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    let policy = policy(args)?;
    let store = named::store(global)?;
    if !args.force {
        if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
            return Err(CliError::usage("there is no terminal to ask on")
                .with_hint("to remove without being asked: kiln prune --force"));
        }
        if !ask(args)? {
            return Err(CliError::input("nothing was removed"));
        }
    }
    let report = store.prune(&policy)?;
    if args.json {
        let removed: Vec<_> =
            report.removed.iter().map(|r| json!({ "kind": r.kind.name(), "name": r.name, "bytes": r.bytes })).collect();
        let failed: Vec<String> = report.failed.iter().map(ToString::to_string).collect();
        named::print_json(&json!({ "removed": removed, "freed": report.freed, "failed": failed }))?;
    } else {
        let mut text = String::new();
        if args.verbose {
            text.extend(report.removed.iter().map(|r| format!("{} {} {}\n", r.kind.name(), r.name, size(r.bytes))));
        }
        text += &format!("Removed {} things, freed {}\n", report.removed.len(), size(report.freed));
        named::print(&text)?;
    }
    match report.failed.into_iter().next() {
        Some(e) => Err(e.into()),
        None => Ok(()),
    }
}

fn policy(args: &Args) -> Result<PrunePolicy, CliError> {
    let filters = args
        .filter
        .iter()
        .map(|f| f.parse::<Filter>().map_err(|e| CliError::usage(format!("--filter: {e}"))))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(PrunePolicy {
        all: args.all,
        keep_duration: options::time("--keep-duration", args.keep_duration.as_deref())?,
        max_used: options::size("--max-used-space", args.max_used_space.as_deref())?,
        reserved: options::size("--reserved-space", args.reserved_space.as_deref())?,
        min_free: options::size("--min-free-space", args.min_free_space.as_deref())?,
        filters,
    })
}

fn ask(args: &Args) -> Result<bool, CliError> {
    let failed = |e: std::io::Error| CliError::environment(format!("cannot ask: {e}"));
    let what = if args.all {
        "all that images with names do not consist of: the build cache, RUN's caches, unpacked layers"
    } else {
        "what no image with a name needs, and with it the build cache"
    };
    eprint!("This removes {what}. Go on? [y/N] ");
    std::io::stderr().flush().map_err(failed)?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).map_err(failed)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
