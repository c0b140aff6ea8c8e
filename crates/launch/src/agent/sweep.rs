//! What Kubernetes and its networks leave in a host's kernel, taken away: only what is theirs.
//!
//! Chains of iptables go by their names, with the rules that lead to them; rules of the host's owner stay, and so do the
//! policies. Tables of nftables, devices and mounts go by name, too. `kubeadm reset` leaves all of this.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

/// What a sweep did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swept {
    /// What is gone.
    pub removed: Vec<String>,
    /// What is still there, and why.
    pub remains: Vec<String>,
}

/// Beginnings of names of chains.
const CHAINS: [&str; 6] = ["KUBE-", "CNI-", "FLANNEL-", "cali-", "WEAVE", "KILN-"];
/// Tables of nftables.
const TABLES: [(&str, &str); 4] =
    [("ip", "kube-proxy"), ("ip6", "kube-proxy"), ("inet", "flannel-ipv4"), ("inet", "flannel-ipv6")];
/// Programs that save rules, with those that restore them.
const SAVERS: [(&str, &str); 6] = [
    ("iptables-legacy-save", "iptables-legacy-restore"),
    ("ip6tables-legacy-save", "ip6tables-legacy-restore"),
    ("iptables-nft-save", "iptables-nft-restore"),
    ("ip6tables-nft-save", "ip6tables-nft-restore"),
    ("iptables-save", "iptables-restore"),
    ("ip6tables-save", "ip6tables-restore"),
];

/// Whether a device is one of Kubernetes' networks.
pub fn is_device(name: &str) -> bool {
    let whole = [
        "cni0",
        "kube-ipvs0",
        "kube-dummy-if",
        "vxlan.calico",
        "wireguard.cali",
        "weave",
        "datapath",
        "nodelocaldns",
        "kiln0",
    ];
    let starts = ["flannel.", "flannel-v6.", "cali", "vethwe", "lxc_health", "cilium_"];
    whole.contains(&name) || starts.iter().any(|start| name.starts_with(start))
}

/// What a program that restores rules reads, so that chains of Kubernetes and rules that lead to them are gone; none if
/// there are none. It is given with `--noflush`.
pub fn without_chains(saved: &str) -> Option<String> {
    let mut out = String::new();
    let mut any = false;
    let ours = |name: &str| CHAINS.iter().any(|start| name.starts_with(start));
    let mut chains: BTreeSet<&str> = BTreeSet::new();
    let mut rules = Vec::new();
    for line in saved.lines().take(1_000_000) {
        if line.starts_with('*') {
            chains.clear();
            rules.clear();
            out.push_str(line);
            out.push('\n');
        } else if let Some(chain) =
            line.strip_prefix(':').and_then(|rest| rest.split(' ').next()).filter(|chain| ours(chain))
        {
            chains.insert(chain);
        } else if let Some(rule) = line.strip_prefix("-A ") {
            let chain = rule.split(' ').next().unwrap_or_default();
            // The target stands at the end: what looks like one before it may be in a comment.
            let before = ["-j", "-g"].iter().filter_map(|word| rule.rfind(&format!(" {word} "))).max();
            let target = before.and_then(|at| rule.get(at + 4..)?.split(' ').next()).unwrap_or_default();
            if !ours(chain) && ours(target) {
                rules.push(format!("-D {rule}"));
            }
        } else if line == "COMMIT" {
            // First nobody leads there, then they are empty, then they are gone.
            for rule in &rules {
                any = true;
                out.push_str(rule);
                out.push('\n');
            }
            for verb in ["-F", "-X"] {
                for chain in &chains {
                    any = true;
                    out.push_str(&format!("{verb} {chain}\n"));
                }
            }
            out.push_str("COMMIT\n");
        }
    }
    any.then_some(out)
}

/// Mounts below kubelet's directory, and of pods' networks, the innermost first.
pub fn mounts(mountinfo: &str) -> Vec<String> {
    let path = |line: &str| line.split(' ').nth(4).map(|text| text.replace("\\040", " "));
    let theirs = |path: &String| {
        ["/var/lib/kubelet/", "/run/netns/cni-", "/var/run/netns/cni-", "/run/calico/"]
            .iter()
            .any(|start| path.starts_with(start))
    };
    let mut out: Vec<String> = mountinfo.lines().filter_map(path).filter(theirs).collect();
    out.reverse();
    out
}

