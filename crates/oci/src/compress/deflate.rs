//! One block of a deflate stream.
//!
//! A block is cut into runs of chunks. A run of what does not compress (archives, images, keys) is stored as it is, at the
//! speed of a copy; any other run is deflated, primed with the 32 KiB before it, and ended by a sync flush. So every run
//! begins at a byte, and blocks made by different threads join. What a chunk is depends on its bytes alone, in whole
//! numbers: the same on every machine.

use std::io;

use flate2::{Compress, Compression, FlushCompress, Status};

/// Deflate looks back no further than this. Also the length of a chunk, so that a run which does not begin its block has a
/// whole window before it in the block.
const WINDOW: usize = 32 << 10;
/// The most bytes a stored deflate block has.
const STORED: usize = 0xffff;
/// The least chunk that is looked at; less is always deflated.
const MIN_CHUNK: usize = 4 << 10;

/// Makes pieces of one deflate stream, reusing its memory.
pub(super) struct Deflater {
    compress: Compress,
}

impl Deflater {
    pub(super) fn new(level: u32) -> Deflater {
        Deflater { compress: Compress::new(Compression::new(level), false) }
    }

    /// The piece of the stream for `block`, which follows `before`; the stream ends with it when it is the `last`.
    pub(super) fn piece(&mut self, before: &[u8], block: &[u8], last: bool) -> io::Result<Vec<u8>> {
        let mut out = Vec::with_capacity(block.len() / 2 + 256);
        let mut start = 0;
        for (end, stored) in runs(block) {
            let last = last && end == block.len();
            let run = &block[start..end];
            if stored {
                store(run, last, &mut out);
            } else {
                let window = if start == 0 { before } else { &block[..start] };
                self.deflate(&window[window.len().saturating_sub(WINDOW)..], run, last, &mut out)?;
            }
            start = end;
        }
        Ok(out)
    }

    fn deflate(&mut self, window: &[u8], run: &[u8], last: bool, out: &mut Vec<u8>) -> io::Result<()> {
        self.compress.reset();
        if !window.is_empty() {
            self.compress.set_dictionary(window).map_err(io::Error::other)?;
        }
        let flush = if last { FlushCompress::Finish } else { FlushCompress::Sync };
        loop {
            let taken = self.compress.total_in() as usize;
            let status = self.compress.compress_vec(&run[taken..], out, flush).map_err(io::Error::other)?;
            // A flush is complete when it leaves room in the output.
            let flushed = self.compress.total_in() as usize == run.len() && out.len() < out.capacity();
            if status == Status::StreamEnd || (!last && flushed) {
                return Ok(());
            }
            out.reserve(out.capacity().max(4096));
        }
    }
}

/// Where each run of alike chunks ends, and whether it is to be stored. An empty block is one empty run.
fn runs(block: &[u8]) -> impl Iterator<Item = (usize, bool)> {
    let mut chunks = block.chunks(WINDOW).map(|chunk| (chunk.len(), is_noise(chunk))).peekable();
    let mut end = 0;
    let mut empty = block.is_empty();
    std::iter::from_fn(move || {
        if std::mem::take(&mut empty) {
            return Some((0, false));
        }
        let (len, noise) = chunks.next()?;
        end += len;
        while let Some((len, _)) = chunks.next_if(|(_, n)| *n == noise) {
            end += len;
        }
        Some((end, noise))
    })
}

/// Whether bytes look like noise: the sum of the squares of how often each value occurs is within one part in twenty of
/// the least it can be. Compressed data mostly is within one in fifty; machine code and text are at twice the least and
/// far more.
fn is_noise(chunk: &[u8]) -> bool {
    if chunk.len() < MIN_CHUNK {
        return false;
    }
    // Two tables, because counting into one waits for itself when a value repeats.
    let mut counts = [[0_u32; 256]; 2];
    let (pairs, rest) = chunk.as_chunks::<2>();
    for [a, b] in pairs {
        counts[0][usize::from(*a)] += 1;
        counts[1][usize::from(*b)] += 1;
    }
    rest.iter().for_each(|b| counts[0][usize::from(*b)] += 1);
    let squares: u64 = counts[0].iter().zip(&counts[1]).map(|(a, b)| u64::from(a + b).pow(2)).sum();
    let least = (chunk.len() as u64).pow(2) / 256;
    // A random sample is above the least by its own length.
    squares.saturating_sub(chunk.len() as u64) <= least + least / 20
}

fn store(run: &[u8], last: bool, out: &mut Vec<u8>) {
    let mut parts = run.chunks(STORED).peekable();
    while let Some(part) = parts.next() {
        let len = part.len() as u16;
        out.push(u8::from(last && parts.peek().is_none()));
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&(!len).to_le_bytes());
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::DeflateDecoder;

    use super::*;

    fn noise(len: usize) -> Vec<u8> {
        let mut seed = 88_172_645_463_325_252_u64;
        let mut next = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed >> 32) as u8
        };
        (0..len).map(|_| next()).collect()
    }

    fn text(len: usize) -> Vec<u8> {
        (0..).flat_map(|n: u32| format!("line {n}\n").into_bytes()).take(len).collect()
    }

    #[test]
    fn noise_is_stored_and_text_is_not() {
        assert!(is_noise(&noise(WINDOW)) && is_noise(&noise(MIN_CHUNK)));
        assert!(!is_noise(&noise(100)) && !is_noise(&text(WINDOW)) && !is_noise(&[0; WINDOW]));
        let letters: Vec<u8> = noise(1 << 20).into_iter().map(|b| b'a' + b % 23).collect();
        let packed = Deflater::new(6).piece(&[], &letters, true).unwrap();
        assert!(!is_noise(&letters[..WINDOW]) && is_noise(&packed[..WINDOW]), "compressed data counts as noise");
        let block = [noise(3 * WINDOW), text(WINDOW), noise(100)].concat();
        let found: Vec<_> = runs(&block).collect();
        assert_eq!(found, [(3 * WINDOW, true), (block.len(), false)]);
        assert_eq!(runs(b"").collect::<Vec<_>>(), [(0, false)]);
    }

    #[test]
    fn runs_join_to_one_stream() {
        let blocks = [
            [text(WINDOW), noise(2 * WINDOW), text(WINDOW)].concat(),
            noise(4 * WINDOW),
            text(4 * WINDOW),
            [text(WINDOW), noise(WINDOW + 5000)].concat(),
        ];
        for last in 1..=blocks.len() {
            let mut deflater = Deflater::new(6);
            let mut stream = Vec::new();
            let mut before: &[u8] = &[];
            for (n, block) in blocks[..last].iter().enumerate() {
                stream.extend(deflater.piece(before, block, n + 1 == last).unwrap());
                before = block;
            }
            let mut back = Vec::new();
            DeflateDecoder::new(&stream[..]).read_to_end(&mut back).unwrap();
            assert!(back == blocks[..last].concat());
        }
    }
}
