//! Objects in stores: S3 and what speaks its protocol, Google Cloud Storage, Azure Blob Storage.
//!
//! A [`Location`] says where an object is; a [`Client`] gets, puts, lists and deletes objects and blocks its caller,
//! which is an ordinary thread. No object is ever held in memory. Everything a store says is hostile: documents have
//! limits, bodies have the length and the sum that were announced, and nothing that a store says leads credentials to
//! another host: redirects are not followed, but for the region of a bucket, which is a name that Kiln completes.
//!
//! [`location`] addresses       [`environ`] the variables that matter     [`client`] the blocking face
//! [`error`] what can fail      `credentials` who asks, and where that is found      `sign` how that is proved
//! `s3` `gcs` `azure` what each store wants          `call` one request, retried     `transport` one exchange
//! `get` `put` `list` the verbs                      `answer` `xml` what stores say  `checksum` sums of what comes
//!
//! Adding a store: a variant of [`Location`] with its URL, a module with `ready`, `put` and `page`, an arm for each in
//! `call`, `put` and `list`, its variables in [`environ`], a finder in `credentials`, an emulator in the tests.
#![forbid(unsafe_code)]

mod answer;
mod azure;
mod call;
mod checksum;
pub mod client;
pub mod config;
mod credentials;
mod date;
pub mod environ;
pub mod error;
mod gcs;
mod get;
mod list;
pub mod location;
mod percent;
mod put;
mod s3;
mod sign;
mod source;
mod transport;
mod xml;

pub use client::{Client, Entry, Head};
pub use config::Config;
pub use environ::Environment;
pub use error::{Answer, ObjectError};
pub use kiln_http::Secret;
pub use location::{Location, LocationError};
pub use source::Source;
