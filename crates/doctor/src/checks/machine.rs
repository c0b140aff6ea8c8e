//! The machine itself: names that must be its own, time, DNS, security modules, other managers of its network.

use kiln_spec::glob::fnmatch;

use super::Severity::{Error, Warning};
use super::{Found, Row};
use crate::Fleet;
use crate::facts::HostFacts;
use crate::fleet::uplink_addresses;

/// Certificates are dated back by five minutes; sealer refuses hosts that differ by more than one.
const SKEW: i64 = 60_000;

/// The rows.
pub const ROWS: &[Row] = &[
    Row {
        id: "machine.same-id",
        severity: Warning,
        line: "hosts have the same machine-id",
        symptoms: &["duplicate machine-id", "weave: peer name collision", "hosts get the same address by DHCP"],
        cause: "The machines are copies of one disk.",
        remedy: "rm /etc/machine-id && systemd-machine-id-setup, then reboot; empty the file in the image (kiln node build does).",
        after: &[],
        check: same_id,
    },
    Row {
        id: "machine.same-uuid",
        severity: Warning,
        line: "hosts have the same product_uuid",
        symptoms: &[
            "/sys/class/dmi/id/product_uuid",
            "verify the MAC address and product_uuid are unique for every node",
        ],
        cause: "The virtual machines were cloned with their numbers.",
        remedy: "Give each virtual machine a UUID of its own.",
        after: &[],
        check: same_uuid,
    },
    Row {
        id: "machine.same-mac",
        severity: Error,
        line: "hosts have network devices with the same address",
        symptoms: &[
            "verify the MAC address and product_uuid are unique for every node",
            "connections break now and then",
        ],
        cause: "The virtual machines were cloned with their network cards.",
        remedy: "Give each card an address of its own.",
        after: &[],
        check: same_mac,
    },
    Row {
        id: "machine.same-name",
        severity: Error,
        line: "hosts have the same name",
        symptoms: &[
            "a Node with name \"x\" and status \"Ready\" already exists in the cluster",
            "one node instead of two",
        ],
        cause: "Both kubelets say they are the same node: the second takes the first's place, with its podCIDR.",
        remedy: "hostnamectl set-hostname NAME, kubeadm reset and join again.",
        after: &[],
        check: same_name,
    },
    Row {
        id: "machine.clock",
        severity: Error,
        line: "clocks of hosts differ",
        symptoms: &["x509: certificate has expired or is not yet valid", "etcd: clock difference", "Unauthorized"],
        cause: "No time service runs, or it cannot reach its servers.",
        remedy: "Install and start chrony (or systemd-timesyncd) on all hosts.",
        after: &[],
        check: clock,
    },
    Row {
        id: "machine.dns-loop",
        severity: Error,
        line: "the kubelet hands pods a name server on their own loopback",
        symptoms: &[
            "plugin/loop: Loop (127.0.0.1:… -> :53) detected for zone \".\"",
            "coredns CrashLoopBackOff",
            "Loop … detected",
        ],
        cause: "/etc/resolv.conf names a stub (systemd-resolved's 127.0.0.53, dnsmasq), and CoreDNS takes it over: it asks itself.",
        remedy: "Set resolvConf: /run/systemd/resolve/resolv.conf in /var/lib/kubelet/config.yaml, start the kubelet and CoreDNS's pods again.",
        after: &[],
        check: dns_loop,
    },
    Row {
        id: "machine.no-dns",
        severity: Warning,
        line: "the file that pods get their name servers from has none",
        symptoms: &["dial udp: lookup … on [::1]:53", "CoreDNS: no upstream nameservers"],
        cause: "Nothing writes /etc/resolv.conf on this host.",
        remedy: "Put a name server into it.",
        after: &[],
        check: no_dns,
    },
    Row {
        id: "machine.cgroup-driver",
        severity: Error,
        line: "kubelet and container runtime manage cgroups in different ways",
        symptoms: &[
            "kubelet cgroup driver: \"systemd\" is different from docker cgroup driver: \"cgroupfs\"",
            "pods are killed and started again",
            "expected cgroupsPath to be of format \"slice:prefix:name\"",
        ],
        cause: "containerd's default is cgroupfs, kubeadm's is systemd.",
        remedy: "Set SystemdCgroup = true for runc in /etc/containerd/config.toml, or cgroupDriver: cgroupfs for the kubelet; start both again.",
        after: &[],
        check: cgroup_driver,
    },
    Row {
        id: "machine.swap",
        severity: Warning,
        line: "swap is on, and the kubelet does not start with it",
        symptoms: &["running with swap on is not supported, please disable swap!", "[ERROR Swap]"],
        cause: "A swap device is in use, and failSwapOn is not false.",
        remedy: "swapoff -a, and take it out of /etc/fstab.",
        after: &[],
        check: swap,
    },
    Row {
        id: "machine.kubelet-down",
        severity: Error,
        line: "the kubelet does not run",
        symptoms: &[
            "[kubelet-check] The HTTP call equal to 'curl -sSL http://localhost:10248/healthz' failed",
            "node is NotReady",
            "Kubelet stopped posting node status",
        ],
        cause: "It was stopped, or ends at once: a wrong setting, swap, a missing runtime.",
        remedy: "journalctl -u kubelet -e says why; systemctl enable --now kubelet.",
        after: &["machine.swap", "machine.cgroup-driver", "machine.cri-disabled"],
        check: kubelet_down,
    },
    Row {
        id: "machine.cri-disabled",
        severity: Error,
        line: "the container runtime runs, and does not speak to the kubelet",
        symptoms: &[
            "unknown service runtime.v1.RuntimeService",
            "[ERROR CRI]: container runtime is not running",
            "validate CRI v1 runtime API for endpoint \"unix:///run/containerd/containerd.sock\"",
        ],
        cause: "containerd's configuration has disabled_plugins = [\"cri\"], as Docker's package brings it.",
        remedy: "Take cri out of disabled_plugins in /etc/containerd/config.toml (or containerd config default > /etc/containerd/config.toml, with SystemdCgroup = true), start containerd again.",
        after: &[],
        check: cri_disabled,
    },
    Row {
        id: "machine.selinux",
        severity: Error,
        line: "SELinux forbids containers or their network what they need",
        symptoms: &[
            "avc:  denied",
            "permission denied (root in a pod)",
            "open /run/flannel/subnet.env: permission denied",
        ],
        cause: "container-selinux is missing or older than the runtime, or files were made with another label.",
        remedy: "Install container-selinux, restorecon -R /etc/cni /opt/cni /var/lib/cni /run/flannel; setenforce 0 shows whether it is that.",
        after: &[],
        check: selinux,
    },
    Row {
        id: "machine.apparmor",
        severity: Error,
        line: "AppArmor forbids programs of the pod network what they need",
        symptoms: &[
            "apparmor=\"DENIED\"",
            "permission denied (root in a pod)",
            "fork/exec /opt/cni/bin/bridge: permission denied",
        ],
        cause: "A profile of an administrator's, or of a distribution's, is for a plugin or for flanneld as well.",
        remedy: "aa-status shows the profile; aa-complain NAME shows whether it is that; let it allow what the line names, or take the program out of it.",
        after: &[],
        check: apparmor,
    },
    Row {
        id: "machine.network-manager",
        severity: Warning,
        line: "NetworkManager manages the devices of the pod network",
        symptoms: &[
            "NetworkManager removes routes of flannel.1",
            "cali interfaces lose their routes",
            "device (cni0): state change",
        ],
        cause: "It takes every device that it was not told to leave alone.",
        remedy: "kiln doctor fix machine.network-manager writes a file in /etc/NetworkManager/conf.d with unmanaged-devices=interface-name:cni*;interface-name:flannel*;interface-name:cali*;interface-name:tunl*",
        after: &[],
        check: network_manager,
    },
    Row {
        id: "machine.networkd",
        severity: Warning,
        line: "systemd-networkd manages the devices of the pod network",
        symptoms: &[
            "flannel.1 loses its routes after networkctl reload",
            "flannel.1 has an address of DHCP",
            "systemd-networkd: flannel.1: Gained carrier",
        ],
        cause: "A .network file matches them by a pattern such as `*`.",
        remedy: "Match by kind or driver of the real card; or add a file that comes first, with Name=cni* flannel* cali* veth* and Unmanaged=yes. ManageForeignRoutes=no in networkd.conf keeps it from deleting routes.",
        after: &[],
        check: networkd,
    },
];

