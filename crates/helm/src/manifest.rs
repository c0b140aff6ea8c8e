//! What templates gave, as manifests: documents, hooks, and the order in which Helm installs.

use crate::error::RenderError;
use crate::yaml::{self, Yaml};

/// A manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The template it comes from: `app/templates/deployment.yaml`.
    pub path: String,
    /// Its kind; empty if it says none.
    pub kind: String,
    /// Its name; empty if it says none.
    pub name: String,
    /// Its text.
    pub text: String,
    /// The line of what the template gave that it begins in, from 1.
    pub line: usize,
}

/// A manifest that is applied at a certain time only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// What is applied.
    pub manifest: Manifest,
    /// When: `pre-install`, `test` and others.
    pub events: Vec<String>,
    /// Lighter ones come first.
    pub weight: i64,
    /// When it is deleted: `hook-succeeded` and others.
    pub delete_policies: Vec<String>,
}

/// The order of kinds; others come last, by their names.
const ORDER: [&str; 39] = [
    "PriorityClass",
    "Namespace",
    "NetworkPolicy",
    "ResourceQuota",
    "LimitRange",
    "PodSecurityPolicy",
    "PodDisruptionBudget",
    "ServiceAccount",
    "Secret",
    "SecretList",
    "ConfigMap",
    "StorageClass",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "CustomResourceDefinition",
    "ClusterRole",
    "ClusterRoleList",
    "ClusterRoleBinding",
    "ClusterRoleBindingList",
    "Role",
    "RoleList",
    "RoleBinding",
    "RoleBindingList",
    "Service",
    "DaemonSet",
    "Pod",
    "ReplicationController",
    "ReplicaSet",
    "Deployment",
    "HorizontalPodAutoscaler",
    "StatefulSet",
    "Job",
    "CronJob",
    "IngressClass",
    "Ingress",
    "APIService",
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
    "ValidatingAdmissionPolicy",
];

/// What templates gave, in the order of their names, as manifests and hooks in the order of installation.
pub(crate) fn sort(outputs: &[(String, String)]) -> Result<(Vec<Manifest>, Vec<Hook>), RenderError> {
    let (mut manifests, mut hooks) = (Vec::new(), Vec::new());
    for (path, output) in outputs {
        let (mut line, mut counted) = (1, 0);
        for text in split(output) {
            let begin = text.as_ptr() as usize - output.as_ptr() as usize;
            line += output[counted..begin].matches('\n').count();
            counted = begin;
            let broken = |error| RenderError::Manifest { template: path.clone(), error };
            let document = yaml::parse(text).map_err(broken)?;
            let of = |value: Option<&Yaml>| value.and_then(Yaml::as_str).unwrap_or_default().to_owned();
            let (kind, name) = (of(document.get("kind")), of(document.at("metadata.name")));
            let manifest = Manifest { path: path.clone(), kind, name, text: text.to_owned(), line };
            let annotation =
                |key: &str| document.at("metadata.annotations").and_then(|all| all.get(key)).and_then(Yaml::as_str);
            let words = |text: &str| text.split(',').map(|word| word.trim().to_lowercase()).collect::<Vec<_>>();
            match annotation("helm.sh/hook") {
                None => manifests.push(manifest),
                Some(events) => {
                    let events = words(events)
                        .into_iter()
                        .map(|event| if event == "test-success" { "test".to_owned() } else { event });
                    let events: Vec<String> = events.collect();
                    // Helm leaves out hooks of events that it does not know.
                    if !events.iter().all(|event| EVENTS.contains(&event.as_str())) {
                        continue;
                    }
                    let weight = annotation("helm.sh/hook-weight").and_then(|text| text.parse().ok()).unwrap_or(0);
                    let delete_policies = annotation("helm.sh/hook-delete-policy").map(words).unwrap_or_default();
                    hooks.push(Hook { manifest, events, weight, delete_policies });
                }
            }
        }
    }
    manifests.sort_by_key(|manifest| rank(&manifest.kind));
    hooks.sort_by_key(|hook| rank(&hook.manifest.kind));
    Ok((manifests, hooks))
}

const EVENTS: [&str; 9] = [
    "pre-install",
    "post-install",
    "pre-delete",
    "post-delete",
    "pre-upgrade",
    "post-upgrade",
    "pre-rollback",
    "post-rollback",
    "test",
];

/// Known kinds in their order, then the others by their names.
fn rank(kind: &str) -> (usize, String) {
    match ORDER.iter().position(|known| *known == kind) {
        Some(at) => (at, String::new()),
        None => (ORDER.len(), kind.to_owned()),
    }
}

/// The documents of a text: between lines that begin with `---`.
pub(crate) fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text.trim();
    // `(?:^|\s*\n)---\s*`, where `^` is the begin of the text only.
    if let Some(after) = rest.strip_prefix("---") {
        rest = after.trim_start();
    }
    while let Some(at) = rest.find("\n---") {
        parts.push(rest[..at].trim());
        rest = rest[at + "\n---".len()..].trim_start();
    }
    parts.push(rest.trim());
    parts.retain(|part| !part.is_empty());
    parts
}
