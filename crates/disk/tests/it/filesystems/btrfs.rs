//! What only btrfs has.

use kiln_oci::{EntryKind, Meta};

use super::kind::{Kind, MIB, options};
use crate::ext4::tree::{Tree, blank, same_as_mounted_but};
use crate::tools::{run, text};

#[test]
fn it_says_what_it_is() {
    let image = blank(1024 * MIB);
    Kind::Btrfs.write(&Tree::sample(), image.reopen().unwrap(), options(1024 * MIB)).unwrap();
    let said = run("btrfs", &["inspect-internal", "dump-super", text(image.path())]);
    for line in ["11223344-5566-4788-99aa-bbccddeeff01", "kiln-root", "[match]", "FREE_SPACE_TREE_VALID"] {
        assert!(said.contains(line), "{said}");
    }
    let copy = run("btrfs", &["inspect-internal", "dump-super", "-s", "1", text(image.path())]);
    assert!(copy.contains("67108864") && copy.contains("[match]"), "{copy}");
}

#[test]
fn names_with_the_same_sum() {
    // Among so many names some have the same.
    let mut seen = std::collections::HashMap::new();
    let mut tree = Tree::default();
    tree.dir("d").file("one", b"1");
    let mut pairs = 0;
    for n in 0u32..300_000 {
        let name = format!("{n:x}-{:x}", n.wrapping_mul(2_654_435_761));
        let sum = crc32c(!1, name.as_bytes());
        if let Some(other) = seen.insert(sum, name.clone()) {
            for name in [other, name] {
                tree.file(&format!("d/{name}"), name.as_bytes());
                let target = b"one".to_vec();
                tree.add(&format!("links/{name}"), EntryKind::Hardlink { target }, Meta::default(), b"");
            }
            pairs += 1;
        }
    }
    assert!(pairs > 3, "{pairs}");
    let image = Kind::Btrfs.image(&tree, 128 * MIB);
    let mounted = Kind::Btrfs.mount(image.path(), "loop,ro");
    same_as_mounted_but(&tree, mounted.path(), 1);
}

/// CRC-32C, bit by bit.
fn crc32c(start: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(start, |crc, b| {
        (0..8).fold(crc ^ u32::from(*b), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0x82F6_3B78 } else { 0 })
    })
}
