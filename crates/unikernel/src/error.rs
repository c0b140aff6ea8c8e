//! What can be wrong with a kernel, or with what an image says of one.

use std::io;

/// What this crate's functions return.
pub type Result<T, E = UnikernelError> = std::result::Result<T, E>;

/// Why a file is no kernel that can be run, or an image none that holds one.
#[derive(Debug, thiserror::Error)]
pub enum UnikernelError {
    /// The file could not be read.
    #[error("it cannot be read: {0}")]
    Read(#[from] io::Error),
    /// The file ends before something that it says is in it.
    #[error("it is cut off: {what} would be {length} bytes at byte {at}, and the file has {size}")]
    Cut {
        /// What should be there.
        what: String,
        /// Where.
        at: u64,
        /// How long it should be.
        length: u64,
        /// How long the file is.
        size: u64,
    },
    /// A part of the file contradicts itself or another.
    #[error("{what}: {why}")]
    Malformed {
        /// Which part, with its place.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// There is more of something than any kernel has.
    #[error("it says that it has {count} {what}; kernels have at most {limit}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        count: u64,
        /// How many there may be.
        limit: u64,
    },
    /// The file is something else.
    #[error("it is no kernel: {0}")]
    NoKernel(String),
    /// The kernel is for other machines.
    #[error("it is for {0} machines, which are not run yet")]
    Machine(String),
    /// What an image says of its kernel cannot be used.
    #[error("{key}: {why}")]
    Said {
        /// The annotation, or the file.
        key: String,
        /// What is wrong with it.
        why: String,
    },
    /// A monitor cannot run a kernel.
    #[error("{monitor} cannot run it: {why}")]
    Monitor {
        /// The monitor's name.
        monitor: &'static str,
        /// Why not.
        why: String,
    },
    /// Words cannot be given to a guest.
    #[error("the command line {0}")]
    Line(String),
}

impl UnikernelError {
    pub(crate) fn malformed(what: impl Into<String>, why: impl Into<String>) -> UnikernelError {
        UnikernelError::Malformed { what: what.into(), why: why.into() }
    }

    pub(crate) fn said(key: impl Into<String>, why: impl Into<String>) -> UnikernelError {
        UnikernelError::Said { key: key.into(), why: why.into() }
    }
}
