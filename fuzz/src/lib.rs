//! Fuzz targets: one function for each kind of input that strangers write.
//!
//! A target takes any bytes and panics when Kiln does something wrong with them: not only when a parser panics, but
//! when a place lies outside of its text, when what was read and written again reads differently, or when a limit does
//! not hold. `cargo xtask fuzz` runs them under libFuzzer; the tests run every file of `corpus/` through them, so that a
//! mistake that was found once stays found.
//!
//! [`targets`] the functions     [`TARGETS`] their names
//!
//! Adding a target: a file in `targets/`, its row in [`TARGETS`], and a few small inputs in `corpus/NAME/`.
#![forbid(unsafe_code)]

pub mod targets;

#[cfg(feature = "registry")]
use targets::{answers, requests};
use targets::{
    btrfs, chart, clusterfile, compressed, disk, dockerfile, documents, expand, ext4, glob, hcl, ignore, index, layer,
    manifests, names, node, packages, packer, passwd, template, tree, unikernel, xfs,
};

/// A kind of hostile input.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name: an argument of `cargo xtask fuzz`, and a directory in `corpus/`.
    pub name: &'static str,
    /// Panics if Kiln handles the input wrongly.
    pub run: fn(&[u8]),
}

/// All targets, by name.
pub const TARGETS: &[Target] = &[
    #[cfg(feature = "registry")]
    Target { name: "answers", run: answers::run },
    Target { name: "btrfs", run: btrfs::run },
    Target { name: "chart", run: chart::run },
    Target { name: "clusterfile", run: clusterfile::run },
    Target { name: "compressed", run: compressed::run },
    Target { name: "disk", run: disk::run },
    Target { name: "dockerfile", run: dockerfile::run },
    Target { name: "documents", run: documents::run },
    Target { name: "dockerignore", run: ignore::run },
    Target { name: "expand", run: expand::run },
    Target { name: "ext4", run: ext4::run },
    Target { name: "glob", run: glob::run },
    Target { name: "hcl", run: hcl::run },
    Target { name: "index", run: index::run },
    Target { name: "layer", run: layer::run },
    Target { name: "manifests", run: manifests::run },
    Target { name: "names", run: names::run },
    Target { name: "node", run: node::run },
    Target { name: "packages", run: packages::run },
    Target { name: "packer", run: packer::run },
    Target { name: "passwd", run: passwd::run },
    #[cfg(feature = "registry")]
    Target { name: "requests", run: requests::run },
    Target { name: "template", run: template::run },
    Target { name: "tree", run: tree::run },
    Target { name: "unikernel", run: unikernel::run },
    Target { name: "xfs", run: xfs::run },
];

/// The target of a name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
