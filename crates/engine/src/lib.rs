//! Doing it: what was planned is resolved, scheduled, run and published.
//!
//! [`world`] answers the planner's questions     [`schedule`] decides what runs and when
//! [`step`] one file per kind of step            [`copy`] layers of files, written without unpacking anything
//! [`context`] trees that files are copied from  [`rootfs`] layers as directories and trees
//! [`mounted`] layers as images the kernel mounts
//! [`images`] where images come from             [`fetch`] URLs and Git repositories
//! [`build`] all of it in a row                  [`output`] where an image goes
//! [`transfer`] images between store and registry [`archive`] images in files
//! [`stored`] images as the store has them        [`packed`] images of a few files
//! [`why`] what would run, and what changed since the last run
//! [`isolation`] which rung commands run on
//! [`event`] what happens, as it happens         [`session`] what a build works with
//! [`lock`] what a build is made from, held to digests
//! [`attest`] what is said of an image, beside it     [`sign`] signatures of images, made and verified
//! [`remote`] layers of steps in a repository or bucket, shared between machines
//! [`bucket`] blobs and documents in an object store
//! [`flatten`] many layers as one
//! [`whole`] files that are seen once they are whole
//!
//! Adding a step: its variant in `kiln_plan::step`, its effect in `step/`, nothing else here.
#![forbid(unsafe_code)]

pub mod archive;
pub mod attest;
pub mod bucket;
pub mod build;
pub mod context;
pub mod copy;
pub mod error;
pub mod event;
pub mod fetch;
pub mod flatten;
pub mod images;
pub mod isolation;
pub mod layout;
pub mod lock;
pub mod mounted;
pub mod output;
pub mod packed;
pub mod remote;
pub mod rootfs;
pub mod schedule;
pub mod session;
pub mod sign;
pub mod step;
pub mod stored;
pub mod transfer;
pub mod users;
pub mod whole;
pub mod why;
pub mod world;

pub use build::{Built, Image, build};
pub use error::{EngineError, Result};
pub use session::{Session, Settings};
