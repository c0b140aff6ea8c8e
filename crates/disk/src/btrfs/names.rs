//! Names and attributes as items: by their sums, where more than one can have the same.

use std::collections::BTreeMap;

use kiln_oci::entry::Xattrs;

use super::items::LARGEST;
use super::raw::{Bytes, Key, item};
use crate::crc::crc32c;

/// The kind of a name that is an attribute's.
const XATTR: u8 = 8;
const MAX_NAME: usize = 255;
/// The names of a file in one directory are in one item up to this; others have items of their own.
const REFS: usize = 4000;
/// Namespaces that there are. Of `system.`, only access control lists.
const SPACES: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];
pub(crate) const LISTS: [&[u8]; 2] = [b"system.posix_acl_access", b"system.posix_acl_default"];

/// The sum of a name.
pub(crate) fn hash(name: &[u8]) -> u64 {
    u64::from(crc32c(!1, name))
}

/// The sum of a name in a directory.
fn ref_hash(dir: u64, name: &[u8]) -> u64 {
    u64::from(crc32c(dir as u32, name))
}

/// A name, of what is at `location`.
pub(crate) fn dir_item(location: Key, name: &[u8], value: &[u8], kind: u8, generation: u64) -> Bytes {
    let head = Bytes::default().bytes(&location.bytes()).u64(generation);
    head.u16(value.len() as u16).u16(name.len() as u16).u8(kind).bytes(name).bytes(value)
}

/// The items of attributes by their sums; the error says why they cannot be stored.
pub(crate) fn attributes(xattrs: &Xattrs) -> Result<BTreeMap<u64, Bytes>, String> {
    let mut found: BTreeMap<u64, Bytes> = BTreeMap::new();
    for (name, value) in xattrs {
        let shown = || kiln_oci::name::escape(name);
        let space = SPACES.iter().find(|space| name.starts_with(space) && name.len() > space.len());
        if LISTS.contains(&&name[..]) {
            let well = value.len() >= 4 && value.len() % 8 == 4 && value[..4] == [2, 0, 0, 0];
            if !well {
                return Err(format!("its attribute `{}` is not an ACL", shown()));
            }
        } else if space.is_none() {
            return Err(format!("the namespace of its attribute `{}` is none that btrfs has", shown()));
        }
        if name.len() > MAX_NAME || name.contains(&0) {
            return Err(format!("its attribute `{}` has no name that btrfs can store", shown()));
        }
        if value.len() + name.len() + 30 > LARGEST {
            let most = LARGEST - name.len() - 30;
            return Err(format!("its attribute `{}` has {} bytes, {most} are the most", shown(), value.len()));
        }
        let bytes = dir_item(Key(0, 0, 0), name, value, XATTR, super::GENERATION);
        let place = found.entry(hash(name)).or_default();
        place.0.extend(bytes.0);
        if place.0.len() > LARGEST {
            return Err(format!("its attribute `{}` has the same sum as others", shown()));
        }
    }
    Ok(found)
}

/// The names of files, by directory and file, as they become items.
#[derive(Debug, Default)]
pub(crate) struct Refs {
    /// By file and directory.
    near: BTreeMap<(u64, u64), Bytes>,
    /// By file and sum.
    far: BTreeMap<(u64, u64), Bytes>,
}

impl Refs {
    /// Adds that `ino` has a name in `dir`, as its `index`th.
    pub fn add(&mut self, ino: u64, dir: u64, index: u64, name: &[u8]) {
        let near = self.near.entry((ino, dir)).or_default();
        if near.0.len() + 10 + name.len() <= REFS {
            near.0 = std::mem::take(near).u64(index).u16(name.len() as u16).bytes(name).0;
            return;
        }
        let far = self.far.entry((ino, ref_hash(dir, name))).or_default();
        far.0 = std::mem::take(far).u64(dir).u64(index).u16(name.len() as u16).bytes(name).0;
    }

    /// All items.
    pub fn items(self) -> impl Iterator<Item = (Key, Bytes)> {
        let near = self.near.into_iter().map(|((ino, dir), bytes)| (Key(ino, item::INODE_REF, dir), bytes));
        near.chain(self.far.into_iter().map(|((ino, sum), bytes)| (Key(ino, item::INODE_EXTREF, sum), bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attrs(list: &[(&str, usize)]) -> Xattrs {
        list.iter().map(|(name, len)| (name.as_bytes().to_vec(), vec![7; *len])).collect()
    }

    #[test]
    fn sums_are_those_of_mkfs() {
        assert_eq!(hash(b"default"), 2_378_154_706);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert_eq!(attributes(&attrs(&[("user.a", 16_000), ("security.capability", 20)])).unwrap().len(), 2);
        assert!(attributes(&attrs(&[("user.a", 16_300)])).unwrap_err().contains("are the most"));
        assert!(attributes(&attrs(&[("user.", 1)])).is_err());
        assert!(attributes(&attrs(&[("btrfs.compression", 1)])).unwrap_err().contains("namespace"));
        assert!(attributes(&attrs(&[("system.posix_acl_access", 3)])).unwrap_err().contains("ACL"));
    }

    #[test]
    fn many_names_in_a_directory_get_items_of_their_own() {
        let mut refs = Refs::default();
        (0..100).for_each(|n| refs.add(300, 256, n, &[b'a' + (n % 26) as u8; 200]));
        let items: Vec<(Key, Bytes)> = refs.items().collect();
        assert!(items.len() > 20 && items[0].0 == Key(300, item::INODE_REF, 256), "{}", items.len());
        // Names that were there twice stand together.
        assert_eq!(items.iter().map(|(_, bytes)| bytes.0.len()).max(), Some(3990));
    }
}
