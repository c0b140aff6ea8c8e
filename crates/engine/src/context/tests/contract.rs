//! What every source does, whatever it is made of.

use std::io::Cursor;
use std::sync::Arc;

use kiln_oci::tree::{FileRef, Node, NodeKind, Tree as Layers};
use kiln_oci::{Digest, Meta};
use kiln_store::reader::Content;

use super::*;

struct Bytes;

impl Content for Bytes {
    fn open(&self, file: &FileRef) -> std::io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(Cursor::new(file.path.to_vec())))
    }
}

fn digest() -> Arc<Digest> {
    Arc::new(Digest::of(b"a layer"))
}

pub(super) fn file(path: &str, inode: u64, meta: Meta) -> Node {
    let size = path.len() as u64;
    let place = FileRef { size, layer: digest(), path: path.as_bytes().into(), offset: 0, inode };
    Node { meta, kind: NodeKind::File(place) }
}

pub(super) fn layers(nodes: Vec<(&str, Node)>) -> LayerSource {
    let mut tree = Layers::new();
    for (path, node) in nodes {
        tree.insert(path.as_bytes(), Arc::new(node)).unwrap();
    }
    LayerSource::of(tree, Box::new(Bytes))
}

type Sources = Vec<(&'static str, Box<dyn Source>)>;

/// The same tree in each kind of source: `a/f` and `a/link -> f`, `a-b`, `top -> /a`.
fn sources() -> (Sources, Tree) {
    let tree =
        Tree::of(&["a/f", "a/link -> f", "a-b", "top -> /a"]).mode("a/f", 0o755).mode("a", 0o700).mode("a-b", 0o644);
    let dir = tree.source();
    let memory = MemorySource::new().dir("a", 0o700).file("a/f", 0o755, "a/f");
    let memory = memory.symlink("a/link", "f").file("a-b", 0o644, "a-b").symlink("top", "/a");
    let link =
        |target: &str| Node { meta: Meta::mode(0o777), kind: NodeKind::Symlink { target: target.as_bytes().into() } };
    let layers = layers(vec![
        ("a", Node { meta: Meta::mode(0o700), ..Node::dir() }),
        ("a/f", file("a/f", 1, Meta::mode(0o755))),
        ("a/link", link("f")),
        ("a-b", file("a-b", 2, Meta::mode(0o644))),
        ("top", link("/a")),
    ]);
    (vec![("directory", Box::new(dir)), ("memory", Box::new(memory)), ("layers", Box::new(layers))], tree)
}

#[test]
fn they_describe_a_tree_alike() {
    let (sources, _tree) = sources();
    for (kind, source) in sources {
        let names: Vec<_> = source.list(b"").unwrap();
        assert_eq!(names, [&b"a"[..], b"a-b", b"top"], "{kind}");
        assert_eq!(all(&*source), ["a:d", "a/f:f", "a/link:l>f", "a-b:f", "top:l>/a"], "{kind}");
        assert!(source.stat(b"").unwrap().unwrap().is_dir(), "{kind}");
        let stat = source.stat(b"a/f").unwrap().unwrap();
        assert_eq!((stat.meta.mode, stat.meta.uid, stat.link), (0o755, 0, None), "{kind}");
        assert_eq!(stat.kind, Kind::File { size: 3 }, "{kind}");
        for nothing in [&b"b"[..], b"a/x", b"a/f/x", b"top/f", b"a/link/x"] {
            assert_eq!(source.stat(nothing).unwrap(), None, "{kind} {}", escape(nothing));
            assert!(source.list(nothing).unwrap().is_empty(), "{kind}");
            assert!(source.below(nothing).unwrap().is_empty(), "{kind}");
        }
        assert_eq!(read(&*source, "a/f").unwrap(), b"a/f", "{kind}");
        assert_eq!(source.content_hash(b"a/f", &stat).unwrap(), *blake3::hash(b"a/f").as_bytes(), "{kind}");
        assert!(source.open(b"a", &stat).is_err(), "{kind}");
        assert!(source.open(b"nothing", &stat).is_err(), "{kind}");
    }
}

#[test]
fn they_select_and_hash_alike() {
    let (sources, _tree) = sources();
    let picks =
        [of(&["/"]), of(&["a", "top"]), of(&["*"]), of(&["top/f"]), excluding(&["."], &["**/f"]), parents(&["a/f"])];
    for wanted in picks {
        let found = sources.iter().map(|(_, source)| (show(&**source, &wanted), answer(&**source, &wanted).unwrap()));
        let found: Vec<_> = found.collect();
        for (at, (kind, _)) in sources.iter().enumerate() {
            assert_eq!(found[at], found[0], "{kind} {wanted:?}");
        }
    }
}

#[test]
fn hard_links_of_an_image_are_one_file() {
    let source = layers(vec![
        ("a", file("x", 7, Meta::default())),
        ("b", file("x", 7, Meta::default())),
        ("c", file("x", 8, Meta::default())),
    ]);
    let link = |path: &[u8]| source.stat(path).unwrap().unwrap().link;
    assert!(link(b"a").is_some() && link(b"a") == link(b"b"));
    assert_eq!(link(b"c"), None);
}
