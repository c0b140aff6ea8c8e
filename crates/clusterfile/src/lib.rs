//! What a user writes of a cluster: Clusterfiles of sealer (v1, v2) and sealos, or lists of hosts, as one model.
//!
//! ```text
//! Clusterfile, --masters, --nodes, -e … ─▶ read ─▶ Cluster { image, hosts, env, configs, plugins, kubeadm documents }
//! ```
//!
//! Adding a field: its place in the model, and its line in the reader of each dialect that has it.
#![forbid(unsafe_code)]
