//! `kiln sbom`: what is installed in an image.

use kiln_cluster::inventory as cluster;
use kiln_engine::attest;
use kiln_engine::rootfs::Roots;
use kiln_engine::stored::{self, Found};
use kiln_sbom::{Inventory, Package, Subject};

use crate::cli::Global;
use crate::cmd::build::attest as options;
use crate::error::CliError;
use crate::named::{self, Chosen, PlatformOption};
use crate::surroundings::Surroundings;

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
    /// An image that the cluster image IMAGE contains, by its name there
    #[arg(long, value_name = "NAME")]
    contained: Option<String>,
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
  kiln sbom my-cluster:v1                 of a cluster image: its root file system, and all that it contains
  kiln sbom --format spdx --contained nginx:1 my-cluster:v1 > nginx.spdx.json

What is read: the databases of dpkg, apk and rpm, what language package managers install, and their lock files. What
cannot be read is said on standard error, and in the documents.";

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    let format = match &*args.format {
        "table" => None,
        name => Some(options::format("--format", name)?),
    };
    let (around, progress) = named::offline(global, false, "Reading")?;
    let found = stored::find(&around.store, &args.image)?;
    let contained = contained(&around, &found, args)?;
    let roots = Roots::new(around.store.clone(), around.images.clone(), around.lease.clone(), around.events.clone());
    let listed = |found: &Found| -> Result<(Chosen, Inventory), CliError> {
        let image = named::choose_of(&around, found, &args.platform)?;
        let inventory = attest::inventory(&image.layers(), &roots)?;
        Ok((image, inventory))
    };
    let (image, inventory) = listed(contained.chosen.as_ref().unwrap_or(&found))?;
    let Some(format) = format else {
        let mut all = vec![(String::new(), inventory)];
        for other in &contained.others {
            // What is no image of files, a chart say, has nothing installed in it.
            match listed(other) {
                Ok((image, inventory)) => all.push((image.title, inventory)),
                Err(error) => {
                    let text = error.render(false);
                    eprintln!("warning: {}: {}", other.title(), text.trim_start_matches("error: ").trim_end());
                }
            }
        }
        progress.finish();
        all.iter().flat_map(|(_, inventory)| &inventory.doubts).for_each(|doubt| eprintln!("warning: {doubt}"));
        return named::print(&table(&all));
    };
    progress.finish();
    for doubt in &inventory.doubts {
        eprintln!("warning: {doubt}");
    }
    if !contained.others.is_empty() {
        let count = contained.others.len();
        eprintln!(
            "warning: this is the root file system; the {count} images in it have documents of their own: --contained"
        );
    }
    let created = attest::created(&image.config, env!("CARGO_PKG_VERSION"));
    let subject = Subject {
        name: image.title.clone(),
        digest: Some(image.descriptor.digest.clone()),
        platform: Some(image.config.platform()),
    };
    named::print_json(&format.document(&inventory, &subject, &created))
}

/// What a cluster image contains.
#[derive(Default)]
struct Contained {
    /// The one that was asked for.
    chosen: Option<Found>,
    /// All of them, if none was asked for.
    others: Vec<Found>,
}

fn contained(around: &Surroundings, found: &Found, args: &Args) -> Result<Contained, CliError> {
    if !cluster::is_cluster(&around.store, found)? {
        return match &args.contained {
            Some(_) => Err(CliError::input(format!("`{}` is not a cluster image: it contains no images", args.image))),
            None => Ok(Contained::default()),
        };
    }
    let inventory = cluster::Inventory::read(&around.store, found)?;
    let as_found = |entry: &cluster::Entry| Found {
        name: Some(entry.contained.name.clone()),
        descriptor: entry.contained.root.clone(),
    };
    let Some(name) = &args.contained else {
        return Ok(Contained { chosen: None, others: inventory.images.iter().map(as_found).collect() });
    };
    let Some(entry) = inventory.image(name) else {
        let error = CliError::input(format!("`{}` contains no image called `{name}`", args.image));
        return Err(error.with_hint(format!("kiln cluster images {} lists them", args.image)));
    };
    Ok(Contained { chosen: Some(as_found(entry)), others: Vec::new() })
}

/// Packages by image; of one image alone, without a column for it.
fn table(all: &[(String, Inventory)]) -> String {
    let plain = |text: &str| text.escape_debug().to_string();
    let row = |image: &str, package: &Package| {
        let place = package.locations.first().map(|location| location.path.clone()).unwrap_or_default();
        let mut row = vec![plain(&package.name), plain(&package.version), package.kind.name().to_owned(), place];
        if all.len() > 1 {
            row.push(if image.is_empty() { "-".to_owned() } else { image.to_owned() });
        }
        row
    };
    let rows =
        all.iter().flat_map(|(image, inventory)| inventory.packages.iter().map(|p| row(image, p)).collect::<Vec<_>>());
    let head: &[&str] = match all.len() {
        1 => &["NAME", "VERSION", "KIND", "FOUND IN"],
        _ => &["NAME", "VERSION", "KIND", "FOUND IN", "IMAGE"],
    };
    crate::table::table(head, &rows.collect::<Vec<_>>())
}
