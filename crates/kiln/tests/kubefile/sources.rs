//! Where contained images come from: registries with logins, directories of registries, archives, the store.

use std::path::Path;

use crate::site::Site;

/// A registry's directory with one image under a repository without a host, as sealer and sealos keep it.
fn registry_dir(site: &Site, from: &str, repository: &str) -> std::path::PathBuf {
    let dir = site.t.context().join("registry/docker/registry/v2");
    std::fs::create_dir_all(dir.join("repositories")).unwrap();
    let data = site.registry.data();
    copy(&data.join("blobs"), &dir.join("blobs"));
    copy(&data.join("repositories").join(from), &dir.join("repositories").join(repository));
    site.t.context().join("registry")
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    let done = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(done.success());
}

#[test]
fn a_registrys_directory_is_read_before_registries() {
    let site = Site::new();
    site.image("library/pause:3.2", "pause");
    let digest = site.registry.digest("library/pause:3.2");
    let dir = registry_dir(&site, "library/pause", "pause");
    let text = "FROM scratch\nCOPY list manifests\n";
    site.write("list", "gone.example/pause:3.2\n");
    let dir = dir.to_str().unwrap();
    let _ = site.build(text, "a:1", &["--image-list", "list", "--registry-dir", dir]).ok();
    assert_eq!(site.field("a:1", "gone.example/pause:3.2", "digest"), digest);
    // In the root file system, its images are contained without being named.
    let text = "FROM scratch\nCOPY registry .\n";
    let _ = site.build(text, "b:1", &[]).ok();
    assert_eq!(site.names("b:1"), ["sea.hub:5000/pause:3.2"]);
    assert_eq!(site.field("b:1", "sea.hub:5000/pause:3.2", "digest"), digest);
}

#[test]
fn archives_layouts_and_the_store_have_images_too() {
    let site = Site::new();
    let list = format!("{}\nfrom/archive:1\n", site.registry.reference("library/nginx:latest"));
    site.write("list", &list);
    let _ = site.kiln(&["pull", &site.registry.reference("library/mysql:5.6")]).ok();
    let _ = site.kiln(&["tag", &site.registry.reference("library/mysql:5.6"), "from/archive:1"]).ok();
    let archive = site.t.out("x.tar");
    let archive = archive.to_str().unwrap();
    let _ = site.kiln(&["save", "-o", archive, "from/archive:1"]).ok();
    let _ = site.kiln(&["rmi", "from/archive:1"]).ok();
    let text = "FROM scratch\nCOPY recommended.yaml etc\n";
    let without = site.build(text, "a:1", &["--image-list", "list"]).exits(3);
    assert!(without.stderr.contains("from/archive:1") && without.stderr.contains("cannot be had"), "{without}");
    let _ = site.build(text, "a:1", &["--image-list", "list", "--images", archive]).ok();
    assert_eq!(site.names("a:1").len(), 2);
}

#[test]
fn lists_with_logins_reach_registries_that_ask() {
    let site = Site::new();
    let private = kiln_testkit::Registry::start(kiln_testkit::Auth::Basic);
    let dir = tempfile::tempdir().unwrap();
    let layout = kiln_testkit::Layout::busybox(dir.path().join("l"));
    private.push(&layout, "busybox:latest", "own/app:1");
    let login = |password: &str| {
        format!(
            "- registry: {}\n  username: {}\n  password: \"{password}\"\n  images: [own/app:1]\n",
            private.address(),
            kiln_testkit::registry::USER
        )
    };
    let text = "FROM scratch\nCOPY recommended.yaml etc\n";
    site.write("auth.yaml", &login("wrong-secret"));
    let refused = site.build(text, "a:1", &["--image-list-with-auth", "auth.yaml"]).exits(3);
    assert!(!refused.stderr.contains("wrong-secret"), "{refused}");
    site.write("auth.yaml", &login(kiln_testkit::registry::PASSWORD));
    let _ = site.build(text, "a:1", &["--image-list-with-auth", "auth.yaml"]).ok();
    assert_eq!(site.names("a:1"), [private.reference("own/app:1")]);
}

