//! `kiln sign`: a signature beside an image in its registry.

use kiln_engine::sign;
use kiln_oci::{Descriptor, Index, Platform, Reference, media};
use kiln_registry::{Client, FetchedManifest};

use crate::cli::Global;
use crate::error::CliError;
use crate::options::RegistryOptions;
use crate::{keys, named};

/// As deep indexes may hold indexes.
const MAX_DEPTH: usize = 4;
/// As many images an index may name.
const MAX_IMAGES: usize = 1000;

/// The command line.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The images, in their registries
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
    /// The private key: a file, or env://NAME for the value of a variable
    #[arg(long, value_name = "KEY")]
    key: String,
    /// Sign the images of an index too, one by one
    #[arg(short, long)]
    recursive: bool,
    /// How registries are reached.
    #[command(flatten)]
    registry: RegistryOptions,
}

const EXAMPLES: &str = "\
Examples:
  kiln generate-key-pair                                     once: cosign.key and cosign.pub
  kiln sign --key cosign.key registry.example/app@sha256:…   what was signed is what the digest says
  kiln sign --key env://SIGNING_KEY --recursive registry.example/app:1
  kiln build --push -t registry.example/app:1 --sign cosign.key .

The password of the key is in COSIGN_PASSWORD, or asked for. Signatures are cosign's: `cosign verify --key cosign.pub
--insecure-ignore-tlog` accepts them, for there is no transparency log behind a key of one's own.";

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    let key = keys::private("--key", &args.key)?;
    let (around, progress) = named::online(global, &args.registry, false, "Signing")?;
    let client = around.images.client();
    let mut text = String::new();
    for image in &args.images {
        let name = named::reference(image)?;
        let fetched = client.manifest(&name)?;
        let mut all: Vec<Descriptor> = vec![fetched.descriptor.clone()];
        if args.recursive {
            named_in(&fetched, &name, client, &mut all, 0)?;
        }
        for descriptor in &all {
            sign::image(&name, descriptor, &key, client)?;
            text += &format!("{}@{}\n", named::repository(&name), descriptor.digest);
        }
    }
    progress.finish();
    named::print(&text)
}

/// Adds what an index names, attestations aside, and what indexes in it name.
fn named_in(
    fetched: &FetchedManifest,
    name: &Reference,
    client: &Client,
    all: &mut Vec<Descriptor>,
    depth: usize,
) -> Result<(), CliError> {
    if !media::is_index(&fetched.descriptor.media_type) {
        return Ok(());
    }
    let bad = |why: String| CliError::input(format!("{name}: its index cannot be signed: {why}"));
    let index: Index = serde_json::from_slice(&fetched.bytes).map_err(|e| bad(e.to_string()))?;
    for entry in index.manifests {
        if entry.platform == Some(Platform::unknown()) || all.iter().any(|known| known.digest == entry.digest) {
            continue;
        }
        if depth == MAX_DEPTH || all.len() == MAX_IMAGES {
            return Err(bad(format!("it holds more than {MAX_IMAGES} images, or indexes {MAX_DEPTH} deep")));
        }
        all.push(entry.clone());
        if media::is_index(&entry.media_type) {
            named_in(&client.manifest(&name.at(entry.digest))?, name, client, all, depth + 1)?;
        }
    }
    Ok(())
}
