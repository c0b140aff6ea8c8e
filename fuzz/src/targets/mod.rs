//! The targets, a file each.

#[cfg(feature = "registry")]
pub mod answers;
pub mod btrfs;
pub mod chart;
pub mod clusterfile;
pub mod compressed;
pub mod disk;
pub mod dockerfile;
pub mod documents;
pub mod expand;
pub mod ext4;
mod files;
pub mod glob;
pub mod hcl;
pub mod ignore;
pub mod index;
pub mod layer;
pub mod manifests;
pub mod names;
pub mod node;
pub mod packages;
pub mod packer;
pub mod passwd;
#[cfg(feature = "registry")]
pub mod requests;
mod sparse;
pub mod template;
pub mod tree;
pub mod unikernel;
pub mod xfs;

/// The input as text, as Kiln reads a Dockerfile: what is not UTF-8 is replaced.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
