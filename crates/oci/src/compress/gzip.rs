//! Gzip on several threads, as one member.
//!
//! Each block of input is deflated on its own, primed with the last 32 KiB of the block before it, and ended by a sync
//! flush, so the pieces join to one deflate stream. A piece depends on its block and the one before only; which thread
//! made it does not matter.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use flate2::{Compress, Compression, Crc, FlushCompress, Status};

use super::Shared;

/// Deflate looks back no further than this.
const WINDOW: usize = 32 << 10;
/// No name, no time, no extra flags, and no operating system: nothing that differs between machines.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

type Piece = io::Result<(Vec<u8>, Crc)>;

struct Job {
    before: Option<Shared>,
    block: Shared,
    last: bool,
    reply: SyncSender<Piece>,
}

pub(super) struct Gzip<W> {
    inner: W,
    level: u32,
    threads: usize,
    crc: Crc,
    before: Option<Shared>,
    deflater: Option<Compress>,
    /// Started with the first block that is not the last.
    workers: Option<Sender<Job>>,
    pending: VecDeque<Receiver<Piece>>,
    header_written: bool,
}

impl<W: Write> Gzip<W> {
    pub(super) fn new(inner: W, level: u32, threads: usize) -> Self {
        Gzip {
            inner,
            level,
            threads,
            crc: Crc::new(),
            before: None,
            deflater: None,
            workers: None,
            pending: VecDeque::new(),
            header_written: false,
        }
    }

    pub(super) fn block(&mut self, block: Shared) -> io::Result<()> {
        if self.workers.is_none() && self.threads > 1 {
            self.workers = Some(start(self.level, self.threads)?);
        }
        self.deflate(block, false)
    }

    pub(super) fn finish(mut self, block: Shared) -> io::Result<W> {
        self.deflate(block, true)?;
        while !self.pending.is_empty() {
            self.write_oldest()?;
        }
        self.inner.write_all(&self.crc.sum().to_le_bytes())?;
        self.inner.write_all(&self.crc.amount().to_le_bytes())?;
        Ok(self.inner)
    }

    fn deflate(&mut self, block: Shared, last: bool) -> io::Result<()> {
        let before = self.before.replace(Arc::clone(&block));
        let Some(workers) = &self.workers else {
            let piece = deflate(&mut self.deflater, self.level, before.as_ref(), &block, last)?;
            return self.write_piece(&piece);
        };
        // A bounded queue: when all threads are busy, wait for the oldest piece.
        if self.pending.len() > self.threads {
            let oldest = self.pending.pop_front();
            let (reply, answer) = sync_channel(1);
            workers.send(Job { before, block, last, reply }).map_err(|_| thread_ended())?;
            self.pending.push_back(answer);
            return oldest.map_or(Ok(()), |oldest| self.write_answer(&oldest));
        }
        let (reply, answer) = sync_channel(1);
        workers.send(Job { before, block, last, reply }).map_err(|_| thread_ended())?;
        self.pending.push_back(answer);
        Ok(())
    }

    fn write_oldest(&mut self) -> io::Result<()> {
        self.pending.pop_front().map_or(Ok(()), |oldest| self.write_answer(&oldest))
    }

    fn write_answer(&mut self, answer: &Receiver<Piece>) -> io::Result<()> {
        let piece = answer.recv().map_err(|_| thread_ended())??;
        self.write_piece(&piece)
    }

    fn write_piece(&mut self, (bytes, crc): &(Vec<u8>, Crc)) -> io::Result<()> {
        if !self.header_written {
            self.header_written = true;
            self.inner.write_all(&HEADER)?;
        }
        self.crc.combine(crc);
        self.inner.write_all(bytes)
    }
}

fn thread_ended() -> io::Error {
    io::Error::other("a compression thread ended early")
}

/// Threads that deflate jobs until the sender is dropped.
fn start(level: u32, threads: usize) -> io::Result<Sender<Job>> {
    let (jobs, queue) = channel::<Job>();
    let queue = Arc::new(Mutex::new(queue));
    for _ in 0..threads {
        let queue = Arc::clone(&queue);
        thread::Builder::new().name("gzip".to_owned()).spawn(move || {
            let mut deflater = None;
            loop {
                let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                let Ok(job) = job else { return };
                let piece = deflate(&mut deflater, level, job.before.as_ref(), &job.block, job.last);
                // Nobody waits for it when the compressor was dropped.
                let _ = job.reply.send(piece);
            }
        })?;
    }
    Ok(jobs)
}

fn deflate(state: &mut Option<Compress>, level: u32, before: Option<&Shared>, block: &[u8], last: bool) -> Piece {
    let deflater = match state {
        Some(deflater) => {
            deflater.reset();
            deflater
        }
        None => state.insert(Compress::new(Compression::new(level), false)),
    };
    if let Some(before) = before {
        let window = &before[before.len().saturating_sub(WINDOW)..];
        deflater.set_dictionary(window).map_err(io::Error::other)?;
    }
    let flush = if last { FlushCompress::Finish } else { FlushCompress::Sync };
    let mut out = Vec::with_capacity(block.len() / 2 + 128);
    loop {
        let taken = deflater.total_in() as usize;
        let status = deflater.compress_vec(&block[taken..], &mut out, flush).map_err(io::Error::other)?;
        // A flush is complete when it leaves room in the output.
        let flushed = deflater.total_in() as usize == block.len() && out.len() < out.capacity();
        if status == Status::StreamEnd || (!last && flushed) {
            break;
        }
        out.reserve(out.capacity().max(4096));
    }
    let mut crc = Crc::new();
    crc.update(block);
    Ok((out, crc))
}
