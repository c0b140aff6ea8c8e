//! Cluster images: a Kubefile in, one OCI index out that holds a root file system and every image that it names.
//!
//! The root file system is built as any image, by `kiln-engine`, of what `kiln_spec::kubefile` makes of the Kubefile.
//! Then it is looked through ([`scan`]) for the images that its manifests, charts and lists name; these are brought
//! into the store ([`contain`]) from registries, directories of registries, archives or layouts; and one index is
//! made of all ([`pack`]). No blob is ever repacked: the same image has the same digest here as in its registry.
//!
//! [`spec`] what a launcher must know     [`list`] files that list images     [`scan`] who names which image, `charts` among them
//! [`contain`] images into the store      [`registry_dir`] images in the directory of a registry
//! [`registry_out`] images into such a directory, and all of it into the store     `drafts` files in the making there
//! [`inherit`] what the base contains     `kubernetes` what kubeadm runs     `platforms` for which platforms
//! [`pack`] the index                     [`report`] who named what, kept in the image
//! [`inventory`] an image that is there   [`merge`] several as one            [`parts`] files cut into pieces
//! [`assemble`] all of it in a row       [`base`] root file systems of Kubernetes' own binaries
//! [`together`] several that are launched as one
//!
//! Adding a place that images come from: a variant of [`contain::Place`], its arm in `contain::find`.
#![forbid(unsafe_code)]

pub mod assemble;
pub mod base;
mod charts;
pub mod contain;
mod drafts;
pub mod error;
mod files;
pub mod inherit;
pub mod inventory;
mod kubernetes;
pub mod list;
pub mod merge;
pub mod pack;
pub mod parts;
mod platforms;
pub mod registry_dir;
pub mod registry_out;
pub mod report;
pub mod scan;
pub mod spec;
pub mod together;

pub use error::{ClusterError, Result};
