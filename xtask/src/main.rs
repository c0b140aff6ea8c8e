//! Development only: `cargo xtask bench`, `tidy`, `reference`.
//!
//! [`bench`] Kiln beside buildah     [`tidy`] rules of the tree that are checked by a test
//! [`reference`] completions and man pages, written by the `kiln` binary
//!
//! Adding a workload: a row in [`bench::workload`]. Adding a rule: a file in `tidy/` and a line in `tidy::check`.
#![forbid(unsafe_code)]

mod bench;
mod cargo;
mod error;
mod reference;
mod tidy;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use error::Error;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Development tasks of Kiln")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Build the workloads with kiln and with buildah, and print the ratios
    Bench(bench::Args),
    /// Check the rules of the tree: crate arrows, links, words
    Tidy,
    /// Write shell completions and man pages
    Reference {
        /// Directory to write to
        #[arg(default_value = "target/reference")]
        to: PathBuf,
    },
    /// Not there yet
    Fuzz,
}

fn main() -> ExitCode {
    let done = match Args::parse().task {
        Task::Bench(args) => bench::run(&args),
        Task::Tidy => tidy::run(),
        Task::Reference { to } => reference::write(&to),
        Task::Fuzz => Err(Error::NoFuzzTargets),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("xtask: error: {e}");
            ExitCode::FAILURE
        }
    }
}
