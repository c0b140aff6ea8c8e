//! Connections: files sent by the kernel where that is possible, and an end for peers that do nothing.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

use crate::body::{Mark, Outbox};
use crate::metrics::Metrics;

/// A connection on which fewer bytes than this move within the patience of the server is closed.
const LEAST: u64 = 4 << 10;

/// A connection without TLS.
pub struct Plain {
    tcp: TcpStream,
    mark: Mark,
    outbox: Outbox,
}

impl Plain {
    /// Files whose marks come by are taken from `outbox`.
    pub fn new(tcp: TcpStream, mark: Mark, outbox: Outbox) -> Plain {
        Plain { tcp, mark, outbox }
    }

    fn poll_sendfile(&self, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.tcp.poll_write_ready(cx))?;
            let sent = self.outbox.with_first(|transfer| {
                let count = usize::try_from(transfer.left).unwrap_or(usize::MAX).min(most);
                let sent = self.tcp.try_io(Interest::WRITABLE, || {
                    let mut offset = transfer.offset;
                    Ok(rustix::fs::sendfile(&self.tcp, &transfer.file, Some(&mut offset), count)?)
                });
                if let Ok(n) = sent {
                    transfer.offset += n as u64;
                    transfer.left -= n as u64;
                }
                sent
            });
            match sent {
                // The file has become shorter: the answer cannot be finished.
                Some(Ok(0)) | None => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Some(Err(e)) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Some(result) => return Poll::Ready(result),
            }
        }
    }
}

impl AsyncRead for Plain {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(cx, buf)
    }
}

impl AsyncWrite for Plain {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.mark.is(buf) {
            true => self.poll_sendfile(cx, buf.len()),
            false => Pin::new(&mut self.tcp).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let before = bufs.iter().position(|buf| self.mark.is(buf)).unwrap_or(bufs.len());
        match bufs.get(before) {
            Some(mark) if bufs[..before].iter().all(|b| b.is_empty()) => self.poll_sendfile(cx, mark.len()),
            _ => Pin::new(&mut self.tcp).poll_write_vectored(cx, &bufs[..before]),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

/// How many requests of a connection wait for the server, not for the client.
#[derive(Debug, Clone, Default)]
pub struct Busy(Arc<AtomicU32>);

/// As long as this lives, the client need not do anything.
pub struct Working(Busy);

impl Busy {
    /// The server works for the client from now on.
    pub fn work(&self) -> Working {
        self.0.fetch_add(1, Ordering::Relaxed);
        Working(self.clone())
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection whose peer has to do something, unless the server is working for it.
pub struct Timed<S> {
    inner: S,
    timer: Pin<Box<Sleep>>,
    patience: Duration,
    moved: u64,
    busy: Busy,
    metrics: Arc<Metrics>,
}

impl<S> Timed<S> {
    /// Ends a connection on which nothing moves for `patience`, or not much.
    pub fn new(inner: S, patience: Duration, busy: Busy, metrics: Arc<Metrics>) -> Timed<S> {
        Timed { inner, timer: Box::pin(sleep(patience)), patience, moved: 0, busy, metrics }
    }

    fn wait<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        while self.timer.as_mut().poll(cx).is_ready() {
            if self.moved < LEAST && self.busy.0.load(Ordering::Relaxed) == 0 {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.moved = 0;
            let next = Instant::now() + self.patience;
            self.timer.as_mut().reset(next);
        }
        Poll::Pending
    }

    fn wrote(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match result {
            Poll::Pending => self.wait(cx),
            Poll::Ready(result) => {
                let count = *result.as_ref().unwrap_or(&0) as u64;
                self.moved += count;
                self.metrics.sent.fetch_add(count, Ordering::Relaxed);
                Poll::Ready(result)
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match Pin::new(&mut self.inner).poll_read(cx, buf) {
            Poll::Pending => self.wait(cx),
            ready => {
                let count = (buf.filled().len() - before) as u64;
                self.moved += count;
                self.metrics.received.fetch_add(count, Ordering::Relaxed);
                ready
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.wrote(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.wrote(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.inner).poll_flush(cx) {
            Poll::Pending => self.wait(cx),
            ready => ready,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.inner).poll_shutdown(cx) {
            Poll::Pending => self.wait(cx),
            ready => ready,
        }
    }
}
