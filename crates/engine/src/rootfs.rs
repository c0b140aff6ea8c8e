//! Layers on their way to being files: found, unpacked, listed, stacked.
//!
//! A layer is known by its diff id. It may be here as a blob, as an unpacked directory, as an uncompressed tar, and
//! as a listing; each is made from the one before it, once, when something needs it. Several threads that need the
//! same one wait for each other.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use kiln_oci::blob::LayerSink;
use kiln_oci::compress::{self, Compression, ReadAhead};
use kiln_oci::digest::{HashReader, Hasher};
use kiln_oci::entry::{EntryKind, Meta};
use kiln_oci::index::LayerIndex;
use kiln_oci::tree::{FileRef, Follow, Tree};
use kiln_oci::{Descriptor, Digest, chain_ids};
use kiln_plan::facts::Key32;
use kiln_plan::key;
use kiln_store::lower::Lower;
use kiln_store::reader::{Content, ContentReader, LowerTree};
use kiln_store::unpack::{self, Options};
use kiln_store::{LayerRecord, Lease, Store};

use crate::error::{EngineError, Result};
use crate::event::{Direction, Event, Events, Phase, Spending};
use crate::images::Images;
use crate::mounted;

/// An uncompressed layer may have this many bytes; what is larger is taken for a bomb.
const MAX_LAYER: u64 = 1 << 42;

/// A layer of a root, lowest first in a list of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
    /// The blob.
    pub blob: Descriptor,
}

/// Makes files of layers.
pub struct Roots {
    store: Store,
    images: Arc<Images>,
    lease: Arc<Lease>,
    events: Arc<dyn Events>,
    indexes: Mutex<HashMap<Digest, Arc<LayerIndex>>>,
    trees: Mutex<HashMap<Key32, Tree>>,
    working: Mutex<HashMap<Digest, Arc<Mutex<()>>>>,
    content: ContentReader,
    mounted: mounted::Images,
}

impl Roots {
    /// Layers of `store`, fetched through `images` where they are missing.
    pub fn new(store: Store, images: Arc<Images>, lease: Arc<Lease>, events: Arc<dyn Events>) -> Roots {
        let (indexes, trees, working, mounted) = Default::default();
        let content = ContentReader::new(&store);
        Roots { store, images, lease, events, indexes, trees, working, content, mounted }
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    fn gate(&self, diff_id: &Digest) -> Arc<Mutex<()>> {
        self.working.lock().unwrap_or_else(PoisonError::into_inner).entry(diff_id.clone()).or_default().clone()
    }

    /// Remembers the listing of a layer that was just written.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn keep_index(&self, diff_id: &Digest, index: LayerIndex) -> Result<Arc<LayerIndex>> {
        self.store.index_put(diff_id, &index.encode())?;
        let index = Arc::new(index);
        self.indexes.lock().unwrap_or_else(PoisonError::into_inner).insert(diff_id.clone(), index.clone());
        Ok(index)
    }

    fn known_index(&self, diff_id: &Digest) -> Option<Arc<LayerIndex>> {
        if let Some(index) = self.indexes.lock().unwrap_or_else(PoisonError::into_inner).get(diff_id) {
            return Some(index.clone());
        }
        let index = Arc::new(LayerIndex::decode(&self.store.index_get(diff_id)?).ok()?);
        self.indexes.lock().unwrap_or_else(PoisonError::into_inner).insert(diff_id.clone(), index.clone());
        Some(index)
    }

    /// The listing of a layer; reading it for the first time keeps its tar, for a reader of files will come next.
    fn index(&self, layer: &Layer) -> Result<Arc<LayerIndex>> {
        if let Some(index) = self.known_index(&layer.diff_id) {
            return Ok(index);
        }
        let gate = self.gate(&layer.diff_id);
        let _one_at_a_time = gate.lock().unwrap_or_else(PoisonError::into_inner);
        match self.known_index(&layer.diff_id) {
            Some(index) => Ok(index),
            None => self.make_tar(layer),
        }
    }

    /// Uncompresses the blob into a kept tar, and lists it in the same pass.
    fn make_tar(&self, layer: &Layer) -> Result<Arc<LayerIndex>> {
        self.images.fetch(&layer.blob)?;
        let _spending = Spending::on(Phase::Unpack, &*self.events);
        let mut tar = self.store.raw_tar_writer()?;
        let mut stream = self.open(layer)?;
        let mut tee = Tee { from: &mut stream, to: &mut tar };
        let index = LayerIndex::read(&mut tee).map_err(|source| {
            let full = EngineError::of_disk(&source, self.store.dir());
            full.unwrap_or_else(|| EngineError::Layer { digest: layer.blob.digest.clone(), source })
        })?;
        io::copy(&mut tee, &mut io::sink()).map_err(|e| unreadable(layer, &e))?;
        self.verify(layer, stream)?;
        tar.commit_hashed(layer.diff_id.clone())?;
        self.keep_index(&layer.diff_id, index)
    }

