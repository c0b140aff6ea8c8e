//! Whom to ask: a kubeconfig, or the pod that this runs in.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};

use crate::error::KubeError;

/// Where a cluster is, and how patient its client is.
#[derive(Debug, Clone)]
pub struct Config {
    /// The kubeconfig that the user named.
    pub kubeconfig: Option<PathBuf>,
    /// A context of it, instead of its current one.
    pub context: Option<String>,
    /// How long a pod may take to start; zero is for ever.
    pub start_timeout: Duration,
    /// Set when the caller gives up.
    pub cancel: Arc<AtomicBool>,
}

/// Where kubectl looks if nothing is said.
fn default_kubeconfig() -> PathBuf {
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty()).unwrap_or_default();
    PathBuf::from(home).join(".kube/config")
}

/// The files of `KUBECONFIG`, as kubectl reads them.
fn named_by_variable() -> Option<String> {
    std::env::var("KUBECONFIG").ok().filter(|value| !value.is_empty())
}

/// What the client is made of.
pub(crate) async fn load(config: &Config) -> Result<kube::Config, KubeError> {
    let options = KubeConfigOptions { context: config.context.clone(), ..KubeConfigOptions::default() };
    let (place, read) = match (&config.kubeconfig, named_by_variable()) {
        (Some(path), _) => (path.display().to_string(), Kubeconfig::read_from(path)),
        (None, Some(list)) => (format!("{list} (KUBECONFIG)"), Kubeconfig::from_env().map(Option::unwrap_or_default)),
        (None, None) => {
            let path = default_kubeconfig();
            if !path.exists() {
                return in_cluster(path);
            }
            (path.display().to_string(), Kubeconfig::read_from(&path))
        }
    };
    let failed = |error: KubeconfigError| KubeError::Kubeconfig { place: place.clone(), why: reason(&error) };
    let mut made = kube::Config::from_custom_kubeconfig(read.map_err(failed)?, &options).await.map_err(failed)?;
    if made.root_cert.is_none() && !made.accept_invalid_certs {
        made.root_cert = Some(system_authorities());
    }
    Ok(made)
}

fn in_cluster(path: PathBuf) -> Result<kube::Config, KubeError> {
    if std::env::var_os("KUBERNETES_SERVICE_HOST").is_none() {
        return Err(KubeError::NoCluster { path });
    }
    kube::Config::incluster().map_err(|e| KubeError::Kubeconfig {
        place: "of this pod".to_owned(),
        why: format!("{e}: the pod needs a service account's token (automountServiceAccountToken)"),
    })
}

/// What servers are checked against that no authority is named for.
fn system_authorities() -> Vec<Vec<u8>> {
    let file = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let (bundle, dir) = (file("SSL_CERT_FILE"), file("SSL_CERT_DIR"));
    kiln_http::connection::certificates(bundle.as_deref(), dir.as_deref())
}

/// Why a kubeconfig cannot be used, without its text: it holds keys and tokens.
fn reason(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::CurrentContextNotSet => "it has no current context; choose one with --kube-context".to_owned(),
        KubeconfigError::LoadContext(name) => format!("it has no context `{}`", kiln_http::printable(name)),
        KubeconfigError::LoadClusterOfContext(name) => {
            format!("it has no cluster `{}`, which its context names", kiln_http::printable(name))
        }
        KubeconfigError::ReadConfig(error, _) => error.to_string(),
        KubeconfigError::Parse(error) => match error.location() {
            Some(at) => format!("it is not a kubeconfig in YAML (line {}, column {})", at.line(), at.column()),
            None => "it is not a kubeconfig in YAML".to_owned(),
        },
        other => kiln_http::printable(&other.to_string()),
    }
}
