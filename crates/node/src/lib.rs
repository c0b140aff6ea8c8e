//! Node images: builders, provisioners and post-processors, and the run through them.
//!
//! A [template](kiln_packer::model::Template) says which builds there are. [`run::run`] takes each through its
//! [`builder`], which hands out a [`target`], through its provisioners ([`provision`]), which change it, and the artifact
//! through its post-processors ([`post`]). Everything is said through [`ui`], in Packer's words and without a sensitive
//! value.
//!
//! [`run`] builds side by side, failures, questions     [`builder`] `offline`, `qemu`, `googlecompute`, …
//! [`communicator`] machines over SSH
//! [`offline`] images without a machine: cached steps of the engine     [`target`] what provisioners change
//! [`provision`] `shell`, `file`, `shell-local`, `kiln-…`     [`post`] `manifest`, `checksum`, `compress`, …
//! [`guard`] kernel parameters that are somebody else's     [`images`] container images for nodes
//! [`disk`] disks as systems that are checked     [`verify`] what a result must be
//! [`export`] what others need to know of an image     [`preload`] images put into containerd
//! [`microvm`] machines with one application, run here     [`unikernel`] the same of kernels made elsewhere
//!
//! Adding a builder: [`builder`]. Adding a provisioner: [`provision`]. Adding a post-processor: [`post`].
#![forbid(unsafe_code)]

pub mod artifact;
pub mod builder;
pub mod communicator;
pub mod disk;
pub mod error;
pub mod export;
pub mod guard;
pub mod images;
pub mod microvm;
pub mod offline;
pub mod post;
pub mod preload;
pub mod provision;
pub mod run;
pub mod target;
pub mod ui;
pub mod unikernel;
pub mod verify;

pub use artifact::Artifact;
pub use error::{NodeError, Result};
