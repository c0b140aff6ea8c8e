//! What a partition holds, by the marks that formats leave in their first bytes.
//!
//! The marks are those of libblkid's documentation and of the formats' own descriptions: LUKS at the first byte, LVM's
//! label in one of the first four sectors, btrfs's superblock at 64 KiB.

use std::fmt;

use crate::io::ReadAt;

/// What a partition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// ext2, ext3 or ext4.
    Ext,
    /// XFS.
    Xfs,
    /// btrfs.
    Btrfs,
    /// FAT, as on an EFI system partition.
    Fat,
    /// A partition encrypted with LUKS.
    Luks,
    /// A physical volume of LVM.
    Lvm,
    /// A member of a software RAID.
    Raid,
    /// Swap space.
    Swap,
    /// squashfs.
    Squashfs,
    /// EROFS.
    Erofs,
    /// A file system of F2FS.
    F2fs,
    /// NTFS.
    Ntfs,
    /// A BitLocker volume.
    Bitlocker,
    /// ZFS is not looked for: nothing was recognised.
    Unknown,
    /// Nothing but zeros where marks would be.
    Empty,
}

/// Where a mark is, its bytes, and of what.
const MARKS: [(u64, &[u8], Content); 18] = [
    (0, b"LUKS\xba\xbe", Content::Luks),
    (24, b"LVM2 001", Content::Lvm),
    (512 + 24, b"LVM2 001", Content::Lvm),
    (1024 + 24, b"LVM2 001", Content::Lvm),
    (1536 + 24, b"LVM2 001", Content::Lvm),
    (0, &[0xfc, 0x4e, 0x2b, 0xa9], Content::Raid),
    (4096, &[0xfc, 0x4e, 0x2b, 0xa9], Content::Raid),
    (0, b"XFSB", Content::Xfs),
    (0x1_0040, b"_BHRfS_M", Content::Btrfs),
    (4086, b"SWAPSPACE2", Content::Swap),
    (0, b"hsqs", Content::Squashfs),
    (1024, &[0xe2, 0xe1, 0xf5, 0xe0], Content::Erofs),
    (1024, &[0x10, 0x20, 0xf5, 0xf2], Content::F2fs),
    (3, b"NTFS    ", Content::Ntfs),
    (3, b"-FVE-FS-", Content::Bitlocker),
    (1024 + 0x38, &[0x53, 0xef], Content::Ext),
    (54, b"FAT", Content::Fat),
    (82, b"FAT32", Content::Fat),
];

/// Marks are in these first bytes.
const HEAD: u64 = 0x1_0048;

impl Content {
    /// What `part` holds. What cannot be read has no mark.
    pub fn of(part: &(impl ReadAt + ?Sized)) -> Content {
        let len = part.len().unwrap_or(0).min(HEAD);
        let mut head = vec![0; usize::try_from(len).unwrap_or(0)];
        if part.read_exact_at(&mut head, 0).is_err() {
            return Content::Unknown;
        }
        let found = MARKS.iter().find(|(at, mark, _)| {
            let at = usize::try_from(*at).unwrap_or(usize::MAX);
            head.get(at..).is_some_and(|rest| rest.starts_with(mark))
        });
        match found {
            Some((.., content)) => *content,
            None if crate::image::is_zero(&head) => Content::Empty,
            None => Content::Unknown,
        }
    }

    /// Why no root can be read from it, when that is known.
    pub fn obstacle(self) -> Option<&'static str> {
        Some(match self {
            Content::Luks | Content::Bitlocker => "it is encrypted",
            Content::Lvm => "it belongs to LVM, whose volumes Kiln does not read",
            Content::Raid => "it is a member of a software RAID",
            Content::F2fs => "it is F2FS; Kiln reads ext2 to ext4, XFS and btrfs",
            Content::Squashfs | Content::Erofs => "its file system cannot be changed",
            _ => return None,
        })
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Content::Ext => "ext2, ext3 or ext4",
            Content::Xfs => "XFS",
            Content::Btrfs => "btrfs",
            Content::Fat => "FAT",
            Content::Luks => "encrypted (LUKS)",
            Content::Lvm => "LVM",
            Content::Raid => "software RAID",
            Content::Swap => "swap",
            Content::Squashfs => "squashfs",
            Content::Erofs => "EROFS",
            Content::F2fs => "F2FS",
            Content::Ntfs => "NTFS",
            Content::Bitlocker => "encrypted (BitLocker)",
            Content::Unknown => "something unknown",
            Content::Empty => "nothing",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_found_and_short_or_empty_parts_have_none() {
        for (at, mark, content) in MARKS {
            let mut part = vec![0; at as usize + mark.len()];
            part[at as usize..].copy_from_slice(mark);
            assert_eq!(Content::of(&part), content, "{at}");
            assert!(!content.to_string().is_empty());
        }
        assert_eq!(Content::of(&vec![0; 4096]), Content::Empty);
        assert_eq!(Content::of(&vec![7; 100_000]), Content::Unknown);
        assert_eq!(Content::of(&Vec::<u8>::new()), Content::Empty);
    }
}
