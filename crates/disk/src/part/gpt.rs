//! GPT: a header and 128 entries at both ends of the disk, each copy with checksums.

use super::{Guid, Kind, Partition, SECTOR, Scheme, Table, bytes, check, u32_le, u64_le};
use crate::error::{DiskError, Result};
use crate::io::{ReadAt, WriteAt};

const NAME: &str = "partition table (GPT)";
const SIGNATURE: &[u8] = b"EFI PART";
const ENTRIES: usize = 128;
const ENTRY: usize = 128;
/// Sectors of the entries.
const ARRAY: u64 = (ENTRIES * ENTRY) as u64 / SECTOR;
/// What both ends of a disk give up: the MBR, a header, the entries.
const FRONT: u64 = 2 + ARRAY;
const BACK: u64 = 1 + ARRAY;
/// A table of more entries is none that anybody writes.
const MAX_ENTRIES: u32 = 1024;

/// The bytes of a disk of `len` bytes that partitions may have.
pub fn usable(len: u64) -> std::ops::Range<u64> {
    let sectors = len / SECTOR;
    FRONT * SECTOR..sectors.saturating_sub(BACK).max(FRONT) * SECTOR
}

/// Writes a table for the disk `out` of `len` bytes: the protective MBR (its boot code stays), both copies.
///
/// # Errors
/// When partitions do not fit or lie over each other, or writing fails.
pub fn write(out: &mut dyn WriteAt, len: u64, disk: Guid, partitions: &[Partition]) -> Result<()> {
    let sectors = len / SECTOR;
    if sectors < FRONT + BACK + 1 {
        return Err(DiskError::Options { format: NAME, why: format!("a disk of {len} bytes is too small for it") });
    }
    check(NAME, partitions, usable(len))?;
    let mut array = vec![0; ENTRIES * ENTRY];
    for p in partitions {
        let slot = (p.number as usize).checked_sub(1).filter(|slot| *slot < ENTRIES);
        let slot = slot.ok_or_else(|| no(p, "its number is none of 1 to 128"))?;
        entry(p, &mut array[slot * ENTRY..][..ENTRY])?;
    }
    let crc = crc32fast::hash(&array);
    let last = sectors - 1;
    let mut put = |what, data: &[u8], lba: u64| {
        let offset = lba * SECTOR;
        out.write_at(data, offset).map_err(|source| DiskError::Write { what, offset, source })
    };
    put("backup of the partitions", &array, last - ARRAY)?;
    put("backup of the partition table", &header(disk, (last, 1, last - ARRAY), sectors, crc), last)?;
    put("partitions", &array, 2)?;
    put("partition table", &header(disk, (1, last, 2), sectors, crc), 1)?;
    let tail = protective(sectors);
    out.write_at(&tail, 446).map_err(|source| DiskError::Write { what: "protective MBR", offset: 446, source })
}

fn no(p: &Partition, why: &str) -> DiskError {
    DiskError::Options { format: NAME, why: format!("partition {}: {why}", p.number) }
}

fn entry(p: &Partition, out: &mut [u8]) -> Result<()> {
    let (Kind::Gpt(kind), Some(id)) = (p.kind, p.id) else { return Err(no(p, "it is one of an MBR")) };
    if !p.start.is_multiple_of(SECTOR) || !p.len.is_multiple_of(SECTOR) || p.len == 0 {
        return Err(no(p, "it is not of whole sectors"));
    }
    let name: Vec<u8> = p.name.encode_utf16().flat_map(u16::to_le_bytes).collect();
    if name.len() > 72 {
        return Err(no(p, "its name is longer than 36 characters"));
    }
    out[..16].copy_from_slice(&kind.to_disk());
    out[16..32].copy_from_slice(&id.to_disk());
    out[32..40].copy_from_slice(&(p.start / SECTOR).to_le_bytes());
    out[40..48].copy_from_slice(&((p.start + p.len) / SECTOR - 1).to_le_bytes());
    out[48..56].copy_from_slice(&p.attributes.to_le_bytes());
    out[56..56 + name.len()].copy_from_slice(&name);
    Ok(())
}

