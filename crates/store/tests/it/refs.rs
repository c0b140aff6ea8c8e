//! Images by name, and other tools reading them.

use std::fs;
use std::process::Command;

use kiln_oci::{Descriptor, Digest, Platform, media};
use kiln_store::{ErrorKind, StoreError};

use crate::child::Other;
use crate::{image, store};

#[test]
fn a_name_moves_and_goes() {
    let (_dir, store) = store();
    let (first, _) = image(&store, "first");
    let (mut second, _) = image(&store, "second");
    second.platform = Some(Platform::linux("arm64"));
    second.annotations.insert("org.example.note".to_owned(), "kept".to_owned());
    let name = "example.org/app:v1";
    assert_eq!(store.get_ref(name).unwrap(), None);
    store.set_ref(name, &first).unwrap();
    store.set_ref("example.org/app:v2", &first).unwrap();
    store.set_ref(name, &second).unwrap();
    assert_eq!(store.get_ref(name).unwrap().unwrap(), second);
    assert_eq!(store.get_ref("example.org/app:v2").unwrap().unwrap(), first);
    let names: Vec<String> = store.list_refs().unwrap().into_iter().map(|r| r.name).collect();
    assert_eq!(names, [name, "example.org/app:v2"]);
    assert_eq!(store.remove_ref(name).unwrap(), Some(second));
    assert_eq!(store.remove_ref(name).unwrap(), None);
    assert_eq!(store.list_refs().unwrap().len(), 1);
}

#[test]
fn only_what_is_here_gets_a_name_that_is_one() {
    let (_dir, store) = store();
    let missing = Descriptor::of(media::OCI_MANIFEST, b"never stored");
    let error = store.set_ref("example.org/a:1", &missing).unwrap_err();
    assert!(matches!(error, StoreError::DanglingRef { .. }), "{error}");
    let (descriptor, _) = image(&store, "names");
    for bad in ["", "a b", "a\nb", "a\u{0}b", &"x".repeat(5000)] {
        let error = store.set_ref(bad, &descriptor).unwrap_err();
        assert!(matches!(error, StoreError::RefName { .. }), "{error}");
        assert!(error.to_string().len() < 300, "{error}");
    }
    assert!(store.list_refs().unwrap().is_empty());
}

