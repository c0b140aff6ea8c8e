//! Images in the store: importing, listing, naming, looking into them, pruning.

use std::fs;

use kiln_testkit::{Layout, Rootfs, TestContext};

/// A context whose kiln is the one under test.
pub fn context() -> TestContext {
    TestContext::with_kiln(env!("CARGO_BIN_EXE_kiln")).env("SOURCE_DATE_EPOCH", "0")
}

/// Some files as a tar.
pub fn files() -> Vec<u8> {
    Rootfs::new()
        .dir("etc", 0o755)
        .file("etc/motd", 0o644, "hello\n")
        .symlink("etc/link", "motd")
        .owned_file("a b", 0o600, (1000, 1000), "x")
        .tar()
}

/// A context with the image `app:1` of [`files`].
pub fn with_app() -> TestContext {
    let t = context();
    let _ = t.kiln_with_input(&["import", "-c", "CMD [\"sh\"]", "-c", "ENV A=b", "-", "app:1"], &files()).ok();
    t
}

/// The digest `kiln images` shows for a name.
pub fn digest(t: &TestContext, name: &str) -> String {
    let listed = t.kiln(&["images", "-q", "--no-trunc", name]).ok();
    assert!(listed.text().starts_with("sha256:") && !listed.text().contains('\n'), "{listed}");
    listed.text().to_owned()
}

#[test]
fn an_import_is_an_image_of_one_canonical_layer() {
    let t = with_app();
    let first = digest(&t, "app:1");
    let again = t.kiln_with_input(&["import", "-c", "CMD [\"sh\"]", "-c", "ENV A=b", "-", "app:2"], &files()).ok();
    assert_eq!(again.text(), first, "the same files and time give the same image");
    assert_eq!(
        t.kiln(&["ls", "app:1"]).ok().stdout,
        "/a\\x20b f 0600 1000:1000 1\n/etc d 0755 0:0\n/etc/link l 0777 0:0 -> motd\n/etc/motd f 0644 0:0 6\n"
    );
    let known = &t.kiln(&["inspect", "app:1"]).ok().json()[0];
    assert_eq!(known["Config"]["Cmd"], serde_json::json!(["sh"]));
    assert_eq!(known["Config"]["Env"], serde_json::json!(["A=b"]));
    assert_eq!(known["RepoTags"], serde_json::json!(["app:1", "app:2"]));
    assert_eq!(known["History"][0]["comment"], "Imported from -");
    assert_eq!(known["Id"], first);
}

#[test]
fn an_import_takes_compressed_files_and_refuses_what_is_none() {
    let t = context();
    fs::write(t.out("fs.tar"), files()).unwrap();
    for (tool, args) in
        [("gzip", ["-k", "fs.tar"]), ("zstd", ["-qk", "fs.tar"]), ("xz", ["-k", "fs.tar"]), ("bzip2", ["-k", "fs.tar"])]
    {
        let _ = t.tool(tool, &args).ok();
    }
    let path = |name: &str| t.out(name).display().to_string();
    let want = t.kiln(&["import", "-m", "m", &path("fs.tar"), "x"]).ok();
    for name in ["fs.tar.gz", "fs.tar.zst", "fs.tar.xz", "fs.tar.bz2"] {
        assert_eq!(t.kiln(&["import", "-m", "m", &path(name), "x"]).ok().text(), want.text(), "{name}");
    }
    let wrong = t.kiln_with_input(&["import", "-", "y"], b"this is not a tar").exits(1);
    assert!(wrong.stderr.contains("standard input") || wrong.stderr.contains("-: it is not a tar"), "{wrong}");
    let empty = t.kiln_with_input(&["import", "-", "y"], b"").exits(1);
    assert!(empty.stderr.contains("it is empty"), "{empty}");
    let cut = t.kiln_with_input(&["import", "-", "y"], &files()[..1600]).exits(1);
    assert!(cut.stderr.contains("error: -: "), "{cut}");
    let whiteout = Rootfs::new().whiteout("etc/x").tar();
    let _ = t.kiln_with_input(&["import", "-", "y"], &whiteout).exits(1);
    assert!(!t.kiln(&["images"]).ok().stdout.contains("\ny "), "nothing half done is visible");
    let change = t.kiln_with_input(&["import", "-c", "RUN rm -rf /", "-", "y"], &files()).exits(1);
    assert!(change.stderr.contains("expected one line of one of CMD, ENTRYPOINT"), "{change}");
    let change = t.kiln_with_input(&["import", "-c", "EXPOSE nonsense", "-", "y"], &files()).exits(1);
    assert!(change.stderr.contains("--change `EXPOSE nonsense`"), "{change}");
}

