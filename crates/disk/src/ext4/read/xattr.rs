//! Extended attributes: behind the inode, in a block, or in inodes of their own.

use kiln_oci::entry::Xattrs;

use super::inode::Inode;
use super::{Image, damaged};
use crate::crc::crc32c;
use crate::error::Result;
use crate::ext4::acl;
use crate::ext4::raw::{XATTR_MAGIC, XATTR_PREFIXES, get16, get32, iflags, mode};
use crate::io::ReadAt;

/// The longest value that system calls have.
const MAX_VALUE: u32 = 65_536;

/// One attribute as it is stored.
struct Attr {
    index: u8,
    name: Vec<u8>,
    value: Vec<u8>,
}

impl<R: ReadAt> Image<R> {
    /// The extended attributes of an inode.
    pub(super) fn xattrs(&self, inode: &Inode) -> Result<Xattrs> {
        let wrong = |why: &str| damaged(&format!("attributes of inode {}", inode.ino), why.to_owned());
        let mut found = Xattrs::new();
        for attr in self.stored(inode)? {
            if (attr.index, &attr.name[..]) == (7, b"data") {
                continue;
            }
            let prefix = XATTR_PREFIXES.iter().find(|(index, _)| *index == attr.index);
            let (_, prefix) = prefix.ok_or_else(|| wrong("one is in a namespace that ext4 does not have"))?;
            let value = match attr.index {
                2 | 3 => acl::from_disk(&attr.value).ok_or_else(|| wrong("an ACL makes no sense"))?,
                _ => attr.value,
            };
            if found.insert([*prefix, &attr.name].concat(), value).is_some() {
                return Err(wrong("one is there twice"));
            }
        }
        Ok(found)
    }

    /// The bytes of a file, directory or link that are in its inode; `None` if they are not.
    pub(super) fn inline(&self, inode: &Inode) -> Result<Option<Vec<u8>>> {
        if !inode.has(iflags::INLINE_DATA) {
            return Ok(None);
        }
        let mut bytes = inode.map.to_vec();
        let more = self.stored(inode)?.into_iter().find(|attr| (attr.index, &attr.name[..]) == (7, b"data"));
        bytes.extend(more.map(|attr| attr.value).unwrap_or_default());
        match usize::try_from(inode.size).ok().filter(|size| *size <= bytes.len()) {
            Some(size) => bytes.truncate(size),
            None => return Err(damaged(&format!("inode {}", inode.ino), "it ends before its size".to_owned())),
        }
        Ok(Some(bytes))
    }

    fn stored(&self, inode: &Inode) -> Result<Vec<Attr>> {
        let wrong = |why: &str| damaged(&format!("attributes of inode {}", inode.ino), why.to_owned());
        let mut found = Vec::new();
        if inode.rest.len() > 4 && get32(&inode.rest, 0) == XATTR_MAGIC {
            self.attrs(&inode.rest[4..], 0, &mut found)?.map_err(wrong)?;
        }
        let at = inode.xattr_block;
        if at == 0 {
            return Ok(found);
        }
        if at <= self.superblock.first_block || at >= self.superblock.blocks {
            return Err(wrong("they are beyond the end of the disk"));
        }
        let block = self.blocks.get(at)?;
        if get32(&block, 0) != XATTR_MAGIC || get32(&block, 8) != 1 {
            return Err(wrong("their block has something else"));
        }
        if self.superblock.sums() {
            let start = crc32c(crc32c(self.superblock.seed, &at.to_le_bytes()), &block[..16]);
            if get32(&block, 16) != crc32c(crc32c(start, &[0; 4]), &block[20..]) {
                return Err(wrong("their checksum is wrong"));
            }
        }
        self.attrs(&block, 32, &mut found)?.map_err(wrong)?;
        Ok(found)
    }

    /// The attributes whose entries start at `at`; their values are counted from the start of `area`.
    fn attrs(&self, area: &[u8], mut at: usize, found: &mut Vec<Attr>) -> Result<Result<(), &'static str>> {
        while at + 4 <= area.len() && get32(area, at) != 0 {
            let Some(head) = area.get(at..at + 16) else { return Ok(Err("an entry is cut off")) };
            let name_len = usize::from(head[0]);
            let Some(name) = area.get(at + 16..at + 16 + name_len) else { return Ok(Err("a name is cut off")) };
            let (from, size) = (usize::from(get16(head, 2)), get32(head, 8));
            let value = match get32(head, 4) {
                _ if size > MAX_VALUE => return Ok(Err("a value is too long")),
                0 => match area.get(from..from + size as usize) {
                    Some(value) => value.to_vec(),
                    None if size == 0 => Vec::new(),
                    None => return Ok(Err("a value is not where it should be")),
                },
                ino => self.value_in(ino, size)?,
            };
            found.push(Attr { index: head[1], name: name.to_vec(), value });
            at += 16 + name_len.next_multiple_of(4);
        }
        Ok(Ok(()))
    }

    /// A value that is the body of an inode.
    fn value_in(&self, ino: u32, size: u32) -> Result<Vec<u8>> {
        let inode = self.inode(ino)?;
        if !inode.has(iflags::EA_INODE) || inode.kind() != mode::FILE || inode.size != u64::from(size) {
            return Err(damaged(&format!("inode {ino}"), "it is no attribute's value".to_owned()));
        }
        self.bytes(inode, u64::from(MAX_VALUE))
    }
}
