//! Disks that Kiln writes are read by the tools everybody has, and the other way round.

mod boots;
mod btrfs;
mod ext4;
mod filesystems;
mod formats;
mod reading;
mod root;
mod tables;
mod tools;
