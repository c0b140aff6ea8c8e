//! Reading, of files that nobody vouches for: every place in a table is checked, tables are read when they are needed,
//! and a name of a backing file is followed only by leave.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use flate2::{Decompress, FlushDecompress};

use super::write::Compression;
use super::{COMPRESSED, FEATURE_COMPRESSION, MAGIC, NAME, OFFSET};
use crate::error::{DiskError, Result};
use crate::image::source::Source;
use crate::image::{Format, MAX_SIZE};
use crate::io::ReadAt;

/// QEMU's own limit.
const MAX_L1: u64 = (32 << 20) / 8;
/// Images that stand on each other.
const MAX_CHAIN: u32 = 16;
const EXTENSION_FORMAT: u32 = 0xe279_2aca;

/// Whether an image may stand on another file, and where that may be.
#[derive(Debug, Clone)]
pub enum Backing {
    /// No file but the image is opened.
    Refuse,
    /// A file in this directory or below it.
    Below(PathBuf),
}

/// An open qcow2 image.
pub struct Qcow2 {
    file: File,
    file_len: u64,
    size: u64,
    cluster_bits: u32,
    /// Whether the lowest bit of an L2 entry says that the cluster is zero.
    zero_flag: bool,
    compression: Compression,
    l1: Vec<u64>,
    backing: Option<Box<dyn Source>>,
    cache: Mutex<Cache>,
}

#[derive(Default)]
struct Cache {
    tables: VecDeque<(u64, Arc<Vec<u64>>)>,
    clusters: VecDeque<(u64, Arc<Vec<u8>>)>,
}

enum Cluster {
    Nowhere,
    Zero,
    At(u64),
    Compressed(u64),
}

/// Opens `file` as a qcow2 image.
///
/// # Errors
/// When it is damaged, encrypted, or uses what Kiln does not read; when it has a backing file that may not be opened.
pub fn open(file: File, backing: &Backing) -> Result<Qcow2> {
    open_at(file, backing, 0)
}

pub(super) fn damaged(what: impl Into<String>, why: impl Into<String>) -> DiskError {
    DiskError::Damaged { format: NAME, what: what.into(), why: why.into() }
}

fn unsupported(what: impl Into<String>) -> DiskError {
    DiskError::Unsupported { format: NAME, what: what.into() }
}

struct Header(Vec<u8>);

impl Header {
    fn u32(&self, at: usize) -> u32 {
        self.0.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_be_bytes)
    }

    fn u64(&self, at: usize) -> u64 {
        self.0.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_be_bytes)
    }
}

fn open_at(file: File, backing: &Backing, depth: u32) -> Result<Qcow2> {
    let file_len = ReadAt::len(&file).map_err(|source| read("length", 0, source))?;
    let mut bytes = vec![0; usize::try_from(file_len.min(1 << 16)).unwrap_or(0)];
    file.read_exact_at(&mut bytes, 0).map_err(|source| read("header", 0, source))?;
    let h = Header(bytes);
    if h.0.len() < 72 || h.0[..4] != MAGIC {
        return Err(damaged("header", "it is none of qcow2"));
    }
    let version = h.u32(4);
    let (features, header_len) = match version {
        2 => (0, 72),
        3 => (h.u64(72), h.u32(100) as usize),
        _ => return Err(unsupported(format!("version {version}"))),
    };
    check_features(&h, features)?;
    let cluster_bits = h.u32(20);
    if !(9..=21).contains(&cluster_bits) {
        return Err(damaged("header", format!("clusters of 2^{cluster_bits} bytes")));
    }
    let (size, l1_len, l1_at) = (h.u64(24), u64::from(h.u32(36)), h.u64(40));
    let reach = 1u64 << (2 * cluster_bits - 3);
    if size > MAX_SIZE || l1_len > MAX_L1 || l1_len < size.div_ceil(reach) {
        return Err(damaged("header", format!("{size} bytes by an L1 table of {l1_len} entries")));
    }
    if l1_at % 512 != 0 || l1_at.checked_add(l1_len * 8).is_none_or(|end| end > file_len) {
        return Err(damaged("L1 table", "it is not in the file"));
    }
    let compression = match (features & FEATURE_COMPRESSION != 0 && header_len > 104, h.0.get(104)) {
        (false, _) | (true, Some(0)) => Compression::Zlib,
        (true, Some(1)) => Compression::Zstd,
        _ => return Err(unsupported("a compression that is neither zlib nor zstd")),
    };
    let l1 = words(&file, "L1 table", l1_at, size.div_ceil(reach) as usize)?;
    let backing = match h.u64(8) {
        0 => None,
        at => Some(open_backing(&h, header_len, at, backing, depth)?),
    };
    let zero_flag = version > 2;
    Ok(Qcow2 { file, file_len, size, cluster_bits, zero_flag, compression, l1, backing, cache: Mutex::default() })
}

