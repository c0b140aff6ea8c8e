//! Scripts of a machine on files: the seed's template, and what stands in for a running system.

use crate::Node;

/// The template of the documentation of ACK's image builder, with its keys.
pub const SEED: &str = r#"{
  "variables": {
    "region": "cn-hangzhou",
    "image_name": "test_image{{timestamp}}",
    "source_image": "centos_7_06_64_20G_alibase_20190711.vhd",
    "instance_type": "ecs.n1.large",
    "access_key": "{{env `ALICLOUD_ACCESS_KEY`}}",
    "secret_key": "{{env `ALICLOUD_SECRET_KEY`}}"
  },
  "builders": [
    {
      "type": "alicloud-ecs",
      "access_key": "{{user `access_key`}}",
      "secret_key": "{{user `secret_key`}}",
      "region": "{{user `region`}}",
      "image_name": "node",
      "source_image": "{{user `source_image`}}",
      "ssh_username": "root",
      "instance_type": "{{user `instance_type`}}",
      "io_optimized": "true"
    }
  ],
  "provisioners": [
    {
      "type": "shell",
      "scripts": ["config/default.sh", "scripts/updateDNS.sh", "scripts/reboot.sh", "scripts/verify.sh"],
      "expect_disconnect": true
    }
  ]
}"#;

fn seed() -> Node {
    Node::new()
        .file("config/default.sh", "#!/bin/sh\ntimedatectl set-timezone Asia/Shanghai\nswapoff -a\n")
        .file(
            "scripts/updateDNS.sh",
            "#!/bin/sh\nchattr -i /etc/resolv.conf\nprintf 'nameserver 100.100.2.136\\n' > /etc/resolv.conf\n\
             chattr +i /etc/resolv.conf\n",
        )
        .file("scripts/reboot.sh", "#!/bin/sh\necho going down\nsleep 0\nreboot\nsleep 600\n")
        .file("scripts/verify.sh", "#!/bin/sh\necho \"kernel $(uname -r)\"\nsystemctl restart sshd\n")
}

#[test]
fn the_seeds_template_runs_as_it_is() {
    let node = seed();
    let out = node.build(SEED, &[]).ok();
    let text = &out.stdout;
    for wanted in [
        "alicloud-ecs: output will be in this color.\n",
        "==> alicloud-ecs: Provisioning with shell script: config/default.sh\n",
        "    alicloud-ecs: offline: left out: swapoff -a\n",
        "    alicloud-ecs: going down\n    alicloud-ecs: offline: restart left out: reboot\n",
        "    alicloud-ecs: offline: left out: sleep 600 (after a restart)\n",
        "    alicloud-ecs: kernel 6.1.0-21-node\n",
        "    alicloud-ecs: offline: left out: systemctl restart sshd\n",
        "    alicloud-ecs: flags of files, set where a file system with such flags is written:\n",
        "    alicloud-ecs: not needed offline: ",
        "==> Builds finished. The artifacts of successful builds are:\n--> alicloud-ecs: Root of the node: ",
    ] {
        assert!(text.contains(wanted), "{wanted:?} in\n{text}");
    }
    let tar = node.t.context().join("output-alicloud-ecs/node.tar");
    let out = std::process::Command::new("tar").arg("-xOf").arg(&tar).arg("etc/resolv.conf").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&out.stdout), "nameserver 100.100.2.136\n");
    let out = std::process::Command::new("tar").arg("-tvf").arg(&tar).output().unwrap();
    let listing = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(listing.contains("etc/localtime -> ../usr/share/zoneinfo/Asia/Shanghai"), "{listing}");
    for trace in ["kiln", "script_", "policy-rc.d"] {
        assert!(!listing.contains(trace), "{trace} in\n{listing}");
    }
}

