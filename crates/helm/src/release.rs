//! What a chart is rendered for: a release, and a cluster.

use kiln_gotmpl::{Failure, Object, Value};

use crate::version::Version;

/// The release that a chart becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Whether it replaces an older one.
    pub is_upgrade: bool,
    /// Which one it is, from 1.
    pub revision: i64,
    /// What `now` gives: seconds since 1970.
    pub now: i64,
    /// Where random texts come from: the same seed gives the same. Without one the system is asked. Keys and
    /// certificates are always random.
    pub seed: Option<u64>,
}

impl Default for Release {
    fn default() -> Release {
        let (name, namespace) = ("release-name".to_owned(), "default".to_owned());
        Release { name, namespace, is_upgrade: false, revision: 1, now: 0, seed: None }
    }
}

/// What the cluster can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// Its version: `v1.36.0`.
    pub kube_version: String,
    /// Versions of its interfaces, `apps/v1`, and kinds, `apps/v1/Deployment`.
    pub api_versions: Vec<String>,
}

/// The version of Kubernetes that the current helm takes where it asks no cluster.
pub const KUBE_VERSION: &str = "v1.36.0";

/// The interfaces that it takes for granted then.
const API_VERSIONS: [&str; 54] = [
    "v1",
    "admissionregistration.k8s.io/v1",
    "admissionregistration.k8s.io/v1alpha1",
    "admissionregistration.k8s.io/v1beta1",
    "internal.apiserver.k8s.io/v1alpha1",
    "apps/v1",
    "apps/v1beta1",
    "apps/v1beta2",
    "authentication.k8s.io/v1",
    "authentication.k8s.io/v1alpha1",
    "authentication.k8s.io/v1beta1",
    "authorization.k8s.io/v1",
    "authorization.k8s.io/v1beta1",
    "autoscaling/v1",
    "autoscaling/v2",
    "batch/v1",
    "batch/v1beta1",
    "certificates.k8s.io/v1",
    "certificates.k8s.io/v1beta1",
    "certificates.k8s.io/v1alpha1",
    "coordination.k8s.io/v1alpha2",
    "coordination.k8s.io/v1beta1",
    "coordination.k8s.io/v1",
    "discovery.k8s.io/v1",
    "discovery.k8s.io/v1beta1",
    "events.k8s.io/v1",
    "events.k8s.io/v1beta1",
    "extensions/v1beta1",
    "flowcontrol.apiserver.k8s.io/v1",
    "flowcontrol.apiserver.k8s.io/v1beta1",
    "flowcontrol.apiserver.k8s.io/v1beta2",
    "flowcontrol.apiserver.k8s.io/v1beta3",
    "networking.k8s.io/v1",
    "networking.k8s.io/v1beta1",
    "node.k8s.io/v1",
    "node.k8s.io/v1alpha1",
    "node.k8s.io/v1beta1",
    "policy/v1",
    "policy/v1beta1",
    "rbac.authorization.k8s.io/v1",
    "rbac.authorization.k8s.io/v1beta1",
    "rbac.authorization.k8s.io/v1alpha1",
    "resource.k8s.io/v1",
    "resource.k8s.io/v1beta2",
    "resource.k8s.io/v1beta1",
    "resource.k8s.io/v1alpha3",
    "scheduling.k8s.io/v1alpha2",
    "scheduling.k8s.io/v1beta1",
    "scheduling.k8s.io/v1",
    "storage.k8s.io/v1beta1",
    "storage.k8s.io/v1",
    "storage.k8s.io/v1alpha1",
    "storagemigration.k8s.io/v1beta1",
    "apiextensions.k8s.io/v1",
];

impl Default for Capabilities {
    fn default() -> Capabilities {
        Capabilities::of(KUBE_VERSION)
    }
}

impl Capabilities {
    /// A cluster of a version, with the usual interfaces.
    pub fn of(kube_version: &str) -> Capabilities {
        let kube_version = if kube_version.starts_with('v') { kube_version.to_owned() } else { format!("v{kube_version}") };
        let mut api_versions: Vec<String> = API_VERSIONS.map(str::to_owned).to_vec();
        api_versions.insert(api_versions.len() - 1, "apiextensions.k8s.io/v1beta1".to_owned());
        Capabilities { kube_version, api_versions }
    }

