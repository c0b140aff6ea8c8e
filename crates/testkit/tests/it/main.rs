//! The bench itself, tried with tools that are not Kiln.

use kiln_testkit::{Auth, Layout, Registry, TestContext};

#[test]
fn images_made_by_hand_are_read_by_skopeo_and_umoci() {
    let t = TestContext::new();
    let layout = Layout::busybox(t.out("base"));
    let seen = t.tool("skopeo", &["inspect", "--config", &layout.skopeo("busybox:latest")]).ok().json();
    assert_eq!(seen["config"]["Cmd"][0], "sh");
    let copied = format!("oci:{}:x", t.out("copy").display());
    let _ = t.tool("skopeo", &["--insecure-policy", "copy", &layout.skopeo("busybox:latest"), &copied]).ok();
    let image = format!("{}:x", t.out("copy").display());
    let _ = t.tool("umoci", &["unpack", "--image", &image, &t.out("bundle").to_string_lossy()]).ok();
    assert!(t.out("bundle/rootfs/bin/busybox").is_file());
}

#[test]
fn each_kind_of_registry_takes_an_image_and_gives_it_back() {
    let t = TestContext::new();
    let layout = Layout::busybox(t.out("base"));
    for auth in [Auth::None, Auth::Basic, Auth::Tls] {
        let registry = Registry::start(auth);
        registry.push(&layout, "busybox:latest", "team/busybox:1");
        assert!(registry.digest("team/busybox:1").starts_with("sha256:"));
        let back = t.out(&format!("{auth:?}"));
        registry.pull("team/busybox:1", &format!("oci:{}:1", back.display()));
        assert!(back.join("index.json").is_file());
        assert!(registry.data().join("repositories/team/busybox").is_dir());
        assert_eq!(registry.ca().is_some(), auth == Auth::Tls);
    }
}

#[test]
fn a_context_holds_what_was_put_into_it() {
    let t = TestContext::new().file("a/b", 0o640, "x").symlink("l", "../nowhere").dir("d", 0o711);
    let listing = |path: &str| t.tool("stat", &["-c", "%A", &t.context().join(path).to_string_lossy()]).ok();
    assert_eq!(listing("a/b").text(), "-rw-r-----");
    assert_eq!(listing("d").text(), "drwx--x--x");
    assert_eq!(listing("l").text(), "lrwxrwxrwx");
}
