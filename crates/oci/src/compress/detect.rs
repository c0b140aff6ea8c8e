//! Telling formats by their first bytes, and reading them.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bzip2::read::MultiBzDecoder;
use flate2::bufread::GzDecoder;
use lzma_rust2::XzReader;
use zstd::stream::read::Decoder as ZstdDecoder;

use crate::layer::LayerError;
use crate::layer::header;

/// What a stream of bytes is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// An uncompressed tar.
    Tar,
    /// gzip, of any number of members.
    Gzip,
    /// bzip2.
    Bzip2,
    /// xz.
    Xz,
    /// Zstandard, of any number of frames.
    Zstd,
}

/// How far a stream may expand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The most bytes that may come out.
    pub size: u64,
    /// The most bytes that may come out for each one that went in, once more than [`Bounds::free`] did.
    pub ratio: u64,
    /// How many bytes may come out of however few: files of zeros are honest.
    pub free: u64,
}

impl Bounds {
    /// For a layer: more than gzip can reach, so that no gzip of zeros is refused.
    pub fn layer(size: u64) -> Bounds {
        Bounds { size, ratio: 1100, free: 4 << 30 }
    }

    /// For an archive that someone handed in.
    pub fn archive(size: u64) -> Bounds {
        Bounds { size, ratio: 250, free: 4 << 30 }
    }
}

/// How many bytes [`detect`] needs to see everything it knows.
const HEAD: usize = 512;
/// The largest dictionary an xz stream may ask for, in KiB. `xz -9` needs 64 MiB.
const XZ_MEMORY: u32 = 256 << 10;
/// The largest window a zstd frame may ask for: 128 MiB, what `zstd --long` uses.
const ZSTD_WINDOW_LOG: u32 = 27;

/// What the stream is that begins with `head`; 512 bytes are enough. A tar is known by its magic or, for tars older than
/// that, by a correct header checksum.
pub fn detect(head: &[u8]) -> Option<Format> {
    match head {
        [0x1f, 0x8b, 8, ..] => Some(Format::Gzip),
        [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, 0x53, 0x59, ..] => Some(Format::Bzip2),
        // An empty bzip2 stream.
        [b'B', b'Z', b'h', b'1'..=b'9', 0x17, 0x72, 0x45, 0x38, 0x50, 0x90, ..] => Some(Format::Bzip2),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Format::Xz),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Format::Zstd),
        // A skippable frame, as zstd:chunked and pzstd put first.
        [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Format::Zstd),
        _ if is_tar(head) => Some(Format::Tar),
        _ => None,
    }
}

fn is_tar(head: &[u8]) -> bool {
    let Some((block, _)) = head.split_first_chunk::<HEAD>() else { return false };
    header::checksum_ok(block) && (header::has_magic(block) || block[0] != 0)
}

/// The compression around a tar that a stream holds, or `None` when it does not hold a tar: a compressed file that is
/// no archive, and a stream of no known format. This is what decides whether `ADD` unpacks.
///
/// Reads the beginning of `stream` only.
///
/// # Errors
/// `stream` fails. What cannot be decompressed is no archive, not an error.
pub fn archive_format<'a>(stream: impl Read + Send + 'a) -> io::Result<Option<Format>> {
    let mut stream = BufReader::new(stream);
    let mut head = Vec::with_capacity(HEAD);
    (&mut stream).take(HEAD as u64).read_to_end(&mut head)?;
    let Some(format) = detect(&head) else { return Ok(None) };
    if format == Format::Tar {
        return Ok(Some(format));
    }
    let mut first = Vec::with_capacity(HEAD);
    let whole = io::Cursor::new(head).chain(stream);
    let readable = decompress(format, whole, None).take(HEAD as u64).read_to_end(&mut first).is_ok();
    Ok((readable && is_tar(&first)).then_some(format))
}

/// The bytes inside a layer, [`decompress_within`] the bounds of one; `None` as its size is no limit.
pub fn decompress<'a>(
    format: Format,
    input: impl Read + Send + 'a,
    max_output: Option<u64>,
) -> Box<dyn Read + Send + 'a> {
    decompress_within(format, input, Bounds::layer(max_output.unwrap_or(u64::MAX)))
}

/// The bytes inside `input`, decompressed in this process; a tar is passed through.
///
/// More than the bounds allow is an error, [`LayerError::Limit`] inside an [`io::Error`], instead of a full disk. Memory
/// is bounded whatever the stream asks for.
pub fn decompress_within<'a>(
    format: Format,
    input: impl Read + Send + 'a,
    bounds: Bounds,
) -> Box<dyn Read + Send + 'a> {
    let taken = Arc::new(AtomicU64::new(0));
    let input = Counted { inner: input, taken: Arc::clone(&taken) };
    let inner: Box<dyn Read + Send + 'a> = match format {
        Format::Tar => Box::new(input),
        Format::Gzip => Box::new(Gunzip::new(BufReader::with_capacity(64 << 10, input))),
        Format::Bzip2 => Box::new(MultiBzDecoder::new(input)),
        Format::Xz => Box::new(XzReader::new_mem_limit(BufReader::new(input), true, XZ_MEMORY)),
        Format::Zstd => match zstd(input) {
            Ok(decoder) => decoder,
            Err(error) => Box::new(Failing(Some(error))),
        },
    };
    Box::new(Limited { inner, given: 0, taken, bounds })
}

/// Counts what a decompressor takes.
struct Counted<R> {
    inner: R,
    taken: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.taken.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

fn zstd<'a>(input: impl Read + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
    let mut decoder = ZstdDecoder::new(input)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG)?;
    Ok(Box::new(decoder))
}

struct Failing(Option<io::Error>);

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(self.0.take().unwrap_or_else(|| io::ErrorKind::Other.into()))
    }
}

/// Reads any number of gzip members; zero bytes after the last are padding, anything else there is an error.
struct Gunzip<R> {
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> Gunzip<R> {
    fn new(input: R) -> Self {
        Gunzip { member: Some(GzDecoder::new(input)) }
    }

    /// Starts the next member; false at the end of the input.
    fn next_member(&mut self, mut input: R) -> io::Result<bool> {
        loop {
            let seen = input.fill_buf()?;
            match seen {
                [] => return Ok(false),
                [0, ..] => {
                    let zeros = seen.iter().take_while(|b| **b == 0).count();
                    input.consume(zeros);
                }
                [0x1f, ..] => {
                    self.member = Some(GzDecoder::new(input));
                    return Ok(true);
                }
                _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "bytes that are not gzip follow its end")),
            }
        }
    }
}

impl<R: BufRead> Read for Gunzip<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(member) = &mut self.member else { return Ok(0) };
            let n = member.read(buf)?;
            if n > 0 || buf.is_empty() {
                return Ok(n);
            }
            let Some(member) = self.member.take() else { return Ok(0) };
            if !self.next_member(member.into_inner())? {
                return Ok(0);
            }
        }
    }
}

struct Limited<R> {
    inner: R,
    given: u64,
    taken: Arc<AtomicU64>,
    bounds: Bounds,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.given += n as u64;
        let Bounds { size, ratio, free } = self.bounds;
        let limit = |what, limit| Err(io::Error::other(LayerError::Limit { what, limit }));
        if self.given > size {
            return limit("bytes when decompressed", size);
        }
        if self.given > free && self.given / ratio > self.taken.load(Ordering::Relaxed) {
            return limit("bytes for each compressed one, as bombs do", ratio);
        }
        Ok(n)
    }
}
