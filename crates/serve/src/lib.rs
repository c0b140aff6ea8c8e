//! A registry straight over the store: the server of the distribution protocol.
//!
//! [`Running::start`] takes [`Settings`] and serves; [`config`] makes settings of the files that Docker's registry and
//! sealer have. Requests are hostile: names are checked by their grammar before anything is looked up, bodies have
//! limits, peers that do nothing are left, and a blob gets its name only when its bytes were compared with its digest.
//!
//! [`route`] [`range`] [`names`] what a request says, as pure functions     [`refusal`] answers that say no
//! `service` one request: may it, and who answers     `handlers` reading, manifests     `sending` blobs that come
//! [`library`] [`catalog`] [`tree`] the store as repositories     `change` manifests come and go     [`upload`] uploads
//! [`auth`] who may do what     [`proxy`] other registries' images     [`server`] [`wire`] [`body`] [`tls`] connections
//! [`log`] [`metrics`] what happened     `fresh` files that are read again when they change
//!
//! Adding a resource: a variant of [`route::Route`], what it needs in `service::needs`, its answer in `handlers`.
#![forbid(unsafe_code)]

pub mod auth;
pub mod body;
pub mod catalog;
mod change;
pub mod config;
mod crowd;
pub mod error;
mod fresh;
mod handlers;
pub mod library;
pub mod log;
pub mod metrics;
pub mod names;
pub mod proxy;
pub mod range;
pub mod refusal;
pub mod route;
mod sending;
pub mod server;
pub mod service;
pub mod tls;
pub mod tree;
pub mod upload;
pub mod wire;

pub use error::ServeError;
pub use server::{Running, Settings};
pub use service::Policy;
