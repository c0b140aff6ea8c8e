//! From a cluster image to a running kubeadm cluster, and back to hosts as they were found.
//!
//! ```text
//! Cluster + facts of hosts ─▶ plan ─▶ phases: connect, facts, preflight, distribute, … verify ─▶ journal per host
//! ```
//!
//! Adding a phase: a file in [`phase`](self) with its title, whether it is needed, its plan, its effect and its undoing, and
//! its place in the list.
#![forbid(unsafe_code)]
