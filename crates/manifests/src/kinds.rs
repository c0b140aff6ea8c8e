//! Objects by their kinds: where each has pods, and what is no manifest of images.

use kiln_oci::Platform;
use kiln_spec::diag::Diagnostic;
use kiln_yaml::{Map, Node};

use crate::finder::{Candidate, Finder, Scene};
use crate::found::{Certainty, Object};
use crate::pod::Pods;
use crate::walk::Walk;
use crate::{control_plane, inner, rule, scan};

/// The groups whose kinds are those of Kubernetes itself.
const GROUPS: [&str; 4] = ["", "apps", "batch", "extensions"];

/// Where kinds have the specification of a pod.
const PODS: [(&str, &[&str]); 9] = [
    ("Pod", &["spec"]),
    ("PodTemplate", &["template", "spec"]),
    ("ReplicationController", &["spec", "template", "spec"]),
    ("ReplicaSet", &["spec", "template", "spec"]),
    ("Deployment", &["spec", "template", "spec"]),
    ("StatefulSet", &["spec", "template", "spec"]),
    ("DaemonSet", &["spec", "template", "spec"]),
    ("Job", &["spec", "template", "spec"]),
    ("CronJob", &["spec", "jobTemplate", "spec", "template", "spec"]),
];

/// Searches a document: one object, a list of them, or something else.
pub fn object(finder: &mut Finder<'_>, scene: &Scene, root: &Node, text: &str) {
    if scan::is_chart(root) {
        return scan::chart(finder, scene, root, text);
    }
    let Some(map) = root.map() else {
        // A list of objects is no manifest, and is read like one.
        return Walk::objects(finder, scene, text).node(root);
    };
    let Some(id) = identity(root) else { return Walk::objects(finder, scene, text).node(root) };
    let (group, kind) = (id.api_version.split_once('/').map_or("", |(group, _)| group).to_owned(), id.kind.clone());
    let scene = Scene { object: Some(id), platforms: Vec::new(), ..scene.clone() };
    if GROUPS.contains(&&*group) {
        if let Some((_, path)) = PODS.iter().find(|(name, _)| *name == kind) {
            return pods(finder, &scene, root, text, path);
        }
        match &*kind {
            "ConfigMap" | "Secret" => return inner::data(finder, &scene, map, text, kind == "Secret"),
            _ if kind.ends_with("List") && map.get("items").is_some() => return items(finder, &scene, map, text),
            _ => {}
        }
    }
    match (&*group, &*kind) {
        ("apiextensions.k8s.io", "CustomResourceDefinition") => Walk::defaults(finder, &scene, text).node(root),
        ("kubeadm.k8s.io", "ClusterConfiguration") => control_plane::configuration(finder, &scene, map),
        ("kustomize.config.k8s.io", _) => Walk::kustomization(finder, &scene, text).node(root),
        ("source.toolkit.fluxcd.io", "OCIRepository") => artifact(finder, &scene, root),
        _ => {
            annotations(finder, &scene, root, text);
            Walk::custom(finder, &scene, text).node(root);
        }
    }
}

/// Who an object is; nothing, if it is none.
pub fn identity(root: &Node) -> Option<Object> {
    if !scan::is_object(root) {
        return None;
    }
    let text = |path: &[&str]| root.at(path).and_then(Node::text).map(str::to_owned);
    Some(Object {
        api_version: text(&["apiVersion"])?,
        kind: text(&["kind"])?,
        namespace: text(&["metadata", "namespace"]),
        name: text(&["metadata", "name"]).or_else(|| text(&["metadata", "generateName"])).unwrap_or_default(),
    })
}

