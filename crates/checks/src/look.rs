//! A system, and what was read of it: each kind of facts once.

use std::cell::OnceCell;

use crate::read::kernel::{self, Chosen};
use crate::read::package::Packages;
use crate::read::sysctl::Settings;
use crate::read::{module, sshd};
use crate::system::{Live, Result, System};

/// What checks look through.
pub struct Look<'a> {
    /// The system itself.
    pub system: &'a dyn System,
    packages: OnceCell<Packages>,
    sysctl: OnceCell<Settings>,
    kernel: OnceCell<Option<Chosen>>,
    sshd: OnceCell<sshd::Config>,
    modules: OnceCell<Vec<(String, String)>>,
}

/// The value of a cell, made when it is asked for first. A failure is not kept: it is told by every check that meets it.
fn once<T>(cell: &OnceCell<T>, make: impl FnOnce() -> Result<T>) -> Result<&T> {
    match cell.get() {
        Some(value) => Ok(value),
        None => {
            let value = make()?;
            Ok(cell.get_or_init(|| value))
        }
    }
}

impl<'a> Look<'a> {
    /// At a system.
    pub fn new(system: &'a dyn System) -> Look<'a> {
        Look {
            system,
            packages: OnceCell::new(),
            sysctl: OnceCell::new(),
            kernel: OnceCell::new(),
            sshd: OnceCell::new(),
            modules: OnceCell::new(),
        }
    }

    /// The commands of a system that runs.
    pub fn live(&self) -> Option<&dyn Live> {
        self.system.live()
    }

    /// What is installed.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn packages(&self) -> Result<&Packages> {
        once(&self.packages, || Packages::of(self.system))
    }

    /// Kernel parameters that files set.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn sysctl(&self) -> Result<&Settings> {
        once(&self.sysctl, || Settings::of(self.system))
    }

    /// The kernel that runs, or will.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn kernel(&self) -> Result<Option<&Chosen>> {
        once(&self.kernel, || kernel::chosen(self.system)).map(Option::as_ref)
    }

    /// The SSH server's configuration.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn sshd(&self) -> Result<&sshd::Config> {
        once(&self.sshd, || sshd::Config::of(self.system))
    }

    /// Modules loaded at boot, with the lines that say so.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn modules(&self) -> Result<&[(String, String)]> {
        once(&self.modules, || module::at_boot(self.system)).map(Vec::as_slice)
    }

    /// The path of a command: in the directories of a login's PATH, and what the profile adds to them.
    ///
    /// # Errors
    /// A directory cannot be looked into.
    pub fn command(&self, name: &str) -> Result<Option<String>> {
        const PATH: [&str; 8] = [
            "/usr/local/sbin",
            "/usr/local/bin",
            "/usr/sbin",
            "/usr/bin",
            "/sbin",
            "/bin",
            "/opt/bin",
            "/opt/kubernetes/bin",
        ];
        for dir in PATH {
            let path = format!("{dir}/{name}");
            if self.system.stat(&path, true)?.is_some_and(|stat| stat.is_executable()) {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }
}
