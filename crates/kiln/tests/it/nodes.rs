//! `kiln node verify`: targets, forms of the report, exit codes.

use std::fs;

use kiln_testkit::{Rootfs, TestContext};

use crate::images::context;

/// A small root file system: nothing a node needs, and a key left behind.
fn rootfs() -> Rootfs {
    Rootfs::new()
        .dir("etc", 0o755)
        .file("etc/passwd", 0o644, "root:x:0:0::/root:/bin/sh\n")
        .file("etc/group", 0o644, "root:x:0:\n")
        .file("etc/machine-id", 0o444, "")
        .dir("etc/sysctl.d", 0o755)
        .file("etc/sysctl.d/90-own.conf", 0o644, "# ours\nvm.max_map_count = 65530\n")
        .dir("root", 0o700)
        .dir("root/.ssh", 0o700)
        .file("root/.ssh/authorized_keys", 0o600, "ssh-ed25519 AAAA me@laptop\n")
}

/// A context with the image `node:1`, its archive, its layout and its root directory.
fn with_node() -> TestContext {
    let t = context();
    let _ = t.kiln_with_input(&["import", "-", "node:1"], &rootfs().tar()).ok();
    let path = |name: &str| t.out(name).display().to_string();
    let _ = t.kiln(&["save", "-o", &path("node.tar"), "node:1"]).ok();
    fs::create_dir(t.out("root")).unwrap();
    fs::write(t.out("fs.tar"), rootfs().tar()).unwrap();
    let _ = t.tool("tar", &["-xf", "fs.tar", "-C", "root"]).ok();
    let _ = t.kiln(&["copy", "node:1", &format!("oci:{}", path("layout"))]).ok();
    t
}

#[test]
fn a_directory_an_image_and_its_archive_are_judged_alike() {
    let t = with_node();
    let images = t.kiln(&["images", "-q"]).ok().stdout;
    let path = |name: &str| t.out(name).display().to_string();
    let judge = |target: &str| {
        let found = t.kiln(&["node", "verify", target, "-p", "cis-basics", "--json"]).exits(1).json();
        let checks = found["checks"].as_array().unwrap().iter();
        checks.map(|c| format!("{} {}", c["id"], c["verdict"])).collect::<Vec<_>>()
    };
    let want = judge("node:1");
    assert!(want.contains(&"\"os.ssh.authorized-keys-absent\" \"fail\"".to_owned()), "{want:?}");
    for target in ["root", "node.tar", "layout"] {
        assert_eq!(judge(&path(target)), want, "{target}");
    }
    assert_eq!(t.kiln(&["images", "-q"]).ok().stdout, images, "nothing got a name");
}

