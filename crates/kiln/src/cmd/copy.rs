//! `kiln copy`: an image goes from one place to another; registries and layouts are not kept here on the way.

use std::path::{Path, PathBuf};

use kiln_engine::archive::{self, Input};
use kiln_engine::layout::Layout;
use kiln_engine::output::Dest;
use kiln_engine::stored;
use kiln_engine::transfer::push::check_target;
use kiln_engine::transfer::{Mover, Origin, Platforms, Selection};
use kiln_oci::{Digest, Platform, Reference};

use crate::cli::Global;
use crate::error::CliError;
use crate::named::{self, PlatformOption};
use crate::options::RegistryOptions;
use crate::surroundings::Surroundings;

/// The command line.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, mut_arg("platform", |a| a.help(PLATFORM)))]
pub struct Args {
    /// Where from
    #[arg(value_name = "SOURCE")]
    source: String,
    /// Where to
    #[arg(value_name = "DESTINATION")]
    destination: String,
    /// Which platform to copy, of several [default: all; this machine's into a docker archive]
    #[command(flatten)]
    platform: PlatformOption,
    /// Print only the digest
    #[arg(short, long)]
    quiet: bool,
    /// How registries are reached.
    #[command(flatten)]
    registry: RegistryOptions,
}

const PLATFORM: &str =
    "Copy only this platform, such as linux/arm64 [default: all; this machine's into a docker archive]";

const EXAMPLES: &str = "\
Places:
  docker://NAME               a registry
  store:NAME                  Kiln's store
  oci:DIR[:TAG|@DIGEST]       an OCI layout
  oci-archive:FILE[:NAME]     an archive of one
  docker-archive:FILE[:NAME]  an archive of docker
  NAME                        the store as a source, a registry as a destination

Examples:
  kiln copy docker://debian:13 registry.example/debian:13     all platforms, same digest
  kiln copy app docker://registry.example/app                 the same as `kiln push`
  kiln copy docker://debian:13 oci:mirror:debian              blobs go straight to the files
  kiln copy --platform linux/arm64 docker://debian:13 docker-archive:debian.tar
  kiln copy docker-archive:app.tar docker://registry.example/app:1

Between registries and layouts nothing is kept on this machine; what is in an archive passes through the store.";

/// Where images come from and go to.
pub enum Place {
    /// A registry.
    Registry(Reference),
    /// The store.
    Store(String),
    /// An OCI layout, with a tag or digest behind it.
    Layout(String),
    /// An archive.
    Archive {
        /// Docker's, and not OCI's.
        docker: bool,
        /// The file.
        path: PathBuf,
        /// Which image of it.
        name: Option<String>,
    },
}

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    let from = parse(&args.source, true)?;
    let to = parse(&args.destination, false)?;
    let given = args.platform.given()?;
    let platforms = match (&to, given) {
        (_, Some(platform)) => Platforms::One(platform),
        (Place::Archive { docker: true, .. }, None) => Platforms::One(Platform::host()),
        _ => Platforms::All,
    };
    let (around, progress) = named::online(global, &args.registry, args.quiet, "Copying")?;
    let digest = between(&from, &to, &platforms, &around)?;
    progress.finish();
    named::print(&match args.quiet {
        true => format!("{digest}\n"),
        false => format!("{}: {digest}\n", args.destination),
    })
}

fn between(from: &Place, to: &Place, platforms: &Platforms, around: &Surroundings) -> Result<Digest, CliError> {
    let mover = named::mover(around);
    if let Place::Registry(to) = to {
        check_target(to)?;
    }
    let (selection, names) = read(&mover, from, platforms)?;
    write(&mover, &selection, names, to)?;
    Ok(selection.root.digest)
}

/// Pushes the image in an OCI layout or an archive of docker, all its platforms, and returns its digest.
pub fn push_file(path: &Path, to: &Reference, around: &Surroundings) -> Result<Digest, CliError> {
    let from = match path.is_dir() {
        true => Place::Layout(path.display().to_string()),
        false => Place::Archive { docker: true, path: path.to_owned(), name: None },
    };
    between(&from, &Place::Registry(to.clone()), &Platforms::All, around)
}

