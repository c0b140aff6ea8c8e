//! What is installed in an image, found in its layers and written down for others.
//!
//! ```text
//! layers (uncompressed tars, bottom to top) ──▶ Scanner ──▶ Inventory ──▶ SPDX 2.3 | CycloneDX 1.6
//! ```
//! A [`Scanner`] is shown every layer once, as a stream; it reads the files that say what is installed (the table is
//! [`Format`]) and keeps what they said, not the files. [`Scanner::finish`] drops what upper layers removed or replaced.
//! What cannot be read is a [`Doubt`] in the inventory and in the documents: nothing is left out in silence.
//!
//! Nothing here opens a file, reads a clock or asks the network; the same layers, [`Subject`] and [`Created`] give the
//! same bytes. All input is hostile: [`Limits`] bound what is kept.
//!
//! [`scan`] layers → findings → inventory     [`inventory`] what was found        [`format`](mod@format) which files are read
//! [`os`] databases of distributions           [`lang`] packages of languages, lock files, binaries
//! [`licence`] names of licences → SPDX       [`purl`] names of packages          [`document`] [`spdx`] [`cyclonedx`]
//!
//! Adding a format: a variant of [`Format`], its row in `Format::of`, a reader of bytes
//! in the module of its ecosystem, and, for a new ecosystem, a variant of [`Kind`] with its row in [`purl`].
#![forbid(unsafe_code)]

pub mod document;
pub mod format;
pub mod inventory;
pub mod lang;
pub mod licence;
mod number;
pub mod os;
pub mod purl;
pub mod scan;

pub use document::{Created, Subject, cyclonedx, spdx};
pub use format::Format;
pub use inventory::{
    Checksum, Distribution, Doubt, Evidence, Finding, Inventory, Kind, Location, Package, Source, Unreadable,
};
pub use licence::Licence;
pub use scan::{Limits, SbomError, Scanner};
