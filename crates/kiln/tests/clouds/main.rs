//! Builds in clouds as a user runs them, with doubles of the clouds' services on loopback.

#![expect(missing_docs, reason = "tests")]

mod books;
