//! Builds in clouds as a user runs them, with doubles of the clouds' services on loopback.

#![expect(missing_docs, reason = "tests")]

mod books;
mod gc;
mod scenes;
#[path = "../../../host/tests/it/sshd.rs"]
#[allow(dead_code, reason = "the server of kiln-host's own tests, of which these need less")]
mod sshd;
mod tap;
