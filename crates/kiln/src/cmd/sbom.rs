//! `kiln sbom`: what is installed in an image.

use kiln_engine::attest;
use kiln_engine::rootfs::Roots;
use kiln_sbom::{Inventory, Package, Subject};

use crate::cli::Global;
use crate::cmd::build::attest as options;
use crate::error::CliError;
use crate::named::{self, PlatformOption};

/// The command line.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The image
    #[arg(value_name = "IMAGE")]
    image: String,
    /// table, spdx (SPDX 2.3) or cyclonedx (CycloneDX 1.6), the latter two as JSON
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    format: String,
    /// Which platform of an index.
    #[command(flatten)]
    platform: PlatformOption,
}

const EXAMPLES: &str = "\
Examples:
  kiln sbom app                           packages, one a line
  kiln sbom --format spdx app > app.spdx.json
  kiln sbom --format cyclonedx app | jq '.components[].purl'
  kiln build --sbom -t reg.example/app --push .   the same, kept beside the image

What is read: the databases of dpkg, apk and rpm, what language package managers install, and their lock files. What
cannot be read is said on standard error, and in the documents.";

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    let format = match &*args.format {
        "table" => None,
        name => Some(options::format("--format", name)?),
    };
    let (around, progress) = named::offline(global, false, "Reading")?;
    let image = named::choose(&around, &args.image, &args.platform)?;
    let roots = Roots::new(around.store.clone(), around.images.clone(), around.lease.clone(), around.events.clone());
    let inventory = attest::inventory(&image.layers(), &roots)?;
    progress.finish();
    for doubt in &inventory.doubts {
        eprintln!("warning: {doubt}");
    }
    let created = attest::created(&image.config, env!("CARGO_PKG_VERSION"));
    let subject = Subject {
        name: image.title.clone(),
        digest: Some(image.descriptor.digest.clone()),
        platform: Some(image.config.platform()),
    };
    match format {
        Some(format) => named::print_json(&format.document(&inventory, &subject, &created)),
        None => named::print(&table(&inventory)),
    }
}

fn table(inventory: &Inventory) -> String {
    let row = |package: &Package| {
        let place = package.locations.first().map(|location| location.path.clone()).unwrap_or_default();
        let plain = |text: &str| text.escape_debug().to_string();
        vec![plain(&package.name), plain(&package.version), package.kind.name().to_owned(), place]
    };
    let rows: Vec<Vec<String>> = inventory.packages.iter().map(row).collect();
    crate::table::table(&["NAME", "VERSION", "KIND", "FOUND IN"], &rows)
}
