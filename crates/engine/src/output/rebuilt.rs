//! The files of an image in the place of the root file system of a disk.
//!
//! The disk is copied with its partition table, boot loader and other partitions as they are; only the root file system
//! is made anew, under its old identifier and name. Layers keep less of a file than a file system has: what nobody
//! changed gets back from the base what a layer left out.
//!
//! | of a file | from |
//! |---|---|
//! | bytes, kind, mode, owner, second of change, capabilities | the layers |
//! | ACLs, other extended attributes | the base, where kind, mode and owner are still the same |
//! | nanoseconds of its time | the base, where its second is still the same and the bytes are the base's |
//! | GRUB's entries | the base, with the new kernel for the old one where scripts brought a newer one |
//! | marks such as `immutable` | the base, where the kind is still the same, and what was asked for since |

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use kiln_disk::boot::{self, Change};
use kiln_disk::ext4::{self, InodeFlags};
use kiln_disk::files as volume;
use kiln_disk::fs::Fs;
use kiln_disk::io::Window;
use kiln_disk::layout::Spec;
use kiln_disk::part::Partition;
use kiln_disk::root::Root as Base;
use kiln_disk::write::Rewrite;
use kiln_disk::{DiskError, image};
use kiln_oci::{Digest, Entry, EntryKind, Meta};

use super::Artifact;
use super::disk::{Body, rows, seed, write_ext4, write_xfs};
use super::subvolumes;
use crate::error::{EngineError, Result};
use crate::rootfs::Root;
use crate::session::Session;
use crate::whole;

/// GRUB's configuration is not longer.
const MAX_CONFIG: u64 = 4 << 20;
/// A file capability, which layers keep.
const CAPABILITY: &[u8] = b"security.capability";

/// Marks of a path: those that are taken away, then those that are set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Marks {
    /// Taken away.
    pub clear: InodeFlags,
    /// Set.
    pub set: InodeFlags,
}

impl Marks {
    /// What becomes of the marks that were there.
    pub fn apply(self, old: InodeFlags) -> InodeFlags {
        old.without(self.clear).with(self.set)
    }
}

/// What a disk is rebuilt from, and into.
#[derive(Debug)]
pub struct Rebuild<'a> {
    /// The disk that the image's lowest layer was read from.
    pub base: &'a Base,
    /// Format, compression and size; what says how a disk boots is the base's.
    pub spec: &'a Spec,
    /// Marks of paths, as they are in the tree.
    pub marks: &'a BTreeMap<Vec<u8>, Marks>,
}

/// Writes the disk, whole or not at all. The base is only read.
///
/// # Errors
/// When the artifact is several images, its files do not fit, the disk cannot be grown as wished, or a file cannot be
/// read or written.
pub fn publish(dest: &Path, rebuild: &Rebuild<'_>, artifact: &Artifact, session: &Session) -> Result<()> {
    let [only] = &artifact.images[..] else {
        let what = "a disk is of one platform, and the image has several".to_owned();
        return Err(EngineError::Unsupported(what));
    };
    let root = session.roots.tree(&only.layers)?;
    let failed = |e| EngineError::disk(dest, e);
    let kept = Kept::read(rebuild.base).map_err(failed)?;
    let lowest = only.layers.first().map(|layer| layer.diff_id.clone());
    let how = Rewrite {
        partition: Some(rebuild.base.partition.number),
        size: rebuild.spec.size,
        granule: rebuild.spec.format.granule(),
        boot_area: rebuild.base.fs.boot_area(),
    };
    let epoch = session.settings.source_date_epoch.unwrap_or(session.settings.now);
    let epoch = u64::try_from(epoch).unwrap_or_default();
    let fill = Fill { rebuild, kept, root: &root, lowest, epoch, session };
    whole::file(dest, "write", |out| {
        let raw = |raw: &mut File| {
            let mut put = |target: &mut Window<&mut File>, part: &Partition| fill.write(target, part);
            kiln_disk::write::rewrite(&*rebuild.base.disk, how, raw, &mut put).map_err(failed)
        };
        if rebuild.spec.format == image::Format::Raw {
            return raw(out).map(drop);
        }
        let mut between = whole::scratch(dest)?;
        raw(&mut between)?;
        session.check_cancelled()?;
        let spec = Spec { seed: seed(only), epoch, threads: session.settings.jobs.max(1), ..rebuild.spec.clone() };
        image::write(&between, out, &kiln_disk::write::image_options(&spec)).map_err(failed)
    })
}

/// What the base has of its files and layers do not.
struct Kept(HashMap<Vec<u8>, (EntryKind, Meta, InodeFlags)>);

impl Kept {
    fn read(base: &Base) -> Result<Kept, DiskError> {
        let mut kept = HashMap::new();
        for found in base.fs.walk() {
            let found = found?;
            kept.insert(found.entry.path, (found.entry.kind, found.entry.meta, found.flags));
        }
        Ok(Kept(kept))
    }

    /// Gives an entry what is its own; what is left are its marks.
    fn complete(&self, entry: &mut Entry, unchanged: bool) -> InodeFlags {
        let Some((kind, old, flags)) = self.0.get(&entry.path) else { return InodeFlags::default() };
        let (is, was) = (std::mem::discriminant(&entry.kind), std::mem::discriminant(kind));
        if is != was {
            return InodeFlags::default();
        }
        let meta = &mut entry.meta;
        if (meta.mode, meta.uid, meta.gid) == (old.mode, old.uid, old.gid) {
            let capability = meta.xattrs.remove(CAPABILITY);
            meta.xattrs = old.xattrs.clone();
            meta.xattrs.remove(CAPABILITY);
            meta.xattrs.extend(capability.map(|value| (CAPABILITY.to_vec(), value)));
        }
        if unchanged && meta.mtime.secs == old.mtime.secs {
            meta.mtime = old.mtime;
        }
        *flags
    }
}

