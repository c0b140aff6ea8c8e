//! What Kubernetes and its networks leave in a host's kernel, taken away: only what is theirs.
//!
//! Chains of iptables go by their names, with the rules that lead to them; rules of the host's owner stay, and so do the
//! policies. Routes into the networks of pods that were not there before are the cluster's: those that go to other hosts
//! without a device of the network stay when it goes. Older flannels put rules into chains of the host: those go by being exactly flannel's, for its network. Tables
//! of nftables, devices and mounts go by name, too. `kubeadm reset` leaves all of this.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};

use kiln_clusterfile::model::Cidr;
use serde::{Deserialize, Serialize};

use crate::facts::range;

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

/// Lines of saved rules that are looked at.
const LINES: usize = 1_000_000;

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

/// `address/prefix` with the bits behind the prefix taken out; none if it is no network, or is everything.
fn network(text: &str) -> Option<Cidr> {
    let (_, prefix) = text.split_once('/')?;
    let all = range(text).filter(|all| !prefix.is_empty() && all.prefix > 0)?;
    Some(Cidr { address: all.first(), ..all })
}

/// The rules that flannel puts into FORWARD and POSTROUTING where it has no chains of its own, as they are saved; by its
/// `subnet.env`.
pub fn of_flannel(subnet: &str) -> Vec<String> {
    let value = |name: &str| subnet.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix('='));
    let network = |name: &str| network(value(name)?).map(|network| network.to_string());
    let of = |all: &str, own: &str| match (network(all), network(own)) {
        (Some(all), Some(own)) => rules_of(&all, &own),
        _ => Vec::new(),
    };
    [of("FLANNEL_NETWORK", "FLANNEL_SUBNET"), of("FLANNEL_IPV6_NETWORK", "FLANNEL_IPV6_SUBNET")].concat()
}

/// Where flannel's rules do not hide who sends.
fn multicast(network: &str) -> &'static str {
    if network.contains(':') { "ff00::/8" } else { "224.0.0.0/4" }
}

fn rules_of(all: &str, own: &str) -> Vec<String> {
    vec![
        format!("FORWARD -s {all} -j ACCEPT"),
        format!("FORWARD -d {all} -j ACCEPT"),
        format!("POSTROUTING -s {all} -d {all} -j RETURN"),
        format!("POSTROUTING -s {all} ! -d {} -j MASQUERADE", multicast(all)),
        format!("POSTROUTING ! -s {all} -d {own} -j RETURN"),
        format!("POSTROUTING ! -s {all} -d {all} -j MASQUERADE"),
    ]
}

/// The same without `subnet.env`, which is in memory: by the four rules that flannel puts into POSTROUTING. Only where all
/// of them are there for one network are they taken for flannel's.
pub fn by_rules(saved: &str) -> Vec<String> {
    let bare: BTreeSet<String> =
        saved.lines().take(LINES).filter_map(|line| line.strip_prefix("-A ")).map(bare).collect();
    let all = |rule: &str| {
        let (all, rest) = rule.strip_prefix("POSTROUTING -s ")?.split_once(" ! -d ")?;
        (rest == format!("{} -j MASQUERADE", multicast(all))).then(|| all.to_owned())
    };
    let networks: BTreeSet<String> = bare.iter().filter_map(|rule| all(rule)).collect();
    let mut out = Vec::new();
    for all in networks {
        let Some(whole) = network(&all) else { continue };
        let is_part =
            |own: &&str| network(own).is_some_and(|own| own.prefix >= whole.prefix && whole.contains(own.address));
        let start = format!("POSTROUTING ! -s {all} -d ");
        let owns = bare.iter().filter_map(|rule| rule.strip_prefix(&start)?.strip_suffix(" -j RETURN")).filter(is_part);
        for own in owns {
            let rules = rules_of(&all, own);
            if rules.iter().skip(2).all(|rule| bare.contains(rule)) {
                out.extend(rules);
            }
        }
    }
    out
}

/// A rule without what does not matter to what it does: flannel's comment, and how ports are chosen.
fn bare(rule: &str) -> String {
    let rule = ["masq", "forward"]
        .iter()
        .fold(rule.to_owned(), |rule, word| rule.replace(&format!(" -m comment --comment \"flanneld {word}\""), ""));
    rule.trim_end().trim_end_matches(" --random-fully").to_owned()
}

