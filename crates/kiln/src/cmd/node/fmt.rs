//! `kiln node fmt`: templates in HCL2 in their canonical form.

use std::fs::File;
use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_packer::fault::Fault;
use kiln_spec::source::Source;

use super::template;
use crate::error::CliError;

/// The command line.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Change nothing, and say by the exit code whether something would change
    #[arg(long)]
    check: bool,
    /// Show what changes
    #[arg(long)]
    diff: bool,
    /// Whether files are written; never with -check
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "true")]
    write: bool,
    /// Also the directories in directories
    #[arg(long)]
    recursive: bool,
    /// Files, directories with *.pkr.hcl and *.pkrvars.hcl, or - for standard input
    #[arg(value_name = "FILE|DIR|-", required = true)]
    targets: Vec<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  kiln node fmt .                        the templates and variables of this directory
  kiln node fmt -recursive -check .      for CI: changes nothing
  kiln node fmt -diff -write=false node.pkr.hcl
  kiln node fmt - <node.pkr.hcl

Files that change are named on standard output. Exit codes: 0, 1 when a file is no HCL2, 3 when -check finds one that
would change.";

/// The exit code for what would change.
const CHANGES: u8 = 3;
/// The most files of a directory.
const MAX_FILES: usize = 100_000;
/// How deep directories go.
const MAX_DEPTH: usize = 64;

/// Runs the verb.
pub fn run(args: &Args) -> Result<(), CliError> {
    let (mut broken, mut changes) = (false, false);
    for target in &args.targets {
        if target.as_os_str() == "-" {
            changes |= stdin(args)?;
            continue;
        }
        for path in files(target, args.recursive)? {
            let source = template::source(&path)?;
            match formatted(&source) {
                Ok(text) if text == source.text => {}
                Ok(text) => {
                    changes = true;
                    tell(args, &path, &source.text, &text)?;
                }
                Err(found) => {
                    template::tell(&found);
                    broken = true;
                }
            }
        }
    }
    match (broken, args.check && changes) {
        (true, _) => Err(CliError::Told { code: 1 }),
        (_, true) => Err(CliError::Told { code: CHANGES }),
        _ => Ok(()),
    }
}

/// Whether what is read would change; without -check or -diff it is written, formatted.
fn stdin(args: &Args) -> Result<bool, CliError> {
    if std::io::stdin().is_terminal() {
        eprintln!("reading a template from standard input; end it with Ctrl-D");
    }
    let mut text = String::new();
    let read = std::io::stdin().take(template::MAX_FILE + 1).read_to_string(&mut text);
    read.map_err(|e| CliError::input(format!("cannot read standard input: {e}")))?;
    if text.len() as u64 > template::MAX_FILE {
        return Err(CliError::input("standard input is larger than 64 MiB"));
    }
    let source = Arc::new(Source { name: "<standard input>".to_owned(), text });
    let text = formatted(&source).map_err(template::mistakes)?;
    if args.diff {
        crate::named::print(&difference("<standard input>", &source.text, &text))?;
    } else if !args.check {
        crate::named::print(&text)?;
    }
    Ok(text != source.text)
}

fn formatted(source: &Arc<Source>) -> Result<String, Vec<Fault>> {
    let fault = |diagnostic| Fault { source: Arc::clone(source), diagnostic: Box::new(diagnostic) };
    kiln_hcl::format::format(&source.text).map_err(|found| found.into_iter().map(fault).collect())
}

/// Names a file that changes, shows how, and changes it, as far as the command line wants that.
fn tell(args: &Args, path: &Path, old: &str, new: &str) -> Result<(), CliError> {
    let mut text = format!("{}\n", path.display());
    if args.diff {
        text += &difference(&path.display().to_string(), old, new);
    }
    crate::named::print(&text)?;
    match args.write && !args.check {
        true => replace(path, new).map_err(|e| CliError::environment(format!("cannot write {}: {e}", path.display()))),
        false => Ok(()),
    }
}

/// Puts a text in the place of a file's, whole or not at all; links stay links, and modes stay.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let path = path.canonicalize()?;
    let parent = path.parent().unwrap_or(Path::new("/"));
    let mut draft = tempfile::Builder::new().prefix(".kiln-").tempfile_in(parent)?;
    draft.write_all(text.as_bytes())?;
    draft.as_file().set_permissions(File::open(&path)?.metadata()?.permissions())?;
    draft.as_file().sync_all()?;
    draft.persist(&path)?;
    Ok(())
}