#[test]
fn skopeo_reads_the_store_and_its_images_are_read() {
    let (dir, store) = store();
    let (descriptor, _) = image(&store, "skopeo");
    let name = "registry.example.org:5000/team/app:v1.2";
    store.set_ref(name, &descriptor).unwrap();
    let place = format!("oci:{}", store.dir().display());
    let run = |args: &[&str]| {
        let output = Command::new("skopeo").args(args).output().expect("skopeo is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let inspected: serde_json::Value = serde_json::from_slice(&run(&["inspect", &format!("{place}:{name}")])).unwrap();
    assert_eq!(inspected["Digest"], descriptor.digest.to_string());
    assert_eq!(inspected["Labels"]["salt"], "skopeo");
    let raw = run(&["inspect", "--raw", &format!("{place}:{name}")]);
    assert_eq!(Digest::of(&raw), descriptor.digest);

    // The other way round: what skopeo writes here has a name and is whole.
    let copy = format!("oci:{}", dir.path().join("copy").display());
    run(&["--insecure-policy", "copy", "--preserve-digests", &format!("{place}:{name}"), &format!("{copy}:elsewhere")]);
    run(&["--insecure-policy", "copy", "--preserve-digests", &format!("{copy}:elsewhere"), &format!("{place}:back")]);
    assert_eq!(store.get_ref("back").unwrap().unwrap().digest, descriptor.digest);
    assert_eq!(store.get_ref(name).unwrap().unwrap().digest, descriptor.digest);
    assert!(store.fsck(false).unwrap().problems.is_empty());
}

#[test]
fn what_other_tools_wrote_is_kept() {
    let (_dir, store) = store();
    let (descriptor, _) = image(&store, "foreign");
    let foreign = format!(
        r#"{{"schemaVersion":2,"x-vendor":{{"a":1}},"manifests":[
            {{"mediaType":"{m}","digest":"{d}","size":{s},"data":"e30=","annotations":{{"org.opencontainers.image.ref.name":"latest"}}}},
            {{"mediaType":"{m}","digest":"{d}","size":{s}}},
            {{"mediaType":"{m}","digest":"{d}","size":{s},"annotations":{{"io.containerd.image.name":"docker.io/library/a:latest","org.opencontainers.image.ref.name":"latest"}}}}
        ]}}"#,
        m = descriptor.media_type,
        d = descriptor.digest,
        s = descriptor.size
    );
    fs::write(store.dir().join("index.json"), foreign).unwrap();
    let names: Vec<String> = store.list_refs().unwrap().into_iter().map(|r| r.name).collect();
    assert_eq!(names, ["docker.io/library/a:latest", "latest"]);
    store.set_ref("example.org/mine:1", &descriptor).unwrap();
    store.remove_ref("latest").unwrap();
    let text = fs::read_to_string(store.dir().join("index.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["x-vendor"]["a"], 1);
    assert_eq!(json["manifests"].as_array().unwrap().len(), 3);
    assert_eq!(json["manifests"][0].get("annotations"), None);
}

#[test]
fn a_hostile_index_is_an_error_or_ignored_and_never_overwritten() {
    let (_dir, store) = store();
    let (descriptor, _) = image(&store, "hostile");
    let index = store.dir().join("index.json");
    for bad in ["", "{", "[]", "null", r#"{"manifests":{}}"#, r#"{"manifests":"x"}"#, &"[".repeat(100_000)] {
        fs::write(&index, bad).unwrap();
        for error in [
            store.list_refs().unwrap_err(),
            store.set_ref("example.org/a:1", &descriptor).unwrap_err(),
            store.remove_ref("example.org/a:1").unwrap_err(),
            store.prune(&Default::default()).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
        }
        assert_eq!(fs::read_to_string(&index).unwrap(), bad);
    }
    assert!(store.has_blob(&descriptor.digest));
    let odd = r#"{"manifests":[1,null,[],{},{"digest":"sha256:../../../etc/passwd","size":1,"mediaType":"x","annotations":{"org.opencontainers.image.ref.name":"up"}},
        {"digest":7,"annotations":{"org.opencontainers.image.ref.name":"seven"}},{"annotations":7},
        {"digest":"sha256:00","size":-1,"mediaType":"x","annotations":{"org.opencontainers.image.ref.name":5}}]}"#;
    fs::write(&index, odd).unwrap();
    assert!(store.list_refs().unwrap().is_empty());
    assert_eq!(store.get_ref("up").unwrap(), None);
    store.set_ref("up", &descriptor).unwrap();
    assert_eq!(store.get_ref("up").unwrap().unwrap(), descriptor);
    store.prune(&Default::default()).unwrap();
    assert!(store.has_blob(&descriptor.digest));
}

#[test]
fn two_processes_and_several_threads_lose_no_name() {
    let (_dir, store) = store();
    let mut others = [Other::start("names_forty_images", store.dir()), Other::start("names_forty_images", store.dir())];
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let store = store.clone();
            scope.spawn(move || {
                for n in 0..25 {
                    let (descriptor, _) = image(&store, &format!("{thread}-{n}"));
                    store.set_ref(&format!("example.org/t{thread}:{n}"), &descriptor).unwrap();
                    if n % 2 == 1 {
                        assert!(store.remove_ref(&format!("example.org/t{thread}:{n}")).unwrap().is_some());
                    }
                }
            });
        }
    });
    for other in &mut others {
        let id = other.wait_for("named ");
        for n in 0..40 {
            assert!(store.get_ref(&format!("example.org/p{id}:{n}")).unwrap().is_some());
        }
    }
    others.into_iter().for_each(Other::finish);
    assert_eq!(store.list_refs().unwrap().len(), 2 * 40 + 4 * 13);
    assert!(store.fsck(false).unwrap().problems.is_empty());
}
