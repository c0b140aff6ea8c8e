//! Launches on recording hosts: which commands, in which order, and what becomes of failures.

mod launching;
mod leaving;
mod preflight;
mod resetting;
mod world;
