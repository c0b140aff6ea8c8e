//! `kiln inspect`: all that is known of images, as JSON.

use kiln_engine::stored;
use kiln_node::unikernel::carried;
use serde_json::{Value, json};

use crate::cli::Global;
use crate::error::CliError;
use crate::named::{self, PlatformOption};
use crate::surroundings::Surroundings;

/// The command line.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The images
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
    /// Which platform of an index.
    #[command(flatten)]
    platform: PlatformOption,
    /// Print the bytes of the manifest or index as they are
    #[arg(long)]
    raw: bool,
    /// Print the bytes of the configuration as they are
    #[arg(long, conflicts_with = "raw")]
    config: bool,
}

const EXAMPLES: &str = "\
Examples:
  kiln inspect app                            names, configuration, layers
  kiln inspect app | jq '.[0].Config.Env'
  kiln inspect --raw app | sha256sum          the manifest's bytes
  kiln inspect --config app | jq .history     the configuration's bytes";

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    let (around, progress) = named::offline(global, true, "Reading")?;
    progress.finish();
    if args.raw || args.config {
        for text in &args.images {
            raw(&around, text, args)?;
        }
        return Ok(());
    }
    let all: Result<Vec<Value>, CliError> = args.images.iter().map(|text| one(&around, text, args)).collect();
    named::print_json(&Value::Array(all?))
}

fn raw(around: &Surroundings, text: &str, args: &Args) -> Result<(), CliError> {
    let digest = match (args.config, &args.platform.platform) {
        (false, None) => stored::find(&around.store, text)?.descriptor.digest,
        (false, Some(_)) => named::choose(around, text, &args.platform)?.descriptor.digest,
        (true, _) => named::choose(around, text, &args.platform)?.manifest.config.digest,
    };
    let bytes = around.store.read_blob(&digest, kiln_engine::images::MAX_DOCUMENT)?;
    named::print(&String::from_utf8_lossy(&bytes))
}

fn one(around: &Surroundings, text: &str, args: &Args) -> Result<Value, CliError> {
    let found = stored::find(&around.store, text)?;
    let image = named::choose(around, text, &args.platform)?;
    let names: Vec<String> = stored::list(&around.store)?
        .iter()
        .filter(|i| i.descriptor.digest == found.descriptor.digest)
        .map(|i| i.name.familiar())
        .collect();
    let config = &image.config;
    let unikernel = carried::said(&image.title, &image.manifest, config);
    let size: u64 = image.manifest.layers.iter().chain([&image.manifest.config]).map(|d| d.size).sum();
    let mut shown = json!({
        "Id": image.descriptor.digest.to_string(),
        "ConfigDigest": image.manifest.config.digest.to_string(),
        "IndexDigest": (found.descriptor.digest != image.descriptor.digest).then(|| found.descriptor.digest.to_string()),
        "MediaType": image.descriptor.media_type,
        "RepoTags": names,
        "Created": config.created,
        "Author": config.author,
        "Architecture": config.architecture,
        "Variant": config.variant,
        "Os": config.os,
        "Size": size,
        "Config": config.config,
        "RootFS": { "Type": "layers", "Layers": config.rootfs.diff_ids },
        "Layers": image.manifest.layers,
        "Annotations": image.manifest.annotations,
        "History": config.history,
    });
    let unikernel = match unikernel {
        Ok(parcel) => parcel.map(|parcel| super::node::unikernel::json(&parcel)),
        // What makes no sense there is no reason to show nothing of the rest.
        Err(e) => Some(json!({ "Error": e.to_string() })),
    };
    if let (Some(unikernel), Value::Object(fields)) = (unikernel, &mut shown) {
        fields.insert("Unikernel".to_owned(), unikernel);
    }
    Ok(shown)
}
