//! Ctrl-C: the build that is measured is stopped, and what was started and mounted is taken down on the usual way out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::Error;

/// Whether the user wants to stop.
#[derive(Debug, Clone, Default)]
pub(super) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on SIGINT and SIGTERM are asked about, not died of.
    pub(super) fn listen() -> Interrupt {
        let interrupt = Interrupt::default();
        let wanted = interrupt.clone();
        let wait = move || {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
            runtime.block_on(async {
                use tokio::signal::unix::{SignalKind, signal};
                let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
                let (Ok(mut int), Ok(mut term)) = signals else { return };
                tokio::select! { _ = int.recv() => {}, _ = term.recv() => {} }
                eprintln!("bench: stopping, and taking down what was started");
                wanted.0.store(true, Ordering::SeqCst);
                // Again and again is the same wish.
                loop {
                    tokio::select! { _ = int.recv() => {}, _ = term.recv() => {} }
                }
            });
        };
        // Without this thread the signals keep their usual meaning.
        let _ = std::thread::Builder::new().name("signals".to_owned()).spawn(wait);
        interrupt
    }

    /// Whether to stop.
    pub(super) fn wanted(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Fails if the user wants to stop.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.wanted() { Err(Error::Interrupted) } else { Ok(()) }
    }
}
