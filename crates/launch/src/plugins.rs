//! Plugins: what a Clusterfile wants done besides, at which time and on which hosts.
//!
//! | type | at its time |
//! |---|---|
//! | SHELL | the script runs in the root file system of each selected host; behind its end, in `/` |
//! | HOSTNAME | nothing: names are set before Kubernetes is installed, whatever it says |
//! | LABEL, TAINT | the first master sets them; where no node is there yet, as soon as there is one |
//! | ETCD | the first master saves a snapshot |
//! | CLUSTERCHECK | the first master waits until nodes and Kubernetes' own pods are ready |
//!
//! | time | who calls |
//! |---|---|
//! | before anything is installed | `phase::prepare` |
//! | before and after hosts join a cluster that ran before | `phase::growth` |
//! | when everything is up | `phase::labels`, `phase::guest` |
//! | at an upgrade | `upgrade` |
//! | when hosts leave, one by one or all | `scale`, `reset` |

use kiln_clusterfile::model::{Action, Label, Phase as When, Plugin, Selector, Taint};

use crate::error::Result;
use crate::etcd;
use crate::launch::{Launch, Member};
use crate::phase::{growth, guest, labels, verify};

/// Something that a plugin wants done on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task<'l> {
    /// The plugin's name.
    pub plugin: &'l str,
    /// The time that it is for.
    pub when: When,
    /// What.
    pub deed: Deed<'l>,
}

/// What a plugin does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed<'l> {
    /// Runs this script.
    Script(&'l str),
    /// Sets or removes a label of the host's node.
    Label(&'l Label),
    /// Sets or removes a taint of the host's node.
    Taint(&'l Taint),
    /// Saves etcd into this directory.
    Snapshot(&'l str),
    /// Waits until the cluster is well.
    Check,
}

impl Task<'_> {
    /// In words.
    pub fn line(&self) -> String {
        match &self.deed {
            Deed::Script(_) => format!("run the script of plugin {}", self.plugin),
            Deed::Label(label) => format!("label the node {label} (plugin {})", self.plugin),
            Deed::Taint(taint) => format!("taint the node {taint} (plugin {})", self.plugin),
            Deed::Snapshot(dir) => format!("save etcd into {dir} (plugin {})", self.plugin),
            Deed::Check => format!("wait until nodes and pods of Kubernetes are ready (plugin {})", self.plugin),
        }
    }

    /// What tells it from others: a line, or a whole script.
    pub fn text(&self) -> String {
        match &self.deed {
            Deed::Script(text) => (*text).to_owned(),
            _ => self.line(),
        }
    }

    /// Whether it is about the node, and not the host.
    pub fn is_of_node(&self) -> bool {
        matches!(self.deed, Deed::Label(_) | Deed::Taint(_))
    }
}

/// The time at which something is really done: a node is labelled once it is there.
fn time_of(action: &Action, said: When) -> When {
    match (action, said) {
        (Action::Label(_) | Action::Taint(_), When::PreInstall | When::PreInitHost | When::PostInitHost) => {
            When::PreGuest
        }
        (Action::Label(_) | Action::Taint(_), When::PreScaleUp) => When::PostScaleUp,
        (_, said) => said,
    }
}

/// Whether a time has no cluster: labels, snapshots and checks have nothing to be about.
pub fn has_no_cluster(action: &Action, said: When) -> bool {
    match action {
        Action::Shell(_) | Action::Hostname(_) => false,
        Action::Label(_) | Action::Taint(_) => matches!(said, When::PostCleanHost | When::PostUninstall),
        Action::EtcdBackup(_) | Action::ClusterCheck => {
            matches!(said, When::PreInstall | When::PreInitHost | When::PostCleanHost | When::PostUninstall)
        }
    }
}

/// Whether a plugin is about a host at a time. When hosts join, it is about those.
fn selects(plugin: &Plugin, when: When, launch: &Launch, member: &Member) -> bool {
    let selects = plugin.on.value.selects(&member.host, member.first, when);
    match (when, &plugin.on.value) {
        (When::PreScaleUp | When::PostScaleUp, Selector::Phase) => member.first,
        (When::PreScaleUp | When::PostScaleUp, _) => selects && growth::joins(launch, member),
        _ => selects,
    }
}

/// What plugins want done on a host at these times, in the order of the times, then of plugins' names.
pub fn tasks<'l>(launch: &'l Launch, member: &Member, times: &[When]) -> Vec<Task<'l>> {
    let mut plugins: Vec<&Plugin> = launch.cluster.plugins.iter().collect();
    plugins.sort_by_key(|plugin| plugin.name.value.as_str());
    let own = |address: &std::net::IpAddr| member.host.addresses.iter().any(|said| said.value == *address);
    let mut out = Vec::new();
    for when in times {
        for plugin in &plugins {
            if !plugin.phases.iter().any(|said| time_of(&plugin.action, said.value) == *when) {
                continue;
            }
            let task = |deed| Task { plugin: plugin.name.value.as_str(), when: *when, deed };
            let joins = *when != When::PostScaleUp || growth::joins(launch, member);
            match &plugin.action {
                Action::Shell(script) if selects(plugin, *when, launch, member) => {
                    out.push(task(Deed::Script(&script.value)));
                }
                Action::EtcdBackup(dir) if member.first => out.push(task(Deed::Snapshot(&dir.value))),
                Action::ClusterCheck if member.first => out.push(task(Deed::Check)),
                Action::Label(all) if joins => {
                    let mine = all.iter().filter(|said| own(&said.value.0));
                    out.extend(mine.map(|said| task(Deed::Label(&said.value.1))));
                }
                Action::Taint(all) if joins => {
                    let mine = all.iter().filter(|said| own(&said.value.0));
                    out.extend(mine.map(|said| task(Deed::Taint(&said.value.1))));
                }
                _ => {}
            }
        }
    }
    out
}

