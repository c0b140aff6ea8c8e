//! `kiln man`: manual pages, one a verb; for packagers.

use std::path::PathBuf;

use clap::CommandFactory;
use clap_mangen::Man;

use crate::error::CliError;

/// The command line.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory to write them to
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<(), CliError> {
    let failed =
        |e: std::io::Error| CliError::environment(format!("cannot write manual pages to {}: {e}", args.dir.display()));
    std::fs::create_dir_all(&args.dir).map_err(failed)?;
    let mut command = crate::cli::Cli::command();
    command.build();
    write(args, &command, "kiln").map_err(failed)?;
    for verb in command.get_subcommands().filter(|v| !v.is_hide_set() && v.get_name() != "help") {
        write(args, verb, &format!("kiln-{}", verb.get_name())).map_err(failed)?;
    }
    Ok(())
}

fn write(args: &Args, command: &clap::Command, name: &str) -> std::io::Result<()> {
    let mut page = Vec::new();
    Man::new(command.clone()).title(name).render(&mut page)?;
    std::fs::write(args.dir.join(format!("{name}.1")), page)
}
