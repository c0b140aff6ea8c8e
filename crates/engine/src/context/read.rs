//! Reading a file that may change meanwhile.

use std::fs::File;
use std::io::{self, Read};

/// Reads the bytes a file had when it was seen. One that has grown is read as far as it was, so that a log being
/// written into the context does not fail the build; one that has shrunk is an error, and so is one whose bytes are no
/// longer those that were hashed: the layer would be found by a key that is not its own.
pub(super) struct Steady {
    file: File,
    left: u64,
    check: Option<(Box<blake3::Hasher>, [u8; 32])>,
}

impl Steady {
    /// The first `size` bytes of `file`, which have this hash if one is known.
    pub(super) fn new(file: File, size: u64, hash: Option<[u8; 32]>) -> Steady {
        Steady { file, left: size, check: hash.map(|hash| (Box::default(), hash)) }
    }

    fn changed() -> io::Error {
        io::Error::other("the file changed while the build was reading it; build again when nothing writes to it")
    }
}

impl Read for Steady {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(buf.len());
        if buf.is_empty() {
            return Ok(0);
        }
        if room > 0 {
            let n = self.file.read(&mut buf[..room])?;
            if n == 0 {
                return Err(Steady::changed());
            }
            self.left -= n as u64;
            if let Some((hasher, _)) = &mut self.check {
                hasher.update(&buf[..n]);
            }
            // The end is judged with the last bytes: a reader that knows the length never asks again.
            if self.left > 0 {
                return Ok(n);
            }
            return self.judge().map(|()| n);
        }
        self.judge().map(|()| 0)
    }
}

impl Steady {
    fn judge(&mut self) -> io::Result<()> {
        match self.check.take() {
            Some((hasher, expected)) if *hasher.finalize().as_bytes() != expected => Err(Steady::changed()),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(content: &[u8]) -> File {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        file.reopen().unwrap()
    }

    fn read(mut from: Steady) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).map(|_| bytes)
    }

    #[test]
    fn growth_is_cut_off_and_other_changes_fail() {
        let hash = |bytes: &[u8]| Some(*blake3::hash(bytes).as_bytes());
        assert_eq!(read(Steady::new(file(b"abcdef"), 4, hash(b"abcd"))).unwrap(), b"abcd");
        assert_eq!(read(Steady::new(file(b"abcd"), 4, None)).unwrap(), b"abcd");
        assert_eq!(read(Steady::new(file(b""), 0, hash(b""))).unwrap(), b"");
        assert!(read(Steady::new(file(b"abc"), 4, None)).is_err());
        assert!(read(Steady::new(file(b"abcx"), 4, hash(b"abcd"))).is_err());
    }
}
