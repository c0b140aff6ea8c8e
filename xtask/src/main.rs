//! Development only: `cargo xtask bench`, `crowd`, `differential`, `peers`, `fuzz`, `tidy`, `reference`.
//!
//! [`bench`] Kiln beside buildah     [`tidy`] rules of the tree that are checked by a test
//! [`crowd`] launches on hundreds of hosts
//! [`differential`] Kiln and BuildKit on random Dockerfiles     [`peers`] other builders, in a chroot
//! [`fuzz`] the targets of `fuzz/` under libFuzzer     [`reference`] completions and man pages, written by the `kiln` binary
//!
//! Adding a workload: a row in [`bench::workload`]. Adding a rule: a file in `tidy/` and a line in `tidy::check`.
#![forbid(unsafe_code)]

mod bench;
mod cargo;
mod crowd;
mod differential;
mod error;
mod fuzz;
mod peers;
mod random;
mod reference;
mod tidy;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Development tasks of Kiln")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Build the workloads with kiln and with other builders, and print the ratios
    Bench(bench::Args),
    /// Make the chroot of other builders (scripts/peers.sh), and check that they run on this machine
    Peers(peers::check::Args),
    /// Build random Dockerfiles with BuildKit and with Kiln, and compare what comes out
    Differential(differential::Args),
    /// Launch clusters of stand-ins on many hosts of this machine, and print how long it takes (root)
    Crowd(crowd::Args),
    /// Check the rules of the tree: crate arrows, links, words
    Tidy,
    /// Write shell completions and man pages
    Reference {
        /// Directory to write to
        #[arg(default_value = "target/reference")]
        to: PathBuf,
    },
    /// Run the fuzz targets under libFuzzer (needs g++)
    Fuzz(fuzz::Args),
}

fn main() -> ExitCode {
    let done = match Args::parse().task {
        Task::Bench(args) => bench::run(&args),
        Task::Peers(args) => peers::check::run(&args),
        Task::Differential(args) => differential::run(&args),
        Task::Crowd(args) => crowd::run(&args),
        Task::Tidy => tidy::run(),
        Task::Reference { to } => reference::write(&to),
        Task::Fuzz(args) => fuzz::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("xtask: error: {e}");
            ExitCode::FAILURE
        }
    }
}
