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

mod answer;
mod begin;
mod find;
mod follow;
mod image;
mod looks;
mod marks;
mod memory;
mod names;
mod open;
mod processes;
mod program;
mod sockets;
mod stack;
mod stub;
mod users;
mod view;
mod world;

pub use begin::{run, works};
