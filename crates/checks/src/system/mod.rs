//! What is looked at: files, and, where it runs, commands.
//!
//! Paths are absolute, with `/` between names; symbolic links are followed inside the system's root, as a `chroot`
//! would. A name that is no UTF-8 is listed with U+FFFD in it, and cannot be opened.
//!
//! [`directory`] a root directory of this machine     [`tree`] the merged layers of an image
//! [`memory`] files made up in memory, for tests      [`remote`] a machine that runs commands
//! [`media`] what a disk has besides its files
//!
//! Adding a kind: an implementation of [`System`]; the tests in `tests/it/systems.rs` run on each.

pub mod directory;
pub mod media;
pub mod memory;
pub mod remote;
pub mod tree;

use std::io::{self, Read as _};

pub use directory::Directory;
pub use media::Media;
pub use memory::Memory;
pub use remote::{Machine, Remote};
pub use tree::ImageTree;

/// The most names a directory may have.
pub const MAX_NAMES: usize = 100_000;
/// The most entries of a walk.
pub const MAX_WALK: usize = 200_000;
/// How deep a walk goes.
pub const MAX_DEPTH: usize = 32;
/// The largest file of configuration that is read.
pub const MAX_CONFIG: u64 = 4 << 20;

/// What is looked at.
pub trait System {
    /// What to call it: `directory /srv/root`, `image app:1`.
    fn title(&self) -> String;

    /// The bytes of a regular file; `None` when there is none.
    ///
    /// # Errors
    /// It has more than `max` bytes, is not a regular file, or cannot be read.
    fn read(&self, path: &str, max: u64) -> Result<Option<Vec<u8>>, LookError>;

    /// The names in a directory, sorted; `None` when there is no such directory.
    ///
    /// # Errors
    /// It cannot be read, is something else, or has more than [`MAX_NAMES`] names.
    fn list(&self, path: &str) -> Result<Option<Vec<String>>, LookError>;

    /// What is at a path; a link at its end is followed only if `follow` says so. `None` when nothing is.
    ///
    /// # Errors
    /// It cannot be found out.
    fn stat(&self, path: &str, follow: bool) -> Result<Option<Stat>, LookError>;

    /// Whether a file has the attribute that `chattr +i` sets; `None` when such a system cannot tell.
    ///
    /// # Errors
    /// It cannot be found out.
    fn immutable(&self, path: &str) -> Result<Option<bool>, LookError>;

    /// Everything below a directory, links not followed, down to some depth and up to some number.
    ///
    /// # Errors
    /// A directory cannot be read.
    fn walk(&self, dir: &str) -> Result<Walk> {
        by_listing(self, dir)
    }

    /// The disk that the system is on, where it is one.
    fn media(&self) -> Option<&Media> {
        None
    }

    /// The commands of a system that runs.
    fn live(&self) -> Option<&dyn Live> {
        None
    }
}

/// What is below a directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Walk {
    /// Paths, and what is there.
    pub found: Vec<(String, Stat)>,
    /// Whether that is all: a walk ends at [`MAX_WALK`] entries, and at a depth of [`MAX_DEPTH`].
    pub whole: bool,
}

fn by_listing<S: System + ?Sized>(system: &S, dir: &str) -> Result<Walk> {
    let mut walk = Walk { found: Vec::new(), whole: true };
    let mut todo = vec![(dir.to_owned(), 0)];
    while let Some((dir, depth)) = todo.pop() {
        if system.stat(&dir, false)?.is_none_or(|stat| stat.kind != Kind::Dir) {
            continue;
        }
        for name in system.list(&dir)?.unwrap_or_default() {
            if walk.found.len() == MAX_WALK {
                return Ok(Walk { whole: false, ..walk });
            }
            let path = format!("{dir}/{name}");
            let Some(stat) = system.stat(&path, false)? else { continue };
            if stat.kind == Kind::Dir {
                match depth < MAX_DEPTH {
                    true => todo.push((path.clone(), depth + 1)),
                    false => walk.whole = false,
                }
            }
            walk.found.push((path, stat));
        }
    }
    Ok(walk)
}

/// A system that runs.
pub trait Live {
    /// Runs a command of the system and waits for it.
    ///
    /// # Errors
    /// It could not be started or did not end in time. A command that is not there is [`Ran::code`] 127.
    fn run(&self, command: &[&str]) -> Result<Ran, LookError>;
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ran {
    /// Its exit code; 127 when there is no such command.
    pub code: i32,
    /// What it printed, cut at a megabyte.
    pub stdout: Vec<u8>,
    /// What it complained about, cut at a megabyte.
    pub stderr: Vec<u8>,
}

impl Ran {
    /// What it printed, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Length in bytes of a file.
    pub size: u64,
}

/// What kind of thing is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link, and where it points.
    Link(String),
    /// A device, pipe or socket.
    Other,
}

impl Stat {
    /// Whether it is a regular file that somebody may execute.
    pub fn is_executable(&self) -> bool {
        self.kind == Kind::File && self.mode & 0o111 != 0
    }
}

/// Why something could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// Reading failed.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which file or directory.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A file is larger than such files are.
    #[error("{path} has more than {max} bytes, the limit for such files")]
    TooLarge {
        /// Which file.
        path: String,
        /// The limit.
        max: u64,
    },
    /// A directory has more names than are looked at.
    #[error("{path} has more than {MAX_NAMES} entries, the limit")]
    TooMany {
        /// Which directory.
        path: String,
    },
    /// Something else is in the place of a file.
    #[error("{path} is not a regular file")]
    NotAFile {
        /// Which path.
        path: String,
    },
    /// Links go in circles, or lead below a file.
    #[error("cannot follow {path}: {why}")]
    Links {
        /// Which path.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// A file does not have the form it must have.
    #[error("{path}: {why}")]
    Form {
        /// Which file, with its line where there is one.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// A command could not be run.
    #[error("cannot run `{command}`: {why}")]
    Run {
        /// The command.
        command: String,
        /// Why.
        why: String,
    },
}

impl LookError {
    /// A failure to read `path`.
    pub fn read(path: &str) -> impl FnOnce(io::Error) -> LookError + '_ {
        move |source| LookError::Read { path: path.to_owned(), source }
    }

    /// A file that is not what it must be.
    pub fn form(path: impl Into<String>, why: impl Into<String>) -> LookError {
        LookError::Form { path: path.into(), why: why.into() }
    }
}

/// A result of looking.
pub type Result<T, E = LookError> = std::result::Result<T, E>;

/// Reads all of a stream of at most `max` bytes.
pub(crate) fn read_bounded(path: &str, from: impl io::Read, max: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(max.saturating_add(1)).read_to_end(&mut bytes).map_err(LookError::read(path))?;
    match bytes.len() as u64 > max {
        true => Err(LookError::TooLarge { path: path.to_owned(), max }),
        false => Ok(bytes),
    }
}
