//! Bodies of answers: bytes in memory, parts of files, and blobs that are still arriving.
//!
//! On a connection without TLS and with HTTP/1.1, the kernel sends files itself (`sendfile`): the body is then a
//! [`Piece::Mark`], a stretch of memory that stands for bytes of a file and is never read. hyper passes it through to the
//! connection, [`crate::wire::Plain`], which knows the mark by its address and sends the file instead.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::library::locked;

/// How much of a file is read at a time where it has to be read.
const PORTION: usize = 128 << 10;
/// How much of a file one mark stands for.
const MARK: usize = 1 << 20;

/// A stretch of memory that is never read or written; its pages never come to be.
#[derive(Clone)]
pub struct Mark(Arc<Box<[u8]>>);

impl Default for Mark {
    fn default() -> Mark {
        Mark(Arc::new(vec![0; MARK].into_boxed_slice()))
    }
}

impl Mark {
    /// Whether these bytes are the mark.
    pub fn is(&self, bytes: &[u8]) -> bool {
        std::ptr::eq(bytes.as_ptr(), self.0.as_ptr()) && !bytes.is_empty()
    }
}

/// A part of a file that is to be sent.
#[derive(Debug)]
pub struct Transfer {
    /// The file.
    pub file: File,
    /// The next byte.
    pub offset: u64,
    /// How many are left.
    pub left: u64,
}

/// What a connection has to send of files, in the order in which their marks were given out.
#[derive(Debug, Clone, Default)]
pub struct Outbox(Arc<Mutex<VecDeque<Transfer>>>);

impl Outbox {
    /// Works on the transfer whose turn it is; it is over when nothing is left.
    pub fn with_first<T>(&self, work: impl FnOnce(&mut Transfer) -> T) -> Option<T> {
        let mut queue = locked(&self.0);
        let result = work(queue.front_mut()?);
        if queue.front().is_some_and(|t| t.left == 0) {
            queue.pop_front();
        }
        Some(result)
    }
}

/// A piece of a body.
pub enum Piece {
    /// Bytes.
    Bytes(Bytes),
    /// So many bytes of a file.
    Mark(Mark, usize),
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        match self {
            Piece::Bytes(bytes) => bytes.len(),
            Piece::Mark(_, left) => *left,
        }
    }

    fn chunk(&self) -> &[u8] {
        match self {
            Piece::Bytes(bytes) => bytes,
            Piece::Mark(mark, left) => &mark.0[..(*left).min(MARK)],
        }
    }

    fn advance(&mut self, count: usize) {
        match self {
            Piece::Bytes(bytes) => bytes.advance(count),
            Piece::Mark(_, left) => *left -= count.min(*left),
        }
    }
}

/// What a fetch has brought so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// Nothing is known yet.
    Opening,
    /// So many bytes, of this attempt: another attempt starts again.
    Bytes(u64, u32),
    /// All, and they are what they should be.
    Complete,
    /// It was given up.
    Failed,
}

/// A body.
pub enum Payload {
    /// These bytes, or none.
    Full(Option<Bytes>),
    /// The kernel sends it.
    Sent {
        /// Until it begins.
        transfer: Option<Transfer>,
        /// Where transfers of the connection wait.
        outbox: Outbox,
        /// The mark of the connection.
        mark: Mark,
    },
    /// It is read.
    Read(Reading),
}

/// A part of a file that is read here.
pub struct Reading {
    file: Arc<File>,
    offset: u64,
    end: u64,
    running: Option<JoinHandle<io::Result<Bytes>>>,
    arriving: Option<Arriving>,
}

/// Waits for the bytes of a file that is still written.
struct Arriving {
    state: watch::Receiver<Arrival>,
    wait: Option<Waiting>,
    attempt: Option<u32>,
}

type Waiting = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

impl Payload {
    /// Nothing.
    pub fn empty() -> Payload {
        Payload::Full(None)
    }

    /// Some bytes.
    pub fn of(bytes: impl Into<Bytes>) -> Payload {
        Payload::Full(Some(bytes.into()))
    }

    /// A part of a file, read here.
    pub fn read(file: File, start: u64, length: u64) -> Payload {
        let file = Arc::new(file);
        Payload::Read(Reading { file, offset: start, end: start + length, running: None, arriving: None })
    }