/// One copy's header: where it is, where the other is, where its entries are.
fn header(disk: Guid, (own, other, array): (u64, u64, u64), sectors: u64, crc: u32) -> Vec<u8> {
    let mut h = Vec::with_capacity(512);
    h.extend(SIGNATURE);
    h.extend(0x1_0000u32.to_le_bytes());
    h.extend(92u32.to_le_bytes());
    h.extend([0; 8]); // the checksum, see below
    for lba in [own, other, FRONT, sectors - BACK - 1] {
        h.extend(lba.to_le_bytes());
    }
    h.extend(disk.to_disk());
    h.extend(array.to_le_bytes());
    h.extend((ENTRIES as u32).to_le_bytes());
    h.extend((ENTRY as u32).to_le_bytes());
    h.extend(crc.to_le_bytes());
    let sum = crc32fast::hash(&h);
    h[16..20].copy_from_slice(&sum.to_le_bytes());
    h.resize(512, 0);
    h
}

/// The end of the MBR: one partition that covers the disk for those who know nothing else.
fn protective(sectors: u64) -> Vec<u8> {
    let mut tail = vec![0x00, 0x00, 0x02, 0x00, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0];
    tail.extend(u32::try_from(sectors - 1).unwrap_or(u32::MAX).to_le_bytes());
    tail.resize(64, 0);
    tail.extend([0x55, 0xaa]);
    tail
}

/// Reads the table; `expected` when an MBR says that there is one.
pub(super) fn read(disk: &(impl ReadAt + ?Sized), len: u64, expected: bool) -> Result<Option<Table>> {
    let first = match copy(disk, len, 1) {
        Ok(Some(table)) => return Ok(Some(table)),
        Ok(None) if !expected => return Ok(None),
        Ok(None) => "it has no signature".to_owned(),
        Err(error @ DiskError::Read { .. }) => return Err(error),
        Err(error) => error.to_string(),
    };
    match copy(disk, len, len / SECTOR - 1) {
        Ok(Some(table)) => Ok(Some(Table { repaired: Some(first), ..table })),
        Ok(None) => Err(damaged("table", format!("{first}; and there is no backup at the end of the disk"))),
        Err(error) => Err(damaged("table", format!("{first}; and its backup: {error}"))),
    }
}

fn damaged(what: impl Into<String>, why: impl Into<String>) -> DiskError {
    DiskError::Damaged { format: NAME, what: what.into(), why: why.into() }
}

fn copy(disk: &(impl ReadAt + ?Sized), len: u64, lba: u64) -> Result<Option<Table>> {
    let mut h = [0; 512];
    bytes(disk, "partition table", &mut h, lba * SECTOR)?;
    if !h.starts_with(SIGNATURE) {
        return Ok(None);
    }
    let size = u32_le(&h, 12) as usize;
    if !(92..=512).contains(&size) {
        return Err(damaged("header", format!("it says that it has {size} bytes")));
    }
    let sum = u32_le(&h, 16);
    h[16..20].fill(0);
    if crc32fast::hash(&h[..size]) != sum || u64_le(&h, 24) != lba {
        return Err(damaged("header", "its checksum or place is wrong"));
    }
    let (array_at, count, entry_size) = (u64_le(&h, 72), u32_le(&h, 80), u32_le(&h, 84));
    if count > MAX_ENTRIES || !(128..=4096).contains(&entry_size) || entry_size % 8 != 0 {
        return Err(damaged("header", format!("{count} entries of {entry_size} bytes")));
    }
    let array_at = array_at.checked_mul(SECTOR).filter(|at| *at < len);
    let array_at = array_at.ok_or_else(|| damaged("entries", "they are beyond the end of the disk"))?;
    let mut array = vec![0; count as usize * entry_size as usize];
    if array_at + array.len() as u64 > len {
        return Err(damaged("entries", "they are beyond the end of the disk"));
    }
    bytes(disk, "partitions", &mut array, array_at)?;
    if crc32fast::hash(&array) != u32_le(&h, 88) {
        return Err(damaged("entries", "their checksum is wrong"));
    }
    let mut partitions = Vec::new();
    for (i, e) in array.chunks_exact(entry_size as usize).enumerate() {
        partitions.extend(parse(i as u32 + 1, e)?);
    }
    check(NAME, &partitions, SECTOR..len)?;
    Ok(Some(Table { scheme: Scheme::Gpt(guid(&h, 56)), partitions, repaired: None }))
}

