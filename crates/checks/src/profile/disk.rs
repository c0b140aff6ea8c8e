//! `disk`: a disk that boots. Kiln asks it of every disk, besides the profiles that are named.

use super::Rule;

/// The table.
pub(super) fn rules() -> Vec<Rule> {
    ["disk.table", "disk.loader", "disk.esp", "disk.fstab", "disk.root", "boot.initramfs"].map(Rule::of).into()
}
