//! Extended attributes: as many as fit go behind the inode, the others into one block of their own.

use kiln_oci::entry::Xattrs;

use super::geometry::{BLOCK, INODE};
use crate::crc::crc32c;
use crate::ext4::acl;
use crate::ext4::raw::{XATTR_MAGIC, XATTR_PREFIXES, get32, put16, put32};

/// Where they start in an inode.
pub(crate) const IN_INODE: usize = 160;
const HEADER: usize = 32;
const MAX_NAME: usize = 255;

/// One attribute as it is stored.
struct Attr {
    index: u8,
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Attr {
    fn new(name: &[u8], value: &[u8]) -> Result<Attr, String> {
        let shown = || kiln_oci::name::escape(name);
        let prefix = XATTR_PREFIXES.iter().find(|(_, prefix)| name.starts_with(prefix));
        let Some((index, prefix)) = prefix else {
            return Err(format!("the namespace of its attribute `{}` is none that ext4 has", shown()));
        };
        let name = &name[prefix.len()..];
        let whole = !prefix.ends_with(b".");
        if name.len() > MAX_NAME || name.is_empty() != whole || name.contains(&0) {
            return Err(format!("its attribute `{}` has no name that ext4 can store", shown()));
        }
        let value = match index {
            2 | 3 => acl::to_disk(value).ok_or_else(|| format!("its attribute `{}` is not an ACL", shown()))?,
            _ => value.to_vec(),
        };
        Ok(Attr { index: *index, name: name.to_vec(), value })
    }

    fn entry_len(&self) -> usize {
        16 + self.name.len().next_multiple_of(4)
    }

    fn len(&self) -> usize {
        self.entry_len() + self.value.len().next_multiple_of(4)
    }

    /// The sum that lets equal blocks be found.
    fn hash(&self) -> u32 {
        let name = self.name.iter().fold(0u32, |hash, b| hash.rotate_left(5) ^ u32::from(*b));
        self.value.chunks(4).fold(name, |hash, word| {
            let mut padded = [0; 4];
            padded[..word.len()].copy_from_slice(word);
            hash.rotate_left(16) ^ u32::from_le_bytes(padded)
        })
    }
}

/// Attributes as they are stored.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Placed {
    /// What goes behind the inode.
    pub inode: Vec<u8>,
    /// The block, still without its checksum.
    pub block: Option<Vec<u8>>,
}

/// Distributes attributes; the error says why they cannot be stored.
pub(crate) fn place(xattrs: &Xattrs) -> Result<Placed, String> {
    let mut attrs = xattrs.iter().map(|(name, value)| Attr::new(name, value)).collect::<Result<Vec<_>, _>>()?;
    // What is read most comes first: capabilities at every exec.
    attrs.sort_by(|a, b| (a.index != 6, a.len(), &a.name).cmp(&(b.index != 6, b.len(), &b.name)));
    let (mut near, mut far) = (Vec::new(), Vec::new());
    let mut room = INODE - IN_INODE - 8;
    for attr in attrs {
        if attr.len() <= room {
            room -= attr.len();
            near.push(attr);
        } else {
            far.push(attr);
        }
    }
    let mut placed = Placed::default();
    if !near.is_empty() {
        placed.inode = vec![0; INODE - IN_INODE];
        put32(&mut placed.inode, 0, XATTR_MAGIC);
        store(&mut placed.inode[4..], 0, &near, false);
    }
    let need: usize = far.iter().map(Attr::len).sum::<usize>() + HEADER + 4;
    if need > BLOCK {
        return Err(format!("its extended attributes need {need} bytes, {BLOCK} are the most"));
    }
    if !far.is_empty() {
        placed.block = Some(block(far));
    }
    Ok(placed)
}

fn block(mut attrs: Vec<Attr>) -> Vec<u8> {
    attrs.sort_by(|a, b| (a.index, a.name.len(), &a.name).cmp(&(b.index, b.name.len(), &b.name)));
    let mut bytes = vec![0; BLOCK];
    put32(&mut bytes, 0, XATTR_MAGIC);
    put32(&mut bytes, 4, 1);
    put32(&mut bytes, 8, 1);
    let hash = attrs.iter().fold(0u32, |hash, attr| hash.rotate_left(16) ^ attr.hash());
    put32(&mut bytes, 12, hash);
    store(&mut bytes, HEADER, &attrs, true);
    bytes
}

/// Entries from `at` on, values from the end back. Offsets count from the start of `area`.
fn store(area: &mut [u8], mut at: usize, attrs: &[Attr], hashed: bool) {
    let mut end = area.len();
    for attr in attrs {
        let from = end - attr.value.len().next_multiple_of(4);
        area[from..from + attr.value.len()].copy_from_slice(&attr.value);
        area[at] = attr.name.len() as u8;
        area[at + 1] = attr.index;
        put16(area, at + 2, if attr.value.is_empty() { 0 } else { from as u16 });
        put32(area, at + 8, attr.value.len() as u32);
        put32(area, at + 12, if hashed { attr.hash() } else { 0 });
        area[at + 16..at + 16 + attr.name.len()].copy_from_slice(&attr.name);
        at += attr.entry_len();
        end = from;
    }
}

/// Writes the checksum into a block of attributes that goes to block `number`.
pub(crate) fn seal(block: &mut [u8], number: u64, seed: u32) {
    debug_assert_eq!(get32(block, 16), 0);
    let sum = crc32c(crc32c(seed, &number.to_le_bytes()), block);
    put32(block, 16, sum);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attrs(list: &[(&str, usize)]) -> Xattrs {
        list.iter().map(|(name, len)| (name.as_bytes().to_vec(), vec![7; *len])).collect()
    }

    #[test]
    fn small_ones_stay_with_the_inode() {
        let placed = place(&attrs(&[("security.capability", 20)])).unwrap();
        assert_eq!((placed.inode.len(), placed.block), (96, None));
        let placed = place(&attrs(&[("security.capability", 20), ("user.big", 500)])).unwrap();
        assert!(!placed.inode.is_empty() && placed.block.is_some());
        assert_eq!(place(&Xattrs::new()).unwrap(), Placed::default());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(place(&attrs(&[("user.a", 4090)])).unwrap_err().contains("4096 are the most"));
        assert!(place(&attrs(&[("user.", 1)])).is_err());
        assert!(place(&attrs(&[("strange.name", 1)])).unwrap_err().contains("namespace"));
        assert!(place(&attrs(&[("system.posix_acl_access", 3)])).unwrap_err().contains("ACL"));
        assert!(place(&attrs(&[("system.posix_acl_access.x", 3)])).is_err());
        let long = format!("user.{}", "n".repeat(256));
        assert!(place(&attrs(&[(&long, 1)])).is_err());
    }
}
