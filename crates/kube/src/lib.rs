//! Builds as Jobs of a Kubernetes cluster: what is asked of its API server, and what becomes of it.
//!
//! A planner ([`plan`]) turns an [`Order`] into objects; it is pure: the same order, the same text. A [`Cluster`] makes
//! them, hands the context over, follows the log until the pod ends, and removes them; it blocks its caller, which is an
//! ordinary thread. What the log says is for the caller to read: here it is lines.
//!
//! The API server is whom the user's kubeconfig names, and is believed. What comes out of a pod is anybody's: lines have
//! a limit, and texts are made safe before they are shown.
//!
//! [`plan`] orders → objects     [`fate`] objects → what happens, and why nothing does
//! [`cluster`] the blocking face     [`config`] whom to ask     `job` one Job from its making to its end
//! `read` lists of a whole cluster
//! `log` lines, whatever breaks in between     `attach` the context through the API server     [`error`] what can fail
//!
//! Adding a request: a method in `call`, its verb in `deploy/kubernetes/role.yaml`; the test double refuses what the
//! role does not grant.
#![forbid(unsafe_code)]

mod attach;
mod call;
pub mod cluster;
pub mod config;
pub mod error;
pub mod fate;
mod job;
mod log;
pub mod plan;
mod read;

pub use cluster::{Cluster, Watcher};
pub use config::Config;
pub use error::KubeError;
pub use fate::Fate;
pub use plan::{Manifests, Order};
pub use read::Listed;
