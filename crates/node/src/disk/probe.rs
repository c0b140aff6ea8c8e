//! What is on a disk: kinds and names of file systems, and what firmware starts.

use std::sync::Arc;

use kiln_checks::system::media::{Boots, Media, Scheme, Volume};
use kiln_disk::fat;
use kiln_disk::image::{Source, is_zero};
use kiln_disk::io::ReadAt;
use kiln_disk::part::{self, Guid, Kind, Partition, SECTOR, Table, kind};

use super::Part;

/// Where a UEFI without entries of its own looks.
const LOADERS: [&str; 2] = ["EFI/BOOT/BOOTX64.EFI", "EFI/BOOT/BOOTAA64.EFI"];
/// The type of an EFI system partition in an MBR.
const MBR_ESP: u8 = 0xef;

/// What a partition has, by its first bytes.
pub(super) fn volume(part: Option<&Partition>, window: Part) -> (Volume, Part) {
    let mut volume = Volume {
        number: part.map(|p| p.number),
        partuuid: part.and_then(|p| p.id).map(|id| id.to_string().to_ascii_lowercase()),
        partlabel: part.map(|p| p.name.clone()).filter(|name| !name.is_empty()),
        ..Volume::default()
    };
    let head = bytes(&window, 0, 4096);
    let text = |bytes: &[u8]| {
        let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
        Some(String::from_utf8_lossy(&bytes[..end]).trim_end().to_owned()).filter(|text| !text.is_empty())
    };
    let id = |bytes: &[u8]| {
        let id: [u8; 16] = bytes.try_into().ok()?;
        Some(Guid(id).to_string().to_ascii_lowercase())
    };
    if head.get(1080..1082) == Some(b"\x53\xef") {
        // A journal, and what came with ext4, tell the three apart: `fstab` may call all of them ext4.
        (volume.kind, volume.uuid, volume.label) = ("ext4".to_owned(), id(&head[1128..1144]), text(&head[1144..1160]));
    } else if head.starts_with(b"XFSB") {
        (volume.kind, volume.uuid, volume.label) = ("xfs".to_owned(), id(&head[32..48]), text(&head[108..120]));
    } else if head.get(4086..4096) == Some(b"SWAPSPACE2") {
        (volume.kind, volume.uuid, volume.label) = ("swap".to_owned(), id(&head[1036..1052]), text(&head[1052..1068]));
    } else if let Ok(reader) = fat::Reader::open(window.clone()) {
        let at = if reader.width() == fat::Width::Fat32 { 67 } else { 39 };
        let serial = u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        volume.kind = "vfat".to_owned();
        volume.uuid = Some(format!("{:04X}-{:04X}", serial >> 16, serial & 0xffff));
        volume.label = Some(reader.label().to_owned()).filter(|label| !label.is_empty() && label != "NO NAME");
    } else {
        let super_block = bytes(&window, 65_536, 1024);
        if super_block.get(64..72) == Some(b"_BHRfS_M") {
            let label = text(&super_block[299..555]);
            (volume.kind, volume.uuid, volume.label) = ("btrfs".to_owned(), id(&super_block[32..48]), label);
        }
    }
    (volume, window)
}

/// Up to `len` bytes; fewer where it ends before, none where it cannot be read.
fn bytes(from: &dyn ReadAt, offset: u64, len: usize) -> Vec<u8> {
    let there = from.len().unwrap_or(0).saturating_sub(offset);
    let mut buf = vec![0; usize::try_from(there).unwrap_or(usize::MAX).min(len)];
    match from.read_exact_at(&mut buf, offset) {
        Ok(()) => buf,
        Err(_) => Vec::new(),
    }
}

