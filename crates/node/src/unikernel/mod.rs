//! Unikernels made elsewhere: packed into images, taken out of them, and run by the monitor they are for.
//!
//! What a kernel is, what images say of it, and how monitors are started is [`kiln_unikernel`]'s; here are files, the store
//! and processes.
//!
//! [`open`] which kernel a file is     [`pack`] a kernel → an image     [`carried`] an image → a kernel
//! [`start`] what is started, with which arguments     [`run`] started, until it ends

pub mod carried;
pub mod open;
pub mod pack;
pub mod run;
pub mod start;

use std::path::PathBuf;

/// A kernel with what belongs to it, as files of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The kernel.
    pub kernel: PathBuf,
    /// Files that it gets.
    pub initrd: Option<PathBuf>,
    /// A disk that it gets.
    pub disk: Option<PathBuf>,
}

impl Files {
    /// The same with only the names of the files, for a command line that is shown: where they are is not for long.
    #[must_use]
    pub fn named(&self) -> Files {
        let name = |path: &PathBuf| path.file_name().map_or_else(|| path.clone(), PathBuf::from);
        Files { kernel: name(&self.kernel), initrd: self.initrd.as_ref().map(name), disk: self.disk.as_ref().map(name) }
    }
}
