//! The options of a build in a cluster.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use kiln_kube::plan::text::Format;
use kiln_kube::plan::{Pod, Profile, Template, template};
use serde_json::{Value, json};

use crate::error::CliError;

/// Where a build runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Place {
    /// In a Kubernetes cluster.
    #[value(alias = "k8s")]
    Kubernetes,
}

/// Options that have a meaning with `--on kubernetes` only.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "In a cluster")]
pub struct Options {
    /// Build as a Job of a cluster, one for each platform on a node of it
    #[arg(long, value_name = "WHERE")]
    pub on: Option<Place>,
    /// The kubeconfig [default: $KUBECONFIG, ~/.kube/config, the pod this runs in]
    #[arg(long, value_name = "FILE", requires = "on")]
    pub kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "NAME", requires = "on")]
    pub kube_context: Option<String>,
    /// Namespace of the Job [default: the kubeconfig's]
    #[arg(short = 'n', long, value_name = "NAME", requires = "on")]
    pub namespace: Option<String>,
    /// The image of Kiln that the pod runs
    #[arg(long, value_name = "IMAGE", env = "KILN_IMAGE", hide_env_values = true)]
    pub kiln_image: Option<String>,
    /// Secret with the login to the registry of Kiln's image (repeat)
    #[arg(long, value_name = "NAME", requires = "on")]
    pub image_pull_secret: Vec<String>,
    /// What the pod may: restricted (a plain user: RUN is emulated, and slower), baseline (root of the container), or
    /// userns (root of a user namespace); docs/kubernetes.md says what each builds
    #[arg(long, value_name = "NAME", requires = "on")]
    pub pod_profile: Option<String>,
    /// Whether the pod's users are the node's [default: no where the cluster is 1.33 or newer]
    #[arg(long, value_name = "BOOL", requires = "on")]
    pub host_users: Option<bool>,
    /// Service account of the pod
    #[arg(long, value_name = "NAME", requires = "on")]
    pub service_account: Option<String>,
    /// Label of the nodes that may build (repeat)
    #[arg(long, value_name = "NAME=VALUE", requires = "on")]
    pub node_selector: Vec<String>,
    /// Taint of nodes that may build all the same (repeat)
    #[arg(long, value_name = "NAME[=VALUE][:EFFECT]", requires = "on")]
    pub toleration: Vec<String>,
    /// Priority class of the pod
    #[arg(long, value_name = "NAME", requires = "on")]
    pub priority_class: Option<String>,
    /// Runtime class of the pod
    #[arg(long, value_name = "NAME", requires = "on")]
    pub runtime_class: Option<String>,
    /// What the pod is sure to have (repeat): cpu=2, memory=4Gi, ephemeral-storage=20Gi
    #[arg(long, value_name = "NAME=AMOUNT", requires = "on")]
    pub request: Vec<String>,
    /// What the pod has at most (repeat)
    #[arg(long, value_name = "NAME=AMOUNT", requires = "on")]
    pub limit: Vec<String>,
    /// Label of the Job and its pod (repeat)
    #[arg(long, value_name = "NAME=VALUE", requires = "on")]
    pub job_label: Vec<String>,
    /// Annotation of the Job and its pod (repeat)
    #[arg(long, value_name = "NAME=VALUE", requires = "on")]
    pub job_annotation: Vec<String>,
    /// A part of a pod template, as YAML, that is merged into the pod
    #[arg(long, value_name = "FILE", requires = "on")]
    pub pod_template: Option<PathBuf>,
    /// Hand the context over in an object store, not through the API server: s3://BUCKET/PREFIX, gs://, or an Azure URL
    #[arg(long, value_name = "URL", requires = "on")]
    pub context_store: Option<String>,
    /// Secret whose keys are variables of the pod, such as AWS_ACCESS_KEY_ID for the context
    #[arg(long, value_name = "NAME", requires = "on")]
    pub context_secret: Option<String>,
    /// Secret with the logins to registries, instead of those that are here [default KEY: .dockerconfigjson]
    #[arg(long, value_name = "NAME[:KEY]", requires = "on")]
    pub registry_secret: Option<String>,
    /// How long the pod may take to start; 0 is for ever
    #[arg(long, value_name = "TIME", default_value = "10m", requires = "on")]
    pub timeout: String,
    /// How long the build may take in all
    #[arg(long, value_name = "TIME", default_value = "6h", requires = "on")]
    pub deadline: String,
    /// Leave the Job, to look at it
    #[arg(long, requires = "on")]
    pub keep: bool,
    /// Print the manifests and stop; -o yaml or -o json says how
    #[arg(long, requires = "on")]
    pub dry_run: bool,
}

/// How long a cluster keeps the Job of a client that is gone.
const KEEP: Duration = Duration::from_mins(10);
/// The same with `--keep`.
const KEEP_LONG: Duration = Duration::from_hours(24);

