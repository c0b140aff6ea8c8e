//! Where a disk's bytes come from, and which of them are worth reading.
//!
//! Most of a disk is empty. A source says where its data is, and [`scan`] hands out only the blocks that hold anything
//! but zeros, so that every format is written in one pass over what is there.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::sync::Arc;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use crate::error::{DiskError, Result};
use crate::io::{ReadAt, Window};

/// A disk that can be read from several threads and knows where it is empty.
pub trait Source: ReadAt + Send + Sync {
    /// The first stretch from `from` on that may hold something else than zeros; `None` when only zeros follow.
    ///
    /// # Errors
    /// When the file cannot be asked, or its tables are damaged.
    fn data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        let len = self.len()?;
        Ok((from < len).then_some(from..len))
    }
}

impl Source for Vec<u8> {}

impl Source for File {
    fn data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        let len = ReadAt::len(self)?;
        if from >= len {
            return Ok(None);
        }
        let start = match seek(self, SeekFrom::Data(from)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(None),
            // Not every file system knows its holes, and no device does.
            Err(_) => return Ok(Some(from..len)),
        };
        let end = seek(self, SeekFrom::Hole(start)).unwrap_or(len).min(len);
        Ok((start < end).then_some(start..end))
    }
}

impl<T: Source + ?Sized> Source for &T {
    fn data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        (**self).data(from)
    }
}

impl<T: Source + ?Sized> Source for Box<T> {
    fn data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        (**self).data(from)
    }
}

impl<T: Source + ?Sized> Source for Arc<T> {
    fn data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        (**self).data(from)
    }
}

impl<T: Source> Source for Window<T> {
    fn data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        let (len, offset) = (self.len()?, self.offset());
        if from >= len {
            return Ok(None);
        }
        let end = offset.checked_add(len).ok_or(ErrorKind::InvalidInput)?;
        match self.inner().data(offset + from)? {
            Some(found) if found.start < end => Ok(Some(found.start - offset..found.end.min(end) - offset)),
            _ => Ok(None),
        }
    }
}

/// A block that holds something.
#[derive(Debug, Clone, Copy)]
pub struct Block<'a> {
    /// Its number, counted from 0.
    pub index: u64,
    /// All its bytes; what is behind the end of the source is zero.
    pub data: &'a [u8],
}

/// How many bytes are read before they are handed out.
const BATCH: usize = 16 << 20;

/// Calls `each` with the blocks of `size` bytes that are not all zero, in order, some at a time.
///
/// # Errors
/// When `source` cannot be read, and what `each` says.
pub fn scan(source: &dyn Source, size: usize, mut each: impl FnMut(&[Block<'_>]) -> Result<()>) -> Result<()> {
    let block = size as u64;
    let room = (BATCH / size).max(1) * size;
    let mut buf = vec![0; room];
    let mut found: Vec<(u64, usize)> = Vec::new();
    let mut fill = 0;
    let mut at = 0;
    let len = source.len().map_err(|e| read_error(0, e))?;
    while let Some(range) = source.data(at).map_err(|e| read_error(at, e))? {
        let mut start = (range.start / block * block).max(at);
        let end = range.end.min(len);
        while start < end {
            let want = usize::try_from((end - start).div_ceil(block) * block).unwrap_or(usize::MAX).min(room - fill);
            let part = &mut buf[fill..fill + want];
            let real = usize::try_from(len - start).unwrap_or(usize::MAX).min(want);
            source.read_exact_at(&mut part[..real], start).map_err(|e| read_error(start, e))?;
            part[real..].fill(0);
            for (i, data) in part.chunks_exact(size).enumerate().filter(|(_, data)| !is_zero(data)) {
                let _ = data;
                found.push((start / block + i as u64, fill + i * size));
            }
            start += want as u64;
            fill += want;
            if fill == room {
                hand_out(&buf, size, &mut found, &mut each)?;
                fill = 0;
            }
        }
        at = start.max(at + 1);
    }
    hand_out(&buf, size, &mut found, &mut each)
}

fn hand_out(
    buf: &[u8],
    size: usize,
    found: &mut Vec<(u64, usize)>,
    each: &mut impl FnMut(&[Block<'_>]) -> Result<()>,
) -> Result<()> {
    if found.is_empty() {
        return Ok(());
    }
    let blocks: Vec<Block<'_>> = found.iter().map(|&(index, at)| Block { index, data: &buf[at..at + size] }).collect();
    found.clear();
    each(&blocks)
}

/// Whether there are only zeros.
pub fn is_zero(data: &[u8]) -> bool {
    let (words, rest) = data.as_chunks::<16>();
    rest.iter().all(|b| *b == 0) && words.iter().all(|w| u128::from_ne_bytes(*w) == 0)
}

/// Does `work` on every block, on `threads` threads, and gives the results in the order of the blocks.
pub(super) fn in_parallel<R: Send>(
    blocks: &[Block<'_>],
    threads: usize,
    work: impl Fn(&[Block<'_>]) -> Vec<R> + Sync,
) -> Vec<R> {
    let share = blocks.len().div_ceil(threads.max(1)).max(1);
    if share >= blocks.len() {
        return work(blocks);
    }
    std::thread::scope(|scope| {
        let started: Vec<_> = blocks.chunks(share).map(|part| scope.spawn(|| work(part))).collect();
        started
            .into_iter()
            .flat_map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

pub(super) fn read_error(offset: u64, source: io::Error) -> DiskError {
    DiskError::Read { what: "disk", offset, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::WriteAt;

    #[test]
    fn only_blocks_with_something_are_handed_out() {
        let mut file = tempfile::tempfile().unwrap();
        file.zero_at(0, (40 << 20) + 100).unwrap();
        file.write_at(&[1], 5000).unwrap();
        file.write_at(&[2], 20 << 20).unwrap();
        file.write_at(&[3], (40 << 20) + 99).unwrap();
        let mut seen = Vec::new();
        scan(&file, 4096, |blocks| {
            for b in blocks {
                assert_eq!(b.data.len(), 4096);
                seen.push((b.index, b.data.iter().map(|b| u64::from(*b)).sum::<u64>()));
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, [(1, 1), (5120, 2), (10240, 3)]);
        let window = Window::new(&file, 4096, 8192);
        assert_eq!(window.data(0).unwrap().unwrap().start, 0);
        assert_eq!(window.data(8192).unwrap(), None);
    }

    #[test]
    fn the_order_is_kept_by_any_number_of_threads() {
        let data = [0u8; 4];
        let blocks: Vec<Block<'_>> = (0..10).map(|index| Block { index, data: &data }).collect();
        for threads in [0, 1, 3, 10, 99] {
            let out = in_parallel(&blocks, threads, |part| part.iter().map(|b| b.index).collect());
            assert_eq!(out, (0..10).collect::<Vec<u64>>());
        }
    }
}
