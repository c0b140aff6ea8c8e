//! Objects in stores: S3 and what speaks its protocol, Google Cloud Storage, Azure Blob Storage.
//!
//! A [`Location`] says where an object is; a [`Client`] gets, puts, lists and deletes objects and blocks its caller,
//! which is an ordinary thread. No object is ever held in memory. Everything a store says is hostile: documents have
//! limits, bodies have the length and the sum that were announced, and nothing that a store says leads credentials to
//! another host: redirects are not followed, but for the region of a bucket, which is a name that Kiln completes.
//!
//! [`location`] addresses       [`client`] the blocking face     [`error`] what can fail
//! `s3` `gcs` `azure` what each store wants          `call` one request, retried     `shared_key` Azure's signature
//! `get` `put` `list` the verbs                      `checksum` sums of what comes
//!
//! Who asks, how that is proved and how one host is spoken to is in `kiln-clouds`.
//!
//! Adding a store: a variant of [`Location`] with its URL, a module with `ready`, `put` and `page`, an arm for each in
//! `call`, `put` and `list`, its variables and its finder of credentials in `kiln-clouds`, an emulator in the tests.
#![forbid(unsafe_code)]

mod azure;
mod call;
mod checksum;
pub mod client;
pub mod config;
pub mod error;
mod gcs;
mod get;
mod list;
pub mod location;
mod put;
mod s3;
mod shared_key;

pub use client::{Client, Entry, Head};
pub use config::{Config, Google, Tokens};
pub use error::{Answer, ObjectError};
pub use kiln_clouds::source::Source;
pub use kiln_clouds::{CloudError, Environment};
pub use kiln_http::Secret;
pub use location::{Location, LocationError};
