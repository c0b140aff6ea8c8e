//! The ext4 writer and reader against e2fsprogs and the kernel.

mod tree;
mod written;
