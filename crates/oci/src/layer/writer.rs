//! Entries → canonical tar.

use std::io::{self, Read, Write};

use super::header::{self, BLOCK, Fields, NAME, OCTAL_7, OCTAL_11};
use super::{LayerError, OPAQUE, WHITEOUT, pax};
use crate::entry::{Entry, EntryKind, KEPT_XATTRS, Meta, Mtime, Xattrs};
use crate::index::{IndexedEntry, LayerIndex};
use crate::name;

/// Small entries are gathered to writes of this size.
const BUFFER: usize = 256 << 10;

/// Writes a layer's tar, entry by entry. The bytes are canonical: see the [module](crate::layer).
pub struct LayerWriter<W: Write> {
    inner: W,
    /// Always `BUFFER` long; the first `used` bytes wait to be written.
    buffer: Vec<u8>,
    used: usize,
    position: u64,
    broken: bool,
    index: Option<Vec<IndexedEntry>>,
    name: Vec<u8>,
    records: Vec<u8>,
}

impl<W: Write> LayerWriter<W> {
    /// A layer written to `inner`, which gets large writes and needs no buffering.
    pub fn new(inner: W) -> Self {
        LayerWriter {
            inner,
            buffer: vec![0; BUFFER],
            used: 0,
            position: 0,
            broken: false,
            index: None,
            name: Vec::new(),
            records: Vec::new(),
        }
    }

    /// A writer that also keeps an index of what it writes, for [`LayerWriter::finish_indexed`].
    pub fn indexed(inner: W) -> Self {
        LayerWriter { index: Some(Vec::new()), ..LayerWriter::new(inner) }
    }

    /// The bytes of tar written so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Adds an entry; returns where its body starts in the tar (for entries without a body: where it would).
    ///
    /// `body` is read for [`EntryKind::File`] only, and must have exactly the size the entry says.
    ///
    /// # Errors
    /// A path that is not normal or that reads as a whiteout, a value tar cannot hold, a body that fails or has another
    /// length, a failing `inner`. After an error the layer is unusable: every later call fails.
    pub fn append(&mut self, entry: &Entry, body: &mut dyn Read) -> Result<u64, LayerError> {
        if self.broken {
            return Err(LayerError::Incomplete);
        }
        self.broken = true;
        let offset = self.append_header(entry)?;
        if let EntryKind::File { size } = entry.kind {
            self.append_body(entry, size, body)?;
        }
        if let Some(index) = &mut self.index {
            index.push(IndexedEntry { entry: canonical(entry), offset });
        }
        self.broken = false;
        Ok(offset)
    }

    /// Ends the layer and returns what it was written to.
    ///
    /// # Errors
    /// An earlier entry failed, or `inner` does.
    pub fn finish(self) -> Result<W, LayerError> {
        Ok(self.finish_indexed()?.0)
    }

    /// [`LayerWriter::finish`], and the index of the layer; empty unless made by [`LayerWriter::indexed`].
    ///
    /// # Errors
    /// As [`LayerWriter::finish`].
    pub fn finish_indexed(mut self) -> Result<(W, LayerIndex), LayerError> {
        if self.broken {
            return Err(LayerError::Incomplete);
        }
        self.put(&[0; 2 * BLOCK])?;
        self.empty_buffer()?;
        self.inner.flush().map_err(LayerError::Write)?;
        let index = LayerIndex { entries: self.index.unwrap_or_default(), tar_size: self.position };
        Ok((self.inner, index))
    }

    fn append_header(&mut self, entry: &Entry) -> Result<u64, LayerError> {
        let mut name = std::mem::take(&mut self.name);
        let mut records = std::mem::take(&mut self.records);
        name.clear();
        records.clear();
        tar_name(entry, &mut name)?;
        let fields = fields(entry, &name)?;
        pax_records(entry, &fields, &mut records);
        if !records.is_empty() {
            let extended = pax_name(&name);
            let size = records.len() as u64;
            self.put(&header::encode(&Fields { name: &extended, flag: b'x', size, ..EMPTY }))?;
            self.put(&records)?;
            self.pad(size)?;
        }
        self.put(&header::encode(&fields))?;
        self.name = name;
        self.records = records;
        Ok(self.position)
    }

