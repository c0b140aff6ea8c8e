//! What Kiln writes, read by the tools people have; what those tools write, read by Kiln.

#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "the tests run those tools on files")]

mod tools;
