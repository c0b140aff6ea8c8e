//! What a directory holds. Directories that are trees are read through like others: their inner blocks look empty.

use super::inode::Inode;
use super::{Image, damaged};
use crate::crc::crc32c;
use crate::error::Result;
use crate::ext4::raw::{get16, get32, iflags};
use crate::fs::Names;
use crate::io::ReadAt;

/// The most bytes a directory may have.
const MAX_BYTES: u64 = 512 << 20;
/// The most bytes of names and of what is kept by name in memory for one directory.
const MAX_NAMES: usize = 8 << 20;

impl<R: ReadAt> Image<R> {
    /// What a directory holds, but for `.` and `..`.
    pub(super) fn names(&self, dir: &Inode) -> Result<Names> {
        let wrong = |why: &str| damaged(&format!("directory {}", dir.ino), why.to_owned());
        if dir.has(iflags::ENCRYPT) || dir.has(iflags::CASEFOLD) {
            let what = "encrypted or case-folded directories".to_owned();
            return Err(crate::DiskError::Unsupported { format: crate::ext4::raw::FORMAT, what });
        }
        let mut names = Names::new();
        if let Some(bytes) = self.inline(dir)? {
            // The first four bytes are the parent. Entries go to the end of the inode, and start anew after it.
            let (near, far) = bytes.split_at(bytes.len().min(60));
            for part in [near.get(4..).unwrap_or_default(), far] {
                self.entries(part, &mut names).map_err(wrong)?;
            }
            return Ok(names);
        }
        let size = self.superblock.block_size;
        if dir.size > MAX_BYTES || !dir.size.is_multiple_of(size) {
            return Err(wrong(&format!("it has {} bytes", dir.size)));
        }
        let mut block = 0;
        while block < dir.size / size {
            let run = self.run(dir, block)?;
            let Some(at) = run.at else { return Err(wrong("it has a hole")) };
            let end = (block + run.len).min(dir.size / size);
            for n in 0..end - block {
                let bytes = self.blocks.get(at + n)?;
                self.dir_sum(dir, &bytes, block + n).map_err(wrong)?;
                self.entries(&bytes, &mut names).map_err(wrong)?;
            }
            block = end;
        }
        Ok(names)
    }

    /// Adds the entries of a block. A block's checksum looks like an entry without a name.
    fn entries(&self, bytes: &[u8], names: &mut Names) -> Result<(), &'static str> {
        let mut at = 0;
        while at < bytes.len() {
            let Some(head) = bytes.get(at..at + 8) else { return Err("an entry is cut off") };
            let ino = get32(head, 0);
            let len = rec_len(get16(head, 4), bytes.len());
            let name_len = usize::from(head[6]);
            if len < 8 || !len.is_multiple_of(4) || at + len > bytes.len() || 8 + name_len > len {
                return Err("the length of an entry makes no sense");
            }
            let name = &bytes[at + 8..at + 8 + name_len];
            at += len;
            if ino == 0 || matches!(name, b"." | b"..") {
                continue;
            }
            if ino > self.superblock.inodes || ino < self.superblock.first_inode {
                return Err("an entry has an inode that cannot be");
            }
            if name.is_empty() || name.contains(&0) || name.contains(&b'/') {
                return Err("an entry has no name that can be");
            }
            if names.insert(name.to_vec(), u64::from(ino)).is_some() {
                return Err("it has a name twice");
            }
            if names.len() > MAX_NAMES {
                return Err("it has too many names");
            }
        }
        Ok(())
    }

    /// Checks the sum of a directory's block: of its entries, or of its part of the tree.
    fn dir_sum(&self, dir: &Inode, bytes: &[u8], block: u64) -> Result<(), &'static str> {
        const WRONG: &str = "a checksum is wrong";
        if !self.superblock.sums() {
            return Ok(());
        }
        // The first block of a tree starts with `.` and `..`, others of its own with one empty entry. What is behind
        // their last hash may be left from before, even what looks like the checksum of entries.
        let empty = get32(bytes, 0) == 0 && rec_len(get16(bytes, 4), bytes.len()) == bytes.len();
        if !dir.has(iflags::INDEX) || !(block == 0 || empty) {
            let tail = bytes.len() - 12;
            if get32(bytes, tail) != 0 || get32(bytes, tail + 4) != 0xDE00_000C {
                return Err("a block has no checksum");
            }
            return if get32(bytes, tail + 8) == crc32c(dir.seed, &bytes[..tail]) { Ok(()) } else { Err(WRONG) };
        }
        let counts = if block == 0 { 0x18 + usize::from(bytes[0x1D]) } else { 8 };
        let (limit, count) = (usize::from(get16(bytes, counts)), usize::from(get16(bytes, counts + 2)));
        let tail = counts + limit * 8;
        if count > limit || tail + 8 > bytes.len() {
            return Err("a block has no checksum");
        }
        let sum = crc32c(crc32c(crc32c(dir.seed, &bytes[..counts + count * 8]), &bytes[tail..tail + 4]), &[0; 4]);
        if get32(bytes, tail + 4) == sum { Ok(()) } else { Err(WRONG) }
    }
}

/// The length of an entry: in big blocks, its lowest bits are its highest.
fn rec_len(stored: u16, block: usize) -> usize {
    let stored = usize::from(stored);
    match block {
        0..65_536 => stored,
        _ if stored == 65_535 || stored == 0 => block,
        _ => (stored & 0xFFFC) | ((stored & 3) << 16),
    }
}
