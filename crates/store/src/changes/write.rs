//! Changed entries → a layer's tar, the bytes of files streamed from the tree.

use std::io::Write;

use kiln_oci::entry::EntryKind;
use kiln_oci::index::LayerIndex;
use kiln_oci::layer::{LayerError, LayerWriter};
use kiln_oci::name::split;
use rustix::fs::{AtFlags, Timespec, Timestamps, utimensat};

use super::error::{ChangeError, read};
use super::{ChangedEntry, Changes};
use crate::beneath::{Beneath, shown};
use crate::stat::Stat;

/// Writes the layer that holds `changes` and returns where it went, with the layer's index. Then dates the tree as the
/// layer is ([`Changes::date_tree`]).
///
/// # Errors
/// A file cannot be read, or is not any more what it was when the changes were found; the writer fails.
pub fn write_layer<W: Write>(changes: &mut Changes, to: W) -> Result<(W, LayerIndex), ChangeError> {
    let mut writer = LayerWriter::indexed(to);
    changes.append_to(&mut writer)?;
    let done = writer.finish_indexed().map_err(ChangeError::Write)?;
    changes.date_tree()?;
    Ok(done)
}

impl Changes {
    /// Dates what is in the tree as the layer's entries are, where `SOURCE_DATE_EPOCH` made those older: a later
    /// command that leaves a file as it is must not find it newer than the layer says. Comes after writing.
    ///
    /// # Errors
    /// A time cannot be set.
    pub fn date_tree(&mut self) -> Result<(), ChangeError> {
        // Parents come first, and setting a child's time leaves its parent's alone.
        for changed in &self.entries {
            if changed.stat.is_none_or(|stat| stat.mtime.secs <= changed.entry.meta.mtime.secs) {
                continue;
            }
            let path = &changed.entry.path;
            let at = Timespec { tv_sec: changed.entry.meta.mtime.secs, tv_nsec: 0 };
            let times = Timestamps { last_access: at, last_modification: at };
            let (parent, name) = split(path);
            let dir = self.tree.dir(parent).map_err(read(path))?;
            utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|errno| ChangeError::Date { path: shown(path), source: errno.into() })?;
        }
        Ok(())
    }

    /// Appends all entries to a layer being written.
    ///
    /// # Errors
    /// As [`write_layer`].
    pub fn append_to<W: Write>(&mut self, writer: &mut LayerWriter<W>) -> Result<(), ChangeError> {
        for changed in &self.entries {
            append(&mut self.tree, changed, writer)?;
        }
        Ok(())
    }
}

fn append<W: Write>(
    tree: &mut Beneath,
    changed: &ChangedEntry,
    writer: &mut LayerWriter<W>,
) -> Result<(), ChangeError> {
    let (EntryKind::File { .. }, Some(stat)) = (&changed.entry.kind, changed.stat) else {
        return writer.append(&changed.entry, &mut std::io::empty()).map(drop).map_err(ChangeError::Write);
    };
    let path = &changed.entry.path;
    let mut file = std::fs::File::from(tree.read_file(path).map_err(read(path))?);
    let written = writer.append(&changed.entry, &mut file);
    // Bytes may change without the length doing so: the change time tells.
    let moved = Stat::of(&file).map_err(read(path))? != stat;
    match written {
        Ok(_) if !moved => Ok(()),
        Ok(_) | Err(LayerError::BodyLength { .. }) => Err(ChangeError::Changed { path: shown(path) }),
        Err(source) => Err(ChangeError::Write(source)),
    }
}