fn check_features(h: &Header, features: u64) -> Result<()> {
    if h.u32(32) != 0 {
        return Err(unsupported("encryption; `qemu-img convert` with the key makes one without"));
    }
    let named = [
        (1 << 1, "the mark of a corrupt image; try `qemu-img check -r all`"),
        (1 << 2, "an external data file; `qemu-img convert` makes one file"),
        (1 << 4, "extended L2 entries; `qemu-img convert` makes an image without"),
    ];
    if let Some((_, what)) = named.iter().find(|(bit, _)| features & bit != 0) {
        return Err(unsupported(*what));
    }
    // A dirty image has wrong counts of users, which reading does not need.
    match features & !(1 | FEATURE_COMPRESSION) {
        0 => Ok(()),
        rest => Err(unsupported(format!("unknown features {rest:#x}"))),
    }
}

fn open_backing(h: &Header, header_len: usize, at: u64, leave: &Backing, depth: u32) -> Result<Box<dyn Source>> {
    let len = h.u32(16) as usize;
    let start = usize::try_from(at).unwrap_or(usize::MAX);
    let name = start.checked_add(len).filter(|_| len <= 1023).and_then(|end| h.0.get(start..end));
    let name = name.ok_or_else(|| damaged("name of the backing file", "it is not in the header"))?;
    let name = str::from_utf8(name).map_err(|_| damaged("name of the backing file", "it is not UTF-8"))?;
    let Backing::Below(dir) = leave else {
        let what = format!(
            "a backing file, `{}`, which was not allowed; `qemu-img convert` makes one file of both",
            name.escape_debug()
        );
        return Err(unsupported(what));
    };
    if depth >= MAX_CHAIN {
        return Err(damaged("chain of backing files", format!("it is longer than {MAX_CHAIN}, or goes in a circle")));
    }
    let format = match backing_format(h, header_len)?.as_deref() {
        Some("raw") => Format::Raw,
        Some("qcow2") => Format::Qcow2,
        Some(other) => return Err(unsupported(format!("a backing file of format `{}`", other.escape_debug()))),
        None => return Err(unsupported("a backing file without its format; `qemu-img rebase -u -F FORMAT` adds it")),
    };
    let path = Path::new(name);
    if !path.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir)) {
        return Err(unsupported(format!("a backing file outside of its directory: `{}`", name.escape_debug())));
    }
    let file = open_below(dir, path).map_err(|source| read("backing file", 0, source))?;
    match format {
        Format::Qcow2 => Ok(Box::new(open_at(file, leave, depth + 1)?)),
        _ => Ok(Box::new(file)),
    }
}

fn open_below(dir: &Path, path: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
    let dir = File::open(dir)?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file =
        File::from(openat2(&dir, path, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS)?);
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::new(ErrorKind::InvalidInput, "it is no file")) }
}

fn backing_format(h: &Header, header_len: usize) -> Result<Option<String>> {
    let mut at = header_len;
    for _ in 0..64 {
        let (kind, len) = (h.u32(at), h.u32(at + 4) as usize);
        match kind {
            0 => return Ok(None),
            EXTENSION_FORMAT => {
                let name = h.0.get(at + 8..at.saturating_add(8).saturating_add(len));
                let name = name.ok_or_else(|| damaged("header extension", "it is cut off"))?;
                return Ok(Some(String::from_utf8_lossy(name).into_owned()));
            }
            _ => at = at.saturating_add(8).saturating_add(len.next_multiple_of(8)).min(1 << 20),
        }
    }
    Err(damaged("header extensions", "they do not end"))
}

