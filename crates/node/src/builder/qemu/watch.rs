//! Whether a machine that does not answer yet ever will: it may have ended, and its console tells of panics and shells.

use std::sync::Arc;

use kiln_vm::{Console, Sight, Vm};

use crate::communicator::connect::Watch;
use crate::error::{NodeError, Result};

/// What a machine does not come back from by itself.
const HOPELESS: [Sight; 5] = [Sight::Panic, Sight::NoBoot, Sight::NoRoot, Sight::Emergency, Sight::NoSeed];

/// Looks at a virtual machine.
pub struct Looking {
    vm: Arc<Vm>,
    /// How much of the console was there at the last look.
    seen: u64,
    /// How much was there when it last answered: what it said before is of no more interest.
    answered: u64,
    /// Whether a guest without a seed has no login at all: it has none of its own.
    needs_seed: bool,
}

impl Looking {
    /// At this one. `needs_seed` says that it gets its logins from cloud-init's seed.
    pub fn new(vm: &Arc<Vm>, needs_seed: bool) -> Looking {
        Looking { vm: Arc::clone(vm), seen: 0, answered: 0, needs_seed }
    }
}

impl Watch for Looking {
    fn look(&mut self) -> Result<()> {
        self.vm.check("Kiln waited for SSH")?;
        let Some(console) = self.vm.console() else { return Ok(()) };
        let position = console.position();
        if position == self.seen {
            return Ok(());
        }
        self.seen = position;
        let hopeless = |sight: &Sight| HOPELESS.contains(sight) && (*sight != Sight::NoSeed || self.needs_seed);
        match console.sights_since(self.answered).into_iter().find(|(sight, _)| hopeless(sight)) {
            None => Ok(()),
            Some((_, meaning)) => {
                // The lines with the reason come behind the words.
                std::thread::sleep(std::time::Duration::from_millis(300));
                let lines = console.last_lines(LINES).into_iter().map(|line| format!("\n    | {line}"));
                let why = format!("{meaning}; its console's last lines:{}", lines.collect::<String>());
                Err(NodeError::Machine { action: "The machine will not answer".to_owned(), why })
            }
        }
    }

    fn diagnosis(&mut self) -> Vec<String> {
        self.vm.diagnosis()
    }

    fn answered(&mut self) {
        self.answered = self.vm.console().map_or(0, Console::position);
    }

    fn restarts(&self) -> u64 {
        self.vm.qmp().resets()
    }
}

/// Lines of the console in an error.
const LINES: usize = 12;
