//! The threads that all connections share.

use std::fmt;
use std::sync::Arc;

use tokio::runtime::{Builder, Handle, Runtime};

use crate::{Cancel, HostError};

/// Enough to encrypt at the speed of a fast link; the number does not grow with the hosts.
const THREADS: usize = 2;
/// Threads that read callers' streams of input, and look names up. They end when idle.
const BLOCKING_THREADS: usize = 256;

/// A running network. Clones are the same one; it ends with the last of them.
#[derive(Clone)]
pub struct Network(Arc<Owned>);

struct Owned(Option<Runtime>);

impl Network {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the machine has no more threads.
    pub fn start() -> Result<Network, HostError> {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(THREADS).max_blocking_threads(BLOCKING_THREADS).thread_name("kiln-host").enable_all();
        let runtime = builder.build().map_err(|source| HostError::Threads { source })?;
        Ok(Network(Arc::new(Owned(Some(runtime)))))
    }

    pub(crate) fn handle(&self) -> Option<&Handle> {
        self.0.0.as_ref().map(Runtime::handle)
    }

    /// Blocks the calling thread until the work is done.
    pub(crate) fn block<T>(&self, work: impl Future<Output = Result<T, HostError>>) -> Result<T, HostError> {
        match &self.0.0 {
            Some(runtime) => runtime.block_on(work),
            None => Err(HostError::Cancelled),
        }
    }

    /// As [`Network::block`], but given up once `cancel` is set.
    pub(crate) fn run<T>(
        &self,
        cancel: &Cancel,
        work: impl Future<Output = Result<T, HostError>>,
    ) -> Result<T, HostError> {
        self.block(async {
            tokio::select! {
                biased;
                () = cancel.wait() => Err(HostError::Cancelled),
                result = work => result,
            }
        })
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Network")
    }
}

impl Drop for Owned {
    /// Without waiting: a name lookup in progress may take long.
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
