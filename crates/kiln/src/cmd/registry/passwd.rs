//! `kiln registry passwd`: the file of users that a registry asks.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use kiln_serve::auth::htpasswd;

use crate::cmd::login;
use crate::error::CliError;

/// The longest file, and the longest password on standard input.
const LONGEST: u64 = 4 << 20;
const LONGEST_PASSWORD: u64 = 4 << 10;

/// The command line.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The file; it is made if it is not there
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The user
    #[arg(value_name = "NAME")]
    name: String,
    /// Read the password from standard input
    #[arg(long, conflicts_with = "delete")]
    password_stdin: bool,
    /// Take the user away
    #[arg(long)]
    delete: bool,
}

const EXAMPLES: &str = "\
Examples:
  kiln registry passwd users admin                                  asks for the password
  pass show registry | kiln registry passwd --password-stdin users ci
  kiln registry passwd --delete users ci
  kiln registry serve --htpasswd users

The file is one of htpasswd with bcrypt, as Docker's registry takes it. A registry that runs sees the change at once.";

/// Runs the verb.
pub fn run(args: &Args) -> Result<(), CliError> {
    let text = read(&args.file)?;
    let line = match args.delete {
        true => None,
        false => {
            let password = password(args.password_stdin)?;
            if password.is_empty() {
                return Err(CliError::usage("the password is empty"));
            }
            Some(htpasswd::line(&args.name, &password).map_err(CliError::usage)?)
        }
    };
    let (text, there) = htpasswd::with(&text, &args.name, line.as_deref());
    if args.delete && !there {
        return Err(CliError::input(format!("there is no user `{}` in {}", args.name, args.file.display())));
    }
    write(&args.file, &text)
        .map_err(|e| CliError::environment(format!("cannot write {}: {e}", args.file.display())))?;
    let done = if args.delete {
        "is gone from"
    } else if there {
        "has a new password in"
    } else {
        "is in"
    };
    eprintln!("`{}` {done} {}.", args.name, args.file.display());
    Ok(())
}

fn password(stdin: bool) -> Result<String, CliError> {
    if !stdin {
        let first = login::hidden_prompt("Password: ")?;
        return match login::hidden_prompt("Once more: ")? == first {
            true => Ok(first),
            false => Err(CliError::usage("the two passwords are not the same")),
        };
    }
    let mut text = String::new();
    io::stdin()
        .take(LONGEST_PASSWORD)
        .read_to_string(&mut text)
        .map_err(|e| CliError::environment(format!("cannot read the password from standard input: {e}")))?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

fn read(path: &Path) -> Result<String, CliError> {
    let failed = |e: io::Error| CliError::environment(format!("cannot read {}: {e}", path.display()));
    match fs::metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(e) => Err(failed(e)),
        Ok(meta) if meta.len() > LONGEST => Err(CliError::input(format!("{} is too long", path.display()))),
        Ok(_) => fs::read_to_string(path).map_err(failed),
    }
}

/// Replaces the file whole, readable to its owner only.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let dir = path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut draft = tempfile::Builder::new().prefix(".passwd-").tempfile_in(dir)?;
    draft.write_all(text.as_bytes())?;
    draft.as_file().sync_all()?;
    draft.persist(path).map(drop).map_err(|e| e.error)
}