#[test]
fn the_verdict_is_first_and_hints_follow() {
    let t = with_node();
    let found = t.kiln(&["node", "verify", "node:1", "-p", "cis-basics"]).exits(1);
    insta::assert_snapshot!(found.stdout, @"
    FAIL: image node:1 is not as it must be (1 error, 12 passed)

    cis-basics: 12 of 13 passed
      error    os.ssh.authorized-keys-absent  keys of whoever made the image let them in
                 /root/.ssh/authorized_keys:1: a key (me@laptop)
                 hint: rm ~/.ssh/authorized_keys
    ");
    assert_eq!(found.stderr, "");
    let ack = t.kiln(&["node", "verify", "node:1", "-p", "ack", "-f", "ack"]).exits(1);
    assert!(ack.stdout.starts_with("[19700101 00:00:00]: Check if kernel version >= 3.10.  Verify Failed!\n"), "{ack}");
    assert!(ack.stdout.contains("]: Check if no kernel parameter of ACK is overridden.  Verify Failed!\n"), "{ack}");
    let preflight = t.kiln(&["node", "verify", "node:1", "-p", "kubeadm", "-f", "kubeadm"]).exits(1);
    assert!(
        preflight.stdout.contains("\t[ERROR FileExisting-iptables]: there is no command iptables in PATH\n"),
        "{preflight}"
    );
}

#[test]
fn reports_are_written_and_codes_say_how_it_ended() {
    let t = with_node();
    let path = |name: &str| t.out(name).display().to_string();
    let profile = |name: &str, text: &str| {
        fs::write(t.out(name), text).unwrap();
        path(name)
    };
    let good =
        profile("good.yaml", "checks:\n  - id: os.machine-id.empty\n  - id: ours.boot\n    port: {number: 22}\n");
    let [html, xml, json] = ["r.html", "r.xml", "r.json"].map(path);
    let _ = t.kiln(&["node", "verify", "node:1", "-p", &good, "-r", &html, "-r", &xml, "-r", &json]).ok();
    assert!(fs::read_to_string(html).unwrap().starts_with("<!DOCTYPE html>"));
    assert!(
        fs::read_to_string(xml)
            .unwrap()
            .contains("<testsuite name=\"good\" tests=\"2\" failures=\"0\" errors=\"0\" skipped=\"1\">")
    );
    assert!(fs::read_to_string(json).unwrap().contains("\"verdict\": \"pass\""));
    let unknown = profile("unknown.yaml", "checks:\n  - id: ours.curl\n    package: {name: curl}\n");
    let said = t.kiln(&["node", "verify", "node:1", "-p", &unknown]).exits(2);
    assert!(
        said.stdout
            .starts_with("COULD NOT CHECK: image node:1 could not be checked as a whole (1 could not be checked)\n"),
        "{said}"
    );
    let _ = t.kiln(&["node", "verify", "node:1", "-p", "ack", "--ignore-preflight-errors", "all"]).ok();
}

#[test]
fn what_cannot_be_verified_is_said() {
    let t = with_node();
    let path = |name: &str| t.out(name).display().to_string();
    let verify = |args: &[&str]| t.kiln(&[&["node", "verify"], args].concat());
    let said = |args: &[&str], code: i32, text: &str| {
        let found = verify(args).exits(code);
        assert!(found.stderr.contains(text), "{found}");
    };
    said(&["node:1", "-p", "kubeadmin"], 2, "there is no profile `kubeadmin`\nhint: did you mean `kubeadm`?");
    said(&["none:1", "-p", "ack"], 1, "none:1");
    said(&["./none", "-p", "ack"], 1, "there is no ./none");
    said(&["ssh://root@", "-p", "ack"], 2, "it is `[ssh://][USER@]HOST[:PORT]`");
    said(&["node:1"], 2, "--profile");
    said(&["node:1", "-p", "ack", "-r", "x.pdf"], 2, "the report x.pdf: the ending says in which form");
    said(&["node:1", "-p", "kubeadm", "--ignore-preflight-errors", "Swop"], 2, "no check is called `Swop`");
    let mut disk = vec![0; 4096];
    disk[..4].copy_from_slice(b"QFI\xfb");
    fs::write(t.out("disk.img"), disk).unwrap();
    said(&[&path("disk.img"), "-p", "ack"], 3, "cannot read the disk");
    fs::write(t.out("noise"), "noise").unwrap();
    said(&[&path("noise"), "-p", "ack"], 1, "noise");
    fs::write(t.out("bad.yaml"), "checks:\n  - id: a\n    modul: x\n").unwrap();
    let bad = path("bad.yaml");
    said(&["node:1", "-p", &bad], 1, "error: unknown field `modul`");
    said(&["node:1", "-p", &bad], 1, "bad.yaml:3:5");
    fs::write(t.out("binary.yaml"), [0xff, 0xfe]).unwrap();
    said(&["node:1", "-p", &path("binary.yaml")], 1, "is not text (UTF-8)");
}

#[test]
fn profiles_are_listed_and_checks_explained() {
    let t = context();
    let listed = t.kiln(&["node", "verify", "--list"]).ok();
    for name in ["ack", "kubeadm", "cluster-api", "sysdig", "cis-basics"] {
        assert!(listed.stdout.contains(&format!("\n{name} ")), "{listed}");
    }
    let rows = t.kiln(&["node", "verify", "--list", "-p", "kubeadm"]).ok();
    assert!(rows.stdout.contains("Port-10250"), "{rows}");
    let page = t.kiln(&["explain", "os.sysctl.protected"]).ok();
    assert!(page.stdout.starts_with("# os.sysctl.protected\n"), "{page}");
    let page = t.kiln(&["explain", "os.tools.required.wget"]).ok();
    assert!(page.stdout.starts_with("# os.tools.required\n"), "{page}");
}

#[test]
fn this_host_is_looked_at_while_it_runs() {
    let t = context();
    let host = t.kiln(&["node", "verify", "local", "-p", "kubeadm", "--json"]);
    let found = host.json();
    assert_eq!(found["target"], "this host");
    let of = |id: &str| found["checks"].as_array().unwrap().iter().find(|c| c["id"] == id).unwrap().clone();
    assert_ne!(of("host.cpus")["verdict"], "skipped");
    assert_ne!(of("ports.10250")["verdict"], "skipped");
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert!(of("os.kernel.regex")["reason"].as_str().unwrap().contains(release.trim()));
}