fn items(finder: &mut Finder<'_>, scene: &Scene, map: &Map, text: &str) {
    let item_kind =
        scene.object.as_ref().and_then(|o| Some((o.api_version.clone(), o.kind.strip_suffix("List")?.to_owned())));
    for (i, item) in map.get("items").and_then(Node::list).unwrap_or_default().iter().enumerate() {
        let scene = Scene { object: None, prefix: String::new(), ..scene.clone() };
        match (&item_kind, identity(item)) {
            // Items of a DeploymentList need not say what they are.
            (Some((api_version, kind)), None) if !kind.is_empty() => {
                let name = item.at(&["metadata", "name"]).and_then(Node::text).unwrap_or_default().to_owned();
                let namespace = item.at(&["metadata", "namespace"]).and_then(Node::text).map(str::to_owned);
                let object = Object { api_version: api_version.clone(), kind: kind.clone(), namespace, name };
                let scene = Scene { object: Some(object), ..scene };
                match PODS.iter().find(|(name, _)| name == kind) {
                    Some((_, path)) => pods(finder, &scene, item, text, path),
                    None => Walk::custom(finder, &scene, text).node(item),
                }
            }
            (_, None) => {
                let message = format!("item {i} of this list has no kind and is not searched");
                finder.report(Diagnostic::warning("NoKind", scene.outer(item.span), message));
            }
            _ => object(finder, &scene, item, text),
        }
    }
}

/// An object with a pod at a path.
fn pods(finder: &mut Finder<'_>, scene: &Scene, root: &Node, text: &str, path: &[&str]) {
    annotations(finder, scene, root, text);
    let (_, to_template) = path.split_last().unwrap_or((&"", &[]));
    let template = root.at(to_template);
    if let (Some(template), false) = (template, to_template.is_empty()) {
        annotations(finder, &at(scene, &to_template.join(".")), template, text);
    }
    if let Some(spec) = root.at(path).and_then(Node::map) {
        let is_meshed = template.is_some_and(has_mesh);
        Pods { finder, scene, text, is_meshed }.spec(spec, &path.join("."));
    }
}

fn at(scene: &Scene, path: &str) -> Scene {
    let prefix = if scene.prefix.is_empty() { path.to_owned() } else { format!("{} > {path}", scene.prefix) };
    Scene { prefix, ..scene.clone() }
}

/// Whether the annotations or labels of a pod ask a mesh for containers.
fn has_mesh(template: &Node) -> bool {
    ["annotations", "labels"].iter().any(|what| {
        let map = template.at(&["metadata", what]).and_then(Node::map);
        map.is_some_and(|map| map.entries.iter().any(|e| e.key.contains("istio.io/") || e.key.contains("linkerd.io/")))
    })
}

/// The annotations of an object or template.
fn annotations(finder: &mut Finder<'_>, scene: &Scene, node: &Node, text: &str) {
    let Some(map) = node.at(&["metadata", "annotations"]).and_then(Node::map) else { return };
    for entry in &map.entries {
        if entry.key == "kubectl.kubernetes.io/last-applied-configuration" {
            continue;
        }
        let path = format!("metadata.annotations[{}]", entry.key);
        inner::hint(finder, scene, &entry.key, &entry.value, text, &path, &rule::ANNOTATION);
    }
}

/// What Flux pulls.
fn artifact(finder: &mut Finder<'_>, scene: &Scene, root: &Node) {
    let Some(url) = root.at(&["spec", "url"]) else { return };
    let Some(name) = url.text().and_then(|text| text.strip_prefix("oci://")) else { return };
    let part = |key: &str| root.at(&["spec", "ref", key]).and_then(Node::text);
    let text = match (part("digest"), part("semver"), part("tag")) {
        (Some(digest), _, _) => format!("{name}@{digest}"),
        (_, Some(range), _) => {
            let message = format!("which version of `{name}` is in the range `{range}` only its registry knows");
            return finder.report(
                Diagnostic::warning("VersionRange", scene.outer(url.span), message).hint("name a tag or digest"),
            );
        }
        (_, _, Some(tag)) => format!("{name}:{tag}"),
        _ => format!("{name}:latest"),
    };
    let candidate =
        Candidate { text: &text, span: url.span, path: "spec.url", rule: &rule::FLUX, certainty: Certainty::Named };
    finder.take(scene, &candidate);
}

/// The platform that a node selector asks for.
pub fn selected(spec: &Map) -> Option<Platform> {
    let selector = spec.get("nodeSelector")?.map()?;
    let label = |name: &str| {
        selector.text(&format!("kubernetes.io/{name}")).or_else(|| selector.text(&format!("beta.kubernetes.io/{name}")))
    };
    let (os, arch) = (label("os"), label("arch"));
    match (os, arch) {
        (None | Some("linux"), None) => None,
        (os, arch) => format!("{}/{}", os.unwrap_or("linux"), arch.unwrap_or("amd64")).parse().ok(),
    }
}
