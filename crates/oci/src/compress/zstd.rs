//! Zstandard on several threads, as one frame with a checksum.
//!
//! The library cuts the input into jobs of a fixed size, so the bytes do not depend on how many threads take them. It
//! compresses differently when it has no threads at all; therefore a stream of several blocks always gets one, and a
//! stream of one block never does.

use std::io::{self, Write};

use zstd::stream::raw::CParameter;
use zstd::stream::write::Encoder;

/// Input bytes of one job.
const JOB: u32 = 4 << 20;

pub(super) struct Zstd<W: Write> {
    state: State<W>,
    level: i32,
    threads: u32,
}

enum State<W: Write> {
    Waiting(W),
    Running(Box<Encoder<'static, W>>),
    /// Between the two, or after a failure.
    Gone,
}

impl<W: Write> Zstd<W> {
    pub(super) fn new(inner: W, level: i32, threads: usize) -> Self {
        Zstd { state: State::Waiting(inner), level, threads: u32::try_from(threads).unwrap_or(1) }
    }

    pub(super) fn block(&mut self, block: &[u8]) -> io::Result<()> {
        if let State::Waiting(_) = self.state
            && let State::Waiting(inner) = std::mem::replace(&mut self.state, State::Gone)
        {
            let mut encoder = encoder(inner, self.level)?;
            encoder.multithread(self.threads)?;
            encoder.set_parameter(CParameter::JobSize(JOB))?;
            self.state = State::Running(Box::new(encoder));
        }
        match &mut self.state {
            State::Running(encoder) => encoder.write_all(block),
            State::Waiting(_) | State::Gone => Err(io::Error::other("zstd could not be started")),
        }
    }

    pub(super) fn finish(self, block: &[u8]) -> io::Result<W> {
        let mut encoder = match self.state {
            State::Waiting(inner) => Box::new(encoder(inner, self.level)?),
            State::Running(encoder) => encoder,
            State::Gone => return Err(io::Error::other("zstd could not be started")),
        };
        encoder.write_all(block)?;
        encoder.finish()
    }
}

fn encoder<W: Write>(inner: W, level: i32) -> io::Result<Encoder<'static, W>> {
    let mut encoder = Encoder::new(inner, level)?;
    encoder.include_checksum(true)?;
    Ok(encoder)
}
