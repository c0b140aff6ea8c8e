//! `kiln generate-key-pair`: a key that signs images, and the half that verifies them.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use kiln_attest::PrivateKey;

use crate::cmd::login;
use crate::error::CliError;
use crate::keys::PASSWORD;

/// The command line.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// What the two files are called, before .key and .pub
    #[arg(long, value_name = "PREFIX", default_value = "cosign")]
    output_key_prefix: String,
}

const EXAMPLES: &str = "\
Examples:
  kiln generate-key-pair                               cosign.key and cosign.pub here
  COSIGN_PASSWORD=… kiln generate-key-pair --output-key-prefix ci

The private half is behind a password: the one in COSIGN_PASSWORD, or one that is asked for. cosign reads both files, and
Kiln reads cosign's.";

/// Runs the verb.
pub fn run(args: &Args) -> Result<(), CliError> {
    let path = |ending: &str| PathBuf::from(format!("{}.{ending}", args.output_key_prefix));
    let (private, public) = (path("key"), path("pub"));
    if let Some(there) = [&private, &public].into_iter().find(|path| path.exists()) {
        let error = CliError::input(format!("{} is there already, and is not overwritten", there.display()));
        return Err(error.with_hint("take another name with --output-key-prefix"));
    }
    let password = match std::env::var(PASSWORD) {
        Ok(password) => password,
        Err(_) => asked()?,
    };
    let failed = |e: kiln_attest::AttestError| CliError::environment(format!("cannot make a key: {e}"));
    let key = PrivateKey::generate().map_err(failed)?;
    write(&private, 0o600, &key.sealed(password.as_bytes()).map_err(failed)?)?;
    write(&public, 0o644, &key.public().text())?;
    let text = format!("Private key written to {}\nPublic key written to {}\n", private.display(), public.display());
    crate::named::print(&text)
}

/// A password that was typed twice.
fn asked() -> Result<String, CliError> {
    let prompt = |text| {
        login::hidden_prompt(text).map_err(|_| {
            CliError::usage("there is no terminal to ask for a password on")
                .with_hint(format!("give the password in the variable {PASSWORD}; it may be empty"))
        })
    };
    let first = prompt("Password for the new key: ")?;
    match first == prompt("The same again: ")? {
        true => Ok(first),
        false => Err(CliError::usage("the two passwords differ")),
    }
}

/// A new file: never one that is there already, and from the start readable to no more than `mode` says.
fn write(path: &PathBuf, mode: u32, text: &str) -> Result<(), CliError> {
    let failed = |e: std::io::Error| CliError::environment(format!("cannot write {}: {e}", path.display()));
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
}
