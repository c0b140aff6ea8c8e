//! Telling formats by their first bytes, and reading them.

use std::io::{self, BufRead, BufReader, Read};

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

/// The bytes inside `input`, decompressed in this process; a tar is passed through.
///
/// More than `max_output` bytes are an error, [`LayerError::Limit`] inside an [`io::Error`], instead of filling the disk.
/// Memory is bounded whatever the stream asks for.
pub fn decompress<'a>(
    format: Format,
    input: impl Read + Send + 'a,
    max_output: Option<u64>,
) -> Box<dyn Read + Send + 'a> {
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
    match max_output {
        Some(limit) => Box::new(Limited { inner, left: limit, limit }),
        None => inner,
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
    left: u64,
    limit: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.left = self.left.checked_sub(n as u64).ok_or_else(|| {
            io::Error::other(LayerError::Limit { what: "bytes when decompressed", limit: self.limit })
        })?;
        Ok(n)
    }
}
