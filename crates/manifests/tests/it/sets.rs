//! All images of all files.

use kiln_manifests::{Certainty, Rules, Set, image_list, scan};
use kiln_oci::Platform;

use super::source;

fn set(list: &str, manifest: &str) -> Set {
    let mut set = Set::new();
    set.add(image_list(&source(list), &Rules::default()));
    set.add(scan(&source(manifest), &Rules::default()));
    set
}

const MANIFEST: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {nodeSelector: {kubernetes.io/arch: arm64}, containers: [{image: 'docker.io/library/nginx:latest', args: [--x-image=side:1]}]}\n";

#[test]
fn an_image_is_there_once_with_all_its_places() {
    let set =
        set("nginx\n--platform=linux/amd64 nginx:latest\nk8s.gcr.io/pause:3.2\nregistry.k8s.io/pause:3.2\n", MANIFEST);
    let named: Vec<_> = set.named().map(|i| (i.reference.to_string(), i.places.len())).collect();
    assert_eq!(
        named,
        [
            ("docker.io/library/nginx:latest".to_owned(), 3),
            ("k8s.gcr.io/pause:3.2".to_owned(), 1),
            ("registry.k8s.io/pause:3.2".to_owned(), 1)
        ]
    );
    assert_eq!(set.possible().map(|i| i.reference.familiar()).collect::<Vec<_>>(), ["side:1"]);
}

#[test]
fn platforms_are_those_of_all_places() {
    let set = set("nginx\nnginx\n", MANIFEST);
    let nginx = set.named().next().unwrap();
    let shown: Vec<_> = nginx.platforms(&[Platform::linux("amd64")]).iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["linux/amd64", "linux/arm64"]);
}

#[test]
fn one_can_ask_why_an_image_is_there() {
    let set = set("quay.io/a/pause:1\nr.io/pause:2\nbusybox:1\nbusybox:2\n", "");
    let why = |text: &str| set.why(text).iter().map(|i| i.reference.familiar()).collect::<Vec<_>>();
    assert_eq!(why("busybox"), ["busybox:1", "busybox:2"]);
    assert_eq!(why("docker.io/library/busybox:2"), ["busybox:2"]);
    assert_eq!(why("pause"), ["quay.io/a/pause:1", "r.io/pause:2"]);
    assert_eq!(why("pause:2"), ["r.io/pause:2"]);
    assert_eq!(why("nothing"), Vec::<String>::new());
    assert_eq!(set.why("busybox:2")[0].places[0].to_string(), "a.yaml:4:1: line of a list of images");
}

#[test]
fn a_possible_image_that_is_named_elsewhere_is_named() {
    let set = set("side:1\n", MANIFEST);
    assert!(set.all().all(|i| i.certainty() == Certainty::Named));
}
