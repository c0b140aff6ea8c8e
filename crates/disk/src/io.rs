//! What a disk is to the rest of this crate: bytes that are read and written at offsets.
//!
//! A file is one, a part of one is one ([`Window`]), and memory is one for tests and small file systems.

use std::fs::File;
use std::io::{self, ErrorKind, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, fallocate};

/// Bytes that can be read at any offset.
pub trait ReadAt {
    /// How many bytes there are.
    ///
    /// # Errors
    /// When the file cannot be asked.
    fn len(&self) -> io::Result<u64>;

    /// Reads some bytes from `offset` on; 0 only at and beyond the end.
    ///
    /// # Errors
    /// What reading the file said.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Whether there is nothing.
    ///
    /// # Errors
    /// As [`ReadAt::len`].
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Fills `buf` with what is at `offset`.
    ///
    /// # Errors
    /// [`ErrorKind::UnexpectedEof`] when there is less, and what reading said.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while done < buf.len() {
            match self.read_at(&mut buf[done..], offset.saturating_add(done as u64)) {
                Ok(0) => return Err(io::Error::new(ErrorKind::UnexpectedEof, "it ends before")),
                Ok(n) => done += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

/// Bytes that can be written at any offset.
pub trait WriteAt {
    /// How many bytes there are.
    ///
    /// # Errors
    /// When the file cannot be asked.
    fn len(&self) -> io::Result<u64>;

    /// Writes all of `data` at `offset`. Files and memory grow when that is beyond their end; windows do not.
    ///
    /// # Errors
    /// What writing said; for a window, that `data` does not fit in.
    fn write_at(&mut self, data: &[u8], offset: u64) -> io::Result<()>;

    /// Whether there is nothing.
    ///
    /// # Errors
    /// As [`WriteAt::len`].
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Makes `len` bytes from `offset` on read as zeros, without taking space for them where that can be had.
    ///
    /// # Errors
    /// As [`WriteAt::write_at`].
    fn zero_at(&mut self, offset: u64, len: u64) -> io::Result<()> {
        let zeros = vec![0; usize::try_from(len.min(1 << 20)).unwrap_or(1 << 20)];
        let mut done = 0;
        while done < len {
            let part = usize::try_from(len - done).unwrap_or(usize::MAX).min(zeros.len());
            self.write_at(&zeros[..part], offset.saturating_add(done))?;
            done += part as u64;
        }
        Ok(())
    }
}

fn file_len(mut file: &File) -> io::Result<u64> {
    let meta = file.metadata()?;
    // The length of a block device is not in its metadata. Nothing here uses the position of a file.
    if meta.file_type().is_block_device() { file.seek(SeekFrom::End(0)) } else { Ok(meta.len()) }
}

impl ReadAt for File {
    fn len(&self) -> io::Result<u64> {
        file_len(self)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buf, offset)
    }
}

impl WriteAt for File {
    fn len(&self) -> io::Result<u64> {
        file_len(self)
    }

    fn write_at(&mut self, data: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(data, offset)
    }

    fn zero_at(&mut self, offset: u64, len: u64) -> io::Result<()> {
        let has = file_len(self)?;
        let end = offset.checked_add(len).ok_or_else(too_far)?;
        if end > has && self.metadata()?.is_file() {
            self.set_len(end)?;
        }
        if len == 0 || fallocate(&*self, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, len).is_ok() {
            return Ok(());
        }
        // Not every file system has holes.
        let zeros = vec![0; 1 << 20];
        let mut at = offset;
        while at < end {
            let part = usize::try_from(end - at).unwrap_or(usize::MAX).min(zeros.len());
            self.write_all_at(&zeros[..part], at)?;
            at += part as u64;
        }
        Ok(())
    }
}

impl ReadAt for [u8] {
    fn len(&self) -> io::Result<u64> {
        Ok(<[u8]>::len(self) as u64)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(<[u8]>::len(self));
        let n = buf.len().min(<[u8]>::len(self) - from);
        buf[..n].copy_from_slice(&self[from..from + n]);
        Ok(n)
    }
}

impl ReadAt for Vec<u8> {
    fn len(&self) -> io::Result<u64> {
        ReadAt::len(self.as_slice())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.as_slice().read_at(buf, offset)
    }
}

impl WriteAt for Vec<u8> {
    fn len(&self) -> io::Result<u64> {
        ReadAt::len(self.as_slice())
    }

