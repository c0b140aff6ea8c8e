//! Writing: header, L1 table, then clusters as they come, each L2 table behind the clusters it tells of, and at the end
//! the reference counts. Nothing is written twice but the head.

use std::io;

use flate2::{Compress, Compression as Level, FlushCompress, Status};

use super::{COMPRESSED, COPIED, FEATURE_COMPRESSION, MAGIC};
use crate::error::{DiskError, Result};
use crate::image::source::{Block, Source, in_parallel, read_error, scan};
use crate::io::WriteAt;

const CLUSTER_BITS: u32 = 16;
const CLUSTER: u64 = 1 << CLUSTER_BITS;
/// Entries of an L2 table.
const L2_ENTRIES: u64 = CLUSTER / 8;
/// Where a compressed cluster's length in sectors begins in its L2 entry.
const SECTORS_SHIFT: u32 = 62 - (CLUSTER_BITS - 8);
/// Reference counts of 16 bits in one cluster.
const COUNTS: u64 = CLUSTER / 2;
const HEADER: usize = 112;
/// QEMU refuses larger L1 tables; it makes 2 TiB × 128.
const MAX_SIZE: u64 = (32 << 20) / 8 * L2_ENTRIES * CLUSTER;

/// How clusters are made smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// As every QEMU reads it.
    Zlib,
    /// Smaller and faster; QEMU 5.1 and newer.
    Zstd,
}

/// How to write a qcow2 image.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Whether clusters are compressed. Those that do not get smaller are not.
    pub compression: Option<Compression>,
    /// Threads that compress. The bytes do not depend on it.
    pub threads: usize,
}

/// Writes what `source` holds to `out`, which is empty, as a qcow2 image of the same size, rounded up to a sector.
///
/// # Errors
/// When `source` is larger than the format can hold, or reading or writing fails.
pub fn write(source: &dyn Source, out: &mut dyn WriteAt, options: &Options) -> Result<()> {
    let size = source.len().map_err(|e| read_error(0, e))?;
    if size > MAX_SIZE {
        let why = format!("{size} bytes are more than a qcow2 image holds");
        return Err(DiskError::Options { format: super::NAME, why });
    }
    let size = size.next_multiple_of(512);
    let l1_len = usize::try_from(size.div_ceil(CLUSTER * L2_ENTRIES)).unwrap_or(usize::MAX);
    let mut w = Writer { out, end: CLUSTER, counts: vec![1], l1: vec![0; l1_len], l2: None };
    w.take((l1_len as u64 * 8).next_multiple_of(CLUSTER));
    match options.compression {
        None => scan(source, CLUSTER as usize, |blocks| w.plain_run(blocks))?,
        Some(kind) => scan(source, CLUSTER as usize, |blocks| {
            let packed = in_parallel(blocks, options.threads, |part| compress(kind, part));
            for (block, packed) in blocks.iter().zip(packed) {
                match packed {
                    Some(packed) => w.compressed(block.index, &packed)?,
                    None => w.plain_run(&[*block])?,
                }
            }
            Ok(())
        })?,
    }
    w.finish(size, options.compression)
}

struct Writer<'a> {
    out: &'a mut dyn WriteAt,
    /// The first byte that is free.
    end: u64,
    /// Users of each cluster of the file.
    counts: Vec<u16>,
    l1: Vec<u64>,
    /// The L2 table being filled, and its place in the L1 table.
    l2: Option<(u64, Vec<u64>)>,
}