/// What a program that restores rules reads, so that chains of Kubernetes and rules that lead to them are gone, and those of
/// `more` in other chains; none if there are none. It is given with `--noflush`.
pub fn without_chains(saved: &str, more: &[String]) -> Option<String> {
    let mut out = String::new();
    let mut any = false;
    let ours = |name: &str| CHAINS.iter().any(|start| name.starts_with(start));
    let mut chains: BTreeSet<&str> = BTreeSet::new();
    let mut rules = Vec::new();
    for line in saved.lines().take(LINES) {
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
            if !ours(chain) && (ours(target) || more.contains(&bare(rule))) {
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
    let path = |line: &str| line.split(' ').nth(4).map(super::watch::unescaped);
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

/// Takes everything away: of routes those into `pods`, networks of pods, that lead elsewhere than `before`.
pub fn sweep(pods: &[String], before: &BTreeSet<String>) -> Swept {
    let mut swept = Swept::default();
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    for path in mounts(&mountinfo) {
        match rustix::mount::unmount(path.as_str(), rustix::mount::UnmountFlags::DETACH) {
            Ok(()) => {
                // The file that a namespace was kept by is nobody's now.
                if path.contains("/netns/cni-") {
                    let _ = fs::remove_file(&path);
                }
                swept.removed.push(format!("mount {path}"));
            }
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
    for (family, said) in shown() {
        for route in of_pods(&said, pods, before) {
            let words: Vec<&str> = [family, "route", "delete"].into_iter().chain(route.split(' ')).collect();
            match ask("ip", &words, None) {
                Ok(_) => swept.removed.push(format!("route {route}")),
                Err(why) => swept.remains.push(format!("route {route}: {}", why.unwrap_or_default())),
            }
        }
    }
    swept
}

/// Routes of both families, as `ip route show` has them.
fn shown() -> [(&'static str, String); 2] {
    ["-4", "-6"].map(|family| (family, ask("ip", &[family, "route", "show"], None).unwrap_or_default()))
}

/// Where routes lead to.
pub fn destinations() -> BTreeSet<String> {
    let shown = shown();
    let lines = shown.iter().flat_map(|(_, said)| said.lines().take(LINES));
    lines.filter_map(|line| Some(route(line)?.1.to_owned())).collect()
}

/// The words of a route that tell it from others, and where it leads to, of `blackhole 10.244.3.0/26 proto bird` and
/// `10.244.1.0/24 via 10.0.0.2 dev eth0 onlink`.
fn route(line: &str) -> Option<(String, &str)> {
    const KINDS: [&str; 4] = ["blackhole", "unreachable", "prohibit", "throw"];
    let words: Vec<&str> = line.split_whitespace().collect();
    let at = words.first().is_some_and(|word| KINDS.contains(word));
    let to = *words.get(usize::from(at))?;
    let mut own = words.get(..=usize::from(at))?.to_vec();
    for pair in words.windows(2).filter(|pair| ["via", "dev", "metric"].contains(&pair[0])) {
        own.extend(pair);
    }
    Some((own.join(" "), to))
}

/// Routes into networks of pods that were not there before, in the words that they are deleted by.
fn of_pods(said: &str, pods: &[String], before: &BTreeSet<String>) -> Vec<String> {
    let pods: Vec<Cidr> = pods.iter().filter_map(|pods| network(pods)).collect();
    let is_ours = |to: &str| {
        let within = |to: Cidr| pods.iter().any(|pods| to.prefix >= pods.prefix && pods.contains(to.address));
        !before.contains(to) && range(to).is_some_and(within)
    };
    said.lines().take(LINES).filter_map(route).filter(|(_, to)| is_ours(to)).map(|(own, _)| own).collect()
}

fn rules(swept: &mut Swept) {
    let flannel = of_flannel(&fs::read_to_string("/run/flannel/subnet.env").unwrap_or_default());
    for (save, restore) in SAVERS {
        let Ok(saved) = ask(save, &[], None) else { continue };
        let known = if flannel.is_empty() { by_rules(&saved) } else { flannel.clone() };
        let Some(input) = without_chains(&saved, &known) else { continue };
        let count = |start: &str| input.lines().filter(|line| line.starts_with(start)).count();
        let (chains, rules) = (count("-X "), count("-D "));
        match ask(restore, &["--noflush"], Some(&input)) {
            Ok(_) => {
                swept.removed.push(format!("{chains} chains and {rules} rules of {}", save.trim_end_matches("-save")))
            }
            Err(why) => {
                swept.remains.push(format!("chains of {}: {}", save.trim_end_matches("-save"), why.unwrap_or_default()))
            }
        }
    }
}

/// Devices with the bridge that they are part of, of `ip -o link show`: `5: veth1@if2: <UP> mtu 1450 master cni0 …`.
fn links(said: &str) -> Vec<(&str, Option<&str>)> {
    said.lines().filter_map(link).collect()
}

fn link(line: &str) -> Option<(&str, Option<&str>)> {
    let (_, rest) = line.split_once(": ")?;
    let master = rest.split_whitespace().skip_while(|word| *word != "master").nth(1);
    Some((rest.split([':', '@']).next()?, master))
}

fn devices(swept: &mut Swept) {
    // Not /sys/class/net: it is that of the namespace it was mounted in.
    let said = ask("ip", &["-o", "link", "show"], None).unwrap_or_default();
    let links = links(&said);
    // The virtual services of kube-proxy are held by this device's addresses only in part.
    if links.iter().any(|(name, _)| *name == "kube-ipvs0") && ask("ipvsadm", &["-C"], None).is_ok() {
        swept.removed.push("IPVS services".to_owned());
    }
    for (name, _) in links.iter().filter(|(name, master)| is_device(name) || *master == Some("cni0")) {
        match ask("ip", &["link", "delete", name], None) {
            Ok(_) => swept.removed.push(format!("device {name}")),
            // One end of a pair goes with the other.
            Err(_) if ask("ip", &["link", "show", "dev", name], None).is_err() => {}
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
        let text = without_chains(saved, &[]).unwrap();
        let expected = "*nat\n-D PREROUTING -m comment --comment \"kubernetes -j MINE\" -j KUBE-SERVICES\n-F KUBE-SERVICES\n-F KUBE-X\n-X KUBE-SERVICES\n-X KUBE-X\nCOMMIT\n*filter\nCOMMIT\n";
        assert_eq!(text, expected);
        assert_eq!(without_chains("*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -j ACCEPT\nCOMMIT\n", &[]), None);
    }

    #[test]
    fn rules_of_a_flannel_without_chains_go_and_those_that_look_like_them_stay() {
        let env = "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.3.1/24\nFLANNEL_MTU=1450\n";
        let flannel = of_flannel(env);
        let saved = "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -s 10.244.0.0/16 -j ACCEPT\n-A FORWARD -d 10.244.0.0/16 -m comment --comment \"flanneld forward\" -j ACCEPT\n\
            -A FORWARD -s 10.244.0.0/16 -j DROP\n-A FORWARD -s 10.245.0.0/16 -j ACCEPT\nCOMMIT\n*nat\n:POSTROUTING ACCEPT [0:0]\n\
            -A POSTROUTING -s 10.244.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE --random-fully\n-A POSTROUTING ! -s 10.244.0.0/16 -d 10.244.3.0/24 -j RETURN\n\
            -A POSTROUTING -s 10.0.0.0/8 -j MASQUERADE\nCOMMIT\n";
        let expected = "*filter\n-D FORWARD -s 10.244.0.0/16 -j ACCEPT\n-D FORWARD -d 10.244.0.0/16 -m comment --comment \"flanneld forward\" -j ACCEPT\nCOMMIT\n\
            *nat\n-D POSTROUTING -s 10.244.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE --random-fully\n-D POSTROUTING ! -s 10.244.0.0/16 -d 10.244.3.0/24 -j RETURN\nCOMMIT\n";
        assert_eq!(without_chains(saved, &flannel).unwrap(), expected);
        assert_eq!(without_chains(saved, &[]), None, "without flannel's file nothing is known to be its");
        for bad in [
            "",
            "FLANNEL_NETWORK=0.0.0.0/0\nFLANNEL_SUBNET=1.2.3.4/24",
            "FLANNEL_NETWORK=10.0.0.0/99\nFLANNEL_SUBNET=x",
            "FLANNEL_NETWORK",
        ] {
            assert!(of_flannel(bad).is_empty(), "{bad}");
        }
    }

    #[test]
    fn rules_of_flannel_are_known_without_its_file_where_all_of_them_are_there() {
        let nat = |rules: &[&str]| {
            let rules: String = rules.iter().map(|rule| format!("-A POSTROUTING {rule}\n")).collect();
            format!("*nat\n:POSTROUTING ACCEPT [0:0]\n{rules}COMMIT\n")
        };
        let all = [
            "-s 10.244.0.0/16 -d 10.244.0.0/16 -m comment --comment \"flanneld masq\" -j RETURN",
            "-s 10.244.0.0/16 ! -d 224.0.0.0/4 -m comment --comment \"flanneld masq\" -j MASQUERADE --random-fully",
            "! -s 10.244.0.0/16 -d 10.244.3.0/24 -j RETURN",
            "! -s 10.244.0.0/16 -d 10.244.0.0/16 -j MASQUERADE --random-fully",
        ];
        let saved = nat(&[&all[..], &["-s 10.0.0.0/8 -j MASQUERADE"]].concat())
            + "*filter\n-A FORWARD -s 10.244.0.0/16 -j ACCEPT\n-A FORWARD -s 10.0.0.0/8 -j ACCEPT\nCOMMIT\n";
        let text = without_chains(&saved, &by_rules(&saved)).unwrap();
        assert_eq!(text.matches("-D POSTROUTING").count(), 4, "{text}");
        assert!(text.contains("-D FORWARD -s 10.244.0.0/16 -j ACCEPT") && !text.contains("10.0.0.0/8"), "{text}");
        // One that is missing, and a subnet of another network: somebody else's rules may look like these.
        for n in 0..all.len() {
            let mut some = all.to_vec();
            some.remove(n);
            assert!(by_rules(&nat(&some)).is_empty(), "without {}", all[n]);
        }
        let mut other = all.to_vec();
        other[2] = "! -s 10.244.0.0/16 -d 10.245.3.0/24 -j RETURN";
        assert!(by_rules(&nat(&other)).is_empty());
        let everything = all.map(|rule| rule.replace("10.244.0.0/16", "0.0.0.0/0"));
        assert!(by_rules(&nat(&everything.iter().map(String::as_str).collect::<Vec<_>>())).is_empty());
    }

    #[test]
    fn rules_of_flannel_for_ipv6_go_with_its_file_and_without() {
        let all = "-A FORWARD -s fd01::/48 -j ACCEPT\n-A FORWARD -d fd01::/48 -j ACCEPT\n-A FORWARD -s fd02::/48 -j ACCEPT\nCOMMIT\n*nat\n\
            -A POSTROUTING -s fd01::/48 -d fd01::/48 -j RETURN\n-A POSTROUTING -s fd01::/48 ! -d ff00::/8 -j MASQUERADE --random-fully\n\
            -A POSTROUTING ! -s fd01::/48 -d fd01:0:0:3::/64 -j RETURN\n-A POSTROUTING ! -s fd01::/48 -d fd01::/48 -j MASQUERADE\nCOMMIT\n";
        let saved = format!("*filter\n:FORWARD ACCEPT [0:0]\n{all}");
        let env = "FLANNEL_IPV6_NETWORK=fd01::/48\nFLANNEL_IPV6_SUBNET=fd01:0:0:3::1/64\nFLANNEL_MTU=1430\n";
        for known in [of_flannel(env), by_rules(&saved)] {
            let text = without_chains(&saved, &known).unwrap();
            assert_eq!((text.matches("-D ").count(), text.contains("fd02")), (6, false), "{text}");
        }
        // Of everything, and of another family's multicast, they are somebody else's.
        for other in [saved.replace("fd01::/48", "::/0"), saved.replace("ff00::/8", "224.0.0.0/4")] {
            assert!(by_rules(&other).is_empty(), "{other}");
        }
        assert!(of_flannel("FLANNEL_IPV6_NETWORK=::/0\nFLANNEL_IPV6_SUBNET=fd01::1/64").is_empty());
        assert!(of_flannel("FLANNEL_IPV6_NETWORK=fd01::/129\nFLANNEL_IPV6_SUBNET=fd01::1/64").is_empty());
    }

    #[test]
    fn routes_into_networks_of_pods_go_and_no_others() {
        let said = "default via 10.77.0.1 dev eth0 proto dhcp metric 100 \n10.77.0.0/24 dev eth0 proto kernel scope link src 10.77.0.11 \n\
            10.244.1.0/24 via 10.77.0.12 dev eth0 onlink \nblackhole 10.244.3.0/26 proto bird \n10.244.3.7 dev cali1 scope link \n\
            10.0.0.0/8 via 10.77.0.9 dev eth0 \n10.244.9.0/24 via 10.77.0.9 dev eth0 metric 5 \n\n";
        let before = BTreeSet::from(["10.244.9.0/24".to_owned()]);
        let pods = ["10.244.0.0/16".to_owned(), "fd64::/48".to_owned()];
        let own = ["10.244.1.0/24 via 10.77.0.12 dev eth0", "blackhole 10.244.3.0/26", "10.244.3.7 dev cali1"];
        assert_eq!(of_pods(said, &pods, &before), own);
        let six =
            "fd64:0:0:1::/64 via fd77::2 dev eth0 metric 1024 pref medium\nfd65::/64 dev eth0 metric 256 pref medium\n";
        assert_eq!(of_pods(six, &pods, &before), ["fd64:0:0:1::/64 via fd77::2 dev eth0 metric 1024"]);
        for none in [vec![], vec!["0.0.0.0/0".to_owned()], vec!["10.244.0.0".to_owned()], vec!["x/16".to_owned()]] {
            assert!(of_pods(said, &none, &before).is_empty(), "{none:?}");
        }
    }

    #[test]
    fn devices_are_read_with_their_bridges() {
        let said = "1: lo: <LOOPBACK,UP> mtu 65536 qdisc noqueue state UNKNOWN mode DEFAULT\\    link/loopback 00:00 brd 00:00\n\
            5: veth1@if2: <BROADCAST> mtu 1450 qdisc noqueue master cni0 state UP mode DEFAULT group default \\    link/ether f6:18\nnonsense\n";
        assert_eq!(links(said), [("lo", None), ("veth1", Some("cni0"))]);
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
