//! What a Clusterfile may say and a launch does not do yet, or cannot do at the time that is said: an error with its
//! place, for nothing of it is left out in silence.

use kiln_clusterfile::model::{Action, Cluster, Role};
use kiln_launch::phase::guest;
use kiln_launch::plugins;

use crate::error::CliError;

/// # Errors
/// On the first thing that is not done yet, or has no meaning.
pub fn refuse(cluster: &Cluster) -> Result<(), CliError> {
    if let Some((place, what, hint)) = first(cluster) {
        return Err(CliError::input(format!("{place}: {what}: a launch does not do that yet")).with_hint(hint));
    }
    guest::arguments(cluster)?;
    match untimely(cluster) {
        Some((place, what)) => {
            let hint = "choose another `action`: kiln cluster config -f FILE --explain shows what is read";
            Err(CliError::input(format!("{place}: {what}")).with_hint(hint))
        }
        None => Ok(()),
    }
}

fn first(cluster: &Cluster) -> Option<(String, String, &'static str)> {
    if let Some(root) = &cluster.data_root {
        let what = format!("another directory for data on hosts, `{}`", root.value);
        return Some((root.origin.to_string(), what, "mount a larger disk at /var/lib/kiln"));
    }
    let mut roles = cluster.hosts.iter().flat_map(|host| &host.roles);
    let role = roles.find(|role| role.value == Role::Etcd)?;
    let what = "a member of etcd beside the control plane".to_owned();
    Some((role.origin.to_string(), what, "masters have etcd; or name an external one for kubeadm"))
}

/// A plugin at a time when there is no cluster that it could be about.
fn untimely(cluster: &Cluster) -> Option<(String, String)> {
    cluster.plugins.iter().find_map(|plugin| {
        let said = plugin.phases.iter().find(|said| plugins::has_no_cluster(&plugin.action, said.value))?;
        let what = match plugin.action {
            Action::EtcdBackup(_) => "no etcd to save",
            Action::ClusterCheck => "nothing to check",
            _ => "no node",
        };
        Some((said.origin.to_string(), format!("there is {what} at that time (the plugin `{}`)", plugin.name.value)))
    })
}

#[cfg(test)]
mod tests {
    use kiln_clusterfile::{Flags, read};
    use kiln_spec::source::Source;

    use super::*;

    fn refused(rest: &str) -> Option<String> {
        let text = format!(
            "apiVersion: sealer.io/v2\nkind: Cluster\nspec:\n  hosts:\n  - {{ips: [10.0.0.1], roles: [master]}}\n{rest}"
        );
        let read = read(Some(&Source { name: "f".into(), text }), &Flags::default());
        let cluster = read.cluster.unwrap_or_else(|| panic!("{:?}", read.found));
        refuse(&cluster).err().map(|error| error.message())
    }

    fn plugin(spec: &str) -> String {
        format!("---\napiVersion: sealer.io/v1\nkind: Plugin\nmetadata: {{name: p}}\nspec: {{{spec}}}\n")
    }

    #[test]
    fn what_is_not_done_has_its_place() {
        assert_eq!(refused(""), None);
        let root = refused("  dataRoot: /data\n").unwrap();
        assert!(root.starts_with("f:6: another directory for data on hosts, `/data`"), "{root}");
        let args = refused("  cmd_args: [A=1, --wait]\n").unwrap();
        assert!(args.starts_with("f:6: `--wait` gives no argument of the image a value"), "{args}");
        assert_eq!(refused("  cmd_args: [A=1, 'b_2=x=y', C=]\n"), None);
        let etcd = refused("  - {ips: [10.0.0.2], roles: [node, etcd]}\n").unwrap();
        assert!(etcd.contains("a member of etcd beside the control plane"), "{etcd}");
        let config = "---\napiVersion: sealer.io/v1\nkind: Config\nmetadata: {name: c}\nspec: {path: etc/a, data: b}\n";
        assert_eq!(refused(config), None, "Configs are applied");
    }

    #[test]
    fn plugins_that_come_when_there_is_no_cluster_are_mistakes() {
        for spec in ["type: ETCD, action: PostInstall", "type: SHELL, action: PostClean, data: x", "type: CLUSTERCHECK"]
        {
            assert_eq!(refused(&plugin(spec)), None, "{spec}");
        }
        for (spec, what) in [
            ("type: ETCD, action: PreInit", "no etcd to save"),
            ("type: CLUSTERCHECK, action: PostClean", "nothing to check"),
            ("type: LABEL, action: post-clean-host, data: '10.0.0.1 a=b'", "no node"),
        ] {
            let said = refused(&plugin(spec)).unwrap();
            assert!(said.starts_with("f:10: there is ") && said.contains(what), "{said}");
        }
    }
}
