//! `kiln doctor`: what works on this machine, and what is missing.

use kiln_engine::isolation::Isolation;
use kiln_sandbox::{Init, Standing, strongest};
use serde_json::json;

use crate::cli::Global;
use crate::error::CliError;
use crate::named;

/// The command line.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// What to look at
    #[command(subcommand)]
    subject: Subject,
}

/// What can be looked at.
#[derive(Debug, clap::Subcommand)]
enum Subject {
    /// How RUN can be isolated here
    #[command(after_help = EXAMPLES)]
    Build {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

const EXAMPLES: &str = "\
Examples:
  kiln doctor build          each rung of isolation: whether it works, and why not
  kiln doctor build --json   the same for scripts

`kiln build` takes the strongest that works; --isolation takes another one.";

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    let Subject::Build { json } = args.subject;
    let store = named::store(global)?;
    let reports = Isolation::new(None, Standing::default(), Init::default()).reports(&store.dir().join("kiln/tmp"));
    let best = strongest(&reports);
    if json {
        let rows: Vec<_> = reports
            .iter()
            .map(|r| json!({ "rung": r.rung.to_string(), "available": r.available, "why": r.why, "taken": r.rung == best }))
            .collect();
        println!("{}", serde_json::to_string_pretty(&rows).unwrap_or_default());
        return Ok(());
    }
    for report in reports.iter().rev() {
        let state = match (report.available, report.rung == best) {
            (true, true) => "taken",
            (true, false) => "works",
            (false, _) => "missing",
        };
        println!("{:<8} {state:<8} {}", report.rung.to_string(), report.why);
    }
    Ok(())
}
