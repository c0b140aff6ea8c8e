//! A disk as a system that is checked: its files as the machine would see them, and what makes it boot.
//!
//! Nothing is mounted. The root file system is read by [`kiln_disk::fs`], and what its `fstab` mounts of the same disk is put
//! where it would be. All of it is hostile: readers have limits, links stay inside.
//!
//! [`open`] formats of disks, and Google's tar.gz     [`probe`] file systems and boot loaders on it
//!
//! Adding a file system: how it is recognised in [`probe`], and what reads it: a variant of [`Fs`], or else of [`Files`].

mod open;
mod probe;

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use kiln_checks::read::fstab;
use kiln_checks::system::media::{Media, Volume};
use kiln_checks::system::{ImageTree, Kind, LookError, Stat, Walk};
use kiln_checks::{System, system};
use kiln_disk::ext4::InodeFlags;
use kiln_disk::fs::{Found, Fs};
use kiln_disk::image::{Format, Source};
use kiln_disk::io::Window;
use kiln_disk::root::Content;
use kiln_disk::{DiskError, fat, root};
use kiln_oci::name::{components, escape, join};
use kiln_oci::tree::{Children, FileRef, Follow, Node, NodeKind};
use kiln_oci::{Digest, Entry, EntryKind, Meta, Tree};

pub(crate) use self::open::{FORMATS, is_file_system};
use crate::error::{NodeError, Result};

/// The most files that are looked at. A node has some hundred thousand.
const MAX_FILES: usize = 4 << 20;

/// The bytes of a partition.
type Part = Window<Arc<dyn Source>>;

/// What reads the files of a partition.
enum Files {
    /// What Linux has its files in.
    Linux(Fs<Part>),
    /// FAT of any width, and what is on it.
    Fat(fat::Reader<Part>, Vec<fat::Entry>),
}

/// A disk whose root file system was found.
pub struct Disk {
    title: String,
    tree: Tree,
    volumes: Vec<Files>,
    /// Files that `chattr +i` was applied to: the volume and inode of each.
    locked: HashSet<(u64, u64)>,
    media: Media,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk").field("title", &self.title).field("media", &self.media).finish_non_exhaustive()
    }
}

