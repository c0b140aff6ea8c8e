//! `kiln tag`: one more name for an image.

use kiln_engine::stored;

use crate::cli::Global;
use crate::error::CliError;
use crate::named;

/// The command line.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  kiln tag app:1 app:latest\n  kiln tag 5f0a app:old       the beginning of an id will do"
)]
pub struct Args {
    /// The image
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Its new names
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    let names = args.names.iter().map(|n| named::reference(n)).collect::<Result<Vec<_>, _>>()?;
    if let Some(name) = names.iter().find(|n| n.digest.is_some()) {
        return Err(CliError::usage(format!("`{name}`: a name to be given may have a tag, not a digest")));
    }
    let store = named::store(global)?;
    let _lease = store.lease()?;
    let found = stored::find(&store, &args.image)?;
    for name in names {
        store.set_ref(&name.to_string(), &found.descriptor)?;
    }
    Ok(())
}
