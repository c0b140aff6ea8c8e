//! Disks: partition tables, file systems, boot loaders and image formats, written and read without mounts.
//!
//! Nothing here needs root, a loop device or a tool: a disk is something that is read and written at offsets, and the
//! same input gives the same bytes. What is read is hostile: every number from a disk is checked before it is used.
//!
//! [`io`] what a disk is to the rest         [`error`] what can go wrong        [`ext4`] its writer and its reader
//! [`btrfs`] its writer and its reader     [`xfs`] its writer and its reader     [`files`] what the writers of file systems have in common     [`fs`] what readers do
//! [`image`] raw, qcow2, VHD, VMDK, tar.gz of Google's cloud       [`part`] GPT and MBR       [`fat`] its writer and its reader
//! [`boot`] kernels and boot loaders     [`layout`] what is where on a disk
//! [`root`] which partition of a disk has the system     [`write`] all of it together
//!
//! Adding an image format: a file in `image/`, its row in [`image::Format`]. Adding a boot loader: a file in `boot/`.
//! Adding a file system: a directory beside `ext4/` whose writer is a [`files::Fill`], and whose
//! reader is [`fs::Files`].
#![forbid(unsafe_code)]

pub mod boot;
pub mod btrfs;
mod cache;
mod crc;
pub mod error;
pub mod ext4;
pub mod fat;
pub mod files;
pub mod fs;
pub mod image;
pub mod io;
pub mod layout;
pub mod part;
pub mod root;
pub mod write;
pub mod xfs;

pub use error::{DiskError, Result};
pub use io::{ReadAt, Window, WriteAt};
