//! Layers: entries ↔ tar.
//!
//! [`LayerWriter`] writes **canonical** bytes: they depend on the entries, their order and the bodies only.
//!
//! ```text
//! header          ustar; numbers octal; no user or group names; nothing about the machine
//! name            no leading `/`, directories end in `/`, the root is `./`
//! time            whole seconds, the fraction cut off towards the past
//! whiteouts       `.wh.NAME` and `.wh..wh..opq`, empty, mode 0, owner 0:0, time 0
//! hard links      target from the root, without a leading `/`; no body
//! xattrs          those of `KEPT_XATTRS`, as `SCHILY.xattr.*`
//! pax header      only where ustar cannot say it: names and targets over 100 bytes or not ASCII, sizes from 8 GiB,
//!                 ids from 2097152, times before 1970 or after 2242, xattrs; records sorted by key
//! end             two zero blocks; no padding to a larger record
//! ```
//! Where Go's `archive/tar` has a choice, these are its bytes, so layers look as BuildKit's do. The order of entries
//! is the caller's: parents first and names sorted is what a deterministic walk gives.
//!
//! [`LayerReader`] reads what the world writes: v7, ustar, pax and GNU tars, in two modes ([`Names`]): a layer's,
//! where whiteouts mean deletion, and a plain archive's (`ADD app.tar`), where they are refused.
//!
//! Adding a kind of entry: a variant of [`EntryKind`](crate::EntryKind), its flag in `writer` and `reader`, its tag
//! in [`index`](crate::index), its letter in the dump of [`tree`](crate::tree).

mod error;
pub(crate) mod header;
mod pax;
mod reader;
mod writer;

pub use error::LayerError;
pub use reader::{LayerReader, Names, ReadEntry, ReadOptions};
pub use writer::LayerWriter;

/// What marks a deletion in a layer.
pub const WHITEOUT: &[u8] = b".wh.";
/// The file that hides a directory's lower children.
pub const OPAQUE: &[u8] = b".wh..wh..opq";
/// What marks the private files of aufs, which are not part of an image.
const AUFS: &[u8] = b".wh..wh.";

#[cfg(test)]
mod tests;
