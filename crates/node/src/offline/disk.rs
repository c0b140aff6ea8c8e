//! A disk as the base: its root file system becomes the first layer, and the result goes back in its place.
//!
//! The disk is opened for reading once and stays open: what is written at the end is made from what was read at the
//! beginning. Other file systems that the root's `/etc/fstab` mounts are not looked into: where a system cannot do
//! without them the disk is refused, and what scripts write to where they belong is an error, not lost.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use kiln_disk::fs::Fs;
use kiln_disk::image::{self, Backing, Format};
use kiln_disk::layout::Spec;
use kiln_disk::{DiskError, root};
use kiln_engine::output::Artifact;
use kiln_engine::output::rebuilt::{self, Marks, PackError, Rebuild};
use kiln_engine::{EngineError, Session};
use kiln_oci::name::escape;
use kiln_oci::tree::{NodeKind, Tree};
use kiln_vm::source::{Kind, verify};

use crate::error::{NodeError, Result};

/// The kind of the record that remembers which disk had which checksum.
const SUMS: &str = "node-base-sum";
/// Files of a disk are together at most this many times its size, and [`MORE`]: holes make them more than the disk.
const TIMES: u64 = 4;
const MORE: u64 = 16 << 30;
/// Directories without which no program of a system runs.
const NEEDED: [&str; 8] = ["/usr", "/var", "/etc", "/bin", "/sbin", "/lib", "/lib64", "/opt"];
/// Of what may be many, so many are named.
const SHOWN: usize = 8;
/// Kinds of mounts that are of no disk.
const VIRTUAL: [&str; 12] =
    ["swap", "proc", "sysfs", "tmpfs", "devpts", "nfs", "nfs4", "cifs", "9p", "virtiofs", "overlay", "none"];

/// A disk that is a base.
pub struct BaseDisk {
    path: PathBuf,
    file: File,
    state: String,
    root: root::Root,
}

impl BaseDisk {
    /// Opens the disk in a file and finds its root.
    ///
    /// # Errors
    /// When it is no disk that can be read, or its root cannot be taken apart from its other file systems.
    pub fn open(path: &Path) -> Result<BaseDisk> {
        let file = File::open(path).map_err(NodeError::file("open", path))?;
        let state = state(&file, path)?;
        let own = file.try_clone().map_err(NodeError::file("open", path))?;
        let opened = image::open(file, None, &Backing::Refuse);
        let root = opened.and_then(|image| root::find(image.format, image.disk.into(), None));
        let root = root.map_err(|e| refused(path, &e))?;
        let disk = BaseDisk { path: path.to_owned(), file: own, state, root };
        if let Some(loader) = disk.loader_by_blocks().map_err(|e| refused(path, &e))? {
            return Err(NodeError::Base {
                base: path.display().to_string(),
                why: format!("{loader} boots it by the numbers of blocks in its root file system, which is made anew"),
                hint: Some(MACHINE.to_owned()),
            });
        }
        if let Some(needed) = disk.apart().find(|target| NEEDED.contains(target)) {
            return Err(NodeError::Base {
                base: path.display().to_string(),
                why: format!("its {needed} is a file system of its own, and the offline builder opens the root's only"),
                hint: Some(MACHINE.to_owned()),
            });
        }
        Ok(disk)
    }

    /// How it is written.
    pub fn format(&self) -> Format {
        self.root.format
    }

    /// What was found, for people.
    pub fn describe(&self) -> String {
        let part = match self.root.partition.number {
            0 => "the whole disk".to_owned(),
            number => format!("partition {number}"),
        };
        let journal = if self.root.fs.recovered() { ", with what its journal has" } else { "" };
        format!("root file system: {part} ({}){journal}", self.root.evidence)
    }

