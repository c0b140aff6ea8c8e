//! The ext4 writer and reader against e2fsprogs and the kernel.

mod crashed;
mod hostile;
mod read;
pub(crate) mod tree;
pub(crate) mod written;