    fn append_body(&mut self, entry: &Entry, size: u64, body: &mut dyn Read) -> Result<(), LayerError> {
        let failed = |source| LayerError::ReadBody { path: name::escape(&entry.path), source };
        let wrong = |found: String| LayerError::BodyLength { path: name::escape(&entry.path), expected: size, found };
        let mut left = size;
        while left > 0 {
            if self.used == BUFFER {
                self.empty_buffer()?;
            }
            let room = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER - self.used);
            match body.read(&mut self.buffer[self.used..self.used + room]) {
                Ok(0) => return Err(wrong((size - left).to_string())),
                Ok(n) => {
                    self.used += n;
                    self.position += n as u64;
                    left -= n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(failed(e)),
            }
        }
        loop {
            match body.read(&mut [0]) {
                Ok(0) => break,
                Ok(_) => return Err(wrong("more".to_owned())),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(failed(e)),
            }
        }
        self.pad(size)
    }

    fn pad(&mut self, size: u64) -> Result<(), LayerError> {
        self.put(&[0; BLOCK][..padding(size)])
    }

    fn put(&mut self, mut bytes: &[u8]) -> Result<(), LayerError> {
        self.position += bytes.len() as u64;
        while !bytes.is_empty() {
            if self.used == BUFFER {
                self.empty_buffer()?;
            }
            let n = bytes.len().min(BUFFER - self.used);
            self.buffer[self.used..self.used + n].copy_from_slice(&bytes[..n]);
            self.used += n;
            bytes = &bytes[n..];
        }
        Ok(())
    }

    fn empty_buffer(&mut self) -> Result<(), LayerError> {
        self.inner.write_all(&self.buffer[..self.used]).map_err(LayerError::Write)?;
        self.used = 0;
        Ok(())
    }
}

/// The bytes that fill up a body of `size` bytes to whole blocks.
pub(super) fn padding(size: u64) -> usize {
    (size.wrapping_neg() % BLOCK as u64) as usize
}

const EMPTY: Fields<'static> =
    Fields { name: b"", link: b"", flag: b'0', mode: 0, uid: 0, gid: 0, size: 0, mtime: 0, major: 0, minor: 0 };

/// The entry as a reader of the written layer will see it.
fn canonical(entry: &Entry) -> Entry {
    let meta = match entry.kind {
        EntryKind::Whiteout | EntryKind::Opaque => Meta::default(),
        _ => Meta {
            mode: entry.meta.mode & 0o7777,
            mtime: Mtime::secs(entry.meta.mtime.secs),
            xattrs: kept(&entry.meta.xattrs).map(|(k, v)| (k.clone(), v.clone())).collect(),
            ..entry.meta
        },
    };
    Entry { path: entry.path.clone(), kind: entry.kind.clone(), meta }
}

fn kept(xattrs: &Xattrs) -> impl Iterator<Item = (&Vec<u8>, &Vec<u8>)> {
    xattrs.iter().filter(|(k, _)| KEPT_XATTRS.contains(&k.as_slice()))
}

fn tar_name(entry: &Entry, out: &mut Vec<u8>) -> Result<(), LayerError> {
    let path = entry.path.as_slice();
    if !name::is_normal(path) {
        return Err(LayerError::entry(path, "its path is not normal"));
    }
    if path.split(|b| *b == b'/').any(|c| c.starts_with(WHITEOUT)) {
        return Err(LayerError::Reserved { path: name::escape(path) });
    }
    match &entry.kind {
        EntryKind::Dir if path.is_empty() => out.extend_from_slice(b"./"),
        EntryKind::Opaque => {
            out.extend_from_slice(path);
            if !path.is_empty() {
                out.push(b'/');
            }
            out.extend_from_slice(OPAQUE);
        }
        _ if path.is_empty() => return Err(LayerError::entry(path, "the root can only be a directory")),
        EntryKind::Dir => {
            out.extend_from_slice(path);
            out.push(b'/');
        }
        EntryKind::Whiteout => {
            let (dir, base) = name::split(path);
            out.extend_from_slice(&path[..path.len() - base.len()]);
            debug_assert!(out.len() <= dir.len() + 1);
            out.extend_from_slice(WHITEOUT);
            out.extend_from_slice(base);
        }
        _ => out.extend_from_slice(path),
    }
    Ok(())
}