fn guid(data: &[u8], at: usize) -> Guid {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&data[at..at + 16]);
    Guid::from_disk(bytes)
}

fn parse(number: u32, e: &[u8]) -> Result<Option<Partition>> {
    if e[..16] == [0; 16] {
        return Ok(None);
    }
    let (first, last) = (u64_le(e, 32), u64_le(e, 40));
    let end = last.checked_add(1).and_then(|end| end.checked_mul(SECTOR)).filter(|_| last >= first);
    let end = end.ok_or_else(|| damaged(format!("partition {number}"), "it ends before it begins"))?;
    let name: Vec<u16> =
        e[56..128].as_chunks::<2>().0.iter().map(|c| u16::from_le_bytes(*c)).take_while(|c| *c != 0).collect();
    Ok(Some(Partition {
        number,
        kind: Kind::Gpt(guid(e, 0)),
        id: Some(guid(e, 16)),
        name: String::from_utf16_lossy(&name),
        attributes: u64_le(e, 48),
        start: first * SECTOR,
        len: end - first * SECTOR,
    }))
}

#[cfg(test)]
mod tests {
    use super::super::{kind, read as read_table};
    use super::*;

    fn sample() -> (Vec<u8>, Vec<Partition>) {
        let len = 16 << 20;
        let mut disk = vec![0; len];
        let part = |number, kind, start: u64, len: u64| Partition {
            number,
            kind: Kind::Gpt(kind),
            id: Some(Guid::derive([1; 16], &format!("p{number}"))),
            name: format!("part {number} é"),
            attributes: 0,
            start: start << 20,
            len: len << 20,
        };
        let parts = vec![part(1, kind::BIOS_BOOT, 1, 1), part(2, kind::ESP, 2, 4), part(7, kind::ROOT_X86_64, 6, 9)];
        write(&mut disk, len as u64, Guid::derive([1; 16], "disk"), &parts).unwrap();
        (disk, parts)
    }

    #[test]
    fn what_is_written_is_read() {
        let (disk, parts) = sample();
        let table = read_table(&disk).unwrap().unwrap();
        assert_eq!(table.partitions, parts);
        assert_eq!(table.scheme, Scheme::Gpt(Guid::derive([1; 16], "disk")));
        assert_eq!(table.repaired, None);
    }

    #[test]
    fn the_backup_is_read_when_the_first_is_damaged() {
        for at in [512 + 40, 1024 + 33, 512] {
            let (mut disk, parts) = sample();
            disk[at] ^= 1;
            let table = read_table(&disk).unwrap().unwrap();
            assert_eq!(table.partitions, parts);
            assert!(table.repaired.is_some());
            let end = disk.len();
            disk[end - 500] ^= 1;
            assert!(read_table(&disk).unwrap_err().to_string().contains("backup"));
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (_, mut parts) = sample();
        let mut out = Vec::new();
        let disk = Guid([0; 16]);
        assert!(write(&mut out, 15 << 20, disk, &parts).unwrap_err().to_string().contains("beyond"));
        parts[1].start -= 512;
        assert!(write(&mut out, 16 << 20, disk, &parts).unwrap_err().to_string().contains("another"));
        parts[1].number = 129;
        assert!(write(&mut out, 16 << 20, disk, &parts[1..]).is_err());
        assert!(write(&mut out, 1000, disk, &[]).is_err());
        parts[1].number = 2;
        parts[1].name = "x".repeat(37);
        assert!(write(&mut out, 16 << 20, disk, &parts[1..]).unwrap_err().to_string().contains("36"));
        assert!(out.is_empty());
    }

    #[test]
    fn no_input_makes_it_fail_badly() {
        let (disk, _) = sample();
        for at in 512..604 {
            for value in [0, 0xff] {
                let mut bad = disk.clone();
                bad[at] = value;
                bad[512 + 16..512 + 20].fill(0);
                let sum = crc32fast::hash(&bad[512..604]);
                bad[512 + 16..512 + 20].copy_from_slice(&sum.to_le_bytes());
                let _ = read_table(&bad);
            }
        }
    }
}
