//! `kiln completion`: a script that completes command lines.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::error::CliError;

/// The command line.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

const EXAMPLES: &str = "\
Examples:
  kiln completion bash > /etc/bash_completion.d/kiln
  kiln completion zsh > \"${fpath[1]}/_kiln\"
  kiln completion fish > ~/.config/fish/completions/kiln.fish";

/// Runs the verb.
pub fn run(args: &Args) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::cli::Cli::command(), "kiln", &mut script);
    crate::named::print(&String::from_utf8_lossy(&script))
}
