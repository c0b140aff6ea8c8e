//! Archives that `ADD` unpacks: found by their content, read as a stream into one seekable file, placed entry by entry.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use kiln_oci::compress::{self, Bounds, Format};
use kiln_oci::layer::{LayerReader, ReadOptions};
use kiln_oci::name;
use kiln_oci::{EntryKind, Meta};
use kiln_store::Store;

use super::Body;
use super::dest::{CopyError, Dest, Style};

/// An archive may grow to this many bytes; what is larger is taken for a bomb.
const MAX_UNPACKED: u64 = 1 << 40;

/// Whether the content is a tar, compressed or not, with at least one entry.
///
/// # Errors
/// When it cannot be read.
pub fn is_archive(body: &Body, shown: &str) -> Result<bool, CopyError> {
    let failed = |e: io::Error| CopyError::Archive { name: shown.to_owned(), why: e.to_string() };
    let format = compress::archive_format(body.open().map_err(failed)?).map_err(failed)?;
    let Some(format) = format else { return Ok(false) };
    let stream = plain(format, body.open().map_err(failed)?);
    let mut reader = LayerReader::with_options(stream, ReadOptions::archive());
    let first = reader.next_entry().map_err(|e| CopyError::Archive { name: shown.to_owned(), why: e.to_string() })?;
    Ok(first.is_some())
}

fn plain<'a>(format: Format, stream: Box<dyn Read + Send + 'a>) -> Box<dyn Read + Send + 'a> {
    let stream = BufReader::with_capacity(128 << 10, stream);
    compress::decompress_within(format, stream, Bounds::archive(MAX_UNPACKED))
}

/// Unpacks an archive into the directory `at`, which is there. An archive has modes of its own: `--chmod` is not for it.
///
/// # Errors
/// When the archive is damaged or names what no layer can hold.
pub fn unpack(
    dest: &mut Dest<'_>,
    at: &[u8],
    style: &Style,
    body: &Body,
    shown: &str,
    store: &Store,
) -> Result<(), CopyError> {
    let style = &Style { chmod: None, ..style.clone() };
    let failed = |why: String| CopyError::Archive { name: shown.to_owned(), why };
    let open = || body.open().map_err(|e| failed(e.to_string()));
    let format = compress::archive_format(open()?).map_err(|e| failed(e.to_string()))?;
    let format = format.ok_or_else(|| failed("it is not an archive any more".to_owned()))?;
    let tar = seekable(plain(format, open()?), store).map_err(|e| failed(e.to_string()))?;
    let mut from_start = tar.as_ref();
    from_start.seek(SeekFrom::Start(0)).map_err(|e| failed(e.to_string()))?;
    let mut reader = LayerReader::with_options(BufReader::with_capacity(256 << 10, from_start), ReadOptions::archive());
    while let Some(read) = reader.next_entry().map_err(|e| failed(e.to_string()))? {
        let (entry, offset) = (read.entry.clone(), read.offset);
        // The archive's own root does not change the directory it is unpacked into.
        if entry.path.is_empty() {
            continue;
        }
        // Links of the archive are taken as seen from there.
        let parent = dest.resolve_within(at, name::split(&entry.path).0)?;
        dest.make_dirs(&parent, &Style { owner: None, ..style.clone() })?;
        let path = name::join(&parent, name::split(&entry.path).1);
        let mut meta = style.apply(&entry.meta, &entry.kind);
        meta.mtime.nanos = 0;
        place(dest, at, &path, entry.kind, meta, (&tar, offset), store).map_err(|e| match e {
            CopyError::Archive { why, .. } => failed(why),
            other => other,
        })?;
    }
    Ok(())
}

fn place(
    dest: &mut Dest<'_>,
    at: &[u8],
    path: &[u8],
    kind: EntryKind,
    meta: Meta,
    (tar, offset): (&Arc<File>, u64),
    store: &Store,
) -> Result<(), CopyError> {
    match kind {
        EntryKind::Dir => match dest.get(path) {
            Some((EntryKind::Dir, _)) => dest.put_dir(path, meta, true),
            _ => dest.replace(path, EntryKind::Dir, meta, Body::None),
        },
        EntryKind::File { size } => {
            dest.replace(path, kind, meta, Body::Slice { file: tar.clone(), offset, len: size })
        }
        EntryKind::Hardlink { target } => {
            let parent = dest.resolve_within(at, name::split(&target).0)?;
            let target = name::join(&parent, name::split(&target).1);
            link(dest, path, &target, &meta, store)
        }
        other => dest.replace(path, other, meta, Body::None),
    }
}

/// A hard link of the archive, to a file of it or to one that was there before. The file takes the mode, the owner and
/// the time that the link's entry has, under all its names.
fn link(dest: &mut Dest<'_>, path: &[u8], target: &[u8], meta: &Meta, store: &Store) -> Result<(), CopyError> {
    let missing = || CopyError::Archive {
        name: String::new(),
        why: format!(
            "the hard link `{}` points to `{}`, which is not a file",
            name::escape(path),
            name::escape(target)
        ),
    };
    let file = match dest.written(target).cloned() {
        Some(w) if w.kind == EntryKind::Dir => return Err(missing()),
        Some(w) => w,
        None => {
            let (kind, old) =
                dest.lower().get(target).filter(|(kind, _)| *kind != EntryKind::Dir).ok_or_else(missing)?;
            let body = match kind {
                // Not in memory: an archive may have many links to a large file.
                EntryKind::File { size } => {
                    let from = dest.lower().open(target).map_err(|_| missing())?;
                    Body::Slice { file: seekable(from, store).map_err(|_| missing())?, offset: 0, len: size }
                }
                _ => Body::None,
            };
            dest.replace(target, kind, old, body)?;
            dest.written(target).cloned().ok_or_else(missing)?
        }
    };
    let group = file.group.unwrap_or_else(|| dest.new_group());
    dest.join_group(target, group);
    dest.replace(path, file.kind, file.meta, file.body)?;
    dest.join_group(path, group);
    dest.dress_group(group, meta);
    Ok(())
}

/// The stream as an unnamed file.
fn seekable(mut stream: impl Read, store: &Store) -> io::Result<Arc<File>> {
    let file = tempfile::tempfile_in(store.dir().join("kiln/tmp"))?;
    let mut out = BufWriter::with_capacity(256 << 10, file);
    io::copy(&mut stream, &mut out)?;
    out.flush()?;
    Ok(Arc::new(out.into_inner().map_err(io::IntoInnerError::into_error)?))
}
