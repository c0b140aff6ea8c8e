//! Blobs that pass through without being kept: from a registry as a reader, and files compared with their digest.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use kiln_oci::{Descriptor, Hasher, Reference};
use kiln_registry::{BlobSink, Client};

/// How many pieces of a blob wait between the two ends.
const PIECES: usize = 16;

/// A blob of a registry as a reader. It ends without an error only if the blob was what its descriptor says.
pub fn open(client: &Client, reference: &Reference, descriptor: &Descriptor) -> BlobReader {
    let (sender, receiver) = sync_channel(PIECES);
    let (client, reference, descriptor) = (client.clone(), reference.clone(), descriptor.clone());
    let fetch = move || {
        let mut pipe = Pipe { sender, sent: false };
        let outcome = client.blob(&reference, &descriptor, &mut pipe, &|_| {});
        // Whoever reads may have gone away; then nobody is to be told.
        let _ = pipe.sender.send(match outcome {
            Ok(()) => Piece::End,
            Err(e) => Piece::Failed(io::Error::other(e)),
        });
    };
    let started = std::thread::Builder::new().name("blob".to_owned()).spawn(fetch);
    BlobReader { receiver: started.is_ok().then_some(receiver), current: Vec::new(), at: 0 }
}

enum Piece {
    Bytes(Vec<u8>),
    End,
    Failed(io::Error),
}

struct Pipe {
    sender: SyncSender<Piece>,
    sent: bool,
}

impl BlobSink for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sent = true;
        self.sender.send(Piece::Bytes(bytes.to_vec())).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn reset(&mut self) -> io::Result<()> {
        match self.sent {
            true => Err(io::Error::other("the blob has to be read again from its start")),
            false => Ok(()),
        }
    }
}

/// See [`open`].
pub struct BlobReader {
    receiver: Option<Receiver<Piece>>,
    current: Vec<u8>,
    at: usize,
}

impl Read for BlobReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.at == self.current.len() {
            let Some(receiver) = &self.receiver else {
                return Err(io::Error::other("the blob cannot be read on: no thread, or it failed before"));
            };
            match receiver.recv() {
                Ok(Piece::Bytes(bytes)) => (self.current, self.at) = (bytes, 0),
                Ok(Piece::End) => {
                    // The end stays the end, however often it is read.
                    let (sender, receiver) = sync_channel(1);
                    let _ = sender.send(Piece::End);
                    self.receiver = Some(receiver);
                    return Ok(0);
                }
                Ok(Piece::Failed(e)) => {
                    self.receiver = None;
                    return Err(e);
                }
                Err(_) => {
                    self.receiver = None;
                    return Err(io::Error::other("the download ended without a word"));
                }
            }
        }
        let n = buf.len().min(self.current.len() - self.at);
        buf[..n].copy_from_slice(&self.current[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

/// A reader whose end is an error unless all that was read is what the descriptor says.
pub struct Verified<R> {
    inner: R,
    hasher: Option<Hasher>,
    left: u64,
    expected: Descriptor,
}

impl<R: Read> Verified<R> {
    /// Compares `inner` with `expected`.
    pub fn new(inner: R, expected: &Descriptor) -> Verified<R> {
        let hasher = Some(expected.digest.hasher());
        Verified { inner, hasher, left: expected.size, expected: expected.clone() }
    }
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        let wrong = || io::Error::other(format!("the blob is not what its digest {} says", self.expected.digest));
        if n as u64 > self.left {
            return Err(wrong());
        }
        self.left -= n as u64;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buf[..n]);
        }
        // Compared with the last byte: whoever reads a known number of bytes never asks for the end.
        if (self.left == 0 || (n == 0 && !buf.is_empty()))
            && let Some(hasher) = self.hasher.take()
            && (self.left != 0 || hasher.finish() != self.expected.digest)
        {
            return Err(io::Error::other(format!("the blob is not what its digest {} says", self.expected.digest)));
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_bytes_than_promised_are_an_error() {
        let d = Descriptor::of("x", b"hello");
        let read = |bytes: &'static [u8]| io::read_to_string(Verified::new(bytes, &d));
        assert_eq!(read(b"hello").unwrap(), "hello");
        for wrong in [&b"hullo"[..], b"hell", b"hello!", b""] {
            assert!(read(wrong).unwrap_err().to_string().contains("not what its digest"), "{wrong:?}");
        }
    }

    #[test]
    fn a_blob_cut_off_is_an_error() {
        let (sender, receiver) = sync_channel(4);
        sender.send(Piece::Bytes(b"ab".to_vec())).unwrap();
        drop(sender);
        let mut reader = BlobReader { receiver: Some(receiver), current: Vec::new(), at: 0 };
        let mut out = Vec::new();
        assert!(reader.read_to_end(&mut out).is_err());
        assert_eq!(out, b"ab");
    }
}
