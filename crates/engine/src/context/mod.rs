//! The trees that files are copied from, what `COPY`, `ADD` and `RUN --mount` select of them, and its hash.
//!
//! A [`Source`] is a tree seen from its root. Paths are bytes, clean, without a leading slash; the root is empty. No
//! path leads out of a source, whatever its symbolic links say.
//!
//! [`DirSource`] a directory, with its `.dockerignore`     [`LayerSource`] a stage or an image
//! [`MemorySource`] a few files in memory                  [`archive`] a context that is a tar or zip
//! [`resolve()`] links followed inside the root            [`select()`] patterns → files
//! [`answer`] and [`hash_selection`] files → key           [`HashTable`] hashes remembered between builds
//! [`pack()`] a context as one archive
//!
//! Adding a kind of source: implement [`Source`] and add it to the contract test in `tests`.

pub mod archive;

mod beneath;
mod dir;
mod hash;
mod ident;
mod layers;
mod memory;
mod missing;
mod pack;
mod parents;
mod read;
mod resolve;
mod scan;
mod select;
mod sift;
mod table;
mod zip;

#[cfg(test)]
mod tests;

use std::io::Read;
use std::path::{Path, PathBuf};

use kiln_oci::{Meta, name};

use crate::error::Result;

pub use dir::{DirSource, read_inside};
pub use hash::{answer, hash_selection, listing};
pub use layers::LayerSource;
pub use memory::MemorySource;
pub use pack::pack;
pub use resolve::{Resolved, resolve};
pub use select::{Pick, Picked, Selection, select};
pub use table::HashTable;

/// The most files a selection or a directory tree may have; more is taken for a mistake.
pub const MAX_FILES: usize = 10_000_000;

/// A directory below `root`; `None` if there is none, or if a symbolic link on the way leads out.
pub fn subdirectory(root: &Path, path: &str) -> Option<PathBuf> {
    let root = root.canonicalize().ok()?;
    let real = root.join(path.trim_start_matches('/')).canonicalize().ok()?;
    (real.starts_with(&root) && real.is_dir()).then_some(real)
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// Owner, mode, time, attributes, as they would be copied.
    pub meta: Meta,
    /// What it is.
    pub kind: Kind,
    /// Equal for all names of one file, different for other files of the source; `None` when it has one name only.
    pub link: Option<u64>,
}

/// What something is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File {
        /// Length in bytes.
        size: u64,
    },
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink {
        /// Where it points, verbatim.
        target: Vec<u8>,
    },
    /// A character device.
    Char {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    Block {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// A socket, which is never copied.
    Socket,
}

impl Stat {
    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind == Kind::Dir
    }
}

/// A tree of files.
pub trait Source: Send + Sync {
    /// What is at `path`, a link at its end not followed. A path whose middle is no directory names nothing.
    ///
    /// # Errors
    /// When the tree cannot be read there.
    fn stat(&self, path: &[u8]) -> Result<Option<Stat>>;

    /// The names in a directory, sorted by their bytes; none when it is not a directory.
    ///
    /// # Errors
    /// When the directory cannot be read.
    fn list(&self, dir: &[u8]) -> Result<Vec<Vec<u8>>>;

    /// The bytes of the regular file at `path`: as many as `stat` says, or an error where they end early.
    ///
    /// # Errors
    /// When it is gone or cannot be read.
    fn open(&self, path: &[u8], stat: &Stat) -> Result<Box<dyn Read + Send>>;

    /// BLAKE3 of the bytes of the regular file at `path`.
    ///
    /// # Errors
    /// As [`Source::open`], and when reading fails.
    fn content_hash(&self, path: &[u8], stat: &Stat) -> Result<[u8; 32]> {
        hash::of_reader(path, self.open(path, stat)?)
    }

    /// Everything below a directory, parents before what is in them, the entries of a directory sorted by name.
    ///
    /// # Errors
    /// When the tree cannot be read.
    fn below(&self, dir: &[u8]) -> Result<Vec<Picked>> {
        let mut found = Vec::new();
        let mut open = vec![(Vec::new(), self.list(dir)?.into_iter())];
        while let Some((rel, names)) = open.last_mut() {
            let Some(name) = names.next() else {
                open.pop();
                continue;
            };
            let rel = name::join(rel, &name);
            let path = name::join(dir, &rel);
            let Some(stat) = self.stat(&path)? else { continue };
            select::check_count(found.len())?;
            if stat.is_dir() {
                open.push((rel.clone(), self.list(&path)?.into_iter()));
            }
            found.push(Picked { rel, stat });
        }
        Ok(found)
    }

    /// What excludes a path by its text alone, whatever is there: `file:line` of the rule, and the rule. Nothing does when
    /// rules take back what others exclude, for then only files could tell.
    fn excludes(&self, _path: &[u8]) -> Option<(String, String)> {
        None
    }

    /// What hides a path that would exist otherwise: `file:line` of the rule, and the rule.
    ///
    /// # Errors
    /// When the tree cannot be read there.
    fn hidden(&self, _path: &[u8]) -> Result<Option<(String, String)>> {
        Ok(None)
    }
}
