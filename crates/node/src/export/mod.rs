//! What those who boot node images need to be told: lines of a shell, variables of Terraform, YAML of Cluster API.
//!
//! A [`Record`] of a manifest says what was built; a consumer makes text of it. What a manifest does not have, `custom_data`
//! of its post-processor or the command line does.
//!
//! [`record`] manifests and directories of artifacts      [`consumer`] one function for each who asks
//!
//! Adding a consumer: its row in [`CONSUMERS`].

pub mod consumer;
pub mod record;

pub use record::Record;

/// Why a record does not say what a consumer needs.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The manifest cannot be read.
    #[error("{path}: {why}")]
    Manifest {
        /// Which file or directory.
        path: String,
        /// Why.
        why: String,
    },
    /// No build is called so.
    #[error("{path} has no build `{name}`: it has {known}")]
    NoBuild {
        /// Which manifest.
        path: String,
        /// The build that was asked for.
        name: String,
        /// Those it has.
        known: String,
    },
    /// Several builds could be meant.
    #[error("{path} has several builds: {known}")]
    Several {
        /// Which manifest.
        path: String,
        /// Those it has.
        known: String,
    },
    /// Something is missing.
    #[error("{consumer} needs `{key}`, and the manifest does not say it")]
    Missing {
        /// Who needs it.
        consumer: &'static str,
        /// What.
        key: &'static str,
    },
    /// Something is not as it must be.
    #[error("`{key}` cannot be `{value}`: {why}")]
    Bad {
        /// What.
        key: &'static str,
        /// Its value.
        value: String,
        /// Why.
        why: &'static str,
    },
    /// Such an image is not for this consumer.
    #[error("an image of `{builder}` is not for {consumer}: {why}")]
    Wrong {
        /// The type of the builder.
        builder: String,
        /// Who was to have it.
        consumer: &'static str,
        /// Why not.
        why: &'static str,
    },
}

impl ExportError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            ExportError::Several { .. } => Some("say which: --build NAME".to_owned()),
            ExportError::Missing { key, .. } => {
                Some(format!("--set {key}=…, or \"custom_data\": {{\"{key}\": …}} in the post-processor `manifest`"))
            }
            _ => None,
        }
    }
}

/// Makes a consumer's text of a record; the flag asks for JSON.
pub type Write = fn(&Record, bool) -> Result<String, ExportError>;

/// Who can be told: name, what the text is, and what makes it.
pub const CONSUMERS: [(&str, &str, Write); 4] = [
    ("kube-up", "variables for cluster/kube-up.sh on Google's cloud", consumer::kube_up),
    ("terraform", "variables, as .tfvars or, with --json, .tfvars.json", consumer::terraform),
    ("cluster-api", "a machine template of the provider, with the image", consumer::cluster_api),
    ("kubeadm", "a JoinConfiguration, as far as the image knows it", consumer::kubeadm),
];
