//! Mistakes of tools that look for `image:` with a search through lines, each with a file that shows it.

use kiln_manifests::{Rules, image_list, scan};

use super::{listed, same, show, shown, source};

fn pod(container: &str) -> String {
    shown(&format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec:\n  containers:\n  - {container}\n"))
}

#[test]
fn a_comment_behind_the_name_is_not_part_of_it() {
    same(&pod("image: x # note"), "+ 6:12 x Pod p spec.containers[0].image [container]");
    // A name with `#` in it is refused, not cut.
    assert!(pod("image: x#note").starts_with("E BadImage"));
}

#[test]
fn tabs_and_quotes_around_a_name_do_not_matter() {
    same(&pod("image:\t'x'\t"), "+ 6:12 x Pod p spec.containers[0].image [container]");
    same(&pod("image: \"x\""), "+ 6:12 x Pod p spec.containers[0].image [container]");
}

#[test]
fn a_map_on_one_line_is_a_map() {
    same(&pod("{image: a, name: b}"), "+ 6:13 a Pod p spec.containers[0].image [container]");
    same(
        &pod("{\"name\":\"b\",\"image\":\"r:5000/a:1\"}"),
        "+ 6:25 r:5000/a:1 Pod p spec.containers[0].image [container]",
    );
}

#[test]
fn a_name_on_the_next_line_is_found() {
    same(&pod("image:\n      quay.io/a/b:1"), "+ 7:7 quay.io/a/b:1 Pod p spec.containers[0].image [container]");
    same(&pod("image: >-\n      quay.io/a/b:1"), "+ 7:7 quay.io/a/b:1 Pod p spec.containers[0].image [container]");
}

#[test]
fn an_anchor_is_the_value_it_names() {
    let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: &n a/b:1}\nspec: {containers: [{image: *n}]}\n";
    same(&shown(text), "+ 3:21 a/b:1 Pod a/b:1 spec.containers[0].image [container]");
}

#[test]
fn types_of_custom_resources_are_no_images_and_their_defaults_are_possible() {
    let text = "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.example.com}
spec:
  versions:
  - name: v1
    schema:
      openAPIV3Schema:
        properties:
          image:
            type: string
            description: |-
              image: string
          image-list:
            description: 'e.g. image: nginx'
          sidecarImage: {type: string, default: quay.io/x/side:1}
";
    same(&shown(text), "? 16:49 quay.io/x/side:1 CustomResourceDefinition things.example.com spec.versions.[0].schema.openAPIV3Schema.properties.sidecarImage [default]".replace(".[0]", "[0]").as_str());
}

#[test]
fn files_with_long_lines_are_read_to_their_end() {
    let text = format!(
        "apiVersion: v1\nkind: ConfigMap\ndata: {{x: \"{}\"}}\n---\napiVersion: v1\nkind: Pod\nspec: {{containers: [{{image: last}}]}}\n",
        "y".repeat(3 << 20)
    );
    let found = scan(&source(&text), &Rules::default());
    assert_eq!(found.images.iter().map(|f| &*f.text).collect::<Vec<_>>(), ["last"]);
}

#[test]
fn images_in_parts_in_arguments_and_in_the_data_of_config_maps_are_found() {
    let text = "apiVersion: example.com/v1
kind: Thing
metadata: {name: t}
spec: {image: {repository: quay.io/a/b, tag: v1}}
---
apiVersion: v1
kind: Pod
metadata: {name: p}
spec: {containers: [{image: x, args: ['--sidecar-image=side:1']}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: c}
data:
  pod.yaml: |
    apiVersion: v1
    kind: Pod
    metadata: {name: inner}
    spec:
      containers:
      - image: in/ner:1
";
    same(
        &shown(text),
        "+ 4:28 quay.io/a/b:v1 Thing t spec.image.repository [parts]
        + 9:29 x Pod p spec.containers[0].image [container]
        ? 9:39 side:1 Pod p spec.containers[0].args[0] [argument]
        + 21:16 in/ner:1 Pod inner data[pod.yaml] > spec.containers[0].image [container]",
    );
}

#[test]
fn digests_are_part_of_references() {
    let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    same(
        &listed(&format!("a/b@{digest}\na/b:1@{digest}\n")),
        &format!("+ 1:1 a/b@{digest}  [list-file]\n+ 2:1 a/b:1@{digest}  [list-file]"),
    );
    let both = image_list(&source(&format!("a/b:1@{digest}")), &Rules::default()).images.remove(0).reference;
    assert_eq!((both.tag.as_deref(), both.digest.map(|d| d.to_string()).as_deref()), (Some("1"), Some(digest)));
}

#[test]
fn what_cannot_be_parsed_is_never_skipped_in_silence() {
    assert!(listed("upper/CASE\n").starts_with("E BadImage"));
    assert!(pod("image: a::b").starts_with("E BadImage"));
}

#[test]
fn templates_are_searched_with_a_warning_that_names_the_line() {
    let text = "apiVersion: v1
kind: Pod
spec:
  {{- if .Values.enabled }}
  containers:
  - image: literal/name:1
  - image: {{ .Values.image }}:{{ .Values.tag }}
  - image: \"{{ .Values.repository }}:1\" # no
  # image: commented/out:1
  {{- end }}
---
apiVersion: v1
kind: Pod
metadata: {name: after}
spec: {containers: [{image: b}]}
";
    let scan = scan(&source(text), &Rules::default());
    let shown = show(&scan);
    assert!(
        shown.starts_with("+ 6:12 literal/name:1  [line]\n+ 15:29 b Pod after spec.containers[0].image [container]\n"),
        "{shown}"
    );
    let lines: Vec<_> = scan.diagnostics.iter().map(|d| (d.code, source(text).position(d.span.start).0)).collect();
    assert_eq!(lines[1..], [("TemplatedImage", 7), ("TemplatedImage", 8)], "{shown}");
    assert_eq!(lines[0].0, "UnreadableYaml");
    assert!(scan.diagnostics[0].message.contains("this is a template (line 4"), "{shown}");
}
