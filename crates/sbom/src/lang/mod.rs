//! Packages of programming languages: what is installed, and what lock files name.
//!
//! [`python`] [`npm`] [`yarn`] [`pnpm`] [`cargo`] [`go`] [`gem`] [`composer`] [`dotnet`] [`java`] one ecosystem each
//! [`binary`] what compilers leave in executables
//!
//! A lock file says what somebody meant to install. Packages that only a lock file names are told apart by their
//! [`Evidence`](crate::Evidence).

pub mod binary;
pub mod cargo;
pub mod composer;
pub mod dotnet;
pub mod gem;
pub mod go;
pub mod java;
pub mod npm;
pub mod pnpm;
pub mod python;
pub mod yarn;

use serde::de::DeserializeOwned;

use crate::Unreadable;

/// A JSON document, with what is wrong in words.
fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Unreadable> {
    // Some editors write a mark of the order of bytes, which JSON does not have.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    serde_json::from_slice(bytes).map_err(|e| format!("it is not the JSON that was expected: {e}").into())
}

/// A TOML document, with what is wrong in words.
fn toml<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Unreadable> {
    let text = std::str::from_utf8(bytes).map_err(|_| Unreadable::from("it is not UTF-8"))?;
    ::toml::from_str(text).map_err(|e| format!("it is not the TOML that was expected: {}", e.message()).into())
}
