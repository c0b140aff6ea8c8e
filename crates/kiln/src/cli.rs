//! The command line as a whole: its verbs, and what all of them take.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::cmd;

/// Builds every image Kubernetes runs on.
#[derive(Debug, Parser)]
#[command(name = "kiln", version, about, max_term_width = 100, propagate_version = true, after_help = EXAMPLES)]
pub struct Cli {
    /// What all verbs take.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

const EXAMPLES: &str = "\
Examples:
  kiln build -t app .                         build the Dockerfile here, keep the image as `app`
  kiln build -t registry.example/app --push . build and push
  kiln images                                 list what is kept
  kiln ls app /etc                            look into an image
  kiln save app | ssh host docker load        hand it on

`kiln VERB --help` explains each verb, with examples.";

/// Options of every verb.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Where images, layers and caches are kept [default: /var/lib/kiln for root, ~/.local/share/kiln otherwise]
    #[arg(long, value_name = "DIR", env = "KILN_STORE", global = true, hide_env_values = true)]
    pub store: Option<PathBuf>,
    /// How progress is shown: auto, tty, plain, quiet, json (one event a line, on standard error)
    #[arg(long, value_name = "HOW", default_value = "auto", global = true)]
    pub progress: crate::progress::Style,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Build an image from a Dockerfile
    Build(Box<cmd::build::Args>),
}