/// Writes the root file system.
struct Fill<'a> {
    rebuild: &'a Rebuild<'a>,
    kept: Kept,
    root: &'a Root,
    /// The layer that the base became.
    lowest: Option<Digest>,
    epoch: u64,
    session: &'a Session,
}

impl Fill<'_> {
    fn write(&self, target: &mut Window<&mut File>, part: &Partition) -> Result<(), DiskError> {
        let changes = self.boot_entries()?;
        let mut rows = rows(&self.root.tree, &changes)?;
        let mut flags = BTreeMap::new();
        for (entry, body) in &mut rows {
            let unchanged = match (&entry.kind, &*body) {
                (EntryKind::File { .. }, Body::File(file)) => Some(&*file.layer) == self.lowest.as_ref(),
                (EntryKind::Symlink { target }, _) => {
                    matches!(self.kept.0.get(&entry.path), Some((EntryKind::Symlink { target: old }, ..)) if old == target)
                }
                _ => true,
            };
            let old = self.kept.complete(entry, unchanged);
            let marks = self.rebuild.marks.get(&entry.path).copied().unwrap_or_default().apply(old);
            if !marks.is_empty() {
                flags.insert(entry.path.clone(), marks);
            }
        }
        let base = &self.rebuild.base.fs;
        let label = String::from_utf8(base.label().to_vec()).map_err(|_| {
            let what = "a name of its root file system that is not UTF-8".to_owned();
            DiskError::Unsupported { format: "disk", what }
        })?;
        let time = u32::try_from(self.epoch).unwrap_or(u32::MAX);
        match base {
            Fs::Ext4(image) => {
                let superblock = image.superblock();
                let options = ext4::Options {
                    label,
                    time,
                    reserved_percent: superblock.reserved_percent(),
                    checksums: superblock.sums(),
                    blank: true,
                    flags,
                    ..ext4::Options::new(part.len, superblock.uuid)
                };
                write_ext4(target, options, &rows, self.root, self.session)
            }
            Fs::Xfs(image) => {
                let superblock = image.superblock();
                let options = volume::Options {
                    label,
                    time,
                    flags,
                    blank: true,
                    ..volume::Options::new(part.len, superblock.uuid)
                };
                // What the base has its boot loader and kernel read.
                write_xfs(target, options, superblock.features(), &rows, self.root, self.session)
            }
            Fs::Btrfs(image) => {
                let options =
                    volume::Options { label, time, blank: true, flags, ..volume::Options::new(part.len, base.uuid()) };
                subvolumes::write(target, options, &rows, image, (self.root, self.session))
            }
        }
    }
}

impl Fill<'_> {
    /// GRUB's configuration when scripts brought another kernel: `update-grub` does not run without the machine.
    fn boot_entries(&self) -> Result<Vec<Change>, DiskError> {
        let name = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        let after: Vec<String> = match self.root.tree.at(b"boot").and_then(|node| node.children()) {
            Some(children) => children.keys().map(|n| name(n)).collect(),
            None => return Ok(Vec::new()),
        };
        let in_boot = self.kept.0.keys().filter_map(|path| path.strip_prefix(b"boot/"));
        let before: Vec<String> = in_boot.filter(|n| !n.contains(&b'/')).map(name).collect();
        let mut changes = Vec::new();
        for path in ["/boot/grub/grub.cfg", "/boot/grub2/grub.cfg"] {
            // Who wrote it anew knows better.
            let Some(node) = self.root.tree.at(path.trim_start_matches('/').as_bytes()) else { continue };
            let own = node.file().filter(|file| Some(&*file.layer) == self.lowest.as_ref());
            let Some(file) = own else { continue };
            let failed = |source| DiskError::Body { path: path.to_owned(), source };
            let mut text = String::new();
            self.root.open_file(file).map_err(failed)?.take(MAX_CONFIG).read_to_string(&mut text).map_err(failed)?;
            if let Some(text) = boot::follow(&text, &before, &after)? {
                changes.push(Change::Write { path: path.to_owned(), mode: node.meta.mode, data: text.into_bytes() });
            }
        }
        Ok(changes)
    }
}

/// Writes the files of the base as the layer that an image of them begins with.
///
/// # Errors
/// When the file system is damaged or has more than `limit` bytes in its files, or `out` takes no more.
pub fn pack(base: &Base, limit: u64, out: &mut dyn io::Write) -> Result<(), PackError> {
    let mut layer = kiln_oci::layer::LayerWriter::new(out);
    let mut bytes = 0_u64;
    for found in base.fs.walk() {
        let found = found?;
        match found.entry.kind {
            EntryKind::File { size } => {
                bytes = bytes.saturating_add(size);
                if bytes > limit {
                    let why = format!("its files have more than {limit} bytes");
                    let (format, what) = (base.fs.format(), "its size".to_owned());
                    return Err(DiskError::Damaged { format, what, why }.into());
                }
                let mut body = base.fs.open_file(&found)?;
                layer.append(&found.entry, &mut body)?;
            }
            _ => layer.append(&found.entry, &mut io::empty()).map(drop)?,
        }
    }
    layer.finish()?;
    Ok(())
}

/// Why a base did not become a layer.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The disk cannot be read.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The layer cannot be written.
    #[error(transparent)]
    Layer(#[from] kiln_oci::LayerError),
}
