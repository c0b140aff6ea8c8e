//! Asynchronous work for callers that are ordinary threads, and that may be told to stop at any time.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

/// How often a waiting call looks whether it was cancelled.
const CANCEL_POLL: Duration = Duration::from_millis(100);
const NETWORK_THREADS: usize = 2;

/// The runtime; dropped without waiting, because a name lookup in progress may take long.
#[derive(Debug)]
pub struct Threads(Option<Runtime>);

impl Threads {
    /// Starts network threads of this name.
    ///
    /// # Errors
    /// When the machine has no more threads.
    pub fn start(name: &str) -> io::Result<Threads> {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(NETWORK_THREADS).thread_name(name).enable_all();
        builder.build().map(|runtime| Threads(Some(runtime)))
    }

    /// Blocks until the work is done; `None` once `cancel` is set.
    pub fn run<T>(&self, cancel: &AtomicBool, work: impl Future<Output = T>) -> Option<T> {
        let work = async {
            tokio::select! {
                biased;
                () = set(cancel) => None,
                result = work => Some(result),
            }
        };
        self.block_on(work)?
    }

    /// Blocks until the work is done, whatever was cancelled.
    pub fn block_on<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.0.as_ref().map(|runtime| runtime.block_on(work))
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

async fn set(flag: &AtomicBool) {
    while !flag.load(Ordering::Relaxed) {
        tokio::time::sleep(CANCEL_POLL).await;
    }
}