    /// The uncompressed bytes of a layer's blob, hashed on the way.
    fn open(&self, layer: &Layer) -> Result<HashReader<Box<dyn Read + Send>>> {
        self.images.fetch(&layer.blob)?;
        let file = self.store.open_blob(&layer.blob.digest)?;
        let mut head = BufReader::with_capacity(256 << 10, file);
        let format = compress::detect(io::BufRead::fill_buf(&mut head).map_err(|e| unreadable(layer, &e))?);
        let stream: Box<dyn Read + Send> = match format {
            // On its own thread: whoever asks hashes the bytes, and writes them.
            Some(format) => {
                let bytes = compress::decompress(format, head, Some(MAX_LAYER));
                Box::new(ReadAhead::new(bytes).map_err(|e| unreadable(layer, &e))?)
            }
            // A tar without entries is nothing but zeros.
            None => Box::new(head.take(MAX_LAYER)),
        };
        Ok(HashReader::new(stream, Hasher::new()))
    }

    /// Shows the uncompressed bytes of a layer's blob, which are verified by the time this returns.
    ///
    /// # Errors
    /// When the blob cannot be had or is not what the image says, and what `look` says.
    pub fn show<T>(&self, layer: &Layer, look: impl FnOnce(&mut dyn Read) -> Result<T>) -> Result<T> {
        let mut stream = self.open(layer)?;
        let made = look(&mut stream)?;
        io::copy(&mut stream, &mut io::sink()).map_err(|e| unreadable(layer, &e))?;
        self.verify(layer, stream)?;
        Ok(made)
    }

    fn verify(&self, layer: &Layer, stream: HashReader<Box<dyn Read + Send>>) -> Result<()> {
        let (found, _) = stream.finish();
        if found != layer.diff_id {
            let (digest, expected) = (layer.blob.digest.clone(), layer.diff_id.clone());
            return Err(EngineError::DiffId { digest, expected, found });
        }
        self.store.record_layer(&record(layer))?;
        Ok(())
    }

    /// The layer in a blob of this compression: itself, another blob of it that is here, or a new one.
    ///
    /// # Errors
    /// When its blob cannot be read, or a new one cannot be written.
    pub fn compressed(&self, layer: Layer, compression: Compression, threads: usize) -> Result<Layer> {
        let wanted = compression.media_type(false);
        if layer.blob.media_type == wanted {
            return Ok(layer);
        }
        let mut others = self.store.blobs_of(&layer.diff_id).into_iter();
        let here = others.find(|r| r.media_type == wanted && self.store.blob_size(&r.digest) == Some(r.size));
        if let Some(r) = here {
            return Ok(Layer { diff_id: r.diff_id, blob: Descriptor::new(&r.media_type, r.digest, r.size) });
        }
        let failed = |e: io::Error| unreadable(&layer, &e);
        let mut stream = self.open(&layer)?;
        let mut sink = LayerSink::new(self.store.raw_blob_writer()?, compression, threads);
        io::copy(&mut stream, &mut sink).map_err(failed)?;
        let (blob, digests) = sink.finish().map_err(failed)?;
        self.verify(&layer, stream)?;
        blob.commit_hashed(digests.digest.clone())?;
        let layer = Layer { diff_id: digests.diff_id.clone(), blob: digests.descriptor(false) };
        self.store.record_layer(&record(&layer))?;
        Ok(layer)
    }

    /// A layer as a lower one of overlayfs: its directory, where it is unpacked, else an image where the kernel mounts
    /// them, else the directory it is unpacked into now.
    ///
    /// # Errors
    /// When the layer cannot be had or unpacked.
    fn lower(&self, layers: &[Layer], at: usize, chain: &Digest) -> Result<PathBuf> {
        self.lease.touch_snapshot(chain)?;
        if let Some(path) = self.store.snapshot(chain) {
            return Ok(path);
        }
        // Listing the layers below may wait at their gates: whoever holds one gate never waits at another, for two
        // images may have the same layers in different order.
        let tree = self.stacked(&layers[..at])?;
        if self.mounted.work(&self.store)
            && let Some(image) = self.image(layers, at, &tree)?
        {
            return Ok(image);
        }
        self.unpack(layers, at, &tree, chain)
    }

    fn image(&self, layers: &[Layer], at: usize, tree: &Tree) -> Result<Option<PathBuf>> {
        let layer = &layers[at];
        let index = self.index(layer)?;
        let tar = self.tar(layer)?;
        let below = LowerTree { tree, content: &self.content };
        let below = if at == 0 { None } else { Some(&below as &dyn Lower) };
        self.mounted.image(&self.store, &key::chain(&diff_ids(&layers[..=at])), &index, below, &tar)
    }

