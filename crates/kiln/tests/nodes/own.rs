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
        {"type": "kiln-preload", "archives": ["image.tar"], "mode": "archive"},
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

/// A Dockerfile makes the system, and what nodes need comes on top of it: docs/node-images.md.
#[test]
fn what_a_dockerfile_made_gets_what_nodes_need() {
    let node = Node::new().file("Dockerfile", "FROM scratch\nADD base.tar /\nRUN echo a Dockerfile >/etc/made-by\n");
    let _ = node.t.kiln(&["build", "-q", "-t", "system", "."]).ok();
    node.write(
        "t.json",
        &crate::template(r#"{"type": "kiln-timezone", "zone": "Asia/Shanghai"}, {"type": "kiln-swap"}"#, ""),
    );
    let _ = node.t.kiln(&["node", "build", "-base", "docker-image://system", "t.json"]).ok();
    assert_eq!(node.content("etc/made-by"), "a Dockerfile\n");
    assert!(node.listing().contains("etc/localtime -> ../usr/share/zoneinfo/Asia/Shanghai"));
    assert!(node.content("etc/fstab").contains("# no swap on nodes"));
}

/// The same blocks as a script that a `RUN` runs give the same files.
#[test]
fn a_dockerfile_runs_them_as_a_script() {
    let own = r#"{"type": "kiln-timezone", "zone": "Asia/Shanghai"}, {"type": "kiln-swap"},
        {"type": "kiln-sysctl", "settings": {"vm.swappiness": "0"}},
        {"type": "kiln-repository", "kind": "apt", "id": "mine", "url": "http://m/", "suites": ["bookworm"]},
        {"type": "kiln-kernel", "version": "6.1.0-9-node"}"#;
    let run = "RUN --mount=type=bind,source=setup.sh,target=/setup.sh sh /setup.sh";
    let node = Node::new().file("Dockerfile", &format!("FROM scratch\nADD base.tar /\n{run}\n"));
    node.write("t.json", &crate::template(own, ""));
    let script = node.t.kiln(&["node", "script", "t.json"]).ok().stdout;
    node.write("setup.sh", &script);
    let _ = node.t.kiln(&["build", "-q", "--output=type=tar,dest=made.tar", "."]).ok();
    let _ = node.build(&crate::template(own, ""), &[]).ok();
    let by_run = node.t.context().join("made.tar");
    let list = |tar: &std::path::Path| {
        let all = "tar -tvf $0 | awk '{print $1,$2,$6,$7,$8}' | sort; tar -xOf $0 etc/fstab etc/sysctl.d/99-kiln.conf \
                   etc/timezone etc/apt/sources.list.d/mine.sources 2>/dev/null";
        let out = std::process::Command::new("sh").args(["-c", all]).arg(tar).output().unwrap();
        String::from_utf8(out.stdout).unwrap().replace(" ./", " ")
    };
    let (ours, theirs) = (list(&by_run), list(&node.image()));
    assert!(ours.contains("vm.swappiness = 0\n") && ours.contains("# no swap on nodes"), "{ours}");
    assert_eq!(ours, theirs);
    for (block, wanted) in [
        (r#"{"type": "kiln-dns", "nameservers": ["9.9.9.9"]}"#, "resolv.conf belongs to the build while a RUN runs"),
        (r#"{"type": "kiln-preload", "images": ["a"]}"#, "from outside"),
        (r#"{"type": "kiln-verify", "profile": "ack"}"#, "type=disk,verify=PROFILE"),
        (r#"{"type": "kiln-headers", "btf": true}"#, "btf is looked at from outside"),
        (r#"{"type": "kiln-kernel", "packages": ["./base.tar"]}"#, "it copies files of this machine"),
        (r#"{"type": "shell", "inline": ["true"]}"#, "it is not one of Kiln's own"),
        (r#"{"type": "kiln-timezone", "zone": "/x"}"#, "is no time zone"),
    ] {
        node.write("t.json", &crate::template(block, ""));
        let out = node.t.kiln(&["node", "script", "t.json"]).exits(1);
        assert!(out.stderr.contains(wanted) && out.stderr.contains("t.json:1"), "{wanted}: {out}");
        assert_eq!(out.stdout, "");
    }
    let two = r#"{"builders": [{"type": "offline", "name": "a"}, {"type": "offline", "name": "b"}]}"#;
    node.write("t.json", two);
    let out = node.t.kiln(&["node", "script", "t.json"]).exits(1);
    assert!(out.stderr.contains("a script is of one build, and these are 2: a, b"), "{out}");
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
        (r#"{"type": "kiln-preload", "images": ["a"], "mode": "contents"}"#, "did you mean `content`?"),
        (r#"{"type": "kiln-preload", "archives": ["none.tar"]}"#, "no OCI layout"),
        (r#"{"type": "kiln-kernel"}"#, "names neither packages nor a version"),
        (r#"{"type": "kiln-swapp"}"#, "did you mean `kiln-swap`?"),
    ] {
        let out = node.provision(block, &[]).exits(1);
        assert!(out.stderr.contains(wanted), "{wanted:?} in\n{}", out.stderr);
        assert_eq!(out.stdout, "");
    }
}

#[test]
fn an_image_for_a_cloud_keeps_the_clouds_name_servers() {
    let node = Node::new();
    let template = |keys: &str| {
        format!(
            r#"{{"builders": [{{"type": "alicloud-ecs", "name": "node", "image_name": "packer-node"}}],
                "provisioners": [{{"type": "kiln-dns", "nameservers": ["10.0.0.2"]{keys}}}]}}"#
        )
    };
    let out = node.build(&template(""), &[]).exits(1).stderr;
    assert!(out.contains("none of the cloud's name servers") && out.contains(r#""cloud": "none""#), "{out}");
    for keys in [r#", "cloud": "none""#, r#", "upstreams": ["10.0.0.2"]"#] {
        let _ = node.build(&template(keys), &["-force"]).ok();
        assert!(node.content("etc/resolv.conf").ends_with("\nnameserver 10.0.0.2\n"), "{keys}");
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

/// A package manager that does what the script `does` says, and notes what it was asked.
fn with_apt(does: &str) -> Node {
    let apt = format!("#!/bin/sh\necho \"$*\" >>/etc/apt-asked\n{does}\n");
    Node::over(crate::base().file("usr/bin/apt-get", 0o755, apt))
}

#[test]
fn headers_are_those_of_the_kernel() {
    let release = "/lib/modules/6.1.0-21-node/build";
    let node = with_apt(&format!("[ $1 != install ] || {{ mkdir -p {release}; : >{release}/Makefile; }}"));
    let out = node.provision(r#"{"type": "kiln-headers"}"#, &[]).ok();
    assert!(out.stdout.contains("    node: headers of 6.1.0-21-node are there\n"), "{out}");
    assert_eq!(
        node.content("etc/apt-asked"),
        "update\ninstall -y --no-install-recommends gcc make linux-headers-6.1.0-21-node\n"
    );
    // With `build`, `make` has the last word.
    let make = "#!/bin/sh\n[ -f \"$2/Makefile\" ] && grep -q tracepoint \"${3#M=}/kiln_probe.c\" && echo vermagic=${M:-6.1.0-9-node} SMP >\"${3#M=}/kiln_probe.ko\"\n";
    let root = crate::base().file("usr/bin/make", 0o755, make).dir("lib/modules/6.1.0-9-node/build", 0o755);
    let node = Node::over(root.file("lib/modules/6.1.0-9-node/build/Makefile", 0o644, ""));
    let block = r#"{"type": "kiln-headers", "version": "6.1.0-9-node", "build": true}"#;
    let out = node.provision(block, &[]).ok();
    assert!(out.stdout.contains("    node: a module for 6.1.0-9-node can be built\n"), "{out}");
    assert!(!node.listing().contains("kiln_probe"), "nothing of the proof stays");
    let other = block.replace("6.1.0-9-node", "6.1.0-21-node");
    let out = with_apt("mkdir -p /lib/modules/6.1.0-21-node/build; : >/lib/modules/6.1.0-21-node/build/Makefile");
    out.write("make", make);
    let copy = r#"{"type": "file", "source": "make", "destination": "/usr/bin/make"},
        {"type": "shell", "inline": ["chmod 755 /usr/bin/make"]},"#;
    let out = out.provision(&format!("{copy}{other}"), &[]).exits(1);
    assert!(out.stdout.contains("is for another kernel than 6.1.0-21-node"), "{out}");
}

#[test]
fn headers_of_another_kernel_are_none() {
    let node = with_apt("mkdir -p /lib/modules/9.9-other/build");
    let out = node.provision(r#"{"type": "kiln-headers"}"#, &[]).exits(1);
    assert!(out.stdout.contains("are not the headers of 6.1.0-21-node"), "{out}");
    let node = Node::new();
    let out = node.provision(r#"{"type": "kiln-headers"}"#, &[]).exits(1);
    assert!(out.stdout.contains("no apt-get, dnf or yum to install them with"), "{out}");
    let root = crate::base().dir("lib/modules/6.1.0-21-node/build", 0o755);
    let node = Node::over(root.file("lib/modules/6.1.0-21-node/build/Makefile", 0o644, ""));
    let out = node.provision(r#"{"type": "kiln-headers", "btf": true}"#, &[]).exits(1);
    assert!(out.stdout.contains("btf = true: "), "{out}");
    for (block, said) in [
        (r#"{"type": "kiln-headers", "version": "6.1; reboot"}"#, "is no version of a kernel"),
        (r#"{"type": "kiln-headers", "packages": ["none.deb"]}"#, "there is no such file"),
        (r#"{"type": "kiln-headers", "packages": ["-y"]}"#, "is no name of a package"),
        (r#"{"type": "kiln-headers", "tool": true}"#, "tool"),
    ] {
        let out = node.provision(block, &[]).exits(1);
        assert!(out.stderr.contains(said), "{said}: {out}");
    }
}
