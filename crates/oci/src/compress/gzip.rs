//! Gzip on several threads, as one member.
//!
//! Each block of input becomes a piece of one deflate stream (see [`Deflater`]). A piece depends on its block and the one
//! before only; which thread made it does not matter.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use flate2::Crc;

use super::Shared;
use super::deflate::Deflater;

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
    deflater: Option<Deflater>,
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
            let deflater = self.deflater.get_or_insert_with(|| Deflater::new(self.level));
            let piece = make(deflater, before.as_ref(), &block, last)?;
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
            let mut deflater = Deflater::new(level);
            loop {
                let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                let Ok(job) = job else { return };
                let piece = make(&mut deflater, job.before.as_ref(), &job.block, job.last);
                // Nobody waits for it when the compressor was dropped.
                let _ = job.reply.send(piece);
            }
        })?;
    }
    Ok(jobs)
}

fn make(deflater: &mut Deflater, before: Option<&Shared>, block: &[u8], last: bool) -> Piece {
    let bytes = deflater.piece(before.map_or(&[], |b| b), block, last)?;
    let mut crc = Crc::new();
    crc.update(block);
    Ok((bytes, crc))
}
