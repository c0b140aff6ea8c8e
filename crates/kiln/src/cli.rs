//! The command line as a whole: its verbs, and what all of them take.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};

use crate::cmd;

/// Builds every image Kubernetes runs on, without a daemon, and says why its pod network is down
#[derive(Debug, Parser)]
#[command(name = "kiln", version, max_term_width = 100, propagate_version = true, after_help = EXAMPLES)]
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
  kiln node build node.json                   a node image of a template of Packer's
  kiln cluster build -t shop:v1 .             a cluster image of the Kubefile here
  kiln registry serve                         let others pull what is kept
  kiln doctor                                 what of this node's pod network is broken, and why

`kiln VERB --help` explains each verb, with examples.";

/// Options of every verb.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of every verb")]
pub struct Global {
    // The variable is not read by clap, which would show `--store <DIR>` as required in the usage of every mistake.
    /// Where images, layers and caches are kept [default: $KILN_STORE, else /var/lib/kiln for root,
    /// ~/.local/share/kiln otherwise]
    #[arg(long, value_name = "DIR", global = true)]
    pub store: Option<PathBuf>,
    /// How progress is shown: auto, tty, plain, quiet, json (one event a line, on standard error)
    #[arg(long, value_name = "HOW", default_value = "auto", global = true)]
    pub progress: crate::progress::Style,
}

/// Names of this program that are verbs: kaniko's.
const KANIKO: [&str; 2] = ["executor", "warmer"];

/// The command line, with the verb that the program's own name stands for.
pub fn line(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut line: Vec<OsString> = args.into_iter().collect();
    let name = line.first().and_then(|program| Path::new(program).file_name()).and_then(|name| name.to_str());
    if let Some(verb) = name.filter(|name| KANIKO.contains(name)).map(OsString::from) {
        line.insert(1, verb);
    }
    // What these are given may begin with one dash: the arguments of an application.
    let own = |word: &OsString| word == "run" || word == "pack";
    let mut words = line.iter().skip(1).filter(|arg| !arg.to_string_lossy().starts_with('-'));
    if words.next().is_some_and(|verb| verb == "node") && !words.next().is_some_and(own) {
        line = line.into_iter().map(two_dashes).collect();
    }
    line
}

/// Packer's options have one dash: `-var`, `-on-error=abort`.
fn two_dashes(arg: OsString) -> OsString {
    let text = arg.to_string_lossy();
    let letters = text.strip_prefix('-').filter(|rest| rest.len() > 1 && rest.starts_with(|c: char| c.is_alphabetic()));
    match letters {
        Some(_) => {
            let mut long = OsString::from("-");
            long.push(&arg);
            long
        }
        None => arg,
    }
}

/// Whether a command line is one of kaniko's.
pub fn is_kaniko(line: &[OsString]) -> bool {
    line.iter()
        .skip(1)
        .find(|arg| !arg.to_string_lossy().starts_with('-'))
        .is_some_and(|verb| KANIKO.iter().any(|name| verb == name))
}

/// What stands in for something that other builders' command lines have, and this one has not.
pub fn instead_of(word: &str) -> Option<&'static str> {
    Some(match word {
        "--rm" | "--force-rm" => "leave it out: nothing stays of the container of a step",
        "--builder" => "leave it out: there is no daemon to choose",
        "buildx" => "write `kiln build`",
        "run" | "ps" | "exec" => "Kiln builds, keeps and moves images; it does not run containers",
        _ => return None,
    })
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Build an image from a Dockerfile
    Build(Box<cmd::build::Args>),
    /// List the images that are kept
    #[command(visible_alias = "list")]
    Images(cmd::images::Args),
    /// Fetch an image from its registry
    Pull(cmd::pull::Args),
    /// Push an image to a registry
    Push(cmd::push::Args),
    /// Copy an image from one place to another without keeping it
    Copy(cmd::copy::Args),
    /// Write images into an archive
    Save(cmd::save::Args),
    /// Read images from an archive
    Load(cmd::load::Args),
    /// Make an image of a tar of files
    Import(cmd::import::Args),
    /// Give an image another name
    Tag(cmd::tag::Args),
    /// Take names of images away
    Rmi(cmd::rmi::Args),
    /// Show what is known of images, as JSON
    Inspect(cmd::inspect::Args),
    /// Show how an image was made
    History(cmd::history::Args),
    /// List the files of an image
    Ls(cmd::ls::Args),
    /// Print a file of an image
    Cat(cmd::cat::Args),
    /// Show which files two images differ in
    Diff(cmd::diff::Args),
    /// Log in to a registry
    Login(cmd::login::Args),
    /// Forget the login to a registry
    Logout(cmd::logout::Args),
    /// List what is installed in an image
    Sbom(cmd::sbom::Args),
    /// Sign an image in its registry
    Sign(cmd::sign::Args),
    /// Say whether a key signed an image
    Verify(cmd::verify::Args),
    /// Make a key that signs images
    GenerateKeyPair(cmd::generate_key_pair::Args),
    /// Explain what a rule finds and why
    Explain(cmd::explain::Args),
    /// Say why the pod network is down; `build`: what works on this machine, and what is missing
    Doctor(cmd::doctor::Args),
    /// Hand a build context over
    Context(cmd::context::Args),
    /// List and remove layers of steps in a cache repository
    Cache(cmd::cache::Args),
    /// Show what takes space in the store
    Du(cmd::du::Args),
    /// Remove what no image needs
    Prune(cmd::prune::Args),
    /// Check everything in the store
    Fsck(cmd::fsck::Args),
    /// Build and check images of machines
    Node(Box<cmd::node::Args>),
    /// Render charts of Helm, and look into them
    Chart(Box<cmd::chart::Args>),
    /// Build cluster images, look into them and move them
    Cluster(Box<cmd::cluster::Args>),
    /// Serve the store as a registry
    Registry(cmd::registry::Args),
    /// Build as kaniko's executor does, with its flags
    Executor(Box<cmd::executor::Args>),
    /// Fetch bases for executors, as kaniko's warmer does
    Warmer(Box<cmd::executor::warmer::Args>),
    /// Show the version
    Version(cmd::version::Args),
    /// Print a completion script for a shell
    Completion(cmd::completion::Args),
    /// Write manual pages
    #[command(hide = true)]
    Man(cmd::man::Args),
}
