//! The test bench: build contexts, base images, registries and the `kiln` command, for tests only.
//!
//! Everything here panics with a sentence that says what is missing, because a test can do nothing else with an
//! error. Images are made by hand, without Kiln's own writers, so that a test never checks a writer against itself.
//!
//! [`context`] a directory to build from     [`command`] running `kiln` and other tools
//! [`filter`] what changes from run to run   [`registry`] Debian's docker-registry on loopback
//! [`server`] a server that says what a test writes     [`containerd`] Debian's containerd
//! [`serving`] `kiln registry serve`
//! [`rootfs`] files of a base image          [`layout`] an OCI layout on disk
//! [`initramfs`] what a kernel starts with     [`kernels`] unikernels of all kinds, as files
//! [`plain`] a user without rights         [`emulator`] object stores on loopback
//! [`cluster`] a double of a Kubernetes cluster   [`fleet`] hosts to launch real ones on
//! [`crowd`] hundreds of hosts, with stand-ins for Kubernetes
//! [`ecs`] a double of Alibaba Cloud
//! [`compute`] a double of Google Compute Engine
//! [`tools`] is the tool installed, and if not, which package brings it
//!
//! Adding a tool: its row in `scripts/packages.txt`.
#![forbid(unsafe_code)]

pub mod cluster;
pub mod command;
pub mod compute;
pub mod containerd;
pub mod context;
pub mod crowd;
pub mod ecs;
pub mod emulator;
pub mod filter;
pub mod fleet;
mod http;
pub mod initramfs;
pub mod kernels;
pub mod layout;
pub mod plain;
pub mod registry;
pub mod rootfs;
pub mod server;
pub mod serving;
mod tls;
pub mod tools;

pub use command::Output;
pub use compute::Compute;
pub use containerd::Containerd;
pub use context::TestContext;
pub use crowd::Crowd;
pub use emulator::{Emulator, Store};
pub use filter::Filters;
pub use fleet::Fleet;
pub use initramfs::Initramfs;
pub use layout::Layout;
pub use plain::Ids;
pub use registry::{Auth, Registry};
pub use rootfs::{Rootfs, busybox_layer};
pub use serving::Serving;
pub use tar::EntryType;
