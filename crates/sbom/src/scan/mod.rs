//! Layers → findings → inventory.
//!
//! Every layer is read once. A file is known by its path in the tar, read at once and forgotten but for what it said;
//! the [`Tree`] of all layers then tells which of these files the image still has, and where.
//!
//! ```text
//! databases of distributions   count at their places (`os::PLACES`), links followed; elsewhere they are a doubt
//! everything else              counts wherever it is
//! ```

mod gather;
mod limits;

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::sync::Arc;

use kiln_oci::layer::{LayerError, ReadEntry};
use kiln_oci::tree::{Follow, Node};
use kiln_oci::{Digest, EntryKind, IndexedEntry, LayerIndex, LayerReader, Tree, TreeError};

pub use limits::Limits;

use crate::lang::binary;
use crate::{Finding, Format, Inventory, Unreadable};

/// The most bytes of the buffer that stay with it from one file to the next.
const LASTING: usize = 16 << 20;

/// Why layers cannot be scanned. Files in them that cannot be read are [`Doubt`](crate::Doubt)s instead.
#[derive(Debug, thiserror::Error)]
pub enum SbomError {
    /// A layer's tar is damaged, or its stream failed.
    #[error("cannot look for packages in layer {layer}: {source}")]
    Layer {
        /// The layer's diff id.
        layer: Digest,
        /// What is wrong.
        source: LayerError,
    },
    /// A layer does not stack on those below.
    #[error("cannot look for packages in layer {layer}: {source}")]
    Stack {
        /// The layer's diff id.
        layer: Digest,
        /// What is wrong.
        source: TreeError,
    },
}

/// Reads layers, bottom to top.
#[derive(Debug)]
pub struct Scanner {
    limits: Limits,
    tree: Tree,
    files: HashMap<Body, File>,
    /// Paths that hard links go to, among those of files that are read.
    linked: HashSet<Vec<u8>>,
    /// Bytes of the files whose findings are kept.
    kept: u64,
    /// Packages in them.
    packages: usize,
    /// Bytes of what they say of themselves.
    said: u64,
    buffer: Vec<u8>,
}

/// Where a file's bytes are: the layer, and the place in its tar.
type Body = (Digest, u64);

/// A file that was read.
#[derive(Debug)]
struct File {
    format: Format,
    size: u64,
    /// Its path in the tar.
    path: Vec<u8>,
    /// Its real path, from the time when its layer was stacked.
    place: Option<Vec<u8>>,
    finding: Finding,
}

impl Default for Scanner {
    fn default() -> Scanner {
        Scanner::new(Limits::default())
    }
}

impl Scanner {
    /// No layers yet.
    pub fn new(limits: Limits) -> Scanner {
        Scanner {
            limits,
            tree: Tree::new(),
            files: HashMap::new(),
            linked: HashSet::new(),
            kept: 0,
            packages: 0,
            said: 0,
            buffer: Vec::new(),
        }
    }

    /// The next layer: its diff id, and its tar without compression, which is read to its end.
    ///
    /// # Errors
    /// The layer is damaged or does not stack. The scanner is of no use then.
    pub fn layer(&mut self, diff_id: &Digest, tar: impl Read) -> Result<(), SbomError> {
        let index = self.read(diff_id, tar).map_err(|source| SbomError::Layer { layer: diff_id.clone(), source })?;
        let stacked = self.tree.apply(&index, diff_id);
        stacked.map_err(|source| SbomError::Stack { layer: diff_id.clone(), source })?;
        self.forget();
        Ok(())
    }

    /// What the image holds when all layers are stacked.
    pub fn finish(self) -> Inventory {
        gather::inventory(&self)
    }

    fn read(&mut self, diff_id: &Digest, tar: impl Read) -> Result<LayerIndex, LayerError> {
        let mut reader = LayerReader::new(tar);
        let mut index = LayerIndex::default();
        while let Some(mut found) = reader.next_entry()? {
            match &found.entry.kind {
                EntryKind::File { size } => self.file(diff_id, *size, &mut found)?,
                EntryKind::Hardlink { target } if Format::of(target).is_some() => {
                    self.linked.insert(target.clone());
                }
                _ => {}
            }
            // Nobody will ask for them.
            found.entry.meta.xattrs.clear();
            index.entries.push(IndexedEntry { offset: found.offset, entry: found.entry });
        }
        index.tar_size = reader.drain()?;
        Ok(index)
    }

    fn file(&mut self, diff_id: &Digest, size: u64, found: &mut ReadEntry<'_, impl Read>) -> Result<(), LayerError> {
        self.buffer.clear();
        let Some(format) = Format::of(&found.entry.path).or(self.executable(size, found)?) else { return Ok(()) };
        let finding = match self.limits.refuse(format, size, self.kept) {
            Some(why) => doubtful(why),
            None => {
                found.read_to_end(&mut self.buffer).map_err(LayerError::Read)?;
                let read = format.read(&found.entry.path, &self.buffer).unwrap_or_else(doubtful);
                self.limits.short(self.limits.bound(read, self.packages), self.said)
            }
        };
        self.buffer.shrink_to(LASTING);
        // Most executables say nothing, and the rest is told to be missing only where it may say something.
        if finding == Finding::default() && format == Format::Executable {
            return Ok(());
        }
        let size = if format.is_large() { 0 } else { size };
        self.kept += size;
        self.packages += finding.packages.len();
        self.said += limits::weight(&finding);
        let file = File { format, size, path: found.entry.path.clone(), place: None, finding };
        self.files.insert((diff_id.clone(), found.offset), file);
        Ok(())
    }

    /// Whether an entry is a program, by its mode and first bytes, which are in the buffer then.
    fn executable(&mut self, size: u64, found: &mut ReadEntry<'_, impl Read>) -> Result<Option<Format>, LayerError> {
        let magic = binary::MAGIC.len() as u64;
        if Format::of(&found.entry.path).is_some() || found.entry.meta.mode & 0o111 == 0 || size < magic {
            return Ok(None);
        }
        found.take(magic).read_to_end(&mut self.buffer).map_err(LayerError::Read)?;
        Ok((self.buffer == binary::MAGIC).then_some(Format::Executable))
    }

    /// Lets go of what the image has no longer, so that a file that every layer changes is kept once.
    fn forget(&mut self) {
        let Scanner { tree, files, linked, kept, packages, said, .. } = self;
        files.retain(|body, file| {
            let place = file.place.get_or_insert_with(|| match tree.lookup(&file.path, Follow::Parents) {
                Ok(Some(found)) => found.path,
                _ => file.path.clone(),
            });
            let stays = tree.at(place).is_some_and(|node| is_body(node, body)) || linked.contains(&file.path);
            if !stays {
                *kept = kept.saturating_sub(file.size);
                *packages = packages.saturating_sub(file.finding.packages.len());
                *said = said.saturating_sub(limits::weight(&file.finding));
            }
            stays
        });
    }
}

fn is_body(node: &Arc<Node>, (layer, offset): &Body) -> bool {
    node.file().is_some_and(|file| file.inode == *offset && *file.layer == *layer)
}

fn doubtful(why: Unreadable) -> Finding {
    Finding { doubts: vec![why], ..Finding::default() }
}

#[cfg(test)]
mod tests;
