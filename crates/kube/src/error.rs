//! What can fail between Kiln and a cluster. No variant holds a token, a key or what a Secret holds.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why a build could not be handed to a cluster, or followed there.
#[derive(Debug, thiserror::Error)]
pub enum KubeError {
    /// The asynchronous machinery could not be started.
    #[error("cannot start the network threads: {0}")]
    Start(#[source] io::Error),
    /// A kubeconfig cannot be used.
    #[error("cannot use the kubeconfig {place}: {why}")]
    Kubeconfig {
        /// The file, or the variable that names it.
        place: String,
        /// What is wrong with it.
        why: String,
    },
    /// There is no kubeconfig, and this is no pod.
    #[error("there is no cluster to build on: there is no kubeconfig at {}, and this is not a pod", path.display())]
    NoCluster {
        /// Where one was looked for.
        path: PathBuf,
    },
    /// The program that the kubeconfig names for logging in failed.
    #[error("cannot log in to the cluster: {0}")]
    Login(String),
    /// No connection, or it broke, after all retries.
    #[error("cannot reach the cluster at {server}: {why}")]
    Unreachable {
        /// Its address.
        server: String,
        /// The innermost reason.
        why: String,
    },
    /// The API server's certificate is not trusted, or it does not speak TLS.
    #[error("the cluster at {server} is not trusted: {why}")]
    Untrusted {
        /// Its address.
        server: String,
        /// What TLS said.
        why: String,
    },
    /// The API server does not know who asks.
    #[error("the cluster at {server} does not accept the login of the kubeconfig: {message}")]
    Unauthorized {
        /// Its address.
        server: String,
        /// What it said.
        message: String,
    },
    /// Who asks may not do that.
    #[error("the cluster does not allow to {verb} {resource} in the namespace {namespace}: {message}")]
    Forbidden {
        /// The verb of the role that is missing.
        verb: &'static str,
        /// What it is about.
        resource: &'static str,
        /// Where.
        namespace: String,
        /// What the API server said.
        message: String,
    },
    /// The API server refuses an object.
    #[error("the cluster refuses {what}: {message}")]
    Refused {
        /// What was asked.
        what: String,
        /// The code of its answer.
        code: u16,
        /// What it said.
        message: String,
    },
    /// An object of the name is there already.
    #[error("the cluster has {what} already")]
    Exists {
        /// Which.
        what: String,
    },
    /// An answer that is not the protocol.
    #[error("the cluster answers wrongly about {what}: {why}")]
    Protocol {
        /// What was asked.
        what: String,
        /// What is wrong.
        why: String,
    },
    /// The context could not be read here.
    #[error("cannot read the packed context: {0}")]
    Context(#[source] io::Error),
    /// The context did not arrive.
    #[error("the context could not be handed over to the pod {pod}: {why}")]
    HandOver {
        /// The pod.
        pod: String,
        /// Why.
        why: String,
    },
    /// The pod can never run as it is.
    #[error("the pod cannot start: {0}")]
    CannotStart(String),
    /// The pod did not start in time.
    #[error("the pod did not start in {} s: {why}", after.as_secs())]
    TooLong {
        /// How long was waited.
        after: Duration,
        /// What it was waiting for at last.
        why: String,
    },
    /// The pod was taken away, or its node.
    #[error("the build was lost: {0}")]
    Lost(String),
    /// The caller gave up.
    #[error("stopped")]
    Cancelled,
}

impl KubeError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            KubeError::NoCluster { .. } => "name one with --kubeconfig FILE or KUBECONFIG",
            KubeError::Unauthorized { .. } => {
                "log in again, as with kubectl; `kubectl auth whoami` says who the cluster takes you for"
            }
            KubeError::Forbidden { verb, resource, namespace, .. } => {
                return Some(format!(
                    "deploy/kubernetes/role.yaml grants it; to see what you may do: kubectl auth can-i {verb} {resource} -n {namespace}"
                ));
            }
            KubeError::Untrusted { .. } => {
                "certificate-authority-data of the kubeconfig must be that of this cluster, and the address one of its names"
            }
            KubeError::HandOver { .. } => {
                "large contexts and unstable connections are better handed over in an object store: --context-store s3://BUCKET/PREFIX"
            }
            KubeError::CannotStart(why) => return cannot_start(why),
            KubeError::TooLong { .. } => "wait longer with --timeout, or for ever with --timeout 0",
            KubeError::Lost(why) if why.contains("OOMKilled") || why.contains("memory") => {
                "give the pod more memory: --limit memory=4Gi"
            }
            KubeError::Lost(why) if why.contains("DeadlineExceeded") => "give it more time with --deadline",
            KubeError::Lost(_) => "run the build again; with --priority-class it is less likely to be chosen",
            _ => return None,
        };
        Some(text.to_owned())
    }

    /// Whether what was to be made is surely not there because of this.
    pub fn made_nothing(&self) -> bool {
        use KubeError::{Exists, Forbidden, Login, Refused, Unauthorized, Untrusted};
        match self {
            // What took a server too long may have been done all the same.
            Refused { code, .. } => *code < 500,
            Exists { .. } | Forbidden { .. } | Login(_) | Unauthorized { .. } | Untrusted { .. } => true,
            _ => false,
        }
    }

    /// Whether the caller gave up.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, KubeError::Cancelled)
    }
}

fn cannot_start(why: &str) -> Option<String> {
    let text = if why.contains("PodSecurity") {
        "take a profile that the namespace allows, --pod-profile restricted, or label the namespace: docs/kubernetes.md"
    } else if why.contains("ImagePull") || why.contains("InvalidImageName") {
        "name the image of Kiln with --kiln-image, and a Secret for its registry with --image-pull-secret"
    } else if why.contains("user namespace") || why.contains("userns") {
        "the node has no user namespaces for pods: --host-users=true"
    } else {
        return None;
    };
    Some(text.to_owned())
}
