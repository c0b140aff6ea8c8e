//! `kiln node inspect`: what a template consists of, whatever variables are set to.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use kiln_packer::world::Given;

use super::template;
use crate::error::CliError;

/// The command line.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Lines for programs: comma-separated values
    #[arg(long)]
    machine_readable: bool,
    /// The template
    #[arg(value_name = "TEMPLATE")]
    template: PathBuf,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<(), CliError> {
    if template::is_hcl(&args.template) {
        if args.machine_readable {
            return Err(CliError::usage("-machine-readable: of templates in HCL2 there is only text"));
        }
        let (files, world) = template::hcl(&args.template)?;
        let given = Given { packer_version: template::PACKER_VERSION.to_owned(), ..Given::default() };
        let text = kiln_packer::hcl2::inspect(&files, &given, &world).map_err(template::mistakes)?;
        return crate::named::print(&text);
    }
    let found = kiln_packer::json::inspect(&template::source(&args.template)?).map_err(template::mistakes)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    crate::named::print(&match args.machine_readable {
        true => found.machine_readable(i64::try_from(now).unwrap_or(i64::MAX)),
        false => found.text(),
    })
}