fn read(what: &'static str, offset: u64, source: io::Error) -> DiskError {
    DiskError::Read { what, offset, source }
}

fn words(file: &File, what: &'static str, at: u64, count: usize) -> Result<Vec<u64>> {
    let mut bytes = vec![0; count * 8];
    file.read_exact_at(&mut bytes, at).map_err(|source| read(what, at, source))?;
    Ok(bytes.as_chunks::<8>().0.iter().map(|b| u64::from_be_bytes(*b)).collect())
}

impl Qcow2 {
    fn cluster(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// What an L2 table reaches.
    fn reach(&self) -> u64 {
        1 << (2 * self.cluster_bits - 3)
    }

    fn table(&self, offset: u64) -> Result<Option<Arc<Vec<u64>>>> {
        let entry = self.l1.get((offset / self.reach()) as usize).copied().unwrap_or(0) & OFFSET;
        if entry == 0 {
            return Ok(None);
        }
        if !entry.is_multiple_of(self.cluster())
            || entry.checked_add(self.cluster()).is_none_or(|end| end > self.file_len)
        {
            return Err(damaged(format!("L2 table for byte {offset}"), format!("{entry:#x} is no place in the file")));
        }
        let cached = |cache: &Cache| cache.tables.iter().find(|(at, _)| *at == entry).map(|(_, t)| Arc::clone(t));
        if let Some(table) = cached(&self.cache.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(Some(table));
        }
        let table = Arc::new(words(&self.file, "L2 table", entry, (self.cluster() / 8) as usize)?);
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.tables.push_back((entry, Arc::clone(&table)));
        if cache.tables.len() > 8 {
            cache.tables.pop_front();
        }
        Ok(Some(table))
    }

    fn find(&self, offset: u64) -> Result<Cluster> {
        let Some(table) = self.table(offset)? else { return Ok(Cluster::Nowhere) };
        let entry = table[(offset % self.reach() / self.cluster()) as usize];
        if entry & COMPRESSED != 0 {
            return Ok(Cluster::Compressed(entry & !(super::COPIED | COMPRESSED)));
        }
        let at = entry & OFFSET;
        if self.zero_flag && entry & 1 != 0 {
            return Ok(Cluster::Zero);
        }
        match at {
            0 => Ok(Cluster::Nowhere),
            _ if !at.is_multiple_of(self.cluster()) || at >= self.file_len => {
                Err(damaged(format!("cluster for byte {offset}"), format!("{at:#x} is no place in the file")))
            }
            _ => Ok(Cluster::At(at)),
        }
    }

    fn unpack(&self, entry: u64) -> Result<Arc<Vec<u8>>> {
        let cached = |cache: &Cache| cache.clusters.iter().find(|(e, _)| *e == entry).map(|(_, c)| Arc::clone(c));
        if let Some(cluster) = cached(&self.cache.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(cluster);
        }
        let shift = 62 - (self.cluster_bits - 8);
        let at = entry & ((1 << shift) - 1);
        let len = ((entry >> shift) + 1) * 512 - at % 512;
        let len = len.min(self.file_len.saturating_sub(at)).min(2 * self.cluster() + 512);
        let mut packed = vec![0; len as usize];
        self.file.read_exact_at(&mut packed, at).map_err(|source| read("compressed cluster", at, source))?;
        let plain = match self.compression {
            Compression::Zlib => inflate(&packed, self.cluster() as usize),
            Compression::Zstd => unzstd(&packed, self.cluster() as usize),
        };
        let plain =
            Arc::new(plain.ok_or_else(|| damaged(format!("compressed cluster at {at:#x}"), "it cannot be unpacked"))?);
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.clusters.push_back((entry, Arc::clone(&plain)));
        if cache.clusters.len() > 4 {
            cache.clusters.pop_front();
        }
        Ok(plain)
    }

    /// Fills a buffer that lies in one cluster.
    fn fill(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let within = offset % self.cluster();
        match self.find(offset)? {
            Cluster::Zero => buf.fill(0),
            Cluster::Nowhere => {
                buf.fill(0);
                if let Some(backing) = &self.backing {
                    let len = backing.len().map_err(|source| read("backing file", offset, source))?;
                    let part = usize::try_from(len.saturating_sub(offset)).unwrap_or(usize::MAX).min(buf.len());
                    let got = backing.read_exact_at(&mut buf[..part], offset);
                    got.map_err(|source| read("backing file", offset, source))?;
                }
            }
            Cluster::At(at) => {
                // The last cluster of a file may be cut.
                let at = at + within;
                let real = usize::try_from(self.file_len.saturating_sub(at)).unwrap_or(usize::MAX).min(buf.len());
                self.file.read_exact_at(&mut buf[..real], at).map_err(|source| read("cluster", at, source))?;
                buf[real..].fill(0);
            }
            Cluster::Compressed(entry) => {
                let cluster = self.unpack(entry)?;
                buf.copy_from_slice(&cluster[within as usize..within as usize + buf.len()]);
            }
        }
        Ok(())
    }

    /// Whether a cluster may hold something.
    fn holds(&self, offset: u64) -> Result<bool> {
        match self.find(offset)? {
            Cluster::Zero => Ok(false),
            Cluster::At(_) | Cluster::Compressed(_) => Ok(true),
            Cluster::Nowhere => match &self.backing {
                None => Ok(false),
                Some(backing) => {
                    let found = backing.data(offset).map_err(|source| read("backing file", offset, source))?;
                    Ok(found.is_some_and(|range| range.start < offset.saturating_add(self.cluster())))
                }
            },
        }
    }
}

fn inflate(packed: &[u8], len: usize) -> Option<Vec<u8>> {
    let mut plain = vec![0; len];
    let mut decoder = Decompress::new(false);
    decoder.decompress(packed, &mut plain, FlushDecompress::Finish).ok()?;
    (decoder.total_out() == len as u64).then_some(plain)
}

fn unzstd(packed: &[u8], len: usize) -> Option<Vec<u8>> {
    let mut plain = vec![0; len];
    // What is behind the frame belongs to the next cluster.
    let mut decoder = zstd::stream::read::Decoder::new(packed).ok()?.single_frame();
    decoder.window_log_max(24).ok()?;
    decoder.read_exact(&mut plain).ok()?;
    Some(plain)
}

fn io_error(error: DiskError) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}

