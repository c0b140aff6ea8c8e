//! `kiln cluster load`: cluster images out of a file, or out of pieces of it.

use std::path::{Path, PathBuf};

use kiln_cluster::inventory::Inventory;
use kiln_cluster::parts;
use kiln_engine::archive::{self, Input};
use kiln_engine::stored::Found;

use crate::cli::Global;
use crate::error::CliError;
use crate::named;

/// Read cluster images from a file, or from pieces of it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The file; of pieces, the one that ends in .parts
    #[arg(short, long, value_name = "FILE")]
    input: PathBuf,
    /// Print only the digests
    #[arg(short, long)]
    quiet: bool,
}

const EXAMPLES: &str = "\
Examples:
  kiln cluster load -i my.tar.zst
  kiln cluster load -i /media/usb/my.tar.zst.parts     pieces beside it, each compared with its checksum first";

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    let (around, progress) = named::offline(global, args.quiet, "Loading")?;
    let mover = named::mover(&around);
    let input = match pieces(&args.input)? {
        false => Input::Path(args.input.clone()),
        true => Input::Pieces(parts::verify(&args.input, &|| mover.check())?),
    };
    let loaded = archive::load(&mover, &input, None)?;
    let mut text = String::new();
    for image in &loaded {
        let found = Found { name: image.names.first().cloned(), descriptor: image.root.clone() };
        // Other images may be in the same archive; they are loaded, too.
        let images = Inventory::read(&around.store, &found).map_or(0, |inventory| inventory.images.len());
        text += &match (args.quiet, &image.names[..]) {
            (true, _) => format!("{}\n", image.root.digest),
            (false, []) => format!("{} ({images} images contained)\n", image.root.digest),
            (false, names) => {
                let names: Vec<String> = names.iter().map(kiln_oci::Reference::familiar).collect();
                format!("{} ({images} images contained)\n", names.join(", "))
            }
        };
    }
    progress.finish();
    named::print(&text)
}

/// Whether a path is the document of pieces. A piece alone is a mistake.
fn pieces(path: &Path) -> Result<bool, CliError> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if let Some((whole, _)) = name.rsplit_once(".part-") {
        let document = path.with_file_name(format!("{whole}.{}", parts::ENDING));
        return Err(CliError::input(format!("{} is one piece of a file", path.display()))
            .with_hint(format!("kiln cluster load -i {}", document.display())));
    }
    Ok(name.ends_with(&format!(".{}", parts::ENDING)))
}
