//! An order → the objects that carry it out. Nothing here asks anyone anything.
//!
//! [`profile`] which rights the pod has     [`template`] what the user merges into the pod     [`text`] objects as text
//!
//! Objects are JSON, not types: what the user's template says reaches the API server word by word, also fields that were
//! added to Kubernetes after this was written, and the server, which is asked to be strict, refuses what it does not know.
//!
//! Adding a setting: a field of [`Pod`], its place in [`manifests`], a row in the snapshot test.

pub mod profile;
pub mod template;
pub mod text;

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value, json};

pub use profile::Profile;
pub use template::Template;

/// The container that builds.
pub const CONTAINER: &str = "kiln";
/// Where the store is, on a volume of its own.
pub const VOLUME: &str = "/kiln";
/// Where the files of an order are.
pub const FILES: &str = "/run/kiln";
/// Where the build leaves what it made, for who asks the API server about the pod.
pub const RESULT: &str = "/dev/termination-log";
/// The kubelet keeps no more bytes of it.
pub const MAX_RESULT: usize = 4096;
/// The name of the registries' logins among the files.
pub const LOGINS: &str = "config.json";

/// A build that is to run in a cluster.
#[derive(Debug, Clone, Default)]
pub struct Order {
    /// The name of its objects.
    pub name: String,
    /// What the Jobs of one build, one a platform, have in common.
    pub build: String,
    /// The namespace of its objects.
    pub namespace: String,
    /// The image with Kiln.
    pub image: String,
    /// The command line, without the program.
    pub arguments: Vec<String>,
    /// Operating system and architecture of the node, if that matters.
    pub node: Option<(String, String)>,
    /// Whether the context comes on standard input.
    pub streamed: bool,
    /// What the build reads, by names below [`FILES`]: they may be secrets.
    pub files: BTreeMap<String, Vec<u8>>,
    /// A Secret with logins that is there already, and the key they have in it.
    pub logins: Option<(String, String)>,
    /// Variables.
    pub environment: Vec<(String, String)>,
    /// A Secret that is there already, whose keys are variables.
    pub environment_from: Option<String>,
    /// What the user wants of the pod.
    pub pod: Pod,
}

/// What the user wants of the pod.
#[derive(Debug, Clone)]
pub struct Pod {
    /// Its rights.
    pub profile: Profile,
    /// Whether its users are the node's; `None` leaves it to the cluster.
    pub host_users: Option<bool>,
    /// `serviceAccountName`.
    pub service_account: Option<String>,
    /// `nodeSelector`.
    pub node_selector: BTreeMap<String, String>,
    /// `tolerations`, as they are written in a pod.
    pub tolerations: Vec<Value>,
    /// `priorityClassName`.
    pub priority_class: Option<String>,
    /// `runtimeClassName`.
    pub runtime_class: Option<String>,
    /// `resources.requests`.
    pub requests: BTreeMap<String, String>,
    /// `resources.limits`.
    pub limits: BTreeMap<String, String>,
    /// `imagePullSecrets`.
    pub pull_secrets: Vec<String>,
    /// Labels of the Job and its pod.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the Job and its pod.
    pub annotations: BTreeMap<String, String>,
    /// How long it may take at most.
    pub deadline: Duration,
    /// How long the cluster keeps an ended Job that nobody removed.
    pub keep: Duration,
    /// What is merged into the pod.
    pub template: Option<Template>,
}

impl Default for Pod {
    fn default() -> Pod {
        Pod {
            profile: Profile::Restricted,
            host_users: None,
            service_account: None,
            node_selector: BTreeMap::new(),
            tolerations: Vec::new(),
            priority_class: None,
            runtime_class: None,
            requests: BTreeMap::new(),
            limits: BTreeMap::new(),
            pull_secrets: Vec::new(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            deadline: Duration::from_hours(6),
            keep: Duration::from_mins(10),
            template: None,
        }
    }
}

/// The objects of an order.
#[derive(Debug, Clone)]
pub struct Manifests {
    /// The namespace of both.
    pub namespace: String,
    /// The name of both.
    pub name: String,
    /// The Job.
    pub job: Value,
    /// The Secret with its files; it belongs to the Job, and goes with it.
    pub secret: Option<Value>,
    /// Whether the context comes on standard input.
    pub streamed: bool,
}

/// The objects that carry out an order.
pub fn manifests(order: &Order) -> Manifests {
    Manifests {
        namespace: order.namespace.clone(),
        name: order.name.clone(),
        job: job(order),
        secret: (!order.files.is_empty()).then(|| secret(order)),
        streamed: order.streamed,
    }
}

/// An object without the members that are empty: what is not said is the cluster's to decide.
fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    let said = |value: &Value| match value {
        Value::Null => false,
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        _ => true,
    };
    Value::Object(members.into_iter().filter(|(_, value)| said(value)).map(|(k, v)| (k.to_owned(), v)).collect())
}

