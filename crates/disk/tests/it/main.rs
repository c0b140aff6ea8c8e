//! Disks that Kiln writes are read by the tools everybody has, and the other way round.

mod boots;
mod formats;
mod tables;
mod tools;
