//! Lists of a whole cluster, for who looks and changes nothing.

use std::time::Duration;

use serde_json::Value;

use crate::call::{Core, Subject};
use crate::cluster::Cluster;
use crate::error::KubeError;

/// Objects that are asked for at one time, and pages that are taken of one list.
const PAGE: usize = 500;
const PAGES: usize = 100;
/// How long one page may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is listed, of all namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed {
    /// Nodes.
    Nodes,
    /// Pods.
    Pods,
    /// Services.
    Services,
    /// The addresses behind services.
    EndpointSlices,
    /// Events of the kind `Warning`.
    Warnings,
}

impl Listed {
    /// As the API calls them.
    pub fn name(self) -> &'static str {
        match self {
            Listed::Nodes => "nodes",
            Listed::Pods => "pods",
            Listed::Services => "services",
            Listed::EndpointSlices => "endpointslices",
            Listed::Warnings => "events",
        }
    }

    /// Where they are; then where they were in older releases.
    fn paths(self) -> &'static [&'static str] {
        match self {
            Listed::Nodes => &["/api/v1/nodes?"],
            Listed::Pods => &["/api/v1/pods?"],
            Listed::Services => &["/api/v1/services?"],
            // The second is of those before 1.21; what is read of it is the same.
            Listed::EndpointSlices => {
                &["/apis/discovery.k8s.io/v1/endpointslices?", "/apis/discovery.k8s.io/v1beta1/endpointslices?"]
            }
            Listed::Warnings => &["/api/v1/events?fieldSelector=type%3DWarning&"],
        }
    }
}

impl Cluster {
    /// All objects of a kind, up to fifty thousand of them.
    ///
    /// # Errors
    /// The cluster refuses, stays away, or does not answer a page in twenty seconds.
    pub fn list(&self, what: Listed) -> Result<Vec<Value>, KubeError> {
        let mut answer = Ok(Vec::new());
        for path in what.paths() {
            answer = self.list_at(what, path);
            if !matches!(answer, Err(KubeError::Refused { code: 404, .. })) {
                break;
            }
        }
        answer
    }

    fn list_at(&self, what: Listed, path: &'static str) -> Result<Vec<Value>, KubeError> {
        let core = Core { namespace: "*".to_owned(), ..self.core.clone() };
        self.run(async move {
            let late = || KubeError::Unreachable {
                server: core.server.clone(),
                why: format!("no answer for {} s", PATIENCE.as_secs()),
            };
            let (mut out, mut next) = (Vec::new(), String::new());
            for _ in 0..PAGES {
                let path = format!("{path}limit={PAGE}{next}");
                let subject = Subject { verb: "list", resource: what.name() };
                let asked = core.request(subject, "GET", &path, None);
                let mut page = tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err(late()))?;
                if let Some(Value::Array(items)) = page.get_mut("items").map(Value::take) {
                    out.extend(items);
                }
                match page.pointer("/metadata/continue").and_then(Value::as_str) {
                    Some(token) if !token.is_empty() => next = format!("&continue={}", escaped(token)),
                    _ => break,
                }
            }
            Ok(out)
        })
    }
}

/// A text as a part of a query.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ => out += &format!("%{byte:02X}"),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn tokens_are_escaped() {
        assert_eq!(super::escaped("a-b/c=="), "a-b%2Fc%3D%3D");
    }
}
