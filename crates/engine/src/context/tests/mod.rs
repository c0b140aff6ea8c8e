//! A source under test, and what all sources must do.

mod archives;
mod contract;
mod differential;
mod directories;
mod hashes;
mod selections;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use kiln_oci::name::escape;
use kiln_plan::facts::Select;
use kiln_spec::dockerignore::Ignore;
use tempfile::TempDir;

use super::*;
use crate::error::EngineError;

/// A directory to copy from.
struct Tree {
    dir: TempDir,
    ignore: Option<String>,
}

impl Tree {
    fn new() -> Tree {
        Tree { dir: tempfile::tempdir().unwrap(), ignore: None }
    }

    /// With files that hold their own path; `name/` is a directory, `name -> target` a link.
    fn of(entries: &[&str]) -> Tree {
        entries.iter().fold(Tree::new(), |tree, entry| tree.entry(entry))
    }

    fn entry(self, entry: &str) -> Tree {
        if let Some((name, target)) = entry.split_once(" -> ") {
            symlink(target, self.place(name)).unwrap();
        } else if let Some(name) = entry.strip_suffix('/') {
            fs::create_dir_all(self.place(name)).unwrap();
        } else {
            fs::write(self.place(entry), entry).unwrap();
        }
        self
    }

    fn mode(self, path: &str, mode: u32) -> Tree {
        fs::set_permissions(self.path().join(path), fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    fn ignore(mut self, text: &str) -> Tree {
        self.ignore = Some(text.to_owned());
        self
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn place(&self, name: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    fn source(&self) -> DirSource {
        let rules = self.ignore.as_ref().map(|text| (Ignore::parse(text).0, ".dockerignore".to_owned()));
        DirSource::open(self.path(), rules).unwrap()
    }

    /// What sources select, as text.
    fn select(&self, sources: &[&str]) -> String {
        show(&self.source(), &of(sources))
    }
}

/// A plain selection.
fn of(sources: &[&str]) -> Select {
    Select { sources: sources.iter().map(|s| (*s).to_owned()).collect(), exclude: Vec::new(), parents: false }
}

fn excluding(sources: &[&str], exclude: &[&str]) -> Select {
    Select { exclude: exclude.iter().map(|s| (*s).to_owned()).collect(), ..of(sources) }
}

fn parents(sources: &[&str]) -> Select {
    Select { parents: true, ..of(sources) }
}

/// A selection as text: each pick with its name, real path and type; below a directory, what is copied of it, and in
/// brackets the directories above that.
fn show(source: &dyn Source, wanted: &Select) -> String {
    match super::select(source, wanted) {
        Ok(selection) => text(&selection),
        Err(e) => format!("error: {e}"),
    }
}

fn text(selection: &Selection) -> String {
    let mut lines = Vec::new();
    for pick in &selection.picks {
        lines.push(format!("{}={}:{}", escape(&pick.name), escape(&pick.root), letter(&pick.stat.kind)));
        lines.extend(pick.parents.iter().map(|p| format!("[{}]", escape(&p.rel))));
        lines.extend(pick.entries.iter().map(|p| format!("+{}:{}", escape(&p.rel), letter(&p.stat.kind))));
    }
    lines.extend(selection.missing.iter().map(|m| format!("missing {}", m.index)));
    lines.join(" ")
}

fn letter(kind: &Kind) -> String {
    match kind {
        Kind::File { .. } => "f".to_owned(),
        Kind::Dir => "d".to_owned(),
        Kind::Symlink { target } => format!("l>{}", escape(target)),
        Kind::Char { .. } => "c".to_owned(),
        Kind::Block { .. } => "b".to_owned(),
        Kind::Fifo => "p".to_owned(),
        Kind::Socket => "s".to_owned(),
    }
}

/// Everything in a source, as its own walk gives it.
fn all(source: &dyn Source) -> Vec<String> {
    source.below(b"").unwrap().iter().map(|p| format!("{}:{}", escape(&p.rel), letter(&p.stat.kind))).collect()
}

fn read(source: &dyn Source, path: &str) -> Result<Vec<u8>, EngineError> {
    let stat = source.stat(path.as_bytes())?.ok_or_else(|| EngineError::Context(format!("no {path}")))?;
    let mut bytes = Vec::new();
    source.open(path.as_bytes(), &stat)?.read_to_end(&mut bytes).map_err(|e| EngineError::Context(e.to_string()))?;
    Ok(bytes)
}
