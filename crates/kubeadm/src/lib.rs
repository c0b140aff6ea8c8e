//! Documents of kubeadm: merged field by field, converted between API versions, every value with the place it came from.
//!
//! ```text
//! Layer… (Clusterfile, the image's etc/kubeadm.yml, defaults) ─▶ resolve(version) ─▶ Resolved { documents, changes } ─▶ YAML
//! ```
//! Each layer is checked against the fields of its own API version, converted to the version that the release of
//! Kubernetes wants, and laid over the ones below: a field that is present wins, even if it is `false`, `0` or empty.
//!
//! [`schema`] the fields of each kind and version     [`value`] values with their origin     [`merge`] one layer over another
//! [`convert`] from one API version to the next     [`rewrite`] [`gates`] what a release no longer accepts
//! [`layer`] all of it
//! [`render`] YAML, with and without origins     [`hosts`] lists of hosts     [`mask`](mod@mask) what is never quoted
//!
//! Adding a field: its line in [`schema`]. Adding something that a release dropped: its row in [`rewrite`] or [`gates`].
#![forbid(unsafe_code)]

pub mod convert;
pub mod gates;
pub mod hosts;
pub mod layer;
pub mod mask;
pub mod merge;
pub mod render;
pub mod rewrite;
pub mod schema;
pub mod value;

pub use layer::{Change, Layer, Resolved, resolve};
pub use schema::{Api, Kind};
pub use value::{Content, Origin, Value};
