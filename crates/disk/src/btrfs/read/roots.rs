//! The tree of trees: which subvolumes there are, and where each is.

use std::collections::BTreeMap;

use super::damaged;
use super::nodes::{Nodes, Root};
use crate::btrfs::names::hash;
use crate::btrfs::raw::{FIRST_INO, Key, get64, item, tree};
use crate::error::Result;
use crate::ext4::raw::{get16, get32};
use crate::io::ReadAt;

/// The most subvolumes.
pub(crate) const MAX_SUBVOLUMES: usize = 60_000;
/// Bytes of a root's item before its second generation, and up to the identifiers that follow.
const SHORT: usize = 239;
const LONG: usize = SHORT + 8 + 3 * 16;
/// The flag of a root that nobody may write to.
const READ_ONLY: u64 = 1;

/// A tree of files of its own.
#[derive(Debug, Clone)]
pub(crate) struct Subvolume {
    /// Its number, as `subvolid=` has it.
    pub id: u64,
    pub root: Root,
    pub dir: u64,
    /// Nobody may write to it.
    pub read_only: bool,
    /// It was made as a copy of another one.
    pub snapshot: bool,
    /// The subvolume and directory it is in, and its name there.
    pub place: Option<(u64, u64, Vec<u8>)>,
}

impl Subvolume {
    /// Whether it only keeps what another one was like.
    pub fn is_kept(&self) -> bool {
        self.read_only && self.snapshot
    }
}

/// All trees that reading needs.
#[derive(Debug)]
pub(crate) struct Roots {
    /// By their numbers.
    pub subvolumes: Vec<Subvolume>,
    /// Which of them is mounted when nothing else is said.
    pub default: usize,
    /// The tree of checksums of data.
    pub sums: Option<Root>,
    /// Whether there is one of quotas.
    pub quotas: bool,
}

impl Roots {
    /// Goes through the tree of trees.
    pub fn read<R: ReadAt>(nodes: &Nodes<R>) -> Result<Roots> {
        let (mut found, mut places) = (BTreeMap::new(), BTreeMap::new());
        let (mut sums, mut default, mut quotas) = (None, None, false);
        for item in nodes.from(nodes.superblock.root.into(), Key(0, 0, 0))? {
            let item = item?;
            let Key(id, kind, number) = item.key;
            match kind {
                item::ROOT if id == tree::CSUM => sums = Some(Subvolume::parse(id, item.bytes())?.root),
                item::ROOT if id == tree::QUOTA => quotas = true,
                // One without a reference is being deleted.
                item::ROOT if is_files(id) && (id == tree::FS || get32(item.bytes(), 216) > 0) => {
                    found.insert(id, Subvolume::parse(id, item.bytes())?);
                }
                item::ROOT_BACKREF if is_files(id) => {
                    let (dir, len) = (get64(item.bytes(), 0), usize::from(get16(item.bytes(), 16)));
                    let name = item.bytes().get(18..18 + len);
                    let name = name.ok_or_else(|| wrong(id, "its name is cut off"))?;
                    places.insert(id, (number, dir, name.to_vec()));
                }
                item::DIR if (id, number) == (tree::DIR, hash(b"default")) => {
                    default = Key::read(item.bytes()).map(|key| key.0);
                }
                _ => {}
            }
            if found.len() > MAX_SUBVOLUMES {
                return Err(damaged("its trees", format!("there are more than {MAX_SUBVOLUMES} subvolumes")));
            }
        }
        for (id, subvolume) in &mut found {
            subvolume.place = places.remove(id);
        }
        let default = default.unwrap_or(tree::FS);
        let at = found.keys().position(|id| *id == default);
        let default = at.ok_or_else(|| damaged("its trees", format!("there is no default subvolume {default}")))?;
        Ok(Roots { subvolumes: found.into_values().collect(), default, sums, quotas })
    }

    /// The place in the list of a subvolume's number.
    pub fn find(&self, id: u64) -> Option<usize> {
        self.subvolumes.binary_search_by_key(&id, |subvolume| subvolume.id).ok()
    }
}

/// Whether a tree has this number because it has files.
fn is_files(id: u64) -> bool {
    id == tree::FS || (FIRST_INO..=u64::MAX - 256).contains(&id)
}

impl Subvolume {
    fn parse(id: u64, b: &[u8]) -> Result<Subvolume> {
        if b.len() < SHORT {
            return Err(wrong(id, "its item is cut off"));
        }
        let level = b[238];
        let (generation, dir) = (get64(b, 160), get64(b, 168));
        if dir != FIRST_INO && id != tree::CSUM {
            return Err(wrong(id, "its root is not the directory that all have"));
        }
        // Old kernels do not know the rest, and leave it as it was.
        let new = b.len() >= LONG && get64(b, SHORT) == generation;
        let snapshot = new && b[SHORT + 8 + 16..][..16] != [0; 16];
        let root = Root { at: get64(b, 176), level, generation };
        let read_only = get64(b, 208) & READ_ONLY != 0;
        Ok(Subvolume { id, root, dir, read_only, snapshot, place: None })
    }
}

fn wrong(id: u64, why: &str) -> crate::DiskError {
    damaged(&format!("the tree {id}"), why.to_owned())
}
