//! `kiln logout`: a credential is forgotten.

use kiln_registry::LoginStore;

use crate::error::CliError;

/// The command line.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kiln logout registry.example")]
pub struct Args {
    /// The registry
    #[arg(value_name = "REGISTRY", default_value = "docker.io")]
    registry: String,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<(), CliError> {
    let host = super::login::host(&args.registry)?;
    let failed = |e: kiln_registry::credentials::CredentialError| CliError::environment(e.to_string());
    match LoginStore::from_env().and_then(|store| store.logout(&host)).map_err(failed)? {
        true => crate::named::print(&format!("Removed the login to {host}\n")),
        false => crate::named::print(&format!("Not logged in to {host}\n")),
    }
}
