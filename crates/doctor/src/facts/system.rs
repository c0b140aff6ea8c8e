//! The rest of a machine: names that must be its own, time, DNS, who else changes its network, space on its disks.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::Unread;
use super::root::Root;

/// Where the kernel's messages about AppArmor go without auditd.
const LOGS: [&str; 3] = ["/var/log/kern.log", "/var/log/syslog", "/var/log/messages"];
/// Lines that are kept of what was forbidden.
const DENIED: usize = 5;

/// The rest of a machine.
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
pub struct System {
    /// Its name; empty when it is not known.
    pub hostname: String,
    /// `/etc/machine-id`.
    pub machine_id: Option<String>,
    /// The firmware's number of the machine.
    pub product_uuid: Option<String>,
    /// `x86_64`.
    pub arch: String,
    /// When the facts were read, in milliseconds since 1970, by its own clock.
    pub clock: i64,
    /// How far its clock is ahead of the one that asked, in milliseconds; known of hosts that are asked over a network.
    pub ahead: Option<i64>,
    /// Name servers of /etc/resolv.conf.
    pub resolv: Vec<String>,
    /// Name servers of the file that systemd-resolved writes for others, if it does.
    pub resolved: Vec<String>,
    /// `unmanaged-devices` of NetworkManager's configuration.
    pub unmanaged: Vec<String>,
    /// Files of systemd-networkd that match devices by their names, in the order they are looked at: the first that
    /// matches counts.
    pub networkd: Vec<NetworkFile>,
    /// Whether ufw is switched on.
    pub ufw: bool,
    /// Files that set `net.ipv4.ip_forward`, in the order they count, with what they set.
    pub forward_files: Vec<(String, String)>,
    /// Whether SELinux forbids what its policy does not allow; nothing where there is no SELinux.
    pub selinux: Option<bool>,
    /// Lines of the audit log about what SELinux forbade to containers and their networks.
    pub denials: Vec<String>,
    /// Lines of logs about what AppArmor forbade to programs of the network of pods.
    pub armor: Vec<String>,
    /// Swap devices.
    pub swaps: Vec<String>,
    /// Space: path, part of it that is free, part of the inodes.
    pub disks: Vec<Disk>,
}

/// A file of systemd-networkd.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Default)]
pub struct NetworkFile {
    /// Its path.
    pub path: String,
    /// Patterns of names, with blanks between.
    pub names: String,
    /// Whether it takes devices that it matches; it may say that they are to be left alone.
    pub manages: bool,
}

/// Space of a file system.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub struct Disk {
    /// A directory on it.
    pub path: String,
    /// Bytes that are free.
    pub free: u64,
    /// Bytes it has.
    pub size: u64,
    /// Inodes that are free, in a hundred; 100 where there is no limit.
    pub inodes_free: u64,
}

impl System {
    pub(super) fn read(root: &Root, here: bool, unread: &mut Vec<Unread>) -> System {
        let word = |text: Option<String>| text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let names = rustix::system::uname();
        let own = here.then(|| names.nodename().to_string_lossy().into_owned());
        let hostname = own.or_else(|| word(root.text("/etc/hostname", unread)));
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let uuid = if here { root.head("/sys/class/dmi/id/product_uuid", 100) } else { None };
        let swaps = if here { root.text("/proc/swaps", unread).unwrap_or_default() } else { String::new() };
        let log = |path: &str| root.tail(path, 256 << 10).unwrap_or_default();
        let audit = log("/var/log/audit/audit.log");
        System {
            hostname: hostname.unwrap_or_default(),
            machine_id: word(root.text("/etc/machine-id", unread)),
            product_uuid: word(uuid.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())),
            arch: names.machine().to_string_lossy().into_owned(),
            clock: i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            ahead: None,
            resolv: nameservers(&root.text("/etc/resolv.conf", unread).unwrap_or_default()),
            resolved: nameservers(&root.text("/run/systemd/resolve/resolv.conf", unread).unwrap_or_default()),
            unmanaged: unmanaged(root, unread),
            networkd: networkd(root, unread),
            ufw: root
                .text("/etc/ufw/ufw.conf", unread)
                .is_some_and(|text| text.lines().any(|l| l.trim() == "ENABLED=yes")),
            forward_files: forward_files(root, unread),
            selinux: if here { root.head("/sys/fs/selinux/enforce", 1).map(|byte| byte == b"1") } else { None },
            denials: denials(&audit),
            armor: armor(&audit)
                .into_iter()
                .chain(LOGS.iter().flat_map(|path| armor(&log(path))))
                .take(DENIED)
                .collect(),
            swaps: swaps.lines().skip(1).filter_map(|l| l.split_whitespace().next()).map(str::to_owned).collect(),
            disks: ["/", "/var/lib/etcd", "/var/lib/kubelet", "/var/lib/containerd", "/var/log"]
                .iter()
                .filter_map(|path| disk(root, path))
                .collect(),
        }
    }
}

