//! Attestations and signatures, beside cosign and skopeo.

use std::fs;
use std::path::PathBuf;

use kiln_testkit::{Output, TestContext};
use serde_json::Value;

use crate::Pod;

const PASSWORD: &str = "correct horse";
/// Of the key that signs; its registry speaks plain http and there is no transparency log.
const COSIGN: [&str; 2] = ["--insecure-ignore-tlog=true", "--allow-http-registry=true"];

fn signer(pod: Pod) -> Pod {
    let Pod { t, registry } = pod;
    Pod { t: t.env("COSIGN_PASSWORD", PASSWORD), registry }
}

fn build(pod: &Pod, name: &str, flags: &[&str]) -> Output {
    let (name, context) = (pod.registry.reference(name), pod.t.context());
    pod.t.kiln(&[&["build", "-t", &name, "--push"], flags, &[context.to_str().unwrap()]].concat())
}

fn raw(pod: &Pod, name: &str) -> Value {
    let name = format!("docker://{}", pod.registry.reference(name));
    pod.t.tool("skopeo", &["inspect", "--raw", "--tls-verify=false", &name]).ok().json()
}

/// Makes a key pair and returns its files.
fn key(t: &TestContext, name: &str) -> (String, String) {
    let prefix = t.out(name).display().to_string();
    let made = t.kiln(&["generate-key-pair", "--output-key-prefix", &prefix]).ok();
    assert!(made.stdout.contains("Private key written to"), "{made}");
    (format!("{prefix}.key"), format!("{prefix}.pub"))
}

/// Where the registry has a blob.
fn file(pod: &Pod, digest: &str) -> PathBuf {
    let hex = digest.trim_start_matches("sha256:");
    pod.registry.data().join(format!("blobs/sha256/{}/{hex}/data", &hex[..2]))
}

/// A document of the registry, by its digest.
fn blob(pod: &Pod, digest: &str) -> Value {
    let path = file(pod, digest);
    serde_json::from_slice(&fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))).unwrap()
}

#[test]
fn provenance_is_where_buildkit_and_registries_look_for_it() {
    let pod = Pod::start();
    pod.dockerfile("ARG API_TOKEN=none\nARG V\nRUN echo $V $API_TOKEN > /v\nLABEL who=me");
    let flags = ["--provenance=mode=max,builder-id=https://ci.example/7", "--build-arg=V=7.1.2"];
    let _ =
        build(&pod, "app:1", &[&flags[..], &["--build-arg=API_TOKEN=hunter22", "--secret=id=npm,env=HOME"]].concat())
            .ok();
    let index = raw(&pod, "app:1");
    let [image, attestation] = &index["manifests"].as_array().unwrap()[..] else { panic!("{index}") };
    assert_eq!(image["platform"]["os"], "linux");
    assert_eq!(attestation["platform"]["os"], "unknown");
    assert_eq!(attestation["annotations"]["vnd.docker.reference.digest"], image["digest"]);
    assert_eq!(attestation["annotations"]["vnd.docker.reference.type"], "attestation-manifest");
    let manifest = blob(&pod, attestation["digest"].as_str().unwrap());
    assert_eq!(manifest["subject"]["digest"], image["digest"]);
    assert_eq!(manifest["layers"][0]["annotations"]["in-toto.io/predicate-type"], "https://slsa.dev/provenance/v1");
    // This registry lists no referrers itself: the list is a tag.
    let listed = raw(&pod, &format!("app:{}", image["digest"].as_str().unwrap().replace(':', "-")));
    assert_eq!(listed["manifests"][0]["digest"], attestation["digest"]);
    let statement = blob(&pod, manifest["layers"][0]["digest"].as_str().unwrap());
    assert_eq!(statement["subject"][0]["digest"]["sha256"], image["digest"].as_str().unwrap()[7..]);
    let made = &statement["predicate"]["buildDefinition"];
    assert_eq!(statement["predicate"]["runDetails"]["builder"]["id"], "https://ci.example/7");
    assert_eq!(made["externalParameters"]["request"]["args"]["build-arg:V"], "7.1.2");
    assert_eq!(made["externalParameters"]["request"]["secrets"][0]["id"], "npm");
    let base = pod.registry.digest("base:1");
    assert_eq!(made["resolvedDependencies"][0]["digest"]["sha256"], base[7..]);
    let text = statement.to_string();
    assert!(!text.contains("hunter22"), "an argument that is called a token is hidden: {text}");
    assert!(text.contains("[2/2] RUN echo"), "{text}");
    // Other tools still see the image.
    let name = format!("docker://{}", pod.registry.reference("app:1"));
    let config = pod.t.tool("skopeo", &["inspect", "--config", "--tls-verify=false", &name]).ok().json();
    assert_eq!(config["config"]["Labels"]["who"], "me");
}

