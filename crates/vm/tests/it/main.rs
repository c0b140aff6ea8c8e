//! Real qemu, real guests. Waiting is for what guests say, never for time; limits only end what hangs.

mod accel;
mod guest;
mod kernel;
mod lifetime;
mod serve;
mod tools;
mod unikernel;
