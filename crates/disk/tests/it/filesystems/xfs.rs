//! What only xfs has.

use super::kind::{Kind, MIB, options};
use crate::ext4::tree::{Tree, blank, noise};
use crate::tools::{run, text};

#[test]
fn it_is_what_mkfs_would_make() {
    for size in [64 * MIB, 400 * MIB, 3000 * MIB] {
        let (ours, theirs) = (Kind::Xfs.image(&Tree::default(), size), blank(size));
        run("mkfs.xfs", &["-q", "--unsupported", text(theirs.path())]);
        let lines = |path: &std::path::Path| {
            let said = run("xfs_db", &["-r", "-c", "sb 0", "-c", "p", text(path)]);
            let left_out = ["uuid", "fname", "crc", "fdblocks", "logblocks", "logstart"];
            let kept = said.lines().filter(|line| !left_out.iter().any(|start| line.starts_with(start)));
            kept.map(str::to_owned).collect::<Vec<_>>()
        };
        // The log of small ones is larger than theirs.
        assert_eq!(lines(ours.path()), lines(theirs.path()));
    }
}

#[test]
fn more_inodes_than_one_block_of_a_tree_has() {
    let mut tree = Tree::default();
    for n in 0..40_000 {
        tree.link(&format!("links/{}/{n}", n % 90), "nowhere");
    }
    let image = Kind::Xfs.image(&tree, 200 * MIB);
    let said = run("xfs_db", &["-r", "-c", "agi 0", "-c", "p level root", text(image.path())]);
    assert!(said.contains("level = 2"), "{said}");
    // As many parts of a group that are free as do not fit into one block.
    let mut parts = Tree::default();
    for n in 0..60_000 {
        parts.file(&format!("d{}/{n}", n % 50), &noise(1 + n % 3 * 4096, n as u64));
    }
    let image = blank(900 * MIB);
    let writer = Kind::Xfs.writer(image.reopen().unwrap(), options(900 * MIB), None).unwrap();
    super::kind::fill(writer, &parts).unwrap();
    Kind::Xfs.check(image.path());
}
