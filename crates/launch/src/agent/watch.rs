//! What was in directories that others fill, before a launch: what appears there later goes with the cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::sweep::Swept;
use crate::error::{LaunchError, Result};

/// Directories that kubeadm, kubelet, containerd and networks fill.
pub const DIRECTORIES: [&str; 26] = [
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
    "/run/nodeagent",
    "/run/cilium",
    "/var/lib/cilium",
    "/var/lib/weave",
    "/var/log/pods",
    "/var/log/containers",
    "/var/log/kubernetes",
    "/root/.kube",
    "/usr/libexec/kubernetes",
    "/var/lib/containerd",
    "/run/containerd",
    "/etc/containerd",
    "/var/lib/dockershim",
];
/// Those that were not looked at from the first version on: of a host that was remembered without them nobody knows whether
/// they were there.
const LATER: [&str; 3] = ["/run/nodeagent", "/run/cilium", "/var/lib/cilium"];
/// Directories that pods of the control plane and kube-proxy mount, and that are made for them where they are not there.
/// Others fill them, too: only an empty one goes. The innermost come first.
const MOUNTED: [&str; 3] = ["/etc/ssl/certs", "/etc/ssl", "/lib/modules"];
/// Directories in each other that are emptied: each is held open.
const DEEP: usize = 200;
/// Names in one directory that are remembered.
const NAMES: usize = 100_000;

/// What was there: names in directories; no entry for one that was not there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    version: u32,
    directories: BTreeMap<String, BTreeSet<String>>,
    /// Directories that were looked at.
    #[serde(default = "first")]
    looked: BTreeSet<String>,
    /// Those of [`MOUNTED`] that were not there.
    #[serde(default)]
    missing: BTreeSet<String>,
    /// Settings of the kernel that are changed, as they were.
    settings: BTreeMap<String, String>,
    /// Where routes led to.
    #[serde(default)]
    routes: BTreeSet<String>,
}

/// What was looked at before that was written down.
fn first() -> BTreeSet<String> {
    DIRECTORIES.into_iter().filter(|dir| !LATER.contains(dir)).map(str::to_owned).collect()
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

/// Settings of IPv6, by device.
const DEVICES: &str = "proc/sys/net/ipv6/conf";

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
    let looked = DIRECTORIES.into_iter().map(str::to_owned).collect();
    let mut found = Found { version: 1, looked, ..Found::default() };
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
    found.routes = super::sweep::destinations();
    // Whether devices listen to routers, which those of hosts that forward do only when told so.
    for entry in fs::read_dir(root.join(DEVICES)).into_iter().flatten().flatten().take(NAMES) {
        let path = format!("{DEVICES}/{}/accept_ra", entry.file_name().to_string_lossy());
        if let Ok(value) = fs::read_to_string(root.join(&path)) {
            found.settings.insert(path, value.trim().to_owned());
        }
    }
    let failed =
        |error: std::io::Error| LaunchError::File { what: "write", path: path.clone(), why: error.to_string() };
    let draft = path.with_extension("new");
    let text = serde_json::to_vec(&found).unwrap_or_default();
    let mut file = fs::File::create(&draft).map_err(failed)?;
    file.write_all(&text).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&draft, &path).map_err(failed)?;
    // What is known of the host must not be less than what is done there.
    fs::File::open(home).and_then(|dir| dir.sync_all()).map_err(failed)
}

fn load(home: &Path) -> Option<Found> {
    let found: Found = serde_json::from_slice(&fs::read(path_of(home)).ok()?).ok()?;
    (found.version == 1).then_some(found)
}