/// `6.1.0-18-amd64` → (6, 1).
pub fn release(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Something that is to be each host's own, and is not.
fn shared(fleet: &Fleet, what: &str, of: impl Fn(&HostFacts) -> Vec<String>) -> Vec<Found> {
    let mut groups: std::collections::BTreeMap<String, Vec<String>> = std::collections::BTreeMap::new();
    for host in &fleet.hosts {
        let mut values = of(host);
        values.sort();
        values.dedup();
        for value in values {
            groups.entry(value).or_default().push(host.name.clone());
        }
    }
    let same = groups.into_iter().filter(|(_, hosts)| hosts.len() > 1);
    same.map(|(value, hosts)| {
        let evidence = vec![format!("{what} {} on {}", super::logs::printable(&value), hosts.join(", "))];
        Found { hosts, evidence, edge: None }
    })
    .collect()
}

fn same_id(fleet: &Fleet) -> Vec<Found> {
    shared(fleet, "/etc/machine-id is", |host| {
        host.system.machine_id.iter().filter(|id| *id != "uninitialized").cloned().collect()
    })
}

fn same_uuid(fleet: &Fleet) -> Vec<Found> {
    // Firmware that has no number says one of these.
    let real = |id: &&String| {
        !id.starts_with("00000000-")
            && !id.to_ascii_lowercase().starts_with("ffffffff-")
            && !id.starts_with("03000200-")
    };
    shared(fleet, "product_uuid is", |host| host.system.product_uuid.iter().filter(real).cloned().collect())
}

fn same_mac(fleet: &Fleet) -> Vec<Found> {
    shared(fleet, "a device has", |host| {
        let macs =
            |tables| uplink_addresses(tables).filter_map(|(link, _)| link.mac.map(|mac| mac.to_string())).collect();
        host.tables().map(macs).unwrap_or_default()
    })
}

fn same_name(fleet: &Fleet) -> Vec<Found> {
    shared(fleet, "the name is", |host| Some(host.node_name()).filter(|name| !name.is_empty()).into_iter().collect())
}

fn clock(fleet: &Fleet) -> Vec<Found> {
    let known: Vec<(&HostFacts, i64)> =
        fleet.hosts.iter().filter_map(|host| Some((host, host.system.ahead?))).collect();
    let mut sorted: Vec<i64> = known.iter().map(|(_, ahead)| *ahead).collect();
    sorted.sort_unstable();
    let Some(middle) = sorted.get(sorted.len() / 2).copied().filter(|_| sorted.len() > 1) else { return Vec::new() };
    let off = known.into_iter().filter(|(_, ahead)| ahead.saturating_sub(middle).saturating_abs() > SKEW);
    off.map(|(host, ahead)| {
        let seconds = ahead.saturating_sub(middle) / 1000;
        let words = if seconds < 0 { "behind" } else { "ahead of" };
        Found::on(&host.name, format!("its clock is {} s {words} the others", seconds.saturating_abs()))
    })
    .collect()
}

/// The file that pods get their name servers from, and those in it; nothing when it is not known.
fn resolv(host: &HostFacts) -> Option<(&str, &[String])> {
    let set = host.kube.flags.get("resolv-conf").or_else(|| host.kube.kubelet.get("resolvConf")).map(String::as_str);
    match set {
        None | Some("" | "/etc/resolv.conf") => Some(("/etc/resolv.conf", &host.system.resolv)),
        Some(path @ "/run/systemd/resolve/resolv.conf") => Some((path, &host.system.resolved)),
        Some(_) => None,
    }
}

fn dns_loop(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for host in fleet.hosts.iter().filter(|host| host.is_node()) {
        let Some((path, servers)) = resolv(host) else { continue };
        if let Some(own) = servers.iter().find(|server| server.starts_with("127.") || *server == "::1") {
            let seen = format!("{path} has nameserver {}", super::logs::printable(own));
            let set = host.kube.kubelet.get("resolvConf").map_or("not set", String::as_str);
            out.push(Found::on(&host.name, seen).and(format!("resolvConf of the kubelet is {set}")));
        }
    }
    out
}

fn no_dns(fleet: &Fleet) -> Vec<Found> {
    let hosts = fleet.hosts.iter().filter(|host| host.is_node()).filter_map(|host| Some((host, resolv(host)?)));
    let bare =
        hosts.filter(|(host, (path, servers))| servers.is_empty() && !host.unread.iter().any(|u| u.what == *path));
    bare.map(|(host, (path, _))| Found::on(&host.name, format!("{path} has no nameserver"))).collect()
}

fn cgroup_driver(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for host in fleet.hosts.iter().filter(|host| host.is_node()) {
        let kubelet = host.kube.flags.get("cgroup-driver").or_else(|| host.kube.kubelet.get("cgroupDriver"));
        let (Some(kubelet), Some(systemd)) = (kubelet, host.kube.runtime.systemd_cgroup) else { continue };
        if (kubelet == "systemd") != systemd {
            let seen = format!("cgroupDriver of the kubelet is {}", super::logs::printable(kubelet));
            out.push(
                Found::on(&host.name, seen).and(format!("SystemdCgroup in /etc/containerd/config.toml is {systemd}")),
            );
        }
    }
    out
}

fn swap(fleet: &Fleet) -> Vec<Found> {
    let on = fleet.nodes().filter(|(host, _)| !host.system.swaps.is_empty());
    let refused = on.filter(|(host, kernel)| {
        host.kube.kubelet.get("failSwapOn").is_none_or(|value| value != "false") && kernel.process("kubelet").is_none()
    });
    refused.map(|(host, _)| Found::on(&host.name, format!("swap on {}", host.system.swaps.join(", ")))).collect()
}

fn kubelet_down(fleet: &Fleet) -> Vec<Found> {
    let joined = fleet.nodes().filter(|(host, kernel)| host.kube.kubelet_conf && kernel.process("kubelet").is_none());
    joined
        .map(|(host, _)| Found::on(&host.name, "/etc/kubernetes/kubelet.conf is there, and no process kubelet"))
        .collect()
}

fn cri_disabled(fleet: &Fleet) -> Vec<Found> {
    let asked =
        fleet.hosts.iter().filter(|host| host.is_node()).filter_map(|host| Some((host, host.kube.cri.as_ref()?)));
    let deaf = asked.filter(|(_, cri)| cri.disabled);
    deaf.map(|(host, cri)| {
        let socket = super::logs::printable(&cri.socket);
        Found::on(&host.name, format!("{socket} answers, and has no runtime.v1.RuntimeService"))
    })
    .collect()
}

fn selinux(fleet: &Fleet) -> Vec<Found> {
    let strict = fleet.hosts.iter().filter(|host| host.is_node() && host.system.selinux == Some(true));
    let denied = strict.filter(|host| !host.system.denials.is_empty());
    denied
        .map(|host| {
            let evidence = host.system.denials.iter().take(3).map(|line| super::logs::printable(line)).collect();
            Found { hosts: vec![host.name.clone()], evidence, edge: None }
        })
        .collect()
}

fn apparmor(fleet: &Fleet) -> Vec<Found> {
    let denied = fleet.hosts.iter().filter(|host| host.is_node() && !host.system.armor.is_empty());
    denied
        .map(|host| {
            let evidence = host.system.armor.iter().take(3).map(|line| super::logs::printable(line)).collect();
            Found { hosts: vec![host.name.clone()], evidence, edge: None }
        })
        .collect()
}

fn pod_devices(host: &HostFacts) -> Vec<&str> {
    let links = host.tables().map(|tables| tables.links.as_slice()).unwrap_or_default();
    let ours = links.iter().map(|link| link.name.as_str()).filter(|name| {
        *name == "cni0" || ["flannel", "cali", "vxlan.calico", "tunl0"].iter().any(|start| name.starts_with(start))
    });
    ours.take(8).collect()
}

fn network_manager(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for (host, kernel) in fleet.nodes().filter(|(_, kernel)| kernel.process("NetworkManager").is_some()) {
        let words: Vec<&str> =
            host.system.unmanaged.iter().flat_map(|line| line.split([';', ','])).map(str::trim).collect();
        let kind = |name: &str| kernel.tables.link(name).and_then(|link| link.kind.as_deref());
        let left_alone = |name: &str| {
            let but =
                words.iter().filter_map(|word| word.strip_prefix("except:")).any(|word| names(word, name, kind(name)));
            !but && words.iter().any(|word| names(word, name, kind(name)))
        };
        let taken: Vec<&str> = pod_devices(host).into_iter().filter(|name| !left_alone(name)).collect();
        if !taken.is_empty() {
            let pid = kernel.process("NetworkManager").map_or(0, |process| process.pid);
            let seen =
                format!("NetworkManager runs (process {pid}), and no unmanaged-devices has {}", taken.join(", "));
            out.push(Found::on(&host.name, seen));
        }
    }
    out
}

/// Whether a word of a list of devices means one: NetworkManager.conf(5), "Device List Format".
fn names(word: &str, device: &str, kind: Option<&str>) -> bool {
    if word == "*" {
        return true;
    }
    if let Some(wanted) = word.strip_prefix("type:") {
        // Its own name for tunnels of IP.
        return kind.is_some_and(|kind| wanted == kind || (wanted == "ip-tunnel" && kind == "ipip"));
    }
    let pattern = word.strip_prefix("interface-name:").map(|pattern| pattern.trim_start_matches(['=', '~']));
    pattern.is_some_and(|pattern| fnmatch(pattern, device))
}

fn networkd(fleet: &Fleet) -> Vec<Found> {
    let mut out = Vec::new();
    for (host, _) in fleet.nodes().filter(|(_, kernel)| kernel.process("systemd-network").is_some()) {
        let hit = pod_devices(host).into_iter().find_map(|device| {
            let file = host.system.networkd.iter().find(|file| matched(&file.names, device))?;
            let seen = || format!("{} matches {device}: Name={}", file.path, super::logs::printable(&file.names));
            file.manages.then(seen)
        });
        out.extend(hit.map(|seen| Found::on(&host.name, seen)));
    }
    out
}

/// Whether patterns of systemd-networkd match: after `!` all but those that it names.
fn matched(patterns: &str, device: &str) -> bool {
    let any = |patterns: &str| patterns.split_whitespace().any(|pattern| fnmatch(pattern, device));
    match patterns.trim_start().strip_prefix('!') {
        Some(others) => !any(others),
        None => any(patterns),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_of_managers() {
        for (word, device, kind, meant) in [
            ("*", "cni0", Some("bridge"), true),
            ("type:bridge", "cni0", Some("bridge"), true),
            ("type:ethernet", "cni0", Some("bridge"), false),
            ("interface-name:cni*", "cni0", None, true),
            ("interface-name:=cni0", "cni0", None, true),
            ("mac:00:11", "cni0", None, false),
            ("", "cni0", None, false),
        ] {
            assert_eq!(names(word, device, kind), meant, "{word}");
        }
        assert!(matched("cni* flannel*", "flannel.1") && !matched("en*", "cni0"));
        assert!(matched("!en* eth*", "cni0") && !matched("!cni* flannel*", "flannel.1"));
    }

    #[test]
    fn releases() {
        assert_eq!(release("6.1.0-18-amd64"), Some((6, 1)));
        assert_eq!(release("garbage"), None);
    }
}