/// A program with what it reads; what it writes, if it is there and ends well.
fn ask(program: &str, args: &[&str], input: Option<&str>) -> Result<String, Option<String>> {
    use std::io::Write;
    let mut command = Command::new(program);
    command.args(args).stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(None),
        Err(error) => return Err(Some(error.to_string())),
        Ok(child) => child,
    };
    if let (Some(text), Some(mut stdin)) = (input, child.stdin.take()) {
        // That it reads no more shows in how it ends.
        let _ = stdin.write_all(text.as_bytes());
    }
    let output = child.wait_with_output().map_err(|error| Some(error.to_string()))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(Some(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
    }
}

/// Takes everything away.
pub fn sweep() -> Swept {
    let mut swept = Swept::default();
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    for path in mounts(&mountinfo) {
        match rustix::mount::unmount(path.as_str(), rustix::mount::UnmountFlags::DETACH) {
            Ok(()) => swept.removed.push(format!("mount {path}")),
            Err(error) => swept.remains.push(format!("mount {path}: {error}")),
        }
    }
    rules(&mut swept);
    for (family, table) in TABLES {
        if ask("nft", &["list", "table", family, table], None).is_ok() {
            match ask("nft", &["delete", "table", family, table], None) {
                Ok(_) => swept.removed.push(format!("nftables table {family} {table}")),
                Err(why) => swept.remains.push(format!("nftables table {family} {table}: {}", why.unwrap_or_default())),
            }
        }
    }
    devices(&mut swept);
    swept
}

fn rules(swept: &mut Swept) {
    for (save, restore) in SAVERS {
        let Ok(saved) = ask(save, &[], None) else { continue };
        let Some(input) = without_chains(&saved) else { continue };
        let count = input.lines().filter(|line| line.starts_with("-X ")).count();
        match ask(restore, &["--noflush"], Some(&input)) {
            Ok(_) => swept.removed.push(format!("{count} chains of {}", save.trim_end_matches("-save"))),
            Err(why) => {
                swept.remains.push(format!("chains of {}: {}", save.trim_end_matches("-save"), why.unwrap_or_default()))
            }
        }
    }
}

fn devices(swept: &mut Swept) {
    let names = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    let names: Vec<String> = names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    // The virtual services of kube-proxy are held by this device's addresses only in part.
    if names.iter().any(|name| name == "kube-ipvs0") && ask("ipvsadm", &["-C"], None).is_ok() {
        swept.removed.push("IPVS services".to_owned());
    }
    let of_pods = |name: &String| {
        Path::new("/sys/class/net").join(name).join("master").read_link().is_ok_and(|to| to.ends_with("cni0"))
    };
    for name in names.iter().filter(|name| is_device(name) || of_pods(name)) {
        match ask("ip", &["link", "delete", name], None) {
            Ok(_) => swept.removed.push(format!("device {name}")),
            // One end of a pair goes with the other.
            Err(_) if !Path::new("/sys/class/net").join(name).exists() => {}
            Err(why) => swept.remains.push(format!("device {name}: {}", why.unwrap_or_default())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_chains_of_kubernetes_go() {
        let saved = "# by iptables\n*nat\n:PREROUTING ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n:MINE - [0:0]\n-A PREROUTING -m comment --comment \"kubernetes -j MINE\" -j KUBE-SERVICES\n-A PREROUTING -j MINE\n-A KUBE-SERVICES -j KUBE-X\n:KUBE-X - [0:0]\nCOMMIT\n*filter\n:FORWARD DROP [0:0]\n-A FORWARD -m comment --comment KUBE-note -j ACCEPT\nCOMMIT\n";
        let text = without_chains(saved).unwrap();
        let expected = "*nat\n-D PREROUTING -m comment --comment \"kubernetes -j MINE\" -j KUBE-SERVICES\n-F KUBE-SERVICES\n-F KUBE-X\n-X KUBE-SERVICES\n-X KUBE-X\nCOMMIT\n*filter\nCOMMIT\n";
        assert_eq!(text, expected);
        assert_eq!(without_chains("*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -j ACCEPT\nCOMMIT\n"), None);
    }

    #[test]
    fn devices_and_mounts_by_name() {
        for (name, ours) in [
            ("cni0", true),
            ("flannel.1", true),
            ("cali123", true),
            ("eth0", false),
            ("docker0", false),
            ("cni1", false),
            ("tunl0", false),
        ] {
            assert_eq!(is_device(name), ours, "{name}");
        }
        let info = "1 2 0:1 / /var/lib/kubelet rw - ext4 a rw\n3 1 0:1 / /var/lib/kubelet/pods/a\\040b rw - tmpfs t rw\n4 3 0:1 / /var/lib/kubelet/pods/a\\040b/c rw - tmpfs t rw\n5 1 0:1 / /home rw - ext4 a rw\n";
        assert_eq!(mounts(info), ["/var/lib/kubelet/pods/a b/c", "/var/lib/kubelet/pods/a b"]);
    }
}
