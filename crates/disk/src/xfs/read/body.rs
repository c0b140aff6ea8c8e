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
    at: u64,
    /// Where the run starts that was found last, in blocks of the file.
    run: Option<(u64, Run)>,
}

impl<'a, R: ReadAt> Body<'a, R> {
    pub(super) fn new(image: &'a Image<R>, inode: Inode) -> Body<'a, R> {
        Body { image, inode, at: 0, run: None }
    }

    /// How many bytes the file has.
    pub fn size(&self) -> u64 {
        self.inode.size
    }

    /// The run in which the next byte is.
    fn find(&mut self) -> crate::Result<(u64, Run)> {
        let block = self.at / self.image.superblock.block_size;
        match self.run {
            Some((from, run)) if (from..from.saturating_add(run.len)).contains(&block) => Ok((from, run)),
            _ => {
                let run = self.image.run(&self.inode, &self.inode.data, block)?;
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
        let (from, run) = self.find().map_err(io::Error::other)?;
        let size = self.image.superblock.block_size;
        let end = from.saturating_add(run.len).saturating_mul(size);
        let n = usize::try_from(left.min(end - self.at)).unwrap_or(usize::MAX).min(buf.len());
        match run.at {
            None => buf[..n].fill(0),
            Some(at) => {
                let offset = (at * size) + (self.at - from * size);
                self.image.blocks.read(offset, &mut buf[..n]).map_err(io::Error::other)?;
            }
        }
        self.at += n as u64;
        Ok(n)
    }
}
