//! All that a build made over its base as one layer (kaniko's `--single-snapshot`).
//!
//! The layer is what differs between the base and the result: files that came and went between the steps are not in it.
//! Steps keep their own layers in the cache, so nothing is built again for it.

use std::collections::{BTreeMap, HashMap, HashSet};

use kiln_oci::index::LayerIndex;
use kiln_oci::layer::LayerWriter;
use kiln_oci::tree::{ChangeKind, FileRef, Node, Tree};
use kiln_oci::{Digest, Entry, EntryKind, ImageConfig, LayerSink, Meta, name};
use kiln_store::BlobWriter;
use kiln_store::reader::entry_kind;

use crate::error::{EngineError, Result};
use crate::event::{Phase, Spending};
use crate::rootfs::{Layer, Root, chain_text};
use crate::session::Session;
use crate::step::record;

/// The entries of the layer by their paths, with the files whose bytes they need.
type Entries = BTreeMap<Vec<u8>, (Entry, Option<FileRef>)>;

/// The layers of a result whose first `base` are its base's, with all others as one.
///
/// # Errors
/// When layers cannot be had or read, or the store cannot be written.
pub fn flatten(session: &Session, layers: &[Layer], base: usize) -> Result<Vec<Layer>> {
    if layers.len() <= base + 1 {
        return Ok(layers.to_vec());
    }
    let below = session.roots.tree(&layers[..base])?;
    let whole = session.roots.tree(layers)?;
    let one = write(session, &whole, entries(&below.tree, &whole.tree))?;
    Ok(layers[..base].iter().cloned().chain([one]).collect())
}

/// Says in the history, after the `base` entries of the base, that there is one layer: the last of those that were there.
pub fn in_history(config: &mut ImageConfig, base: usize) {
    let mut with_layer = config.history.iter_mut().skip(base).rev().filter(|entry| !entry.empty_layer);
    with_layer.next();
    with_layer.for_each(|entry| entry.empty_layer = true);
}

/// What a layer over `below` must hold to make it `whole`.
fn entries(below: &Tree, whole: &Tree) -> Entries {
    let mut found = Entries::new();
    // Other bytes are other bytes: what was written again is part of the layer even if it is the same.
    for change in Tree::diff(below, whole, &mut |_, _| false) {
        match (change.kind, change.after) {
            (ChangeKind::Removed, _) => hide(&mut found, whole, change.path),
            (_, Some(node)) => show(&mut found, change.path, &node),
            (_, None) => {}
        }
    }
    all_names(&mut found, whole);
    let paths: Vec<Vec<u8>> = found.keys().cloned().collect();
    for path in paths {
        let mut parent = name::split(&path).0;
        while !parent.is_empty() && !found.contains_key(parent) {
            if let Some(node) = whole.at(parent) {
                show(&mut found, parent.to_vec(), node);
            }
            parent = name::split(parent).0;
        }
    }
    link_names(&mut found);
    found
}

/// A path that is gone; what was below it is gone with it.
fn hide(found: &mut Entries, whole: &Tree, path: Vec<u8>) {
    if whole.at(name::split(&path).0).is_some_and(|node| node.is_dir()) {
        let entry = Entry { path: path.clone(), kind: EntryKind::Whiteout, meta: Meta::default() };
        found.insert(path, (entry, None));
    }
}

fn show(found: &mut Entries, path: Vec<u8>, node: &Node) {
    if path.is_empty() {
        return;
    }
    let entry = Entry { path: path.clone(), kind: entry_kind(node), meta: node.meta.clone() };
    found.insert(path, (entry, node.file().cloned()));
}

/// A file that is in the layer is there with all its names: links do not reach into other layers.
fn all_names(found: &mut Entries, whole: &Tree) {
    let files: HashSet<(Digest, u64)> = found.values().filter_map(|(_, file)| file.as_ref().map(identity)).collect();
    for (path, node) in whole.walk(b"") {
        if node.file().is_some_and(|file| files.contains(&identity(file))) && !found.contains_key(&*path) {
            show(found, path.to_vec(), node);
        }
    }
}

/// Turns all but the first name of a file into hard links to it.
fn link_names(found: &mut Entries) {
    let mut first: HashMap<(Digest, u64), Vec<u8>> = HashMap::new();
    for (path, (entry, file)) in found {
        let Some(id) = file.as_ref().map(identity) else { continue };
        match first.get(&id) {
            None => drop(first.insert(id, path.clone())),
            Some(target) => {
                entry.kind = EntryKind::Hardlink { target: target.clone() };
                *file = None;
            }
        }
    }
}

fn identity(file: &FileRef) -> (Digest, u64) {
    ((*file.layer).clone(), file.inode)
}

fn write(session: &Session, whole: &Root, entries: Entries) -> Result<Layer> {
    let _spending = Spending::on(Phase::Layer, &*session.events);
    let failed = |what: &[u8], e: &(dyn std::error::Error + 'static)| {
        EngineError::of_disk(e, session.store.dir()).unwrap_or_else(|| EngineError::LayerFiles {
            digest: "of all steps".to_owned(),
            message: format!("/{}: {}", name::escape(what), chain_text(e)),
            full: false,
        })
    };
    let blob = session.store.raw_blob_writer()?;
    let sink = LayerSink::new(blob, session.settings.compression, session.compress_threads());
    let mut writer = LayerWriter::indexed(sink);
    for (path, (entry, file)) in entries {
        session.check_cancelled()?;
        let mut body: Box<dyn std::io::Read + Send> = match &file {
            Some(file) => whole.open_file(file).map_err(|e| failed(&path, &e))?,
            None => Box::new(std::io::empty()),
        };
        writer.append(&entry, &mut body).map_err(|e| failed(&path, &e))?;
    }
    let (sink, index) = writer.finish_indexed().map_err(|e| failed(b"", &e))?;
    keep(session, sink, index).map_err(|e| failed(b"", &e))
}

