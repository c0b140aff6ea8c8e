//! `kiln registry import`: what the directory of a registry has, into the store.

use std::path::PathBuf;

use kiln_cluster::registry_dir::Directory;
use kiln_cluster::registry_out;

use crate::cli::Global;
use crate::error::CliError;
use crate::named;

/// The command line.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The directory, with docker/registry/v2 in it
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// The registry that repositories without one in their name came from
    #[arg(long, value_name = "HOST", default_value = registry_out::HOME)]
    registry: String,
    /// Take manifests without a tag, too, by their digest
    #[arg(long)]
    untagged: bool,
    /// Print nothing
    #[arg(short, long)]
    quiet: bool,
}

const EXAMPLES: &str = "\
Examples:
  kiln registry import ./registry                       what sealer, sealos or `kiln registry export` made
  kiln registry import /var/lib/registry                what docker's registry keeps
  kiln registry import ./registry --registry k8s.gcr.io

Repositories whose first part is a host, docker.io/library/nginx, are that registry's. Others are localhost's, as if
they had been pushed to `kiln registry serve`, or those of --registry.";

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
    let registry = &args.registry;
    if !registry.contains(['.', ':']) && registry != registry_out::HOME || !registry.chars().all(plain) {
        return Err(CliError::usage(format!("--registry {registry}: that is not the name of a registry")));
    }
    let (around, progress) = named::offline(global, args.quiet, "Importing")?;
    let tree = Directory::open(&args.dir)?;
    let imported = registry_out::import(&tree, registry, args.untagged, &named::mover(&around))?;
    progress.finish();
    if imported.left > 0 {
        eprintln!("warning: {} manifests without a tag were left: --untagged takes them", imported.left);
    }
    if args.quiet {
        return Ok(());
    }
    let line = |(name, root): &(kiln_oci::Reference, kiln_oci::Descriptor)| {
        format!("{} ({})\n", name.familiar(), root.digest.short())
    };
    eprintln!("{} images", imported.names.len());
    named::print(&imported.names.iter().map(line).collect::<String>())
}
