//! Requests, and what their failures mean.

use std::error::Error as StdError;

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{Api, ListParams};
use kube::core::Status;
use serde_json::Value;

use crate::error::KubeError;

/// What a request is about, for who reads of its failure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject {
    pub(crate) verb: &'static str,
    pub(crate) resource: &'static str,
}

const fn subject(verb: &'static str, resource: &'static str) -> Subject {
    Subject { verb, resource }
}

pub(crate) const CREATE_JOB: Subject = subject("create", "jobs");
pub(crate) const GET_JOB: Subject = subject("get", "jobs");
pub(crate) const DELETE_JOB: Subject = subject("delete", "jobs");
pub(crate) const CREATE_SECRET: Subject = subject("create", "secrets");
pub(crate) const DELETE_SECRET: Subject = subject("delete", "secrets");
pub(crate) const LIST_PODS: Subject = subject("list", "pods");
pub(crate) const WATCH_PODS: Subject = subject("watch", "pods");
pub(crate) const LIST_EVENTS: Subject = subject("list", "events");
pub(crate) const GET_LOG: Subject = subject("get", "pods/log");
pub(crate) const ATTACH: Subject = subject("get", "pods/attach");

/// A namespace of a cluster.
#[derive(Clone)]
pub(crate) struct Core {
    pub(crate) client: kube::Client,
    pub(crate) server: String,
    pub(crate) namespace: String,
}

impl Core {
    pub(crate) fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The pods of a Job.
    pub(crate) async fn pods_of(&self, job: &str) -> Result<(Vec<Pod>, String), KubeError> {
        let list = self.pods().list(&ListParams::default().labels(&format!("job-name={job}"))).await;
        let list = list.map_err(|e| self.failure(LIST_PODS, e))?;
        Ok((list.items, list.metadata.resource_version.unwrap_or_default()))
    }

    /// What the cluster said about an object of a name.
    pub(crate) async fn events_of(&self, kind: &str, name: &str) -> Result<Vec<Event>, KubeError> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let fields = format!("involvedObject.kind={kind},involvedObject.name={name}");
        let list = events.list(&ListParams::default().fields(&fields).limit(100)).await;
        Ok(list.map_err(|e| self.failure(LIST_EVENTS, e))?.items)
    }

    pub(crate) async fn job(&self, name: &str) -> Result<Value, KubeError> {
        self.request(GET_JOB, "GET", &format!("{}/{name}", self.path("jobs")), None).await
    }

    pub(crate) async fn create(&self, subject: Subject, object: &Value) -> Result<Value, KubeError> {
        // A server that is too old to be strict ignores that it is asked to.
        let path = format!("{}?fieldManager=kiln&fieldValidation=Strict", self.path(subject.resource));
        self.request(subject, "POST", &path, Some(object)).await
    }

    /// Deletes an object, and what belongs to it in the background; one that is not there is as good as deleted.
    pub(crate) async fn delete(&self, subject: Subject, name: &str) -> Result<(), KubeError> {
        let options =
            serde_json::json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"});
        let path = format!("{}/{name}", self.path(subject.resource));
        match self.send(subject, "DELETE", &path, Some(&options)).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(self.failure(subject, error)),
        }
    }

    fn path(&self, resource: &str) -> String {
        let group = if resource == "jobs" { "/apis/batch/v1" } else { "/api/v1" };
        format!("{group}/namespaces/{}/{resource}", self.namespace)
    }

    pub(crate) async fn request(
        &self,
        subject: Subject,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, KubeError> {
        self.send(subject, method, path, body).await.map_err(|e| self.failure(subject, e))
    }

    async fn send(
        &self,
        subject: Subject,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, kube::Error> {
        let bytes = body.map(Value::to_string).unwrap_or_default().into_bytes();
        let request = http::Request::builder().method(method).uri(path).header("Content-Type", "application/json");
        let request = request.body(bytes).map_err(kube::Error::HttpError)?;
        let _ = subject;
        self.client.request(request).await
    }

    /// A failure in the words of this crate.
    pub(crate) fn failure(&self, subject: Subject, error: kube::Error) -> KubeError {
        match error {
            kube::Error::Api(status) => self.refusal(subject, &status),
            error => broken(&self.server, subject, &error),
        }
    }

    fn refusal(&self, subject: Subject, status: &Status) -> KubeError {
        let message = shown(&status.message);
        let what = || format!("to {} {} in the namespace {}", subject.verb, subject.resource, self.namespace);
        match status.code {
            401 => KubeError::Unauthorized { server: self.server.clone(), message },
            // Admission forbids objects with the same code: only who lacks a right lacks a verb.
            403 if message.contains("cannot ") || message.is_empty() => KubeError::Forbidden {
                verb: subject.verb,
                resource: subject.resource,
                namespace: self.namespace.clone(),
                message,
            },
            409 => KubeError::Exists { what: format!("one of these {}", subject.resource) },
            _ => KubeError::Refused { what: what(), code: status.code, message },
        }
    }
}

/// A failure below the protocol.
pub(crate) fn broken(server: &str, subject: Subject, error: &kube::Error) -> KubeError {
    let server = server.to_owned();
    match error {
        kube::Error::SerdeError(e) => {
            KubeError::Protocol { what: subject.resource.to_owned(), why: shown(&e.to_string()) }
        }
        kube::Error::Auth(error) => login(error),
        error => {
            if let Some(auth) = find::<kube::client::AuthError>(error) {
                return login(auth);
            }
            match kiln_http::connection::tls_error(error) {
                Some(tls) => KubeError::Untrusted { server, why: shown(&tls.to_string()) },
                None => KubeError::Unreachable { server, why: kiln_http::connection::innermost(error) },
            }
        }
    }
}

/// Why nobody could log in. What a plugin writes to its standard output is a token, or nearly one.
fn login(error: &kube::client::AuthError) -> KubeError {
    use kube::client::AuthError;
    KubeError::Login(match error {
        // The command line has the whole environment of the plugin in it.
        AuthError::AuthExecRun { out, .. } => {
            let stderr = String::from_utf8_lossy(&out.stderr);
            let last = stderr.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it says nothing");
            format!("the kubeconfig's login plugin failed with {}: {}", out.status, shown(last))
        }
        AuthError::AuthExecParse(_) => "the login plugin's answer is not an ExecCredential".to_owned(),
        other => shown(&other.to_string()),
    })
}

fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// A text of the cluster's that can be shown.
pub(crate) fn shown(text: &str) -> String {
    kiln_http::printable(text.trim())
}
