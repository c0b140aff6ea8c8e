//! What a cluster image says of itself.
//!
//! A cluster image is one index: the manifest of a root file system for each platform, then what is contained.
//!
//! ```text
//! entry of the index           told by
//! root file system             first; has a platform; [`SPEC`] among the labels of its configuration
//! a contained image            [`REF_NAME`](crate::archive::REF_NAME): its whole name; no platform
//! an attestation              as in any index: platform `unknown/unknown`, `vnd.docker.reference.digest`
//! what is known of all images  artifact type [`CONTENTS`]: layers are a report, and indexes that images were named by
//! ```
//!
//! The index has [`VERSION`] and [`SPEC`] among its annotations, so that who has only the index knows what it is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::manifest::Index;

/// Annotation of the index: the version of the format, `1`.
pub const VERSION: &str = "dev.kiln.cluster.version";
/// Annotation of the index and label of the root file system: a [`Spec`] as JSON.
pub const SPEC: &str = "dev.kiln.cluster.spec";
/// Annotation of the index, for people and for tools that read no JSON in it: `rootfs`, `application` or `patch`.
pub const TYPE: &str = "dev.kiln.cluster.type";
/// Annotation of the index: the version of Kubernetes, `v1.30.2`.
pub const KUBERNETES: &str = "dev.kiln.cluster.kubernetes";
/// Label of the root file system: that what kubeadm runs is contained only where it is named, `given`.
pub const KUBERNETES_IMAGES: &str = "dev.kiln.cluster.kubernetes-images";
/// Annotation of a contained image: the digest of the index that it was named by or chosen from. Those that an image
/// is named by are kept as layers of the contents.
pub const FROM_INDEX: &str = "dev.kiln.cluster.index";
/// Artifact type of the manifest that says what is contained.
pub const CONTENTS: &str = "application/vnd.kiln.cluster.contents.v1+json";
/// Media type of its report: who names each image.
pub const REPORT: &str = "application/vnd.kiln.cluster.images.v1+json";
/// The newest version of the format, the only one so far.
pub const CURRENT: &str = "1";

/// What a cluster image is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Type {
    /// It brings Kubernetes.
    Rootfs,
    /// It brings charts and manifests for a cluster that runs.
    #[default]
    Application,
    /// It replaces files of a root file system.
    Patch,
}

impl Type {
    /// As labels have it.
    pub fn name(self) -> &'static str {
        match self {
            Type::Rootfs => "rootfs",
            Type::Application => "application",
            Type::Patch => "patch",
        }
    }

    /// Reads a name: Kiln's and sealos', or sealer's.
    pub fn parse(text: &str) -> Option<Type> {
        match text {
            "rootfs" | "kube-installer" => Some(Type::Rootfs),
            "application" | "app-installer" => Some(Type::Application),
            "patch" => Some(Type::Patch),
            _ => None,
        }
    }
}

/// One thing that is done when the image is launched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Launch {
    /// A command for the shell, on the first control plane node, in the root file system.
    Run(String),
    /// An application of the image, by name.
    App(String),
}

/// How an application is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AppKind {
    /// A chart.
    Helm,
    /// Manifests.
    Kube,
    /// Scripts.
    Shell,
}

/// An application: `APP`, `CNI` or `CSI`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct App {
    /// Its name.
    pub name: String,
    /// What it is for: `app`, `cni` or `csi`.
    pub role: String,
    /// How it is installed, as far as its files tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<AppKind>,
    /// Its directory in the root file system.
    pub path: String,
    /// Files and directories in there, in the order of the instruction.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// What is run instead of what its kind says: `APPCMDS`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<String>,
    /// `APPENV`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
}

/// What a launcher must know beyond the files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// What it is for.
    #[serde(rename = "type")]
    pub kind: Type,
    /// In whose words the Kubefile was: `sealer-v1`, `sealer-v2` or `sealos`.
    pub dialect: String,
    /// The version of Kubernetes it brings, `v1.30.2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<String>,
    /// What is done at a launch, in this order: first what the base images want.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub launch: Vec<Launch>,
    /// How many of these are the base images': a Clusterfile's `cmd` replaces the others.
    #[serde(default)]
    pub inherited: usize,
    /// Variables of the commands that a Clusterfile may set (`ARG`), with their values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub args: BTreeMap<String, String>,
    /// Applications, the base images' first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub apps: Vec<App>,
}

impl Spec {
    /// Reads what a label or an annotation holds.
    ///
    /// # Errors
    /// When it is no spec.
    pub fn parse(text: &str) -> Result<Spec, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// As a label or an annotation holds it: the same spec gives the same bytes.
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Index {
    /// Whether this is a cluster image: all of it belongs together, whatever the platform.
    pub fn is_cluster(&self) -> bool {
        self.annotations.contains_key(VERSION)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_is_read_back() {
        let spec = Spec {
            kind: Type::Rootfs,
            dialect: "sealer-v1".into(),
            kubernetes: Some("v1.19.8".into()),
            launch: vec![Launch::Run("helm install charts/apollo".into()), Launch::App("calico".into())],
            inherited: 1,
            ..Spec::default()
        };
        let text = spec.text();
        assert!(text.contains(r#""launch":[{"run":"helm install charts/apollo"},{"app":"calico"}]"#), "{text}");
        assert_eq!(Spec::parse(&text).unwrap(), spec);
        assert!(Spec::parse("[]").is_err());
        for kind in [Type::Rootfs, Type::Application, Type::Patch] {
            assert_eq!(Type::parse(kind.name()), Some(kind));
        }
    }
}