    fn write_at(&mut self, data: &[u8], offset: u64) -> io::Result<()> {
        let from = usize::try_from(offset).map_err(|_| too_far())?;
        let end = from.checked_add(data.len()).ok_or_else(too_far)?;
        if end > Vec::len(self) {
            self.resize(end, 0);
        }
        self[from..end].copy_from_slice(data);
        Ok(())
    }
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn len(&self) -> io::Result<u64> {
        (**self).len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        (**self).read_at(buf, offset)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for Box<T> {
    fn len(&self) -> io::Result<u64> {
        (**self).len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        (**self).read_at(buf, offset)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for Arc<T> {
    fn len(&self) -> io::Result<u64> {
        (**self).len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        (**self).read_at(buf, offset)
    }
}

impl<T: WriteAt + ?Sized> WriteAt for &mut T {
    fn len(&self) -> io::Result<u64> {
        (**self).len()
    }

    fn write_at(&mut self, data: &[u8], offset: u64) -> io::Result<()> {
        (**self).write_at(data, offset)
    }

    fn zero_at(&mut self, offset: u64, len: u64) -> io::Result<()> {
        (**self).zero_at(offset, len)
    }
}

impl<T: WriteAt + ?Sized> WriteAt for Box<T> {
    fn len(&self) -> io::Result<u64> {
        (**self).len()
    }

    fn write_at(&mut self, data: &[u8], offset: u64) -> io::Result<()> {
        (**self).write_at(data, offset)
    }

    fn zero_at(&mut self, offset: u64, len: u64) -> io::Result<()> {
        (**self).zero_at(offset, len)
    }
}

/// A part of something, as a partition is of a disk. Nothing outside of it is read or written.
#[derive(Debug, Clone)]
pub struct Window<T> {
    inner: T,
    offset: u64,
    len: u64,
}

impl<T> Window<T> {
    /// The `len` bytes of `inner` from `offset` on. They need not be there yet.
    pub fn new(inner: T, offset: u64, len: u64) -> Window<T> {
        Window { inner, offset, len }
    }

    /// Where it starts.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// What it is a part of.
    pub fn inner(&self) -> &T {
        &self.inner
    }

    /// What it was a part of.
    pub fn into_inner(self) -> T {
        self.inner
    }

    fn place(&self, offset: u64, len: u64) -> io::Result<u64> {
        match offset.checked_add(len) {
            Some(end) if end <= self.len => self.offset.checked_add(offset).ok_or_else(too_far),
            _ => Err(io::Error::new(ErrorKind::InvalidInput, "that is beyond the end of the partition")),
        }
    }
}

impl<T: ReadAt> ReadAt for Window<T> {
    fn len(&self) -> io::Result<u64> {
        Ok(self.len)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let room = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX).min(buf.len());
        if room == 0 {
            return Ok(0);
        }
        self.inner.read_at(&mut buf[..room], self.place(offset, room as u64)?)
    }
}

impl<T: WriteAt> WriteAt for Window<T> {
    fn len(&self) -> io::Result<u64> {
        Ok(self.len)
    }

    fn write_at(&mut self, data: &[u8], offset: u64) -> io::Result<()> {
        let at = self.place(offset, data.len() as u64)?;
        self.inner.write_at(data, at)
    }

    fn zero_at(&mut self, offset: u64, len: u64) -> io::Result<()> {
        let at = self.place(offset, len)?;
        self.inner.zero_at(at, len)
    }
}

fn too_far() -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, "that is further than a disk can reach")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_keeps_inside() {
        let mut disk = vec![1u8; 100];
        let mut part = Window::new(&mut disk, 10, 20);
        part.write_at(&[2; 20], 0).unwrap();
        assert!(part.write_at(&[3; 2], 19).is_err());
        assert!(part.write_at(&[3], u64::MAX).is_err());
        part.zero_at(5, 5).unwrap();
        assert!(part.zero_at(5, 16).is_err());
        assert_eq!(disk[9..11], [1, 2]);
        assert_eq!(disk[29..31], [2, 1]);
        assert_eq!(disk[14..21], [2, 0, 0, 0, 0, 0, 2]);

        let part = Window::new(&disk, 90, 50);
        let mut buf = [0; 60];
        assert_eq!(part.read_at(&mut buf, 0).unwrap(), 10, "the disk ends before the window");
        assert_eq!(part.read_at(&mut buf, 50).unwrap(), 0);
        assert_eq!(part.read_at(&mut buf, u64::MAX).unwrap(), 0);
        assert!(part.read_exact_at(&mut buf[..11], 0).is_err());
    }

    #[test]
    fn files_grow_and_get_holes() {
        let mut file = tempfile::tempfile().unwrap();
        file.zero_at(0, 1 << 20).unwrap();
        WriteAt::write_at(&mut file, &[7; 8192], 4096).unwrap();
        file.zero_at(8192, 100).unwrap();
        assert_eq!(ReadAt::len(&file).unwrap(), 1 << 20);
        let mut buf = [9; 102];
        ReadAt::read_exact_at(&file, &mut buf, 8191).unwrap();
        assert_eq!((buf[0], buf[1], buf[100], buf[101]), (7, 0, 0, 7));
    }
}