/// Reads a place; a name alone is the store's as a source, a registry's as a destination.
pub fn parse(text: &str, source: bool) -> Result<Place, CliError> {
    let archive = |docker: bool, rest: &str| {
        let (path, name) = match rest.split_once(':') {
            Some((path, name)) if !PathBuf::from(rest).exists() => (path, Some(name.to_owned())),
            _ => (rest, None),
        };
        match path.is_empty() {
            true => Err(CliError::usage(format!("`{text}` names no file"))),
            false => Ok(Place::Archive { docker, path: PathBuf::from(path), name }),
        }
    };
    match text.split_once(':') {
        Some(("docker", rest)) if rest.starts_with("//") => Ok(Place::Registry(named::reference(&rest[2..])?)),
        Some(("store", rest)) => Ok(Place::Store(rest.to_owned())),
        Some(("oci", "")) => Err(CliError::usage(format!("`{text}` names no directory"))),
        Some(("oci", rest)) => Ok(Place::Layout(rest.to_owned())),
        Some(("oci-archive", rest)) => archive(false, rest),
        Some(("docker-archive", rest)) => archive(true, rest),
        Some((other @ ("dir" | "docker-daemon" | "containers-storage" | "ostree" | "atomic"), _)) => {
            Err(CliError::usage(format!("`{other}:` is not a place Kiln copies from or to"))
                .with_hint("places are docker://, store:, oci:, oci-archive: and docker-archive:"))
        }
        _ if source => Ok(Place::Store(text.to_owned())),
        _ => Ok(Place::Registry(named::reference(text)?)),
    }
}

fn read(mover: &Mover<'_>, from: &Place, platforms: &Platforms) -> Result<(Selection, Vec<Reference>), CliError> {
    match from {
        Place::Registry(reference) => {
            let root = mover.images.client().resolve(reference)?;
            let origin = Origin::Registry(reference.clone());
            let selection = mover.select(&origin, &reference.familiar(), root, platforms)?;
            let named = reference.digest.is_none().then(|| reference.clone());
            Ok((selection, named.into_iter().collect()))
        }
        Place::Store(text) => {
            let found = stored::find(mover.store, text)?;
            let selection = mover.select(&Origin::Store, &found.title(), found.descriptor.clone(), platforms)?;
            Ok((selection, found.name.into_iter().collect()))
        }
        Place::Layout(text) => {
            let layout = Layout::find(text)?;
            let mut root = layout.descriptor;
            root.annotations.clear();
            Ok((mover.select(&Origin::Layout(layout.dir), text, root, platforms)?, Vec::new()))
        }
        Place::Archive { path, name, .. } => {
            let input = Input::Path(path.clone());
            let all = archive::select(mover, &input)?;
            let (found, names) = archive::only(&input.title(), all, name.as_deref())?;
            let selection = mover.select(&found.origin, &found.name, found.root.clone(), platforms)?;
            Ok((selection, names))
        }
    }
}

/// Writes an image to a place.
pub fn write(mover: &Mover<'_>, selection: &Selection, names: Vec<Reference>, to: &Place) -> Result<(), CliError> {
    match to {
        Place::Registry(to) => drop(mover.push(selection, to)?),
        Place::Store(name) => mover.keep(selection, &[named::reference(name)?])?,
        Place::Layout(text) => {
            let (dir, tag) = match text.rsplit_once(':') {
                Some((dir, tag)) if !tag.contains('/') => (dir, Some(tag)),
                _ => (&**text, None),
            };
            mover.layout(selection, tag, &PathBuf::from(dir))?;
        }
        Place::Archive { docker, path, name } => {
            let names = match name {
                Some(name) => vec![named::reference(name)?],
                None => names,
            };
            mover.archive(&[(selection.clone(), names)], *docker, &Dest::Path(path.clone()))?;
        }
    }
    Ok(())
}
