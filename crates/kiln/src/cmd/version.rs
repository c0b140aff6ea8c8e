//! `kiln version`: what this is.

use serde_json::json;

use crate::error::CliError;
use crate::named;

/// The command line.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kiln version\n  kiln version --json | jq -r .version")]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<(), CliError> {
    let version = env!("CARGO_PKG_VERSION");
    let platform = kiln_oci::Platform::host();
    match args.json {
        true => named::print_json(&json!({ "version": version, "platform": platform.to_string() })),
        false => named::print(&format!("kiln {version} {platform}\n")),
    }
}
