//! What a user writes of a cluster: Clusterfiles of sealer (v1, v2) and sealos, or lists of hosts, as one model.
//!
//! ```text
//! Clusterfile, --masters, --nodes, -e … ─▶ read ─▶ Cluster { image, hosts, env, configs, plugins, kubeadm layers }
//! ```
//!
//! [`model`] what a cluster is to be     [`secret`] texts that are never shown
//!
//! Adding a field: its place in the model, and its line in the reader of each dialect that has it.
#![forbid(unsafe_code)]

pub mod model;
pub mod secret;

pub use model::{Cluster, Host, Origin, Said};
pub use secret::Secret;
