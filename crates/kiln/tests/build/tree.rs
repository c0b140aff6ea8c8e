//! What is in the store under a name, read without any of the engine: blobs, digests, tars.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;

use kiln_oci::index::LayerIndex;
use kiln_oci::tree::{DumpOptions, Tree};
use kiln_oci::{Digest, ImageConfig, Manifest, compress};
use kiln_store::Store;

/// An image read back.
pub struct Built {
    pub manifest: Manifest,
    pub config: ImageConfig,
    pub tree: Tree,
    tars: HashMap<Digest, Vec<u8>>,
    pub indexes: Vec<LayerIndex>,
}

/// Reads an image of one platform.
pub fn open(store: &Path, name: &str) -> Built {
    let store = Store::open(store).unwrap();
    let reference: kiln_oci::Reference = name.parse().unwrap();
    let root = store.get_ref(&reference.to_string()).unwrap().unwrap_or_else(|| panic!("no image {reference}"));
    let manifest: Manifest = serde_json::from_slice(&store.read_blob(&root.digest, 1 << 20).unwrap()).unwrap();
    let config: ImageConfig =
        serde_json::from_slice(&store.read_blob(&manifest.config.digest, 1 << 20).unwrap()).unwrap();
    assert_eq!(manifest.layers.len(), config.rootfs.diff_ids.len());
    let layered = config.history.iter().filter(|h| !h.empty_layer).count();
    assert_eq!(layered, manifest.layers.len(), "history and layers agree");
    let (mut tree, mut tars, mut indexes) = (Tree::new(), HashMap::new(), Vec::new());
    for (layer, diff_id) in manifest.layers.iter().zip(&config.rootfs.diff_ids) {
        let blob = store.read_blob(&layer.digest, 1 << 30).unwrap();
        assert_eq!(blob.len() as u64, layer.size);
        let mut tar = Vec::new();
        match compress::detect(&blob) {
            Some(format) => compress::decompress(format, &blob[..], None).read_to_end(&mut tar).map(drop).unwrap(),
            None => tar = blob,
        }
        assert_eq!(Digest::of(&tar), *diff_id, "the layer is what the configuration says");
        let index = LayerIndex::read(&tar[..]).unwrap();
        tree.apply(&index, diff_id).unwrap();
        indexes.push(index);
        tars.insert(diff_id.clone(), tar);
    }
    Built { manifest, config, tree, tars, indexes }
}

impl Built {
    /// The content of a file.
    pub fn read(&self, path: &str) -> String {
        let node =
            self.tree.at(path.trim_start_matches('/').as_bytes()).unwrap_or_else(|| panic!("{path} is not there"));
        let file = node.file().unwrap_or_else(|| panic!("{path} is not a file"));
        let start = usize::try_from(file.offset).unwrap();
        let bytes = &self.tars[&*file.layer][start..start + usize::try_from(file.size).unwrap()];
        String::from_utf8_lossy(bytes).into_owned()
    }

    /// Whether something is at a path.
    pub fn has(&self, path: &str) -> bool {
        self.tree.at(path.trim_start_matches('/').as_bytes()).is_some()
    }

    /// The whole tree, contents shown where they are short.
    pub fn dump(&self) -> String {
        self.dump_of("")
    }

    /// The tree below a path.
    pub fn dump_of(&self, path: &str) -> String {
        let mut shown = String::new();
        let text = self.tree.dump_with(path.trim_start_matches('/').as_bytes(), DumpOptions::default(), &mut |_| None);
        for line in text.lines() {
            let mut words = line.split(' ');
            let (name, kind) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
            shown += line.trim_end();
            if kind == "f"
                && self
                    .tree
                    .at(name.trim_start_matches('/').as_bytes())
                    .and_then(|n| n.file())
                    .is_some_and(|f| f.size < 40)
            {
                shown += &format!(" {:?}", self.read(name));
            }
            shown.push('\n');
        }
        shown
    }

    /// The paths of the entries of the last layer, whiteouts marked with `-`.
    pub fn last_layer(&self) -> Vec<String> {
        let index = self.indexes.last().expect("a layer");
        let shown = |e: &kiln_oci::Entry| {
            let sign = if e.kind == kiln_oci::EntryKind::Whiteout { "-" } else { "" };
            format!("{sign}{}", kiln_oci::name::escape(&e.path))
        };
        index.entries.iter().map(|e| shown(&e.entry)).collect()
    }

    /// The commands that made it.
    pub fn history(&self) -> Vec<String> {
        self.config.history.iter().filter_map(|h| h.created_by.clone()).collect()
    }
}
