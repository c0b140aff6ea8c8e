//! One generated build: a context, a Dockerfile as a list of instructions, and options, as values.

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::Path;

use crate::error::Error;

/// Times of all files of a context: that of the builds. Those of other files are in archives and bases.
const MTIME: i64 = super::build::EPOCH;
/// A time that commands give files.
pub(super) const OLD: i64 = 1_000_000_000;
/// Stands in a Dockerfile for a text that no other build has, for ids of cache mounts, which outlive a build.
pub(super) const NONCE: &str = "@NONCE@";

/// What both builders get.
#[derive(Debug, Clone)]
pub(super) struct Case {
    /// What it was generated from.
    pub(super) seed: u64,
    /// The context, parents before children.
    pub(super) context: Vec<Item>,
    /// The instructions, comments among them; each may be of several lines.
    pub(super) lines: Vec<String>,
    /// Options that both builders understand alike.
    pub(super) options: Vec<String>,
}

/// One thing of a context.
#[derive(Debug, Clone)]
pub(super) struct Item {
    /// Where it is.
    pub(super) path: String,
    /// Its mode; links have none.
    pub(super) mode: u32,
    /// Its owner and group.
    pub(super) owner: u32,
    /// What it is.
    pub(super) kind: Kind,
}

/// Kinds of things in a context.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// A text.
    File(String),
    /// An archive, and what is said of it.
    Archive(Vec<u8>, String),
    /// A directory.
    Dir,
    /// A symbolic link.
    Link(String),
    /// A named pipe.
    Fifo,
}

impl Case {
    /// The text of the Dockerfile.
    pub(super) fn dockerfile(&self, nonce: &str) -> String {
        let mut text = self.lines.join("\n").replace(NONCE, nonce);
        text.push('\n');
        text
    }

    /// Writes the context to a new directory `dir`, the Dockerfile in it.
    pub(super) fn write(&self, dir: &Path, nonce: &str) -> Result<(), Error> {
        let failed = |cause| Error::Write { path: dir.to_owned(), cause };
        fs::create_dir_all(dir).map_err(failed)?;
        for item in &self.context {
            item.write(dir).map_err(failed)?;
        }
        fs::write(dir.join("Dockerfile"), self.dockerfile(nonce)).map_err(failed)?;
        // Children change the times of directories, and modes may forbid writing: last things last.
        for item in self.context.iter().rev() {
            item.finish(dir).map_err(failed)?;
        }
        let file = Item { path: "Dockerfile".to_owned(), mode: 0o644, owner: 0, kind: Kind::Dir };
        file.finish(dir).and_then(|()| date(dir)).map_err(failed)
    }

    /// The whole case as text, for people.
    pub(super) fn show(&self) -> String {
        let mut text = format!("# seed {}\n", self.seed);
        for item in &self.context {
            let _ = writeln!(text, "# context: {}", item.show());
        }
        for option in &self.options {
            let _ = writeln!(text, "# option: {option}");
        }
        text + &self.dockerfile("n")
    }
}

impl Item {
    fn write(&self, dir: &Path) -> std::io::Result<()> {
        let path = dir.join(&self.path);
        match &self.kind {
            Kind::File(text) => fs::write(path, text),
            Kind::Archive(bytes, _) => fs::write(path, bytes),
            Kind::Dir => fs::create_dir_all(path),
            Kind::Link(target) => symlink(target, path),
            Kind::Fifo => {
                let mode = rustix::fs::Mode::from_bits_truncate(0o644);
                rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0)?;
                Ok(())
            }
        }
    }

    fn finish(&self, dir: &Path) -> std::io::Result<()> {
        let path = dir.join(&self.path);
        lchown(&path, Some(self.owner), Some(self.owner))?;
        if let Kind::Link(_) = self.kind {
            return date(&path);
        }
        fs::set_permissions(&path, Permissions::from_mode(self.mode))?;
        date(&path)
    }

    fn show(&self) -> String {
        let owner = if self.owner == 0 { String::new() } else { format!(" owner {}", self.owner) };
        let what = match &self.kind {
            Kind::File(text) => format!("{:04o} {text:?}", self.mode),
            Kind::Archive(_, what) => format!("{:04o} {what}", self.mode),
            Kind::Dir => format!("{:04o} directory", self.mode),
            Kind::Link(target) => format!("-> {target}"),
            Kind::Fifo => format!("{:04o} pipe", self.mode),
        };
        format!("{:?} {what}{owner}", self.path)
    }
}

/// Sets the times of a file, a directory, a link or a pipe.
fn date(path: &Path) -> std::io::Result<()> {
    let at = rustix::fs::Timespec { tv_sec: MTIME, tv_nsec: 0 };
    let times = rustix::fs::Timestamps { last_access: at, last_modification: at };
    Ok(rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?)
}