impl Disk {
    /// Whether a file is a disk, by its bytes: names of files say anything.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn is_one(path: &Path) -> Result<bool> {
        open::is_disk(path)
    }

    /// Opens the disk in the file `path`, whatever its format; `title` is what it is called.
    ///
    /// # Errors
    /// It is damaged, has no root file system that Kiln reads, or cannot be read.
    pub fn open(path: &Path, title: &str) -> Result<Disk> {
        Disk::of_file(File::open(path).map_err(NodeError::file("open", path))?, title)
    }

    /// The same for a file that is open already.
    ///
    /// # Errors
    /// As [`Disk::open`].
    pub fn of_file(file: File, title: &str) -> Result<Disk> {
        let failed = |source| NodeError::Disk { disk: title.to_owned(), source };
        Disk::of(open::disk(file).map_err(failed)?, format!("disk {title}")).map_err(failed)
    }

    fn of(disk: Arc<dyn Source>, title: String) -> Result<Disk, DiskError> {
        let len = disk.len().map_err(|source| DiskError::Read { what: "disk", offset: 0, source })?;
        let root = root::find(Format::Raw, Arc::clone(&disk), None)?;
        let table = root.table.as_ref();
        let parts: Vec<(Volume, Part)> = match table {
            Some(table) => {
                table.partitions.iter().map(|p| probe::volume(Some(p), p.window(Arc::clone(&disk)))).collect()
            }
            None => vec![probe::volume(None, Window::new(Arc::clone(&disk), 0, len))],
        };
        let number = table.map(|_| root.partition.number);
        let media = probe::media(&disk, table, number, &parts);
        let mut found = Disk { title, tree: Tree::new(), volumes: Vec::new(), locked: HashSet::new(), media };
        found.add(b"", Files::Linux(root.fs))?;
        found.mount(&parts)?;
        Ok(found)
    }

    /// Puts what `fstab` mounts of this disk where it would be, and the EFI system partition where tools look for it.
    fn mount(&mut self, parts: &[(Volume, Part)]) -> Result<(), DiskError> {
        // Without a table that can be read, nothing is mounted: the checks that read it say why.
        let mut mounts: Vec<(String, Option<u32>, String)> = Vec::new();
        for mount in fstab::of(&*self).unwrap_or_default() {
            if let Ok(Some(volume)) = self.media.find(&mount.device) {
                mounts.push((mount.target, volume.number, mount.options.join(",")));
            }
        }
        if let Some(esp) = self.media.esp.filter(|esp| !mounts.iter().any(|(_, number, _)| *number == Some(*esp))) {
            mounts.push(("/boot/efi".to_owned(), Some(esp), String::new()));
        }
        // What is mounted below another comes after it.
        mounts.sort();
        for (target, number, options) in mounts {
            let target: Vec<u8> = components(target.as_bytes()).collect::<Vec<_>>().join(&b'/');
            let Some((volume, window)) = parts.iter().find(|(volume, _)| volume.number == number) else { continue };
            // Subvolumes of the root's own file system are in their places.
            if target.is_empty() || number == self.media.root {
                continue;
            }
            match &*volume.kind {
                "vfat" => {
                    let reader = fat::Reader::open(window.clone())?;
                    let entries = reader.entries()?;
                    self.add(&target, Files::Fat(reader, entries))?;
                }
                _ => {
                    if let Some(mut fs) = Fs::open(Content::of(window), window.clone())? {
                        let there = match &mut fs {
                            Fs::Btrfs(image) => image.enter(&options)?,
                            _ => true,
                        };
                        if there {
                            self.add(&target, Files::Linux(fs))?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Adds the files of a volume below `target`, in place of what is there.
    fn add(&mut self, target: &[u8], files: Files) -> Result<(), DiskError> {
        let volume = self.volumes.len() as u64;
        let layer = Arc::new(Digest::of(&volume.to_le_bytes()));
        self.put(target, Meta::mode(0o755), NodeKind::Dir(Children::new()))?;
        match &files {
            Files::Linux(fs) => {
                for (count, found) in fs.walk().enumerate() {
                    let found = found?;
                    if count > MAX_FILES {
                        return Err(damaged("its files", &format!("there are more than {MAX_FILES}")));
                    }
                    if found.flags.has(InodeFlags::IMMUTABLE) {
                        self.locked.insert((volume, found.ino));
                    }
                    let path = join(target, &found.entry.path);
                    self.put_entry(&path, target, &found.entry, (volume, found.ino, &layer))?;
                }
            }
            Files::Fat(_, entries) => {
                for (at, entry) in entries.iter().enumerate() {
                    let path = join(target, entry.path.as_bytes());
                    let place = (volume, at as u64, &layer);
                    let kind = match entry.directory {
                        true => NodeKind::Dir(Children::new()),
                        false => NodeKind::File(reference(entry.len, entry.path.as_bytes(), place)),
                    };
                    // What the kernel shows of FAT without options: everything is root's.
                    self.put(&path, Meta::mode(if entry.directory { 0o755 } else { 0o644 }), kind)?;
                }
            }
        }
        self.volumes.push(files);
        Ok(())
    }

    fn put_entry(
        &mut self,
        path: &[u8],
        target: &[u8],
        entry: &Entry,
        place: (u64, u64, &Arc<Digest>),
    ) -> Result<(), DiskError> {
        let kind = match &entry.kind {
            EntryKind::File { size } => NodeKind::File(reference(*size, &entry.path, place)),
            EntryKind::Dir => NodeKind::Dir(Children::new()),
            EntryKind::Symlink { target } => NodeKind::Symlink { target: Arc::from(&target[..]) },
            EntryKind::Char { major, minor } => NodeKind::Char { major: *major, minor: *minor },
            EntryKind::Block { major, minor } => NodeKind::Block { major: *major, minor: *minor },
            EntryKind::Fifo => NodeKind::Fifo,
            // Only layers have them.
            EntryKind::Whiteout | EntryKind::Opaque => return Ok(()),
            EntryKind::Hardlink { target: first } => {
                let Some(node) = self.tree.at(&join(target, first)).cloned() else { return Ok(()) };
                return self.tree.insert(path, node).map_err(|e| damaged(&escape(path), &e.to_string()));
            }
        };
        self.put(path, entry.meta.clone(), kind)
    }

    fn put(&mut self, path: &[u8], meta: Meta, kind: NodeKind) -> Result<(), DiskError> {
        self.tree.insert(path, Arc::new(Node { meta, kind })).map_err(|e| damaged(&escape(path), &e.to_string()))
    }

    fn files(&self) -> ImageTree<'_> {
        ImageTree::new("", &self.tree, |_| Err(std::io::ErrorKind::Unsupported.into()))
    }

    fn file(&self, path: &str) -> system::Result<Option<&FileRef>> {
        let found = self.tree.lookup(path.as_bytes(), Follow::All);
        match found {
            Ok(None) | Err(kiln_oci::tree::TreeError::NotADirectory { .. }) => Ok(None),
            Ok(Some(found)) => found.node.file().map(Some).ok_or_else(|| LookError::NotAFile { path: path.to_owned() }),
            Err(e) => Err(LookError::Links { path: path.to_owned(), why: e.to_string() }),
        }
    }
}

impl System for Disk {
    fn title(&self) -> String {
        self.title.clone()
    }

    fn read(&self, path: &str, max: u64) -> system::Result<Option<Vec<u8>>> {
        let Some(file) = self.file(path)? else { return Ok(None) };
        if file.size > max {
            return Err(LookError::TooLarge { path: path.to_owned(), max });
        }
        let failed = |e: DiskError| LookError::read(path)(std::io::Error::other(e));
        let mut bytes = Vec::new();
        match usize::try_from(file.offset).ok().and_then(|at| self.volumes.get(at)) {
            Some(Files::Linux(fs)) => {
                let entry =
                    Entry { path: file.path.to_vec(), kind: EntryKind::File { size: file.size }, meta: Meta::mode(0) };
                let found = Found { entry, ino: file.inode, flags: InodeFlags::default() };
                let body = fs.open_file(&found).map_err(failed)?;
                body.take(max).read_to_end(&mut bytes).map_err(LookError::read(path))?;
            }
            Some(Files::Fat(reader, entries)) => {
                let entry = usize::try_from(file.inode).ok().and_then(|at| entries.get(at));
                let Some(entry) = entry else { return Ok(None) };
                bytes = reader.read(entry, max).map_err(failed)?;
            }
            None => return Ok(None),
        }
        Ok(Some(bytes))
    }

    fn list(&self, path: &str) -> system::Result<Option<Vec<String>>> {
        self.files().list(path)
    }

    fn stat(&self, path: &str, follow: bool) -> system::Result<Option<Stat>> {
        self.files().stat(path, follow)
    }

    fn walk(&self, dir: &str) -> system::Result<Walk> {
        self.files().walk(dir)
    }

    fn immutable(&self, path: &str) -> system::Result<Option<bool>> {
        if self.stat(path, true)?.is_none_or(|stat| stat.kind != Kind::File) {
            return Ok(None);
        }
        Ok(self.file(path)?.and_then(|file| {
            match usize::try_from(file.offset).ok().and_then(|at| self.volumes.get(at)) {
                Some(Files::Linux(_)) => Some(self.locked.contains(&(file.offset, file.inode))),
                _ => None,
            }
        }))
    }

    fn media(&self) -> Option<&Media> {
        Some(&self.media)
    }
}

/// A file of a volume: which one is in `offset`, for what nobody else asks.
fn reference(size: u64, path: &[u8], (volume, inode, layer): (u64, u64, &Arc<Digest>)) -> FileRef {
    FileRef { size, layer: Arc::clone(layer), path: Arc::from(path), offset: volume, inode }
}

fn damaged(what: &str, why: &str) -> DiskError {
    DiskError::Damaged { format: "disk", what: what.to_owned(), why: why.to_owned() }
}
