//! What an image is, as values: digests, references, platforms, manifests, layers and trees.
//!
//! Nothing here opens a file or a socket: layers are read from `Read` and written to `Write`. The same entries
//! give the same bytes on every machine and with any number of threads.
//!
//! [`digest`] [`mod@reference`] [`platform`] names of things        [`manifest`] [`config`] [`media`] the JSON documents
//! [`entry`] one line of a layer       [`layer`] entries ↔ tar   [`compress`] tar ↔ blob   [`blob`] both in one pass
//! [`index`] what a layer holds, with offsets                   [`tree`] layers stacked, and their text form
//! [`cluster`] what a cluster image says of itself
//! [`name`] paths inside images        [`passwd`] its users       [`archive`] images in one file    [`time`] RFC 3339
//!
//! Adding a compression: a variant of [`compress::Compression`], its media type in [`media`], and its row in the
//! golden-digest test of `compress`.
#![forbid(unsafe_code)]

pub mod archive;
pub mod blob;
pub mod cluster;
pub mod compress;
pub mod config;
pub mod digest;
pub mod entry;
pub mod index;
pub mod layer;
pub mod manifest;
pub mod media;
pub mod name;
pub mod passwd;
pub mod platform;
pub mod reference;
pub mod time;
pub mod tree;

pub use blob::{LayerDigests, LayerSink};
pub use compress::{Compression, Compressor};
pub use config::ImageConfig;
pub use digest::{Digest, Hasher, chain_ids};
pub use entry::{Entry, EntryKind, Meta, Mtime};
pub use index::{IndexedEntry, LayerIndex};
pub use layer::{LayerError, LayerReader, LayerWriter};
pub use manifest::{Descriptor, Index, Manifest};
pub use platform::Platform;
pub use reference::Reference;
pub use tree::{Tree, TreeError};
