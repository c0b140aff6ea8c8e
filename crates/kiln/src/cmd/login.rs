//! `kiln login`: a credential is tried, then kept where docker and podman look for it.

use std::io::{self, BufRead, IsTerminal, Read, Write};

use kiln_registry::credentials::StoredIn;
use kiln_registry::{Credential, LoginStore, Secret};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::error::CliError;
use crate::options::RegistryOptions;
use crate::surroundings;

/// Passwords on standard input may have this many bytes.
const MAX_PASSWORD: u64 = 64 << 10;

/// The command line.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The registry
    #[arg(value_name = "REGISTRY", default_value = "docker.io")]
    registry: String,
    /// The user
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    /// The password or token; other users of this machine may see it, so prefer --password-stdin
    #[arg(short, long, value_name = "TEXT", conflicts_with = "password_stdin")]
    password: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,
    /// How registries are reached.
    #[command(flatten)]
    options: RegistryOptions,
}

const EXAMPLES: &str = "\
Examples:
  kiln login registry.example                                    asks for name and password
  pass show registry | kiln login -u me --password-stdin registry.example

The login is kept in $DOCKER_CONFIG/config.json (else ~/.docker/config.json), or by the helper that file names.";

/// Runs the verb.
pub fn run(args: &Args) -> Result<(), CliError> {
    let host = host(&args.registry)?;
    if args.password.is_some() {
        eprintln!("warning: --password shows the password to other users of this machine; use --password-stdin");
    }
    if args.password_stdin && args.username.is_none() {
        return Err(CliError::usage("--password-stdin needs --username"));
    }
    let username = match &args.username {
        Some(name) => name.clone(),
        None => prompt("Username: ", true)?,
    };
    if username.is_empty() || username.contains(':') {
        return Err(CliError::usage("a user name must not be empty or contain `:`"));
    }
    let password = match (&args.password, args.password_stdin) {
        (Some(password), _) => password.clone(),
        (None, true) => from_stdin()?,
        (None, false) => prompt("Password: ", false)?,
    };
    if password.is_empty() {
        return Err(CliError::usage("the password is empty"));
    }
    let store = LoginStore::from_env().map_err(|e| CliError::environment(e.to_string()))?;
    let (client, _) = surroundings::client(&args.options)?;
    client.check_login(&host, &Credential::basic(username.clone(), password.clone()))?;
    let failed =
        |e: kiln_registry::credentials::CredentialError| CliError::environment(e.to_string()).with_any_hint(e.hint());
    match store.login(&host, &username, &Secret::new(password)).map_err(failed)? {
        StoredIn::File(path) => eprintln!("The password is kept in {}, readable to you only.", path.display()),
        StoredIn::Helper(name) => eprintln!("The password is kept by docker-credential-{name}."),
    }
    crate::named::print("Login Succeeded\n")
}

/// The registry of what the user typed: a host, perhaps as a URL.
pub fn host(text: &str) -> Result<String, CliError> {
    let bare = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
    let bare = bare.trim_end_matches('/');
    let bare = match bare {
        "index.docker.io" | "index.docker.io/v1" | "registry-1.docker.io" => "docker.io",
        other => other,
    };
    let known = bare == "localhost" || bare.contains(['.', ':']);
    let probe = format!("{bare}/x").parse::<kiln_oci::Reference>();
    match probe {
        Ok(r) if known && r.registry == bare => Ok(bare.to_owned()),
        _ => Err(CliError::usage(format!("`{text}` is not a registry: expected HOST or HOST:PORT"))),
    }
}

fn from_stdin() -> Result<String, CliError> {
    let mut text = String::new();
    io::stdin()
        .take(MAX_PASSWORD)
        .read_to_string(&mut text)
        .map_err(|e| CliError::environment(format!("cannot read the password from standard input: {e}")))?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

/// Asks for a secret on the terminal.
pub fn hidden_prompt(text: &str) -> Result<String, CliError> {
    prompt(text, false)
}

/// Asks on the terminal; without `echo`, what is typed is not shown.
fn prompt(text: &str, echo: bool) -> Result<String, CliError> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Err(CliError::usage("there is no terminal to ask for name and password on")
            .with_hint("give --username and --password-stdin"));
    }
    let failed = |e: io::Error| CliError::environment(format!("cannot ask on the terminal: {e}"));
    eprint!("{text}");
    io::stderr().flush().map_err(failed)?;
    let before = tcgetattr(&stdin).map_err(|e| failed(e.into()))?;
    if !echo {
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        silent.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(&stdin, OptionalActions::Flush, &silent).map_err(|e| failed(e.into()))?;
    }
    let mut line = String::new();
    let read = stdin.lock().read_line(&mut line);
    if !echo {
        tcsetattr(&stdin, OptionalActions::Flush, &before).map_err(|e| failed(e.into()))?;
    }
    read.map_err(failed)?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::host;

    #[test]
    fn registries_are_hosts() {
        for (text, want) in [
            ("docker.io", "docker.io"),
            ("https://index.docker.io/v1/", "docker.io"),
            ("localhost:5000", "localhost:5000"),
            ("https://reg.example/", "reg.example"),
        ] {
            assert_eq!(host(text).unwrap(), want);
        }
        for text in ["", "reg", "reg.example/path", "ftp://x.y"] {
            assert!(host(text).is_err(), "{text}");
        }
    }
}
