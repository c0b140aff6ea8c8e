//! Whether a machine that does not answer yet ever will: it may have ended, and its console tells of panics and shells.

use kiln_vm::{Sight, Vm};

use crate::communicator::connect::Watch;
use crate::error::{NodeError, Result};

/// What a machine does not come back from by itself.
const HOPELESS: [Sight; 5] = [Sight::Panic, Sight::NoBoot, Sight::NoRoot, Sight::Emergency, Sight::NoSeed];

/// Looks at a virtual machine.
pub struct Looking<'a> {
    vm: &'a Vm,
    /// How much of the console was there at the last look.
    seen: u64,
    /// Whether a guest without a seed has no login at all: it has none of its own.
    needs_seed: bool,
}

impl<'a> Looking<'a> {
    /// At this one. `needs_seed` says that it gets its logins from cloud-init's seed.
    pub fn new(vm: &'a Vm, needs_seed: bool) -> Looking<'a> {
        Looking { vm, seen: 0, needs_seed }
    }
}

impl Watch for Looking<'_> {
    fn look(&mut self) -> Result<()> {
        self.vm.check("Kiln waited for SSH")?;
        let Some(console) = self.vm.console() else { return Ok(()) };
        let position = console.position();
        if position == self.seen {
            return Ok(());
        }
        self.seen = position;
        let hopeless = |sight: &Sight| HOPELESS.contains(sight) && (*sight != Sight::NoSeed || self.needs_seed);
        match console.sights().into_iter().find(|(sight, _)| hopeless(sight)) {
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
}

/// Lines of the console in an error.
const LINES: usize = 12;
