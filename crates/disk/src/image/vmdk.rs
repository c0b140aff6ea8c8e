//! VMDK, VMware's format, in one file: grains of 64 KiB found by two levels of tables. `monolithicSparse` is for
//! hypervisors, `streamOptimized`, whose grains are compressed and whose tables come last, for import and OVA.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::ops::Range;

use flate2::read::ZlibDecoder;
use flate2::{Compress, Compression as Level, FlushCompress, Status};

use super::source::{Block, Source, in_parallel, read_error, scan};
use super::{MAX_SIZE, Options};
use crate::error::{DiskError, Result};
use crate::io::{ReadAt, WriteAt};
use crate::part::Guid;

const NAME: &str = "VMDK image";
const SECTOR: u64 = 512;
const GRAIN: u64 = 64 << 10;
/// Grains that one table tells of.
const PER_TABLE: u64 = 512;
const TABLE: u64 = PER_TABLE * 4;
/// Sectors for the description.
const DESCRIPTION: u64 = 20;
/// Places are 32-bit numbers of sectors.
const LARGEST: u64 = 2 << 40;
const AT_END: u64 = u64::MAX;
const MAX_TABLES: u64 = 1 << 20;

fn damaged(what: impl Into<String>, why: impl Into<String>) -> DiskError {
    DiskError::Damaged { format: NAME, what: what.into(), why: why.into() }
}

fn put(out: &mut dyn WriteAt, what: &'static str, data: &[u8], offset: u64) -> Result<()> {
    out.write_at(data, offset).map_err(|source| DiskError::Write { what, offset, source })
}

fn size(source: &dyn Source) -> Result<u64> {
    let len = source.len().map_err(|e| read_error(0, e))?;
    if len >= LARGEST {
        return Err(DiskError::Options { format: NAME, why: format!("{len} bytes are not less than 2 TiB") });
    }
    Ok(len.next_multiple_of(GRAIN).max(GRAIN))
}

fn description(size: u64, stream: bool, options: &Options) -> Vec<u8> {
    let id = Guid::derive(options.seed, "vmdk").0;
    let cid = u32::from_be_bytes([id[0], id[1], id[2], id[3]]).clamp(1, u32::MAX - 2);
    let kind = if stream { "streamOptimized" } else { "monolithicSparse" };
    let cylinders = (size / SECTOR / (63 * 255)).clamp(1, 65535);
    let mut text = format!(
        "# Disk DescriptorFile\nversion=1\nCID={cid:08x}\nparentCID=ffffffff\ncreateType=\"{kind}\"\n\n\
         # Extent description\nRW {} SPARSE \"disk.vmdk\"\n\n# The Disk Data Base\n#DDB\n\n\
         ddb.virtualHWVersion = \"10\"\nddb.geometry.cylinders = \"{cylinders}\"\nddb.geometry.heads = \"255\"\n\
         ddb.geometry.sectors = \"63\"\nddb.adapterType = \"lsilogic\"\n",
        size / SECTOR
    )
    .into_bytes();
    text.resize((DESCRIPTION * SECTOR) as usize, 0);
    text
}

struct Head {
    size: u64,
    stream: bool,
    spare_directory: u64,
    directory: u64,
    overhead: u64,
}

impl Head {
    fn bytes(&self) -> [u8; 512] {
        let mut h = [0; 512];
        let mut put = |at: usize, bytes: &[u8]| h[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"KDMV");
        put(4, &if self.stream { 3u32 } else { 1 }.to_le_bytes());
        put(8, &if self.stream { 0x3_0001u32 } else { 3 }.to_le_bytes());
        put(12, &(self.size / SECTOR).to_le_bytes());
        put(20, &(GRAIN / SECTOR).to_le_bytes());
        put(28, &1u64.to_le_bytes());
        put(36, &DESCRIPTION.to_le_bytes());
        put(44, &(PER_TABLE as u32).to_le_bytes());
        put(48, &self.spare_directory.to_le_bytes());
        put(56, &self.directory.to_le_bytes());
        put(64, &self.overhead.to_le_bytes());
        put(73, b"\n \r\n");
        put(77, &u16::from(self.stream).to_le_bytes());
        h
    }
}

