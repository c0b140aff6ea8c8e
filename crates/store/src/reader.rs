//! The bytes of a file of an image: from its unpacked layer, or from its layer's tar.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use kiln_oci::Digest;
use kiln_oci::entry::{EntryKind, Meta};
use kiln_oci::name::join;
use kiln_oci::tree::{FileRef, Node, NodeKind, Tree};

use crate::Store;
use crate::beneath::{Beneath, shown};
use crate::lower::Lower;
use crate::stat::{FileKind, Stat};

/// Opens the bytes behind a [`FileRef`].
pub trait Content {
    /// The file's bytes, exactly [`FileRef::size`] of them.
    ///
    /// # Errors
    /// The layer is not at hand, or cannot be read.
    fn open(&self, file: &FileRef) -> io::Result<Box<dyn Read + Send>>;
}

/// Opens files of layers that a store has, unpacked or as tars. A layer found once is kept open.
pub struct ContentReader {
    store: Store,
    layers: Mutex<HashMap<Digest, Arc<Layer>>>,
    /// Under which names the directory of a layer may be.
    chains: Mutex<HashMap<Digest, HashSet<Digest>>>,
}

/// Where the bytes of a layer are.
struct Layer {
    unpacked: Option<Mutex<Beneath>>,
    tar: Option<File>,
}

impl ContentReader {
    /// A reader for the layers in `store`.
    pub fn new(store: &Store) -> ContentReader {
        ContentReader { store: store.clone(), layers: Mutex::default(), chains: Mutex::default() }
    }

    /// Tells where a layer may be unpacked: a directory is named by all layers up to its own. A layer that nobody told
    /// about is taken for the lowest. Each of several places has the same files of it.
    pub fn place(&self, diff_id: &Digest, chain: Digest) {
        self.chains.lock().unwrap_or_else(PoisonError::into_inner).entry(diff_id.clone()).or_default().insert(chain);
    }

    /// The directory of a layer, at any of its places.
    fn unpacked(&self, diff_id: &Digest) -> Option<PathBuf> {
        let chains = self.chains.lock().unwrap_or_else(PoisonError::into_inner);
        match chains.get(diff_id) {
            Some(chains) => chains.iter().find_map(|chain| self.store.snapshot(chain)),
            None => self.store.snapshot(diff_id),
        }
    }

    /// Whether a layer is here, unpacked or as a tar.
    pub fn has(&self, diff_id: &Digest) -> bool {
        self.layer(diff_id).is_ok_and(|layer| layer.unpacked.is_some() || layer.tar.is_some())
    }

    fn layer(&self, diff_id: &Digest) -> io::Result<Arc<Layer>> {
        let mut layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(layer) = layers.get(diff_id) {
            return Ok(Arc::clone(layer));
        }
        let unpacked = self.unpacked(diff_id).and_then(|path| Beneath::new(File::open(path).ok()?).ok());
        let tar = self.store.open_tar(diff_id).map_err(io::Error::other)?;
        let layer = Arc::new(Layer { unpacked: unpacked.map(Mutex::new), tar });
        // What is not there yet may come.
        if layer.unpacked.is_some() || layer.tar.is_some() {
            layers.insert(diff_id.clone(), Arc::clone(&layer));
        }
        Ok(layer)
    }
}

impl Layer {
    /// The file in the unpacked layer, if that is there and has it.
    fn open_unpacked(&self, file: &FileRef) -> Option<Body> {
        let mut tree = self.unpacked.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        let fd = tree.read_file(&file.path).ok()?;
        let stat = Stat::of(&fd).ok()?;
        // Where links lie on the way to an entry, something else may have its name.
        let is_it = stat.kind == FileKind::File && stat.size == file.size;
        is_it.then(|| Body { file: fd.into(), at: 0, left: file.size })
    }

    fn open_in_tar(&self, file: &FileRef) -> io::Result<Body> {
        let Some(tar) = &self.tar else {
            let path = shown(&file.path);
            let why = format!("layer {} of {path} is neither unpacked nor kept as a tar in the store", file.layer);
            return Err(io::Error::new(io::ErrorKind::NotFound, why));
        };
        Ok(Body { file: tar.try_clone()?, at: file.offset, left: file.size })
    }
}

impl Content for ContentReader {
    fn open(&self, file: &FileRef) -> io::Result<Box<dyn Read + Send>> {
        let layer = self.layer(&file.layer)?;
        let body = match layer.open_unpacked(file) {
            Some(body) => body,
            None => layer.open_in_tar(file)?,
        };
        Ok(Box::new(body))
    }
}

/// A part of a file, read without moving the file's own position. One that ends early is an error.
struct Body {
    file: File,
    at: u64,
    left: u64,
}