impl ReadAt for Qcow2 {
    fn len(&self) -> io::Result<u64> {
        Ok(self.size)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let total = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX).min(buf.len());
        let mut done = 0;
        while done < total {
            let at = offset + done as u64;
            let part = ((self.cluster() - at % self.cluster()) as usize).min(total - done);
            self.fill(&mut buf[done..done + part], at).map_err(io_error)?;
            done += part;
        }
        Ok(total)
    }
}

impl Source for Qcow2 {
    fn data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        let mut at = from;
        let mut start = None;
        while at < self.size {
            let here = self.backing.is_some() || self.table(at).map_err(io_error)?.is_some();
            let step = if here { self.cluster() } else { self.reach() };
            match (here && self.holds(at).map_err(io_error)?, start) {
                (true, None) => start = Some(at),
                (false, Some(start)) => return Ok(Some(start..at)),
                _ => {}
            }
            at = (at / step + 1).saturating_mul(step);
            if let Some(start) = start.filter(|start| at - start >= 64 << 20) {
                return Ok(Some(start..at.min(self.size)));
            }
        }
        Ok(start.map(|start| start..self.size))
    }
}

impl std::fmt::Debug for Qcow2 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Qcow2").field("size", &self.size).field("cluster_bits", &self.cluster_bits).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_unpacks_to_less_is_damaged() {
        assert!(inflate(&[3, 0], 512).is_none());
        assert!(unzstd(b"no frame", 512).is_none());
    }
}
