//! What else to do with a cluster: what, when, and on which hosts.

use std::net::IpAddr;

use super::{Host, Label, Origin, Role, Said, Taint};

/// Something to do besides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plugin {
    /// Its name: plugins of one phase run in the order of their names.
    pub name: Said<String>,
    /// When, never empty.
    pub phases: Vec<Said<Phase>>,
    /// On which hosts.
    pub on: Said<Selector>,
    /// What.
    pub action: Action,
    /// Where it is said.
    pub origin: Origin,
}

/// What a plugin does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Runs a script of shell on each selected host.
    Shell(Said<String>),
    /// Gives hosts their names. They are in [`Host::name`] already: there is nothing left to do.
    Hostname(Vec<Said<(IpAddr, String)>>),
    /// Sets and removes labels of the nodes of hosts.
    Label(Vec<Said<(IpAddr, Label)>>),
    /// Sets and removes taints of the nodes of hosts.
    Taint(Vec<Said<(IpAddr, Taint)>>),
    /// Saves a snapshot of etcd on the first master, in this directory.
    EtcdBackup(Said<String>),
    /// Waits until the nodes and Kubernetes' own pods are ready.
    ClusterCheck,
}

/// When a plugin does it. Phases of a host are for each host, the others for the first master, unless the plugin selects
/// hosts. Sealer's older names select all hosts of the operation where they select none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Before anything is changed on hosts: `Originally`, `pre-install`.
    PreInstall,
    /// On each host, before the runtime and Kubernetes are installed: `PreInit`, `pre-init-host`.
    PreInitHost,
    /// On each host, after it is a node: `post-init-host`.
    PostInitHost,
    /// Before the image's applications are launched: `PreGuest`.
    PreGuest,
    /// After all: `PostInstall`, `post-install`.
    PostInstall,
    /// Before hosts join a running cluster: `pre-scaleup`, and `PreJoin`, which is about the hosts that join.
    PreScaleUp,
    /// After they have: `post-scaleup`, `PostJoin`.
    PostScaleUp,
    /// Before the cluster is upgraded, on the first master: `upgrade`.
    Upgrade,
    /// On each host, as it is upgraded: `upgrade-host`.
    UpgradeHost,
    /// Before the cluster goes back to what it was: `rollback`.
    Rollback,
    /// Before the cluster is taken down: `PreClean`, `pre-uninstall`.
    PreUninstall,
    /// On each host, before it is cleaned: `pre-clean-host`.
    PreCleanHost,
    /// On each host, after it is cleaned: `post-clean-host`.
    PostCleanHost,
    /// After the cluster is taken down: `PostClean`, `post-uninstall`.
    PostUninstall,
}

/// Which hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// Those that the phase is about; the first master, where it is about the cluster.
    Phase,
    /// All.
    All,
    /// Those with one of these roles.
    Roles(Vec<Role>),
    /// Those with one of these addresses.
    Addresses(Vec<IpAddr>),
    /// Those whose node has these labels; None is any value.
    Labels(Vec<(String, Option<String>)>),
}

impl Phase {
    /// Whether it happens on each host.
    pub fn is_of_host(self) -> bool {
        use Phase::{PostCleanHost, PostInitHost, PreCleanHost, PreInitHost, UpgradeHost};
        matches!(self, PreInitHost | PostInitHost | UpgradeHost | PreCleanHost | PostCleanHost)
    }
}

impl Selector {
    /// Whether it selects a host of a cluster for a phase; `first_master` says that it is the one of `kubeadm init`.
    pub fn selects(&self, host: &Host, first_master: bool, phase: Phase) -> bool {
        match self {
            Selector::Phase => phase.is_of_host() || first_master,
            Selector::All => true,
            Selector::Roles(wanted) => wanted.iter().any(|role| host.is(role)),
            Selector::Addresses(wanted) => host.addresses.iter().any(|own| wanted.contains(&own.value)),
            Selector::Labels(wanted) => wanted.iter().all(|(key, value)| {
                // The last one that was said of a key counts.
                let own = host.labels.iter().rev().find(|label| label.key == *key);
                own.and_then(|label| label.value.value.as_ref())
                    .is_some_and(|own| value.as_ref().is_none_or(|v| v == own))
            }),
        }
    }
}