impl Read for Body {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let room = buf.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if room == 0 {
            return Ok(0);
        }
        let n = self.file.read_at(&mut buf[..room], self.at)?;
        if n == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the layer in the store is cut short"));
        }
        self.at += n as u64;
        self.left -= n as u64;
        Ok(n)
    }
}

/// A tree of stacked layers together with the bytes of its files.
#[derive(Clone, Copy)]
pub struct LowerTree<'a> {
    /// The layers, stacked.
    pub tree: &'a Tree,
    /// Where the bytes are.
    pub content: &'a dyn Content,
}

impl Lower for LowerTree<'_> {
    fn get(&self, path: &[u8]) -> Option<(EntryKind, Meta)> {
        self.tree.at(path).map(|node| (entry_kind(node), node.meta.clone()))
    }

    fn children(&self, dir: &[u8]) -> Vec<Vec<u8>> {
        let children = self.tree.at(dir).and_then(|node| node.children());
        children.map(|names| names.keys().map(|name| join(dir, name)).collect()).unwrap_or_default()
    }

    fn open(&self, path: &[u8]) -> io::Result<Box<dyn Read + '_>> {
        let node = self.tree.at(path).ok_or(io::ErrorKind::NotFound)?;
        let file = node.file().ok_or_else(|| io::Error::other("it is not a regular file"))?;
        Ok(self.content.open(file)?)
    }

    fn has(&self, path: &[u8]) -> bool {
        self.tree.at(path).is_some()
    }
}

/// What an entry for a node says.
pub fn entry_kind(node: &Node) -> EntryKind {
    match &node.kind {
        NodeKind::Dir(_) => EntryKind::Dir,
        NodeKind::File(file) => EntryKind::File { size: file.size },
        NodeKind::Symlink { target } => EntryKind::Symlink { target: target.to_vec() },
        NodeKind::Char { major, minor } => EntryKind::Char { major: *major, minor: *minor },
        NodeKind::Block { major, minor } => EntryKind::Block { major: *major, minor: *minor },
        NodeKind::Fifo => EntryKind::Fifo,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use kiln_oci::index::LayerIndex;

    use super::*;
    use crate::fixture::{Layer as Tar, open, tempdir};
    use crate::unpack::{Options, unpack};

    fn read(content: &dyn Content, tree: &Tree, path: &str) -> io::Result<String> {
        let mut text = String::new();
        content.open(tree.at(path.as_bytes()).expect("there").file().expect("file"))?.read_to_string(&mut text)?;
        Ok(text)
    }

    #[test]
    fn a_file_comes_from_the_directory_or_from_the_tar() {
        let dir = tempdir();
        let store = Store::open(dir.path().join("store")).expect("store");
        let tar =
            Tar::new().symlink("s", "d").dir("d", 0o755).file("d/f", 0o644, "bytes").file("s/g", 0o644, "g").tar();
        let diff_id = Digest::of(&tar);
        let mut tree = Tree::new();
        tree.apply(&LayerIndex::read(tar.as_slice()).expect("index"), &diff_id).expect("tree");

        let content = ContentReader::new(&store);
        let missing = read(&content, &tree, "d/f").expect_err("no layer yet").to_string();
        assert!(missing.contains("/d/f") && missing.contains(&diff_id.to_string()), "{missing}");

        let mut writer = store.tar_writer().expect("tar");
        writer.write_all(&tar).expect("tar");
        writer.commit(Some(&diff_id)).expect("tar");
        assert_eq!(read(&content, &tree, "d/f").expect("from the tar"), "bytes");

        let draft = store.begin_snapshot().expect("draft");
        unpack(tar.as_slice(), open(draft.fs()), &Options::overlay(None)).expect("unpack");
        std::fs::write(draft.fs().join("d/f"), "BYTES").expect("to tell them apart");
        draft.commit(&diff_id).expect("snapshot");
        let content = ContentReader::new(&store);
        assert_eq!(read(&content, &tree, "d/f").expect("unpacked"), "BYTES");
        // The entry was `s/g`; nothing is opened through a link, so its bytes come from the tar.
        assert_eq!(read(&content, &tree, "d/g").expect("from the tar"), "g");
    }

    #[test]
    fn a_short_tar_is_an_error() {
        let dir = tempdir();
        let store = Store::open(dir.path().join("store")).expect("store");
        let tar = Tar::new().file("f", 0o644, &"x".repeat(2000)).tar();
        let diff_id = Digest::of(&tar);
        let mut tree = Tree::new();
        tree.apply(&LayerIndex::read(tar.as_slice()).expect("index"), &diff_id).expect("tree");
        let mut writer = store.raw_tar_writer().expect("tar");
        writer.write_all(&tar[..1000]).expect("tar");
        writer.commit_hashed(diff_id).expect("tar");
        let failed = read(&ContentReader::new(&store), &tree, "f").expect_err("short");
        assert_eq!(failed.kind(), io::ErrorKind::UnexpectedEof);
    }
}