    pub(crate) fn value(&self) -> Value {
        Value::object(Shared { kube: KubeVersion::of(&self.kube_version), versions: self.api_versions.clone() })
    }
}

/// `.Capabilities`.
struct Shared {
    kube: KubeVersion,
    versions: Vec<String>,
}

impl Object for Shared {
    fn field(&self, name: &str) -> Option<Value> {
        match name {
            "KubeVersion" => Some(Value::object(self.kube.clone())),
            "APIVersions" => Some(Value::object(ApiVersions(self.versions.clone()))),
            "HelmVersion" => Some(Value::object(HelmVersion)),
            _ => None,
        }
    }

    fn print(&self) -> String {
        format!("&{{{} [{}] {}}}", self.kube.print(), self.versions.join(" "), HelmVersion.print())
    }

    fn type_name(&self) -> &'static str {
        "*common.Capabilities"
    }

    fn content(&self) -> Option<Value> {
        let fields = ["KubeVersion", "APIVersions", "HelmVersion"];
        Some(Value::dict(fields.into_iter().filter_map(|name| {
            let value = self.field(name)?;
            let Value::Object(object) = &value else { return None };
            Some((name.to_owned(), object.content()?))
        })))
    }
}

#[derive(Clone)]
struct KubeVersion {
    version: String,
    major: String,
    minor: String,
}

impl KubeVersion {
    fn of(version: &str) -> KubeVersion {
        let number = |pick: fn(&Version) -> u64| Version::parse(version).map_or_else(String::new, |v| pick(&v).to_string());
        KubeVersion { version: version.to_owned(), major: number(|v| v.major), minor: number(|v| v.minor) }
    }
}

impl Object for KubeVersion {
    fn field(&self, name: &str) -> Option<Value> {
        match name {
            "Version" | "GitVersion" => Some(self.version.as_str().into()),
            "Major" => Some(self.major.as_str().into()),
            "Minor" => Some(self.minor.as_str().into()),
            _ => None,
        }
    }

    fn call(&self, name: &str, arguments: &[Value]) -> Option<Result<Value, Failure>> {
        (name == "String" && arguments.is_empty()).then(|| Ok(self.version.as_str().into()))
    }

    fn print(&self) -> String {
        self.version.clone()
    }

    fn type_name(&self) -> &'static str {
        "common.KubeVersion"
    }

    fn content(&self) -> Option<Value> {
        let fields = [("Version", &self.version), ("Major", &self.major), ("Minor", &self.minor)];
        Some(Value::dict(fields.map(|(name, text)| (name.to_owned(), text.as_str().into()))))
    }
}

struct ApiVersions(Vec<String>);

impl Object for ApiVersions {
    fn field(&self, _: &str) -> Option<Value> {
        None
    }

    fn call(&self, name: &str, arguments: &[Value]) -> Option<Result<Value, Failure>> {
        (name == "Has").then(|| match arguments {
            [Value::String(wanted)] => Ok(self.0.iter().any(|version| **version == **wanted).into()),
            _ => Err(Failure::new("`Has` wants one text: `apps/v1`, or `apps/v1/Deployment`")),
        })
    }

    fn print(&self) -> String {
        format!("[{}]", self.0.join(" "))
    }

    fn truth(&self) -> bool {
        !self.0.is_empty()
    }

    fn type_name(&self) -> &'static str {
        "common.VersionSet"
    }

    fn content(&self) -> Option<Value> {
        Some(Value::list(self.0.iter().map(|version| version.as_str().into())))
    }
}

/// The helm whose habits are followed.
struct HelmVersion;

const HELM: &str = "v4.2";

impl Object for HelmVersion {
    fn field(&self, name: &str) -> Option<Value> {
        match name {
            "Version" => Some(HELM.into()),
            "GitCommit" | "GitTreeState" | "GoVersion" => Some("".into()),
            "KubeClientVersion" => Some("v1.36".into()),
            _ => None,
        }
    }

    fn print(&self) -> String {
        format!("{{{HELM}    v1.36}}")
    }

    fn content(&self) -> Option<Value> {
        Some(Value::dict([("version".to_owned(), HELM.into())]))
    }
}
