//! What can go wrong with a disk, by what was being tried.

use std::io;

/// What this crate's functions return.
pub type Result<T, E = DiskError> = std::result::Result<T, E>;

/// Why a disk, or something on it, could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The disk could not be read.
    #[error("cannot read the {what} at byte {offset}: {source}")]
    Read {
        /// What was to be read.
        what: &'static str,
        /// Where on the disk or in the partition.
        offset: u64,
        /// Why not.
        source: io::Error,
    },
    /// The disk could not be written.
    #[error("cannot write the {what} at byte {offset}: {source}")]
    Write {
        /// What was to be written.
        what: &'static str,
        /// Where on the disk or in the partition.
        offset: u64,
        /// Why not.
        source: io::Error,
    },
    /// The bytes of a file that was to be put on the disk could not be had.
    #[error("cannot read what is to become `/{path}`: {source}")]
    Body {
        /// The file's path in its file system, escaped.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// Whoever had it written wants it to stop.
    #[error("stopped")]
    Stopped,
    /// What was given cannot be on such a file system.
    #[error("`/{path}` cannot be on the {format}: {why}")]
    Entry {
        /// What was being written.
        format: &'static str,
        /// The path, escaped.
        path: String,
        /// Why not.
        why: String,
    },
    /// A wish that cannot be fulfilled.
    #[error("cannot make the {format}: {why}")]
    Options {
        /// What was to be made.
        format: &'static str,
        /// Why not.
        why: String,
    },
    /// There is not enough space.
    #[error("the {format} of {has} bytes is full at `/{path}`: {what}")]
    Full {
        /// What was being written.
        format: &'static str,
        /// Its size.
        has: u64,
        /// The path that had no space any more, escaped.
        path: String,
        /// What was needed.
        what: String,
    },
    /// What was read does not make sense.
    #[error("the {format} is damaged: {what}: {why}")]
    Damaged {
        /// What was being read.
        format: &'static str,
        /// Which part of it.
        what: String,
        /// What is wrong.
        why: String,
    },
    /// What was read may make sense, but not to Kiln.
    #[error("the {format} uses what Kiln cannot read: {what}")]
    Unsupported {
        /// What was being read.
        format: &'static str,
        /// The names of what it uses.
        what: String,
    },
    /// A path that leads nowhere for another reason than that nothing is there.
    #[error("cannot follow `/{path}` on the {format}: {why}")]
    Path {
        /// What was being read.
        format: &'static str,
        /// The path, escaped.
        path: String,
        /// Why not.
        why: String,
    },
    /// It is not clear which partition has the root file system, or that one cannot be read.
    #[error("cannot find the root file system of the disk: {why}{}", parts.iter().map(|p| format!("\n  {p}")).collect::<String>())]
    NoRoot {
        /// Why not.
        why: String,
        /// What the disk has, a line for each partition.
        parts: Vec<String>,
    },
    /// A tree cannot boot.
    #[error("the disk would not boot: {what}")]
    Boot {
        /// What is missing or wrong.
        what: String,
        /// What brings it.
        hint: String,
    },
    /// The initramfs of a disk's kernel cannot be made.
    #[error("cannot make the initramfs of the kernel {version}: {cause}")]
    Initramfs {
        /// The kernel's version.
        version: String,
        /// Why not.
        #[source]
        cause: kiln_init::InitError,
    },
}
