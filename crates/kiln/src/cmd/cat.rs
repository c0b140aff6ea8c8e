//! `kiln cat`: a file of an image on standard output.

use std::io;

use kiln_oci::tree::Follow;

use crate::cli::Global;
use crate::error::CliError;
use crate::named::{self, PlatformOption};

/// The command line.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kiln cat app /etc/os-release\n  kiln cat app /usr/bin/tool > tool")]
pub struct Args {
    /// The image
    #[arg(value_name = "IMAGE")]
    image: String,
    /// The files; links are followed
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<String>,
    /// Which platform of an index.
    #[command(flatten)]
    platform: PlatformOption,
}

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    let (around, progress) = named::offline(global, false, "Reading")?;
    let image = named::choose(&around, &args.image, &args.platform)?;
    let root = named::root(&around, &image)?;
    progress.finish();
    for path in &args.paths {
        let found = root.tree.lookup(path.as_bytes(), Follow::All);
        let found = found.map_err(|e| CliError::input(format!("{}: {e}", image.title)))?;
        let Some(found) = found else {
            return Err(CliError::input(format!("{} has no `{path}`", image.title)));
        };
        let Some(file) = found.node.file() else {
            return Err(CliError::input(format!("`{path}` in {} is not a file", image.title))
                .with_hint(format!("kiln ls {} {path}", args.image)));
        };
        let failed = |e| CliError::environment(format!("cannot read `{path}` of {}: {e}", image.title));
        let mut from = root.open_file(file).map_err(failed)?;
        match io::copy(&mut from, &mut io::stdout().lock()) {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            other => drop(other.map_err(failed)?),
        }
    }
    Ok(())
}
