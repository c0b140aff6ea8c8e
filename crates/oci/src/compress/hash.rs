//! Hashing beside the thread that makes the bytes.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use super::Shared;
use crate::{Digest, Hasher};

/// Blocks that may wait to be hashed.
const DEPTH: usize = 2;

/// The sha256 and the length of a stream of blocks; on its own thread from the second block on.
pub(crate) struct HashLane {
    state: State,
    count: u64,
}

enum State {
    Here(Hasher),
    There(SyncSender<Shared>, JoinHandle<Hasher>),
    Failed,
}

impl HashLane {
    pub(crate) fn new() -> HashLane {
        HashLane { state: State::Here(Hasher::new()), count: 0 }
    }

    /// Adds a block after which more will follow.
    pub(super) fn update(&mut self, block: &Shared) -> io::Result<()> {
        self.count += block.len() as u64;
        if let State::Here(_) = self.state {
            let State::Here(mut hasher) = std::mem::replace(&mut self.state, State::Failed) else { return Ok(()) };
            let (blocks, queue) = sync_channel::<Shared>(DEPTH);
            let thread = thread::Builder::new().name("sha256".to_owned()).spawn(move || {
                queue.iter().for_each(|block| hasher.update(&block));
                hasher
            })?;
            self.state = State::There(blocks, thread);
        }
        match &self.state {
            State::There(blocks, _) => blocks.send(Arc::clone(block)).map_err(|_| ended()),
            State::Here(_) | State::Failed => Err(ended()),
        }
    }

    /// Adds the last block.
    pub(super) fn update_last(&mut self, block: &Shared) {
        self.count += block.len() as u64;
        match &mut self.state {
            State::Here(hasher) => hasher.update(block),
            State::There(blocks, _) => {
                // A failure shows in `finish`, where the thread is joined.
                let _ = blocks.send(Arc::clone(block));
            }
            State::Failed => {}
        }
    }

    /// The digest and the length of all blocks.
    pub(crate) fn finish(self) -> io::Result<(Digest, u64)> {
        let hasher = match self.state {
            State::Here(hasher) => hasher,
            State::There(blocks, thread) => {
                drop(blocks);
                thread.join().map_err(|_| ended())?
            }
            State::Failed => return Err(ended()),
        };
        Ok((hasher.finish(), self.count))
    }
}

fn ended() -> io::Error {
    io::Error::other("the hashing thread ended early")
}
