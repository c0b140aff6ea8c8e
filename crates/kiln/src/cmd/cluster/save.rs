//! `kiln cluster save`: cluster images in one file, or in pieces of it.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use kiln_cluster::inventory::Inventory;
use kiln_cluster::parts::Splitter;
use kiln_engine::transfer::{Origin, Platforms, Selection};
use kiln_engine::{EngineError, stored, whole};
use kiln_oci::{Compression, Compressor, Reference};

use crate::cli::Global;
use crate::error::CliError;
use crate::named;

/// Layers are compressed already: more than this gains nothing.
const LEVEL: i32 = 3;

/// Write cluster images into one file, or into pieces of it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The cluster images
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
    /// The file to write; one that ends in .zst is compressed
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Write pieces of SIZE, FILE.part-0001 and so on, and FILE.parts with their checksums
    #[arg(long, value_name = "SIZE")]
    split: Option<String>,
    /// Print nothing
    #[arg(short, long)]
    quiet: bool,
}

const EXAMPLES: &str = "\
Examples:
  kiln cluster save my-cluster:v1 -o my.tar
  kiln cluster save my-cluster:v1 -o my.tar.zst --split 4G     for media: load my.tar.zst.parts there
  kiln cluster save a:1 b:1 -o both.tar                        what both have is in it once

The file is an archive of an OCI layout: skopeo, podman and others read it, too.";

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    let split = crate::options::size("--split", args.split.as_deref())?;
    let (around, progress) = named::offline(global, args.quiet, "Saving")?;
    let mover = named::mover(&around);
    let mut images: Vec<(Selection, Vec<Reference>)> = Vec::new();
    for text in &args.images {
        let found = stored::find(&around.store, text)?;
        let inventory = Inventory::read(&around.store, &found)?;
        let selection = mover.select(&Origin::Store, &found.title(), inventory.root, &Platforms::All)?;
        match images.iter_mut().find(|(other, _)| other.root.digest == selection.root.digest) {
            Some((_, names)) => names.extend(found.name),
            None => images.push((selection, found.name.into_iter().collect())),
        }
    }
    let write = |out: &mut dyn Write| mover.archive_into(&images, false, out);
    let compress = args.output.extension().is_some_and(|ending| ending == "zst");
    let body = |out: &mut dyn Write| match compress {
        true => compressed(out, &args.output, &write),
        false => write(out),
    };
    let wrote = match split {
        None => {
            whole::write(&args.output, "write", body)?;
            format!("wrote {}", args.output.display())
        }
        Some(size) => {
            let mut splitter = Splitter::new(&args.output, size)?;
            body(&mut splitter)?;
            let (document, count) = splitter.finish()?;
            format!("wrote {count} pieces; kiln cluster load -i {} reads them", document.display())
        }
    };
    progress.finish();
    if !args.quiet {
        eprintln!("{wrote}");
    }
    Ok(())
}

/// What `write` writes, compressed.
fn compressed(
    out: &mut dyn Write,
    path: &Path,
    write: &dyn Fn(&mut dyn Write) -> kiln_engine::Result<()>,
) -> kiln_engine::Result<()> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut compressor = Compressor::new(out, Compression::Zstd { level: LEVEL }, threads);
    write(&mut compressor)?;
    let failed = |e: io::Error| EngineError::file("write", path)(e);
    compressor.finish().map_err(failed)?.flush().map_err(failed)
}
