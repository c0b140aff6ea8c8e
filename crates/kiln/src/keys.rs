//! Keys that sign and verify, as options name them: a file, or `env://NAME` for the value of a variable.

use std::fs::File;
use std::io::Read;

use kiln_attest::{AttestError, PrivateKey, PublicKey};

use crate::cmd::login;
use crate::error::CliError;

/// The variable with the password of a private key, cosign's.
pub const PASSWORD: &str = "COSIGN_PASSWORD";
const ENVIRONMENT: &str = "env://";
/// A key file larger than this is none.
const MAX_KEY: u64 = 64 << 10;

/// The private key that `flag` names. Its password comes from the environment, or is asked for on a terminal.
pub fn private(flag: &str, place: &str) -> Result<PrivateKey, CliError> {
    let text = read(flag, place)?;
    let password = match (PrivateKey::needs_password(&text), std::env::var(PASSWORD)) {
        (false, _) => None,
        (true, Ok(password)) => Some(password),
        (true, Err(_)) => Some(asked(place)?),
    };
    PrivateKey::parse(&text, password.as_deref().map(str::as_bytes)).map_err(|e| unusable(flag, place, &e))
}

/// The public key that `flag` names.
pub fn public(flag: &str, place: &str) -> Result<PublicKey, CliError> {
    let text = read(flag, place)?;
    PublicKey::parse(&text).map_err(|e| unusable(flag, place, &e))
}

fn asked(place: &str) -> Result<String, CliError> {
    login::hidden_prompt(&format!("Password for {place}: ")).map_err(|_| {
        CliError::usage(format!("the key {place} is behind a password, and there is no terminal to ask for it on"))
            .with_hint(format!("give the password in the variable {PASSWORD}"))
    })
}

fn unusable(flag: &str, place: &str, error: &AttestError) -> CliError {
    let told = CliError::input(format!("{flag} {place}: {error}"));
    match error {
        AttestError::Password => told.with_hint(format!("the password is in the variable {PASSWORD}")),
        AttestError::Key(_) => told.with_hint("keys are ECDSA over P-256, in PEM: kiln generate-key-pair makes them"),
        _ => told,
    }
}

fn read(flag: &str, place: &str) -> Result<Vec<u8>, CliError> {
    if let Some(name) = place.strip_prefix(ENVIRONMENT) {
        return std::env::var(name)
            .map(String::into_bytes)
            .map_err(|_| CliError::usage(format!("{flag} {place}: there is no variable {name}")));
    }
    if place.contains("://") {
        let error = CliError::usage(format!("{flag} {place}: keys of a key management service are not supported yet"));
        return Err(error.with_hint("name a file, or env://NAME for a variable that holds the key"));
    }
    let failed = |e: std::io::Error| CliError::input(format!("{flag}: cannot read the key {place}: {e}"));
    let mut text = Vec::new();
    File::open(place).map_err(failed)?.take(MAX_KEY).read_to_end(&mut text).map_err(failed)?;
    Ok(text)
}
