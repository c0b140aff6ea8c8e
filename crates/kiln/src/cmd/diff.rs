//! `kiln diff`: which files two images differ in.

use kiln_oci::tree::{ChangeKind, Tree, changes_text};
use serde_json::{Value, json};

use crate::cli::Global;
use crate::error::CliError;
use crate::named::{self, PlatformOption};

/// The command line.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The image before
    #[arg(value_name = "A")]
    before: String,
    /// The image after
    #[arg(value_name = "B")]
    after: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Which platform of an index.
    #[command(flatten)]
    platform: PlatformOption,
}

const EXAMPLES: &str = "\
Examples:
  kiln diff app:1 app:2
  kiln diff debian:13 app             what a Dockerfile added to its base
  kiln diff --json a b | jq length    0 when both have the same files

Lines begin with + for what only B has and - for what only A has. Times are not compared.";

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    let (around, progress) = named::offline(global, false, "Comparing")?;
    let before = named::root(&around, &named::choose(&around, &args.before, &args.platform)?)?;
    let after = named::root(&around, &named::choose(&around, &args.after, &args.platform)?)?;
    let mut failed = None;
    let mut same = |a: &kiln_oci::tree::FileRef, b: &kiln_oci::tree::FileRef| match named::digest(&before, a)
        .and_then(|a| Ok(a == named::digest(&after, b)?))
    {
        Ok(same) => same,
        Err(e) => {
            failed = Some(e);
            false
        }
    };
    let changes = Tree::diff(&before.tree, &after.tree, &mut same);
    if let Some(e) = failed {
        return Err(CliError::environment(format!("cannot compare files of the images: {e}")));
    }
    progress.finish();
    if args.json {
        let all = changes.iter().map(|c| {
            let kind = match c.kind {
                ChangeKind::Added => "added",
                ChangeKind::Removed => "removed",
                ChangeKind::Modified => "modified",
            };
            json!({ "path": format!("/{}", String::from_utf8_lossy(&c.path)), "kind": kind })
        });
        return named::print_json(&Value::Array(all.collect()));
    }
    named::print(&changes_text(&changes, &mut |_| None))
}
