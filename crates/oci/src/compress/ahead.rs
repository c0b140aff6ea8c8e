//! Decompressing beside the thread that uses the bytes.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

/// Bytes handed over at once.
const BUFFER: usize = 256 << 10;
/// Buffers that wait to be read.
const DEPTH: usize = 4;

/// A reader whose source is read on its own thread, up to 1 MiB ahead. Dropping it ends the thread.
pub struct ReadAhead {
    buffers: Receiver<io::Result<Vec<u8>>>,
    current: Vec<u8>,
    used: usize,
    done: bool,
}

impl ReadAhead {
    /// Reads `inner`, mostly a decompressor, ahead of the caller.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn new(mut inner: impl Read + Send + 'static) -> io::Result<ReadAhead> {
        let (filled, buffers) = sync_channel(DEPTH);
        thread::Builder::new().name("read-ahead".to_owned()).spawn(move || {
            loop {
                let mut buffer = Vec::with_capacity(BUFFER);
                let result = (&mut inner).take(BUFFER as u64).read_to_end(&mut buffer);
                let end = buffer.len() < BUFFER;
                // What was read before an error comes first. Nobody listens when the reader was dropped.
                if !buffer.is_empty() && filled.send(Ok(buffer)).is_err() {
                    return;
                }
                if let Err(error) = result {
                    let _ = filled.send(Err(error));
                    return;
                }
                if end {
                    let _ = filled.send(Ok(Vec::new()));
                    return;
                }
            }
        })?;
        Ok(ReadAhead { buffers, current: Vec::new(), used: 0, done: false })
    }
}

impl Read for ReadAhead {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        if self.used == self.current.len() {
            if self.done {
                return Ok(0);
            }
            // An empty buffer marks the end; a thread that went away without one has panicked.
            let next = self.buffers.recv().map_err(|_| io::Error::other("the reading thread ended early"))?;
            self.done = next.as_ref().map_or(true, Vec::is_empty);
            (self.current, self.used) = (next?, 0);
        }
        let n = buf.len().min(self.current.len() - self.used);
        buf[..n].copy_from_slice(&self.current[self.used..self.used + n]);
        self.used += n;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bytes_arrive_in_order() {
        for len in [0, 1, BUFFER, BUFFER + 1, 7 * BUFFER] {
            let data: Vec<u8> = (0..len).map(|n| ((n * 31) >> 3) as u8).collect();
            let mut back = Vec::new();
            ReadAhead::new(io::Cursor::new(data.clone())).unwrap().read_to_end(&mut back).unwrap();
            assert!(back == data, "{len}");
        }
    }

    #[test]
    fn an_error_comes_after_what_was_read() {
        struct Fails;
        impl Read for Fails {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::InvalidData.into())
            }
        }
        let mut reader = ReadAhead::new(io::Cursor::new(vec![7; 10]).chain(Fails)).unwrap();
        let mut back = Vec::new();
        assert_eq!(reader.read_to_end(&mut back).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(back, [7; 10]);
        assert_eq!(reader.read(&mut [0]).unwrap(), 0, "it does not wait for more");
        drop(ReadAhead::new(io::repeat(1)).unwrap());
    }
}
