//! Texts inside of texts.

use super::{same, shown};

#[test]
fn data_of_secrets_is_decoded() {
    // apiVersion: v1 / kind: Pod / spec: {containers: [{image: hidden:1}]}
    let text = "apiVersion: v1
kind: Secret
metadata: {name: s}
data:
  pod.yaml: YXBpVmVyc2lvbjogdjEKa2luZDogUG9kCnNwZWM6IHtjb250YWluZXJzOiBbe2ltYWdlOiBoaWRkZW46MX1dfQo=
  key: AAECAwQ=
stringData:
  SIDE_IMAGE: side:1
";
    same(
        &shown(text),
        "+ 5:13 hidden:1 Pod (without a name) data[pod.yaml] > spec.containers[0].image [container]
        ? 8:15 side:1 Secret s stringData[SIDE_IMAGE] [environment]",
    );
}

#[test]
fn what_is_in_the_data_of_a_config_map_without_a_kind_is_possible() {
    let text = "apiVersion: v1
kind: ConfigMap
metadata: {name: c}
data:
  ROOK_CSI_IMAGE: quay.io/cephcsi/cephcsi:v3
  server: registry.example.com/a/b:1
  config: |
    image: x/y:1
    other: [1]
  injector: |
    {{- if .x }}
    image: z/z:2
    image: {{ .y }}
    {{- end }}
  values: '{\"global\": {\"image\": {\"repository\": \"h/i\", \"tag\": \"1\"}}}'
  script: |
    #!/bin/sh
    echo image: none
";
    same(
        &shown(text),
        "? 5:19 quay.io/cephcsi/cephcsi:v3 ConfigMap c data[ROOK_CSI_IMAGE] [environment]
        ? 6:11 registry.example.com/a/b:1 ConfigMap c data[server] [environment]
        ? 8:12 x/y:1 ConfigMap c data[config] > image [key]
        ? 12:12 z/z:2 ConfigMap c data[injector] [line]
        ? 15:11 h/i:1 ConfigMap c data[values] > global.image.repository [parts]",
    );
}

#[test]
fn texts_in_texts_in_texts_have_a_limit() {
    let mut text =
        "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"spec\":{\"containers\":[{\"image\":\"deep:1\"}]}}".to_owned();
    let wrap = |inner: &str| {
        let inner = inner.replace('\\', "\\\\").replace('"', "\\\"");
        format!("{{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"data\":{{\"x\":\"{inner}\"}}}}")
    };
    for _ in 0..4 {
        text = wrap(&text);
    }
    assert!(shown(&text).starts_with("+ 1:"), "{}", shown(&text));
    assert!(shown(&wrap(&text)).starts_with("W TooDeep"), "{}", shown(&wrap(&text)));
}

#[test]
fn a_chart_says_its_images_in_annotations() {
    let text = "apiVersion: v2
name: web
version: 1.0.0
annotations:
  artifacthub.io/images: |
    - name: web
      image: quay.io/a/web:1
    - image: b:2
";
    same(
        &shown(text),
        "+ 7:14 quay.io/a/web:1 annotations[artifacthub.io/images] > [0].image [chart]
        + 8:14 b:2 annotations[artifacthub.io/images] > [1].image [chart]",
    );
}