    /// The uncompressed tar of a layer, made if it is not kept.
    fn tar(&self, layer: &Layer) -> Result<PathBuf> {
        if let Some(path) = self.store.tar_path(&layer.diff_id) {
            return Ok(path);
        }
        let gate = self.gate(&layer.diff_id);
        let _one_at_a_time = gate.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = self.store.tar_path(&layer.diff_id) {
            return Ok(path);
        }
        self.make_tar(layer)?;
        let missing = || unreadable(layer, &io::Error::other("its tar vanished"));
        self.store.tar_path(&layer.diff_id).ok_or_else(missing)
    }

    fn unpack(&self, layers: &[Layer], at: usize, tree: &Tree, chain: &Digest) -> Result<PathBuf> {
        let layer = &layers[at];
        let gate = self.gate(&layer.diff_id);
        let _one_at_a_time = gate.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = self.store.snapshot(chain) {
            return Ok(path);
        }
        let lower = LowerTree { tree, content: &self.content };
        let draft = self.store.begin_snapshot()?;
        let name = layer.blob.digest.short();
        let total = Some(layer.blob.size);
        self.images.fetch(&layer.blob)?;
        let _spending = Spending::on(Phase::Unpack, &*self.events);
        let report = |current, finished| {
            self.events.event(&Event::Transfer { name: &name, direction: Direction::Unpack, current, total, finished });
        };
        report(0, false);
        let target = File::open(draft.fs()).map_err(EngineError::file("open", draft.fs()))?;
        let mut stream = self.open(layer)?;
        let lower = if at == 0 { None } else { Some(&lower as &dyn Lower) };
        let unpacked = unpack::unpack(&mut stream, &target, &Options::overlay(lower).kept_as(self.store.form()))
            .map_err(|e| files(layer, e));
        // What was not read to its end has no digest yet.
        let unpacked = unpacked?;
        report(layer.blob.size, true);
        self.verify(layer, stream)?;
        self.keep_index(&layer.diff_id, unpacked.index)?;
        Ok(draft.commit(chain)?)
    }

    /// All layers as the lower ones of an overlay, topmost first, as the sandbox wants them.
    ///
    /// # Errors
    /// When a layer cannot be had or unpacked.
    pub fn lowers(&self, layers: &[Layer]) -> Result<Vec<PathBuf>> {
        let mut lowers = Vec::with_capacity(layers.len());
        for (at, chain) in chain_ids(&diff_ids(layers)).iter().enumerate() {
            // Every `RUN true` leaves one, and overlayfs takes only so many directories.
            if !self.index(&layers[at])?.entries.is_empty() {
                lowers.push(self.lower(layers, at, chain)?);
            }
        }
        lowers.reverse();
        Ok(lowers)
    }

    /// Applies layers one over the other to a directory, keeping what is there.
    ///
    /// # Errors
    /// When a layer cannot be had or unpacked.
    pub fn unpack_into(&self, layers: &[Layer], dir: &std::path::Path, options: &Options<'_>) -> Result<()> {
        let target = File::open(dir).map_err(EngineError::file("open", dir))?;
        for layer in layers {
            self.images.fetch(&layer.blob)?;
            let _spending = Spending::on(Phase::Unpack, &*self.events);
            let mut stream = self.open(layer)?;
            let unpacked = unpack::unpack(&mut stream, &target, options).map_err(|e| files(layer, e));
            let unpacked = unpacked?;
            self.verify(layer, stream)?;
            if self.known_index(&layer.diff_id).is_none() {
                self.keep_index(&layer.diff_id, unpacked.index)?;
            }
        }
        Ok(())
    }

    /// The stacked layers as one tree whose files can be read.
    ///
    /// # Errors
    /// When a layer cannot be had or does not stack.
    pub fn tree(self: &Arc<Self>, layers: &[Layer]) -> Result<Root> {
        Ok(Root { tree: self.stacked(layers)?, layers: layers.to_vec(), roots: self.clone() })
    }

    fn stacked(&self, layers: &[Layer]) -> Result<Tree> {
        let ids = diff_ids(layers);
        let mut have = layers.len();
        let mut tree = Tree::new();
        {
            let trees = self.trees.lock().unwrap_or_else(PoisonError::into_inner);
            while have > 0 {
                if let Some(known) = trees.get(&key::chain(&ids[..have])) {
                    tree = known.clone();
                    break;
                }
                have -= 1;
            }
        }
        if have == layers.len() {
            return Ok(tree);
        }
        for (at, (layer, chain)) in layers.iter().zip(chain_ids(&ids)).enumerate().skip(have) {
            self.content.place(&layer.diff_id, chain);
            let index = self.index(layer)?;
            let failed = |e: kiln_oci::tree::TreeError| files(layer, e);
            tree.apply(&index, &layer.diff_id).map_err(failed)?;
            let mut trees = self.trees.lock().unwrap_or_else(PoisonError::into_inner);
            trees.insert(key::chain(&ids[..=at]), tree.clone());
        }
        Ok(tree)
    }

