//! Google Compute Engine: who asks, calls and operations, and disks of this machine as images there.
//!
//! A [`Client`] asks Compute v1 and blocks its caller, which is an ordinary thread; every wait ends within a second when
//! the caller wants it to. What is created is asked for with an identifier of the request, so that a call whose answer
//! was lost can be made again and makes nothing twice. What is refused is told in the service's own words, with its code
//! and what to do.
//!
//! [`auth`] who asks                       [`endpoints`] where the services are
//! [`client`] one call, repeated           [`compute`] the calls that there are     [`operation`] until one is done
//! [`names`] what names and labels may be  [`marks`] what a build made, in a ledger and as labels
//! [`sweep`] deleting and finding that     [`publish`] a disk of here as an image there
//! [`share`] who else may use that         [`error`] what can fail
//!
//! Adding a call: a method in [`compute`], its answer's type beside it, and an arm of the double in `kiln-testkit`.
#![forbid(unsafe_code)]

pub mod auth;
pub mod client;
pub mod compute;
pub mod endpoints;
pub mod error;
pub mod marks;
pub mod names;
pub mod operation;
pub mod oslogin;
pub mod publish;
pub mod share;
pub mod sweep;

pub use auth::{Credentials, Source};
pub use client::{Cancelled, Client};
pub use endpoints::Endpoints;
pub use error::{GceError, Result};
pub use kiln_clouds::Environment;
pub use kiln_http::{Secret, printable};
pub use operation::{Operation, Scope};
pub use publish::{Publish, Published};
pub use sweep::account;
