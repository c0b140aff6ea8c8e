//! `kiln push`: an image of the store goes to a registry.

use kiln_engine::stored;
use kiln_engine::transfer::push::check_target;
use kiln_engine::transfer::{Origin, Platforms};

use crate::cli::Global;
use crate::error::CliError;
use crate::named::{self, PlatformOption};
use crate::options::RegistryOptions;

/// The command line.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, mut_arg("platform", |a| a.help(PLATFORM)))]
pub struct Args {
    /// The image
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Where to, if the image goes by another name there
    #[arg(value_name = "DESTINATION")]
    destination: Option<String>,
    /// Which platform to push, of several; all without it.
    #[command(flatten)]
    platform: PlatformOption,
    /// Push all tags of the repository that the store has
    #[arg(short, long, conflicts_with = "destination")]
    all_tags: bool,
    /// Print only the digest
    #[arg(short, long)]
    quiet: bool,
    /// How registries are reached.
    #[command(flatten)]
    registry: RegistryOptions,
}

const PLATFORM: &str = "Push only this platform, such as linux/arm64 [default: all that the image has]";

const EXAMPLES: &str = "\
Examples:
  kiln push registry.example/app:1.2            the name says where to
  kiln push app registry.example/team/app:1.2   under another name
  kiln push --all-tags registry.example/app     every tag of it in the store
  kiln push --platform linux/arm64 …            one platform of an index

Blobs the registry has are not sent; blobs it has in another repository are mounted where it allows that.";

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    let (around, progress) = named::online(global, &args.registry, args.quiet, "Pushing")?;
    let platforms = args.platform.given()?.map_or(Platforms::All, Platforms::One);
    let mut work = Vec::new();
    if args.all_tags {
        let wanted = named::reference(&args.image)?;
        if wanted.tag.is_some() || wanted.digest.is_some() {
            return Err(CliError::usage(format!(
                "--all-tags needs a repository, but `{wanted}` names one image of it"
            )));
        }
        let all = stored::list(&around.store)?;
        work.extend(
            all.into_iter()
                .filter(|i| i.name.name() == wanted.name() && i.name.digest.is_none())
                .map(|i| (i.name.clone(), stored::Found { name: Some(i.name), descriptor: i.descriptor })),
        );
        if work.is_empty() {
            return Err(kiln_engine::EngineError::NoSuchImage(wanted.name()).into());
        }
    } else {
        let destination = args.destination.as_deref().map(named::reference).transpose()?;
        destination.as_ref().map_or(Ok(()), check_target)?;
        let found = stored::find(&around.store, &args.image)?;
        let to = match destination {
            Some(to) => to,
            None => named::must_have_name(&found, &args.image)?,
        };
        work.push((to, found));
    }
    let mover = named::mover(&around);
    let mut text = String::new();
    for (to, found) in work {
        check_target(&to)?;
        let selection = mover.select(&Origin::Store, &found.title(), found.descriptor, &platforms)?;
        let digest = mover.push(&selection, &to)?;
        text += &match args.quiet {
            true => format!("{digest}\n"),
            false => format!("{}: {digest}\n", to.familiar()),
        };
    }
    progress.finish();
    named::print(&text)
}
