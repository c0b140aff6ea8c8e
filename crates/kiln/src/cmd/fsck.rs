//! `kiln fsck`: everything in the store is read and compared with its name.

use serde_json::json;

use crate::cli::Global;
use crate::error::CliError;
use crate::named;
use crate::table::size;

/// The command line.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Remove what is damaged, so that it is fetched or made again
    #[arg(long)]
    repair: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  kiln fsck              look
  kiln fsck --repair     and remove what is damaged; pulling or building again completes images

Ends with 0 if nothing is wrong, or all of it was repaired.";

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    let store = named::store(global)?;
    let report = store.fsck(args.repair)?;
    if args.json {
        let problems: Vec<_> = report
            .problems
            .iter()
            .map(|p| {
                let kind = p.kind.map_or("name", |k| k.name());
                json!({ "kind": kind, "name": p.name, "text": p.text, "repaired": p.repaired })
            })
            .collect();
        named::print_json(&json!({ "checked": report.checked, "bytes": report.bytes, "problems": problems }))?;
    } else {
        let mut text = String::new();
        for p in &report.problems {
            let kind = p.kind.map_or("name", |k| k.name());
            let repaired = if p.repaired { " (removed)" } else { "" };
            text += &format!("{kind} {}: {}{repaired}\n", p.name, p.text);
        }
        let problems = report.problems.len();
        text += &format!("Checked {} files, {}: {problems} problems\n", report.checked, size(report.bytes));
        named::print(&text)?;
    }
    match report.problems.iter().filter(|p| !p.repaired).count() {
        0 => Ok(()),
        left => {
            Err(CliError::environment(format!("the store is damaged: {left} problems are left")).with_hint(match args
                .repair
            {
                true => "pull or build the images again",
                false => "remove what is damaged with `kiln fsck --repair`",
            }))
        }
    }
}
