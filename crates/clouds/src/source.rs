//! What is uploaded: bytes that can be read at any place, as often as a retry needs them.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use bytes::Bytes;

/// Bytes read and handed on at once.
pub const PIECE: usize = 256 << 10;

/// Bytes with positions. They must not change while they are uploaded.
pub trait Source: Sync {
    /// Fills `buffer` with the bytes from `offset` on; returns how many there were, 0 only at the end.
    ///
    /// # Errors
    /// Those of the medium.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
}

impl Source for File {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }
}

impl Source for [u8] {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|start| self.get(start..)).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}

impl Source for Vec<u8> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        Source::read_at(self.as_slice(), offset, buffer)
    }
}

/// A stretch of a source.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    /// What is read.
    pub source: &'a dyn Source,
    /// From where on.
    pub offset: u64,
    /// How many bytes.
    pub length: u64,
}

impl Part<'_> {
    /// The next bytes after the first `done` ones, at the most [`PIECE`]; empty at the end.
    ///
    /// # Errors
    /// Those of the source, and that it ends before.
    pub fn piece(&self, done: u64) -> io::Result<Bytes> {
        let wanted = usize::try_from(self.length - done).unwrap_or(usize::MAX).min(PIECE);
        let mut piece = vec![0; wanted];
        let mut filled = 0;
        while filled < wanted {
            let at = self.offset + done + filled as u64;
            match self.source.read_at(at, &mut piece[filled..]) {
                Ok(0) => {
                    let why = format!("it ends after {at} bytes, before the size that was said");
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
                }
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(piece.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_cut_and_a_short_source_is_an_error() {
        let bytes = b"0123456789".to_vec();
        let part = Part { source: &bytes, offset: 2, length: 5 };
        assert_eq!(part.piece(0).unwrap(), "23456");
        assert_eq!(part.piece(4).unwrap(), "6");
        assert_eq!(part.piece(5).unwrap(), "");
        let error = Part { source: &bytes, offset: 5, length: 6 }.piece(0).unwrap_err();
        assert!(error.to_string().contains("ends after 10 bytes"), "{error}");
        assert_eq!(bytes.read_at(u64::MAX, &mut [0]).unwrap(), 0);
    }
}
