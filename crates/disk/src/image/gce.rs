//! What Google Cloud imports: `disk.raw` in a tar.gz, as a sparse file of GNU tar's old kind, its size whole GiB.
//!
//! The archive is one gzip stream made of pieces that are compressed on several threads and end on a byte.

use flate2::{Compress, Compression as Level, FlushCompress};

use super::source::{Source, read_error, scan};
use super::{Format, Options};
use crate::error::{DiskError, Result};
use crate::io::WriteAt;

const BLOCK: usize = 64 << 10;
/// Bytes compressed at once.
const PIECE: usize = 1 << 20;
/// A tar header holds 11 octal digits; more is written in binary, which Google's importer was not seen to read.
const LARGEST: u64 = 1 << 33;

pub(super) fn write(source: &dyn Source, out: &mut dyn WriteAt, options: &Options) -> Result<()> {
    let len = source.len().map_err(|e| read_error(0, e))?;
    let size = len.next_multiple_of(Format::Gce.granule()).max(Format::Gce.granule());
    let extents = extents(source, size)?;
    let stored = extents.iter().map(|(_, len)| len).sum::<u64>();
    let mut gzip =
        Gzip { out, at: 0, pending: Vec::new(), sum: crc32fast::Hasher::new(), total: 0, threads: options.threads };
    gzip.start(options.epoch)?;
    gzip.feed(&headers(size, stored, &extents, options.epoch))?;
    let zeros = vec![0; BLOCK];
    for &(start, len) in &extents {
        // The last one may be empty: it says where the file ends.
        let mut at = start;
        let mut buf = vec![0; BLOCK];
        while at < start + len {
            let want = usize::try_from(start + len - at).unwrap_or(usize::MAX).min(BLOCK);
            let real = usize::try_from(source.len().map_err(|e| read_error(at, e))?.saturating_sub(at))
                .unwrap_or(usize::MAX)
                .min(want);
            source.read_exact_at(&mut buf[..real], at).map_err(|e| read_error(at, e))?;
            gzip.feed(&buf[..real])?;
            gzip.feed(&zeros[..want - real])?;
            at += want as u64;
        }
    }
    gzip.feed(&zeros[..1024])?;
    gzip.finish()
}

/// Where something is, in whole blocks. The table of a tar's sparse file comes before its data, so this is a pass of its
/// own over what is not a hole.
fn extents(source: &dyn Source, size: u64) -> Result<Vec<(u64, u64)>> {
    let block = BLOCK as u64;
    let mut found: Vec<(u64, u64)> = Vec::new();
    scan(source, BLOCK, |blocks| {
        for b in blocks {
            let at = b.index * block;
            match found.last_mut() {
                Some((start, len)) if *start + *len == at => *len += block,
                _ => found.push((at, block)),
            }
        }
        Ok(())
    })?;
    found.push((size, 0));
    Ok(found)
}

fn number(field: &mut [u8], value: u64) {
    if value < LARGEST || field.len() < 12 {
        let text = format!("{value:0width$o}", width = field.len() - 1);
        field[..text.len()].copy_from_slice(text.as_bytes());
    } else {
        field.fill(0);
        field[0] = 0x80;
        field[4..12].copy_from_slice(&value.to_be_bytes());
    }
}

fn headers(size: u64, stored: u64, extents: &[(u64, u64)], epoch: u64) -> Vec<u8> {
    let mut h = vec![0; 512];
    h[..8].copy_from_slice(b"disk.raw");
    number(&mut h[100..108], 0o644);
    number(&mut h[108..116], 0);
    number(&mut h[116..124], 0);
    number(&mut h[124..136], stored);
    number(&mut h[136..148], epoch);
    h[156] = b'S';
    h[257..265].copy_from_slice(b"ustar  \0");
    let mut rest = extents;
    put_map(&mut h[386..482], &mut rest);
    h[482] = u8::from(!rest.is_empty());
    number(&mut h[483..495], size);
    h[148..156].fill(b' ');
    let sum: u64 = h.iter().map(|b| u64::from(*b)).sum();
    number(&mut h[148..155], sum);
    while !rest.is_empty() {
        let mut more = vec![0; 512];
        put_map(&mut more[..504], &mut rest);
        more[504] = u8::from(!rest.is_empty());
        h.extend(more);
    }
    h
}

fn put_map(fields: &mut [u8], rest: &mut &[(u64, u64)]) {
    for field in fields.chunks_exact_mut(24) {
        let Some(((start, len), more)) = rest.split_first() else { break };
        number(&mut field[..12], *start);
        number(&mut field[12..], *len);
        *rest = more;
    }
}

/// One stream of gzip, compressed in pieces.
struct Gzip<'a> {
    out: &'a mut dyn WriteAt,
    at: u64,
    pending: Vec<u8>,
    sum: crc32fast::Hasher,
    total: u64,
    threads: usize,
}

impl Gzip<'_> {
    fn put(&mut self, data: &[u8]) -> Result<()> {
        let offset = self.at;
        self.at += data.len() as u64;
        self.out.write_at(data, offset).map_err(|source| DiskError::Write { what: "archive", offset, source })
    }

    fn start(&mut self, epoch: u64) -> Result<()> {
        let mut head = vec![0x1f, 0x8b, 8, 0];
        head.extend((epoch as u32).to_le_bytes());
        head.extend([0, 3]);
        self.put(&head)
    }

    fn feed(&mut self, data: &[u8]) -> Result<()> {
        self.pending.extend(data);
        if self.pending.len() >= PIECE * 2 * self.threads.clamp(1, 64) {
            let whole = self.pending.len() / PIECE * PIECE;
            let rest = self.pending.split_off(whole);
            let ready = std::mem::replace(&mut self.pending, rest);
            self.pack(&ready)?;
        }
        Ok(())
    }

    fn pack(&mut self, data: &[u8]) -> Result<()> {
        self.sum.update(data);
        self.total += data.len() as u64;
        let pieces: Vec<super::Block<'_>> =
            data.chunks(PIECE).enumerate().map(|(i, data)| super::Block { index: i as u64, data }).collect();
        let packed = super::source::in_parallel(&pieces, self.threads, |part| {
            part.iter().map(|piece| deflate(piece.data, FlushCompress::Sync)).collect()
        });
        packed.iter().try_for_each(|piece| self.put(piece))
    }

    fn finish(mut self) -> Result<()> {
        let rest = std::mem::take(&mut self.pending);
        self.pack(&rest)?;
        let mut tail = deflate(&[], FlushCompress::Finish);
        tail.extend(self.sum.clone().finalize().to_le_bytes());
        tail.extend((self.total as u32).to_le_bytes());
        self.put(&tail)
    }
}

fn deflate(data: &[u8], end: FlushCompress) -> Vec<u8> {
    let mut encoder = Compress::new(Level::new(6), false);
    let mut out = Vec::with_capacity(data.len() / 2 + 1024);
    loop {
        let before = (encoder.total_in(), encoder.total_out());
        let _ = encoder.compress_vec(&data[encoder.total_in() as usize..], &mut out, end);
        let room = out.capacity() - out.len();
        if room > 0 || before == (encoder.total_in(), encoder.total_out()) {
            return out;
        }
        out.reserve(data.len().max(1024));
    }
}
