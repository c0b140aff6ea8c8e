//! Kinds of objects that an API server does not know: whether they will come, and where they are in a manifest.

use kiln_spec::source::Source;
use kiln_yaml::node::Node;

use super::manifest::objects;

/// Groups that come with Kubernetes: what of these is not known never will be.
const OWN: [&str; 24] = [
    "",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "apps",
    "auditregistration.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "extensions",
    "flowcontrol.apiserver.k8s.io",
    "internal.apiserver.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "resource.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
];

/// A kind, as `kubectl` says that there is none: `PodDisruptionBudget` of `policy/v1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind {
    /// Its name.
    pub kind: String,
    /// Its group and version.
    pub version: String,
}

impl Kind {
    /// Whether it can only be one of Kubernetes' own.
    pub fn is_kubernetes(&self) -> bool {
        let group = self.version.split_once('/').map_or("", |(group, _)| group);
        OWN.contains(&group)
    }

    /// The line of a manifest that an object of the kind starts in.
    pub fn line(&self, manifest: &Source) -> Option<usize> {
        let said = |object: &Node, key: &str, is: &str| object.at(&[key]).and_then(Node::text) == Some(is);
        let all = objects(&manifest.text).ok()?;
        let found =
            all.iter().find(|object| said(object, "kind", &self.kind) && said(object, "apiVersion", &self.version))?;
        Some(manifest.position(found.span.start).0)
    }
}

/// What `kubectl` says that there is none of: `no matches for kind "A" in version "b/v1"`.
pub fn unknown(lines: &[String]) -> Vec<Kind> {
    let kind = |rest: &str| {
        let (kind, rest) = rest.strip_prefix('"')?.split_once('"')?;
        let version = rest.strip_prefix(" in version \"")?.split_once('"')?.0;
        Some(Kind { kind: kind.to_owned(), version: version.to_owned() })
    };
    let all = lines.iter().flat_map(|line| line.split("no matches for kind ").skip(1));
    let mut found: Vec<Kind> = Vec::new();
    for kind in all.filter_map(kind) {
        if !found.contains(&kind) {
            found.push(kind);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_that_are_not_there_are_read_and_found() {
        let lines = [
            "unable to recognize \"/x/network.yaml\": no matches for kind \"PodDisruptionBudget\" in version \"policy/v1\"",
            "resource mapping not found for name: \"default\" namespace: \"\" from \"x\": no matches for kind \"Installation\" in version \"operator.tigera.io/v1\"",
            "unable to recognize \"/x/network.yaml\": no matches for kind \"PodDisruptionBudget\" in version \"policy/v1\"",
            "no matches for kind \"Broken",
            "daemonset.apps/x created",
        ]
        .map(str::to_owned);
        let found = unknown(&lines);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].is_kubernetes() && !found[1].is_kubernetes());
        assert!(!Kind { kind: "Gateway".into(), version: "gateway.networking.k8s.io/v1".into() }.is_kubernetes());
        assert!(Kind { kind: "Pods".into(), version: "v1".into() }.is_kubernetes());
        let text = "kind: A\n---\n# x\napiVersion: policy/v1\nkind: PodDisruptionBudget\n---\nkind: Installation\napiVersion: other/v1\n";
        let line = |kind: &Kind, text: &str| kind.line(&Source { name: String::new(), text: text.to_owned() });
        assert_eq!((line(&found[0], text), line(&found[1], text), line(&found[0], "[")), (Some(4), None, None));
    }
}
