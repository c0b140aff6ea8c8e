//! What Kiln's clients of registries and of object stores have in common: servers are hostile, connections break, and
//! callers are ordinary threads.
//!
//! [`retry`] when to ask again              [`answer`] what a server says when it refuses, made safe to show
//! [`connection`] proxies, authorities, and failures in words     [`pace`] how fast a body comes
//! [`upload`] bodies that come from a thread     [`threads`] asynchronous work for callers that block
//! [`secret`] texts that are never shown
//!
//! What a protocol is, and which error a failure becomes, is for the client to know: nothing here names either.
#![forbid(unsafe_code)]

pub mod answer;
pub mod connection;
pub mod pace;
pub mod retry;
pub mod secret;
pub mod threads;
pub mod upload;

pub use answer::{Answer, printable};
pub use pace::Pace;
pub use retry::{Again, Failure, Retry, after_status, retry_after};
pub use secret::Secret;
pub use threads::Threads;