#[test]
fn images_are_found_by_name_and_by_the_beginning_of_an_id() {
    let t = with_app();
    let id = digest(&t, "app:1");
    let config = t.kiln(&["inspect", "app:1"]).ok().json()[0]["ConfigDigest"].as_str().unwrap().to_owned();
    for name in ["app:1", "docker.io/library/app:1", &id, &id[7..], &id[..20], &id[7..13], &config, &config[7..15]] {
        assert_eq!(t.kiln(&["cat", name, "etc/link"]).ok().text(), "hello", "{name}");
    }
    let _ = t.kiln(&["tag", &id[7..13], "registry.example/team/app:2", "other"]).ok();
    let listed = t.kiln(&["images"]).ok().stdout;
    let repositories: Vec<&str> = listed.lines().map(|l| l.split_whitespace().next().unwrap()).collect();
    assert_eq!(repositories, ["REPOSITORY", "app", "other", "registry.example/team/app"]);
    let filtered = t.kiln(&["images", "--filter", "reference=*/team/*"]).ok();
    assert_eq!(filtered.stdout.lines().count(), 2, "{filtered}");
    let missing = t.kiln(&["ls", "nope"]).exits(1);
    assert!(
        missing.stderr.contains("no image `nope:latest` in the store") && missing.stderr.contains("hint: "),
        "{missing}"
    );
    let _ = t.kiln(&["tag", "app:1", "Upper"]).exits(2);
    let _ = t.kiln(&["tag", "app:1", "x@sha256:00"]).exits(2);
}

#[test]
fn removing_names_frees_when_pruned() {
    let t = with_app();
    let id = digest(&t, "app:1");
    let _ = t.kiln(&["tag", "app:1", "app:2"]).ok();
    let two = t.kiln(&["rmi", &id[7..19]]).exits(1);
    assert!(two.stderr.contains("has 2 names"), "{two}");
    assert_eq!(t.kiln(&["rmi", "app:2"]).ok().stdout, "Untagged: app:2\n");
    let _ = t.kiln(&["prune", "-f"]).ok();
    assert_eq!(t.kiln(&["cat", "app:1", "/etc/motd"]).ok().text(), "hello", "an image with a name stays");
    let _ = t.kiln(&["rmi", "-f", "app:1", "nothing"]).ok();
    let _ = t.kiln(&["rmi", "nothing"]).exits(1);
    let pruned = t.kiln(&["prune", "-f", "--all", "--json"]).ok().json();
    assert!(pruned["freed"].as_u64().unwrap() > 0, "{pruned}");
    assert_eq!(t.kiln(&["du", "--json"]).ok().json()["bytes"], 0);
    let _ = t.kiln(&["inspect", &id]).exits(1);
    for wrong in [["prune", "--filter=kind=x"], ["prune", "--keep-duration=soon"], ["prune", "--max-used-space=big"]] {
        let _ = t.kiln(&wrong).exits(2);
    }
}