fn labels(order: &Order) -> Value {
    let own = [
        ("app.kubernetes.io/name", "kiln"),
        ("app.kubernetes.io/component", "build"),
        ("app.kubernetes.io/instance", &order.build),
        ("app.kubernetes.io/managed-by", "kiln"),
    ];
    let own = own.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    let all: BTreeMap<String, String> = order.pod.labels.clone().into_iter().chain(own).collect();
    json!(all)
}

fn metadata(order: &Order) -> Value {
    object([
        ("name", json!(order.name)),
        ("namespace", json!(order.namespace)),
        ("labels", labels(order)),
        ("annotations", json!(order.pod.annotations)),
    ])
}

fn secret(order: &Order) -> Value {
    let data: Map<String, Value> =
        order.files.iter().map(|(name, bytes)| (name.clone(), json!(BASE64.encode(bytes)))).collect();
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": order.name, "namespace": order.namespace, "labels": labels(order)},
        "type": "Opaque",
        "immutable": true,
        "data": data,
    })
}

fn job(order: &Order) -> Value {
    let mut template = json!({
        "metadata": object([("labels", labels(order)), ("annotations", json!(order.pod.annotations))]),
        "spec": pod(order),
    });
    if let Some(more) = &order.pod.template {
        more.merge_into(&mut template);
    }
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata(order),
        "spec": {
            // A build that failed fails again; one that was lost with its node cannot have its context again.
            "backoffLimit": 0,
            "activeDeadlineSeconds": order.pod.deadline.as_secs().max(1),
            "ttlSecondsAfterFinished": order.pod.keep.as_secs(),
            "template": template,
        },
    })
}

fn pod(order: &Order) -> Value {
    let pod = &order.pod;
    let mut selector = pod.node_selector.clone();
    if let Some((os, arch)) = &order.node {
        selector.entry("kubernetes.io/os".to_owned()).or_insert_with(|| os.clone());
        selector.entry("kubernetes.io/arch".to_owned()).or_insert_with(|| arch.clone());
    }
    let names = |list: &[String]| Value::Array(list.iter().map(|name| json!({ "name": name })).collect());
    object([
        ("restartPolicy", json!("Never")),
        ("hostUsers", json!(pod.host_users)),
        ("serviceAccountName", json!(pod.service_account)),
        // A build has nothing to say to the API server, and what it runs even less.
        ("automountServiceAccountToken", json!(false)),
        ("enableServiceLinks", json!(false)),
        ("nodeSelector", json!(selector)),
        ("tolerations", json!(pod.tolerations)),
        ("priorityClassName", json!(pod.priority_class)),
        ("runtimeClassName", json!(pod.runtime_class)),
        ("imagePullSecrets", names(&pod.pull_secrets)),
        ("securityContext", pod.profile.pod()),
        ("containers", json!([container(order)])),
        ("volumes", volumes(order)),
    ])
}

fn container(order: &Order) -> Value {
    let own =
        [("KILN_STORE", format!("{VOLUME}/store")), ("HOME", VOLUME.to_owned()), ("DOCKER_CONFIG", FILES.to_owned())];
    let own = own.into_iter().map(|(name, value)| (name.to_owned(), value));
    let environment: Vec<Value> = own
        .chain(order.environment.iter().cloned())
        .map(|(name, value)| json!({"name": name, "value": value}))
        .collect();
    let mut mounts = vec![json!({"name": "kiln", "mountPath": VOLUME}), json!({"name": "tmp", "mountPath": "/tmp"})];
    if has_files(order) {
        mounts.push(json!({"name": "files", "mountPath": FILES, "readOnly": true}));
    }
    let from = order.environment_from.as_ref().map(|name| json!([{"secretRef": {"name": name}}]));
    object([
        ("name", json!(CONTAINER)),
        ("image", json!(order.image)),
        ("command", json!(["kiln"])),
        ("args", json!(order.arguments)),
        ("env", json!(environment)),
        ("envFrom", json!(from)),
        ("resources", object([("requests", json!(order.pod.requests)), ("limits", json!(order.pod.limits))])),
        ("securityContext", order.pod.profile.container()),
        ("stdin", json!(order.streamed.then_some(true))),
        ("stdinOnce", json!(order.streamed.then_some(true))),
        ("terminationMessagePath", json!(RESULT)),
        ("volumeMounts", json!(mounts)),
    ])
}

fn has_files(order: &Order) -> bool {
    !order.files.is_empty() || order.logins.is_some()
}

fn volumes(order: &Order) -> Value {
    let mut volumes = vec![json!({"name": "kiln", "emptyDir": {}}), json!({"name": "tmp", "emptyDir": {}})];
    let mut sources = Vec::new();
    if !order.files.is_empty() {
        sources.push(json!({"secret": {"name": order.name}}));
    }
    if let Some((name, key)) = &order.logins {
        sources.push(json!({"secret": {"name": name, "items": [{"key": key, "path": LOGINS}]}}));
    }
    if !sources.is_empty() {
        // The group is the pod's `fsGroup`.
        volumes.push(json!({"name": "files", "projected": {"defaultMode": 0o440, "sources": sources}}));
    }
    json!(volumes)
}

#[cfg(test)]
mod tests;
