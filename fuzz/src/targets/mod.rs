//! The targets, a file each.

#[cfg(feature = "registry")]
pub mod answers;
pub mod compressed;
pub mod dockerfile;
pub mod documents;
pub mod expand;
pub mod glob;
pub mod ignore;
pub mod index;
pub mod layer;
pub mod names;
pub mod packages;
pub mod passwd;
#[cfg(feature = "registry")]
pub mod requests;
pub mod tree;

/// The input as text, as Kiln reads a Dockerfile: what is not UTF-8 is replaced.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
