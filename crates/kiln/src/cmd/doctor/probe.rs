//! What a host is told to send or to listen for, by a Kiln elsewhere: `kiln doctor path` runs this there.

use std::path::PathBuf;

use kiln_doctor::probe::agent::say_ready;
use kiln_doctor::probe::{Order, wire};

use crate::error::CliError;
use crate::named;

/// The command line.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do, as JSON
    order: String,
    /// A directory that stands for `/`
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<(), CliError> {
    let order: Order = serde_json::from_str(&args.order).map_err(|e| CliError::usage(format!("the order: {e}")))?;
    let ready = || say_ready(&mut std::io::stdout());
    let answer = wire::obey(&order, &args.root, &ready).map_err(CliError::environment)?;
    named::print(&format!("{}\n", serde_json::to_string(&answer).unwrap_or_default()))
}
