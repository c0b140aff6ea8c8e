//! The file system of an image itself: as a directory, or as a tar.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use kiln_oci::layer::LayerWriter;
use kiln_oci::tree::{FileRef, Follow, Tree};
use kiln_oci::{Digest, Entry, EntryKind, Meta, Mtime};
use kiln_store::reader::entry_kind;
use kiln_store::unpack::{self, Devices, Options, Owners};

use super::archive::write_to;
use super::{Artifact, Dest};
use crate::build::Image;
use crate::error::{EngineError, Result};
use crate::rootfs::{Root, chain_text};
use crate::session::Session;
use crate::whole;

/// Writes the files into a directory, owned by whoever runs Kiln; several platforms get a directory each.
///
/// # Errors
/// When a file cannot be read or written.
pub fn local(dest: &Path, artifact: &Artifact, session: &Session) -> Result<()> {
    for image in &artifact.images {
        let dir = match &artifact.images[..] {
            [_] => dest.to_path_buf(),
            _ => dest.join(image.platform.to_string().replace('/', "_")),
        };
        std::fs::create_dir_all(&dir).map_err(EngineError::file("make", &dir))?;
        let root = session.roots.tree(&image.layers)?;
        let target = File::open(&dir).map_err(EngineError::file("open", &dir))?;
        let options = Options { owners: Owners::Ignore, devices: Devices::Skip, ..Options::merged() };
        unpack::unpack_tree(&root.tree, &root, &target, &options).map_err(|e| {
            let message = format!("cannot write to {}: {}", dir.display(), chain_text(&e));
            EngineError::layer_files(&image.descriptor.digest, message, &e)
        })?;
        for (name, bytes) in statements(image, artifact, &root)? {
            let path = dir.join(name);
            whole::write(&path, "write", |out| out.write_all(&bytes).map_err(EngineError::file("write", &path)))?;
        }
    }
    Ok(())
}

/// What is said of an image, as files beside its own; the same names as BuildKit's.
fn statements(image: &Image, artifact: &Artifact, root: &Root) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let mut files = Vec::new();
    let attached = artifact.attached.iter().filter(|a| a.image == image.descriptor.digest);
    for (name, statement) in attached.flat_map(|a| &a.statements) {
        if matches!(root.tree.lookup(name.as_bytes(), Follow::Parents), Ok(Some(_))) {
            let message = format!("the image has a file /{name} of its own, where the attestation would be");
            return Err(EngineError::Archive { name: "the output".to_owned(), message });
        }
        files.push((*name, statement.bytes()));
    }
    Ok(files)
}

/// Writes the files as one tar with their owners.
///
/// # Errors
/// When a file cannot be read or written.
pub fn tar(dest: &Dest, artifact: &Artifact, session: &Session) -> Result<()> {
    write_to(dest, |out| {
        let failed = |image: &Image, e: &(dyn std::error::Error + 'static)| {
            EngineError::layer_files(&image.descriptor.digest, chain_text(e), e)
        };
        let mut writer = LayerWriter::new(&mut *out);
        for image in &artifact.images {
            let root = session.roots.tree(&image.layers)?;
            let (entries, files) = entries(&root.tree);
            let prefix = match &artifact.images[..] {
                [_] => String::new(),
                _ => image.platform.to_string().replace('/', "_"),
            };
            if !prefix.is_empty() {
                let entry = Entry { path: prefix.clone().into_bytes(), kind: EntryKind::Dir, meta: Meta::mode(0o755) };
                writer.append(&entry, &mut io::empty()).map_err(|e| failed(image, &e))?;
            }
            for entry in entries {
                session.check_cancelled()?;
                let mut body = open(&root, &files, &entry).map_err(|e| failed(image, &e))?;
                writer.append(&moved(&entry, &prefix), &mut body).map_err(|e| failed(image, &e))?;
            }
            for (name, bytes) in statements(image, artifact, &root)? {
                let kind = EntryKind::File { size: bytes.len() as u64 };
                let entry = Entry { path: name.as_bytes().to_vec(), kind, meta: Meta::mode(0o644) };
                writer.append(&moved(&entry, &prefix), &mut &*bytes).map_err(|e| failed(image, &e))?;
            }
        }
        let out =
            writer.finish().map_err(|e| EngineError::Archive { name: "the tar".to_owned(), message: e.to_string() })?;
        out.flush().map_err(EngineError::file("write", "the tar"))
    })
}

/// An entry below a directory.
fn moved(entry: &Entry, prefix: &str) -> Entry {
    let mut entry = entry.clone();
    if !prefix.is_empty() {
        entry.path = kiln_oci::name::join(prefix.as_bytes(), &entry.path);
        if let EntryKind::Hardlink { target } = &mut entry.kind {
            *target = kiln_oci::name::join(prefix.as_bytes(), target);
        }
    }
    entry
}

fn open(root: &Root, files: &HashMap<Vec<u8>, FileRef>, entry: &Entry) -> io::Result<Box<dyn Read>> {
    match (&entry.kind, files.get(&entry.path)) {
        (EntryKind::File { .. }, Some(file)) => Ok(root.open_file(file)?),
        _ => Ok(Box::new(io::empty())),
    }
}

/// Everything in a tree but its root, parents first; later names of a file as hard links.
pub fn entries(tree: &Tree) -> (Vec<Entry>, HashMap<Vec<u8>, FileRef>) {
    entries_but(tree, |_| false)
}

/// The same without some paths; a file whose first name is among them keeps its others.
pub fn entries_but(tree: &Tree, without: impl Fn(&[u8]) -> bool) -> (Vec<Entry>, HashMap<Vec<u8>, FileRef>) {
    let mut first: HashMap<(Arc<Digest>, u64), Vec<u8>> = HashMap::new();
    let (mut entries, mut files) = (Vec::new(), HashMap::new());
    for (path, node) in tree.walk(b"") {
        if path.is_empty() || without(&path) {
            continue;
        }
        let mut kind = entry_kind(node);
        if let Some(file) = node.file() {
            files.insert(path.clone(), file.clone());
            match first.entry((file.layer.clone(), file.inode)) {
                Slot::Occupied(name) => kind = EntryKind::Hardlink { target: name.get().clone() },
                Slot::Vacant(slot) => drop(slot.insert(path.clone())),
            }
        }
        let meta = Meta { mtime: Mtime::secs(node.meta.mtime.secs), ..node.meta.clone() };
        entries.push(Entry { path, kind, meta });
    }
    (entries, files)
}
