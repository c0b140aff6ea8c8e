//! File systems by their superblocks: which one, its identifier, its name.
//!
//! ```text
//! ext2, 3, 4   at 1024: magic 0xEF53 at 56, identifier at 104, label of 16 bytes at 120
//! xfs          at 0: magic XFSB, identifier at 32, label of 12 bytes at 108
//! btrfs        at 65536: identifier at 32, magic _BHRfS_M at 64, label of 256 bytes at 299
//! ```
//! ext4's driver mounts all three of ext.

use alloc::format;
use alloc::string::String;

/// Reads exactly at a place; false when that is not possible.
pub type ReadAt<'a> = dyn FnMut(u64, &mut [u8]) -> bool + 'a;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// As the kernel names it.
    pub kind: &'static str,
    /// As `UUID=` has it.
    pub uuid: String,
    /// As `LABEL=` has it.
    pub label: String,
}

/// What is at the beginning of a device; none for what the program does not know.
pub fn superblock(read: &mut ReadAt<'_>) -> Option<Found> {
    let mut block = [0; 1024];
    if read(0, &mut block) && block.starts_with(b"XFSB") {
        return found("xfs", &block[32..48], &block[108..120]);
    }
    if read(1024, &mut block) && block[56..58] == [0x53, 0xef] {
        return found("ext4", &block[104..120], &block[120..136]);
    }
    if read(65536, &mut block) && &block[64..72] == b"_BHRfS_M" {
        return found("btrfs", &block[32..48], &block[299..555]);
    }
    None
}

fn found(kind: &'static str, id: &[u8], label: &[u8]) -> Option<Found> {
    let end = label.iter().position(|b| *b == 0).unwrap_or(label.len());
    let label = String::from_utf8_lossy(&label[..end]).into_owned();
    Some(Found { kind, uuid: uuid(id.try_into().ok()?), label })
}

/// Sixteen bytes as people write them.
pub fn uuid(id: [u8; 16]) -> String {
    let n = u128::from_be_bytes(id);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        n >> 96,
        n >> 80 & 0xffff,
        n >> 64 & 0xffff,
        n >> 48 & 0xffff,
        n & 0xffff_ffff_ffff
    )
}

/// What the kernel's command line says of the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// `/dev/…`.
    Device(String),
    /// `UUID=`.
    Uuid(String),
    /// `LABEL=`.
    Label(String),
    /// `PARTUUID=`.
    Partition(String),
    /// `PARTLABEL=`.
    PartitionLabel(String),
}

impl Wanted {
    /// The device that `root=` names.
    ///
    /// # Errors
    /// When it is in another form: the reason.
    pub fn parse(root: &str) -> Result<Wanted, String> {
        let unquoted = |text: &str| String::from(text.trim_matches('"'));
        let small = |text: &str| unquoted(text).to_ascii_lowercase();
        let wanted = match root.split_once('=') {
            Some(("UUID", id)) => Wanted::Uuid(small(id)),
            Some(("LABEL", label)) => Wanted::Label(unquoted(label)),
            Some(("PARTUUID", id)) => Wanted::Partition(small(id)),
            Some(("PARTLABEL", label)) => Wanted::PartitionLabel(unquoted(label)),
            None if root.starts_with("/dev/") && !root.contains("/../") => Wanted::Device(String::from(root)),
            _ if root.is_empty() => return Err(String::from("the kernel's command line has no root=")),
            _ => {
                let known = "UUID=, LABEL=, PARTUUID=, PARTLABEL= or /dev/…";
                return Err(format!("root={root}: this initramfs knows {known}"));
            }
        };
        match &wanted {
            Wanted::Uuid(text) | Wanted::Label(text) | Wanted::Partition(text) | Wanted::PartitionLabel(text)
                if text.is_empty() =>
            {
                Err(format!("root={root} names nothing"))
            }
            _ => Ok(wanted),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn look(disk: &[u8]) -> Option<Found> {
        superblock(&mut |at, into| {
            let at = usize::try_from(at).unwrap();
            let Some(part) = disk.get(at..at + into.len()) else { return false };
            into.copy_from_slice(part);
            true
        })
    }

    fn disk(parts: &[(usize, &[u8])]) -> Vec<u8> {
        let mut disk = alloc::vec![0; 70_000];
        parts.iter().for_each(|(at, bytes)| disk[*at..*at + bytes.len()].copy_from_slice(bytes));
        disk
    }

    const ID: [u8; 16] = [0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff, 0];
    const UUID: &str = "11223344-5566-7788-99aa-bbccddeeff00";

    #[test]
    fn each_kind_is_known() {
        let found = |kind, label: &str| Some(Found { kind, uuid: UUID.into(), label: label.into() });
        let ext = disk(&[(1024 + 56, &[0x53, 0xef]), (1024 + 104, &ID), (1024 + 120, b"root")]);
        assert_eq!(look(&ext), found("ext4", "root"));
        let full = disk(&[(1024 + 56, &[0x53, 0xef]), (1024 + 104, &ID), (1024 + 120, &[b'x'; 40])]);
        assert_eq!(look(&full), found("ext4", "xxxxxxxxxxxxxxxx"));
        assert_eq!(look(&disk(&[(0, b"XFSB"), (32, &ID), (108, b"data")])), found("xfs", "data"));
        let btrfs = disk(&[(65536 + 64, b"_BHRfS_M"), (65536 + 32, &ID), (65536 + 299, b"\xffb")]);
        assert_eq!(look(&btrfs), found("btrfs", "\u{fffd}b"));
        for none in [&disk(&[])[..], &[], &[0; 1500], b"XFSB"] {
            assert_eq!(look(none), None);
        }
    }

    #[test]
    fn roots_are_named_in_five_ways() {
        let of = |text: &str| Wanted::parse(text);
        assert_eq!(of("UUID=11223344-5566-7788-99AA-BBCCDDEEFF00"), Ok(Wanted::Uuid(UUID.into())));
        assert_eq!(of("LABEL=\"Root\""), Ok(Wanted::Label("Root".into())));
        assert_eq!(of("PARTUUID=ABCD-01"), Ok(Wanted::Partition("abcd-01".into())));
        assert_eq!(of("/dev/vda1"), Ok(Wanted::Device("/dev/vda1".into())));
        for (text, says) in [
            ("", "no root="),
            ("UUID=", "names nothing"),
            ("8:1", "this initramfs knows"),
            ("ID=1", "knows"),
            ("vda", "knows"),
            ("/dev/../etc", "knows"),
        ] {
            assert!(of(text).unwrap_err().contains(says), "{text}");
        }
    }
}