impl Options {
    /// What is wanted of the pod.
    ///
    /// # Errors
    /// A value that cannot be one.
    pub fn pod(&self) -> Result<Pod, CliError> {
        let profile = match self.pod_profile.as_deref() {
            None => Profile::Restricted,
            Some(name) => name.parse().map_err(|e| CliError::usage(format!("--pod-profile {}: {e}", name)))?,
        };
        Ok(Pod {
            profile,
            host_users: self.host_users,
            service_account: self.service_account.clone(),
            node_selector: pairs("--node-selector", &self.node_selector)?,
            tolerations: self.toleration.iter().map(|text| toleration(text)).collect::<Result<_, _>>()?,
            priority_class: self.priority_class.clone(),
            runtime_class: self.runtime_class.clone(),
            requests: pairs("--request", &self.request)?,
            limits: pairs("--limit", &self.limit)?,
            pull_secrets: self.image_pull_secret.clone(),
            labels: pairs("--job-label", &self.job_label)?,
            annotations: pairs("--job-annotation", &self.job_annotation)?,
            deadline: time("--deadline", &self.deadline)?.max(Duration::from_secs(1)),
            keep: if self.keep { KEEP_LONG } else { KEEP },
            template: self.pod_template.as_ref().map(|path| read_template(path)).transpose()?,
        })
    }

    /// How long a pod may take to start.
    ///
    /// # Errors
    /// It is no time.
    pub fn start_timeout(&self) -> Result<Duration, CliError> {
        time("--timeout", &self.timeout)
    }

    /// The Secret with logins, and the key they have in it.
    ///
    /// # Errors
    /// It cannot be a Secret's name.
    pub fn logins(&self) -> Result<Option<(String, String)>, CliError> {
        let Some(text) = &self.registry_secret else { return Ok(None) };
        let (name, key) = text.split_once(':').unwrap_or((text, ".dockerconfigjson"));
        if !is_name(name) || key.is_empty() {
            return Err(CliError::usage(format!(
                "--registry-secret {text}: expected the name of a Secret, or NAME:KEY"
            )));
        }
        Ok(Some((name.to_owned(), key.to_owned())))
    }

    /// The namespace that was named.
    ///
    /// # Errors
    /// It cannot be a namespace's name.
    pub fn namespace(&self) -> Result<Option<&str>, CliError> {
        match self.namespace.as_deref() {
            Some(name) if !is_name(name) => {
                Err(CliError::usage(format!("--namespace {name}: this is not a namespace's name")))
            }
            name => Ok(name),
        }
    }
}

/// How `--dry-run` prints.
pub fn format(outputs: &[String]) -> Result<Format, CliError> {
    match outputs.iter().map(|text| &**text).collect::<Vec<_>>()[..] {
        [] | ["yaml"] => Ok(Format::Yaml),
        ["json"] => Ok(Format::Json),
        _ => Err(CliError::usage("--dry-run prints manifests: -o yaml or -o json")),
    }
}

/// A name as Kubernetes has them: it goes into addresses.
fn is_name(text: &str) -> bool {
    let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    (1..=253).contains(&text.len()) && text.chars().all(fine) && !text.starts_with(['-', '.'])
}

fn time(flag: &str, text: &str) -> Result<Duration, CliError> {
    match text {
        "0" => Ok(Duration::ZERO),
        text => Ok(crate::options::time(flag, Some(text))?.unwrap_or_default()),
    }
}

fn pairs(flag: &str, texts: &[String]) -> Result<BTreeMap<String, String>, CliError> {
    let pair = |text: &String| {
        let (name, value) = crate::options::key_value(text)
            .ok_or_else(|| CliError::usage(format!("{flag} {text}: expected NAME=VALUE")))?;
        Ok((name.to_owned(), value.to_owned()))
    };
    texts.iter().map(pair).collect()
}

/// `NAME[=VALUE][:EFFECT]`, as `kubectl taint` writes taints.
fn toleration(text: &str) -> Result<Value, CliError> {
    let (taint, effect) = text.split_once(':').unwrap_or((text, ""));
    let (key, value) = taint.split_once('=').map_or((taint, None), |(key, value)| (key, Some(value)));
    if key.is_empty() || !matches!(effect, "" | "NoSchedule" | "PreferNoSchedule" | "NoExecute") {
        let error = CliError::usage(format!("--toleration {text}: expected NAME[=VALUE][:EFFECT]"));
        return Err(error.with_hint("effects are NoSchedule, PreferNoSchedule and NoExecute"));
    }
    let mut toleration = match value {
        Some(value) => json!({"key": key, "operator": "Equal", "value": value}),
        None => json!({"key": key, "operator": "Exists"}),
    };
    if !effect.is_empty() {
        toleration["effect"] = json!(effect);
    }
    Ok(toleration)
}

fn read_template(path: &std::path::Path) -> Result<Template, CliError> {
    let shown = path.display();
    let failed = |why: String| CliError::input(format!("--pod-template {shown}: {why}"));
    let size = std::fs::metadata(path).map_err(|e| failed(e.to_string()))?.len();
    if size > template::MAX_SIZE {
        return Err(failed(format!("it is larger than {} bytes", template::MAX_SIZE)));
    }
    let text = std::fs::read_to_string(path).map_err(|e| failed(e.to_string()))?;
    Template::parse(&text).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taints_are_written_as_kubectl_has_them() {
        assert_eq!(toleration("a").unwrap(), json!({"key": "a", "operator": "Exists"}));
        let all = json!({"key": "a", "operator": "Equal", "value": "b", "effect": "NoSchedule"});
        assert_eq!(toleration("a=b:NoSchedule").unwrap(), all);
        for bad in ["", "=b", "a:Never"] {
            assert!(toleration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_that_lead_elsewhere_are_none() {
        assert!(is_name("team-a") && is_name("a.b"));
        for bad in ["", "a/b", "..", "A", "a?b", "-a", "a b", &"a".repeat(300)] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
