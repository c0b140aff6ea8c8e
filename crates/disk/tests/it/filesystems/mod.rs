//! xfs and btrfs as Kiln writes them, by their own tools, the kernel, and GRUB as Debian has it.

mod both;
mod btrfs;
mod kind;
mod xfs;
