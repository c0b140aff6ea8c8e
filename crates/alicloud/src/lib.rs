//! Machines and images in Alibaba Cloud: what a builder and an upload need of ECS, its networks, and OSS.
//!
//! A [`Client`] asks one region. Requests are signed with ACS3-HMAC-SHA256 and go over TLS; what creates something
//! carries a token, so that asking again after a lost answer makes nothing twice. Everything that is created is written
//! into a [ledger](kiln_ledger) before, and [`sweep`] can find and delete it from there.
//!
//! [`account`] whose account, and where it is reached     [`credentials`] keys, and where they are found
//! [`sign`] how requests prove who asks                   [`client`] one call, and when it is made again
//! [`ecs`] calls by what they are about                   [`oss`] objects: buckets, uploads in parts
//! [`sweep`] deleting what was made                       [`publish`] a disk of this machine as an image
//! [`address`] by which address the cloud sees this machine
//!
//! Adding a call: a method in the module of [`ecs`] it is about. Adding a kind of resource: its row in [`sweep`].
#![forbid(unsafe_code)]

pub mod account;
pub mod address;
pub mod client;
pub mod credentials;
pub mod ecs;
pub mod error;
pub mod oss;
pub mod publish;
pub mod sign;
pub mod sweep;
mod wire;

pub use account::{Account, account};
pub use client::{Call, Client};
pub use error::{AlicloudError, Refusal};

/// Whether the caller wants to stop.
pub type Stop<'a> = &'a dyn Fn() -> bool;

/// A result of this crate.
pub type Result<T, E = AlicloudError> = std::result::Result<T, E>;