#[test]
fn what_is_ignored_is_not_contained() {
    let site = Site::new();
    site.write("ignored", "mysql*\n");
    let text = "FROM scratch\nCOPY imageList manifests\n";
    let _ = site.build(text, "a:1", &["--ignored-image-list", "ignored"]).ok();
    assert_eq!(site.names("a:1"), ["docker.io/library/nginx:latest"]);
}

#[test]
fn a_name_with_the_digest_of_an_index_keeps_that_index() {
    let site = Site::new();
    let dir = tempfile::tempdir().unwrap();
    let mut layout = kiln_testkit::Layout::busybox(dir.path().join("l"));
    let index: kiln_oci::Index =
        serde_json::from_slice(&std::fs::read(layout.dir().join("index.json")).unwrap()).unwrap();
    let mut child = index.manifests[0].clone();
    child.annotations.clear();
    let whole = serde_json::to_vec(&kiln_oci::Index::new(vec![child])).unwrap();
    let descriptor = layout.blob(kiln_oci::media::OCI_INDEX, &whole);
    let digest = descriptor.digest.to_string();
    layout.add("all:1", descriptor);
    site.registry.push(&layout, "all:1", "library/pinned:1");
    site.write("list", &format!("pinned@{digest}\n"));
    let text = "FROM scratch\nCOPY recommended.yaml etc\n";
    let _ = site.build(text, "a:1", &["--image-list", "list"]).ok();
    let name = format!("docker.io/library/pinned@{digest}");
    assert_eq!(site.field("a:1", &name, "index"), digest);
    // Another store has the index's bytes after a pull, for who asks by its digest.
    let (reference, store) = (site.target.reference("pinned:1"), site.t.out("other"));
    let _ = site.kiln(&["push", "a:1", &reference]).ok();
    let _ = site.kiln(&["--store", store.to_str().unwrap(), "pull", &reference]).ok();
    let blob = store.join("blobs/sha256").join(digest.trim_start_matches("sha256:"));
    assert_eq!(std::fs::read(blob).unwrap(), whole);
}

#[test]
fn what_a_base_contains_its_children_contain() {
    let site = Site::new();
    let _ = site.build("FROM scratch\nCOPY imageList manifests\nCOPY helm bin\nCMD one\n", "base:1", &[]).ok();
    let digest = site.field("base:1", "docker.io/library/nginx:latest", "digest");
    // The registry has moved on; the base has not, neither in the store nor where it was pushed.
    site.image("library/nginx:latest", "another nginx");
    let reference = site.target.reference("base:1");
    let _ = site.kiln(&["push", "base:1", &reference]).ok();
    let _ = site.build("FROM base:1\nCOPY recommended.yaml etc\n", "next:1", &[]).ok();
    assert_eq!(site.field("next:1", "docker.io/library/nginx:latest", "digest"), digest);
    assert_eq!(site.names("next:1"), site.names("base:1"));
    let store = site.t.out("other");
    let text = format!("FROM {reference}\nCOPY recommended.yaml etc\n");
    site.write("Kubefile", &text);
    let other = ["--store", store.to_str().unwrap()];
    let args = ["cluster", "build", "--retries=0", "-t", "far:1", "."];
    let _ = site.kiln(&[&other[..], &args].concat()).ok();
    let listed = site.kiln(&[&other[..], &["cluster", "images", "far:1"]].concat()).ok().stdout;
    assert_eq!(listed.lines().count(), 3, "{listed}");
    let pulled = site.build("FROM base:1\nCOPY recommended.yaml etc\n", "new:1", &["--pull"]);
    assert!(pulled.code != 0, "base:1 is in no registry that can be asked: {pulled}");
}
