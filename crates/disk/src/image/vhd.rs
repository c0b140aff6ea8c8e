//! VHD, the format of Virtual PC, Azure and Alibaba Cloud: a footer of 512 bytes behind the disk, or around tables.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::ops::Range;

use super::source::{Source, read_error, scan};
use super::{MAX_SIZE, Options};
use crate::error::{DiskError, Result};
use crate::io::{ReadAt, Window, WriteAt};
use crate::part::Guid;

const NAME: &str = "VHD image";
const SECTOR: u64 = 512;
/// Bytes of a block of the dynamic kind.
const BLOCK: u64 = 2 << 20;
/// In front of every block: a bit for each of its sectors.
const BITMAP: u64 = 512;
const NOWHERE: u32 = u32::MAX;
/// What Azure and Virtual PC allow.
const LARGEST: u64 = 2040 << 30;
const MIB: u64 = 1 << 20;
/// Times are counted from 2000-01-01.
const EPOCH: u64 = 946_684_800;

fn damaged(what: impl Into<String>, why: impl Into<String>) -> DiskError {
    DiskError::Damaged { format: NAME, what: what.into(), why: why.into() }
}

/// The size of the image: clouds import whole MiB only.
fn size(source: &dyn Source) -> Result<u64> {
    let len = source.len().map_err(|e| read_error(0, e))?;
    if len > LARGEST {
        let why = format!("{len} bytes are more than 2040 GiB");
        return Err(DiskError::Options { format: NAME, why });
    }
    Ok(len.next_multiple_of(MIB).max(MIB))
}

/// Cylinders, heads and sectors, as the format's description computes them.
fn geometry(size: u64) -> [u8; 4] {
    let total = (size / SECTOR).min(65535 * 16 * 255);
    let (heads, sectors, times) = if total >= 65535 * 16 * 63 {
        (16, 255, total / 255)
    } else {
        let heads = (total / 17).div_ceil(1024).max(4);
        if total / 17 >= heads * 1024 || heads > 16 {
            let times = total / 31;
            if times >= 16 * 1024 { (16, 63, total / 63) } else { (16, 31, times) }
        } else {
            (heads, 17, total / 17)
        }
    };
    let cylinders = (times / heads) as u16;
    let [high, low] = cylinders.to_be_bytes();
    [high, low, heads as u8, sectors as u8]
}

fn footer(size: u64, dynamic: bool, options: &Options) -> [u8; 512] {
    let mut f = [0; 512];
    let mut put = |at: usize, bytes: &[u8]| f[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"conectix");
    put(8, &2u32.to_be_bytes());
    put(12, &0x1_0000u32.to_be_bytes());
    put(16, &if dynamic { 512u64 } else { u64::MAX }.to_be_bytes());
    put(24, &(options.epoch.saturating_sub(EPOCH) as u32).to_be_bytes());
    // Readers take the size, not the geometry, of images by this creator.
    put(28, b"win ");
    put(32, &0xa_0000u32.to_be_bytes());
    put(36, b"Wi2k");
    put(40, &size.to_be_bytes());
    put(48, &size.to_be_bytes());
    put(56, &geometry(size));
    put(60, &if dynamic { 3u32 } else { 2 }.to_be_bytes());
    put(68, &Guid::derive(options.seed, "vhd").0);
    let sum = checksum(&f);
    f[64..68].copy_from_slice(&sum.to_be_bytes());
    f
}

fn checksum(data: &[u8]) -> u32 {
    !data.iter().fold(0u32, |sum, b| sum.wrapping_add(u32::from(*b)))
}

fn put(out: &mut dyn WriteAt, what: &'static str, data: &[u8], offset: u64) -> Result<()> {
    out.write_at(data, offset).map_err(|source| DiskError::Write { what, offset, source })
}

pub(super) fn write_fixed(source: &dyn Source, out: &mut dyn WriteAt, options: &Options) -> Result<()> {
    let size = size(source)?;
    out.zero_at(0, size).map_err(|source| DiskError::Write { what: "disk", offset: 0, source })?;
    scan(source, 64 << 10, |blocks| blocks.iter().try_for_each(|b| put(out, "disk", b.data, b.index * (64 << 10))))?;
    put(out, "footer", &footer(size, false, options), size)
}

pub(super) fn write_dynamic(source: &dyn Source, out: &mut dyn WriteAt, options: &Options) -> Result<()> {
    let size = size(source)?;
    let footer = footer(size, true, options);
    let count = size.div_ceil(BLOCK);
    let mut table = vec![NOWHERE; count as usize];
    let mut end = 1536 + (count * 4).next_multiple_of(SECTOR);
    scan(source, BLOCK as usize, |blocks| {
        for block in blocks {
            table[block.index as usize] = (end / SECTOR) as u32;
            put(out, "bitmap", &[0xff; BITMAP as usize], end)?;
            put(out, "block", block.data, end + BITMAP)?;
            end += BITMAP + BLOCK;
        }
        Ok(())
    })?;
    put(out, "footer", &footer, end)?;
    let mut bytes: Vec<u8> = table.iter().flat_map(|e| e.to_be_bytes()).collect();
    bytes.resize(bytes.len().next_multiple_of(512), 0xff);
    put(out, "table of blocks", &bytes, 1536)?;
    let mut h = vec![0; 1024];
    h[..8].copy_from_slice(b"cxsparse");
    h[8..16].fill(0xff);
    h[16..24].copy_from_slice(&1536u64.to_be_bytes());
    h[24..28].copy_from_slice(&0x1_0000u32.to_be_bytes());
    h[28..32].copy_from_slice(&(count as u32).to_be_bytes());
    h[32..36].copy_from_slice(&(BLOCK as u32).to_be_bytes());
    let sum = checksum(&h);
    h[36..40].copy_from_slice(&sum.to_be_bytes());
    put(out, "header", &h, 512)?;
    put(out, "copy of the footer", &footer, 0)
}

