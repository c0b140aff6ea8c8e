//! What is said of an image, and by whom: attestations and signatures, as documents.
//!
//! An attestation is an in-toto [`Statement`] about the digest of an image: how it was made ([`provenance`]), what is in
//! it. A signature is a document that names a digest, and bytes that only the holder of a [`PrivateKey`] can make of it.
//! Nothing here reads a file or asks a registry; where the documents go is the engine's business.
//!
//! [`statement`] in-toto statements, and manifests that list them     [`provenance`] SLSA provenance
//! [`key`] keys, as cosign keeps them     [`signature`] cosign's signatures beside an image     [`bundle`] Sigstore bundles
//!
//! Adding a kind of attestation: its predicate type in [`statement`], and whoever makes the predicate.
#![forbid(unsafe_code)]

pub mod bundle;
pub mod error;
pub mod key;
pub mod provenance;
mod sealed;
pub mod signature;
pub mod statement;

pub use bundle::Bundle;
pub use error::AttestError;
pub use key::{PrivateKey, PublicKey};
pub use signature::Payload;
pub use statement::Statement;