    /// Opens a file of a layer: from its directory, else its tar, which is made if neither is here.
    fn read(&self, layers: &[Layer], file: &FileRef) -> io::Result<Box<dyn Read + Send>> {
        if !self.content.has(&file.layer) {
            let layer = layers.iter().find(|l| l.diff_id == *file.layer);
            let layer = layer.ok_or_else(|| io::Error::other(format!("layer {} is not here", file.layer)))?;
            let gate = self.gate(&layer.diff_id);
            let _one_at_a_time = gate.lock().unwrap_or_else(PoisonError::into_inner);
            if self.store.tar_path(&file.layer).is_none() {
                self.make_tar(layer).map_err(io::Error::other)?;
            }
        }
        self.content.open(file)
    }

    /// A scratch directory on the store's file system, removed when dropped.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn scratch(&self) -> Result<kiln_store::SnapshotDraft> {
        Ok(self.store.begin_snapshot()?)
    }
}

/// The ChainID of some layers, of which there is at least one.
pub fn chain_of<'a>(layers: impl IntoIterator<Item = &'a Layer>) -> Digest {
    chain_ids(layers.into_iter().map(|layer| &layer.diff_id)).pop().unwrap_or_else(|| Digest::of(b""))
}

/// The diff ids of some layers.
pub fn diff_ids(layers: &[Layer]) -> Vec<Digest> {
    layers.iter().map(|l| l.diff_id.clone()).collect()
}

fn record(layer: &Layer) -> LayerRecord {
    LayerRecord {
        diff_id: layer.diff_id.clone(),
        digest: layer.blob.digest.clone(),
        size: layer.blob.size,
        media_type: layer.blob.media_type.clone(),
    }
}

fn unreadable(layer: &Layer, e: &io::Error) -> EngineError {
    EngineError::layer_files(&layer.blob.digest, format!("it cannot be read: {e}"), e)
}

fn files(layer: &Layer, e: impl std::error::Error + 'static) -> EngineError {
    EngineError::layer_files(&layer.blob.digest, chain_text(&e), &e)
}

/// An error with its causes, on one line.
pub fn chain_text(e: &dyn std::error::Error) -> String {
    let mut text = e.to_string();
    let mut cause = e.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = inner.source();
    }
    text
}

/// Copies what is read.
struct Tee<'a, R, W> {
    from: &'a mut R,
    to: &'a mut W,
}

impl<R: Read, W: Write> Read for Tee<'_, R, W> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(buf)?;
        self.to.write_all(&buf[..n])?;
        Ok(n)
    }
}

/// Stacked layers as one tree.
#[derive(Clone)]
pub struct Root {
    /// The tree.
    pub tree: Tree,
    layers: Vec<Layer>,
    roots: Arc<Roots>,
}

impl Root {
    /// Opens a regular file.
    ///
    /// # Errors
    /// When its layer cannot be had or read.
    pub fn open_file(&self, file: &FileRef) -> io::Result<Box<dyn Read + Send>> {
        self.roots.read(&self.layers, file)
    }

    /// The content of a file of at most `max` bytes; links are followed inside the root. `None` if it is not there.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read_file(&self, path: &[u8], max: u64) -> io::Result<Option<Vec<u8>>> {
        let found = self.tree.lookup(path, Follow::All).map_err(io::Error::other)?;
        let Some(file) = found.as_ref().and_then(|f| f.node.file()) else { return Ok(None) };
        let mut bytes = Vec::new();
        self.open_file(file)?.take(max).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }
}

impl Content for Root {
    fn open(&self, file: &FileRef) -> io::Result<Box<dyn Read + Send>> {
        self.open_file(file)
    }
}

impl Lower for Root {
    fn get(&self, path: &[u8]) -> Option<(EntryKind, Meta)> {
        LowerTree { tree: &self.tree, content: self }.get(path)
    }

    fn children(&self, dir: &[u8]) -> Vec<Vec<u8>> {
        LowerTree { tree: &self.tree, content: self }.children(dir)
    }

    fn open(&self, path: &[u8]) -> io::Result<Box<dyn Read + '_>> {
        let node = self.tree.at(path).ok_or(io::ErrorKind::NotFound)?;
        let file = node.file().ok_or_else(|| io::Error::other("it is not a regular file"))?;
        Ok(self.open_file(file)?)
    }
}
