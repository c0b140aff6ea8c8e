//! What a user writes of a cluster: Clusterfiles of sealer (v1, v2) and sealos, or lists of hosts, as one model.
//!
//! ```text
//! Clusterfile, --masters, --nodes, -e … ─▶ read ─▶ Cluster { image, hosts, env, configs, plugins, kubeadm layers }
//! facts of hosts ─▶ address::choose ─▶ which address peers use ─▶ kubeadm::of_host, flannel's interface
//! a file of the rootfs ─▶ config::apply, template::render ─▶ its new bytes
//! ```
//! Nothing here opens a file or asks a host.
//!
//! [`model`] what a cluster is to be     [`read()`] texts → model     [`flags`] the command line
//! [`config`] changes of files     [`template`] `*.tmpl` files, and variables for the shell     [`secret`] what is never shown
//! [`address`] which address of a host its peers use     [`kubeadm`] layers for kubeadm
//! `check` mistakes of the whole     `words` labels, taints, ranges: the small languages
//!
//! Adding a field: its place in [`model`], and its line in the reader of each dialect that has it (`read/`).
#![forbid(unsafe_code)]

pub mod address;
mod check;
pub mod config;
pub mod flags;
pub mod kubeadm;
pub mod model;
mod read;
pub mod secret;
pub mod template;
mod words;

pub use flags::Flags;
pub use model::{Cluster, Host, Origin, Said};
pub use read::{DEFAULT_NAME, Found, MAX_BYTES, Read, read};
pub use secret::Secret;
