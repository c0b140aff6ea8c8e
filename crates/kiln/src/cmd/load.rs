//! `kiln load`: images out of an archive.

use std::io::IsTerminal;
use std::path::PathBuf;

use kiln_engine::archive::{self, Input};

use crate::cli::Global;
use crate::error::CliError;
use crate::named;

/// The command line.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The archive, or the directory of an OCI layout [default: standard input]
    #[arg(short, long, value_name = "PATH")]
    input: Option<PathBuf>,
    /// Give the image this name, too; for archives of one image
    #[arg(short, long, value_name = "NAME")]
    tag: Option<String>,
    /// Print only the images
    #[arg(short, long)]
    quiet: bool,
}

const EXAMPLES: &str = "\
Examples:
  docker save app | kiln load                 from a pipe
  kiln load -i app.tar.zst                    gzip, bzip2, xz and zstd are told by their first bytes
  kiln load -i layout/ -t app                 an OCI layout without names

Archives of docker (also those of before 2014) and OCI are told apart by what is in them.";

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    let input = match &args.input {
        Some(path) if path.as_os_str() != "-" => Input::Path(path.clone()),
        _ if std::io::stdin().is_terminal() => {
            return Err(CliError::usage("there is no archive on standard input").with_hint("name a file with -i"));
        }
        _ => Input::Stdin,
    };
    let tag = args.tag.as_deref().map(named::reference).transpose()?;
    let (around, progress) = named::offline(global, args.quiet, "Loading")?;
    let loaded = archive::load(&named::mover(&around), &input, tag.as_ref())?;
    progress.finish();
    let mut text = String::new();
    for image in &loaded {
        for name in &image.names {
            text += &format!("Loaded image: {}\n", name.familiar());
        }
        if image.names.is_empty() {
            text += &format!("Loaded image ID: {}\n", image.root.digest);
            eprintln!(
                "warning: the image has no name, so `kiln prune` removes it: kiln tag {} NAME",
                image.root.digest
            );
        }
    }
    named::print(&text)
}
