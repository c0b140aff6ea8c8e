//! `kiln node validate`: the mistakes of a template, all of them, and nothing is run.

use kiln_node::builder::Choice;
use kiln_node::{NodeError, run};

use super::template::{Teller, TemplateOptions};
use crate::error::CliError;

/// The command line.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Look at the text only, not at what builders and provisioners make of it
    #[arg(long)]
    syntax_only: bool,
    /// Check as if this builder built everything: offline
    #[arg(long, value_name = "NAME")]
    builder: Option<String>,
    /// What the offline builder would start from
    #[arg(long, value_name = "DIR|FILE|IMAGE")]
    base: Option<String>,
    /// Lines for programs: comma-separated values
    #[arg(long)]
    machine_readable: bool,
    /// What the template means.
    #[command(flatten)]
    template: TemplateOptions,
}

const EXAMPLES: &str = "\
Examples:
  kiln node validate node.json
  kiln node validate -var region=eu node.json
  kiln node validate -builder offline -base rootfs.tar node.json";

/// Runs the verb.
pub fn run(args: &Args) -> Result<(), CliError> {
    let mut teller = Teller { machine: args.machine_readable, ..Teller::default() };
    let template = teller.load(&args.template)?;
    if !args.syntax_only {
        // What a base must be is asked when it is there.
        let (base, base_checksum) = (args.base.clone(), Some("none".to_owned()));
        let choice = Choice { builder: args.builder.clone(), base, base_checksum, format: None };
        match run::check(&template, &choice) {
            Ok(()) => {}
            Err(NodeError::Template(found)) => return Err(teller.mistakes(&found)),
            Err(error) => return Err(super::build::failed(&error)),
        }
    }
    const VALID: &str = "The configuration is valid.";
    if args.machine_readable {
        teller.record("say", VALID);
        return Ok(());
    }
    crate::named::print(&format!("{VALID}\n"))
}
