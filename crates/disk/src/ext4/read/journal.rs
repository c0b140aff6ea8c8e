//! The journal: what a crash left there is found and takes the place of what is older.
//!
//! Nothing is written. Of each block it is remembered where the journal has its newest state.

use std::collections::{BTreeMap, HashMap};

use super::blocks::Journaled;
use super::inode::Inode;
use super::{Image, damaged};
use crate::crc::crc32c;
use crate::error::{DiskError, Result};
use crate::ext4::raw::{FORMAT, be32};
use crate::io::ReadAt;

/// What all blocks of the journal's own start with.
pub(crate) const MAGIC: u32 = 0xC03B_3998;

const DESCRIPTOR: u32 = 1;
const COMMIT: u32 = 2;
const REVOKE: u32 = 5;

const BIT64: u32 = 0x2;
const SUM_V2: u32 = 0x8;
const SUM_V3: u32 = 0x10;
const FAST_COMMIT: u32 = 0x20;
const KNOWN: u32 = 0x1 | BIT64 | 0x4 | SUM_V2 | SUM_V3 | FAST_COMMIT;

const ESCAPED: u32 = 1;
const SAME_UUID: u32 = 2;
const LAST: u32 = 8;

/// One block of a transaction.
#[derive(Debug, Clone, Copy)]
struct Tag {
    block: u64,
    flags: u32,
    sum: u32,
}

/// A journal, and what was found in it.
struct Journal<'a, R> {
    image: &'a Image<R>,
    inode: Inode,
    features: u32,
    seed: u32,
    first: u32,
    len: u32,
    /// What complete transactions wrote, in their order: sequence number, block, its place.
    written: Vec<(u32, u64, Journaled)>,
    /// Until which transaction states of a block do not count.
    revoked: HashMap<u64, u32>,
}

/// The newest states that the journal has.
pub(super) fn replay<R: ReadAt>(image: &Image<R>) -> Result<BTreeMap<u64, Journaled>> {
    let inode = image.inode(image.superblock.journal)?;
    let at = image.run(&inode, 0)?.at.ok_or_else(|| wrong("it has no start"))?;
    let head = image.blocks.get(at)?;
    let (kind, size, len, first) = (be32(&head, 4), be32(&head, 12), be32(&head, 16), be32(&head, 20));
    if be32(&head, 0) != MAGIC || !matches!(kind, 3 | 4) || u64::from(size) != image.superblock.block_size {
        return Err(wrong("its superblock makes no sense"));
    }
    let features = if kind == 4 { be32(&head, 40) } else { 0 };
    if features & !KNOWN != 0 {
        return Err(unsupported(format!("a journal with the unknown features {:#x}", features & !KNOWN)));
    }
    if first == 0 || first >= len || u64::from(len) > inode.size / image.superblock.block_size {
        return Err(wrong("its size makes no sense"));
    }
    if features & (SUM_V2 | SUM_V3) != 0 {
        let sum = crc32c(crc32c(crc32c(!0, &head[..252]), &[0; 4]), &head[256..1024]);
        if be32(&head, 252) != sum {
            return Err(wrong("the checksum of its superblock is wrong"));
        }
    }
    let (start, sequence) = (be32(&head, 28), be32(&head, 24));
    if start == 0 {
        return Ok(BTreeMap::new());
    }
    if features & FAST_COMMIT != 0 {
        return Err(unsupported("fast commits in a journal that is not empty: mount it once".to_owned()));
    }
    if start < first || start >= len {
        return Err(wrong("its start is outside of it"));
    }
    let seed = crc32c(!0, &head[48..64]);
    let mut journal =
        Journal { image, inode, features, seed, first, len, written: Vec::new(), revoked: HashMap::new() };
    journal.scan(start, sequence)?;
    Ok(journal.newest())
}