/// `type=AVC msg=audit(…): avc:  denied  { read } for … comm="flanneld" … scontext=…:container_t:… permissive=0`.
fn denials(text: &str) -> Vec<String> {
    let ours =
        ["container_t", "container_runtime_t", "comm=\"flannel", "comm=\"bridge\"", "comm=\"host-local\"", "cni"];
    let denied = |line: &str| line.contains("avc:") && line.contains("denied") && !line.contains("permissive=1");
    newest(text, |line| denied(line) && ours.iter().any(|word| line.contains(word)))
}

/// `audit: type=1400 audit(…): apparmor="DENIED" operation="open" profile="…" name="…" comm="bridge" …`. What is
/// forbidden to applications in containers is no matter of their network.
fn armor(text: &str) -> Vec<String> {
    let programs = ["flanneld", "flannel", "bridge", "host-local", "portmap", "loopback", "calico", "calico-ipam"];
    let ours = |line: &str| programs.iter().any(|name| line.contains(&format!("comm=\"{name}\"")));
    newest(text, |line| line.contains("apparmor=\"DENIED\"") && ours(line))
}

/// The last lines of a log that are wanted, the newest first.
fn newest(text: &str, wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let lines = text.lines().rev().filter(|line| wanted(line));
    lines.take(DENIED).map(|line| line.chars().take(400).collect()).collect()
}

fn nameservers(text: &str) -> Vec<String> {
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    lines.map(|rest| rest.trim().to_owned()).filter(|word| !word.is_empty()).take(16).collect()
}

/// The files of directories, of which one in an earlier directory hides its namesakes; in the order of their names.
fn layered(root: &Root, directories: &[&str], end: &str, unread: &mut Vec<Unread>) -> Vec<(String, String)> {
    let mut found = std::collections::BTreeMap::new();
    for directory in directories {
        for name in root.list(directory, unread).into_iter().filter(|name| name.ends_with(end)).take(200) {
            found.entry(name).or_insert(*directory);
        }
    }
    let paths = found.into_iter().map(|(name, directory)| format!("{directory}/{name}"));
    paths.filter_map(|path| Some((path.clone(), root.text(&path, unread)?))).collect()
}

fn unmanaged(root: &Root, unread: &mut Vec<Unread>) -> Vec<String> {
    let directories = ["/etc/NetworkManager/conf.d", "/run/NetworkManager/conf.d", "/usr/lib/NetworkManager/conf.d"];
    let mut texts = layered(root, &directories, ".conf", unread);
    let main = "/etc/NetworkManager/NetworkManager.conf";
    texts.extend(root.text(main, unread).map(|text| (main.to_owned(), text)));
    let lines = texts.iter().flat_map(|(_, text)| text.lines());
    let values = lines.filter_map(|line| line.trim().strip_prefix("unmanaged-devices"));
    values.filter_map(|rest| rest.split_once('=')).map(|(_, value)| value.trim().to_owned()).collect()
}

fn networkd(root: &Root, unread: &mut Vec<Unread>) -> Vec<NetworkFile> {
    let directories = ["/etc/systemd/network", "/run/systemd/network", "/usr/lib/systemd/network"];
    let files = layered(root, &directories, ".network", unread);
    files.into_iter().filter_map(|(path, text)| Some(NetworkFile { path, ..network_file(&text)? })).collect()
}

