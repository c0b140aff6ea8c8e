//! The btrfs reader against btrfs-progs and the kernel.

mod hostile;
mod made;
mod read;
mod refused;
mod subvolumes;