/// The files that a target means.
fn files(target: &Path, recursive: bool) -> Result<Vec<PathBuf>, CliError> {
    let is_ours = |name: &str| name.ends_with(".pkr.hcl") || name.ends_with(".pkrvars.hcl");
    if !target.is_dir() {
        let name = target.to_string_lossy();
        if !target.exists() {
            return Err(CliError::input(format!("there is no {name}")));
        }
        return match is_ours(&name) {
            true => Ok(vec![target.to_owned()]),
            false => Err(CliError::input(format!("{name} is not HCL2 by its name"))
                .with_hint("templates end in .pkr.hcl, files of variables in .pkrvars.hcl; JSON is not formatted")),
        };
    }
    let (mut found, mut open) = (Vec::new(), vec![(target.to_owned(), 0)]);
    while let Some((dir, depth)) = open.pop() {
        let failed = |e| CliError::environment(format!("cannot read {}: {e}", dir.display()));
        for entry in std::fs::read_dir(&dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            // Directories behind links are not entered, so that there is an end.
            let kind = entry.file_type().map_err(failed)?;
            if kind.is_dir() && recursive && depth < MAX_DEPTH {
                open.push((entry.path(), depth + 1));
            } else if !kind.is_dir() && entry.file_name().to_str().is_some_and(is_ours) {
                found.push(entry.path());
            }
            if found.len() + open.len() > MAX_FILES {
                return Err(CliError::input(format!("{} holds more than {MAX_FILES} files", target.display())));
            }
        }
    }
    // As Packer calls them: without the working directory's dot.
    let plain = |path: PathBuf| path.strip_prefix(".").map_or_else(|_| path.clone(), Path::to_owned);
    let mut found: Vec<PathBuf> = found.into_iter().map(plain).collect();
    found.sort();
    Ok(found)
}

/// Lines of context around a change.
const CONTEXT: usize = 3;

/// What changes, as `diff -u` shows it. Formatting changes spaces only, so that a line stays in its place.
fn difference(name: &str, old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (lines(old), lines(new));
    let at = |lines: &[&str], i: usize| lines.get(i).map(|line| (*line).to_owned());
    let changed = |i: usize| at(&old, i) != at(&new, i);
    let count = old.len().max(new.len());
    let mut out = String::new();
    let mut next = 0;
    while let Some(first) = (next..count).find(|i| changed(*i)) {
        // A hunk goes on while the next change is near.
        let mut end = first + 1;
        while let Some(more) = (end..(end + 2 * CONTEXT + 1).min(count)).find(|i| changed(*i)) {
            end = more + 1;
        }
        let (from, to) = (first.saturating_sub(CONTEXT).max(next), (end + CONTEXT).min(count));
        let within = |lines: &[&str]| to.min(lines.len()).saturating_sub(from);
        out += &format!("@@ -{},{} +{},{} @@\n", from + 1, within(&old), from + 1, within(&new));
        let mut i = from;
        while i < to {
            if !changed(i) {
                out += &format!(" {}\n", old[i]);
                i += 1;
                continue;
            }
            let run = (i..to).take_while(|i| changed(*i)).count();
            (i..i + run).filter_map(|i| old.get(i)).for_each(|line| out += &format!("-{line}\n"));
            (i..i + run).filter_map(|i| new.get(i)).for_each(|line| out += &format!("+{line}\n"));
            i += run;
        }
        next = to;
    }
    match out.is_empty() {
        true => out,
        false => format!("--- old/{name}\n+++ new/{name}\n{out}"),
    }
}

/// Lines without their ends; the last end makes no line of its own.
fn lines(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.split('\n').collect();
    if lines.last() == Some(&"") {
        lines.pop();
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hunks_have_context_and_near_ones_are_one() {
        let old = "a\nb\nc=1\nd\ne\nf\ng\nh\ni\nj\nk\nl=1\n";
        let new = "a\nb\nc = 1\nd\ne\nf\ng\nh\ni\nj\nk\nl = 1\n";
        let want = "--- old/x\n+++ new/x\n@@ -1,6 +1,6 @@\n a\n b\n-c=1\n+c = 1\n d\n e\n f\n\
                    @@ -9,4 +9,4 @@\n i\n j\n k\n-l=1\n+l = 1\n";
        assert_eq!(difference("x", old, new), want);
        let near = difference("x", "a=1\nb\nc=1\n", "a = 1\nb\nc = 1\n");
        assert_eq!(near.matches("@@ -").count(), 1, "{near}");
        assert_eq!(difference("x", old, old), "");
    }
}