fn keep(session: &Session, sink: LayerSink<BlobWriter>, index: LayerIndex) -> Result<Layer> {
    let (blob, digests) = sink.finish().map_err(EngineError::file("write to the store in", session.store.dir()))?;
    blob.commit_hashed(digests.digest.clone())?;
    session.roots.keep_index(&digests.diff_id, index)?;
    session.store.record_layer(&record(&digests))?;
    Ok(Layer { diff_id: digests.diff_id.clone(), blob: digests.descriptor(false) })
}

#[cfg(test)]
mod tests {
    use kiln_oci::index::IndexedEntry;

    use super::*;

    fn index(entries: impl Iterator<Item = Entry>) -> LayerIndex {
        let entries = entries.zip(1..).map(|(entry, n)| IndexedEntry { entry, offset: n * 512 }).collect();
        LayerIndex { entries, tar_size: 0 }
    }

    /// A layer in a few words an entry: `d path`, `f path size`, `l path target`, `h path target`, `w path`.
    fn layer(lines: &[&str]) -> LayerIndex {
        index(lines.iter().map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let kind = match words[0] {
                "d" => EntryKind::Dir,
                "f" => EntryKind::File { size: words[2].parse().unwrap() },
                "l" => EntryKind::Symlink { target: words[2].into() },
                "h" => EntryKind::Hardlink { target: words[2].into() },
                _ => EntryKind::Whiteout,
            };
            let mode = if kind == EntryKind::Dir { 0o755 } else { 0o644 };
            Entry { path: words[1].into(), kind, meta: Meta::mode(mode) }
        }))
    }

    /// The paths of the one layer, after it was found to do what the layers above the first do.
    fn flat(layers: &[&[&str]]) -> String {
        let (mut below, mut whole) = (Tree::new(), Tree::new());
        below.apply(&layer(layers[0]), &Digest::of(b"0")).unwrap();
        for (n, lines) in layers.iter().enumerate() {
            whole.apply(&layer(lines), &Digest::of(n.to_string().as_bytes())).unwrap();
        }
        let entries = entries(&below, &whole);
        let said = entries.iter().map(|(path, (entry, file))| {
            let mark = match (&entry.kind, file) {
                (EntryKind::Whiteout, _) => "-",
                (EntryKind::Hardlink { .. }, _) => "=",
                _ => "",
            };
            format!("{mark}{}", String::from_utf8_lossy(path))
        });
        let said = said.collect::<Vec<_>>().join(" ");
        let mut rebuilt = below.clone();
        rebuilt.apply(&index(entries.into_values().map(|(entry, _)| entry)), &Digest::of(b"one")).unwrap();
        let left = Tree::diff(&whole, &rebuilt, &mut |a, b| a.size == b.size);
        assert!(left.is_empty(), "{said}: {left:?}");
        let names = |tree: &Tree| {
            let mut groups: HashMap<(Digest, u64), usize> = HashMap::new();
            tree.walk(b"")
                .filter_map(|(_, n)| n.file().map(identity))
                .for_each(|id| *groups.entry(id).or_default() += 1);
            let mut counts: Vec<usize> = groups.into_values().collect();
            counts.sort_unstable();
            counts
        };
        assert_eq!(names(&whole), names(&rebuilt), "{said}: files with several names");
        said
    }

    #[test]
    fn what_came_and_went_is_not_in_the_layer() {
        assert_eq!(flat(&[&["f a 1"], &["f b 2"], &["w b", "f c 3"]]), "c");
        assert_eq!(flat(&[&["f a 1"], &["w a"], &["f a 1"]]), "a", "other bytes, as far as anybody knows");
        assert_eq!(flat(&[&["f a 1"], &["f b 2"], &["w b"]]), "");
    }

    #[test]
    fn what_is_gone_is_hidden_once() {
        assert_eq!(flat(&[&["d d", "f d/a 1", "d d/e", "f d/e/b 1"], &["w d"]]), "-d");
        assert_eq!(flat(&[&["d d", "f d/a 1", "f d/b 1"], &["w d/a"]]), "d -d/a");
        assert_eq!(flat(&[&["d d", "f d/a 1"], &["w d"], &["f d 4"]]), "d", "a file in the place of a directory");
        assert_eq!(flat(&[&["f d 1"], &["w d"], &["d d", "f d/a 4"]]), "d d/a");
        assert_eq!(flat(&[&["d d", "f d/a 1"], &["w d"], &["d d", "f d/b 4"]]), "d -d/a d/b");
    }

    #[test]
    fn files_come_with_all_their_names() {
        assert_eq!(flat(&[&["f a 1"], &["f x 2", "h y x"], &["f z 3"]]), "x =y z");
        assert_eq!(flat(&[&["f a 1", "h b a"], &["h c a"]]), "a =b =c", "a new name of the base's file");
        assert_eq!(flat(&[&[], &["f x 2", "h y x", "h z x"], &["w x"]]), "y =z");
    }

    #[test]
    fn the_history_has_one_layer_more_than_the_bases() {
        let mut config = ImageConfig::default();
        for empty_layer in [false, true, false, true, false, true] {
            config.history.push(kiln_oci::config::History { empty_layer, ..Default::default() });
        }
        in_history(&mut config, 1);
        let empty: Vec<bool> = config.history.iter().map(|entry| entry.empty_layer).collect();
        assert_eq!(empty, [false, true, true, true, false, true]);
        in_history(&mut config, 6);
        assert!(!config.history[4].empty_layer);
    }
}
