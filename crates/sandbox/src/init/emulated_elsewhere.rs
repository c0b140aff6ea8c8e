//! The rung `emulated` on other machines than x86-64: calls and registers of theirs are not known here.

use super::supervise::Task;
use crate::wire::{Fault, Report};

/// That it cannot be done.
pub fn run(_: &Task) -> Result<Report, Fault> {
    Ok(Report::Lacks(format!("commands on {}", std::env::consts::ARCH)))
}

/// Why not.
pub fn works() -> Result<(), Fault> {
    Err(Fault::new("emulate system calls", format!("Kiln does not know those of {}", std::env::consts::ARCH)))
}