    /// A part of a file that is still written.
    pub fn arriving(file: File, start: u64, length: u64, state: watch::Receiver<Arrival>) -> Payload {
        let arriving = Some(Arriving { state, wait: None, attempt: None });
        Payload::Read(Reading { file: Arc::new(file), offset: start, end: start + length, running: None, arriving })
    }
}

impl Arriving {
    /// How far the file may be read; never to its end before that was verified.
    fn poll(&mut self, cx: &mut Context<'_>, offset: u64, end: u64) -> Poll<io::Result<u64>> {
        loop {
            if let Some(wait) = &mut self.wait {
                ready!(wait.as_mut().poll(cx));
                self.wait = None;
            }
            let mut state = self.state.clone();
            let now = *state.borrow_and_update();
            match now {
                Arrival::Complete => return Poll::Ready(Ok(end)),
                Arrival::Opening => {}
                Arrival::Failed => return Poll::Ready(Err(io::Error::other("the fetch failed"))),
                Arrival::Bytes(_, attempt) if self.attempt.is_some_and(|a| a != attempt) => {
                    return Poll::Ready(Err(io::Error::other("the fetch started again")));
                }
                Arrival::Bytes(bytes, attempt) => {
                    let safe = bytes.min(end.saturating_sub(1));
                    if safe > offset {
                        self.attempt = Some(attempt);
                        return Poll::Ready(Ok(safe));
                    }
                }
            }
            self.wait = Some(Box::pin(async move {
                // A fetch that is gone has said so before.
                let _ = state.changed().await;
            }));
        }
    }
}

impl Reading {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        loop {
            if let Some(running) = &mut self.running {
                let read = ready!(Pin::new(running).poll(cx)).unwrap_or_else(|e| Err(io::Error::other(e)));
                self.running = None;
                let read = read.and_then(|bytes| match bytes.is_empty() {
                    true => Err(io::ErrorKind::UnexpectedEof.into()),
                    false => Ok(bytes),
                });
                if let Ok(bytes) = &read {
                    self.offset += bytes.len() as u64;
                }
                return Poll::Ready(Some(read));
            }
            if self.offset >= self.end {
                return Poll::Ready(None);
            }
            let until = match &mut self.arriving {
                None => self.end,
                Some(arriving) => match ready!(arriving.poll(cx, self.offset, self.end)) {
                    Ok(until) => until,
                    Err(error) => return Poll::Ready(Some(Err(error))),
                },
            };
            let length = usize::try_from(until - self.offset).unwrap_or(PORTION).min(PORTION);
            let (file, offset) = (self.file.clone(), self.offset);
            self.running = Some(spawn_blocking(move || read_at(&file, offset, length)));
        }
    }
}

fn read_at(file: &File, offset: u64, length: usize) -> io::Result<Bytes> {
    let mut bytes = vec![0; length];
    let mut filled = 0;
    while filled < length {
        match file.read_at(&mut bytes[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    bytes.truncate(filled);
    Ok(bytes.into())
}

impl Body for Payload {
    type Data = Piece;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Piece>, io::Error>>> {
        match &mut *self {
            Payload::Full(bytes) => {
                Poll::Ready(bytes.take().filter(|b| !b.is_empty()).map(|b| Ok(Frame::data(Piece::Bytes(b)))))
            }
            Payload::Sent { transfer, outbox, mark } => {
                let Some(transfer) = transfer.take().filter(|t| t.left > 0) else { return Poll::Ready(None) };
                let length = usize::try_from(transfer.left).unwrap_or(usize::MAX);
                locked(&outbox.0).push_back(transfer);
                Poll::Ready(Some(Ok(Frame::data(Piece::Mark(mark.clone(), length)))))
            }
            Payload::Read(reading) => reading.poll(cx).map(|o| o.map(|r| r.map(|b| Frame::data(Piece::Bytes(b))))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Payload::Full(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Payload::Sent { transfer, .. } => transfer.as_ref().is_none_or(|t| t.left == 0),
            Payload::Read(reading) => reading.offset >= reading.end && reading.running.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Payload::Full(bytes) => bytes.as_ref().map_or(0, |b| b.len() as u64),
            Payload::Sent { transfer, .. } => transfer.as_ref().map_or(0, |t| t.left),
            Payload::Read(reading) => reading.end - reading.offset,
        })
    }
}
