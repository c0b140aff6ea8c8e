//! `kiln node publish`, where nothing goes wrong, and where what is asked cannot be.

use std::path::PathBuf;

use kiln_disk::image::{self, Format, Options};
use kiln_testkit::compute::{BUCKET, Compute, PROJECT};
use kiln_testkit::ecs::{Ecs, REGION};
use kiln_testkit::{Output, TestContext};
use serde_json::json;

/// A raw disk of 3 MiB with something on it.
fn raw() -> Vec<u8> {
    let mut bytes = vec![0_u8; 3 << 20];
    bytes[..4].copy_from_slice(b"boot");
    bytes
}

fn books(t: &TestContext) -> Vec<PathBuf> {
    let files = std::fs::read_dir(t.home().join(".local/state/kiln/node-builds")).unwrap();
    files.map(|file| file.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "jsonl")).collect()
}

struct Google {
    t: TestContext,
    double: Compute,
}

impl Google {
    fn new() -> Google {
        let t = TestContext::with_kiln(env!("CARGO_BIN_EXE_kiln")).env("KILN_CLOUD_POLL", "0.01");
        t.write("node.raw", 0o644, raw());
        Google { t, double: Compute::start() }
    }

    fn publish(&self, more: &[&str]) -> Output {
        let account = self.double.account().display().to_string();
        let endpoints: std::collections::BTreeMap<String, String> =
            serde_json::from_str(&self.double.endpoints()).unwrap();
        let endpoints: Vec<String> =
            endpoints.iter().map(|(name, at)| format!("--custom-endpoint={name}={at}")).collect();
        let mut args = vec!["node", "publish", "--to", "googlecompute", "--project", PROJECT, "--bucket", BUCKET];
        args.extend(["--name", "node-1", "--credentials-file", &account]);
        args.extend(endpoints.iter().map(String::as_str));
        args.extend(more);
        self.t.kiln(&args)
    }
}

#[test]
fn a_disk_becomes_an_image_in_googles_cloud_with_all_that_was_said() {
    let google = Google::new();
    let key = "projects/p/locations/l/keyRings/r/cryptoKeys/k";
    let more =
        ["--family", "nodes", "--label", "team=web", "--location", "eu", "--guest-os-feature", "UEFI_COMPATIBLE"];
    let more = [&more[..], &["--share-with", "group:ops@example.org", "--kms-key", key, "node.raw"]].concat();
    let out = google.publish(&more).ok();
    assert_eq!(out.text(), format!("projects/{PROJECT}/global/images/node-1"));
    let image = google.double.image("node-1").unwrap();
    assert_eq!((&image["family"], &image["labels"]["team"]), (&json!("nodes"), &json!("web")));
    assert_eq!(
        (&image["storageLocations"], &image["guestOsFeatures"]),
        (&json!(["eu"]), &json!([{"type": "UEFI_COMPATIBLE"}]))
    );
    assert_eq!(image["imageEncryptionKey"], json!({ "kmsKeyName": key }));
    let policy = google.double.policy("node-1").unwrap();
    assert_eq!(policy["bindings"], json!([{"role": "roles/compute.imageUser", "members": ["group:ops@example.org"]}]));
    assert!(google.double.left().is_empty() && google.double.objects().is_empty());
    assert!(books(&google.t).is_empty());
}

#[test]
fn the_record_of_a_build_names_its_disk() {
    let google = Google::new();
    let record = |file: &str| {
        json!({ "builds": [{ "name": "node", "builder_type": "offline", "packer_run_uuid": "1", "artifact_id": "x",
            "files": [{ "name": file, "size": 1 }] }], "last_run_uuid": "1" })
        .to_string()
    };
    google.t.write("packer-manifest.json", 0o644, record("node.raw"));
    let json = google.publish(&["--json", "packer-manifest.json"]).ok().json();
    assert_eq!((&json["image"], &json["size_gb"], &json["object"]), (&json!("node-1"), &json!(1), &json!(null)));
    google.t.write("root.json", 0o644, record("output-node/packer-node.tar"));
    let out = google.publish(&["--force", "root.json"]).exits(1);
    assert!(out.stderr.contains("which is no disk") && out.stderr.contains("-format raw"), "{out}");
    let out = google.publish(&["--build", "other", "packer-manifest.json"]).exits(1);
    assert!(out.stderr.contains("has no build `other`"), "{out}");
    let out = google.publish(&["--build", "other", "node.raw"]).exits(2);
    assert!(out.stderr.contains("not a record"), "{out}");
}

#[test]
fn what_is_in_the_way_is_an_error_before_anything_is_uploaded_and_force_replaces_it() {
    let google = Google::new();
    google.double.add_image(PROJECT, "node-1");
    let out = google.publish(&["node.raw"]).exits(1);
    assert!(out.stderr.contains("it is there already"), "{out}");
    assert!(google.double.trace().iter().all(|call| !call.changes()), "{:?}", google.double.trace());
    let _ = google.publish(&["--force", "--keep-object", "--object", "kept/node.tar.gz", "node.raw"]).ok();
    assert_eq!(google.double.images(), ["node-1"]);
    assert_eq!(google.double.objects(), [format!("gs://{BUCKET}/kept/node.tar.gz")]);
    assert!(books(&google.t).is_empty());
}

