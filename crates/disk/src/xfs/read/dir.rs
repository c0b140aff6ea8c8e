//! What a directory holds: names in the inode, or in blocks. Indexes of names are not needed, and not looked at.

use super::inode::Inode;
use super::{Image, damaged};
use crate::error::Result;
use crate::fs::Names;
use crate::io::ReadAt;
use crate::xfs::inode::Format;
use crate::xfs::raw::{be16, be32, be64, magic};

/// The most bytes a directory may have.
const MAX_BYTES: u64 = 512 << 20;
/// The most names of one directory.
const MAX_NAMES: usize = 8 << 20;
/// What is free in a block starts with this.
const FREE: u16 = 0xFFFF;

impl<R: ReadAt> Image<R> {
    /// What a directory holds, but for `.` and `..`.
    pub(super) fn names_in(&self, dir: &Inode) -> Result<Names> {
        let wrong = |why: &str| damaged(&format!("directory {}", dir.ino), why.to_owned());
        let mut names = Names::new();
        if dir.data.format == Format::Local {
            dir.local().and_then(|bytes| self.short(bytes, &mut names)).map_err(wrong)?;
            return Ok(names);
        }
        let (size, block_size) = (self.superblock.dir_size, self.superblock.block_size);
        if dir.size > MAX_BYTES || !dir.size.is_multiple_of(size) || dir.size == 0 {
            return Err(wrong(&format!("it has {} bytes", dir.size)));
        }
        let (step, end) = (size / block_size, dir.size / block_size);
        let mut at = 0;
        let mut bytes = vec![0; size as usize];
        while at < end {
            let run = self.run(dir, &dir.data, at)?;
            // Blocks without names are taken out of the middle; the first one has `.` and `..`.
            if run.at.is_none() && run.len >= step && at > 0 {
                at += run.len / step * step;
                continue;
            }
            let place = run.at.ok_or_else(|| wrong("it has a hole"))?;
            for n in 0..step {
                let run = self.run(dir, &dir.data, at + n)?;
                let place = run.at.ok_or_else(|| wrong("it has a hole"))?;
                let part = &mut bytes[(n * block_size) as usize..((n + 1) * block_size) as usize];
                self.blocks.read(place * block_size, part)?;
            }
            self.block(dir, &bytes, place, end == step)
                .and_then(|names_at| self.entries(&bytes, names_at, &mut names))
                .map_err(wrong)?;
            at += step;
        }
        Ok(names)
    }

    /// Checks a block of names, and says from where to where it has them. `only` one has its index behind them.
    fn block(&self, dir: &Inode, bytes: &[u8], place: u64, only: bool) -> Result<(usize, usize), &'static str> {
        let sums = self.superblock.sums();
        let kinds =
            if sums { [magic::DIR_BLOCK, magic::DIR_DATA] } else { [magic::OLD_DIR_BLOCK, magic::OLD_DIR_DATA] };
        let (kind, head) = (be32(bytes, 0), if sums { 64 } else { 16 });
        if sums {
            self.owned(bytes, place, dir.ino, [8, 24, 40, 4])?;
        }
        if kind == kinds[1] {
            return Ok((head, bytes.len()));
        }
        if kind != kinds[0] || !only {
            return Err("a block of names has something else");
        }
        let tail = bytes.len() - 8;
        let index = usize::try_from(be32(bytes, tail)).unwrap_or(usize::MAX).saturating_mul(8);
        match tail.checked_sub(index).filter(|end| *end >= head) {
            Some(end) => Ok((head, end)),
            None => Err("its index has more names than fit"),
        }
    }

    /// Adds the names of a block.
    fn entries(&self, bytes: &[u8], (mut at, end): (usize, usize), names: &mut Names) -> Result<(), &'static str> {
        while at < end {
            if be16(bytes, at) == FREE {
                let len = usize::from(be16(bytes, at + 2));
                if len < 8 || !len.is_multiple_of(8) || len > end - at {
                    return Err("what is free in a block makes no sense");
                }
                at += len;
                continue;
            }
            let name_len = usize::from(bytes.get(at + 8).copied().unwrap_or(0));
            let len = (8 + 1 + name_len + usize::from(self.superblock.ftype) + 2).next_multiple_of(8);
            if len > end - at || usize::from(be16(bytes, at + len - 2)) != at {
                return Err("the length of an entry makes no sense");
            }
            self.add(&bytes[at + 9..at + 9 + name_len], be64(bytes, at), names)?;
            at += len;
        }
        Ok(())
    }

    /// Adds the names that are in the inode.
    fn short(&self, bytes: &[u8], names: &mut Names) -> Result<(), &'static str> {
        let [count, wide, ..] = bytes else { return Err("it ends before its names") };
        let number = if *wide > 0 { 8 } else { 4 };
        let (count, mut at) = (usize::from(*count), 2 + number);
        for _ in 0..count {
            let name_len = usize::from(bytes.get(at).copied().unwrap_or(0));
            let behind = at + 3 + name_len;
            let to = behind + usize::from(self.superblock.ftype);
            let (Some(name), Some(ino)) = (bytes.get(at + 3..behind), bytes.get(to..to + number)) else {
                return Err("a name is cut off");
            };
            let ino = if number == 8 { be64(ino, 0) } else { u64::from(be32(ino, 0)) };
            self.add(name, ino, names)?;
            at = to + number;
        }
        Ok(())
    }

    fn add(&self, name: &[u8], ino: u64, names: &mut Names) -> Result<(), &'static str> {
        if matches!(name, b"." | b"..") {
            return Ok(());
        }
        if self.superblock.inode_place(ino).is_none() {
            return Err("an entry has an inode that cannot be");
        }
        if name.is_empty() || name.contains(&0) || name.contains(&b'/') {
            return Err("an entry has no name that can be");
        }
        if names.insert(name.to_vec(), ino).is_some() {
            return Err("it has a name twice");
        }
        if names.len() > MAX_NAMES { Err("it has too many names") } else { Ok(()) }
    }
}
