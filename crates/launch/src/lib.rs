//! From a cluster image to a running kubeadm cluster, and back to hosts as they were found.
//!
//! ```text
//! Cluster + Bundle ─▶ Launch ─▶ facts of hosts ─▶ plan (pure) ─▶ phases over `host` ─▶ journal here, marker on each host
//! ```
//!
//! A phase says from facts what it would do on a host; nothing means that it is done. `--plan` prints these lines, a run
//! does them, and writes behind each that it did. What is made on a host is in a ledger there, with what was in its
//! place, so that a reset gives the host back.
//!
//! [`launch`] what is to be, and the hosts of it       [`bundle`] what the cluster image has
//! [`machine`] commands on a host, with their last words   [`facts`] what a host is, asked in one command
//! [`preflight`] what must be true before anything is changed, by kubeadm's names
//! [`phase`] the phases, one file each      [`run`] them in order      [`reset`] and back      [`scale`] hosts that leave
//! [`upgrade`] the next release     [`lint`] what it no longer takes     [`balancer`] ways to API servers
//! [`config`] what kubeadm is told, [`families`] of addresses     [`containerd`] [`docker`] [`units`] files of hosts     [`plugins`] what else is done, and when
//! [`journal`] what was done, on this side  [`diagnose`] what is behind a failure, [`pods`] that do not work     [`cert`] certificates
//! [`kubectl`] [`etcd`] on a master
//! [`clock`] how long it took, and what of that was Kiln's     [`wait`] for what becomes of hosts
//! [`swarm`] hosts that bring each other the image
//! [`agent`] what this same binary does on a host: receive, install, restore, sweep
//!
//! Adding a phase: a file in [`phase`] with its plan and its effect, and its place in [`phase::LAUNCH`].
#![forbid(unsafe_code)]

pub mod agent;
pub mod balancer;
pub mod bundle;
pub mod cert;
pub mod clock;
pub mod config;
pub mod containerd;
pub mod diagnose;
pub mod docker;
pub mod error;
pub mod etcd;
pub mod event;
pub mod facts;
pub mod families;
pub mod journal;
pub mod kubectl;
pub mod launch;
pub mod lint;
pub mod machine;
pub mod phase;
pub mod plugins;
pub mod pods;
pub mod preflight;
pub mod reset;
pub mod run;
pub mod scale;
pub mod swarm;
pub mod units;
pub mod upgrade;
pub mod wait;

pub use bundle::Bundle;
pub use error::{LaunchError, Result};
pub use launch::{Launch, Member, Options, Peers};
pub use machine::Machine;
