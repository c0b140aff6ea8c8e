//! The bodies of files, written where the next free blocks are.

use std::io::Read;

use super::extents::{self, Extent};
use super::geometry::{BLOCK, BLOCK64};
use super::inode::Inode;
use super::{Writer, refuse};
use crate::error::Result;
use crate::files::body::pour;
use crate::io::WriteAt;

/// Blocks of a file are counted with 32 bits.
const MAX_SIZE: u64 = (u32::MAX as u64) * BLOCK64;

impl<W: WriteAt> Writer<W> {
    /// Writes the body of a file, exactly `size` bytes of it, and notes in the inode where it is.
    pub(super) fn body(
        &mut self,
        path: &[u8],
        ino: u32,
        inode: &mut Inode,
        size: u64,
        body: &mut dyn Read,
    ) -> Result<()> {
        if size > MAX_SIZE {
            return Err(refuse(path, &format!("it has {size} bytes, {MAX_SIZE} are the most")));
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut extents = Vec::new();
        let mut put = |block: u64, bytes: &[u8]| self.data(path, &mut extents, block as u32, bytes);
        let done = pour(path, size, body, &mut scratch, &mut put);
        self.scratch = scratch;
        done?;
        inode.size = size;
        self.map(path, ino, inode, &extents)
    }

    fn data(&mut self, path: &[u8], extents: &mut Vec<Extent>, mut block: u32, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let place = self.take(path, bytes.len().div_ceil(BLOCK) as u64)?;
            let len = place.end - place.start;
            let (now, later) = bytes.split_at(bytes.len().min(len as usize * BLOCK));
            self.sink.write(place.start, now)?;
            extents::push(extents, block, place.start, len);
            block += len as u32;
            bytes = later;
        }
        Ok(())
    }
}
