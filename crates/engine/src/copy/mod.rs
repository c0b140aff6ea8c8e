//! `COPY`, `ADD` and `WORKDIR` as layers, written without ever unpacking what is below them.
//!
//! The destination is a merged view: what this step has written so far, over the tree of the layers below. Symbolic
//! links in it are followed inside the root, directories that are missing are made, and at the end what really
//! differs, with the directories above it, becomes the layer. Semantics are BuildKit's.
//!
//! [`dest`] the merged view    [`body`] where bytes come from    [`place`] one source    [`unpack`] archives
//! [`emit`] the layer

pub mod body;
pub mod dest;
pub mod emit;
pub mod place;
pub mod unpack;

pub use body::Body;
pub use dest::{CopyError, Dest, Owner};
