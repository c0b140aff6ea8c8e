//! Custom resources, whose types nobody knows.

use super::{ignoring, same, show, shown, source};
use kiln_manifests::{scan, values};

fn thing(spec: &str) -> String {
    shown(&format!("apiVersion: example.com/v1\nkind: Thing\nmetadata: {{name: t}}\nspec: {spec}\n"))
}

#[test]
fn keys_for_images_are_images() {
    same(&thing("{image: nginx}"), "+ 4:15 nginx Thing t spec.image [key]");
    same(
        &thing("{agentImage: a/b, backgroundImage: sunset}"),
        "+ 4:20 a/b Thing t spec.agentImage [key]\n? 4:42 sunset Thing t spec.backgroundImage [key]",
    );
    same(&thing("{parts: [{x-image: a:1}]}"), "+ 4:26 a:1 Thing t spec.parts[0].x-image [key]");
    same(
        &thing("{logoImage: https://a/b.png, iconImage: 'data:image/png;base64,AAAA', diskImage: images/disk.qcow2}"),
        "",
    );
    same(&thing("{image: {type: string}, imagePullPolicy: Always, imageGCHighThresholdPercent: 80}"), "");
}

#[test]
fn known_kinds_of_other_groups_are_custom_resources() {
    let text = "apiVersion: example.com/v1\nkind: Deployment\nmetadata: {name: d}\nspec: {image: a}\n";
    same(&shown(text), "+ 4:15 a Deployment d spec.image [key]");
}

#[test]
fn pods_in_custom_resources_are_pods() {
    same(
        &thing("{template: {spec: {containers: [{image: a, args: [--x-image=b:1]}]}}}"),
        "+ 4:47 a Thing t spec.template.spec.containers[0].image [container]
        ? 4:57 b:1 Thing t spec.template.spec.containers[0].args[0] [argument]",
    );
}