#[test]
fn little_is_said_by_default_and_the_same_every_time() {
    let pod = Pod::start();
    pod.dockerfile("ARG V\nCOPY Dockerfile /d");
    let flags = ["--provenance", "--build-arg=V=7.1.2", "--build-arg=SOURCE_DATE_EPOCH=1"];
    let first = build(&pod, "app:1", &[&flags[..], &["-q"]].concat()).ok();
    let again = build(&pod, "app:1", &[&flags[..], &["-q", "--no-cache"]].concat()).ok();
    assert_eq!(first.text(), again.text(), "there is no clock in it");
    let index = raw(&pod, "app:1");
    let manifest = blob(&pod, index["manifests"][1]["digest"].as_str().unwrap());
    let statement = blob(&pod, manifest["layers"][0]["digest"].as_str().unwrap());
    assert!(!statement.to_string().contains("7.1.2"), "{statement}");
    let plain = build(&pod, "app:2", &["-q", "--provenance=false"]).ok();
    assert!(raw(&pod, "app:2")["manifests"].is_null(), "{plain}");
    let bad = build(&pod, "app:3", &["--provenance=mode=most"]).exits(2);
    assert!(bad.stderr.contains("mode `most` is neither min nor max"), "{bad}");
}

#[test]
fn attestations_go_where_the_image_goes() {
    let pod = Pod::start();
    pod.dockerfile("COPY Dockerfile /d");
    let (context, tree) = (pod.t.context(), pod.t.out("tree"));
    let context = context.to_str().unwrap();
    let (layout, tar) = (pod.t.out("layout"), pod.t.out("docker.tar"));
    let spec = |kind: &str, dest: &PathBuf| format!("--output=type={kind},dest={}", dest.display());
    let outputs = [spec("local", &tree), spec("oci,tar=false", &layout), spec("docker", &tar)];
    let built = pod
        .t
        .kiln(&["build", "--provenance", "-t", "app", "--load", &outputs[0], &outputs[1], &outputs[2], context])
        .ok();
    assert!(built.stderr.contains("attestations are left out: archives for docker hold none"), "{built}");
    let statement: Value = serde_json::from_slice(&fs::read(tree.join("provenance.json")).unwrap()).unwrap();
    assert_eq!(statement["predicateType"], "https://slsa.dev/provenance/v1");
    let copy = format!("oci:{}:latest", layout.display());
    let _ = pod.t.tool("skopeo", &["copy", "--all", &copy, &format!("dir:{}", pod.t.out("copy").display())]).ok();
    let _ = pod.t.tool("skopeo", &["inspect", &format!("docker-archive:{}", tar.display())]).ok();
    // From the store to a registry and on to another repository, they are referrers there too.
    let (first, second) = (pod.registry.reference("moved:1"), pod.registry.reference("again:1"));
    let _ = pod.t.kiln(&["push", "app", &first]).ok();
    let _ = pod.t.kiln(&["copy", &format!("docker://{first}"), &format!("docker://{second}")]).ok();
    for repository in ["moved", "again"] {
        let index = raw(&pod, &format!("{repository}:1"));
        let image = index["manifests"][0]["digest"].as_str().unwrap().replace(':', "-");
        let listed = raw(&pod, &format!("{repository}:{image}"));
        assert_eq!(listed["manifests"][0]["digest"], index["manifests"][1]["digest"], "{repository}");
    }
    let _ = pod.t.kiln(&["prune", "--all", "--force"]).ok();
    let _ = pod.t.kiln(&["fsck"]).ok();
    // A file of the image is not written over.
    pod.dockerfile("COPY Dockerfile /provenance.json");
    let own = pod.t.kiln(&["build", "--provenance", &outputs[0], context]).exits(1);
    assert!(own.stderr.contains("the image has a file /provenance.json of its own"), "{own}");
}

