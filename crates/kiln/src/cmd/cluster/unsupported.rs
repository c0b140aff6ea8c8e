//! What a Clusterfile may say and a launch does not do yet: an error with its place, for nothing of it is left out in
//! silence.

use kiln_clusterfile::model::{Action, Cluster, Phase, Role};

use crate::error::CliError;

/// Times of plugins that a launch and an upgrade keep.
const KEPT: [Phase; 7] = [
    Phase::PreInstall,
    Phase::PreInitHost,
    Phase::PostInitHost,
    Phase::PreGuest,
    Phase::PostInstall,
    Phase::Upgrade,
    Phase::UpgradeHost,
];

/// # Errors
/// On the first thing that is not done yet.
pub fn refuse(cluster: &Cluster) -> Result<(), CliError> {
    let Some((place, what, hint)) = first(cluster) else { return Ok(()) };
    Err(CliError::input(format!("{place}: {what}: a launch does not do that yet")).with_hint(hint))
}

fn first(cluster: &Cluster) -> Option<(String, String, &'static str)> {
    if let Some(image) = cluster.more_images.first() {
        let what = format!("several images at once, such as {}", image.value);
        return Some((image.origin.to_string(), what, "make one of them: kiln cluster merge"));
    }
    if let Some(config) = cluster.configs.first() {
        let what = format!("the Config `{}`", config.name.value);
        let hint = "put the changed file into the image; kubeadm's own documents are applied";
        return Some((config.name.origin.to_string(), what, hint));
    }
    if let Some(arg) = cluster.args.first() {
        let what = format!("arguments behind the image's commands, such as `{}`", arg.value);
        return Some((arg.origin.to_string(), what, "say whole commands: --cmds"));
    }
    if let Some(root) = &cluster.data_root {
        let what = format!("another directory for data on hosts, `{}`", root.value);
        return Some((root.origin.to_string(), what, "mount a larger disk at /var/lib/kiln"));
    }
    let mut roles = cluster.hosts.iter().flat_map(|host| &host.roles);
    if let Some(role) = roles.find(|role| role.value == Role::Etcd) {
        let what = "a member of etcd beside the control plane".to_owned();
        return Some((role.origin.to_string(), what, "masters have etcd; or name an external one for kubeadm"));
    }
    cluster.plugins.iter().find_map(|plugin| {
        let name = &plugin.name.value;
        match &plugin.action {
            Action::EtcdBackup(_) | Action::ClusterCheck => {
                let hint = "kiln cluster status checks; an upgrade takes a snapshot of etcd by itself";
                return Some((plugin.name.origin.to_string(), format!("what the plugin `{name}` is for"), hint));
            }
            // Labels and taints are for nodes that are there, whenever the plugin says; names are in the hosts already.
            Action::Label(_) | Action::Taint(_) | Action::Hostname(_) => return None,
            Action::Shell(_) => {}
        }
        let other = plugin.phases.iter().find(|phase| !KEPT.contains(&phase.value))?;
        let what = format!("the time of the script of the plugin `{name}`");
        Some((other.origin.to_string(), what, "run it by kiln cluster exec at that time"))
    })
}
