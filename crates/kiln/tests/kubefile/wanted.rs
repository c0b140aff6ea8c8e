//! Which images are wanted, and for which platforms: what lists, node selectors, charts' annotations and links say.

use std::os::unix::fs::symlink;

use crate::site::Site;

#[test]
fn a_line_of_a_list_says_for_which_platforms() {
    let site = Site::new();
    site.many("example/all:1", &["amd64", "arm64", "s390x"]);
    site.many("example/arm:1", &["arm64"]);
    site.many("example/plain:1", &["amd64", "arm64"]);
    site.write(
        "imageList",
        "--platform=linux/s390x,linux/arm64 example/all:1\n--platform=linux/arm64 example/arm:1\nexample/plain:1\n",
    );
    let text = "FROM scratch\nCOPY imageList manifests\n";
    let _ = site.build(text, "base:1", &["--platform", "linux/amd64"]).ok();
    let of = |image: &str, name: &str| site.platforms(image, &format!("docker.io/example/{name}:1"));
    assert_eq!(of("base:1", "all"), ["linux/arm64", "linux/s390x"]);
    assert_eq!(of("base:1", "arm"), ["linux/arm64"]);
    assert_eq!(of("base:1", "plain"), ["linux/amd64"]);
    let why = site.kiln(&["cluster", "images", "base:1", "--why", "arm:1"]).ok().stdout;
    assert!(why.contains("manifests/imageList:2 for linux/arm64 (images.list-file)"), "{why}");
    // A child has what its base has, though the registry has moved on.
    site.many("example/all:1", &["s390x", "arm64"]);
    let child = "FROM base:1\nCOPY recommended.yaml etc\n";
    let _ = site.build(child, "child:1", &["--platform", "linux/amd64"]).ok();
    let digest = |image: &str| site.field(image, "docker.io/example/all:1", "digest");
    assert_eq!(digest("child:1"), digest("base:1"));
    // And who names it for one that it is not there for is told.
    site.write("imageList", "--platform=linux/arm64 example/plain:1\n--platform=linux/riscv64 example/arm:1\n");
    let said = site.build(text, "a:1", &["--platform", "linux/amd64"]);
    assert!(said.code != 0 && said.stderr.contains("example/arm:1") && said.stderr.contains("riscv64"), "{said}");
}

/// A pod that runs on machines of one kind.
fn pod(name: &str, selector: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  nodeSelector: {{{selector}}}\n  \
         containers: [{{name: c, image: 'example/{name}:1'}}]\n---\n"
    )
}

#[test]
fn what_no_node_of_the_cluster_runs_is_left_out_with_a_warning() {
    let site = Site::new();
    site.many("example/all:1", &["amd64", "arm64"]);
    let all = pod("all", "kubernetes.io/os: linux");
    let amd64 = pod("amd64", "kubernetes.io/arch: amd64").replace("example/amd64:1", "example/all:1");
    let (arm64, windows) = (pod("arm64", "beta.kubernetes.io/arch: arm64"), pod("win", "kubernetes.io/os: windows"));
    site.write("pods.yaml", &format!("{all}{amd64}{arm64}{windows}"));
    let text = "FROM scratch\nCOPY pods.yaml manifests\n";
    let said = site.build(text, "a:1", &["--platform", "linux/amd64"]).ok();
    assert_eq!(site.names("a:1"), ["docker.io/example/all:1"]);
    for name in ["example/arm64:1: it is not contained", "example/win:1: it is not contained"] {
        assert!(said.stderr.contains(name), "{name}: {said}");
    }
    let why = site.kiln(&["cluster", "images", "a:1", "--why", "arm64"]).ok().stdout;
    assert!(why.contains("is not contained\n  manifests/pods.yaml:20, Pod arm64 for linux/arm64"), "{why}");
    // The user's word counts.
    site.many("example/arm64:1", &["arm64"]);
    site.write("list", "--platform=linux/arm64 example/arm64:1\n");
    let _ = site.build(text, "a:2", &["--platform", "linux/amd64", "--image-list", "list"]).ok();
    assert_eq!(site.platforms("a:2", "docker.io/example/arm64:1"), ["linux/arm64"]);
}

