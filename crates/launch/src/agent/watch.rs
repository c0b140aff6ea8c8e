//! What was in directories that others fill, before a launch: what appears there later goes with the cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::sweep::Swept;
use crate::error::{LaunchError, Result};

/// Directories that kubeadm, kubelet, containerd and networks fill.
pub const DIRECTORIES: [&str; 22] = [
    "/etc/kubernetes",
    "/var/lib/kubelet",
    "/var/lib/etcd",
    "/etc/cni/net.d",
    "/etc/cni",
    "/opt/cni/bin",
    "/opt/cni",
    "/var/lib/cni",
    "/run/flannel",
    "/run/netns",
    "/run/calico",
    "/var/lib/calico",
    "/var/log/calico",
    "/var/lib/weave",
    "/var/log/pods",
    "/var/log/containers",
    "/var/log/kubernetes",
    "/root/.kube",
    "/usr/libexec/kubernetes",
    "/var/lib/containerd",
    "/run/containerd",
    "/etc/containerd",
];
/// Directories that pods of the control plane and kube-proxy mount, and that are made for them where they are not there.
/// Others fill them, too: only an empty one goes. The innermost come first.
const MOUNTED: [&str; 3] = ["/etc/ssl/certs", "/etc/ssl", "/lib/modules"];
/// Names in one directory that are remembered.
const NAMES: usize = 100_000;

/// What was there: names in directories; no entry for one that was not there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    version: u32,
    directories: BTreeMap<String, BTreeSet<String>>,
    /// Those of [`MOUNTED`] that were not there.
    #[serde(default)]
    missing: BTreeSet<String>,
    /// Settings of the kernel that are changed, as they were.
    settings: BTreeMap<String, String>,
}

/// Settings of the kernel that Kiln, kubelet and kube-proxy change.
const SETTINGS: [&str; 17] = [
    "proc/sys/net/ipv4/ip_forward",
    "proc/sys/net/ipv4/conf/all/route_localnet",
    "proc/sys/net/ipv4/vs/conntrack",
    "proc/sys/net/ipv4/vs/conn_reuse_mode",
    "proc/sys/net/ipv4/vs/expire_nodest_conn",
    "proc/sys/net/ipv4/vs/expire_quiescent_template",
    "proc/sys/net/ipv6/conf/all/forwarding",
    "proc/sys/net/ipv6/conf/default/forwarding",
    "proc/sys/net/bridge/bridge-nf-call-iptables",
    "proc/sys/net/bridge/bridge-nf-call-ip6tables",
    "proc/sys/net/netfilter/nf_conntrack_max",
    "proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established",
    "proc/sys/net/netfilter/nf_conntrack_tcp_timeout_close_wait",
    "proc/sys/vm/overcommit_memory",
    "proc/sys/vm/panic_on_oom",
    "proc/sys/kernel/panic",
    "proc/sys/kernel/panic_on_oops",
];

fn path_of(home: &Path) -> PathBuf {
    home.join("found.json")
}

/// Remembers what is there, unless that was done before.
///
/// # Errors
/// When it cannot be written down.
pub fn remember(root: &Path, home: &Path) -> Result<()> {
    let path = path_of(home);
    if path.exists() {
        return Ok(());
    }
    let mut found = Found { version: 1, ..Found::default() };
    for dir in DIRECTORIES {
        let at = root.join(dir.trim_start_matches('/'));
        if let Ok(entries) = fs::read_dir(&at) {
            let names = entries.flatten().take(NAMES).map(|entry| entry.file_name().to_string_lossy().into_owned());
            found.directories.insert(dir.to_owned(), names.collect());
        } else if at.exists() {
            found.directories.insert(dir.to_owned(), BTreeSet::new());
        }
    }
    let is_missing = |dir: &&str| root.join(dir.trim_start_matches('/')).symlink_metadata().is_err();
    found.missing = MOUNTED.into_iter().filter(is_missing).map(str::to_owned).collect();
    for path in SETTINGS {
        if let Ok(value) = fs::read_to_string(root.join(path)) {
            found.settings.insert(path.to_owned(), value.trim().to_owned());
        }
    }
    let failed =
        |error: std::io::Error| LaunchError::File { what: "write", path: path.clone(), why: error.to_string() };
    let draft = path.with_extension("new");
    fs::write(&draft, serde_json::to_vec(&found).unwrap_or_default()).map_err(failed)?;
    fs::rename(&draft, &path).map_err(failed)
}

