//! Where the bytes of a new file come from.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::context::{Source, Stat};

/// Bytes that are read when the layer is written, not before.
#[derive(Clone)]
pub enum Body {
    /// No bytes: not a regular file.
    None,
    /// In memory.
    Memory(Arc<[u8]>),
    /// A file of a context, stage or image.
    Source {
        /// The tree.
        source: Arc<dyn Source>,
        /// The path in it.
        path: Vec<u8>,
        /// What was there when it was selected.
        stat: Box<Stat>,
    },
    /// A piece of a file.
    Slice {
        /// The file.
        file: Arc<File>,
        /// First byte.
        offset: u64,
        /// How many.
        len: u64,
    },
}

impl Body {
    /// Opens it for one reading.
    ///
    /// # Errors
    /// When the file is gone or may not be read.
    pub fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        match self {
            Body::None => Ok(Box::new(io::empty())),
            Body::Memory(bytes) => Ok(Box::new(Cursor::new(bytes.clone()))),
            Body::Source { source, path, stat } => source.open(path, stat).map_err(io::Error::other),
            Body::Slice { file, offset, len } => Ok(Box::new(Slice { file: file.clone(), at: *offset, left: *len })),
        }
    }
}

/// Reads a piece of a file without moving the file's position, so that many can read at once.
struct Slice {
    file: Arc<File>,
    at: u64,
    left: u64,
}

impl Read for Slice {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let want = buf.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let n = self.file.read_at(&mut buf[..want], self.at)?;
        self.at += n as u64;
        self.left -= n as u64;
        Ok(n)
    }
}
