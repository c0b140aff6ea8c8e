//! The sandbox as the engine uses it: jobs on real roots, on every rung this machine has.
//!
//! Most tests need root; without it they say so and pass, since there is no rung to test.

mod bed;
mod emulated;
mod ending;
mod isolation;
mod mounts;
mod pod;
mod traces;