#[test]
fn what_kiln_signs_cosign_verifies_and_the_other_way_round() {
    let pod = signer(Pod::start());
    pod.dockerfile("COPY Dockerfile /d");
    let (private, public) = key(&pod.t, "ours");
    let _ = build(&pod, "app:1", &["--provenance", "--sign", &private]).ok();
    let app = pod.registry.reference("app:1");
    let verify = |kind: &[&str]| pod.t.cosign(PASSWORD, &[kind, &COSIGN, &["--key", &public, &app]].concat());
    let claims = verify(&["verify"]).ok().json();
    assert_eq!(claims[0]["critical"]["image"]["docker-manifest-digest"], pod.registry.digest("app:1"));
    let index = raw(&pod, "app:1");
    let image = index["manifests"][0]["digest"].as_str().unwrap();
    let by_digest = pod.registry.reference(&format!("app@{image}"));
    let _ = pod.t.cosign(PASSWORD, &[&["verify"], &COSIGN[..], &["--key", &public, &by_digest]].concat()).ok();
    let ours = pod.t.kiln(&["verify", "--key", &public, &app]).ok();
    assert_eq!(ours.text().trim(), pod.registry.reference(&format!("app@{}", pod.registry.digest("app:1"))));
    let statements = pod.t.kiln(&["verify", "--key", &public, "--type=slsaprovenance", "--json", &app]).ok().json();
    assert_eq!(statements[0]["predicateType"], "https://slsa.dev/provenance/v1");

    // cosign's key, cosign's signature.
    let _ = pod.t.cosign(PASSWORD, &["generate-key-pair", "--output-key-prefix=theirs"]).ok();
    let (theirs, their_public) = (pod.t.out("theirs.key"), pod.t.out("theirs.pub"));
    let (theirs, their_public) = (theirs.to_str().unwrap(), their_public.to_str().unwrap());
    let before = pod.t.kiln(&["verify", "--key", their_public, &app]).exits(1);
    assert!(before.stderr.contains("has no signature by the key"), "{before}");
    assert!(before.stderr.contains("was not made by this key"), "{before}");
    let at = pod.registry.reference(&format!("app@{}", pod.registry.digest("app:1")));
    let flags = ["--tlog-upload=false", "--allow-http-registry=true", "--yes", "--key", theirs, &at];
    let _ = pod.t.cosign(PASSWORD, &[&["sign"], &flags[..]].concat()).ok();
    let _ = pod.t.kiln(&["verify", "--key", their_public, &app]).ok();
    let _ = pod.t.kiln(&["verify", "--key", &public, &app]).ok();
    // Theirs signs with Kiln, too, beside what is there; twice is once.
    let _ = build(&pod, "app:2", &["-q"]).ok();
    let second = pod.registry.reference("app:2");
    for _ in 0..2 {
        let _ = pod.t.kiln(&["sign", "--key", theirs, &second]).ok();
    }
    let claims = pod.t.cosign(PASSWORD, &[&["verify"], &COSIGN[..], &["--key", their_public, &second]].concat()).ok();
    assert_eq!(claims.json().as_array().unwrap().len(), 1, "{claims}");
    let bundles = pod.t.kiln(&["verify", "--key", their_public, "--json", &second]).ok().json();
    assert_eq!(bundles.as_array().unwrap().len(), 2, "one in each format: {bundles}");
}

