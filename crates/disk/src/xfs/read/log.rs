//! The log: whether the file system was left in order.
//!
//! Nothing is replayed. The last record of a log whose file system was unmounted says so, and nothing is behind it; in
//! any other case what is in the file system's places may be older than what the log has.
//!
//! Every sector of the log starts with the number of the round in which it was written; a record's first one has its
//! magic word there and the number behind it. Where the number becomes smaller is the end.

use super::{Image, damaged};
use crate::error::{DiskError, Result};
use crate::io::ReadAt;
use crate::xfs::raw::{FORMAT, be32, magic};

/// The log is written in sectors of this size.
const SECTOR: u64 = 512;
/// Sectors that may have been on their way together when a machine crashed: eight records of 256 KiB.
const WINDOW: u64 = 4096;
/// A record that says that all is in order, with what fills it up, is not longer.
const RECORD: u64 = 1024;
/// What a record's head tells of is in pieces of this many bytes, each with a sector.
const PIECE: u32 = 32 << 10;
/// What the flags of an operation say when a file system is unmounted.
const UNMOUNT: u8 = 0x20;

/// The sectors of a log.
struct Log<'a, R> {
    image: &'a Image<R>,
    /// The byte of the disk at which it starts.
    start: u64,
    len: u64,
}

/// Checks that the log has nothing that is not in its place.
pub(super) fn check<R: ReadAt>(image: &Image<R>) -> Result<()> {
    let superblock = &image.superblock;
    let (number, blocks) = superblock.log;
    let place = superblock.place(number, blocks).ok_or_else(|| wrong("it is beyond the end of the disk"))?;
    let size = superblock.block_size;
    let log = Log { image, start: place * size, len: blocks * size / SECTOR };
    if log.is_in_order()? {
        return Ok(());
    }
    let what =
        "a log with changes that are not in their places yet: mount and unmount it once, or run xfs_repair on it";
    Err(DiskError::Unsupported { format: FORMAT, what: what.to_owned() })
}

impl<R: ReadAt> Log<'_, R> {
    fn read(&self, sector: u64, count: u64) -> Result<Vec<u8>> {
        let mut bytes = vec![0; (count * SECTOR) as usize];
        self.image.blocks.read(self.start + sector * SECTOR, &mut bytes)?;
        Ok(bytes)
    }

    /// The round in which a sector was written.
    fn round(&self, sector: u64) -> Result<u32> {
        Ok(round(&self.read(sector, 1)?))
    }

    fn is_in_order(&self) -> Result<bool> {
        let (first, last) = (self.round(0)?, self.round(self.len - 1)?);
        // It was never written to.
        if first == 0 {
            return self.is_round(0, self.len.min(WINDOW), |_| 0);
        }
        let older = if first == last { 0 } else { self.older(last)? };
        let end = self.end(older)?;
        // What was never written to is zeros, whatever round is in front of it.
        if first != last && last != 0 && first != last.wrapping_add(1) {
            return Err(wrong("its rounds make no sense"));
        }
        let expected = |sector: u64| match sector {
            _ if sector < end => first,
            _ if sector < older => 0,
            _ => last,
        };
        let count = (2 * WINDOW).min(self.len);
        let from = (end + self.len - (count / 2).min(self.len)) % self.len;
        Ok(self.is_round(from, count, expected)? && self.is_unmounted(end)?)
    }

    /// The first sector of the round before, which the last one is of.
    fn older(&self, last: u32) -> Result<u64> {
        let (mut low, mut high) = (0, self.len - 1);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.round(middle)? == last { high = middle } else { low = middle + 1 }
        }
        Ok(low)
    }

    /// Where the newest round ends: tools leave zeros between a record that they begin a log with, and older ones.
    fn end(&self, older: u64) -> Result<u64> {
        let from = older.saturating_sub(WINDOW);
        let bytes = self.read(from, older - from)?;
        let zeros = bytes.chunks_exact(SECTOR as usize).rev().take_while(|bytes| round(bytes) == 0).count();
        Ok(older - zeros as u64)
    }

    /// Whether sectors from one on, and from the start of the log again, are of the rounds they should be.
    fn is_round(&self, from: u64, count: u64, expected: impl Fn(u64) -> u32) -> Result<bool> {
        let till = (from + count).min(self.len);
        for (from, till) in [(from, till), (0, from + count - till)] {
            let bytes = self.read(from, till - from)?;
            let sectors = bytes.chunks_exact(SECTOR as usize).zip(from..);
            if sectors.into_iter().any(|(bytes, sector)| round(bytes) != expected(sector)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether the record in front of `end` says that the file system was unmounted.
    fn is_unmounted(&self, end: u64) -> Result<bool> {
        for back in 1..=RECORD.min(self.len) {
            let at = (end + self.len - back) % self.len;
            let head = self.read(at, 1)?;
            if be32(&head, 0) != magic::LOG_RECORD {
                continue;
            }
            let (version, len, operations, size) = (be32(&head, 8), be32(&head, 12), be32(&head, 40), be32(&head, 320));
            let heads = if version & 2 != 0 { u64::from(size.div_ceil(PIECE).max(1)) } else { 1 };
            if operations != 1 || heads + u64::from(len).div_ceil(SECTOR) != back {
                return Ok(false);
            }
            let operation = self.read((at + heads) % self.len, 1)?;
            return Ok(operation[9] & UNMOUNT != 0);
        }
        Ok(false)
    }
}

fn round(sector: &[u8]) -> u32 {
    match be32(sector, 0) {
        magic::LOG_RECORD => be32(sector, 4),
        number => number,
    }
}

fn wrong(why: &str) -> DiskError {
    damaged("its log", why.to_owned())
}