/// Removes what has appeared, and sets settings back; says what is gone and what remains. `mountinfo` is the kernel's list
/// of mounts: what is mounted somewhere is not the cluster's to delete, and stays with all that it is in.
pub fn clear(root: &Path, home: &Path, mountinfo: &str) -> Swept {
    let mounts = mount_points(mountinfo);
    let mut swept = Swept::default();
    let Some(paths) = appeared(root, home) else {
        swept.remains.push("it is not known what was there before the launch".to_owned());
        return swept;
    };
    for path in paths {
        let at = root.join(path.trim_start_matches('/'));
        if let Some(mount) = mounts.iter().find(|mount| mount.starts_with(&at)) {
            swept.remains.push(format!("{path}: something is mounted at {}", mount.display()));
            continue;
        }
        match remove(&at) {
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

/// Where something is mounted.
fn mount_points(mountinfo: &str) -> Vec<PathBuf> {
    let points = mountinfo.lines().filter_map(|line| line.split(' ').nth(4));
    points.map(|point| PathBuf::from(unescaped(point))).collect()
}

/// The kernel writes blanks, tabs, line breaks and `\` as `\040`.
pub(super) fn unescaped(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let octal = behind.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = behind.get(3..).unwrap_or_default();
            }
            None => {
                out.push(*first);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Removes a file, or a directory with all that is on its own file system: where another begins it ends with an error,
/// also if that was mounted a moment ago.
fn remove(path: &Path) -> std::io::Result<()> {
    let meta = path.symlink_metadata()?;
    match meta.is_dir() {
        true => {
            empty(rustix::fs::CWD, path, meta.dev(), 0)?;
            fs::remove_dir(path)
        }
        false => fs::remove_file(path),
    }
}

/// Empties a directory that is no link; names are looked up in the directory that is open, whatever becomes of its path.
fn empty(parent: impl AsFd, name: &Path, device: u64, depth: usize) -> std::io::Result<()> {
    use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
    if depth > DEEP {
        return Err(std::io::Error::other("directories in it are too deep"));
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    if rustix::fs::fstat(&open)?.st_dev != device {
        return Err(std::io::Error::other(format!("another file system is mounted at {}", name.display())));
    }
    for entry in Dir::read_from(&open)? {
        let entry = entry?;
        let name = Path::new(std::ffi::OsStr::from_bytes(entry.file_name().to_bytes()));
        if matches!(name.as_os_str().as_bytes(), b"." | b"..") {
            continue;
        }
        let meta = rustix::fs::statat(&open, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(meta.st_mode).is_dir() {
            empty(&open, name, device, depth + 1)?;
            rustix::fs::unlinkat(&open, name, AtFlags::REMOVEDIR)?;
        } else {
            rustix::fs::unlinkat(&open, name, AtFlags::empty())?;
        }
    }
    Ok(())
}

/// Where routes led to before the launch.
pub fn routes(home: &Path) -> BTreeSet<String> {
    load(home).map(|found| found.routes).unwrap_or_default()
}

/// Paths that have appeared since; the uppermost of each. None if nothing was remembered.
pub fn appeared(root: &Path, home: &Path) -> Option<Vec<String>> {
    let found = load(home)?;
    let mut out: Vec<String> = Vec::new();
    for dir in DIRECTORIES.into_iter().filter(|dir| found.looked.contains(*dir)) {
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
    fn what_was_not_looked_at_stays() {
        let temp = tempfile::tempdir().unwrap();
        let (root, home) = (temp.path().join("root"), temp.path().join("home"));
        fs::create_dir_all(&home).unwrap();
        remember(&root, &home).unwrap();
        for dir in ["run/cilium", "run/calico"] {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        assert_eq!(appeared(&root, &home).unwrap(), ["/run/calico", "/run/cilium"]);
        // As hosts were remembered before there were more directories.
        let mut old: serde_json::Value = serde_json::from_slice(&fs::read(path_of(&home)).unwrap()).unwrap();
        old.as_object_mut().unwrap().remove("looked").unwrap();
        fs::write(path_of(&home), old.to_string()).unwrap();
        assert_eq!(appeared(&root, &home).unwrap(), ["/run/calico"]);
    }

    #[test]
    fn what_appears_is_told_and_what_was_there_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (root, home) = (dir.path().join("r"), dir.path().join("h"));
        fs::create_dir_all(root.join("opt/cni/bin")).unwrap();
        fs::write(root.join("opt/cni/bin/mine"), "").unwrap();
        let setting = root.join("proc/sys/net/ipv4/conf/all/route_localnet");
        fs::create_dir_all(setting.parent().unwrap()).unwrap();
        fs::write(&setting, "0\n").unwrap();
        let routers = root.join("proc/sys/net/ipv6/conf/eth0.7/accept_ra");
        fs::create_dir_all(routers.parent().unwrap()).unwrap();
        fs::write(&routers, "1\n").unwrap();
        fs::create_dir_all(&home).unwrap();
        assert_eq!(appeared(&root, &home), None, "nothing was remembered");
        remember(&root, &home).unwrap();
        assert_eq!(appeared(&root, &home), Some(Vec::new()));
        fs::write(root.join("opt/cni/bin/flannel"), "").unwrap();
        fs::create_dir_all(root.join("etc/cni/net.d")).unwrap();
        fs::write(root.join("etc/cni/net.d/10.conf"), "").unwrap();
        fs::write(&setting, "1\n").unwrap();
        fs::write(&routers, "2\n").unwrap();
        fs::create_dir_all(root.join("etc/ssl/certs")).unwrap();
        fs::create_dir_all(root.join("lib/modules/6.1")).unwrap();
        remember(&root, &home).unwrap();
        assert_eq!(appeared(&root, &home).unwrap(), ["/etc/cni", "/opt/cni/bin/flannel"]);
        let swept = clear(&root, &home, "");
        assert_eq!((swept.removed.len(), swept.remains), (4, Vec::new()));
        assert!(!root.join("etc/ssl").exists() && root.join("lib/modules/6.1").exists(), "only empty ones go");
        assert_eq!(fs::read_to_string(&setting).unwrap(), "0", "kube-proxy has set it");
        assert_eq!(fs::read_to_string(&routers).unwrap(), "1", "Kiln has set it");
        assert!(!root.join("etc/cni").exists() && root.join("opt/cni/bin/mine").exists());
    }

    #[test]
    fn nothing_is_deleted_through_a_mount() {
        let dir = tempfile::tempdir().unwrap();
        let (root, home) = (dir.path().join("r"), dir.path().join("h"));
        fs::create_dir_all(&home).unwrap();
        remember(&root, &home).unwrap();
        let volume = root.join("var/lib/kubelet/pods/a b/volume");
        fs::create_dir_all(&volume).unwrap();
        fs::write(volume.join("precious"), "").unwrap();
        fs::create_dir_all(root.join("var/lib/cni/networks")).unwrap();
        std::os::unix::fs::symlink(&volume, root.join("var/lib/cni/networks/link")).unwrap();
        let point = volume.display().to_string().replace(' ', "\\040");
        let swept = clear(&root, &home, &format!("36 35 98:0 / {point} rw - ext4 /dev/a rw\n"));
        assert!(volume.join("precious").exists());
        assert!(swept.remains[0].starts_with("/var/lib/kubelet: something is mounted at "), "{swept:?}");
        assert_eq!(swept.removed, ["/var/lib/cni"], "and links lead nowhere");
        // And without it all of that goes.
        assert_eq!(clear(&root, &home, "36 35 98:0 / /other rw - ext4 /dev/a rw\n").removed, ["/var/lib/kubelet"]);
        assert!(!root.join("var/lib/kubelet").exists());
    }

    #[test]
    fn another_file_system_is_where_deleting_ends() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        let device = dir.path().metadata().unwrap().dev();
        assert!(empty(rustix::fs::CWD, dir.path(), device + 1, 0).is_err());
        assert!(dir.path().join("a/b").exists());
        let mut deep = dir.path().join("deep");
        for _ in 0..=DEEP + 1 {
            deep.push("d");
        }
        fs::create_dir_all(&deep).unwrap();
        assert!(remove(&dir.path().join("deep")).unwrap_err().to_string().contains("too deep"));
        assert!(remove(&dir.path().join("a")).is_ok() && !dir.path().join("a").exists());
    }

    #[test]
    fn names_of_mounts_are_read_as_the_kernel_writes_them() {
        assert_eq!(unescaped("/a\\040b\\134c\\011"), "/a b\\c\t");
        assert_eq!(unescaped("/a\\04"), "/a\\04");
    }
}
