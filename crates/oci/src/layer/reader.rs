//! Tar → entries.

use std::io::{self, BufRead, BufReader, Read};

use super::header::{BLOCK, Block, Header};
use super::pax::Records;
use super::writer::padding;
use super::{AUFS, LayerError, OPAQUE, WHITEOUT};
use crate::entry::{Entry, EntryKind, Meta, Mtime};
use crate::name::{self, DotDot};

const BUFFER: usize = 128 << 10;

/// What the names in a tar mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// A layer's: `.wh.` deletes, and `..` is an error.
    Layer,
    /// A user's archive: `.wh.` names are errors, since stored in a layer they would delete, and `..` stays inside the
    /// root.
    Archive,
}

/// How much a [`LayerReader`] accepts, and what names mean to it.
#[derive(Debug, Clone, Copy)]
pub struct ReadOptions {
    /// What names mean.
    pub names: Names,
    /// The most entries.
    pub max_entries: u64,
    /// The most bytes of tar.
    pub max_size: u64,
    /// The most bytes of one entry's extended header or GNU long name.
    pub max_extended: u64,
    /// The most bytes of all names, targets of links and extended attributes together: listings keep them in memory.
    pub max_names: u64,
}

impl Default for ReadOptions {
    /// A layer of up to ten million entries, of any size, with extended headers of up to 1 MiB and 1 GiB of names.
    fn default() -> Self {
        ReadOptions {
            names: Names::Layer,
            max_entries: 10_000_000,
            max_size: u64::MAX,
            max_extended: 1 << 20,
            max_names: 1 << 30,
        }
    }
}

impl ReadOptions {
    /// The default limits for a user's archive.
    pub fn archive() -> ReadOptions {
        ReadOptions { names: Names::Archive, ..ReadOptions::default() }
    }
}

/// Reads a tar as a stream of entries, without going back.
pub struct LayerReader<R> {
    inner: BufReader<R>,
    options: ReadOptions,
    position: u64,
    /// Bytes of the current body, and of its padding, not read yet.
    body: u64,
    padding: u64,
    current: String,
    entries: u64,
    name_bytes: u64,
    done: bool,
}

/// One entry and, as a [`Read`], its body.
pub struct ReadEntry<'a, R> {
    /// What the header said.
    pub entry: Entry,
    /// Where the body starts in the uncompressed tar.
    pub offset: u64,
    reader: &'a mut LayerReader<R>,
}

/// What the headers in front of an entry say about it.
#[derive(Default)]
struct Extended {
    records: Records,
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl<R: Read> LayerReader<R> {
    /// Reads an uncompressed layer.
    pub fn new(inner: R) -> Self {
        LayerReader::with_options(inner, ReadOptions::default())
    }

    /// Reads an uncompressed tar with these limits and this meaning of names.
    pub fn with_options(inner: R, options: ReadOptions) -> Self {
        LayerReader {
            inner: BufReader::with_capacity(BUFFER, inner),
            options,
            position: 0,
            body: 0,
            padding: 0,
            current: String::new(),
            entries: 0,
            name_bytes: 0,
            done: false,
        }
    }

    /// The bytes of tar read so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next entry, or `None` at the end of the tar. What was not read of the last body is skipped.
    ///
    /// Private files of aufs, volume labels and global pax headers are passed over.
    ///
    /// # Errors
    /// A damaged tar, an entry no image can have, a limit passed, or `inner` failing. The reader is finished then.
    pub fn next_entry(&mut self) -> Result<Option<ReadEntry<'_, R>>, LayerError> {
        match self.advance() {
            Ok(Some((entry, offset))) => Ok(Some(ReadEntry { entry, offset, reader: self })),
            Ok(None) => Ok(None),
            Err(e) => {
                self.done = true;
                Err(e)
            }
        }
    }