/// Does what plugins want on a host at these times.
///
/// # Errors
/// When one of them fails: those behind it are not done.
pub fn run(launch: &Launch, member: &Member, times: &[When]) -> Result<()> {
    tasks(launch, member, times).iter().try_for_each(|task| one(launch, member, task))
}

/// Does one thing.
///
/// # Errors
/// When it fails.
pub fn one(launch: &Launch, member: &Member, task: &Task<'_>) -> Result<()> {
    match task.deed {
        Deed::Script(text) => guest::shell(launch, member, &task.line(), text, place(task.when)),
        Deed::Label(label) => labels::apply(launch, &[labels::label(member, label)]),
        Deed::Taint(taint) => labels::apply(launch, &[labels::taint(member, taint)]),
        Deed::Snapshot(dir) => etcd::snapshot(member, dir, etcd::DATED),
        Deed::Check => verify::well(launch, member),
    }
}

/// Where scripts run: a host that is given back may have no root file system any more.
fn place(when: When) -> guest::Place {
    match when {
        When::PreUninstall | When::PreCleanHost | When::PostCleanHost | When::PostUninstall => guest::Place::IfThere,
        _ => guest::Place::Rootfs,
    }
}

/// What plugins want on a host that leaves a cluster which stays: at its own time, and at the end of all for plugins of
/// older names, which are about all hosts of what is done.
pub fn of_leaving<'l>(launch: &'l Launch, member: &Member, own: When, of_all: When) -> Vec<Task<'l>> {
    let is_old = |task: &Task<'_>| {
        let mut named = launch.cluster.plugins.iter().filter(|plugin| plugin.name.value == task.plugin);
        named.any(|plugin| plugin.on.value == Selector::All)
    };
    let mut tasks = tasks(launch, member, &[of_all]);
    tasks.retain(is_old);
    tasks.extend(self::tasks(launch, member, &[own]));
    tasks
}
