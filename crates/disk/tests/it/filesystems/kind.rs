//! What the two have in common for tests.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::path::Path;

use kiln_disk::files::{Fill, Options};
use kiln_disk::{Result, WriteAt, btrfs, xfs};
use tempfile::NamedTempFile;

use crate::ext4::tree::{Mounted, Tree, blank, same_as_mounted_but};
use crate::tools::{run, text};

pub const MIB: u64 = 1 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Xfs,
    Btrfs,
}

pub const BOTH: [Kind; 2] = [Kind::Xfs, Kind::Btrfs];

pub fn options(size: u64) -> Options {
    let mut options = Options::new(size, *b"\x11\x22\x33\x44\x55\x66\x47\x88\x99\xaa\xbb\xcc\xdd\xee\xff\x01");
    options.label = "kiln-root".to_owned();
    options.time = 1_750_000_000;
    options
}

/// The same with an identifier of its own: the kernel takes two of one identifier for one.
pub fn unique(size: u64) -> Options {
    let mut options = options(size);
    let random = RandomState::new().build_hasher().finish();
    options.uuid[..8].copy_from_slice(&random.to_le_bytes());
    options
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Xfs => "xfs",
            Kind::Btrfs => "btrfs",
        }
    }

    pub fn minimum(self, tree: &Tree) -> u64 {
        let entries = tree.0.iter().map(|(entry, _)| entry);
        match self {
            Kind::Xfs => {
                let mut plan = xfs::Plan::new();
                entries.for_each(|entry| plan.add(entry));
                plan.minimum(0).unwrap()
            }
            Kind::Btrfs => {
                let mut plan = btrfs::Plan::new();
                entries.for_each(|entry| plan.add(entry));
                plan.minimum(0).unwrap()
            }
        }
    }

    /// A writer that has, or has not, a plan of the tree.
    pub fn writer<'a>(
        self,
        target: impl WriteAt + 'a,
        options: Options,
        planned: Option<&Tree>,
    ) -> Result<Box<dyn Fill + 'a>> {
        let entries = planned.into_iter().flat_map(|tree| tree.0.iter().map(|(entry, _)| entry));
        Ok(match self {
            Kind::Xfs => {
                let mut plan = xfs::Plan::new();
                entries.for_each(|entry| plan.add(entry));
                Box::new(xfs::Writer::new(target, options, planned.map(|_| &plan))?)
            }
            Kind::Btrfs => {
                let mut plan = btrfs::Plan::new();
                entries.for_each(|entry| plan.add(entry));
                Box::new(btrfs::Writer::new(target, options, planned.map(|_| &plan))?)
            }
        })
    }

    pub fn write(self, tree: &Tree, target: impl WriteAt, options: Options) -> Result<()> {
        fill(self.writer(target, options, Some(tree))?, tree)
    }

    /// An image of `size` bytes, checked.
    pub fn image(self, tree: &Tree, size: u64) -> NamedTempFile {
        let file = blank(size);
        self.write(tree, file.reopen().unwrap(), unique(size)).unwrap();
        self.check(file.path());
        file
    }

    /// The tool of the file system has nothing to say about an image.
    pub fn check(self, image: &Path) {
        match self {
            Kind::Xfs => {
                let said = run("xfs_repair", &["-n", "-f", text(image)]);
                // What it would repair it says, and nothing else starts like this.
                let words = ["would", "bad ", "incorrect", "inconsistent", "disagree", "mismatch", "Warning"];
                let bad: Vec<&str> = said
                    .lines()
                    .filter(|line| words.iter().any(|word| line.contains(word)))
                    .filter(|line| !line.contains("a sector size mismatch between"))
                    .collect();
                assert!(bad.is_empty(), "{said}");
            }
            Kind::Btrfs => {
                let said = run("btrfs", &["check", "--readonly", "--check-data-csum", text(image)]);
                assert!(said.contains("no error found"), "{said}");
                assert!(!said.to_lowercase().contains("warning"), "{said}");
            }
        }
    }

    pub fn mount(self, image: &Path, how: &str) -> Mounted {
        Mounted::of(self.name(), image, how)
    }

    pub fn same(self, tree: &Tree, image: &Path) {
        let mounted = self.mount(image, "loop,ro");
        let missing = tree.0.iter().any(|(entry, _)| entry.path.starts_with(b"lost+found/"));
        same_as_mounted_but(tree, mounted.path(), usize::from(missing));
    }
}

/// Puts a tree into a writer.
pub fn fill(mut writer: Box<dyn Fill + '_>, tree: &Tree) -> Result<()> {
    for (entry, body) in &tree.0 {
        writer.append(entry, &mut body.as_slice())?;
    }
    writer.finish()
}