    /// Reads the rest of the stream, whatever it is, and returns the size of the whole: a layer's digest covers what
    /// follows its end too.
    ///
    /// # Errors
    /// `inner` fails, or has more than the limit.
    pub fn drain(&mut self) -> Result<u64, LayerError> {
        self.done = true;
        loop {
            let n = self.inner.fill_buf().map_err(LayerError::Read)?.len();
            if n == 0 {
                return Ok(self.position);
            }
            self.inner.consume(n);
            self.count(n as u64)?;
        }
    }

    fn count(&mut self, n: u64) -> Result<(), LayerError> {
        self.position = self.position.saturating_add(n);
        match self.position > self.options.max_size {
            true => Err(LayerError::Limit { what: "bytes", limit: self.options.max_size }),
            false => Ok(()),
        }
    }

    fn advance(&mut self) -> Result<Option<(Entry, u64)>, LayerError> {
        let mut extended = Extended::default();
        loop {
            let Some((block, at)) = self.next_header()? else { return Ok(None) };
            let header = Header::parse(&block).map_err(|why| header_error(at, why))?;
            let size = header
                .size()
                .and_then(|n| u64::try_from(n).ok())
                .ok_or_else(|| header_error(at, "its size is not a number"));
            match header.flag() {
                b'x' => {
                    let body = self.extended(size?, at)?;
                    extended.records = Records::parse(&body).map_err(|why| header_error(at, &why))?;
                }
                b'L' => extended.name = Some(self.long_name(size?, at)?),
                b'K' => extended.link = Some(self.long_name(size?, at)?),
                b'g' => drop(self.extended(size?, at)?),
                b'V' => self.body_follows(size?, "a volume label"),
                _ => {
                    if let Some(entry) = self.entry(&header, std::mem::take(&mut extended), at)? {
                        if !matches!(entry.kind, EntryKind::File { .. }) {
                            // A mark of removal is a file that may have bytes, which mean nothing.
                            self.padding += std::mem::take(&mut self.body);
                        }
                        return Ok(Some((entry, self.position)));
                    }
                }
            }
        }
    }

    /// The next header's block and where it starts; `None` at the end.
    fn next_header(&mut self) -> Result<Option<(Block, u64)>, LayerError> {
        if self.done {
            return Ok(None);
        }
        self.skip_body()?;
        let at = self.position;
        let mut zero_before = false;
        loop {
            let mut block = [0; BLOCK];
            let n = read_full(&mut self.inner, &mut block).map_err(LayerError::Read)?;
            self.count(n as u64)?;
            match n {
                // A tar may end without its two zero blocks.
                0 => {}
                BLOCK if block != [0; BLOCK] => {
                    if zero_before {
                        return Err(header_error(at, "an entry follows a zero block"));
                    }
                    return Ok(Some((block, at)));
                }
                BLOCK if !zero_before => {
                    zero_before = true;
                    continue;
                }
                BLOCK => {}
                _ => return Err(LayerError::Truncated(format!("the header at byte {at}"))),
            }
            self.done = true;
            return Ok(None);
        }
    }

    fn body_follows(&mut self, size: u64, of: &str) {
        self.body = size;
        self.padding = padding(size) as u64;
        self.current.clear();
        self.current.push_str(of);
    }

    fn skip_body(&mut self) -> Result<(), LayerError> {
        let mut left = self.body.saturating_add(self.padding);
        let padding = self.padding;
        (self.body, self.padding) = (0, 0);
        while left > 0 {
            let n = self.inner.fill_buf().map_err(LayerError::Read)?.len();
            let n = n.min(usize::try_from(left).unwrap_or(n));
            if n == 0 {
                // The last body's padding may be missing: nothing of the entry is lost.
                return if left <= padding {
                    Ok(())
                } else {
                    Err(LayerError::Truncated(std::mem::take(&mut self.current)))
                };
            }
            self.inner.consume(n);
            self.count(n as u64)?;
            left -= n as u64;
        }
        Ok(())
    }