fn le(entries: &[u32]) -> Vec<u8> {
    entries.iter().flat_map(|e| e.to_le_bytes()).collect()
}

pub(super) fn write_sparse(source: &dyn Source, out: &mut dyn WriteAt, options: &Options) -> Result<()> {
    let size = size(source)?;
    let tables = (size / GRAIN).div_ceil(PER_TABLE);
    let directory_len = (tables * 4).next_multiple_of(SECTOR);
    let whole = directory_len + tables * TABLE;
    let spare = (1 + DESCRIPTION) * SECTOR;
    let first = spare + whole;
    let data = (first + whole).next_multiple_of(GRAIN);
    let mut entries = vec![0u32; (tables * PER_TABLE) as usize];
    let mut end = data;
    scan(source, GRAIN as usize, |blocks| {
        for block in blocks {
            entries[block.index as usize] = (end / SECTOR) as u32;
            put(out, "grain", block.data, end)?;
            end += GRAIN;
        }
        Ok(())
    })?;
    for at in [spare, first] {
        let directory: Vec<u32> = (0..tables).map(|i| ((at + directory_len + i * TABLE) / SECTOR) as u32).collect();
        put(out, "directory", &le(&directory), at)?;
        put(out, "tables", &le(&entries), at + directory_len)?;
    }
    if end == data {
        out.zero_at(first + whole, data - first - whole).map_err(|source| DiskError::Write {
            what: "tables",
            offset: first + whole,
            source,
        })?;
    }
    put(out, "description", &description(size, false, options), SECTOR)?;
    let head = Head {
        size,
        stream: false,
        spare_directory: spare / SECTOR,
        directory: first / SECTOR,
        overhead: data / SECTOR,
    };
    put(out, "header", &head.bytes(), 0)
}

/// A sector that says what follows.
fn marker(count: u64, kind: u32) -> [u8; 512] {
    let mut m = [0; 512];
    m[..8].copy_from_slice(&count.to_le_bytes());
    m[12..16].copy_from_slice(&kind.to_le_bytes());
    m
}

pub(super) fn write_stream(source: &dyn Source, out: &mut dyn WriteAt, options: &Options) -> Result<()> {
    let size = size(source)?;
    let tables = (size / GRAIN).div_ceil(PER_TABLE);
    let mut entries = vec![0u32; (tables * PER_TABLE) as usize];
    let mut end = GRAIN;
    let mut head = Head { size, stream: true, spare_directory: 0, directory: AT_END, overhead: GRAIN / SECTOR };
    put(out, "header", &head.bytes(), 0)?;
    put(out, "description", &description(size, true, options), SECTOR)?;
    scan(source, GRAIN as usize, |blocks| {
        let packed = in_parallel(blocks, options.threads, deflate);
        for (block, mut packed) in blocks.iter().zip(packed) {
            entries[block.index as usize] = (end / SECTOR) as u32;
            packed.resize(packed.len().next_multiple_of(512), 0);
            put(out, "grain", &packed, end)?;
            end += packed.len() as u64;
        }
        Ok(())
    })?;
    let mut directory = Vec::new();
    for table in entries.chunks(PER_TABLE as usize) {
        if table.iter().all(|e| *e == 0) {
            directory.push(0);
            continue;
        }
        put(out, "table", &marker(TABLE / SECTOR, 1), end)?;
        directory.push((end / SECTOR + 1) as u32);
        put(out, "table", &le(table), end + SECTOR)?;
        end += SECTOR + TABLE;
    }
    let mut directory = le(&directory);
    directory.resize(directory.len().next_multiple_of(512), 0);
    put(out, "directory", &marker(directory.len() as u64 / SECTOR, 2), end)?;
    put(out, "directory", &directory, end + SECTOR)?;
    head.directory = end / SECTOR + 1;
    end += SECTOR + directory.len() as u64;
    put(out, "footer", &marker(1, 3), end)?;
    put(out, "footer", &head.bytes(), end + SECTOR)?;
    put(out, "end", &marker(0, 0), end + 2 * SECTOR)
}

