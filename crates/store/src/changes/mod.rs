//! Directory → layer: what a command changed, by one rule for every isolation rung.
//!
//! ```text
//! a path is in the layer      when
//! new                         the lower layers have nothing there
//! changed                     type, mode, owner, group, link target, device number, size, `security.capability` or
//!                             time (whole seconds; not of directories) differ; or all are equal and the bytes differ
//! a parent directory          something below it is in the layer; with its metadata as it is now
//! removed (a whiteout)        the lower layers have it, and its parent is still a directory
//! never                       the root itself; sockets; what the lower layers have unchanged; what [`Ignore`] covers
//! ```
//! A directory that was removed and made again gets one whiteout for each lower child it lost, never an opaque mark;
//! below a directory that is now something else there are no whiteouts. Several names of one inode among the entries
//! become one file and hard links to its first name. An unchanged tree gives no entries.
//!
//! **Order:** by the bytes of the path in the tar, in which a whiteout is named `.wh.NAME` in its directory. So
//! parents come before their children, and most whiteouts before their siblings.
//!
//! [`overlay_changes`] takes its candidates from overlayfs's upper directory, [`scan_changes`] from two scans of a
//! whole root. Both are judged by the same code (`rule`, `collect`), so the same effect gives the same layer.
//! Both roots must be quiet: processes of the step are gone.

mod collect;
mod error;
mod ignore;
mod overlay;
mod rule;
mod write;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use kiln_oci::entry::Entry;
use kiln_oci::name::split;

use crate::beneath::Beneath;
use crate::form::Form;
use crate::lower::Lower;
use crate::scan::{Snapshot, scan};
use crate::stat::{FileKind, Stat};
use collect::{Candidates, Collector};
pub use error::ChangeError;
pub use ignore::Ignore;
pub use rule::{Verdict, judge};
pub use write::write_layer;

/// Virtual owners and groups by path.
pub type Owners = BTreeMap<Vec<u8>, (u32, u32)>;

/// How to look for changes.
#[derive(Clone, Copy)]
pub struct ChangeOptions<'a> {
    /// What is not the image's.
    pub ignore: &'a Ignore,
    /// Entries newer than this (seconds since the epoch) are dated so: `SOURCE_DATE_EPOCH`.
    pub clamp_mtime: Option<i64>,
    /// How the tree keeps owners, devices and overlayfs's marks.
    pub form: &'a Form,
    /// With virtual owners, who owns links and pipes, by path; all others are root's.
    pub owners: &'a Owners,
}

/// One entry of the layer to be, and where its bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedEntry {
    /// The entry.
    pub entry: Entry,
    /// The state of the path in the tree; `None` for whiteouts and hard links, which have no bytes.
    pub stat: Option<Stat>,
}

/// What a command changed, with the tree that has the bytes.
pub struct Changes {
    /// The entries in the layer's order.
    pub entries: Vec<ChangedEntry>,
    tree: Beneath,
}

impl Changes {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entries alone.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().map(|changed| &changed.entry)
    }
}

/// What is in `upper`, the upper directory of an overlayfs mount over `lower`, that differs from `lower`.
///
/// The mount must be gone or quiet, and have had `redirect_dir=off` and `metacopy=off`. To read `trusted.` marks takes
/// `CAP_SYS_ADMIN`; without, they are invisible and the result would be wrong.
///
/// # Errors
/// Something cannot be read, has a mark of a feature above, or cannot be said in a layer.
pub fn overlay_changes(
    upper: impl AsFd,
    lower: &dyn Lower,
    options: &ChangeOptions<'_>,
) -> Result<Changes, ChangeError> {
    let mut tree = open(upper)?;
    let candidates = overlay::candidates(&mut tree, lower, options)?;
    let entries = Collector::new(&mut tree, lower, options).collect(candidates)?;
    Ok(Changes { entries, tree })
}

/// What differs in `root` since `before` was scanned, seen against `lower`; and the new scan.
///
/// # Errors
/// Something cannot be read, or cannot be said in a layer.
pub fn scan_changes(
    root: impl AsFd,
    before: &Snapshot,
    lower: &dyn Lower,
    options: &ChangeOptions<'_>,
) -> Result<(Changes, Snapshot), ChangeError> {
    let mut tree = open(root.as_fd())?;
    let after = scan(root)?;
    let diff = before.diff(&after);
    let is_dir = |path: &[u8]| path.is_empty() || after.get(path).is_some_and(|stat| stat.kind == FileKind::Dir);
    let candidates = Candidates {
        present: diff
            .changed
            .into_iter()
            .filter_map(|path| after.get(&path).copied().map(|stat| (path, stat)))
            .collect(),
        gone: diff.removed.into_iter().filter(|path| is_dir(split(path).0)).collect(),
    };
    let entries = Collector::new(&mut tree, lower, options).collect(candidates)?;
    Ok((Changes { entries, tree }, after))
}

fn open(dir: impl AsFd) -> Result<Beneath, ChangeError> {
    Beneath::without_mounts(dir).map_err(error::read(b""))
}