/// Whether the last sector is a footer whose sum is right.
pub(super) fn has_footer(file: &File, len: u64) -> bool {
    let mut f = [0; 512];
    len > SECTOR
        && len.is_multiple_of(SECTOR)
        && ReadAt::read_exact_at(file, &mut f, len - SECTOR).is_ok()
        && f.starts_with(b"conectix")
        && sum_is_right(&f, 64)
}

fn sum_is_right(data: &[u8], at: usize) -> bool {
    let mut zeroed = data.to_vec();
    zeroed[at..at + 4].fill(0);
    data[at..at + 4] == checksum(&zeroed).to_be_bytes()
}

fn u32_be(data: &[u8], at: usize) -> u32 {
    data.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_be_bytes)
}

fn u64_be(data: &[u8], at: usize) -> u64 {
    data.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_be_bytes)
}

/// A VHD with tables.
struct Dynamic {
    file: File,
    file_len: u64,
    size: u64,
    block: u64,
    bitmap: u64,
    table: Vec<u32>,
}

pub(super) fn open(file: File) -> Result<Box<dyn Source>> {
    let file_len = ReadAt::len(&file).map_err(|e| read_error(0, e))?;
    let mut f = [0; 512];
    let at = file_len.checked_sub(SECTOR).ok_or_else(|| damaged("footer", "the file is too short for one"))?;
    ReadAt::read_exact_at(&file, &mut f, at).map_err(|e| read_error(at, e))?;
    if !f.starts_with(b"conectix") {
        // A copy is at the start of the dynamic kind.
        ReadAt::read_exact_at(&file, &mut f, 0).map_err(|e| read_error(0, e))?;
    }
    if !f.starts_with(b"conectix") || !sum_is_right(&f, 64) {
        return Err(damaged("footer", "it is not there, or its checksum is wrong"));
    }
    let size = u64_be(&f, 48);
    match u32_be(&f, 60) {
        2 if size <= at => Ok(Box::new(Window::new(file, 0, size))),
        2 => Err(damaged("footer", format!("a disk of {size} bytes in a file of {file_len}"))),
        3 => Ok(Box::new(open_dynamic(file, file_len, size, u64_be(&f, 16))?)),
        4 => Err(DiskError::Unsupported { format: NAME, what: "a parent image (differencing disk)".into() }),
        kind => Err(DiskError::Unsupported { format: NAME, what: format!("kind {kind}") }),
    }
}

fn open_dynamic(file: File, file_len: u64, size: u64, header_at: u64) -> Result<Dynamic> {
    let mut h = [0; 1024];
    ReadAt::read_exact_at(&file, &mut h, header_at).map_err(|e| read_error(header_at, e))?;
    if !h.starts_with(b"cxsparse") || !sum_is_right(&h, 36) {
        return Err(damaged("header", "it is not there, or its checksum is wrong"));
    }
    let (table_at, count, block) = (u64_be(&h, 16), u64::from(u32_be(&h, 28)), u64::from(u32_be(&h, 32)));
    if !block.is_power_of_two() || !(4096..=256 << 20).contains(&block) || size > MAX_SIZE {
        return Err(damaged("header", format!("{size} bytes in blocks of {block}")));
    }
    if count < size.div_ceil(block) || table_at.checked_add(count * 4).is_none_or(|end| end > file_len) {
        return Err(damaged("table of blocks", "it is not in the file"));
    }
    let mut bytes = vec![0; size.div_ceil(block) as usize * 4];
    ReadAt::read_exact_at(&file, &mut bytes, table_at).map_err(|e| read_error(table_at, e))?;
    let table = bytes.as_chunks::<4>().0.iter().map(|b| u32::from_be_bytes(*b)).collect();
    let bitmap = (block / SECTOR / 8).next_multiple_of(SECTOR);
    Ok(Dynamic { file, file_len, size, block, bitmap, table })
}

impl ReadAt for Dynamic {
    fn len(&self) -> io::Result<u64> {
        Ok(self.size)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let room = self.size.saturating_sub(offset).min(self.block - offset % self.block);
        let n = usize::try_from(room).unwrap_or(usize::MAX).min(buf.len());
        match self.table.get((offset / self.block) as usize) {
            _ if n == 0 => return Ok(0),
            None | Some(&NOWHERE) => buf[..n].fill(0),
            Some(sector) => {
                let at = u64::from(*sector) * SECTOR + self.bitmap + offset % self.block;
                if at + n as u64 > self.file_len {
                    let why = format!("block at byte {offset} is beyond the end of the file");
                    return Err(io::Error::new(ErrorKind::InvalidData, damaged("table of blocks", why)));
                }
                ReadAt::read_exact_at(&self.file, &mut buf[..n], at)?;
            }
        }
        Ok(n)
    }
}

impl Source for Dynamic {
    fn data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        if from >= self.size {
            return Ok(None);
        }
        let first = (from / self.block) as usize;
        let rest = self.table.get(first..).unwrap_or_default();
        let Some(skip) = rest.iter().position(|e| *e != NOWHERE) else { return Ok(None) };
        let count = rest[skip..].iter().position(|e| *e == NOWHERE).unwrap_or(rest.len() - skip);
        let start = (first + skip) as u64 * self.block;
        Ok(Some(start.max(from)..(start + count as u64 * self.block).min(self.size)))
    }
}
