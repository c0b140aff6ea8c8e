//! xfs and btrfs as Kiln writes and reads them, by their own tools, the kernel, and GRUB as Debian has it.

mod both;
mod btrfs;
pub(crate) mod kind;
mod xfs;
mod xfs_hostile;
mod xfs_read;
