//! `kiln save`: images into an archive.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;

use kiln_engine::output::Dest;
use kiln_engine::stored;
use kiln_engine::transfer::{Origin, Platforms, Selection};
use kiln_oci::{Digest, Reference};

use crate::cli::Global;
use crate::error::CliError;
use crate::named::{self, PlatformOption};

/// The command line.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The images
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
    /// The file to write [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// docker (which reads as OCI, too), or oci
    #[arg(long, value_name = "FORMAT", value_parser = ["docker", "oci"], default_value = "docker")]
    format: String,
    /// Which platform of an index to write.
    #[command(flatten)]
    platform: PlatformOption,
    /// Write all platforms (with --format oci)
    #[arg(long, conflicts_with = "platform")]
    all_platforms: bool,
}

const EXAMPLES: &str = "\
Examples:
  kiln save app | ssh host docker load        hand an image on
  kiln save -o app.tar app:1 app:2            several in one file; shared layers are in it once
  kiln save --format oci -o app.tar app       an archive of an OCI layout
  kiln save app | zstd > app.tar.zst          layers are compressed already";

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    let docker = args.format == "docker";
    if docker && args.all_platforms {
        return Err(CliError::usage("a docker archive holds one platform of an image").with_hint("add --format oci"));
    }
    let dest = match &args.output {
        Some(path) if path.as_os_str() != "-" => Dest::Path(path.clone()),
        _ if std::io::stdout().is_terminal() => {
            return Err(CliError::usage("an archive is nothing for a terminal").with_hint("name a file with -o"));
        }
        _ => Dest::Stdout,
    };
    let (around, progress) = named::offline(global, false, "Saving")?;
    let platform = args.platform.given()?;
    let mut images: BTreeMap<Digest, (Selection, Vec<Reference>)> = BTreeMap::new();
    for text in &args.images {
        let found = stored::find(&around.store, text)?;
        let selection = match args.all_platforms {
            true => {
                let root = found.descriptor.clone();
                named::mover(&around).select(&Origin::Store, &found.title(), root, &Platforms::All)?
            }
            false => named::select(&around, &found, platform.as_ref())?,
        };
        let (_, names) = images.entry(selection.root.digest.clone()).or_insert((selection, Vec::new()));
        names.extend(found.name.filter(|n| !names.contains(n)));
    }
    let images: Vec<_> = images.into_values().collect();
    named::mover(&around).archive(&images, docker, &dest)?;
    progress.finish();
    Ok(())
}
