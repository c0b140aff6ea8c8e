//! Pods, and what holds their templates.

use super::{same, shown};

#[test]
fn every_kind_of_container_of_a_pod_is_found_with_its_place() {
    same(
        &shown(
            "apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop}
spec:
  initContainers:
  - {name: a, image: busybox}
  containers:
  - name: b
    image: 'nginx:1.27'   # the server
  ephemeralContainers:
  - image: quay.io/debug/tools@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
  volumes:
  - name: model
    image: {reference: ghcr.io/models/small:v2, pullPolicy: IfNotPresent}
",
        ),
        "+ 6:22 busybox Pod shop/web spec.initContainers[0].image [container]
        + 9:12 nginx:1.27 Pod shop/web spec.containers[0].image [container]
        + 11:12 quay.io/debug/tools@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 Pod shop/web spec.ephemeralContainers[0].image [container]
        + 14:24 ghcr.io/models/small:v2 Pod shop/web spec.volumes[0].image.reference [volume]",
    );
}

#[test]
fn every_kind_with_a_template_is_known() {
    for (api, kind, path) in [
        ("v1", "ReplicationController", "spec.template.spec"),
        ("v1", "PodTemplate", "template.spec"),
        ("apps/v1", "Deployment", "spec.template.spec"),
        ("extensions/v1beta1", "Deployment", "spec.template.spec"),
        ("apps/v1", "ReplicaSet", "spec.template.spec"),
        ("apps/v1", "StatefulSet", "spec.template.spec"),
        ("apps/v1", "DaemonSet", "spec.template.spec"),
        ("batch/v1", "Job", "spec.template.spec"),
        ("batch/v1beta1", "CronJob", "spec.jobTemplate.spec.template.spec"),
    ] {
        let parts: Vec<&str> = path.split('.').collect();
        let open: String = parts.iter().map(|part| format!("{{\"{part}\": ")).collect();
        let text = format!(
            "{{\"apiVersion\": \"{api}\", \"kind\": \"{kind}\", \"metadata\": {{\"name\": \"x\"}}, {}{{\"containers\": [{{\"image\": \"a:1\"}}]}}{}",
            &open[1..],
            "}".repeat(parts.len())
        );
        let found = shown(&text);
        assert!(
            found.starts_with('+')
                && found.ends_with(&format!("a:1 {kind} x {path}.containers[0].image [container]\n")),
            "{found}"
        );
    }
}

#[test]
fn lists_hold_objects_with_and_without_kinds() {
    same(
        &shown(
            "apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Pod
  metadata: {name: one}
  spec: {containers: [{image: a}]}
- {spec: {containers: [{image: lost}]}}
---
apiVersion: apps/v1
kind: DeploymentList
items:
- metadata: {name: two}
  spec: {template: {spec: {containers: [{image: b}]}}}
",
        ),
        "+ 7:31 a Pod one spec.containers[0].image [container]
        + 14:49 b Deployment two spec.template.spec.containers[0].image [container]
        W NoKind item 1 of this list has no kind and is not searched",
    );
}

#[test]
fn other_keys_of_known_kinds_are_no_images() {
    same(
        &shown(
            "apiVersion: v1
kind: Pod
metadata: {name: a, labels: {image: b}}
spec:
  nodeSelector: {image: c}
  containers:
  - {name: image, imagePullPolicy: Always, env: [{name: IMAGE_TAG, value: v1}]}
---
apiVersion: v1
kind: Service
metadata: {name: image}
spec: {selector: {app: image}}
",
        ),
        "",
    );
}

#[test]
fn arguments_variables_and_annotations_are_possible() {
    same(
        &shown(
            "apiVersion: v1
kind: Pod
metadata:
  name: a
  annotations:
    kubectl.kubernetes.io/last-applied-configuration: '{\"spec\":{\"containers\":[{\"image\":\"no\"}]}}'
    sidecar.example.io/proxyImage: proxy:1
    text: the image is nice
spec:
  containers:
  - image: operator:1
    args: [--sidecar-image=side:2, --other-image, other:3, --image-pull-policy=Always,
      --reloader=quay.io/x/reloader:v1, --listen=0.0.0.0:80, --url=https://a.b/c:1, --root=/etc/x:y,
      '--images=a=one:1,two:2', --image]
    command: [/bin/run, --use-image=true]
    env:
    - {name: RELATED_IMAGE_DB, value: 'db:4'}
    - {name: HELPER_IMAGE, value: $(OTHER)}
    - {name: SERVER, value: registry.example.com/team/server:5}
    - {name: IMAGE_COUNT, value: '3'}
    - {name: SOME_IMAGE, valueFrom: {fieldRef: {}}}
",
        ),
        "? 7:36 proxy:1 Pod a metadata.annotations[sidecar.example.io/proxyImage] [annotation]
        + 11:12 operator:1 Pod a spec.containers[0].image [container]
        ? 12:12 side:2 Pod a spec.containers[0].args[0] [argument]
        ? 12:51 other:3 Pod a spec.containers[0].args[2] [argument]
        ? 13:7 quay.io/x/reloader:v1 Pod a spec.containers[0].args[4] [argument]
        ? 14:7 one:1 Pod a spec.containers[0].args[8] [argument]
        ? 14:7 two:2 Pod a spec.containers[0].args[8] [argument]
        ? 17:39 db:4 Pod a spec.containers[0].env[0].value [environment]
        ? 19:29 registry.example.com/team/server:5 Pod a spec.containers[0].env[2].value [environment]",
    );
}

#[test]
fn a_node_selector_says_for_which_platform() {
    let pod = |selector: &str| {
        shown(&format!(
            "apiVersion: v1\nkind: Pod\nspec: {{nodeSelector: {{{selector}}}, containers: [{{image: a}}]}}\n"
        ))
    };
    assert!(pod("kubernetes.io/arch: arm64").trim_end().ends_with("for linux/arm64"));
    assert!(pod("beta.kubernetes.io/os: windows").trim_end().ends_with("for windows/amd64"));
    assert!(pod("kubernetes.io/os: linux").trim_end().ends_with("[container]"));
}

#[test]
fn an_image_that_a_mesh_puts_in_is_a_warning() {
    let text = |labels: &str| {
        shown(&format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: gw}}\nspec:\n  template:\n    metadata: {{{labels}}}\n    spec: {{containers: [{{name: p, image: auto}}]}}\n"
        ))
    };
    same(
        &text("annotations: {inject.istio.io/templates: gateway}"),
        "W AutoImage the image of this container is put in by a mesh",
    );
    assert!(text("").contains("auto Deployment gw spec.template.spec.containers[0].image [container]"));
}

#[test]
fn names_that_are_no_references_are_errors_with_their_place() {
    same(
        &shown(
            "apiVersion: v1
kind: Pod
metadata: {name: a}
spec:
  containers:
  - image: Nginx:1
  - image: 'a b'
  - image: 7
  - image: '{{ .Values.image }}'
  - image: null
  - {name: none}
",
        ),
        "E BadImage `Nginx:1`: the repository name must be lower case
        E BadImage `a b` is not an image reference: `a b` is not a valid part of a repository name
        E BadImage an image must be a string; this is a number
        W TemplatedImage which image `{{ .Values.image }}` is, is not known before it is rendered",
    );
}
