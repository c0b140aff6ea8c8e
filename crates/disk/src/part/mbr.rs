//! The older table: four partitions in the first sector, and a chain of further ones in an extended partition.

use super::{Kind, Partition, SECTOR, Scheme, Table, bytes, check, u32_le};
use crate::error::{DiskError, Result};
use crate::io::ReadAt;

const NAME: &str = "partition table (MBR)";
const ENTRIES: usize = 446;
/// Linux stops there too.
const MAX_LOGICAL: u32 = 255;

fn entry(sector: &[u8; 512], slot: usize) -> (u8, u64, u64) {
    let at = ENTRIES + 16 * slot;
    (sector[at + 4], u64::from(u32_le(sector, at + 8)), u64::from(u32_le(sector, at + 12)))
}

fn is_extended(kind: u8) -> bool {
    matches!(kind, 0x05 | 0x0f | 0x85)
}

/// Whether it only says that a GPT follows.
pub(super) fn is_protective(sector: &[u8; 512]) -> bool {
    sector[510..] == [0x55, 0xaa] && (0..4).any(|slot| entry(sector, slot).0 == 0xee)
}

pub(super) fn read(disk: &(impl ReadAt + ?Sized), len: u64, first: &[u8; 512]) -> Result<Option<Table>> {
    if first[510..] != [0x55, 0xaa] || looks_like_file_system(first) {
        return Ok(None);
    }
    let mut partitions = Vec::new();
    for slot in 0..4 {
        let (kind, start, count) = entry(first, slot);
        if kind == 0 || count == 0 {
            continue;
        }
        if is_extended(kind) {
            logical(disk, len, start, &mut partitions)?;
        } else {
            partitions.push(partition(slot as u32 + 1, kind, start, count));
        }
    }
    check(NAME, &partitions, SECTOR..len)?;
    partitions.sort_by_key(|p| p.number);
    Ok(Some(Table { scheme: Scheme::Mbr(u32_le(first, 440)), partitions, repaired: None }))
}

/// A boot sector of FAT or NTFS has the same end. In a table every entry is marked with 0 or 0x80.
fn looks_like_file_system(first: &[u8; 512]) -> bool {
    (0..4).any(|slot| first[ENTRIES + 16 * slot] & 0x7f != 0) || (0..4).all(|slot| entry(first, slot).0 == 0)
}

fn partition(number: u32, kind: u8, start: u64, count: u64) -> Partition {
    let (start, len) = (start * SECTOR, count * SECTOR);
    Partition { number, kind: Kind::Mbr(kind), id: None, name: String::new(), attributes: 0, start, len }
}

/// Follows the chain: each link has a partition, counted from the link, and the next link, counted from the first.
fn logical(disk: &(impl ReadAt + ?Sized), len: u64, first: u64, found: &mut Vec<Partition>) -> Result<()> {
    let damaged = |why: &str| DiskError::Damaged { format: NAME, what: "extended partition".into(), why: why.into() };
    let mut link = first;
    let mut number = 5;
    loop {
        if link == 0 || link * SECTOR + SECTOR > len {
            return Err(damaged("it leads beyond the end of the disk"));
        }
        let mut sector = [0; 512];
        bytes(disk, "extended partition", &mut sector, link * SECTOR)?;
        if sector[510..] != [0x55, 0xaa] {
            return Err(damaged("a link of its chain has no signature"));
        }
        let (kind, start, count) = entry(&sector, 0);
        if kind != 0 && count != 0 {
            found.push(partition(number, kind, link + start, count));
            number += 1;
        }
        let (kind, next, _) = entry(&sector, 1);
        if !is_extended(kind) || next == 0 {
            return Ok(());
        }
        // Links always lead forward, so a chain cannot be a circle.
        if first + next <= link || number > MAX_LOGICAL {
            return Err(damaged("its chain goes in a circle or does not end"));
        }
        link = first + next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(disk: &mut [u8], sector: usize, slot: usize, kind: u8, start: u32, count: u32) {
        let at = sector * 512 + ENTRIES + 16 * slot;
        disk[at + 4] = kind;
        disk[at + 8..at + 12].copy_from_slice(&start.to_le_bytes());
        disk[at + 12..at + 16].copy_from_slice(&count.to_le_bytes());
        disk[sector * 512 + 510..sector * 512 + 512].copy_from_slice(&[0x55, 0xaa]);
    }

    fn parse(disk: &Vec<u8>) -> Result<Option<Table>> {
        super::super::read(disk)
    }

    #[test]
    fn primary_and_logical() {
        let mut disk = vec![0; 100 * 512];
        put(&mut disk, 0, 0, 0x83, 1, 10);
        put(&mut disk, 0, 1, 0x05, 20, 60);
        put(&mut disk, 20, 0, 0x83, 1, 5);
        put(&mut disk, 20, 1, 0x05, 30, 10);
        put(&mut disk, 50, 0, 0x82, 2, 4);
        let table = parse(&disk).unwrap().unwrap();
        let seen: Vec<_> = table.partitions.iter().map(|p| (p.number, p.start / 512, p.len / 512)).collect();
        assert_eq!(seen, [(1, 1, 10), (5, 21, 5), (6, 52, 4)]);
    }

    #[test]
    fn what_is_damaged_is_said() {
        let mut circle = vec![0; 100 * 512];
        put(&mut circle, 0, 0, 0x05, 20, 60);
        put(&mut circle, 20, 0, 0x83, 1, 5);
        put(&mut circle, 20, 1, 0x05, 0, 10);
        assert!(parse(&circle).unwrap().is_some(), "a link to sector 0 of the chain is its end");
        put(&mut circle, 20, 1, 0x05, 30, 10);
        put(&mut circle, 50, 1, 0x05, 10, 10);
        assert!(parse(&circle).unwrap_err().to_string().contains("circle"));
        let mut far = vec![0; 100 * 512];
        put(&mut far, 0, 0, 0x83, 90, 11);
        assert!(parse(&far).unwrap_err().to_string().contains("beyond"));
        put(&mut far, 0, 0, 0x83, 50, 11);
        put(&mut far, 0, 1, 0x83, 60, 11);
        assert!(parse(&far).unwrap_err().to_string().contains("another"));
        assert!(parse(&vec![0; 5120]).unwrap().is_none());
        assert!(parse(&Vec::new()).unwrap().is_none());
    }
}
