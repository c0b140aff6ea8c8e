//! Images in one file, and OCI layouts.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Cursor, Read, Write};
use std::path::Path;

use kiln_oci::archive::{self, ArchiveImage, Member};
use kiln_oci::layer::{LayerError, LayerWriter};
use kiln_oci::{Digest, Entry, EntryKind, Meta, Mtime, Reference};

use super::{Artifact, Dest};
use crate::error::{EngineError, Result};
use crate::layout;
use crate::rootfs::chain_text;
use crate::session::Session;
use crate::whole;

/// Writes an archive of what was built.
///
/// # Errors
/// When a blob cannot be had or the file cannot be written.
pub fn publish(names: &[Reference], dest: &Dest, docker: bool, artifact: &Artifact, session: &Session) -> Result<()> {
    if docker && !artifact.attached.is_empty() {
        session.warn("attestations are left out: archives for docker hold none");
        return publish(names, dest, docker, &artifact.without_attestations(session)?, session);
    }
    for descriptor in artifact.blobs() {
        session.images.fetch(&descriptor)?;
    }
    let mut documents = BTreeMap::from([(artifact.root.digest.clone(), artifact.root_bytes.clone())]);
    documents.extend(artifact.images.iter().map(|i| (i.descriptor.digest.clone(), i.manifest_bytes.clone())));
    documents.extend(artifact.attached.iter().map(|a| (a.entry.digest.clone(), a.manifest_bytes.clone())));
    let image = ArchiveImage {
        names: names.to_vec(),
        root: artifact.root.clone(),
        documents,
        manifests: artifact.manifests().cloned().collect(),
    };
    write_to(dest, |out| write(&[image], docker, &open(session), out, &|| session.check_cancelled()))
}

/// Writes an OCI layout of what was built, or adds it to one.
///
/// # Errors
/// When a blob cannot be had or a file cannot be written.
pub fn layout(names: &[Reference], dest: &Path, artifact: &Artifact, session: &Session) -> Result<()> {
    let mut blobs = Vec::new();
    for descriptor in artifact.blobs() {
        session.images.fetch(&descriptor)?;
        blobs.push(descriptor.digest);
    }
    blobs.extend(artifact.images.iter().map(|i| i.descriptor.digest.clone()));
    blobs.extend(artifact.attached.iter().map(|a| a.entry.digest.clone()));
    if !blobs.contains(&artifact.root.digest) {
        blobs.push(artifact.root.digest.clone());
    }
    std::fs::create_dir_all(dest).map_err(EngineError::file("make the OCI layout", dest))?;
    let mut images: Vec<_> =
        names.iter().map(|n| (n.tag_or_latest().map(str::to_owned), artifact.root.clone())).collect();
    if images.is_empty() {
        images.push((None, artifact.root.clone()));
    }
    layout::write(dest, &images, &blobs, &open(session))
}

fn open<'a>(session: &'a Session) -> impl Fn(&Digest) -> Result<Box<dyn Read + Send + 'a>> + 'a {
    |digest| Ok(Box::new(session.store.open_blob(digest)?))
}

/// Writes images as one archive; `open` gives their blobs.
///
/// # Errors
/// When a blob cannot be read or the file cannot be written.
pub fn write(
    images: &[ArchiveImage],
    docker: bool,
    open: &layout::Open<'_>,
    out: &mut dyn Write,
    check: &dyn Fn() -> Result<()>,
) -> Result<()> {
    let bad = |message: String| EngineError::Archive { name: "the archive".to_owned(), message };
    let failed = |e: LayerError| match (check(), e) {
        // Whoever stopped it is not to be told that a blob could not be read to its end.
        (Err(stopped), _) => stopped,
        (Ok(()), LayerError::Write(source)) => EngineError::file("write", "the archive")(source),
        (Ok(()), e) => bad(chain_text(&e)),
    };
    let members = archive::members(images, docker).map_err(|e| bad(e.to_string()))?;
    let mut writer = LayerWriter::new(out);
    for member in members {
        check()?;
        let (path, kind, mode, mut body): (String, EntryKind, u32, Box<dyn Read>) = match member {
            Member::Dir { path } => (path, EntryKind::Dir, 0o755, Box::new(io::empty())),
            Member::Document { path, bytes } => {
                let size = bytes.len() as u64;
                (path, EntryKind::File { size }, 0o644, Box::new(Cursor::new(bytes)))
            }
            Member::Blob { path, digest, size } => (path, EntryKind::File { size }, 0o644, open(&digest)?),
        };
        let entry = Entry { path: path.into_bytes(), kind, meta: Meta { mtime: Mtime::secs(0), ..Meta::mode(mode) } };
        writer.append(&entry, &mut body).map_err(failed)?;
    }
    writer.finish().map_err(failed)?.flush().map_err(EngineError::file("write", "the archive"))
}

/// Opens a destination; a file is seen only once it is whole.
///
/// # Errors
/// When it cannot be written, or what `f` says.
pub fn write_to(dest: &Dest, f: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    match dest {
        Dest::Stdout => {
            let mut out = BufWriter::with_capacity(256 << 10, io::stdout().lock());
            f(&mut out)?;
            out.flush().map_err(EngineError::file("write", "standard output"))
        }
        Dest::Path(path) => whole::write(path, "write", f),
    }
}