/// systemd.network(5). Nothing for a file that does not match by names alone: whether it is for a device of pods is then
/// decided by its kind, driver or address, which such files name to keep away from them.
fn network_file(text: &str) -> Option<NetworkFile> {
    let (mut section, mut names, mut manages, mut others) = ("", Vec::new(), true, false);
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
        if line.starts_with('[') {
            section = line;
            continue;
        }
        let Some((key, value)) = line.split_once('=').map(|(key, value)| (key.trim(), value.trim())) else { continue };
        match (section, key) {
            ("[Match]", "Name") => names.push(value.to_owned()),
            ("[Match]", _) => others = true,
            ("[Link]", "Unmanaged") => {
                manages = !["yes", "true", "on", "1"].iter().any(|yes| yes.eq_ignore_ascii_case(value));
            }
            _ => {}
        }
    }
    (!names.is_empty() && !others).then(|| NetworkFile { path: String::new(), names: names.join(" "), manages })
}

/// sysctl.d(5): all files of these directories in the order of their names, then /etc/sysctl.conf.
fn forward_files(root: &Root, unread: &mut Vec<Unread>) -> Vec<(String, String)> {
    let directories = ["/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d"];
    let mut texts = layered(root, &directories, ".conf", unread);
    texts.extend(root.text("/etc/sysctl.conf", unread).map(|text| ("/etc/sysctl.conf".to_owned(), text)));
    let mut out = Vec::new();
    for (path, text) in texts {
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
            let Some((key, value)) = line.split_once('=') else { continue };
            let key = key.trim().trim_start_matches('-').replace('/', ".");
            if key == "net.ipv4.ip_forward" || key == "net.ipv4.conf.all.forwarding" {
                out.push((path.clone(), value.trim().to_owned()));
            }
        }
    }
    out
}

fn disk(root: &Root, path: &str) -> Option<Disk> {
    let space = root.space(path)?;
    let unit = space.f_frsize.max(1);
    Some(Disk {
        path: path.to_owned(),
        free: space.f_bavail.saturating_mul(unit),
        size: space.f_blocks.saturating_mul(unit),
        inodes_free: (space.f_favail.saturating_mul(100)).checked_div(space.f_files).unwrap_or(100),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_networkd() {
        let all = network_file("[Match]\nName=en* eth*\nName=cni*\n[Network]\nDHCP=yes\nUnmanaged=yes\n").unwrap();
        assert_eq!((all.names.as_str(), all.manages), ("en* eth* cni*", true));
        assert!(!network_file("[Match]\nName = *\n[Link]\nUnmanaged = true\n").unwrap().manages);
        for other in ["", "[Match]\nMACAddress=02:00:00:00:00:01\n", "[Match]\nName=*\nType=ether\n", "Name=*\n", "\0["]
        {
            assert_eq!(network_file(other), None, "{other:?}");
        }
    }

    #[test]
    fn denials_of_apparmor() {
        let line = |comm: &str| {
            format!(
                "Jan 1 host kernel: audit: type=1400 audit(1:2): apparmor=\"DENIED\" operation=\"open\" comm=\"{comm}\""
            )
        };
        assert_eq!(armor(&format!("{}\n{}\nx\0\n", line("bridge"), line("nginx"))), [line("bridge")]);
        assert_eq!(armor(&line("bridge").replace("DENIED", "ALLOWED")), Vec::<String>::new());
    }

    #[test]
    fn denials_of_containers() {
        let line = r#"type=AVC msg=audit(1.2:3): avc:  denied  { read } for  pid=7 comm="flanneld" scontext=system_u:system_r:container_t:s0 permissive=0"#;
        let text = format!(
            "{line}\n{}\ntype=AVC avc:  denied comm=\"sshd\"\n\0",
            line.replace("permissive=0", "permissive=1")
        );
        assert_eq!(denials(&text), [line]);
    }
}
