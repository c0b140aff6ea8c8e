//! Partition tables: which partition has this identifier or name. UEFI specification 2.10, 5.3; and the old kind, whose
//! partitions are the disk's signature and a number.

use alloc::format;
use alloc::string::String;
use alloc::vec;

use super::probe::{ReadAt, Wanted};

/// As many entries as are looked at.
const MOST: u32 = 1024;

/// The number of the partition of a disk that is wanted. None for what is wanted by something else than its table.
pub fn partition(read: &mut ReadAt<'_>, wanted: &Wanted) -> Option<u32> {
    if let Wanted::Device(_) | Wanted::Uuid(_) | Wanted::Label(_) = wanted {
        return None;
    }
    let found = [512, 4096].into_iter().find_map(|sector| gpt(read, sector, wanted));
    found.or_else(|| old(read, wanted))
}

fn gpt(read: &mut ReadAt<'_>, sector: u64, wanted: &Wanted) -> Option<u32> {
    let mut header = [0; 92];
    if !read(sector, &mut header) || !header.starts_with(b"EFI PART") {
        return None;
    }
    let number = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let first = u64::from(number(72)) | u64::from(number(76)) << 32;
    let (count, size) = (number(80).min(MOST), number(84));
    if !(128..=4096).contains(&size) {
        return None;
    }
    let mut entry = vec![0; size as usize];
    for index in 0..count {
        let at = first.checked_mul(sector)?.checked_add(u64::from(index) * u64::from(size))?;
        if !read(at, &mut entry) {
            return None;
        }
        if entry[..16].iter().all(|b| *b == 0) {
            continue;
        }
        let same = match wanted {
            Wanted::Partition(id) => *id == guid(entry[16..32].try_into().ok()?),
            Wanted::PartitionLabel(label) => *label == name(&entry[56..128]),
            _ => false,
        };
        if same {
            return Some(index + 1);
        }
    }
    None
}

/// The first three groups of a GUID are little-endian.
fn guid(id: [u8; 16]) -> String {
    let mut id = id;
    id[..4].reverse();
    id[4..6].reverse();
    id[6..8].reverse();
    super::probe::uuid(id)
}

fn name(bytes: &[u8]) -> String {
    let units = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).take_while(|u| *u != 0);
    char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

fn old(read: &mut ReadAt<'_>, wanted: &Wanted) -> Option<u32> {
    let Wanted::Partition(wanted) = wanted else { return None };
    let mut sector = [0; 512];
    if !read(0, &mut sector) || sector[510..] != [0x55, 0xaa] {
        return None;
    }
    let signature = u32::from_le_bytes([sector[440], sector[441], sector[442], sector[443]]);
    let number = wanted.strip_prefix(&format!("{signature:08x}-"))?;
    u32::from_str_radix(number, 16).ok().filter(|n| (1..=255).contains(n) && signature != 0)
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn find(disk: &[u8], wanted: &str) -> Option<u32> {
        let wanted = Wanted::parse(wanted).unwrap();
        let mut read = |at: u64, into: &mut [u8]| {
            let Some(part) = usize::try_from(at).ok().and_then(|at| disk.get(at..)?.get(..into.len())) else {
                return false;
            };
            into.copy_from_slice(part);
            true
        };
        partition(&mut read, &wanted)
    }

    fn with_gpt(sector: usize, size: u32, count: u32) -> Vec<u8> {
        let mut disk = vec![0; 8 * sector];
        disk[sector..sector + 8].copy_from_slice(b"EFI PART");
        disk[sector + 72..sector + 80].copy_from_slice(&2_u64.to_le_bytes());
        disk[sector + 80..sector + 84].copy_from_slice(&count.to_le_bytes());
        disk[sector + 84..sector + 88].copy_from_slice(&size.to_le_bytes());
        // The third entry.
        let at = 2 * sector + 2 * size as usize;
        if let Some(entry) = disk.get_mut(at..at + 128) {
            entry[0] = 1;
            entry[16..32].copy_from_slice(&[0x33, 0x22, 0x11, 0, 0x55, 0x44, 0x77, 0x66, 8, 9, 10, 11, 12, 13, 14, 15]);
            entry[56..60].copy_from_slice(&[b'r', 0, 0xe4, 0]);
        }
        disk
    }

    #[test]
    fn identifiers_and_names_of_gpt() {
        for sector in [512, 4096] {
            let disk = with_gpt(sector, 128, 128);
            assert_eq!(find(&disk, "PARTUUID=00112233-4455-6677-0809-0A0B0C0D0E0F"), Some(3));
            assert_eq!(find(&disk, "PARTLABEL=rä"), Some(3));
            assert_eq!(find(&disk, "PARTLABEL=r"), None);
            assert_eq!(find(&disk, "UUID=00112233-4455-6677-0809-0A0B0C0D0E0F"), None);
        }
    }

    #[test]
    fn signatures_of_the_old_kind() {
        let mut disk = vec![0; 512];
        disk[440..444].copy_from_slice(&0x1234_abcd_u32.to_le_bytes());
        assert_eq!(find(&disk, "PARTUUID=1234abcd-02"), None, "no table");
        disk[510..].copy_from_slice(&[0x55, 0xaa]);
        assert_eq!(find(&disk, "PARTUUID=1234ABCD-0b"), Some(11));
        assert_eq!(find(&disk, "PARTUUID=1234abcd-00"), None);
        assert_eq!(find(&disk, "PARTUUID=1234abce-01"), None);
    }

    #[test]
    fn tables_that_lie_lead_nowhere() {
        let id = "PARTUUID=00112233-4455-6677-0809-0a0b0c0d0e0f";
        for (size, count) in [(0, 128), (127, 3), (5000, 3), (u32::MAX, u32::MAX), (4096, u32::MAX), (128, 2), (128, 0)]
        {
            assert_eq!(find(&with_gpt(512, size, count), id), None, "{size} {count}");
        }
        let mut disk = with_gpt(512, 128, 128);
        disk[512 + 72..512 + 80].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(find(&disk, id), None);
    }
}
