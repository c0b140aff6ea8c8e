//! What must not break: commands killed at random moments, many processes in one store, disks that are full, registries
//! that lie.
//!
//! `KILN_CRASH_POINTS` is how many times commands are killed in all (20 if unset), `KILN_CRASH_SEED` which random numbers
//! say when. A long run: `KILN_CRASH_POINTS=1000 cargo nextest run --profile campaign -p kiln --test crash killed`.

mod arena;
mod crowd;
mod full;
mod killed;
mod killer;
mod network;
mod random;
