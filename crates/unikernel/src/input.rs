//! A file that is read at places, never beyond its end and never more than asked for.

use std::io::{Read, Seek, SeekFrom};

use crate::error::{Result, UnikernelError};

/// What can be read at places.
pub trait ReadSeek: Read + Seek {}

impl<T: Read + Seek + ?Sized> ReadSeek for T {}

/// A file of known size.
pub struct Input<'r> {
    from: &'r mut dyn ReadSeek,
    size: u64,
}

impl std::fmt::Debug for Input<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Input").field("size", &self.size).finish_non_exhaustive()
    }
}

impl<'r> Input<'r> {
    /// Over a file.
    ///
    /// # Errors
    /// When its size cannot be told.
    pub fn over(from: &'r mut dyn ReadSeek) -> Result<Input<'r>> {
        let size = from.seek(SeekFrom::End(0))?;
        Ok(Input { from, size })
    }

    /// How many bytes it has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// That so many bytes are there.
    ///
    /// # Errors
    /// When the file ends before.
    pub fn has(&self, what: &str, at: u64, length: u64) -> Result<()> {
        match at.checked_add(length).is_some_and(|end| end <= self.size) {
            true => Ok(()),
            false => Err(UnikernelError::Cut { what: what.to_owned(), at, length, size: self.size }),
        }
    }

    /// Exactly so many bytes. Whoever asks has a limit for `length`.
    ///
    /// # Errors
    /// When the file ends before, or cannot be read.
    pub fn at(&mut self, what: &str, at: u64, length: u64) -> Result<Vec<u8>> {
        self.has(what, at, length)?;
        self.up_to(at, length)
    }

    /// At most so many bytes: fewer at the end of the file.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn up_to(&mut self, at: u64, length: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.from.seek(SeekFrom::Start(at))?;
        (&mut *self.from).take(length).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// Numbers in bytes that were read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Words<'b>(pub(crate) &'b [u8]);

impl Words<'_> {
    fn array<const N: usize>(self, at: usize) -> [u8; N] {
        let mut out = [0; N];
        if let Some(bytes) = self.0.get(at..).and_then(|rest| rest.get(..N)) {
            out.copy_from_slice(bytes);
        }
        out
    }

    /// Two bytes, the low one first; zero where there are none.
    pub(crate) fn half(self, at: usize) -> u16 {
        u16::from_le_bytes(self.array(at))
    }

    /// Four bytes.
    pub(crate) fn word(self, at: usize) -> u32 {
        u32::from_le_bytes(self.array(at))
    }

    /// Eight bytes.
    pub(crate) fn long(self, at: usize) -> u64 {
        u64::from_le_bytes(self.array(at))
    }
}

/// A text up to its NUL, if all of it can be shown.
pub(crate) fn text(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    let text = std::str::from_utf8(&bytes[..end]).ok()?;
    (!text.is_empty() && !text.chars().any(char::is_control)).then(|| text.to_owned())
}