fn fields<'a>(entry: &'a Entry, tar_name: &'a [u8]) -> Result<Fields<'a>, LayerError> {
    let meta = &entry.meta;
    let plain = Fields {
        name: tar_name,
        mode: meta.mode & 0o7777,
        uid: u64::from(meta.uid),
        gid: u64::from(meta.gid),
        mtime: u64::try_from(meta.mtime.secs).unwrap_or(u64::MAX),
        ..EMPTY
    };
    let device = |flag, major, minor| {
        if u64::from(u32::max(major, minor)) > OCTAL_7 {
            return Err(LayerError::entry(&entry.path, "its device number does not fit a tar header"));
        }
        Ok(Fields { flag, major, minor, ..plain })
    };
    match &entry.kind {
        EntryKind::File { size } => Ok(Fields { size: *size, ..plain }),
        EntryKind::Dir => Ok(Fields { flag: b'5', ..plain }),
        EntryKind::Symlink { target } => {
            if target.is_empty() || target.len() > name::MAX_PATH || target.contains(&0) {
                return Err(LayerError::entry(&entry.path, "its link target is empty, too long or has a NUL byte"));
            }
            Ok(Fields { flag: b'2', link: target, ..plain })
        }
        EntryKind::Hardlink { target } => {
            if target.is_empty() || !name::is_normal(target) {
                return Err(LayerError::entry(&entry.path, "its hard link target is not a normal path"));
            }
            Ok(Fields { flag: b'1', link: target, ..plain })
        }
        EntryKind::Char { major, minor } => device(b'3', *major, *minor),
        EntryKind::Block { major, minor } => device(b'4', *major, *minor),
        EntryKind::Fifo => Ok(Fields { flag: b'6', ..plain }),
        EntryKind::Whiteout | EntryKind::Opaque => Ok(Fields { name: tar_name, ..EMPTY }),
    }
}

/// The records a header needs beside it, sorted by key.
fn pax_records(entry: &Entry, fields: &Fields<'_>, out: &mut Vec<u8>) {
    let whiteout = matches!(entry.kind, EntryKind::Whiteout | EntryKind::Opaque);
    if !whiteout {
        kept(&entry.meta.xattrs).for_each(|(k, v)| pax::push(out, &[pax::XATTR, k], v));
    }
    let number = |out: &mut Vec<u8>, key: &[u8], n: i64| pax::push(out, &[key], n.to_string().as_bytes());
    if fields.gid > OCTAL_7 {
        number(out, b"gid", i64::from(entry.meta.gid));
    }
    if unfit(fields.link) {
        pax::push(out, &[b"linkpath"], fields.link);
    }
    if fields.mtime > OCTAL_11 {
        number(out, b"mtime", entry.meta.mtime.secs);
    }
    if unfit(fields.name) {
        pax::push(out, &[b"path"], fields.name);
    }
    if fields.size > OCTAL_11 {
        pax::push(out, &[b"size"], fields.size.to_string().as_bytes());
    }
    if fields.uid > OCTAL_7 {
        number(out, b"uid", i64::from(entry.meta.uid));
    }
}

/// Whether a name needs a record: too long for the field, or not ASCII.
fn unfit(text: &[u8]) -> bool {
    text.len() > NAME || !text.is_ascii()
}

/// The name of the extended header itself, which readers ignore: `DIR/PaxHeaders.0/BASE`, cut to the field.
fn pax_name(name: &[u8]) -> Vec<u8> {
    let trimmed = name.strip_suffix(b"/").unwrap_or(name);
    let (dir, base) = if trimmed.len() < name.len() { (trimmed, &b""[..]) } else { name::split(trimmed) };
    let mut out = name::join(&name::join(dir, b"PaxHeaders.0"), base);
    out.retain(u8::is_ascii);
    out.truncate(NAME);
    while out.last() == Some(&b'/') {
        out.pop();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_from_eight_gibibytes_get_a_record() {
        let records = |size| {
            let entry = Entry { path: b"big".to_vec(), kind: EntryKind::File { size }, meta: Meta::mode(0o644) };
            let mut out = Vec::new();
            pax_records(&entry, &fields(&entry, b"big").unwrap(), &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(records((8 << 30) - 1), "");
        assert_eq!(records(8 << 30), "19 size=8589934592\n");
    }

    #[test]
    fn the_extended_header_is_named_after_its_entry() {
        assert_eq!(pax_name(b"a/b/c"), b"a/b/PaxHeaders.0/c");
        assert_eq!(pax_name(b"dir/"), b"dir/PaxHeaders.0");
        assert_eq!(pax_name(b"c"), b"PaxHeaders.0/c");
        assert_eq!(pax_name(&[b'x'; 300]).len(), NAME);
    }
}