#[test]
fn what_needs_a_running_system_is_kept_or_told() {
    let node = Node::new();
    let script = "systemctl enable --now kubelet\nsystemctl daemon-reload\nsysctl -w net.ipv4.ip_forward=1 \
                  vm.swappiness=10\nsysctl -w vm.swappiness=0\nmodprobe -a overlay br_netfilter\nmodprobe overlay\n\
                  hostname node-1\necho host is $(hostname)\nsudo -E sysctl -q -w kernel.panic=10\n\
                  if systemctl is-active --quiet sshd; then echo active; fi\nshutdown -r now\necho after";
    let lines = script.lines().map(|l| format!("{l:?}")).collect::<Vec<_>>().join(", ");
    let out = node.provision(&format!(r#"{{"type": "shell", "inline": [{lines}]}}"#), &[]).ok();
    assert!(out.stdout.contains("    node: host is node-1\n"), "{}", out.stdout);
    assert!(out.stdout.contains("    node: after\n"), "{}", out.stdout);
    assert!(!out.stdout.contains("node: active"), "{}", out.stdout);
    assert_eq!(node.content("etc/systemd/asked"), "systemctl --root=/ enable kubelet\n");
    assert_eq!(
        node.content("etc/sysctl.d/90-captured.conf"),
        "net.ipv4.ip_forward = 1\nvm.swappiness = 0\nkernel.panic = 10\n"
    );
    assert_eq!(node.content("etc/modules-load.d/captured.conf"), "overlay\nbr_netfilter\n");
    assert_eq!(node.content("etc/hostname"), "node-1\n");
    assert_eq!(node.content("etc/resolv.conf"), "nameserver 9.9.9.9\n");
}

#[test]
fn a_parameter_that_ack_owns_is_refused_where_the_image_is_for_ack() {
    let node = Node::new();
    let template = |builder: &str| {
        format!(
            r#"{{"builders": [{{"type": "{builder}", "name": "node"}}],
                "provisioners": [{{"type": "shell", "inline": ["sysctl -w vm.max_map_count=65530"]}}]}}"#
        )
    };
    let out = node.build(&template("alicloud-ecs"), &[]).exits(1);
    assert!(out.stdout.contains("vm.max_map_count is set to `65530`, but ACK"), "{}", out.stdout);
    let _ = node.build(&template("offline"), &[]).ok();
}