#[test]
fn what_cannot_be_meant_is_told_before_anything_is_asked() {
    let google = Google::new();
    for (more, code, says) in [
        (&["--region", "cn-hangzhou", "node.raw"][..], 2, "--region means nothing with --to googlecompute"),
        (&["--copy-to", "eu", "node.raw"], 2, "--copy-to means nothing"),
        (&["--label", "A=b", "node.raw"], 1, "the label `A=b`"),
        (&["--label", "a", "node.raw"], 2, "expected KEY=VALUE"),
        (&["--share-with", "allUsers", "node.raw"], 1, "cannot be shared"),
        (&["--architecture", "sparc", "node.raw"], 1, "architecture `SPARC`"),
        (&["--format", "floppy", "node.raw"], 2, "expected one of raw"),
        (&["none.raw"], 1, "cannot open none.raw"),
        (&["--label", "kiln-image=x", "node.raw"], 1, "Kiln's own"),
    ] {
        let out = google.publish(more).exits(code);
        assert!(out.stderr.contains(says), "{says}: {out}");
    }
    assert!(google.double.trace().iter().all(|call| !call.changes()), "{:?}", google.double.trace());
    assert!(books(&google.t).is_empty());
    let help = google.t.kiln(&["node", "publish", "--to", "skycloud", "--name", "n", "--bucket", "b", "d"]).exits(2);
    assert!(help.stderr.contains("googlecompute"), "{help}");
}

struct Alibaba {
    t: TestContext,
    double: Ecs,
}

impl Alibaba {
    fn new() -> Alibaba {
        let double = Ecs::start();
        double.allow_import(true);
        let t = TestContext::with_kiln(env!("CARGO_BIN_EXE_kiln"));
        t.write("node.raw", 0o644, raw());
        let t = double.environment().iter().fold(t, |t, (name, value)| t.env(name, value));
        Alibaba { t, double }
    }

    fn publish(&self, more: &[&str]) -> Output {
        let args =
            ["node", "publish", "--to", "alicloud", "--region", REGION, "--bucket", "kiln-images", "--name", "node-1"];
        self.t.kiln(&[&args[..], more].concat())
    }
}

#[test]
fn a_disk_becomes_an_image_in_alibabas_cloud_and_in_other_regions() {
    let alibaba = Alibaba::new();
    let more = ["--copy-to", "cn-beijing", "--encrypt", "--label", "team=web", "--share-with", "1234567890123456"];
    let out = alibaba.publish(&[&more[..], &["node.raw"]].concat()).ok();
    let images = alibaba.double.images();
    assert_eq!(images.len(), 2, "{images:?}");
    for (region, id, name) in &images {
        assert!(out.text().contains(&format!("{region}: {id}")), "{region} {id}: {out}");
        assert_eq!(name, "node-1");
        // The mark of the build is taken off what stays.
        assert_eq!(alibaba.double.tags_of(id), [("team".to_owned(), "web".to_owned())]);
        assert_eq!(alibaba.double.shared_with(id), ["1234567890123456"]);
    }
    assert!(
        alibaba
            .double
            .trace()
            .iter()
            .any(|call| call.action == "CopyImage" && call.parameter("Encrypted") == Some("true"))
    );
    assert!(alibaba.double.left().is_empty(), "{:?}", alibaba.double.left());
    assert!(books(&alibaba.t).is_empty());
}

#[test]
fn a_disk_that_is_not_imported_as_it_is_gets_converted() {
    let alibaba = Alibaba::new();
    let vmdk = alibaba.t.context().join("node.vmdk");
    let mut out = std::fs::File::options().read(true).write(true).create_new(true).open(vmdk).unwrap();
    image::write(&raw(), &mut out, &Options::new(Format::Vmdk)).unwrap();
    let said = alibaba.publish(&["--keep-object", "--object", "node", "node.vmdk"]).ok();
    assert!(said.stderr.contains("to qcow2"), "{said}");
    let object = alibaba.double.object("kiln-images", "node").unwrap();
    assert!(object.starts_with(b"QFI\xfb"));
    let left = std::fs::read_dir(alibaba.t.root())
        .unwrap()
        .filter(|f| f.as_ref().unwrap().file_name().to_string_lossy().starts_with("kiln-publish-"));
    assert_eq!(left.count(), 0);
}

#[test]
fn what_alibabas_cloud_has_not_is_told() {
    let alibaba = Alibaba::new();
    for (more, says) in [
        (&["--project", "p", "node.raw"][..], "--project means nothing with --to alicloud"),
        (&["--kms-key", "k", "node.raw"], "need a copy"),
        (&["--encrypt", "node.raw"], "--copy-to REGION"),
    ] {
        let out = alibaba.publish(more).exits(2);
        assert!(out.stderr.contains(says), "{says}: {out}");
    }
    // As in the other cloud.
    let out = alibaba.publish(&["none.raw"]).exits(1);
    assert!(out.stderr.contains("cannot open none.raw"), "{out}");
    assert_eq!(alibaba.double.calls(), 0);
}
