//! Kiln's own provisioners.

use crate::Node;

#[test]
fn what_nodes_need_is_said_in_a_few_keys() {
    let node = Node::new().file("image.tar", "not looked into");
    let provisioners = r#"
        {"type": "kiln-timezone", "zone": "Asia/Shanghai"},
        {"type": "kiln-swap"},
        {"type": "kiln-sysctl", "settings": {"vm.swappiness": "0", "net.ipv4.ip_forward": "1"}},
        {"type": "kiln-dns", "nameservers": ["100.100.2.136", "10.0.0.2"], "cloud": "alicloud", "search": ["a.b"]},
        {"type": "kiln-repository", "kind": "apt", "id": "mine", "url": "http://mirror/debian", "suites": ["bookworm"]},
        {"type": "kiln-preload", "archives": ["image.tar"]},
        {"type": "kiln-kernel", "version": "6.1.0-9-node"}"#;
    let out = node.provision(provisioners, &[]).ok().stdout;
    assert!(out.contains("    node: kernel 6.1.0-9-node boots\n"), "{out}");
    let listing = node.listing();
    for link in [
        "etc/localtime -> ../usr/share/zoneinfo/Asia/Shanghai",
        "etc/systemd/system/swap.target -> /dev/null",
        "multi-user.target.wants/kiln-preload.service -> ../kiln-preload.service",
    ] {
        assert!(listing.contains(link), "{link} in\n{listing}");
    }
    assert_eq!(
        node.content("etc/fstab"),
        "LABEL=root / ext4 defaults 0 1\n# no swap on nodes: /swapfile none swap sw 0 0\n"
    );
    assert_eq!(node.content("etc/sysctl.d/99-kiln.conf"), "vm.swappiness = 0\nnet.ipv4.ip_forward = 1\n");
    assert_eq!(
        node.content("etc/resolv.conf"),
        "options timeout:2 attempts:3\nsearch a.b\nnameserver 100.100.2.136\nnameserver 10.0.0.2\n"
    );
    assert_eq!(
        node.content("etc/apt/sources.list.d/mine.sources"),
        "Types: deb\nURIs: http://mirror/debian\nSuites: bookworm\n"
    );
    assert_eq!(node.content("var/lib/kiln/preload/image-000.tar"), "not looked into");
    assert!(node.content("etc/systemd/system/kiln-preload.service").contains("Before=kubelet.service"));
}

#[test]
fn mistakes_are_found_before_anything_runs() {
    let node = Node::new();
    for (block, wanted) in [
        (r#"{"type": "kiln-sysctl", "settings": {"fs.file-max": "5"}}"#, "but ACK (it sets it on every node) sets it"),
        (r#"{"type": "kiln-sysctl", "settings": {"x": "5"}}"#, "`x` is no kernel parameter"),
        (
            r#"{"type": "kiln-dns", "nameservers": ["8.8.8.8"], "cloud": "alicloud"}"#,
            "none of the cloud's name servers",
        ),
        (r#"{"type": "kiln-dns", "nameservers": ["8.8.8.8"], "cloud": "alicoud"}"#, "did you mean `alicloud`?"),
        (r#"{"type": "kiln-timezone", "zone": "/etc/passwd"}"#, "is no time zone"),
        (r#"{"type": "kiln-repository", "kind": "yum", "id": "m", "url": "http://m/"}"#, "none is given"),
        (r#"{"type": "kiln-preload"}"#, "give 1 to"),
        (r#"{"type": "kiln-kernel"}"#, "names neither packages nor a version"),
        (r#"{"type": "kiln-swapp"}"#, "did you mean `kiln-swap`?"),
    ] {
        let out = node.provision(block, &[]).exits(1);
        assert!(out.stderr.contains(wanted), "{wanted:?} in\n{}", out.stderr);
        assert_eq!(out.stdout, "");
    }
}

#[test]
fn what_the_image_lacks_fails_the_build() {
    let node = Node::new();
    for (block, wanted) in [
        (r#"{"type": "kiln-timezone", "zone": "Mars/Base"}"#, "is tzdata installed?"),
        (r#"{"type": "kiln-kernel", "version": "9.9.9"}"#, "the kernel 9.9.9 is not installed"),
        (r#"{"type": "kiln-kernel", "version": "6.1.0-9-node", "minimum": "6.2"}"#, "is older than 6.2"),
        (r#"{"type": "kiln-kernel", "packages": ["kernel"]}"#, "no apt-get, dnf or yum"),
    ] {
        let out = node.provision(block, &[]).exits(1);
        assert!(out.stdout.contains(wanted), "{wanted:?} in\n{}", out.stdout);
    }
}