#[test]
fn files_are_listed_and_compared() {
    let t = with_app();
    let changed = Rootfs::new().dir("etc", 0o755).file("etc/motd", 0o644, "other\n").file("new", 0o755, "").tar();
    let _ = t.kiln_with_input(&["import", "-", "app:2"], &changed).ok();
    let diff = t.kiln(&["diff", "app:1", "app:2"]).ok().stdout;
    let paths: Vec<String> = diff
        .lines()
        .map(|l| l.split_whitespace().take(1).chain(l.split_whitespace().nth(1)).collect::<Vec<_>>().join(" "))
        .collect();
    assert!(diff.contains("new") && diff.contains("/etc/motd") && diff.contains("a\\x20b"), "{paths:?}\n{diff}");
    assert_eq!(t.kiln(&["diff", "--json", "app:1", "app:1"]).ok().json(), serde_json::json!([]));
    assert!(t.kiln(&["ls", "--digest", "app:1", "/etc/link"]).ok().stdout.contains(" 6 sha256:[DIGEST]"));
    let json = t.kiln(&["ls", "--json", "--digest", "app:1", "/etc"]).ok().json();
    assert_eq!(json[2]["path"], "/etc/motd");
    assert_eq!(json[2]["mode"], "0644");
    let missing = t.kiln(&["ls", "app:1", "/nowhere"]).exits(1);
    assert!(missing.stderr.contains("app:1 has no `/nowhere`"), "{missing}");
    let dir = t.kiln(&["cat", "app:1", "/etc"]).exits(1);
    assert!(dir.stderr.contains("is not a file"), "{dir}");
}

#[test]
fn history_shows_what_made_each_layer() {
    let t = context();
    let layout = Layout::busybox(t.out("busybox"));
    let _ = t.kiln(&["load", "-i", &layout.dir().display().to_string()]).ok();
    let table = t.kiln(&["history", "busybox"]).ok().stdout;
    assert!(table.starts_with("LAYER") && table.contains("kiln-testkit"), "{table}");
    let json = t.kiln(&["history", "--json", "busybox"]).ok().json();
    assert!(json[0]["layer"].as_str().unwrap().starts_with("sha256:"));
}

#[test]
fn a_damaged_store_is_found_and_mended() {
    let t = with_app();
    let _ = t.kiln(&["fsck"]).ok();
    let layer = t.kiln(&["inspect", "app:1"]).ok().json()[0]["Layers"][0]["digest"].as_str().unwrap().to_owned();
    let blob = t.store().join("blobs/sha256").join(&layer[7..]);
    let mut bytes = fs::read(&blob).unwrap();
    bytes[100] ^= 1;
    fs::write(&blob, bytes).unwrap();
    let found = t.kiln(&["fsck"]).exits(3);
    assert!(found.stdout.contains(&"blob sha256:[DIGEST]".to_owned()) && found.stderr.contains("--repair"), "{found}");
    let _ = t.kiln(&["fsck", "--repair"]);
    assert!(!blob.exists());
}

#[test]
fn every_verb_explains_itself_by_example() {
    let t = context();
    let help = t.kiln(&["--help"]).ok().stdout;
    let verbs: Vec<&str> = help
        .lines()
        .skip_while(|l| !l.starts_with("Commands:"))
        .skip(1)
        .take_while(|l| !l.is_empty())
        .filter(|l| l.starts_with("  ") && !l.starts_with("   "))
        .filter_map(|l| l.split_whitespace().next())
        .filter(|v| *v != "help")
        .collect();
    assert!(verbs.len() > 20, "{verbs:?}");
    for verb in verbs {
        let help = t.kiln(&[verb, "--help"]).ok();
        assert!(help.stdout.contains("Examples:"), "{verb}\n{help}");
    }
    assert!(t.kiln(&["completion", "bash"]).ok().stdout.contains("kiln"));
    let _ = t.kiln(&["man", &t.out("man").display().to_string()]).ok();
    assert!(fs::read_to_string(t.out("man/kiln-push.1")).unwrap().contains(".TH"));
    assert!(t.kiln(&["version"]).ok().stdout.starts_with("kiln "));
    let _ = t.kiln(&["frobnicate"]).exits(2);
}
