//! What containerd keeps of images and blobs in its database, as its schema `v1` has it (`metadata/buckets.go` of containerd
//! 1.6; later versions bring it up to date themselves).
//!
//! ```text
//! v1 / version                                        3
//! v1 / NAMESPACE / images / NAME                      createdat, updatedat, target / {digest, mediatype, size}, labels / …
//! v1 / NAMESPACE / content / blob / DIGEST            createdat, updatedat, size, labels / …
//! ```
//! Numbers are Go's signed variable-length integers, times are Go's binary form. What an image needs is found by labels of
//! its documents, `containerd.io/gc.ref.content.…`: a blob that no label leads to is collected as garbage.

use kiln_checks::read::bolt::{Database, Item, Node};
use kiln_oci::manifest::{Index, Manifest};
use kiln_oci::{Descriptor, Reference, media};

use super::Stored;

/// The version of the schema.
const VERSION: i64 = 3;
/// Seconds from the year 1 to 1970.
const EPOCH: i64 = 62_135_596_800;

/// Adds images to the database `before`, if there is one, and gives it anew.
///
/// # Errors
/// Why the old one cannot be read, or is of another kind.
pub fn add(before: Option<&[u8]>, namespace: &str, images: &[Stored], pinned: bool) -> Result<Vec<u8>, String> {
    let mut root = match before {
        Some(bytes) => Database::open(bytes).and_then(|database| database.all()).map_err(|e| e.to_string())?,
        None => Node::default(),
    };
    let v1 = bucket(&mut root, b"v1")?;
    v1.items.entry(b"version".to_vec()).or_insert_with(|| Item::Value(varint(VERSION)));
    let space = bucket(v1, namespace.as_bytes())?;
    for image in images {
        let blobs = bucket(bucket(space, b"content")?, b"blob")?;
        for (descriptor, bytes) in &image.documents {
            let labels = references(descriptor, bytes, image)?;
            blob(blobs, descriptor, &labels)?;
        }
        for descriptor in &image.blobs {
            blob(blobs, descriptor, &sources(image))?;
        }
        let records = bucket(space, b"images")?;
        for name in names(image) {
            record(records, &name, &image.root, pinned)?;
        }
    }
    Ok(super::bolt::write(&root))
}

/// The names that an image gets, as the CRI plugin of containerd gives them: its own, by digest, and by its identifier.
fn names(image: &Stored) -> Vec<String> {
    let mut names: Vec<String> = image.names.iter().map(ToString::to_string).collect();
    let by_digest = |name: &Reference| format!("{}@{}", name.name(), image.root.digest);
    names.extend(image.names.iter().filter(|name| name.digest.is_none()).map(by_digest));
    names.extend(image.configs.iter().map(|config| config.digest.to_string()));
    names.sort_unstable();
    names.dedup();
    names
}

/// Where a blob can be had from, as containerd remembers it.
fn sources(image: &Stored) -> Vec<(String, String)> {
    let one = |name: &Reference| {
        let whole = name.name();
        let (host, path) = whole.split_once('/')?;
        Some((format!("containerd.io/distribution.source.{host}"), path.to_owned()))
    };
    image.names.iter().filter_map(one).collect()
}

/// Labels that lead from a document to what it names, as far as that is there.
fn references(descriptor: &Descriptor, bytes: &[u8], image: &Stored) -> Result<Vec<(String, String)>, String> {
    let mut labels = sources(image);
    let there = |child: &Descriptor| {
        let documents = image.documents.iter().map(|(descriptor, _)| descriptor);
        documents.chain(&image.blobs).any(|known| known.digest == child.digest)
    };
    let failed = |e: serde_json::Error| format!("{}: {e}", descriptor.digest);
    if media::is_index(&descriptor.media_type) {
        let index: Index = serde_json::from_slice(bytes).map_err(failed)?;
        let children = index.manifests.iter().enumerate().filter(|(_, child)| there(child));
        labels.extend(children.map(|(at, child)| label(&format!("m.{at}"), child)));
    } else {
        let manifest: Manifest = serde_json::from_slice(bytes).map_err(failed)?;
        labels.push(label("config", &manifest.config));
        labels.extend(manifest.layers.iter().enumerate().map(|(at, layer)| label(&format!("l.{at}"), layer)));
    }
    Ok(labels)
}

fn label(what: &str, descriptor: &Descriptor) -> (String, String) {
    (format!("containerd.io/gc.ref.content.{what}"), descriptor.digest.to_string())
}

/// A bucket in a bucket, made where it is missing.
fn bucket<'n>(node: &'n mut Node, name: &[u8]) -> Result<&'n mut Node, String> {
    match node.items.entry(name.to_vec()).or_insert_with(|| Item::Bucket(Node::default())) {
        Item::Bucket(node) => Ok(node),
        Item::Value(_) => Err(format!("`{}` in it is no bucket", name.escape_ascii())),
    }
}

fn set(node: &mut Node, key: &str, value: impl Into<Vec<u8>>) {
    node.items.insert(key.as_bytes().to_vec(), Item::Value(value.into()));
}

