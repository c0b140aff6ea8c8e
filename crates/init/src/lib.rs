//! The first process of a machine, as a small static program that is part of this binary.
//!
//! It has two lives: in an initramfs it loads modules, finds the root file system and hands over; in a machine with one
//! application it mounts, brings up the network, runs the application, reaps, and powers off with its exit status.