    /// The body of a header that is about the next entry.
    fn extended(&mut self, size: u64, at: u64) -> Result<Vec<u8>, LayerError> {
        if size > self.options.max_extended {
            return Err(LayerError::Limit { what: "bytes in an extended header", limit: self.options.max_extended });
        }
        self.body_follows(size, "");
        let mut out = Vec::new();
        let n = (&mut self.inner).take(size).read_to_end(&mut out).map_err(LayerError::Read)?;
        self.count(n as u64)?;
        self.body = 0;
        if (n as u64) < size {
            return Err(LayerError::Truncated(format!("the extended header at byte {at}")));
        }
        Ok(out)
    }

    /// GNU's long names end at the first NUL.
    fn long_name(&mut self, size: u64, at: u64) -> Result<Vec<u8>, LayerError> {
        let mut name = self.extended(size, at)?;
        let end = name.iter().position(|b| *b == 0).unwrap_or(name.len());
        name.truncate(end);
        Ok(name)
    }

    /// The entry a header makes with what came before it; `None` for what is not part of an image. Prepares the body.
    fn entry(&mut self, header: &Header<'_>, extended: Extended, at: u64) -> Result<Option<Entry>, LayerError> {
        self.entries += 1;
        if self.entries > self.options.max_entries {
            return Err(LayerError::Limit { what: "entries", limit: self.options.max_entries });
        }
        let Extended { mut records, name: gnu_name, link: gnu_link } = extended;
        let raw = gnu_name.or(records.path.take()).unwrap_or_else(|| header.name());
        let raw_link = gnu_link.or(records.link.take()).unwrap_or_else(|| header.link().to_vec());
        if records.sparse || header.flag() == b'S' {
            return Err(LayerError::Sparse { path: name::escape(&raw) });
        }
        let invalid = |why: &str| LayerError::entry(&raw, why);
        let size = records.size.or_else(|| header.size());
        let size = size.and_then(|n| u64::try_from(n).ok()).ok_or_else(|| invalid("its size is not a number"))?;
        let mut kind = kind(header, &raw, raw_link, size, self.options.names)?;
        // Only files have a body, whatever the size field of the others says.
        let size = if let EntryKind::File { size } = kind { size } else { 0 };
        let path = self.path(&raw)?;
        self.body_follows(size, "");
        self.current.push_str(&name::escape(&path));
        let Some(path) = decode_whiteout(path, &mut kind, self.options.names)? else { return Ok(None) };
        if path.is_empty() && !matches!(kind, EntryKind::Dir | EntryKind::Opaque) {
            return Err(invalid("the root can only be a directory"));
        }
        let meta =
            meta(header, records).map_err(|why| LayerError::entry(&path, format!("{why} (header at byte {at})")))?;
        let entry = Entry { path, kind, meta };
        self.name_bytes += name_bytes(&entry);
        match self.name_bytes > self.options.max_names {
            true => Err(LayerError::Limit { what: "bytes of names and attributes", limit: self.options.max_names }),
            false => Ok(Some(entry)),
        }
    }

    fn path(&self, raw: &[u8]) -> Result<Vec<u8>, LayerError> {
        name::normalise(raw, dotdot(self.options.names)).map_err(|e| LayerError::name(raw, e))
    }
}

impl<R: Read> Read for ReadEntry<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let r = &mut *self.reader;
        let room = buf.len().min(usize::try_from(r.body).unwrap_or(usize::MAX));
        if room == 0 {
            return Ok(0);
        }
        let n = r.inner.read(&mut buf[..room])?;
        if n == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, LayerError::Truncated(r.current.clone())));
        }
        r.body -= n as u64;
        r.count(n as u64).map_err(io::Error::other)?;
        Ok(n)
    }
}

/// What an entry takes in a listing beside its fixed part.
fn name_bytes(entry: &Entry) -> u64 {
    let target = match &entry.kind {
        EntryKind::Symlink { target } | EntryKind::Hardlink { target } => target.len(),
        _ => 0,
    };
    let attributes: usize = entry.meta.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
    (entry.path.len() + target + attributes) as u64
}

fn header_error(offset: u64, why: &str) -> LayerError {
    LayerError::Header { offset, why: why.to_owned() }
}