impl Writer<'_> {
    fn put(&mut self, what: &'static str, data: &[u8], offset: u64) -> Result<()> {
        self.out.write_at(data, offset).map_err(|source| DiskError::Write { what, offset, source })
    }

    /// Takes whole clusters at the end of the file.
    fn take(&mut self, len: u64) -> u64 {
        let at = self.end.next_multiple_of(CLUSTER);
        self.end = at + len.next_multiple_of(CLUSTER);
        self.counts.resize(usize::try_from(self.end / CLUSTER).unwrap_or(usize::MAX), 1);
        at
    }

    fn set(&mut self, index: u64, entry: u64) -> Result<()> {
        let (table, slot) = (index / L2_ENTRIES, (index % L2_ENTRIES) as usize);
        if self.l2.as_ref().is_some_and(|(at, _)| *at != table) {
            self.flush_l2()?;
        }
        let (_, entries) = self.l2.get_or_insert_with(|| (table, vec![0; L2_ENTRIES as usize]));
        entries[slot] = entry;
        Ok(())
    }

    fn flush_l2(&mut self) -> Result<()> {
        let Some((index, entries)) = self.l2.take() else { return Ok(()) };
        let at = self.take(CLUSTER);
        self.l1[index as usize] = at | COPIED;
        self.put("L2 table", &be(&entries), at)
    }

    /// Writes blocks uncompressed, those that lie next to each other in memory at once.
    fn plain_run(&mut self, blocks: &[Block<'_>]) -> Result<()> {
        for block in blocks {
            self.set(block.index, 0)?;
            let at = self.take(CLUSTER);
            self.set(block.index, at | COPIED)?;
            self.put("cluster", block.data, at)?;
        }
        Ok(())
    }

    fn compressed(&mut self, index: u64, packed: &[u8]) -> Result<()> {
        self.set(index, 0)?;
        let (at, end) = (self.end, self.end + packed.len() as u64);
        let sectors = (end - 1) / 512 - at / 512;
        self.set(index, COMPRESSED | (sectors << SECTORS_SHIFT) | at)?;
        let (first, last) = ((at / CLUSTER) as usize, ((end - 1) / CLUSTER) as usize);
        self.counts.resize(self.counts.len().max(last + 1), 0);
        for count in &mut self.counts[first..=last] {
            *count += 1;
        }
        self.end = end;
        self.put("compressed cluster", packed, at)
    }

    fn finish(mut self, size: u64, compression: Option<Compression>) -> Result<()> {
        self.flush_l2()?;
        let used = self.end.div_ceil(CLUSTER);
        // The counts are counted as well.
        let (mut blocks, mut tables) = (1, 1);
        while (used + blocks + tables).div_ceil(COUNTS) != blocks || (blocks * 8).div_ceil(CLUSTER) != tables {
            blocks = (used + blocks + tables).div_ceil(COUNTS);
            tables = (blocks * 8).div_ceil(CLUSTER);
        }
        let first = self.take(blocks * CLUSTER);
        let table = self.take(tables * CLUSTER);
        let mut bytes: Vec<u8> = self.counts.iter().flat_map(|c| c.to_be_bytes()).collect();
        bytes.resize((blocks * CLUSTER) as usize, 0);
        self.put("reference counts", &bytes, first)?;
        let mut entries: Vec<u64> = (0..blocks).map(|i| first + i * CLUSTER).collect();
        entries.resize((tables * CLUSTER / 8) as usize, 0);
        self.put("table of reference counts", &be(&entries), table)?;
        let l1 = be(&self.l1);
        self.put("L1 table", &l1, CLUSTER)?;
        let header = header(size, self.l1.len() as u32, (table, tables as u32), compression);
        self.put("header", &header, 0)
    }
}

fn header(size: u64, l1_len: u32, refcounts: (u64, u32), compression: Option<Compression>) -> Vec<u8> {
    let zstd = compression == Some(Compression::Zstd);
    let mut h = Vec::with_capacity(HEADER + 8);
    h.extend(MAGIC);
    h.extend(3u32.to_be_bytes());
    h.extend([0; 12]); // no backing file
    h.extend(CLUSTER_BITS.to_be_bytes());
    h.extend(size.to_be_bytes());
    h.extend([0; 4]); // not encrypted
    h.extend(l1_len.to_be_bytes());
    h.extend(CLUSTER.to_be_bytes());
    h.extend(refcounts.0.to_be_bytes());
    h.extend(refcounts.1.to_be_bytes());
    h.extend([0; 12]); // no snapshots
    h.extend(if zstd { FEATURE_COMPRESSION } else { 0 }.to_be_bytes());
    h.extend([0; 16]); // compatible features, and those that are dropped
    h.extend(4u32.to_be_bytes()); // counts of 2⁴ bits
    h.extend((HEADER as u32).to_be_bytes());
    h.extend([u8::from(zstd), 0, 0, 0, 0, 0, 0, 0]);
    h.extend([0; 8]); // the end of header extensions
    h
}

fn be(entries: &[u64]) -> Vec<u8> {
    entries.iter().flat_map(|e| e.to_be_bytes()).collect()
}

/// What does not get smaller stays as it is: `None`.
fn compress(kind: Compression, blocks: &[Block<'_>]) -> Vec<Option<Vec<u8>>> {
    match kind {
        Compression::Zlib => deflate(blocks),
        Compression::Zstd => zstd(blocks).unwrap_or_else(|_| vec![None; blocks.len()]),
    }
}

fn deflate(blocks: &[Block<'_>]) -> Vec<Option<Vec<u8>>> {
    // QEMU's decoder has a window of 4 KiB, so no match may reach further back.
    let mut encoder = Compress::new_with_window_bits(Level::new(6), false, 12);
    let pack = |block: &Block<'_>| {
        encoder.reset();
        let mut packed = vec![0; CLUSTER as usize - 1];
        match encoder.compress(block.data, &mut packed, FlushCompress::Finish) {
            Ok(Status::StreamEnd) => {
                packed.truncate(encoder.total_out() as usize);
                Some(packed)
            }
            _ => None,
        }
    };
    blocks.iter().map(pack).collect()
}

fn zstd(blocks: &[Block<'_>]) -> io::Result<Vec<Option<Vec<u8>>>> {
    let mut encoder = zstd::bulk::Compressor::new(3)?;
    let pack = |block: &Block<'_>| encoder.compress(block.data).ok().filter(|p| p.len() < CLUSTER as usize);
    Ok(blocks.iter().map(pack).collect())
}