#[test]
fn parts_are_put_together() {
    for (spec, want) in [
        ("{image: {registry: quay.io, repository: a/b, tag: v1}}", "+ quay.io/a/b:v1"),
        (
            "{image: {repo: quay.io/a/b, digest: 'sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'}}",
            "+ quay.io/a/b@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ),
        ("{image: {name: a, tag: ''}}", "? a"),
        ("{controller: {registry: r.io, image: x/y, tag: v2}}", "+ r.io/x/y:v2"),
        ("{imageRepository: quay.io/a/b, imageTag: v3}", "+ quay.io/a/b:v3"),
        ("{sideImage: a/b, sideImageTag: v4}", "+ a/b:v4"),
        ("{baseImage: quay.io/p/p, version: v5}", "+ quay.io/p/p:v5"),
        ("{image: a/b:1, tag: v9}", "+ a/b:1"),
        ("{repository: a/b, tag: v6}", "+ a/b:v6"),
    ] {
        let found = thing(spec);
        let line = found.lines().next().unwrap_or_default();
        let mut words = line.split(' ');
        let got = format!("{} {}", words.next().unwrap_or_default(), words.nth(1).unwrap_or_default());
        assert_eq!((found.lines().count(), &*got), (1, want), "{spec}: {found}");
    }
}

#[test]
fn parts_of_other_things_are_no_images() {
    for spec in [
        "{repository: 'https://github.com/a/b', tag: v1}",
        "{chart: {repository: 'https://charts.example.com', version: 1.2.3}}",
        "{imageRepository: registry.k8s.io}",
        "{repository: backups}",
        "{name: a, version: v1}",
    ] {
        same(&thing(spec), "");
    }
}

#[test]
fn a_tag_that_is_a_number_is_used_as_written_with_a_warning() {
    same(
        &thing("{image: {repository: a/b, tag: 1.10}}"),
        "+ 4:28 a/b:1.10 Thing t spec.image.repository [parts]\nW NumberTag the tag 1.10 is a number, which Kubernetes reads as 1.1",
    );
    same(&thing("{image: {repository: a/b, tag: 7}}"), "+ 4:28 a/b:7 Thing t spec.image.repository [parts]");
}

#[test]
fn lists_of_images_are_images() {
    same(
        &thing("{images: [a:1, b, {image: 'c:2'}, {repository: d, tag: e}], extraImages: [f/g]}"),
        "+ 4:17 a:1 Thing t spec.images[0] [key]
        + 4:22 b Thing t spec.images[1] [key]
        + 4:33 c:2 Thing t spec.images[2].image [key]
        + 4:54 d:e Thing t spec.images[3].repository [parts]
        + 4:81 f/g Thing t spec.extraImages[0] [key]",
    );
}

#[test]
fn objects_in_objects_and_manifests_in_texts_are_searched() {
    same(
        &thing(
            "\n  manifests:\n  - apiVersion: v1\n    kind: Pod\n    metadata: {name: in}\n    spec: {containers: [{image: a}]}\n  raw: |\n    kind: Pod\n    apiVersion: v1\n    spec: {containers: [{image: b}]}\n  note: |\n    image: not this\n",
        ),
        "+ 9:33 a Pod in spec.manifests[0] > spec.containers[0].image [container]
        + 13:33 b Pod (without a name) spec.raw > spec.containers[0].image [container]",
    );
}

#[test]
fn status_and_metadata_name_no_images() {
    let text = "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: t, labels: {image: a}}\nstatus: {image: b}\nspec: {}\n";
    same(&shown(text), "");
}

#[test]
fn what_flux_pulls_is_found() {
    let flux = |reference: &str| {
        shown(&format!(
            "apiVersion: source.toolkit.fluxcd.io/v1\nkind: OCIRepository\nmetadata: {{name: f}}\nspec:\n  url: oci://ghcr.io/a/b\n  ref: {{{reference}}}\n"
        ))
    };
    same(&flux("tag: v1"), "+ 5:8 ghcr.io/a/b:v1 OCIRepository f spec.url [flux]");
    same(
        &flux("semver: '>=1'"),
        "W VersionRange which version of `ghcr.io/a/b` is in the range `>=1` only its registry knows",
    );
}

#[test]
fn a_kustomization_only_hints() {
    let text = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nimages:\n- {name: a, newName: quay.io/x/a, newTag: v2}\n";
    same(&shown(text), "? 4:10 quay.io/x/a:v2 Kustomization (without a name) images[0] [list]");
}

#[test]
fn the_ignore_list_has_names_full_names_and_patterns() {
    let text = "apiVersion: example.com/v1\nkind: Thing\nspec: {image: 'NOT AN/image', aImage: docker.io/library/busybox:latest, bImage: 'internal.example.com/x/y:1', cImage: 'keep:1'}\n";
    let spaces = "apiVersion: v1\nkind: Pod\nspec: {containers: [{image: 'Not:An:Image'}]}\n";
    let rules = ignoring("# not images\nNot:An:Image\nbusybox\n'internal.example.com/**'\n");
    same(
        &show(&scan(&source(text), &rules)),
        "+ 3:119 keep:1 Thing (without a name) spec.cImage [key]
        - 3:39 docker.io/library/busybox:latest by 1
        - 3:81 internal.example.com/x/y:1 by 2",
    );
    same(&show(&scan(&source(spaces), &rules)), "- 3:29 Not:An:Image by 0");
}

#[test]
fn values_of_charts_are_possible_and_have_the_version_of_the_application() {
    let text = "image: {repository: a/b, tag: ''}\nside: {image: {registry: quay.io, repository: c, tag: v1}}\nproxyImage: d:2\nbusybox: {image: e}\n";
    same(
        &show(&values(&source(text), Some("3.0"), &Default::default())),
        "? 1:21 a/b:3.0 image.repository [values]
        ? 2:47 quay.io/c:v1 side.image.repository [values]
        ? 3:13 d:2 proxyImage [values]
        ? 4:18 e busybox.image [values]",
    );
}
