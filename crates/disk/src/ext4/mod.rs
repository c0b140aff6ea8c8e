//! The ext4 file system: a writer and a reader, without a mount.
