//! The bytes of a file, read where they are.

use std::io::{self, Read};

use super::Image;
use super::inode::Inode;
use super::map::Run;
use crate::io::ReadAt;

/// The bytes of a file, from its start to its end. Holes read as zeros without the disk being asked.
pub struct Body<'a, R> {
    image: &'a Image<R>,
    inode: Inode,
    /// The bytes themselves, where the inode has them.
    inline: Option<Vec<u8>>,
    at: u64,
    /// Where the run starts that was found last, in blocks of the file.
    run: Option<(u64, Run)>,
}

impl<'a, R: ReadAt> Body<'a, R> {
    pub(super) fn new(image: &'a Image<R>, inode: Inode, inline: Option<Vec<u8>>) -> Body<'a, R> {
        Body { image, inode, inline, at: 0, run: None }
    }

    /// How many bytes the file has.
    pub fn size(&self) -> u64 {
        self.inode.size
    }

    /// How many bytes from here on are zeros without being stored.
    ///
    /// # Errors
    /// When what says where the file is cannot be read or makes no sense.
    pub fn hole(&mut self) -> crate::Result<u64> {
        if self.at >= self.inode.size || self.inline.is_some() {
            return Ok(0);
        }
        let (from, run) = self.find()?;
        let end = (from + run.len) * self.image.superblock.block_size;
        Ok(if run.at.is_none() { end.min(self.inode.size) - self.at } else { 0 })
    }

    /// Goes on at another byte of the file.
    pub fn seek(&mut self, at: u64) {
        self.at = at;
    }

    /// The run in which the next byte is.
    fn find(&mut self) -> crate::Result<(u64, Run)> {
        let block = self.at / self.image.superblock.block_size;
        match self.run {
            Some((from, run)) if (from..from + run.len).contains(&block) => Ok((from, run)),
            _ => {
                let run = self.image.run(&self.inode, block)?;
                self.run = Some((block, run));
                Ok((block, run))
            }
        }
    }
}

impl<R: ReadAt> Read for Body<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.inode.size.saturating_sub(self.at);
        if left == 0 || buf.is_empty() {
            return Ok(0);
        }
        if let Some(bytes) = &self.inline {
            let n = ReadAt::read_at(bytes, buf, self.at)?;
            self.at += n as u64;
            return Ok(n);
        }
        let (from, run) = self.find().map_err(io::Error::other)?;
        let size = self.image.superblock.block_size;
        let in_run = (from + run.len) * size - self.at;
        let n = usize::try_from(left.min(in_run)).unwrap_or(usize::MAX).min(buf.len());
        match run.at {
            None => buf[..n].fill(0),
            Some(at) => {
                let block = at + self.at / size - from;
                self.image.blocks.read(block, self.at % size, &mut buf[..n]).map_err(io::Error::other)?;
            }
        }
        self.at += n as u64;
        Ok(n)
    }
}
