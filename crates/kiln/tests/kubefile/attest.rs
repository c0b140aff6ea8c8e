//! What is said of cluster images: SBOMs, provenance, signatures.

use kiln_testkit::{Layout, Rootfs};
use serde_json::Value;

use crate::site::Site;

/// A package as dpkg's database has it.
fn installed(name: &str) -> String {
    format!("Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.0\n\n")
}

/// A site with an image that has a package, and a Kubefile that names it and brings a package of its own.
fn site() -> Site {
    let site = Site::new();
    let dir = tempfile::tempdir().unwrap();
    let mut layout = Layout::new(dir.path().join("l"));
    let layer = Rootfs::new().file("var/lib/dpkg/status", 0o644, installed("inner-tool")).tar();
    layout.image("x:1", kiln_testkit::layout::busybox_config(), &[layer]);
    site.registry.place(&layout, "x:1", "library/tools:1");
    site.write("status", &installed("outer-tool"));
    site.write("imageList", "tools:1\nnginx:latest\n");
    site
}

const TEXT: &str = "FROM scratch\nCOPY status var/lib/dpkg/\nCOPY imageList manifests\n";

fn parts(site: &Site, name: &str) -> Vec<Value> {
    let raw =
        site.t.tool("skopeo", &["inspect", "--raw", "--tls-verify=false", &format!("docker://{name}")]).ok().json();
    raw["manifests"].as_array().unwrap().clone()
}

fn blob(site: &Site, digest: &Value) -> Value {
    let hex = digest.as_str().unwrap().trim_start_matches("sha256:");
    let path = site.target.data().join(format!("blobs/sha256/{}/{hex}/data", &hex[..2]));
    serde_json::from_slice(&std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))).unwrap()
}

#[test]
fn root_file_systems_and_contained_images_have_sboms_and_are_signed() {
    let Site { t, registry, target } = site();
    let site = Site { t: t.env("COSIGN_PASSWORD", "correct horse"), registry, target };
    let prefix = site.t.out("key").display().to_string();
    let _ = site.kiln(&["generate-key-pair", "--output-key-prefix", &prefix]).ok();
    let (private, public) = (format!("{prefix}.key"), format!("{prefix}.pub"));
    let name = site.target.reference("site/cluster:1");
    let flags = ["--push", "--sbom", "--provenance", "--sign", &private];
    let _ = site.build(TEXT, &name, &flags).ok();
    let entries = parts(&site, &name);
    let attached: Vec<&Value> = entries.iter().filter(|e| e["platform"]["os"] == "unknown").collect();
    assert_eq!(attached.len(), 3, "the root file system, and two images: {entries:?}");
    let about = |entry: &Value| entry["annotations"]["vnd.docker.reference.digest"].clone();
    let tools = site.field(&name, "docker.io/library/tools:1", "digest");
    let of_tools = attached.iter().find(|entry| about(entry) == tools.as_str()).unwrap();
    let manifest = blob(&site, &of_tools["digest"]);
    let statement = blob(&site, &manifest["layers"][0]["digest"]).to_string();
    assert!(statement.contains("inner-tool") && !statement.contains("outer-tool"), "{statement}");
    let rootfs = attached.iter().find(|entry| about(entry) == entries[0]["digest"]).unwrap();
    let manifest = blob(&site, &rootfs["digest"]);
    let kinds: Vec<&Value> = manifest["layers"].as_array().unwrap().iter().map(|l| &l["annotations"]).collect();
    assert!(
        kinds[0].to_string().contains("slsa.dev/provenance") && kinds[1].to_string().contains("spdx.dev"),
        "{kinds:?}"
    );

    // The index is signed, and what was said of the root file system; not with another key.
    let verified = site.kiln(&["verify", "--key", &public, &name]).ok();
    assert!(verified.stdout.contains("site/cluster@sha256:"), "{verified}");
    let spdx = site.kiln(&["verify", "--key", &public, "--type", "spdx", "--json", &name]).ok().stdout;
    assert!(spdx.contains("outer-tool"), "{spdx}");
    let other = site.t.out("other").display().to_string();
    let _ = site.kiln(&["generate-key-pair", "--output-key-prefix", &other]).ok();
    let _ = site.kiln(&["verify", "--key", &format!("{other}.pub"), &name]).exits(1);
    let cosign = ["--insecure-ignore-tlog=true", "--allow-http-registry=true", "--key", &public, &name];
    let seen = site.t.cosign("correct horse", &[&["verify"], &cosign[..]].concat());
    assert_eq!(seen.code, 0, "{seen}");
    // Contained images can be signed, too.
    let signed = site.kiln(&["sign", "--key", &private, "--recursive", &name]).ok().text().to_owned();
    assert!(signed.contains(&tools), "{signed}");
    let _ = site.kiln(&["verify", "--key", &public, &format!("{}@{tools}", name.trim_end_matches(":1"))]).ok();

    // What is said goes along with the image, and its child says it of what it contains, too.
    let (store, out) = (site.t.out("store"), site.t.out("a.tar"));
    let (store, out) = (store.to_str().unwrap(), out.to_str().unwrap());
    let _ = site.kiln(&["cluster", "save", &name, "-o", out]).ok();
    let _ = site.kiln(&["--store", store, "cluster", "load", "-i", out]).ok();
    let inspected = site.kiln(&["--store", store, "cluster", "inspect", &name, "--json"]).ok().json();
    assert_eq!(inspected["attested"], 3, "{inspected}");
    let _ = site.build(&format!("FROM {name}\nCOPY recommended.yaml etc\n"), "child:1", &[]).ok();
    let inspected = site.kiln(&["cluster", "inspect", "child:1", "--json"]).ok().json();
    assert_eq!(inspected["attested"], 2, "{inspected}");
}

#[test]
fn what_is_installed_is_listed_for_all_of_a_cluster_image() {
    let site = site();
    let _ = site.build(TEXT, "a:1", &[]).ok();
    let table = site.kiln(&["sbom", "a:1"]).ok().stdout;
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    let row = |name: &str| rows.iter().find(|row| row[0] == name).unwrap_or_else(|| panic!("{name}: {table}")).clone();
    assert_eq!(row("outer-tool").last(), Some(&"-"), "{table}");
    assert_eq!(row("inner-tool").last(), Some(&"tools:1"), "{table}");
    let one = site.kiln(&["sbom", "--format", "spdx", "--contained", "tools:1", "a:1"]).ok().stdout;
    assert!(one.contains("inner-tool") && !one.contains("outer-tool"), "{one}");
    let root = site.kiln(&["sbom", "--format", "cyclonedx", "a:1"]).ok();
    assert!(root.stdout.contains("outer-tool") && root.stderr.contains("--contained"), "{root}");
    let none = site.kiln(&["sbom", "--contained", "redis", "a:1"]).exits(1);
    assert!(none.stderr.contains("contains no image called `redis`"), "{none}");
    let unpushed = site.build(TEXT, "b:1", &["--sign", "x.key"]).exits(2);
    assert!(unpushed.stderr.contains("--push"), "{unpushed}");
}