/// What the disk has besides its files.
pub(super) fn media(
    disk: &Arc<dyn Source>,
    table: Option<&Table>,
    root: Option<u32>,
    parts: &[(Volume, Part)],
) -> Media {
    let volumes = parts.iter().map(|(volume, _)| volume.clone()).collect();
    let Some(table) = table else {
        let none = || Boots::No("there is no partition table".to_owned());
        return Media { volumes, bios: none(), uefi: none(), ..Media::default() };
    };
    let is_esp = |p: &&Partition| p.kind == Kind::Gpt(kind::ESP) || p.kind == Kind::Mbr(MBR_ESP);
    let esp = table.partitions.iter().find(is_esp).map(|p| p.number);
    let esp_part = parts.iter().find(|(volume, _)| esp.is_some() && volume.number == esp);
    Media {
        scheme: match table.scheme {
            part::Scheme::Gpt(_) => Scheme::Gpt,
            part::Scheme::Mbr(_) => Scheme::Mbr,
        },
        damage: damage(disk, table),
        root,
        esp,
        bios: bios(disk, table),
        uefi: uefi(esp_part.map(|(_, window)| window)),
        volumes,
    }
}

/// What is wrong with a table that could be read.
fn damage(disk: &Arc<dyn Source>, table: &Table) -> Vec<String> {
    let mut found: Vec<String> =
        table.repaired.iter().map(|why| format!("the first copy of the table is damaged: {why}")).collect();
    let part::Scheme::Gpt(_) = table.scheme else { return found };
    let len = disk.len().unwrap_or(0);
    let last = (len / SECTOR).saturating_sub(1) * SECTOR;
    // Where the first copy is whole, only the header of the other was not looked at yet.
    let header = bytes(disk, last, 512);
    let number = |at: usize| header.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes);
    let size = usize::try_from(number(12)).unwrap_or(0);
    let mut summed = header.clone();
    if let Some(sum) = summed.get_mut(16..20) {
        sum.fill(0);
    }
    let whole = header.starts_with(b"EFI PART")
        && (92..=512).contains(&size)
        && summed.get(..size).is_some_and(|header| crc32fast::hash(header) == number(16));
    if !whole {
        found.push("its copy at the end of the disk is missing or damaged".to_owned());
    }
    found
}

/// What a BIOS starts: the first sector, and what it loads.
fn bios(disk: &Arc<dyn Source>, table: &Table) -> Boots {
    let no = |why: &str| Boots::No(why.to_owned());
    let first = bytes(disk, 0, 512);
    let code = first.get(..440).unwrap_or_default();
    if code.is_empty() || is_zero(code) {
        return no("the first sector has no program");
    }
    if !code.windows(4).any(|word| word == b"GRUB") {
        return Boots::Yes("a program in the first sector that is not GRUB's".to_owned());
    }
    // GRUB's boot.img has the sector of its core image at 0x5c.
    let sector = u64::from_le_bytes(first[0x5c..0x64].try_into().unwrap_or_default());
    let at = sector.saturating_mul(SECTOR);
    let core = bytes(disk, at, 512);
    if core.is_empty() || is_zero(&core) {
        return Boots::No(format!("GRUB's first sector loads sector {sector}, which is empty"));
    }
    let inside = |p: &&Partition| p.kind == Kind::Gpt(kind::BIOS_BOOT) && (p.start..p.start + p.len).contains(&at);
    match table.scheme {
        part::Scheme::Gpt(_) if !table.partitions.iter().any(|p| inside(&p)) => {
            Boots::No(format!("GRUB's first sector loads sector {sector}, outside of any BIOS boot partition"))
        }
        _ => Boots::Yes("GRUB".to_owned()),
    }
}

/// What UEFI starts.
fn uefi(esp: Option<&Part>) -> Boots {
    let Some(window) = esp else { return Boots::No("there is no EFI system partition".to_owned()) };
    let reader = match fat::Reader::open(window.clone()) {
        Ok(reader) => reader,
        Err(e) => return Boots::No(format!("the EFI system partition cannot be read: {e}")),
    };
    let entries = match reader.entries() {
        Ok(entries) => entries,
        Err(e) => return Boots::No(format!("the EFI system partition cannot be read: {e}")),
    };
    // FAT does not tell upper and lower case apart.
    let found = entries.iter().find(|entry| LOADERS.iter().any(|path| entry.path.eq_ignore_ascii_case(path)));
    match found {
        None => Boots::No(format!("the EFI system partition has no {}", LOADERS[0])),
        Some(entry) if entry.directory || entry.len == 0 => Boots::No(format!("{} is empty", entry.path)),
        Some(entry) => Boots::Yes(entry.path.clone()),
    }
}