fn load(home: &Path) -> Option<Found> {
    let found: Found = serde_json::from_slice(&fs::read(path_of(home)).ok()?).ok()?;
    (found.version == 1).then_some(found)
}

/// Removes what has appeared, and sets settings back; says what is gone and what remains.
pub fn clear(root: &Path, home: &Path) -> Swept {
    let mut swept = Swept::default();
    let Some(paths) = appeared(root, home) else {
        swept.remains.push("it is not known what was there before the launch".to_owned());
        return swept;
    };
    for path in paths {
        let at = root.join(path.trim_start_matches('/'));
        let is_dir = at.symlink_metadata().is_ok_and(|meta| meta.is_dir());
        let gone = if is_dir { fs::remove_dir_all(&at) } else { fs::remove_file(&at) };
        match gone {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                swept.remains.push(format!("{path}: {error}"))
            }
            _ => swept.removed.push(path),
        }
    }
    let found = load(home).unwrap_or_default();
    for dir in MOUNTED.iter().filter(|dir| found.missing.contains(**dir)) {
        // One that somebody has put something into since is theirs.
        if fs::remove_dir(root.join(dir.trim_start_matches('/'))).is_ok() {
            swept.removed.push((*dir).to_owned());
        }
    }
    for (path, value) in found.settings {
        let at = root.join(&path);
        if fs::read_to_string(&at).is_ok_and(|now| now.trim() != value)
            && let Err(error) = fs::write(&at, &value)
        {
            swept.remains.push(format!("/{path} is not {value} as it was: {error}"));
        }
    }
    swept
}

/// Paths that have appeared since; the uppermost of each. None if nothing was remembered.
pub fn appeared(root: &Path, home: &Path) -> Option<Vec<String>> {
    let found = load(home)?;
    let mut out: Vec<String> = Vec::new();
    for dir in DIRECTORIES {
        let at = root.join(dir.trim_start_matches('/'));
        match found.directories.get(dir) {
            None if at.symlink_metadata().is_ok() => out.push(dir.to_owned()),
            None => {}
            Some(names) => {
                let now = fs::read_dir(&at).into_iter().flatten().flatten();
                let now = now.map(|entry| entry.file_name().to_string_lossy().into_owned());
                out.extend(now.filter(|name| !names.contains(name)).map(|name| format!("{dir}/{name}")));
            }
        }
    }
    out.sort();
    let all = out.clone();
    out.retain(|path| !all.iter().any(|other| other != path && path.starts_with(&format!("{other}/"))));
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_appears_is_told_and_what_was_there_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (root, home) = (dir.path().join("r"), dir.path().join("h"));
        fs::create_dir_all(root.join("opt/cni/bin")).unwrap();
        fs::write(root.join("opt/cni/bin/mine"), "").unwrap();
        let setting = root.join("proc/sys/net/ipv4/conf/all/route_localnet");
        fs::create_dir_all(setting.parent().unwrap()).unwrap();
        fs::write(&setting, "0\n").unwrap();
        fs::create_dir_all(&home).unwrap();
        assert_eq!(appeared(&root, &home), None, "nothing was remembered");
        remember(&root, &home).unwrap();
        assert_eq!(appeared(&root, &home), Some(Vec::new()));
        fs::write(root.join("opt/cni/bin/flannel"), "").unwrap();
        fs::create_dir_all(root.join("etc/cni/net.d")).unwrap();
        fs::write(root.join("etc/cni/net.d/10.conf"), "").unwrap();
        fs::write(&setting, "1\n").unwrap();
        fs::create_dir_all(root.join("etc/ssl/certs")).unwrap();
        fs::create_dir_all(root.join("lib/modules/6.1")).unwrap();
        remember(&root, &home).unwrap();
        assert_eq!(appeared(&root, &home).unwrap(), ["/etc/cni", "/opt/cni/bin/flannel"]);
        let swept = clear(&root, &home);
        assert_eq!((swept.removed.len(), swept.remains), (4, Vec::new()));
        assert!(!root.join("etc/ssl").exists() && root.join("lib/modules/6.1").exists(), "only empty ones go");
        assert_eq!(fs::read_to_string(&setting).unwrap(), "0", "kube-proxy has set it");
        assert!(!root.join("etc/cni").exists() && root.join("opt/cni/bin/mine").exists());
    }
}