/// Grains with what is in front of them: their first sector and their length.
fn deflate(blocks: &[Block<'_>]) -> Vec<Vec<u8>> {
    let mut encoder = Compress::new(Level::new(6), true);
    let pack = |block: &Block<'_>| {
        encoder.reset();
        let mut out = Vec::with_capacity(2 * GRAIN as usize);
        out.extend((block.index * (GRAIN / SECTOR)).to_le_bytes());
        out.extend([0; 4]);
        // Room is twice the grain, so the stream always ends.
        while !matches!(
            encoder.compress_vec(&block.data[encoder.total_in() as usize..], &mut out, FlushCompress::Finish),
            Ok(Status::StreamEnd) | Err(_)
        ) {
            out.reserve(GRAIN as usize);
        }
        let len = out.len() as u32 - 12;
        out[8..12].copy_from_slice(&len.to_le_bytes());
        out
    };
    blocks.iter().map(pack).collect()
}

/// An open VMDK.
pub(super) struct Vmdk {
    file: File,
    file_len: u64,
    size: u64,
    grain: u64,
    compressed: bool,
    /// Where each grain is, in sectors; 0 and 1 are zeros.
    entries: Vec<u32>,
}

fn u32_le(data: &[u8], at: usize) -> u32 {
    data.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn u64_le(data: &[u8], at: usize) -> u64 {
    data.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}

fn get(file: &File, buf: &mut [u8], offset: u64) -> Result<()> {
    ReadAt::read_exact_at(file, buf, offset).map_err(|e| read_error(offset, e))
}

pub(super) fn open(file: File) -> Result<Vmdk> {
    let file_len = ReadAt::len(&file).map_err(|e| read_error(0, e))?;
    let mut h = [0; 512];
    get(&file, &mut h, 0)?;
    if u64_le(&h, 56) == AT_END {
        // The footer is the last but one sector.
        let at = file_len.checked_sub(1024).ok_or_else(|| damaged("footer", "the file is too short for one"))?;
        get(&file, &mut h, at)?;
    }
    let (version, flags) = (u32_le(&h, 4), u32_le(&h, 8));
    if !h.starts_with(b"KDMV") || !(1..=3).contains(&version) || h[73..77] != *b"\n \r\n" {
        return Err(damaged("header", "it is none of VMDK, or was changed as if it were text"));
    }
    let compressed = flags & 0x1_0000 != 0;
    if compressed && h[77..79] != [1, 0] {
        return Err(DiskError::Unsupported { format: NAME, what: "a compression that is not deflate".into() });
    }
    refuse_parents(&file, &h, file_len)?;
    let (sectors, grain, per_table) = (u64_le(&h, 12), u64_le(&h, 20), u64::from(u32_le(&h, 44)));
    let fits = sectors <= MAX_SIZE / SECTOR && grain.is_power_of_two() && (8..=2048).contains(&grain);
    if !fits || !(1..=4096).contains(&per_table) || sectors.div_ceil(grain * per_table) > MAX_TABLES {
        return Err(damaged("header", format!("{sectors} sectors in grains of {grain}")));
    }
    let count = sectors.div_ceil(grain);
    let entries = tables(&file, file_len, u64_le(&h, 56), count, per_table)?;
    Ok(Vmdk { file, file_len, size: sectors * SECTOR, grain: grain * SECTOR, compressed, entries })
}

fn refuse_parents(file: &File, h: &[u8; 512], file_len: u64) -> Result<()> {
    let (at, len) = (u64_le(h, 28).saturating_mul(SECTOR), u64_le(h, 36).saturating_mul(SECTOR));
    if at == 0 {
        return Ok(());
    }
    if len > 1 << 20 || at.checked_add(len).is_none_or(|end| end > file_len) {
        return Err(damaged("description", "it is not in the file"));
    }
    let mut text = vec![0; len as usize];
    get(file, &mut text, at)?;
    let text = String::from_utf8_lossy(&text);
    let parent = text.lines().find_map(|line| line.trim().strip_prefix("parentCID=")).unwrap_or("ffffffff");
    if !parent.trim().eq_ignore_ascii_case("ffffffff") {
        return Err(DiskError::Unsupported { format: NAME, what: "a parent image (snapshot)".into() });
    }
    Ok(())
}

fn tables(file: &File, file_len: u64, directory: u64, count: u64, per_table: u64) -> Result<Vec<u32>> {
    let inside = |sector: u64, len: u64, what: &str| match sector.checked_mul(SECTOR) {
        Some(at) if sector != 0 && at.checked_add(len).is_some_and(|end| end <= file_len) => Ok(at),
        _ => Err(damaged(what, "it is not in the file")),
    };
    let tables = count.div_ceil(per_table);
    let mut bytes = vec![0; tables as usize * 4];
    get(file, &mut bytes, inside(directory, tables * 4, "directory")?)?;
    let mut entries = Vec::new();
    for place in bytes.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)) {
        if place == 0 {
            entries.resize(entries.len() + per_table as usize, 0);
            continue;
        }
        let mut table = vec![0; per_table as usize * 4];
        get(file, &mut table, inside(u64::from(place), per_table * 4, "table")?)?;
        entries.extend(table.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)));
    }
    entries.truncate(count as usize);
    Ok(entries)
}

