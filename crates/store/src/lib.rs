//! Where bytes live: Kiln's directory of blobs, names and everything that can be made again from them.
//!
//! On disk a [`Store`] is a valid OCI image layout plus a `kiln/` directory. Any number of processes use it at once;
//! a crash at any moment leaves only temporary files, which the next [`Store::prune`] removes. Blobs and refs are on
//! the disk before they are seen; what can be made again is only renamed into place and checked when read.
//!
//! [`store`] the directory    [`blob`] bytes by digest    [`refs`] images by name    [`cache`] records and tables
//! [`layer`] what is known of a layer    [`snapshot`] layers as directories    [`mount`] `RUN --mount=type=cache`
//! [`lock`] one process at a time    [`lease`] what a running build holds    [`prune`] [`usage`] [`fsck`] upkeep
//! [`partial`] blobs on their way in               [`remove`] deleting trees, and only our own
//!
//! [`unpack`] layer → directory    [`scan`] a directory's state    [`changes`] directory → layer
//! [`Form`] how unpacked files are kept by who may do less than root
//! [`lower`] what lies below a layer    [`reader`] the bytes of a file of an image    [`erofs`] layer → image to mount
//!
//! Adding a kind of thing: a variant of [`Kind`], its directory in `store::LAYOUT`, its listing in [`usage`] and,
//! if a build may hold it across calls, a touch through `Store::hold`.
#![forbid(unsafe_code)]

pub mod blob;
pub mod cache;
pub mod changes;
pub mod erofs;
pub mod error;
pub mod fsck;
pub mod layer;
pub mod lease;
pub mod lock;
pub mod lower;
pub mod mount;
pub mod partial;
pub mod prune;
pub mod reader;
pub mod refs;
pub mod remove;
pub mod scan;
pub mod snapshot;
pub mod store;
pub mod unpack;
pub mod usage;

mod beneath;
mod capability;
#[cfg(test)]
mod fixture;
mod form;
mod reach;
mod record;
mod stat;
mod temp;

pub use blob::BlobWriter;
pub use cache::CacheEntry;
pub use error::{ErrorKind, StoreError};
pub use form::{Form, MapId};
pub use fsck::{FsckReport, Problem};
pub use layer::{LayerRecord, TarWriter};
pub use lease::Lease;
pub use lock::LockGuard;
pub use mount::{CacheMount, MountRequest, Sharing};
pub use prune::{Filter, PrunePolicy, PruneReport, Removed};
pub use refs::StoredRef;
pub use remove::remove_tree;
pub use snapshot::SnapshotDraft;
pub use store::{DirEnv, Kind, Store, Warning};
pub use usage::{Held, KindUsage, Usage, UsageEntry};

/// What the functions of this crate return.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;
