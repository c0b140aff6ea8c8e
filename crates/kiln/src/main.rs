//! The kiln binary: one file per verb in [`cmd`], errors in words and codes in [`error`], events for people and
//! programs in [`progress`], what every verb needs in [`surroundings`].
#![forbid(unsafe_code)]

mod argv;
mod cli;
mod cmd;
mod error;
mod keys;
mod named;
mod options;
mod place;
mod progress;
mod ssh;
mod surroundings;
mod table;

use std::process::ExitCode;

use clap::Parser;
use clap::error::{ContextKind, ContextValue, ErrorKind};

fn main() -> ExitCode {
    // A command of a build starts as a copy of this program, before anything else of it.
    kiln_sandbox::init_main_if_called();
    let line = cli::line(std::env::args_os());
    argv::hide(&line);
    // Credentials in this process's memory are not for the commands it runs. No released kernel refuses this.
    let _ = kiln_sandbox::shield();
    let kaniko = cli::is_kaniko(&line);
    let cli = match cli::Cli::try_parse_from(line) {
        Ok(cli) => cli,
        Err(e) => {
            // Whoever calls kaniko expects its one code for all mistakes.
            let code = if !e.use_stderr() {
                0
            } else if kaniko {
                1
            } else {
                error::USAGE
            };
            explain(e);
            return ExitCode::from(code);
        }
    };
    std::panic::set_hook(Box::new(error::bug));
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| cmd::run(cli))) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(e)) => {
            e.print();
            ExitCode::from(e.code())
        }
        Err(panic) => ExitCode::from(error::code_of_panic(&*panic)),
    }
}

/// Tells the user what is wrong with the command line, or prints the help that was asked for.
fn explain(mut error: clap::Error) {
    let instead = simplify(&mut error);
    // Nothing can be done about a terminal that is gone.
    let _ = error.print();
    if let Some(instead) = instead {
        eprintln!("hint: {instead}");
    }
}

/// Takes tips away that lead nowhere; returns the one for who comes from another builder.
fn simplify(error: &mut clap::Error) -> Option<&'static str> {
    // It would be how to pass the option as a value, which nobody means.
    error.remove(ContextKind::Suggested);
    let word = match error.kind() {
        ErrorKind::UnknownArgument => error.get(ContextKind::InvalidArg),
        ErrorKind::InvalidSubcommand => error.get(ContextKind::InvalidSubcommand),
        _ => None,
    };
    let Some(ContextValue::String(word)) = word else { return None };
    let instead = cli::instead_of(word)?;
    error.remove(ContextKind::SuggestedArg);
    error.remove(ContextKind::SuggestedSubcommand);
    Some(instead)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_other_builders_have_is_answered() {
        for (line, wanted) in [
            ("build --builder=x .", "leave it out"),
            ("build --rm .", "leave it out"),
            ("buildx build .", "kiln build"),
            ("run app", "does not run containers"),
            ("build --tagg x .", "'--tag'"),
            ("rm app", "'rmi'"),
        ] {
            let args = ["kiln"].into_iter().chain(line.split(' '));
            let mut error = cli::Cli::try_parse_from(args).expect_err(line);
            let instead = simplify(&mut error).unwrap_or_default();
            let text = format!("{error}{instead}");
            assert!(text.contains(wanted) && !text.contains("as a value"), "{line}: {text}");
        }
    }
}
