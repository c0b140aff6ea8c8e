//! The rung `emulated`: a command without any right at all, which sees a root that is not its own.
//!
//! Where no namespace can be made, nothing mounted and no root changed (a pod of Pod Security `restricted` with the
//! runtime's own filter), what is left is to do for the command what it asks the kernel for. A filter hands over each
//! call that names a file or is about owners; it is done here, below the root, and the command gets the answer, or a
//! descriptor. All other calls are the kernel's, at full speed.
//!
//! ```text
//! of                           kept                                     done by
//! paths                        -                                        openat2 below the root
//! working directory, umask     here, by process, copied at a fork       -
//! ids                          here, by process                         -
//! owners, devices              as on `userns1` (init/owners)            attributes, and a table
//! modes                        attribute `user.kiln.mode` where the     attributes
//!                              owner could not read or write
//! capabilities of files        attribute `user.kiln.capability`         attributes
//! programs                     -                                        a stub that maps them
//! mounts                       as on `chroot` (init/swap)               renames and copies
//! ```
//! An exec is the one call that is changed and then done by the kernel, which would look for interpreters on the
//! machine: `ptrace` makes it an exec of a [`stub`] in memory, and that maps the program and its loader from
//! descriptors. `ptrace` also tells of forks, before the new process runs.
//!
//! Two walls keep the command in its root. No call that names a file reaches the kernel; and where there is Landlock, a
//! ruleset without a rule forbids every file that is not handed over.
//!
//! `world` what is known     `find` `view` what a path means     `answer` what each call gets: `open` `names` `looks`
//! `marks` `users` `sockets`     `program` `image` `stack` `stub` becoming a program     `follow` all processes
//! `begin` the command's first moments

#[cfg(target_arch = "x86_64")]
mod answer;
#[cfg(target_arch = "x86_64")]
mod begin;
#[cfg(target_arch = "x86_64")]
mod find;
#[cfg(target_arch = "x86_64")]
mod follow;
#[cfg(target_arch = "x86_64")]
mod image;
#[cfg(target_arch = "x86_64")]
mod looks;
#[cfg(target_arch = "x86_64")]
mod marks;
#[cfg(target_arch = "x86_64")]
mod memory;
#[cfg(target_arch = "x86_64")]
mod names;
#[cfg(target_arch = "x86_64")]
mod open;
#[cfg(target_arch = "x86_64")]
mod processes;
#[cfg(target_arch = "x86_64")]
mod program;
#[cfg(target_arch = "x86_64")]
mod sockets;
#[cfg(target_arch = "x86_64")]
mod stack;
#[cfg(target_arch = "x86_64")]
mod stub;
#[cfg(target_arch = "x86_64")]
mod users;
#[cfg(target_arch = "x86_64")]
mod view;
#[cfg(target_arch = "x86_64")]
mod world;

#[cfg(target_arch = "x86_64")]
pub use begin::{run, works};

#[cfg(not(target_arch = "x86_64"))]
mod elsewhere {
    use crate::init::supervise::Task;
    use crate::wire::{Fault, Report};

    /// Calls and registers of other machines are not known here.
    pub fn run(_: &Task) -> Result<Report, Fault> {
        Ok(Report::Lacks(format!("commands on {}", std::env::consts::ARCH)))
    }

    /// Why not.
    pub fn works() -> Result<(), Fault> {
        Err(Fault::new("emulate system calls", format!("Kiln does not know those of {}", std::env::consts::ARCH)))
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub use elsewhere::{run, works};