    /// What is worth knowing before it is rebuilt.
    pub fn warnings(&self) -> Vec<String> {
        let mut found = Vec::new();
        if let Some(why) = self.root.table.as_ref().and_then(|table| table.repaired.as_ref()) {
            found.push(format!("the first partition table is damaged, its backup is used: {why}"));
        }
        let lost = self.root.fs.features_lost();
        if !lost.is_empty() {
            found.push(format!("the new root file system is without {}", lost.join(", ")));
        }
        let Fs::Btrfs(image) = &self.root.fs else { return found };
        if image.superblock().copy {
            found.push("the first superblock is damaged, a copy of it is used".to_owned());
        }
        let copies = image.copies().unwrap_or_default();
        if !copies.is_empty() {
            let names: Vec<String> = copies.iter().take(SHOWN).map(|path| format!("`{}`", escape(path))).collect();
            let more = copies.len().checked_sub(SHOWN + 1).map_or(String::new(), |n| format!(" and {} more", n + 1));
            found.push(format!("the new disk is without the read-only snapshots {}{more}", names.join(", ")));
        }
        found
    }

    /// What tells this disk from others without reading it.
    pub fn key(&self) -> &str {
        &self.state
    }

    /// Writes the tar of the root's files.
    ///
    /// # Errors
    /// When the file system is damaged, or `out` takes no more.
    pub fn pack(&self, out: &mut dyn Write) -> Result<()> {
        let limit = self.root.disk.len().unwrap_or(0).saturating_mul(TIMES).saturating_add(MORE);
        rebuilt::pack(&self.root, limit, out).map_err(|e| match e {
            PackError::Disk(e) => refused(&self.path, &e),
            PackError::Layer(e) => match written(&e) {
                Some(source) => NodeError::File { action: "pack", path: self.path.clone(), source },
                None => NodeError::Base {
                    base: self.path.display().to_string(),
                    why: kiln_engine::rootfs::chain_text(&e),
                    hint: Some(MACHINE.to_owned()),
                },
            },
        })
    }

    /// Whether the file is still what was opened.
    ///
    /// # Errors
    /// When somebody wrote to it.
    pub fn same(&self) -> Result<()> {
        match state(&self.file, &self.path)? == self.state {
            true => Ok(()),
            false => Err(self.changed()),
        }
    }

    /// That the file is not what was opened.
    pub fn changed(&self) -> NodeError {
        NodeError::Base {
            base: self.path.display().to_string(),
            why: "somebody wrote to it while the image was built".to_owned(),
            hint: Some("build from a disk that no machine uses".to_owned()),
        }
    }

    /// A boot loader that keeps block numbers of files of the root: in front of its superblock, or in the MBR.
    fn loader_by_blocks(&self) -> Result<Option<&'static str>, DiskError> {
        const LOADERS: [(&[u8], &str); 3] = [(b"EXTLINUX", "EXTLINUX"), (b"SYSLINUX", "SYSLINUX"), (b"GRUB", "GRUB")];
        let read = |offset, len: u64| {
            let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
            let read = self.root.disk.read_exact_at(&mut bytes, offset);
            read.map(|()| bytes).map_err(|source| DiskError::Read { what: "disk", offset, source })
        };
        // Behind it is the file system, which may say anything.
        let front = read(self.root.partition.start, self.root.fs.boot_area().min(1024))?;
        let mbr = read(0, 512)?;
        let found = LOADERS.iter().find(|(mark, _)| front.windows(mark.len()).any(|part| part == *mark));
        Ok(found.map(|(_, name)| *name).or_else(|| (&mbr[6..10] == b"LILO").then_some("LILO")))
    }

    /// Where other file systems are mounted on the root.
    fn apart(&self) -> impl Iterator<Item = &str> {
        let mounts =
            self.root.mounts.iter().filter(|mount| {
                mount.target.starts_with('/') && mount.target != "/" && !VIRTUAL.contains(&&*mount.kind)
            });
        let mounts = mounts.filter(|mount| !mount.options.split(',').any(|o| o == "bind" || o == "rbind"));
        mounts.map(|mount| mount.target.trim_end_matches('/'))
    }

    /// Writes the result to `dest`, in the place of the root.
    ///
    /// # Errors
    /// When scripts wrote to where another file system is mounted, when it does not fit, or cannot be written.
    pub fn rebuild(
        &self,
        dest: &Path,
        spec: &Spec,
        marks: &BTreeMap<Vec<u8>, Marks>,
        made: &Artifact,
        session: &Session,
    ) -> Result<()> {
        self.same()?;
        let layers = made.images.first().map_or(&[][..], |image| &image.layers);
        let (before, after) = (session.roots.tree(&layers[..layers.len().min(1)])?, session.roots.tree(layers)?);
        for target in self.apart() {
            if let Some(path) = changed(&before.tree, &after.tree, target.trim_start_matches('/').as_bytes()) {
                return Err(NodeError::Unsupported {
                    what: format!(
                        "a script wrote `/{}`, but {target} is a file system of its own, which the offline builder does \
                         not write",
                        escape(&path)
                    ),
                    hint: Some(MACHINE.to_owned()),
                });
            }
        }
        let rebuild = Rebuild { base: &self.root, spec, marks };
        Ok(rebuilt::publish(dest, &rebuild, made, session)?)
    }
}

