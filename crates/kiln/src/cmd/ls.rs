//! `kiln ls`: the files of an image, in the text form of trees.

use kiln_oci::tree::{DumpOptions, FileRef, Follow, NodeKind};
use serde_json::{Value, json};

use crate::cli::Global;
use crate::error::CliError;
use crate::named::{self, PlatformOption};

/// The command line.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The image
    #[arg(value_name = "IMAGE")]
    image: String,
    /// What to list, with everything below; links are followed
    #[arg(value_name = "PATH", default_value = "/")]
    path: String,
    /// Show the digests of files
    #[arg(long)]
    digest: bool,
    /// Show modification times
    #[arg(long)]
    times: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Which platform of an index.
    #[command(flatten)]
    platform: PlatformOption,
}

const EXAMPLES: &str = "\
Examples:
  kiln ls app                       every file: path, type, mode, owner, size
  kiln ls app /etc
  kiln ls --digest app > app.txt    a text two images can be compared by
  kiln ls --json app /bin | jq '.[] | select(.type == \"f\") | .path'

One line an entry: d directory, f file, h a further name of a file shown before, l symbolic
link, c and b devices, p named pipe. Blanks and other unusual bytes of names are written as \\x20.";

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    let (around, progress) = named::offline(global, false, "Reading")?;
    let image = named::choose(&around, &args.image, &args.platform)?;
    let root = named::root(&around, &image)?;
    let found = root.tree.lookup(args.path.as_bytes(), Follow::All);
    let found = found.map_err(|e| CliError::input(format!("{}: {e}", image.title)))?;
    let Some(found) = found else {
        return Err(CliError::input(format!("{} has no `{}`", image.title, args.path)));
    };
    let mut failed = None;
    let mut digest = |file: &FileRef| {
        if !args.digest || failed.is_some() {
            return None;
        }
        named::digest(&root, file).map_err(|e| failed = Some(e)).ok()
    };
    let path = found.path.clone();
    if args.json {
        let all: Vec<Value> = root.tree.walk(&path).map(|(path, node)| entry(&path, node, &mut digest)).collect();
        check(failed, &image.title)?;
        progress.finish();
        return named::print_json(&Value::Array(all));
    }
    let options = DumpOptions { mtimes: args.times, ..DumpOptions::default() };
    let text = root.tree.dump_with(&path, options, &mut digest);
    check(failed, &image.title)?;
    progress.finish();
    named::print(&text)
}

fn check(failed: Option<std::io::Error>, title: &str) -> Result<(), CliError> {
    match failed {
        Some(e) => Err(CliError::environment(format!("cannot read a file of {title}: {e}"))),
        None => Ok(()),
    }
}

fn entry(
    path: &[u8],
    node: &kiln_oci::tree::Node,
    digest: &mut dyn FnMut(&FileRef) -> Option<kiln_oci::Digest>,
) -> Value {
    let meta = &node.meta;
    let mut value = json!({
        "path": format!("/{}", String::from_utf8_lossy(path)),
        "type": letter(&node.kind),
        "mode": format!("{:04o}", meta.mode),
        "uid": meta.uid,
        "gid": meta.gid,
        "mtime": meta.mtime.secs,
    });
    match &node.kind {
        NodeKind::File(file) => {
            value["size"] = json!(file.size);
            if let Some(digest) = digest(file) {
                value["digest"] = json!(digest.to_string());
            }
        }
        NodeKind::Symlink { target } => value["target"] = json!(String::from_utf8_lossy(target)),
        NodeKind::Char { major, minor } | NodeKind::Block { major, minor } => {
            value["device"] = json!([major, minor]);
        }
        NodeKind::Dir(_) | NodeKind::Fifo => {}
    }
    value
}

fn letter(kind: &NodeKind) -> &'static str {
    match kind {
        NodeKind::Dir(_) => "d",
        NodeKind::File(_) => "f",
        NodeKind::Symlink { .. } => "l",
        NodeKind::Char { .. } => "c",
        NodeKind::Block { .. } => "b",
        NodeKind::Fifo => "p",
    }
}
