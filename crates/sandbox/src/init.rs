//! The child side: what this program does when it is started as `internal-init`.
//!
//! Three processes, each the child of the one before:
//!
//! | process    | does                                                                                          |
//! |------------|-----------------------------------------------------------------------------------------------|
//! | supervisor | reads the order; kills and cleans up when the command ends, Kiln says stop, or Kiln dies      |
//! | inner      | prepares the root (namespaces: PID 1 of the command's world), starts the command, reaps       |
//! | command    | gives up rights, closes descriptors, becomes the command                                      |
//!
//! On the rung `emulated` the inner process follows the command and answers its calls ([`emulated`]); on `userns1` a
//! fourth one, the keeper, answers the command's calls about owners ([`owners`]).
//!
//! The supervisor answers only after everything is dead and cleaned, so the parent never looks at a root in use.

mod command;
mod copy;
mod devices;
mod emulate;
#[cfg(target_arch = "x86_64")]
mod emulated;
#[cfg(not(target_arch = "x86_64"))]
#[path = "init/emulated_elsewhere.rs"]
mod emulated;
mod executable;
mod furnish;
mod mountpoints;
mod mounts;
mod namespaces;
mod overlay;
mod owners;
mod post;
pub mod probing;
mod proxy;
mod rights;
pub mod seal;
mod supervise;
mod swap;
mod tree;

/// The first argument that makes this program the child side.
pub const INIT_ARGUMENT: &str = "internal-init";

pub use overlay::try_image;

/// The child side of the sandbox. Call it first in `main`: when this process was started as [`Init`](crate::Init) it
/// does that work and never returns; otherwise it does nothing.
pub fn init_main_if_called() {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == INIT_ARGUMENT) {
        let stage = arguments.next().unwrap_or_default();
        crate::sys::exit(supervise::main(&stage))
    }
}