impl<R: ReadAt> Journal<'_, R> {
    /// Where a block of the journal is on the disk.
    fn place(&self, block: u32) -> Result<u64> {
        self.image.run(&self.inode, u64::from(block))?.at.ok_or_else(|| wrong("it has a hole"))
    }

    fn after(&self, block: u32) -> u32 {
        if block + 1 >= self.len { self.first } else { block + 1 }
    }

    /// Goes through all transactions that are complete.
    fn scan(&mut self, start: u32, mut sequence: u32) -> Result<()> {
        let (mut at, mut seen) = (start, 0);
        let mut written: Vec<(u32, u64, Journaled)> = Vec::new();
        let mut revoked: Vec<(u64, u32)> = Vec::new();
        while seen < self.len {
            let bytes = self.image.blocks.get(self.place(at)?)?;
            if be32(&bytes, 0) != MAGIC || be32(&bytes, 8) != sequence {
                break;
            }
            (at, seen) = (self.after(at), seen + 1);
            match be32(&bytes, 4) {
                DESCRIPTOR => {
                    if !self.tail_is_right(&bytes) {
                        break;
                    }
                    for tag in self.tags(&bytes)? {
                        let place = Journaled { at: self.place(at)?, escaped: tag.flags & ESCAPED != 0 };
                        if !self.data_is_right(&tag, place.at, sequence)? {
                            // It was never finished, or is the damage that its sum is there to find.
                            return if self.is_committed(at, sequence)? {
                                Err(wrong("a block's checksum"))
                            } else {
                                Ok(())
                            };
                        }
                        written.push((sequence, tag.block, place));
                        (at, seen) = (self.after(at), seen + 1);
                    }
                }
                REVOKE if self.tail_is_right(&bytes) => {
                    revoked.extend(self.revokes(&bytes)?.into_iter().map(|block| (block, sequence)));
                }
                COMMIT if self.commit_is_right(&bytes) => {
                    self.written.append(&mut written);
                    self.revoked.extend(revoked.drain(..));
                    sequence = sequence.wrapping_add(1);
                }
                _ => break,
            }
        }
        Ok(())
    }

    /// Whether a transaction has an end, somewhere from a block on.
    fn is_committed(&self, mut at: u32, sequence: u32) -> Result<bool> {
        for _ in 0..self.len {
            let bytes = self.image.blocks.get(self.place(at)?)?;
            if be32(&bytes, 0) == MAGIC && be32(&bytes, 4) == COMMIT && be32(&bytes, 8) == sequence {
                return Ok(self.commit_is_right(&bytes));
            }
            at = self.after(at);
        }
        Ok(false)
    }

    fn sums(&self) -> bool {
        self.features & (SUM_V2 | SUM_V3) != 0
    }

    /// Whether the sum at the end of a block of the journal's own is right.
    fn tail_is_right(&self, bytes: &[u8]) -> bool {
        let tail = bytes.len() - 4;
        !self.sums() || be32(bytes, tail) == crc32c(crc32c(self.seed, &bytes[..tail]), &[0; 4])
    }

    fn commit_is_right(&self, bytes: &[u8]) -> bool {
        let sum = crc32c(crc32c(crc32c(self.seed, &bytes[..16]), &[0; 4]), &bytes[20..]);
        !self.sums() || be32(bytes, 16) == sum
    }

    fn data_is_right(&self, tag: &Tag, at: u64, sequence: u32) -> Result<bool> {
        if !self.sums() {
            return Ok(true);
        }
        let bytes = self.image.blocks.get(at)?;
        let sum = crc32c(crc32c(self.seed, &sequence.to_be_bytes()), &bytes);
        Ok(if self.features & SUM_V3 != 0 { sum == tag.sum } else { sum & 0xFFFF == tag.sum })
    }

    /// What a descriptor says about the blocks behind it.
    fn tags(&self, bytes: &[u8]) -> Result<Vec<Tag>> {
        let (v3, wide) = (self.features & SUM_V3 != 0, self.features & BIT64 != 0);
        let len = match (v3, self.features & SUM_V2 != 0) {
            (true, _) => 16,
            (false, sum) => 8 + if sum { 2 } else { 0 } + if wide { 4 } else { 0 },
        };
        let end = bytes.len() - if self.sums() { 4 } else { 0 };
        let mut tags = Vec::new();
        let mut at = 12;
        while let Some(b) = bytes[..end].get(at..at + len) {
            let low = u64::from(be32(b, 0));
            let tag = if v3 {
                let high = if wide { u64::from(be32(b, 8)) << 32 } else { 0 };
                Tag { block: low | high, flags: be32(b, 4), sum: be32(b, 12) }
            } else {
                let high = if wide { u64::from(be32(b, 8)) << 32 } else { 0 };
                let both = be32(b, 4);
                Tag { block: low | high, flags: both & 0xFFFF, sum: both >> 16 }
            };
            if tag.block >= self.image.superblock.blocks {
                return Err(wrong("it writes beyond the end of the disk"));
            }
            tags.push(tag);
            at += len + if tag.flags & SAME_UUID == 0 { 16 } else { 0 };
            if tag.flags & LAST != 0 {
                return Ok(tags);
            }
        }
        Ok(tags)
    }

    /// The blocks whose older states do not count.
    fn revokes(&self, bytes: &[u8]) -> Result<Vec<u64>> {
        let end = be32(bytes, 12) as usize;
        let list = bytes.get(16..end).ok_or_else(|| wrong("a list of blocks has no end"))?;
        Ok(match self.features & BIT64 {
            0 => list.as_chunks::<4>().0.iter().map(|b| u64::from(u32::from_be_bytes(*b))).collect(),
            _ => list.as_chunks::<8>().0.iter().map(|b| u64::from_be_bytes(*b)).collect(),
        })
    }

    fn newest(self) -> BTreeMap<u64, Journaled> {
        let counts = |(sequence, block, _): &(u32, u64, Journaled)| {
            self.revoked.get(block).is_none_or(|until| (until.wrapping_sub(*sequence) as i32) < 0)
        };
        self.written.iter().filter(|w| counts(w)).map(|(_, block, place)| (*block, *place)).collect()
    }
}

fn wrong(why: &str) -> DiskError {
    damaged("its journal", why.to_owned())
}

fn unsupported(what: String) -> DiskError {
    DiskError::Unsupported { format: FORMAT, what }
}
