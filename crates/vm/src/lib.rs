//! Virtual machines by qemu: what Packer's qemu builder asks for, without its guesses about time.
//!
//! [`accel`] which accelerator really runs a guest     [`machine`] a machine, and its command line
//! [`process`] one that runs     [`qmp`] its control socket     [`console`] what it says, and what that means
//! [`boot`] keys typed into it     [`vnc`] its screen's keyboard
//! [`serve`] files for the guest by HTTP     [`source`] disk images fetched and checked     [`seed`] discs made of files
//! [`ports`] ports that no other build takes     [`image`] qemu-img     [`tpm`] swtpm
//! [`neighbours`] addresses of guests on a bridge     [`attended`] monitors other than qemu
//!
//! Nothing here knows templates or SSH: callers give plain values and get plain errors. Everything is threads that
//! block; no child outlives Kiln (see `guard`).
//!
//! Adding an option of the machine: a field in [`machine`]. Adding something to recognise on consoles: a row in
//! [`console::KNOWN`].
#![forbid(unsafe_code)]

pub mod accel;
pub mod attended;
pub mod boot;
pub mod console;
mod error;
mod guard;
pub mod image;
pub mod machine;
pub mod neighbours;
pub mod ports;
pub mod process;
mod qemu;
pub mod qmp;
pub mod seed;
pub mod serve;
pub mod source;
pub mod tpm;
pub mod vnc;

pub use accel::{Accelerator, Choice, Verdict};
pub use attended::Attended;
pub use console::{Console, Heard, Sight};
pub use error::VmError;
pub use guard::Ended;
pub use machine::{Machine, Overrides};
pub use process::{Shutdown, Vm};
pub use qemu::{Qemu, find as find_program};
pub use qmp::Qmp;
pub use vnc::Vnc;
