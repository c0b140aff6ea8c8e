//! YAML as Kubernetes reads it, with a place for everything.
//!
//! ```text
//! text ─▶ parse ─▶ Document… ─▶ Node { value, span }
//! ```
//! The reader is the one that Go's programs have: YAML 1.1's words for booleans, octal numbers with a leading zero,
//! merge keys, JSON as a part of YAML. A document that cannot be read is a [`Fault`] with its place, and those behind it
//! are still read. Aliases are expanded, and count: limits on nodes, depth and bytes hold for what comes out, so that no
//! small text becomes a large tree.
//!
//! Charts are read by a reader of their own, `helm/src/yaml/mod.rs`: it has no places and stops at the first mistake, and
//! gives, and writes, exactly what Go's library gives to templates. Here a word stays as it is written (`0644`, `1.10`),
//! which those who show and change files of people need; there it is the number that Helm counts with.
//!
//! [`node`] values with places     [`scalar`] what a plain word is     [`read`] text → documents     [`inner`] texts in texts
//!
//! Adding a word that means something: its row in [`scalar`].
#![forbid(unsafe_code)]

pub mod inner;
pub mod node;
pub mod read;
pub mod scalar;

pub use node::{Entry, Map, Node, Style, Value};
pub use read::{Document, Fault, parse};