fn dotdot(names: Names) -> DotDot {
    match names {
        Names::Layer => DotDot::Reject,
        Names::Archive => DotDot::Clamp,
    }
}

fn read_full(from: &mut impl Read, buf: &mut [u8]) -> io::Result<usize> {
    let mut n = 0;
    while n < buf.len() {
        match from.read(&mut buf[n..]) {
            Ok(0) => break,
            Ok(more) => n += more,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(n)
}

fn kind(header: &Header<'_>, raw: &[u8], link: Vec<u8>, size: u64, names: Names) -> Result<EntryKind, LayerError> {
    let device = || header.device().ok_or_else(|| LayerError::entry(raw, "its device number is not a number"));
    Ok(match header.flag() {
        // Before ustar a directory was a file whose name ends in a slash.
        0 if raw.ends_with(b"/") => EntryKind::Dir,
        0 | b'0' | b'7' => EntryKind::File { size },
        b'1' => {
            let target = name::normalise(&link, dotdot(names)).map_err(|e| LayerError::name(&link, e))?;
            if target.is_empty() {
                return Err(LayerError::entry(raw, "it is a hard link to the root"));
            }
            EntryKind::Hardlink { target }
        }
        b'2' => {
            if link.is_empty() || link.len() > name::MAX_PATH || link.contains(&0) {
                return Err(LayerError::entry(raw, "its link target is empty, too long or has a NUL byte"));
            }
            EntryKind::Symlink { target: link }
        }
        b'3' => device().map(|(major, minor)| EntryKind::Char { major, minor })?,
        b'4' => device().map(|(major, minor)| EntryKind::Block { major, minor })?,
        b'5' => EntryKind::Dir,
        b'6' => EntryKind::Fifo,
        other => {
            return Err(LayerError::UnknownType {
                path: name::escape(raw),
                flag: format!("`{}`", name::escape(&[other])),
            });
        }
    })
}

fn meta(header: &Header<'_>, records: Records) -> Result<Meta, &'static str> {
    let id = |n: Option<i64>| n.and_then(|n| u32::try_from(n).ok());
    Ok(Meta {
        mode: header.mode().map(|m| (m & 0o7777) as u32).ok_or("its mode is not a number")?,
        uid: id(records.uid.or_else(|| header.uid())).ok_or("its owner is not a 32-bit number")?,
        gid: id(records.gid.or_else(|| header.gid())).ok_or("its group is not a 32-bit number")?,
        mtime: match records.mtime {
            Some(time) => time,
            None => Mtime::secs(header.mtime().ok_or("its time is not a number")?),
        },
        xattrs: records.xattrs,
    })
}

/// In a layer, turns `.wh.` names into what they hide; `None` for private files of aufs. In an archive, refuses them.
fn decode_whiteout(path: Vec<u8>, kind: &mut EntryKind, names: Names) -> Result<Option<Vec<u8>>, LayerError> {
    let reserved = || LayerError::Reserved { path: name::escape(&path) };
    let Some(first) = path.split(|b| *b == b'/').position(|c| c.starts_with(WHITEOUT)) else { return Ok(Some(path)) };
    if names == Names::Archive {
        return Err(reserved());
    }
    let (dir, base) = name::split(&path);
    let in_dir = !dir.is_empty() && first < dir.split(|b| *b == b'/').count();
    if in_dir {
        let private = dir.split(|b| *b == b'/').nth(first).is_some_and(|c| c.starts_with(AUFS) && c != OPAQUE);
        return if private { Ok(None) } else { Err(reserved()) };
    }
    if base == OPAQUE {
        *kind = EntryKind::Opaque;
        return Ok(Some(dir.to_vec()));
    }
    if base.starts_with(AUFS) {
        return Ok(None);
    }
    *kind = EntryKind::Whiteout;
    let hidden = &base[WHITEOUT.len()..];
    if matches!(hidden, b"" | b"." | b"..") {
        return Err(LayerError::Traversal {
            path: name::escape(&path),
            why: "it deletes what is not a name".to_owned(),
        });
    }
    Ok(Some(name::join(dir, hidden)))
}
