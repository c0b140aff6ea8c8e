//! What is known of one host: data, gathered once, judged by [`crate::checks`].
//!
//! [`gather`] reads the kernel (in a network namespace) and files (below a root). What could not be read is said in
//! [`HostFacts::unread`], and is never taken for absent.
//!
//! [`root`] files below a root     [`cni`] configuration and state of plugins     [`kube`] kubelet, static pods, their logs
//! [`cri`] the container runtime, asked
//! [`kernel`] devices, rules, settings, counters     [`system`] names, time, DNS, services of the machine

pub mod cni;
pub mod cri;
pub mod kernel;
pub mod kube;
pub mod network;
pub mod root;
pub mod system;

use std::path::Path;

use serde::{Deserialize, Serialize};

pub use network::Network;

use crate::DoctorError;
use root::Root;

/// Facts of another version are refused.
pub const VERSION: u32 = 3;

/// What is known of one host.
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
pub struct HostFacts {
    /// [`VERSION`].
    pub version: u32,
    /// How the host is called in findings.
    pub name: String,
    /// What its kernel says; nothing for a root without a running kernel.
    pub kernel: Option<kernel::Kernel>,
    /// Plugins, leases, flannel's and Calico's files.
    pub cni: cni::Cni,
    /// The kubelet, static pods and what they log.
    pub kube: kube::Kube,
    /// The rest of the machine.
    pub system: system::System,
    /// What could not be read.
    pub unread: Vec<Unread>,
}

/// Something that could not be read.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub struct Unread {
    /// A path, or the name of a table of the kernel.
    pub what: String,
    /// Why.
    pub why: String,
}

/// Reads one host.
///
/// `root` is the directory that stands for `/`. `netns` is a file of a network namespace; without one the thread's own is
/// read when `root` is `/`, and no kernel otherwise: the root is then one of a machine that is not running.
///
/// # Errors
/// When the root cannot be opened or the namespace cannot be entered. All else that cannot be read is said in the facts.
pub fn gather(root: &Path, netns: Option<&Path>) -> Result<HostFacts, DoctorError> {
    let files = Root::open(root)?;
    let running = netns.is_some() || root == Path::new("/");
    within(netns, || read(&files, running, root == Path::new("/") && netns.is_none()))
}

/// Does something in a network namespace, on a thread of its own: namespaces are of threads, and this one ends with what
/// it did.
///
/// # Errors
/// When the namespace cannot be entered.
pub fn within<T: Send>(netns: Option<&Path>, work: impl FnOnce() -> T + Send) -> Result<T, DoctorError> {
    let Some(path) = netns else { return Ok(work()) };
    let failed = |source| DoctorError::Namespace { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(failed)?;
    std::thread::scope(|scope| {
        let working = scope.spawn(|| enter(&file).map_err(failed).map(|()| work()));
        working.join().unwrap_or_else(|_| Err(failed(std::io::Error::other("the work in it failed"))))
    })
}

fn enter(file: &std::fs::File) -> std::io::Result<()> {
    use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
    use std::os::fd::AsFd;
    Ok(move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?)
}

fn read(files: &Root, running: bool, here: bool) -> HostFacts {
    let mut unread = Vec::new();
    let kernel = running.then(|| kernel::Kernel::read(&mut unread));
    let system = system::System::read(files, here, &mut unread);
    let kube = kube::Kube::read(files, &mut unread);
    let cni = cni::Cni::read(files, &kube, &mut unread);
    let name = if system.hostname.is_empty() { "host".to_owned() } else { system.hostname.clone() };
    HostFacts { version: VERSION, name, kernel, cni, kube, system, unread }
}

impl HostFacts {
    /// The devices and routes, where there is a kernel.
    pub fn tables(&self) -> Option<&crate::netlink::route::Tables> {
        self.kernel.as_ref().map(|kernel| &kernel.tables)
    }

    /// The name that its kubelet gives its node.
    pub fn node_name(&self) -> String {
        self.kube.flags.get("hostname-override").unwrap_or(&self.system.hostname).to_lowercase()
    }

    /// Whether the host is a member of a cluster, or about to become one.
    pub fn is_node(&self) -> bool {
        self.kube.kubelet_conf || self.kube.running("kubelet", self.kernel.as_ref()) || !self.kube.manifests.is_empty()
    }
}

/// Facts that a stranger sent may have more of everything than [`gather`] makes: it is cut.
pub(crate) fn clamp(facts: &mut HostFacts) {
    facts.unread.truncate(1000);
    facts.kube.logs.truncate(200);
    facts.cni.files.truncate(200);
    facts.cni.pods.truncate(root::ENTRIES);
    if let Some(kernel) = &mut facts.kernel {
        kernel.tables.links.truncate(root::ENTRIES);
        kernel.tables.routes.truncate(root::ENTRIES);
        kernel.ruleset.chains.truncate(root::ENTRIES);
        kernel.ruleset.rules.truncate(10_000);
        kernel.legacy_rules.truncate(10_000);
        crate::netlink::services::clamp(&mut kernel.services);
    }
}
