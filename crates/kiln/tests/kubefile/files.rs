//! Images that manifests and charts name.

use crate::KUBEFILE;
use crate::site::Site;

#[test]
fn manifests_charts_and_sub_charts_name_images() {
    let site = Site::new().with_kubernetes();
    let _ = site.build(KUBEFILE, "a:1", &[]).ok();
    let names = site.names("a:1");
    let expected = [
        "docker.io/example/apollo:1.9",
        "docker.io/example/dash:v2.4.0",
        "docker.io/library/mysql:5.6",
        "docker.io/library/nginx:latest",
        "quay.example/portal:2",
    ];
    assert_eq!(names, expected);
    let why = site.kiln(&["cluster", "images", "a:1", "--why", "dash"]).ok().stdout;
    assert!(why.contains("manifests/recommended.yaml:20") && why.contains("Deployment dash/dash"), "{why}");
    let why = site.kiln(&["cluster", "images", "a:1", "--why", "portal"]).ok().stdout;
    assert!(why.contains("charts/apollo/charts/portal/templates/pod.yaml:8, Pod portal (images.container)"), "{why}");
    let inspected = site.kiln(&["cluster", "inspect", "a:1"]).ok().stdout;
    assert!(inspected.contains("apollo 0.3.0, installs 1.9 (charts/apollo)"), "{inspected}");
}

#[test]
fn values_beside_a_chart_are_its_values() {
    let site = Site::new().with_kubernetes();
    site.image("example/apollo:2.0", "two");
    site.write("prod.yaml", "image: {tag: \"2.0\"}\nportal: {replicas: 2}\n");
    let text = "FROM kubernetes:v1.19.8\nCOPY --values=prod.yaml apollo charts\n";
    let _ = site.build(text, "a:1", &[]).ok();
    assert_eq!(site.names("a:1"), ["docker.io/example/apollo:2.0", "quay.example/portal:2"]);
}

#[test]
fn a_chart_that_cannot_be_rendered_is_searched_by_other_means() {
    let site = Site::new().with_kubernetes();
    site.write(
        "apollo/templates/broken.yaml",
        "x: {{ required \"set the domain\" .Values.domain }}\nimage: example/dash:v2.4.0\n",
    );
    let text = "FROM kubernetes:v1.19.8\nCOPY apollo charts\n";
    let built = site.build(text, "a:1", &["--no-images"]).ok();
    assert!(built.stderr.contains("warning: ") && built.stderr.contains("charts/apollo"), "{built}");
    assert!(built.stderr.contains("set the domain"), "{built}");
    let strict = site.build(text, "a:1", &["--strict"]).exits(1);
    assert!(strict.stderr.contains("charts/apollo") && strict.stderr.contains("--strict"), "{strict}");
}