#[test]
fn what_a_chart_lists_is_contained_though_no_template_names_it() {
    let site = Site::new();
    let chart = "apiVersion: v2\nname: apollo\nversion: 0.3.0\nannotations:\n  helm.sh/images: |\n    \
                 - {name: side, image: example/side:1}\n    - {name: off, image: example/off:1, condition: off.on}\n";
    site.write("apollo/Chart.yaml", chart);
    site.write("apollo/images-lock.yaml", "images:\n- {image: example/locked:1}\n");
    site.image("example/side:1", "side");
    site.image("example/locked:1", "locked");
    let _ = site.build("FROM scratch\nCOPY apollo charts\n", "a:1", &["--strict"]).ok();
    let names = site.names("a:1");
    for name in ["apollo:1.9", "side:1", "locked:1"] {
        assert!(names.contains(&format!("docker.io/example/{name}")), "{name}: {names:?}");
    }
    assert!(!names.iter().any(|name| name.contains("/off")), "{names:?}");
    let why = site.kiln(&["cluster", "images", "a:1", "--why", "side"]).ok().stdout;
    assert!(why.contains("charts/apollo: annotation helm.sh/images (images.chart)"), "{why}");
}

#[test]
fn links_of_the_root_file_system_are_followed_inside_of_it() {
    let site = Site::new();
    let dir = site.t.context().join("root");
    let copy = |from: &str, to: &str| {
        std::fs::create_dir_all(dir.join(to).parent().unwrap()).unwrap();
        let from = site.t.context().join(from);
        let done = std::process::Command::new("cp").arg("-a").arg(from).arg(dir.join(to)).status().unwrap();
        assert!(done.success());
    };
    copy("recommended.yaml", "statics/dash.yaml");
    copy("apollo", "statics/apollo");
    copy("apollo/charts/portal", "statics/portal");
    std::fs::remove_dir_all(dir.join("statics/apollo/charts/portal")).unwrap();
    symlink("../../portal", dir.join("statics/apollo/charts/portal")).unwrap();
    for sub in ["manifests", "charts"] {
        std::fs::create_dir_all(dir.join(sub)).unwrap();
    }
    for (target, link) in [
        ("../statics/dash.yaml", "manifests/dash.yaml"),
        ("/statics/apollo", "charts/apollo"),
        // Circles, and nothing.
        (".", "manifests/here"),
        ("../manifests", "manifests/there"),
        ("loop.yaml", "manifests/loop.yaml"),
        ("/etc/passwd", "manifests/out.yaml"),
    ] {
        symlink(target, dir.join(link)).unwrap();
    }
    let text = "# kiln:dialect=sealos\nFROM scratch\nCOPY root /\n";
    let _ = site.build(text, "a:1", &["--strict"]).ok();
    let names = site.names("a:1");
    assert_eq!(names, ["docker.io/example/apollo:1.9", "docker.io/example/dash:v2.4.0", "quay.example/portal:2"]);
    let why = site.kiln(&["cluster", "images", "a:1", "--why", "dash"]).ok().stdout;
    assert!(why.contains("manifests/dash.yaml:20"), "{why}");
}

#[test]
fn archives_that_sealos_lists_are_pointed_out() {
    let site = Site::new();
    site.write("images/skopeo/tar.txt", "docker-archive:app.tar@example/app:1\n");
    let text = "# kiln:dialect=sealos\nFROM scratch\nCOPY images images\n";
    let said = site.build(text, "a:1", &[]).ok();
    assert!(said.stderr.contains("images/skopeo/tar.txt") && said.stderr.contains("--images"), "{said}");
}
