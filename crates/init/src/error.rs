//! What can go wrong with an initramfs, by what was being tried.

use std::io;

/// What this crate's functions return.
pub type Result<T, E = InitError> = std::result::Result<T, E>;

/// Why an initramfs could not be made.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The archive could not be written.
    #[error("cannot write the initramfs: {0}")]
    Write(#[source] io::Error),
    /// A file that was to be in it could not be read.
    #[error("cannot read `{path}`, which is to be in the initramfs: {source}")]
    Read {
        /// Its path, escaped.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// Something cannot be in such an archive.
    #[error("`{path}` cannot be in an initramfs: {why}")]
    Entry {
        /// Its path, escaped.
        path: String,
        /// Why not.
        why: String,
    },
    /// The kernel's modules are not as they must be.
    #[error("the kernel's modules in {dir} cannot be used: {why}")]
    Modules {
        /// Their directory.
        dir: String,
        /// What is wrong.
        why: String,
    },
    /// A file is no kernel.
    #[error("it is no Linux kernel: {0}")]
    Kernel(String),
    /// There is no first process for such machines.
    #[error("Kiln has no first process for {0} machines yet")]
    Architecture(String),
}