/// How the disk in a file is written.
///
/// # Errors
/// When it cannot be read, or is in no format that Kiln reads.
pub fn format_of(path: &Path) -> Result<Format> {
    let file = File::open(path).map_err(NodeError::file("open", path))?;
    image::detect(&file).map_err(|e| refused(path, &e))
}

/// What takes the place of what cannot be done offline.
const MACHINE: &str = "a virtual machine can: -builder qemu";

fn refused(path: &Path, e: &DiskError) -> NodeError {
    let hint = match e {
        DiskError::Damaged { .. } => {
            "see what is wrong: qemu-img check, sgdisk -v, e2fsck -fn, xfs_repair -n, btrfs check"
        }
        DiskError::NoRoot { .. } | DiskError::Unsupported { .. } => MACHINE,
        _ => "",
    };
    let hint = (!hint.is_empty()).then(|| hint.to_owned());
    NodeError::Base { base: path.display().to_string(), why: e.to_string(), hint }
}

/// The error of writing among the causes of another.
fn written(e: &(dyn std::error::Error + 'static)) -> Option<io::Error> {
    let mut cause = Some(e);
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<io::Error>().filter(|io| io.get_ref().is_none()) {
            return Some(io::Error::new(io.kind(), io.to_string()));
        }
        cause = inner.source();
    }
    None
}

fn state(file: &File, path: &Path) -> Result<String> {
    let meta = file.metadata().map_err(NodeError::file("read", path))?;
    let (changed, modified) = ((meta.ctime(), meta.ctime_nsec()), (meta.mtime(), meta.mtime_nsec()));
    Ok(format!("disk {:?}", (meta.dev(), meta.ino(), meta.size(), modified, changed)))
}

/// Checks the sum of the file of a base, unless that was done before. What tells that file from others, as
/// [`BaseDisk::key`].
///
/// # Errors
/// When it is another, or the file cannot be read.
pub fn check(path: &Path, kind: Kind, digits: &str, session: &Session) -> Result<String> {
    let file = File::open(path).map_err(NodeError::file("open", path))?;
    let (key, value) = (state(&file, path)?, format!("{}:{digits}", kind.name()));
    if session.store.cache_get(SUMS, &key).is_some_and(|known| known == value.as_bytes()) {
        return Ok(key);
    }
    verify(path, kind, digits).map_err(|e| NodeError::Base {
        base: path.display().to_string(),
        why: e.to_string(),
        hint: Some("fetch it again, or see whether iso_checksum is that of another release".to_owned()),
    })?;
    session.store.cache_put(SUMS, &key, value.as_bytes()).map_err(EngineError::from)?;
    Ok(key)
}

/// Something below `at` that is not a directory and is not what it was.
fn changed(before: &Tree, after: &Tree, at: &[u8]) -> Option<Vec<u8>> {
    let found = after.walk(at).find(|(path, node)| match &node.kind {
        NodeKind::Dir(_) => false,
        _ => before.at(path) != Some(*node),
    });
    found.map(|(path, _)| path)
}