#[test]
fn what_was_tampered_with_is_not_verified() {
    let pod = signer(Pod::start());
    pod.dockerfile("COPY Dockerfile /d");
    let (private, public) = key(&pod.t, "ours");
    let _ = build(&pod, "app:1", &["-q", "--sign", &private]).ok();
    pod.dockerfile("COPY Dockerfile /other");
    let _ = build(&pod, "evil:1", &["-q"]).ok();
    // The signatures of one image under the tag of another.
    let tag = |name: &str| pod.registry.digest(name).replace(':', "-");
    let copy = |ending: &str| {
        let from = format!("docker://{}", pod.registry.reference(&format!("app:{}{ending}", tag("app:1"))));
        let to = format!("docker://{}", pod.registry.reference(&format!("evil:{}{ending}", tag("evil:1"))));
        let flags = ["copy", "--all", "--src-tls-verify=false", "--dest-tls-verify=false", &from, &to];
        let _ = pod.t.tool("skopeo", &flags).ok();
    };
    copy(".sig");
    copy("");
    let evil = pod.t.kiln(&["verify", "--key", &public, &pod.registry.reference("evil:1")]).exits(1);
    assert!(evil.stderr.contains("it is about sha256:"), "{evil}");
    assert!(evil.stderr.contains("it is about something else"), "{evil}");
    // Damaged blobs are not what the registry says they are.
    let manifest = raw(&pod, &format!("app:{}.sig", tag("app:1")));
    let path = file(&pod, manifest["layers"][0]["digest"].as_str().unwrap());
    let good = fs::read(&path).unwrap();
    fs::write(&path, &good[1..]).unwrap();
    let _ = pod.t.kiln(&["verify", "--retries=0", "--key", &public, &pod.registry.reference("app:1")]).exits(3);
}

#[test]
fn keys_that_cannot_be_used_are_named() {
    let pod = Pod::start();
    pod.dockerfile("COPY Dockerfile /d");
    let t = Pod::machine().env("COSIGN_PASSWORD", PASSWORD);
    let (private, public) = key(&t, "ours");
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&private).unwrap().permissions()) & 0o777, 0o600);
    let prefix = private.trim_end_matches(".key");
    let again = t.kiln(&["generate-key-pair", "--output-key-prefix", prefix]).exits(1);
    assert!(again.stderr.contains("is there already, and is not overwritten"), "{again}");
    let locked = build(&pod, "app:1", &["--sign", &private]).exits(2);
    assert!(locked.stderr.contains("COSIGN_PASSWORD"), "{locked}");
    let wrong = Pod::machine().env("COSIGN_PASSWORD", "wrong");
    let refused = wrong.kiln(&["sign", "--key", &private, &pod.registry.reference("base:1")]).exits(1);
    assert!(refused.stderr.contains("the password is wrong, or the key is damaged"), "{refused}");
    let half = t.kiln(&["sign", "--key", &public, &pod.registry.reference("base:1")]).exits(1);
    assert!(half.stderr.contains("it is the public half"), "{half}");
    let half = t.kiln(&["verify", "--key", &private, &pod.registry.reference("base:1")]).exits(1);
    assert!(half.stderr.contains("give the public half"), "{half}");
    let kms = t.kiln(&["verify", "--key", "awskms://x/y", &pod.registry.reference("base:1")]).exits(2);
    assert!(kms.stderr.contains("not supported yet"), "{kms}");
    let nowhere = t.kiln(&["build", "--sign", &private, pod.t.context().to_str().unwrap()]).exits(2);
    assert!(nowhere.stderr.contains("the result goes to none"), "{nowhere}");
    let text = fs::read_to_string(&public).unwrap();
    let from_env = Pod::machine().env("PUBLIC", &text);
    let unsigned = from_env.kiln(&["verify", "--key", "env://PUBLIC", &pod.registry.reference("base:1")]).exits(1);
    assert!(unsigned.stderr.contains("has no signature by the key env://PUBLIC"), "{unsigned}");
}

