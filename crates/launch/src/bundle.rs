//! What a launcher knows of a cluster image: read once from the store, by who knows images.

use std::collections::{BTreeMap, BTreeSet};

use kiln_oci::cluster::{Launch as Step, Spec};
use kiln_oci::{Descriptor, Digest, Reference};
use kiln_store::Store;

use crate::facts::HOME;

/// One of several images that are launched as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its name, as it was given.
    pub name: String,
    /// The digest of its index.
    pub digest: String,
    /// What it wants done at a launch.
    pub launch: Vec<Step>,
    /// How many of these are its bases'.
    pub inherited: usize,
}

/// `kubernetes:v1.25 with helm:v3, calico:v3`
pub fn together(first: &str, others: &[String]) -> String {
    format!("{first} with {}", others.join(", "))
}

/// A cluster image, for launching.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// Where its blobs are on this side.
    pub store: Store,
    /// Its whole name: so it is called on hosts, too.
    pub name: String,
    /// Its index.
    pub root: Descriptor,
    /// All of it, with sizes; the index is last to be sent.
    pub blobs: BTreeMap<Digest, u64>,
    /// Contained images.
    pub images: Vec<Reference>,
    /// What its builder says.
    pub spec: Spec,
    /// The version of Kubernetes it brings: `v1.30.2`.
    pub kubernetes: String,
    /// Processors that its root file systems are for: `amd64`.
    pub arches: BTreeSet<String>,
    /// Files of the root file system (this machine's processor, or the only one) with their permission bits: `bin/kubeadm`.
    pub files: BTreeMap<String, u32>,
    /// `etc/kubeadm.yml`
    pub kubeadm: Option<String>,
    /// What files have that are changed for hosts: templates, and those that Configs are about.
    pub sources: BTreeMap<String, Vec<u8>>,
    /// Manifests of the pod network, by path; none of those that are changed for hosts.
    pub networks: BTreeMap<String, String>,
    /// The images that it was made of, the one with Kubernetes first; none where it is one that the user named.
    pub parts: Vec<Part>,
}

impl Bundle {
    /// Whether it is, or was made of, an image of this whole name.
    pub fn is_called(&self, name: &Reference) -> bool {
        let is = |own: &str| own.parse::<Reference>().is_ok_and(|own| own.to_string() == name.to_string());
        is(&self.name) || self.parts.iter().any(|part| is(&part.name))
    }

    /// Where the root file system is on hosts.
    pub fn rootfs(&self) -> String {
        format!("{HOME}/rootfs/{}", self.root.digest.short())
    }

    /// Whether the root file system has a file.
    pub fn has(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }

    /// Files directly or further below a directory.
    pub fn below<'a>(&'a self, dir: &'a str) -> impl Iterator<Item = (&'a str, u32)> {
        let files = self.files.range(dir.to_owned()..).take_while(move |(path, _)| path.starts_with(dir));
        files
            .filter(move |(path, _)| path.as_bytes().get(dir.len()) == Some(&b'/'))
            .map(|(path, mode)| (path.as_str(), *mode))
    }

    /// The registries that contained images are named by.
    pub fn registries(&self) -> BTreeSet<&str> {
        self.images.iter().map(|image| image.registry.as_str()).collect()
    }

    /// A contained image by the last part of its repository, such as `pause`.
    pub fn image(&self, last: &str) -> Option<&Reference> {
        self.images.iter().find(|image| image.repository.rsplit('/').next() == Some(last))
    }

    /// Where kubeadm finds its images: what stands before `/kube-apiserver`.
    pub fn repository(&self) -> Option<String> {
        let name = self.image("kube-apiserver")?.name();
        name.strip_suffix("/kube-apiserver").map(str::to_owned)
    }

    /// The size of all.
    pub fn size(&self) -> u64 {
        self.blobs.values().sum()
    }
}
