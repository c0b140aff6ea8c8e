//! The kiln binary: one file per verb in [`cmd`], errors in words and codes in [`error`], events for people and
//! programs in [`progress`], what every verb needs in [`surroundings`].
#![forbid(unsafe_code)]

mod cli;
mod cmd;
mod error;
mod named;
mod options;
mod progress;
mod surroundings;
mod table;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // A command of a build starts as a copy of this program, before anything else of it.
    kiln_sandbox::init_main_if_called();
    // Credentials in this process's memory are not for the commands it runs. No released kernel refuses this.
    let _ = kiln_sandbox::shield();
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            let code = if e.use_stderr() { error::USAGE } else { 0 };
            // Nothing can be done about a terminal that is gone.
            let _ = e.print();
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