impl Vmdk {
    fn unpack(&self, at: u64) -> Result<Vec<u8>> {
        let bad = || damaged(format!("grain at {at:#x}"), "it cannot be unpacked");
        let mut head = [0; 12];
        get(&self.file, &mut head, at)?;
        let len = u64::from(u32_le(&head, 8));
        if len > 2 * self.grain + 512 || at + 12 + len > self.file_len {
            return Err(bad());
        }
        let mut packed = vec![0; len as usize];
        get(&self.file, &mut packed, at + 12)?;
        let mut plain = Vec::new();
        ZlibDecoder::new(packed.as_slice()).take(self.grain).read_to_end(&mut plain).map_err(|_| bad())?;
        // The last grain may be shorter.
        plain.resize(self.grain as usize, 0);
        Ok(plain)
    }
}

impl ReadAt for Vmdk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.size)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let within = offset % self.grain;
        let room = self.size.saturating_sub(offset).min(self.grain - within);
        let n = usize::try_from(room).unwrap_or(usize::MAX).min(buf.len());
        match self.entries.get((offset / self.grain) as usize) {
            _ if n == 0 => return Ok(0),
            None | Some(0 | 1) => buf[..n].fill(0),
            Some(sector) if self.compressed => {
                let grain = self.unpack(u64::from(*sector) * SECTOR);
                let grain = grain.map_err(|e| io::Error::new(ErrorKind::InvalidData, e))?;
                buf[..n].copy_from_slice(&grain[within as usize..within as usize + n]);
            }
            Some(sector) => ReadAt::read_exact_at(&self.file, &mut buf[..n], u64::from(*sector) * SECTOR + within)?,
        }
        Ok(n)
    }
}

impl Source for Vmdk {
    fn data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        let first = (from / self.grain) as usize;
        let rest = self.entries.get(first..).unwrap_or_default();
        let Some(skip) = rest.iter().position(|e| *e > 1) else { return Ok(None) };
        let count = rest[skip..].iter().position(|e| *e <= 1).unwrap_or(rest.len() - skip);
        let start = (first + skip) as u64 * self.grain;
        Ok(Some(start.max(from)..(start + count as u64 * self.grain).min(self.size)).filter(|r| r.start < r.end))
    }
}