/// A package as dpkg's database has it.
fn installed(name: &str, version: &str) -> String {
    format!("Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: {version}\n\n")
}

#[test]
fn an_sbom_lists_what_the_layers_leave() {
    let pod = Pod::start();
    pod.t.write("status", 0o644, installed("base-tool", "1.0-1"));
    pod.t.write("more", 0o644, installed("base-tool", "1.1-1") + &installed("new-tool", "2:3.4"));
    pod.t.write("package.json", 0o644, r#"{"name":"left","version":"1.2.3","license":"MIT"}"#);
    pod.t.write("gone.json", 0o644, r#"{"name":"gone","version":"1.0.0"}"#);
    pod.dockerfile(
        "COPY status /var/lib/dpkg/status\nCOPY gone.json /app/node_modules/gone/package.json\n\
         COPY package.json /app/node_modules/left/package.json\nCOPY more /var/lib/dpkg/status\n\
         RUN rm -r /app/node_modules/gone",
    );
    let flags = ["--sbom=format=spdx,format=cyclonedx", "--load", "--provenance"];
    let _ = build(&pod, "app:1", &flags).ok();
    let index = raw(&pod, "app:1");
    let manifest = blob(&pod, index["manifests"][1]["digest"].as_str().unwrap());
    let kinds: Vec<&str> = manifest["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|layer| layer["annotations"]["in-toto.io/predicate-type"].as_str().unwrap())
        .collect();
    let types = ["https://slsa.dev/provenance/v1", "https://spdx.dev/Document", "https://cyclonedx.org/bom"];
    assert_eq!(kinds, types);
    let spdx = blob(&pod, manifest["layers"][1]["digest"].as_str().unwrap());
    let mut names: Vec<String> = spdx["predicate"]["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| format!("{} {}", p["name"].as_str().unwrap(), p["versionInfo"].as_str().unwrap_or("")))
        .filter(|p| p.contains("tool") || p.contains("left") || p.contains("gone"))
        .collect();
    names.sort();
    assert_eq!(names, ["base-tool 1.1-1", "left 1.2.3", "new-tool 2:3.4"]);
    let cyclonedx = blob(&pod, manifest["layers"][2]["digest"].as_str().unwrap());
    assert_eq!(cyclonedx["predicate"]["specVersion"], "1.6");
    // The same of the image in the store, with and without attestations beside it.
    let app = pod.registry.reference("app:1");
    let table = pod.t.kiln(&["sbom", &app]).ok();
    let lines: Vec<Vec<&str>> = table.stdout.lines().map(|l| l.split_whitespace().collect()).collect();
    assert!(lines.contains(&vec!["new-tool", "2:3.4", "deb", "/var/lib/dpkg/status"]), "{table}");
    let again = pod.t.kiln(&["sbom", "--format=spdx", &app]).ok().json();
    assert_eq!(again["packages"], spdx["predicate"]["packages"]);
    let bad = pod.t.kiln(&["sbom", "--format=swid", &app]).exits(2);
    assert!(bad.stderr.contains("no format `swid`"), "{bad}");
}

#[test]
fn what_an_sbom_may_lack_is_said() {
    let pod = Pod::start();
    pod.t.write("status", 0o644, installed("tool", "1") + "Package: broken\nnot a field\n");
    pod.dockerfile("COPY status /var/lib/dpkg/status\nCOPY status /app/node_modules/x/package.json");
    let context = pod.t.context();
    let built = pod.t.kiln(&["build", "--sbom", "-t", "app", context.to_str().unwrap()]).ok();
    assert!(built.stderr.contains("the SBOM may lack packages: `/app/node_modules/x/package.json`"), "{built}");
    let shown = pod.t.kiln(&["sbom", "app"]).ok();
    assert!(shown.stderr.contains("warning: `/app/node_modules/x/package.json`"), "{shown}");
}
