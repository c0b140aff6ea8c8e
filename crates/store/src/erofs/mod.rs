//! Layer → what the kernel mounts in place of an unpacked directory.
//!
//! A layer's tar has the bytes of its files, whole and each from the start of a 512-byte block. What is missing to make
//! a file system of it is a table: which names there are, with which owner and mode, and where in the tar their bytes
//! begin. [`image`] makes that table in the format of EROFS; the kernel mounts it with the tar as its second device
//! (Linux 6.12 and later, from plain files). Fifty thousand files become one file of a few megabytes, and not one of
//! them is created.
//!
//! The image shows what [`unpack`](crate::unpack) for overlayfs would have made, marks of removal included. Not every
//! layer has one: where an entry's place depends on symbolic links, where the layer changes its mind, or links to
//! what lies below, the answer is `None` and the layer is unpacked.
//!
//! `shape` entries → nodes, and what is declined     `write` nodes → bytes, with a table of the format

mod shape;
mod write;

#[cfg(test)]
mod tests;

use kiln_oci::index::LayerIndex;

use crate::lower::Lower;

/// A file system image of a layer over its uncompressed tar, for overlayfs; `lower` is what the layers below hold,
/// `None` for the first layer. `uuid` is no other layer's in the same overlay. `None` when the layer has to be unpacked.
pub fn image(index: &LayerIndex, uuid: &[u8; 16], lower: Option<&dyn Lower>) -> Option<Vec<u8>> {
    write::image(&shape::Shape::of(index, lower)?, uuid)
}
