//! `kiln node gc`: deletes what killed builds left in clouds.
//!
//! What there is to delete is in the books that builds wrote before they made anything ([`kiln_ledger`]). [`work`] goes
//! through them, [`report`] says what became of each resource.

mod report;
mod work;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kiln_ledger::{Ledger, LedgerError};
use kiln_sandbox::Cancel;

use super::{account, ledger};
use crate::cli::Global;
use crate::error::CliError;
use crate::surroundings::stop_on_signals;
use report::Report;
pub use report::harmless;
use work::Order;

/// The command line.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Only what this build left; the cloud is asked by its mark too
    #[arg(long, value_name = "ID")]
    build: Option<String>,
    /// Show what is there, and delete nothing
    #[arg(long)]
    dry_run: bool,
    /// Ask the clouds also for what carries the mark of a build and is in no book
    #[arg(long)]
    find: bool,
    /// The cloud to ask where no book says it: googlecompute, alicloud-ecs
    #[arg(long, value_name = "CLOUD")]
    cloud: Option<String>,
    /// Where in that cloud: project=…, zone=… or region=… (repeat)
    #[arg(long, value_name = "KEY=VALUE", requires = "cloud")]
    account: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  kiln node gc --dry-run                  what killed builds left, and how each is deleted
  kiln node gc                            delete it
  kiln node gc --build 3f0c4a52-7d5e-4a55-9f0e-2f1e6d1b7c11
  kiln node gc --find --dry-run           and what carries a build's mark, but is in no book
  kiln node gc --build 3f0c4a52-… --cloud alicloud-ecs --account region=cn-hangzhou

Builds whose process is alive are left alone. Credentials are looked for in the environment, as the
clouds' own tools do. The exit code is 3 when something is still there that should not be.";

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    let elsewhere = match &args.cloud {
        Some(cloud) => Some((cloud.clone(), account::pairs("--account", &args.account)?)),
        None => None,
    };
    let order =
        Order { build: args.build.clone(), dry_run: args.dry_run, find: args.find || args.build.is_some(), elsewhere };
    if order.elsewhere.is_some() && !order.find {
        return Err(CliError::usage("--cloud: without --build or --find only books are read, which name their clouds"));
    }
    let ledger = Ledger::open(&ledger::dir(global)?).map_err(|error| failed(&error))?;
    let stopped = Arc::new(AtomicBool::new(false));
    stop_on_signals(Cancel::new(), stopped.clone());
    let cancelled = || stopped.load(Ordering::Relaxed);
    let mut report = Report::new(args.dry_run, !args.json);
    work::run(&order, &ledger, &cancelled, &mut report)?;
    match args.json {
        true => crate::named::print_json(&report.json())?,
        false => report.end()?,
    }
    match (report.failures(), cancelled()) {
        (None, false) => Ok(()),
        (_, true) => Err(CliError::Told { code: 130 }),
        (Some(sentence), false) => {
            Err(CliError::environment(sentence).with_hint("`kiln node gc` tries again; or delete it by the call shown"))
        }
    }
}

/// A failure of the ledger.
pub fn failed(error: &LedgerError) -> CliError {
    match error {
        LedgerError::Alive { .. } => CliError::input(error.to_string()).with_hint("stop it, or wait for its end"),
        LedgerError::Name(_) | LedgerError::NoSuchBuild { .. } => CliError::input(error.to_string()),
        LedgerError::Untrusted { .. } => CliError::environment(error.to_string())
            .with_hint("what is in it would be deleted: it must be yours, and nobody else may write it (chmod go-w)"),
        _ => CliError::environment(error.to_string()),
    }
}
