//! What builders with a machine find on the one that Kiln runs on.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_sandbox::Cancel;
use kiln_vm::source::Fetch;

/// Gets what is at an address; stops when the user wants.
pub trait Fetcher: Send + Sync {
    /// Writes it to a file that is not there yet.
    ///
    /// # Errors
    /// One sentence.
    fn fetch(&self, address: &str, to: &Path, cancel: &Cancel) -> Result<(), String>;
}

/// The machine that Kiln runs on, as the binary found it.
#[derive(Clone)]
pub struct Site {
    /// `PATH`: where qemu and its tools are.
    pub path: Option<OsString>,
    /// The user's directory: known hosts, and what `~` is.
    pub home: Option<PathBuf>,
    /// The socket of the user's SSH agent.
    pub agent: Option<PathBuf>,
    /// Where short-lived files go.
    pub temporary: PathBuf,
    /// Where disk images are kept that were fetched.
    pub cache: PathBuf,
    /// Gets them.
    pub fetcher: Arc<dyn Fetcher>,
    /// The directory of the books in which builders write down what they make in clouds.
    pub ledger: PathBuf,
    /// Where credentials of clouds are looked for, proxies, certificates.
    pub clouds: kiln_clouds::Environment,
}

/// A fetcher for the crate of virtual machines.
pub struct Fetching<'a> {
    /// Who fetches.
    pub site: &'a Site,
    /// Stops it.
    pub cancel: &'a Cancel,
}

impl Fetch for Fetching<'_> {
    fn fetch(&self, address: &str, to: &Path) -> Result<(), String> {
        self.site.fetcher.fetch(address, to, self.cancel)
    }
}
