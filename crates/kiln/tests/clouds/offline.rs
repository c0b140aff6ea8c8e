//! A template of a cloud's builder, built without a machine on a disk that is here, and what came of it published to both
//! clouds.

use std::path::Path;
use std::process::Command;

use kiln_testkit::TestContext;
use kiln_testkit::compute::{BUCKET, Compute, PROJECT, ZONE};
use kiln_testkit::ecs::{Ecs, REGION};
use kiln_testkit::rootfs::busybox_rootfs;

const UUID: &str = "11111111-2222-4333-8444-555555555555";
/// Where the only partition begins, and how large it is.
const START: u64 = 1 << 20;
const SIZE: &str = "40M";

#[track_caller]
fn run(program: &str, args: &[&str]) -> String {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let out = Command::new("env").arg(format!("PATH={path}")).arg(program).args(args).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let why = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{program} {args:?} (is its Debian package installed?): {text}{why}");
    text
}

/// A disk with the files of a small system, made by e2fsprogs and sgdisk.
fn base(dir: &Path) {
    let (root, disk) = (dir.join("root"), dir.join("base.raw"));
    let (root, disk) = (root.to_str().unwrap(), disk.to_str().unwrap());
    let files = busybox_rootfs().file("etc/os-release", 0o644, "ID=debian\n").file(
        "etc/fstab",
        0o644,
        format!("UUID={UUID} / ext4 defaults 0 1\n"),
    );
    let tar = dir.join("root.tar");
    std::fs::write(&tar, files.tar()).unwrap();
    std::fs::create_dir(root).unwrap();
    run("tar", &["-C", root, "-xf", tar.to_str().unwrap()]);
    std::fs::File::create(disk).unwrap().set_len(48 << 20).unwrap();
    run("sgdisk", &["-n", &format!("1:2048:+{SIZE}"), "-t", "1:8300", disk]);
    let offset = format!("offset={START}");
    run("mke2fs", &["-q", "-F", "-t", "ext4", "-U", UUID, "-d", root, "-E", &offset, disk, SIZE]);
}

#[test]
fn a_template_of_a_cloud_is_built_offline_and_its_disk_becomes_an_image_in_both() {
    let (google, alibaba) = (Compute::start(), Ecs::start());
    alibaba.allow_import(true);
    let t = TestContext::with_kiln(env!("CARGO_BIN_EXE_kiln")).env("KILN_CLOUD_POLL", "0.01");
    base(&t.context());
    let template = format!(
        r#"{{"builders": [{{"type": "googlecompute", "name": "node", "project_id": "{PROJECT}", "zone": "{ZONE}",
            "source_image_family": "debian-12", "ssh_username": "root"}}],
            "provisioners": [{{"type": "shell", "inline": ["echo made >/etc/made"]}}]}}"#
    );
    t.write("t.json", 0o644, template);
    let how = ["node", "build", "-color=false", "-builder", "offline", "-base", "base.raw", "-format", "raw", "t.json"];
    let _ = t.kiln(&how).ok();
    let made: Vec<_> = std::fs::read_dir(t.context().join("output-node")).unwrap().map(|f| f.unwrap().path()).collect();
    let [disk] = &made[..] else { panic!("one disk is to come of it: {made:?}") };
    let within = format!("{}?offset={START}", disk.display());
    assert_eq!(run("debugfs", &["-R", "cat /etc/made", &within]), "made\n");

    let endpoints: std::collections::BTreeMap<String, String> = serde_json::from_str(&google.endpoints()).unwrap();
    let endpoints: Vec<String> = endpoints.iter().map(|(name, at)| format!("--custom-endpoint={name}={at}")).collect();
    let account = google.account().display().to_string();
    let mut args = vec!["node", "publish", "--to", "googlecompute", "--project", PROJECT, "--bucket", BUCKET];
    args.extend(["--name", "node-1", "--credentials-file", &account, "output-node"]);
    args.extend(endpoints.iter().map(String::as_str));
    // The double unpacks what it imports: it has to be whole GB in `disk.raw`.
    assert_eq!(t.kiln(&args).ok().text(), format!("projects/{PROJECT}/global/images/node-1"));
    assert_eq!(google.images(), ["node-1"]);
    assert!(google.left().is_empty(), "{:?}", google.left());

    let t = alibaba.environment().iter().fold(t, |t, (name, value)| t.env(name, value));
    let mut args = vec!["node", "publish", "--to", "alicloud", "--region", REGION, "--bucket", "kiln-images"];
    args.extend(["--name", "node-1", "--keep-object", "--object", "node", "output-node"]);
    let said = t.kiln(&args).ok();
    let images = alibaba.images();
    assert_eq!(said.text(), format!("{REGION}: {}", images[0].1));
    assert!(
        alibaba.object("kiln-images", "node").unwrap() == std::fs::read(disk).unwrap(),
        "another disk was uploaded"
    );
    assert_eq!(alibaba.left(), ["object oss://kiln-images/node"]);
}