#[test]
fn a_file_that_sets_what_ack_owns_is_refused_unless_it_may() {
    let base = crate::base().dir("etc/sysctl.d", 0o755).file("etc/sysctl.d/50-base.conf", 0o644, "fs.file-max = 5\n");
    let node = Node::over(base).file("own.conf", "vm.max_map_count = 65530\n");
    let write = r#"{"type": "shell", "inline": ["echo net.core.somaxconn=1 >>/etc/sysctl.conf", "sysctl -p"]}"#;
    let copy = r#"{"type": "file", "source": "own.conf", "destination": "/etc/sysctl.d/own.conf"}"#;
    let template = |kind: &str, keys: &str, block: &str| {
        format!(r#"{{"builders": [{{"type": "{kind}", "name": "node"{keys}}}], "provisioners": [{block}]}}"#)
    };
    for (block, told) in [
        (write, "/etc/sysctl.conf:1: sets net.core.somaxconn to 1, which ACK owns and sets to 32768"),
        (copy, "/etc/sysctl.d/own.conf:1: sets vm.max_map_count to 65530, which ACK owns"),
    ] {
        let out = node.build(&template("alicloud-ecs", "", block), &[]).exits(1).stdout;
        assert!(out.contains(told) && out.contains("allow it by name: \"sysctl_allow\": ["), "{told} in\n{out}");
        assert!(!node.t.context().join("output-node").exists());
    }
    let allowed = r#", "sysctl_allow": ["net.core.somaxconn", "vm/max_map_count"]"#;
    for (kind, keys) in [("alicloud-ecs", allowed), ("alicloud-ecs", r#", "sysctl_guard": "none""#), ("offline", "")] {
        let blocks = format!("{write}, {copy}");
        let _ = node.build(&template(kind, keys, &blocks), &["-force"]).ok();
    }
    for (kind, keys, told) in [
        ("offline", r#", "sysctl_guard": "ack""#, "/etc/sysctl.conf:1: sets net.core.somaxconn"),
        ("alicloud-ecs", r#", "sysctl_allow": ["net.core.somaxcon"]"#, "did you mean `net.core.somaxconn`?"),
        ("qemu", r#", "sysctl_guard": "ackk""#, "did you mean `ack`?"),
    ] {
        let out = node.build(&template(kind, keys, write), &["-force"]).exits(1);
        assert!(format!("{out}").contains(told), "{told} in\n{out}");
    }
}

#[test]
fn a_file_goes_into_a_directory_that_is_there_under_its_own_name() {
    let node = Node::new().file("app.conf", "app\n");
    let to = |block: &str, to: &str| format!(r#"{{"type": "file", {block}, "destination": "{to}"}}"#);
    let blocks = format!(
        "{}, {}",
        to(r#""source": "app.conf""#, "/etc"),
        r#"{"type": "shell", "inline": ["mkdir /srv", "ln -s srv /link"]}"#
    );
    let blocks = format!("{blocks}, {}", to(r#""source": "app.conf""#, "/link"));
    let _ = node.provision(&blocks, &[]).ok();
    assert_eq!((node.content("etc/app.conf"), node.content("srv/app.conf")), ("app\n".to_owned(), "app\n".to_owned()));
    let out = node.provision(&to(r#""content": "x""#, "/etc"), &["-force"]).exits(1).stdout;
    assert!(out.contains("content needs the name of a file, and `/etc` is a directory"), "{out}");
}

#[test]
fn options_of_shell_mean_what_they_mean_for_packer() {
    let node = Node::new()
        .file("crlf.sh", "#!/bin/sh\r\necho \"A is $A\" # $PACKER_BUILD_NAME\r\nexit 3\r\n")
        .file("kept.sh", "#!/bin/sh\necho \"at $0\"\n");
    let provisioners = r#"
        {"type": "shell", "script": "crlf.sh", "valid_exit_codes": [0, 3], "environment_vars": ["A=it's"]},
        {"type": "shell", "script": "kept.sh", "remote_path": "/opt/kept.sh", "skip_clean": true,
         "execute_command": "chmod +x {{ .Path }}; env {{ .Vars }} sh '{{.Path}}'"},
        {"type": "shell", "inline": ["echo $B $PACKER_BUILDER_TYPE", "echo late >&2", "test -t 0 || echo no terminal"],
         "env": {"B": "from a file"}, "use_env_var_file": true, "inline_shebang": "/bin/sh -e", "pause_before": "1h"},
        {"type": "sleep", "duration": "1h"}"#;
    let out = node.provision(provisioners, &[]).ok();
    for wanted in [
        "    node: A is it's\n",
        "    node: at /opt/kept.sh\n",
        "    node: from a file offline\n",
        "==> node: late\n",
        "    node: offline: no need to pause 1 hour before the next provisioner\n",
        "    node: offline: no need to sleep 1 hour\n",
    ] {
        assert!(out.stdout.contains(wanted), "{wanted:?} in\n{}", out.stdout);
    }
    assert_eq!(node.content("opt/kept.sh"), "#!/bin/sh\necho \"at $0\"\n");
}

#[test]
fn a_root_directory_and_an_image_are_bases_too() {
    let node = Node::new();
    let root = node.t.context().join("root");
    std::fs::create_dir(&root).unwrap();
    let base = node.t.context().join("base.tar");
    assert!(std::process::Command::new("tar").arg("-xf").arg(base).current_dir(&root).status().unwrap().success());
    node.write("t.json", &crate::template(r#"{"type": "shell", "inline": ["echo new >/etc/new"]}"#, ""));
    let build = |base: &str, more: &[&str]| {
        let mut args = vec!["node", "build", "-builder", "offline", "-force", "-base", base];
        args.extend(more);
        args.push("t.json");
        node.t.kiln(&args).ok()
    };
    let _ = build("root", &[]);
    assert_eq!(node.content("etc/new"), "new\n");
    let listing = node.listing();
    assert!(listing.contains("bin/sh -> dash") && listing.contains("drwx------ 0/0"), "{listing}");
    kiln_testkit::Layout::busybox(node.t.context().join("layout"));
    let _ = build("layout", &["-format", "directory"]);
    let dir = node.t.context().join("output-node/packer-node");
    assert_eq!(std::fs::read_to_string(dir.join("etc/new")).unwrap(), "new\n");
}

#[test]
fn scripts_may_replace_resolv_conf_by_a_link() {
    let node = Node::new();
    let script = r#"{"type": "shell", "inline": [
        "ln -sf ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf", "echo 10.0.0.1 api >>/etc/hosts"]},
        {"type": "shell", "inline": ["cat /etc/resolv.conf >/dev/null", "grep api /etc/hosts"]}"#;
    let _ = node.provision(script, &[]).ok();
    let listing = node.listing();
    assert!(listing.contains("etc/resolv.conf -> ../run/systemd/resolve/stub-resolv.conf"), "{listing}");
    assert_eq!(node.content("etc/hosts"), "127.0.0.1 localhost\n10.0.0.1 api\n");
}

#[test]
fn a_root_with_a_kernel_becomes_a_disk() {
    let root = crate::base()
        .file("boot/vmlinuz-6.1.0-1", 0o644, "a kernel")
        .file("boot/initrd.img-6.1.0-1", 0o644, "an initramfs")
        .file("usr/lib/grub/x86_64-efi/none", 0o644, "");
    // There is no boot loader: that is said when the disk is to be written, and nothing is left.
    let node = Node::over(root);
    let text = r#"{"builders": [{"type": "qemu", "name": "node", "format": "qcow2", "disk_size": "600",
        "iso_url": "base.tar", "vm_name": "d.qcow2"}], "provisioners": [{"type": "shell", "inline": ["echo hi > /hi"]}]}"#;
    let out = node.build(text, &[]).exits(1);
    assert!(format!("{out}").contains("would not boot"), "{out}");
    assert!(!node.t.context().join("output-node").exists());
    let out = node.build(&text.replace("600", "many"), &[]).exits(1);
    assert!(out.stderr.contains("disk_size"), "{out}");
}

#[test]
fn misspelt_keys_of_other_builders_are_found() {
    let node = Node::new();
    for (builder, said) in [
        (r#"{"type": "qemu", "iso_url": "none.iso", "ssh_usernam": "x"}"#, "did you mean `ssh_username`?"),
        (r#"{"type": "qemu", "iso_url": "none.iso", "project_id": "x"}"#, "the builder `qemu` has no key `project_id`"),
        (r#"{"type": "alicloud-ecs", "source_image": "x", "instance_typ": "y"}"#, "did you mean `instance_type`?"),
        (r#"{"type": "googlecompute", "source_image": "x", "zones": "y"}"#, "did you mean `zone`?"),
    ] {
        let out = node.build(&format!(r#"{{"builders": [{builder}]}}"#), &[]).exits(1);
        assert!(out.stderr.contains(said) && out.stderr.contains("t.json:1:"), "{said}: {out}");
    }
    let good = r#"{"builders": [{"type": "googlecompute", "source_image": "x", "zone": "y", "ssh_username": "z"}]}"#;
    let out = node.build(good, &[]).ok();
    assert!(
        out.stdout.contains("not needed offline: ssh_username, zone")
            || out.stdout.contains("not needed offline: zone, ssh_username"),
        "{out}"
    );
}
