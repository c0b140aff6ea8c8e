//! What a layer holds and where: enough to build trees and to read single files without reading the layer again.

mod codec;

#[cfg(test)]
pub(crate) use codec::forged;

use std::io::Read;

use crate::Entry;
use crate::layer::{LayerError, LayerReader};

/// One entry of a layer and where its body is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexedEntry {
    /// The entry.
    pub entry: Entry,
    /// Where its body starts in the uncompressed tar.
    pub offset: u64,
}

/// A layer's entries, in the order of its tar.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LayerIndex {
    /// The entries.
    pub entries: Vec<IndexedEntry>,
    /// The length of the uncompressed tar in bytes.
    pub tar_size: u64,
}

impl LayerIndex {
    /// Reads an uncompressed layer to its end, trailing bytes included.
    ///
    /// # Errors
    /// As [`LayerReader::next_entry`].
    pub fn read(tar: impl Read) -> Result<LayerIndex, LayerError> {
        LayerIndex::of(&mut LayerReader::new(tar))
    }

    /// Reads what is left of a layer to its end.
    ///
    /// # Errors
    /// As [`LayerReader::next_entry`].
    pub fn of(reader: &mut LayerReader<impl Read>) -> Result<LayerIndex, LayerError> {
        let mut entries = Vec::new();
        while let Some(found) = reader.next_entry()? {
            entries.push(IndexedEntry { offset: found.offset, entry: found.entry });
        }
        Ok(LayerIndex { entries, tar_size: reader.drain()? })
    }
}
