//! Moving images to and from registries: the distribution protocol, credentials, mirrors.
//!
//! A [`Client`] is asked for manifests and blobs by [`Reference`](kiln_oci::Reference) and blocks its caller, which is
//! an ordinary thread; the asynchronous machinery stays inside. Everything a registry says is hostile: documents have
//! limits, blobs are cut at their size and compared with their digest, redirects cannot leave TLS, and credentials
//! reach only the registry they are for and the token server that registry names over TLS.
//!
//! [`config`] what may be configured      [`client`] the blocking face         [`error`] what can fail, and hints
//! [`credentials`] where secrets are      `auth` challenges and tokens         `call` one request, with login and retries
//! `manifest` `referrers` `listing` documents         `pull` blobs in                      `push` `upload` blobs out
//!
//! `fetch` plain URLs     `fuzzing` all parsers of answers in one call
//!
//! Adding a request: a method in the module of its noun that builds a `Call`, and its blocking twin in [`client`].
#![forbid(unsafe_code)]

mod answer;
mod auth;
mod call;
pub mod client;
pub mod config;
pub mod credentials;
mod endpoint;
pub mod error;
mod fetch;
#[doc(hidden)]
pub mod fuzzing;
mod listing;
mod manifest;
mod pull;
mod push;
mod referrers;
mod tls;
mod transport;
mod upload;

pub use client::Client;
pub use config::{ClientCert, Config, HostCa, Mirror, Proxies};
pub use credentials::{Credential, CredentialError, Credentials, Helper, LoginStore, Secret, StoredIn};
pub use error::{Answer, RegistryError};
pub use fetch::UrlHead;
pub use manifest::FetchedManifest;
pub use pull::BlobSink;
pub use push::{MountOutcome, PushOutcome};
pub use upload::UploadSession;
