//! `kiln pull`: an image comes into the store.

use kiln_engine::transfer::Platforms;
use kiln_oci::Reference;

use crate::cli::Global;
use crate::error::CliError;
use crate::named::{self, PlatformOption};
use crate::options::RegistryOptions;

/// The command line.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The images
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
    /// Which platform to fetch.
    #[command(flatten)]
    platform: PlatformOption,
    /// Fetch all platforms; the name then means the index of them
    #[arg(long, conflicts_with = "platform")]
    all_platforms: bool,
    /// Fetch all tags of the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Print only the digest
    #[arg(short, long)]
    quiet: bool,
    /// How registries are reached.
    #[command(flatten)]
    registry: RegistryOptions,
}

const EXAMPLES: &str = "\
Examples:
  kiln pull debian:13                         the image for this machine
  kiln pull --platform linux/arm64 debian:13  for another
  kiln pull --all-platforms debian:13         the index, and every platform in it
  kiln pull app@sha256:0123…                  exactly these bytes
  kiln pull --all-tags registry.example/app   everything the repository has

What arrived stays: after an interruption, the same command goes on with the blobs that are missing.";

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    let platforms = match args.all_platforms {
        true => Platforms::All,
        false => Platforms::One(args.platform.or_host()?),
    };
    let references = args.images.iter().map(|t| named::reference(t)).collect::<Result<Vec<_>, _>>()?;
    let (around, progress) = named::online(global, &args.registry, args.quiet, "Pulling")?;
    let mover = named::mover(&around);
    let mut text = String::new();
    for reference in &references {
        let all = match args.all_tags {
            true => tags(reference, &around)?,
            false => vec![reference.clone()],
        };
        for reference in all {
            let root = mover.pull(&reference, &platforms)?;
            text += &match args.quiet {
                true => format!("{}\n", root.digest),
                false => format!("{}: {}\n", reference.familiar(), root.digest),
            };
        }
    }
    progress.finish();
    named::print(&text)
}

fn tags(reference: &Reference, around: &crate::surroundings::Surroundings) -> Result<Vec<Reference>, CliError> {
    if reference.tag.is_some() || reference.digest.is_some() {
        return Err(CliError::usage(format!("--all-tags needs a repository, but `{reference}` names one image of it")));
    }
    let tags = around.images.client().tags(reference)?;
    Ok(tags.into_iter().map(|tag| Reference { tag: Some(tag), ..reference.clone() }).collect())
}