/// Says when something was made, and that it is as it was then. The time is that of nothing in particular, so that the same
/// images give the same database.
fn dates(node: &mut Node) {
    let known = node.items.contains_key(&b"createdat"[..]);
    if !known {
        set(node, "createdat", time(0));
    }
    set(node, "updatedat", time(0));
}

fn blob(blobs: &mut Node, descriptor: &Descriptor, labels: &[(String, String)]) -> Result<(), String> {
    let node = bucket(blobs, descriptor.digest.to_string().as_bytes())?;
    dates(node);
    set(node, "size", varint(i64::try_from(descriptor.size).unwrap_or(i64::MAX)));
    if !labels.is_empty() {
        let kept = bucket(node, b"labels")?;
        labels.iter().for_each(|(key, value)| set(kept, key, value.as_bytes()));
    }
    Ok(())
}

fn record(records: &mut Node, name: &str, target: &Descriptor, pinned: bool) -> Result<(), String> {
    let node = bucket(records, name.as_bytes())?;
    dates(node);
    let labels = bucket(node, b"labels")?;
    set(labels, "io.cri-containerd.image", "managed");
    if pinned {
        set(labels, "io.cri-containerd.pinned", "pinned");
    }
    // Where an image of this name was before, its target is another now.
    let to = bucket(node, b"target")?;
    to.items.clear();
    set(to, "digest", target.digest.to_string());
    set(to, "mediatype", &*target.media_type);
    set(to, "size", varint(i64::try_from(target.size).unwrap_or(i64::MAX)));
    Ok(())
}

/// Go's `binary.PutVarint`.
fn varint(value: i64) -> Vec<u8> {
    let mut left = ((value << 1) ^ (value >> 63)) as u64;
    let mut out = Vec::new();
    while left >= 0x80 {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
    out
}

/// Go's `time.Time.MarshalBinary`, in UTC: version, seconds, nanoseconds, and no zone.
fn time(seconds: i64) -> Vec<u8> {
    let mut out = vec![1];
    out.extend((seconds + EPOCH).to_be_bytes());
    out.extend(0_u32.to_be_bytes());
    out.extend((-1_i16).to_be_bytes());
    out
}

#[cfg(test)]
mod tests {
    use kiln_checks::read::bolt::Database;
    use kiln_oci::Digest;

    use super::*;

    fn stored(name: &str) -> Stored {
        let layer = Descriptor::of(media::OCI_LAYER_GZIP, b"layer");
        let config = Descriptor::of(media::OCI_CONFIG, b"{}");
        let text = serde_json::json!({"schemaVersion": 2, "config": config, "layers": [layer]}).to_string();
        let root = Descriptor::of(media::OCI_MANIFEST, text.as_bytes());
        Stored {
            names: vec![name.parse().unwrap()],
            documents: vec![(root.clone(), text.into_bytes())],
            root,
            blobs: vec![layer, config.clone()],
            configs: vec![config],
        }
    }

    fn get(bytes: &[u8], path: &[&str], key: &str) -> Option<String> {
        let database = Database::open(bytes).unwrap();
        let path: Vec<&[u8]> = path.iter().map(|name| name.as_bytes()).collect();
        let bucket = database.bucket(&path).unwrap()?;
        database.value(bucket, key.as_bytes()).unwrap().map(|value| String::from_utf8(value).unwrap())
    }

    #[test]
    fn go_reads_its_numbers_and_times() {
        assert_eq!(varint(3), [6]);
        assert_eq!(varint(349), [0xba, 0x05]);
        assert_eq!(varint(1_084_002), [0xc4, 0xa9, 0x84, 0x01]);
        assert_eq!(varint(-1), [1]);
        assert_eq!(time(1_795_710_235)[..9], [1, 0, 0, 0, 0x0e, 0xe2, 0x9a, 0x54, 0x1b]);
    }

    #[test]
    fn images_are_added_to_what_is_there() {
        let first = add(None, "k8s.io", &[stored("example.com/a:1")], true).unwrap();
        let other = add(Some(&first), "k8s.io", &[stored("docker.io/library/b:1")], false).unwrap();
        for (name, pinned) in [("example.com/a:1", Some("pinned")), ("docker.io/library/b:1", None)] {
            let path = ["v1", "k8s.io", "images", name];
            let labels = [&path[..], &["labels"]].concat();
            assert_eq!(get(&other, &labels, "io.cri-containerd.pinned").as_deref(), pinned, "{name}");
            let target = get(&other, &[&path[..], &["target"]].concat(), "digest").unwrap();
            let blob = ["v1", "k8s.io", "content", "blob", &target, "labels"];
            let layer = Digest::of(b"layer").to_string();
            assert_eq!(get(&other, &blob, "containerd.io/gc.ref.content.l.0"), Some(layer));
        }
        // The same again changes nothing.
        assert_eq!(add(Some(&first), "k8s.io", &[stored("example.com/a:1")], true).unwrap(), first);
        assert!(add(Some(b"garbage"), "k8s.io", &[], true).unwrap_err().contains("not a database"));
        let odd = Node { items: [(b"v1".to_vec(), Item::Value(Vec::new()))].into(), ..Node::default() };
        let odd = super::super::bolt::write(&odd);
        assert_eq!(add(Some(&odd), "k8s.io", &[], true).unwrap_err(), "`v1` in it is no bucket");
    }
}
