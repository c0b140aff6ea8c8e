//! Base images that are not quite as they should be.

use kiln_oci::config::History;
use kiln_oci::{Digest, ImageConfig, Manifest, compress, media};
use kiln_testkit::layout::{busybox_config, gzip};
use kiln_testkit::{Layout, Rootfs, busybox_layer};

use crate::Bench;

/// A bench that calls an image of these layers `odd`; each layer is its tar, and its bytes and type in the layout.
fn with(config: &ImageConfig, layers: &[(Vec<u8>, Vec<u8>, &str)]) -> Bench {
    let b = Bench::new();
    let mut layout = Layout::new(b.t.out("odd"));
    let mut config = config.clone();
    config.rootfs.diff_ids = layers.iter().map(|(tar, ..)| Digest::of(tar)).collect();
    config.rootfs.kind = "layers".to_owned();
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(media::OCI_MANIFEST.to_owned()),
        artifact_type: None,
        config: layout.blob(media::OCI_CONFIG, &serde_json::to_vec(&config).unwrap()),
        layers: layers.iter().map(|(_, bytes, media)| layout.blob(media, bytes)).collect(),
        subject: None,
        annotations: [].into(),
    };
    let descriptor = layout.blob(media::OCI_MANIFEST, &serde_json::to_vec(&manifest).unwrap());
    layout.add("odd", descriptor);
    let option = format!("--build-context=odd=oci-layout://{}:odd", b.t.out("odd").display());
    b.args(&[&option])
}

fn zipped(tar: Vec<u8>) -> (Vec<u8>, Vec<u8>, &'static str) {
    let bytes = gzip(&tar);
    (tar, bytes, media::OCI_LAYER_GZIP)
}

fn dated(created: Option<&str>) -> History {
    History { created: created.map(str::to_owned), created_by: Some("base".to_owned()), ..History::default() }
}

#[test]
fn variables_without_a_value_and_relative_directories() {
    let mut config = busybox_config();
    config.config.env.insert(0, "NOEQ".to_owned());
    config.config.working_dir = "rel/dir".to_owned();
    config.history = vec![dated(None)];
    let built = with(&config, &[zipped(busybox_layer())]).build("FROM odd\nRUN env > /env; pwd > /cwd");
    assert!(built.read("env").lines().any(|l| l == "NOEQ="), "{}", built.read("env"));
    assert_eq!(built.read("cwd"), "/rel/dir\n");
    assert_eq!(built.config.config.env[0], "NOEQ", "and the configuration has it as it was");
}

#[test]
fn layers_stored_in_other_ways() {
    let mut config = busybox_config();
    config.history = vec![dated(None), dated(None), dated(None), dated(None)];
    let (plain, zstd, parts) = (
        Rootfs::new().file("plain", 0o644, "p").tar(),
        Rootfs::new().file("zstd", 0o644, "z").tar(),
        Rootfs::new().file("parts", 0o644, "two members").tar(),
    );
    let mut encoder = compress::Compressor::new(Vec::new(), compress::Compression::Zstd { level: 3 }, 1);
    std::io::Write::write_all(&mut encoder, &zstd).unwrap();
    let packed = encoder.finish().unwrap();
    let members = [gzip(&parts[..512]), gzip(&parts[512..])].concat();
    let layers = [
        zipped(busybox_layer()),
        (plain.clone(), plain, media::OCI_LAYER),
        (zstd, packed, media::OCI_LAYER_ZSTD),
        (parts, members, media::OCI_LAYER_GZIP),
    ];
    let built = with(&config, &layers).build("FROM odd\nRUN cat /plain /zstd /parts > /all");
    assert_eq!(built.read("all"), "pztwo members");
}

#[test]
fn the_last_entry_of_a_name_wins_in_layers_too() {
    let mut config = busybox_config();
    config.history = vec![dated(None), dated(None), dated(None)];
    let twice = Rootfs::new().file("x/f", 0o644, "one").file("x/f", 0o600, "two").dir("x", 0o711);
    let layers = [zipped(busybox_layer()), zipped(twice.tar()), zipped(twice.tar())];
    let built = with(&config, &layers).build("FROM odd\nRUN cat /x/f > /f; stat -c %a /x /x/f > /modes");
    assert_eq!((built.read("f"), built.read("modes")), ("two".into(), "711\n600\n".into()));
}

#[test]
fn images_without_layers_as_others_write_them() {
    let b = Bench::new();
    let mut layout = Layout::new(b.t.out("empty"));
    let config = r#"{"architecture":"amd64","os":"linux","config":null,"history":null,"rootfs":{"type":"layers","diff_ids":null}}"#;
    let config = layout.blob(media::OCI_CONFIG, config.as_bytes());
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": media::OCI_MANIFEST, "config": config, "layers": null,
    });
    let descriptor = layout.blob(media::OCI_MANIFEST, manifest.to_string().as_bytes());
    layout.add("empty", descriptor);
    let option = format!("--build-context=empty=oci-layout://{}:empty", b.t.out("empty").display());
    let b = b.args(&[&option]);
    let built = b.build("FROM empty\nCOPY <<E /f\nx\nE\n");
    assert_eq!(built.read("f"), "x\n");
}

#[test]
fn history_without_dates_gets_those_it_can() {
    let mut config = busybox_config();
    let empty = |created| History { empty_layer: true, ..dated(created) };
    config.history = vec![dated(None), empty(Some("2001-01-01T00:00:00Z")), empty(None)];
    let dates = |b: &Bench| -> Vec<Option<String>> {
        b.build("FROM odd\nLABEL a=b").config.history.into_iter().map(|h| h.created).collect()
    };
    let b = with(&config, &[zipped(busybox_layer())]);
    let old = Some("2001-01-01T00:00:00Z".to_owned());
    assert_eq!(dates(&b), [None, old.clone(), old.clone(), old.clone()]);
    let epoch = Some("1970-01-01T00:16:40Z".to_owned());
    assert_eq!(dates(&b.env("SOURCE_DATE_EPOCH", "1000")), [epoch.clone(), old, epoch.clone(), epoch]);
}
