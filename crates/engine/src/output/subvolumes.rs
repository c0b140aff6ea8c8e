//! A btrfs in the place of another: its subvolumes are where they were, with the numbers they had, so that `fstab`, boot
//! entries and what is mounted when nothing is said find them.
//!
//! | of the base | in the new one |
//! |---|---|
//! | the root, and what `fstab` mounts in it | as the image has it |
//! | subvolumes in these | the same, where their directories are still there |
//! | other subvolumes, and what is beside them | as they were |
//! | copies that nobody may write to (`snapper`) | not there: they would be whole once more |
//! | what boot loaders have in the first MiB | the same |

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};

use kiln_disk::DiskError;
use kiln_disk::btrfs::{Image, Layout, Part, Plan, Subvolume, Writer};
use kiln_disk::ext4::InodeFlags;
use kiln_disk::files::Options;
use kiln_disk::fs::Files;
use kiln_disk::io::{ReadAt, Window, WriteAt};
use kiln_oci::name::escape;
use kiln_oci::{Entry, EntryKind};

use super::disk::{Body, keep_marks, put_row, stop_if_cancelled};
use crate::rootfs::Root;
use crate::session::Session;

/// Writes the file system. `rows` are what its root shows; `options` has the marks of these.
pub(super) fn write<R: ReadAt>(
    target: &mut Window<&mut File>,
    mut options: Options,
    rows: &[(Entry, Body<'_>)],
    image: &Image<R>,
    (root, session): (&Root, &Session),
) -> Result<(), DiskError> {
    keep_marks(&mut options.flags, rows);
    let layout = image.layout()?;
    let parts = parts(&layout, rows);
    let (rows, outside) = (moved(&layout, rows)?, &layout.outside);
    options.flags = marks(&layout, &options.flags);
    let entries = rows.iter().map(|(entry, _)| entry).chain(outside.iter().map(|found| &found.entry));
    let mut plan = Plan::new();
    entries.chain(&layout.under).for_each(|entry| plan.add(entry));
    let mut writer = Writer::new(&mut *target, options, Some(&plan))?;
    writer.subvolumes(&parts, layout.default)?;
    for (entry, body) in &rows {
        put_row(&mut writer, entry, body, root, session)?;
    }
    for entry in &layout.under {
        put_row(&mut writer, entry, &Body::None, root, session)?;
    }
    for found in outside {
        let mut body: Box<dyn Read + '_> = match found.entry.kind {
            EntryKind::File { .. } => Box::new(image.open_file(found)?),
            _ => Box::new(io::empty()),
        };
        stop_if_cancelled(session, &found.entry)?;
        writer.append(&found.entry, &mut body)?;
    }
    writer.finish()?;
    if let Some((offset, noted)) = image.noted()? {
        let put = target.write_at(&noted, offset);
        put.map_err(|source| DiskError::Write { what: "what a boot loader noted", offset, source })?;
    }
    Ok(())
}

/// The subvolumes of the new file system. One that nothing mounts is one again only where its directory still is.
fn parts(layout: &Layout, rows: &[(Entry, Body<'_>)]) -> Vec<Subvolume> {
    let dirs: BTreeSet<&[u8]> =
        rows.iter().filter(|(entry, _)| entry.kind == EntryKind::Dir).map(|(entry, _)| &*entry.path).collect();
    let there = |part: &&Part| match &part.shown {
        Some(shown) => part.mounted || dirs.contains(&**shown),
        None => true,
    };
    let parts = layout.parts.iter().filter(there);
    parts.map(|part| Subvolume { id: part.id, path: part.path.clone(), read_only: part.read_only }).collect()
}

/// The entries by their paths from the top of all.
fn moved<'a>(layout: &Layout, rows: &'a [(Entry, Body<'a>)]) -> Result<Vec<(Entry, &'a Body<'a>)>, DiskError> {
    let mut moved = Vec::new();
    for (entry, body) in rows {
        let in_place_of = |path: &[u8]| {
            let why = "a subvolume that is shown somewhere else is there".to_owned();
            DiskError::Entry { format: "btrfs file system", path: escape(path), why }
        };
        let Some(path) = layout.from_top(&entry.path) else {
            // An empty directory stands for it.
            match entry.kind {
                EntryKind::Dir => continue,
                _ => return Err(in_place_of(&entry.path)),
            }
        };
        let kind = match &entry.kind {
            EntryKind::Hardlink { target } => {
                EntryKind::Hardlink { target: layout.from_top(target).ok_or_else(|| in_place_of(target))? }
            }
            other => other.clone(),
        };
        moved.push((Entry { path, kind, meta: entry.meta.clone() }, body));
    }
    Ok(moved)
}

/// Marks by paths from the top of all, with those of what the root does not show.
fn marks(layout: &Layout, flags: &BTreeMap<Vec<u8>, InodeFlags>) -> BTreeMap<Vec<u8>, InodeFlags> {
    let shown = flags.iter().filter_map(|(path, marks)| Some((layout.from_top(path)?, *marks)));
    let other = layout.outside.iter().filter(|found| !matches!(found.entry.kind, EntryKind::Hardlink { .. }));
    let other = other.filter(|found| !found.flags.is_empty()).map(|found| (found.entry.path.clone(), found.flags));
    shown.chain(other).collect()
}
