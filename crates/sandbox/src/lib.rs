//! Running one command on one root: the isolation ladder.
//!
//! [`run`] takes a [`Job`] (root, mounts, command, user, limits) and a [`Rung`], starts a fresh copy of this program
//! as the [`Init`], streams what the command prints and returns how it ended. Whatever happens, nothing that was
//! set up for the command stays behind: no process, no mount, no mountpoint, no secret.
//!
//! `job` what to run     `rung` how isolated, and what this machine can do     `init` the child side
//! `confinement` what holds this process     `userns` user namespaces     `seccomp` the syscall filter
//! `cgroup` limits     `sys` the only `unsafe` code of Kiln
//!
//! Adding a kind of mount: a variant of [`Mount`], its place in `init/mounts.rs` (namespaces) and in
//! `init/furnish.rs` (without), a row in the integration tests for both.

mod cancel;
mod cgroup;
mod confinement;
mod error;
mod init;
mod job;
mod names;
mod run;
mod rung;
mod seccomp;
mod sys;
mod userns;
mod wire;

pub use cancel::Cancel;
pub use confinement::Confinement;
pub use error::SandboxError;
pub use init::init_main_if_called;
pub use job::{
    ExtraHost, Injection, Job, KnownOwner, Limits, Mount, Network, OsBytes, Resource, Root, Security, Ulimit, User,
    VirtualOwners,
};
pub use names::{host_resolv_conf, hosts_file};
pub use run::{Exit, Init, Stream, run, shield};
pub use rung::{Part, Rung, RungReport, probe, probe_image, probe_in, probe_overlay, probe_with, strongest};
pub use sys::end_with_parent;
pub use userns::{Ids, Standing, take as take_standing};
