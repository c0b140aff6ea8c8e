//! What the kernel says: devices, rules, settings, counters, who runs and who listens.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;

use serde::{Deserialize, Serialize};

use super::Unread;
use crate::netlink::generic::{VirtualService, features, virtual_services};
use crate::netlink::legacy;
use crate::netlink::nft::{Rule, Ruleset};
use crate::netlink::route::Tables;
use crate::netlink::services::{self, Service};

/// Programs that matter to a network of pods, by the first 15 letters of their names, as the kernel keeps them.
const PROGRAMS: [&str; 18] = [
    "NetworkManager",
    "bird",
    "calico-node",
    "containerd",
    "crio",
    "dockerd",
    "etcd",
    "firewalld",
    "flanneld",
    "kube-apiserver",
    "kube-controller",
    "kube-proxy",
    "kube-scheduler",
    "kubelet",
    "systemd-network",
    "systemd-resolve",
    "chronyd",
    "kube-router",
];
/// Ports of the control plane and the kubelet.
const PORTS: [u16; 7] = [2379, 2380, 6443, 10250, 10256, 10257, 10259];
/// Settings of the whole namespace.
const SETTINGS: [&str; 9] = [
    "net/bridge/bridge-nf-call-iptables",
    "net/bridge/bridge-nf-call-ip6tables",
    "net/ipv4/ip_forward",
    "net/ipv6/conf/all/forwarding",
    "net/ipv4/vs/conn_reuse_mode",
    "net/ipv4/vs/conntrack",
    "net/netfilter/nf_conntrack_count",
    "net/netfilter/nf_conntrack_max",
    "net/ipv4/neigh/default/gc_thresh3",
];
const PROCESSES: usize = 200_000;

/// What the kernel says.
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
pub struct Kernel {
    /// `6.1.0-18-amd64`.
    pub release: String,
    /// Seconds since it started.
    pub uptime: u64,
    /// Devices, addresses, routes, neighbours.
    pub tables: Tables,
    /// Chains and rules of nf_tables.
    pub ruleset: Ruleset,
    /// Chains of the older iptables, where it has any.
    pub legacy: Vec<LegacyChain>,
    /// Rules of the older iptables, as far as they are not those of single services.
    pub legacy_rules: Vec<Rule>,
    /// Services of IPVS.
    pub virtual_services: Vec<VirtualService>,
    /// Services, as kube-proxy wrote them into rules or IPVS.
    pub services: Vec<Service>,
    /// Features that are switched on, of VXLAN devices.
    pub features: BTreeMap<String, Vec<String>>,
    /// Settings below /proc/sys, by path.
    pub settings: BTreeMap<String, String>,
    /// Counters of /proc/net/snmp, /proc/net/netstat and conntrack: `Udp.InCsumErrors`.
    pub counters: BTreeMap<String, u64>,
    /// Programs in this network namespace.
    pub processes: Vec<Process>,
    /// Who listens on the ports of the control plane.
    pub listeners: Vec<Listener>,
    /// Addresses that connections wait for without any answer, with how many do.
    pub unanswered: BTreeMap<std::net::IpAddr, u64>,
}

/// A chain of the older iptables.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub struct LegacyChain {
    /// `filter`, `nat`, …
    pub table: String,
    /// Its name.
    pub name: String,
    /// Whether it drops what no rule decides about.
    pub drops: bool,
    /// How many rules it has.
    pub rules: u32,
}

/// A program that runs.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// The first 15 letters of its name.
    pub name: String,
    /// Its words.
    pub arguments: Vec<String>,
}

/// Who listens on a port.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub struct Listener {
    /// The port of TCP.
    pub port: u16,
    /// Who, if that can be seen.
    pub process: Option<Process>,
}

impl Kernel {
    /// Reads it in the namespace of this thread.
    pub(super) fn read(unread: &mut Vec<Unread>) -> Kernel {
        let mut told = |what: &str, why: String| unread.push(Unread { what: what.to_owned(), why });
        let tables = Tables::read().unwrap_or_else(|error| {
            told("devices and routes", error.to_string());
            Tables::default()
        });
        let (ruleset, mut services) = Ruleset::read(&tables).unwrap_or_else(|error| {
            told("rules of nf_tables", error.to_string());
            (Ruleset::default(), Vec::new())
        });
        let (virtual_services, known) = virtual_services().unwrap_or_else(|error| {
            told("services of IPVS", error.to_string());
            (Vec::new(), 0)
        });
        if let Some(why) = unasked(virtual_services.len(), known) {
            told("where services of IPVS lead", why);
        }
        let older = older_rules().unwrap_or_else(|why| {
            told("chains of the older iptables", why);
            String::new()
        });
        services.extend(services::of_rules(&services::saved(&older)));
        services.extend(virtual_services.iter().take(known).map(of_ipvs));
        let overlays = tables.links.iter().filter(|link| link.vxlan.is_some());
        let features = overlays.filter_map(|link| Some((link.name.clone(), features(&link.name).ok()??))).collect();
        let processes = processes();
        Kernel {
            release: line("/proc/sys/kernel/osrelease").unwrap_or_default(),
            uptime: line("/proc/uptime").and_then(|text| text.split('.').next()?.parse().ok()).unwrap_or(0),
            settings: settings(&tables),
            counters: counters(),
            listeners: listeners(),
            unanswered: unanswered(),
            processes,
            tables,
            ruleset,
            legacy: saved(&older),
            legacy_rules: legacy::rules(&older),
            virtual_services,
            services,
            features,
        }
    }

    /// A setting as a number.
    pub fn setting(&self, path: &str) -> Option<i64> {
        self.settings.get(path)?.parse().ok()
    }

    /// A counter; 0 when the kernel does not have it.
    pub fn counter(&self, name: &str) -> u64 {
        self.counters.get(name).copied().unwrap_or(0)
    }

    /// A program, if it runs here.
    pub fn process(&self, name: &str) -> Option<&Process> {
        self.processes.iter().find(|process| process.name == name)
    }
}

/// What is not known of the services of IPVS, if not all of it is.
fn unasked(all: usize, known: usize) -> Option<String> {
    let left = all.saturating_sub(known);
    (left > 0).then(|| format!("there was no time to ask for {left} of {all}"))
}

/// A service of IPVS; its name is nowhere in the kernel.
fn of_ipvs(service: &VirtualService) -> Service {
    Service {
        name: String::new(),
        protocol: u8::try_from(service.protocol).unwrap_or(0),
        ip: Some(service.ip),
        port: service.port,
        endpoints: service.destinations.clone(),
    }
}

fn read_proc(path: &str, limit: u64) -> Option<String> {
    let mut out = Vec::new();
    fs::File::open(path).ok()?.take(limit).read_to_end(&mut out).ok()?;
    Some(String::from_utf8_lossy(&out).into_owned())
}

fn line(path: &str) -> Option<String> {
    read_proc(path, 4096).map(|text| text.trim().to_owned())
}

fn settings(tables: &Tables) -> BTreeMap<String, String> {
    let mut paths: Vec<String> = SETTINGS.map(str::to_owned).to_vec();
    // Of the hundreds of devices of pods nothing is asked.
    let own = tables.links.iter().filter(|link| !(link.elsewhere && link.kind.as_deref() == Some("veth")));
    let names = own.map(|link| link.name.as_str()).take(200).chain(["all", "default"]);
    for name in names.filter(|name| !name.contains('/')) {
        paths.extend(["rp_filter", "forwarding"].map(|setting| format!("net/ipv4/conf/{name}/{setting}")));
    }
    paths.into_iter().filter_map(|path| Some((path.clone(), line(&format!("/proc/sys/{path}"))?))).collect()
}

fn counters() -> BTreeMap<String, u64> {
    let mut out = BTreeMap::new();
    for file in ["snmp", "netstat"] {
        let text = read_proc(&format!("/proc/thread-self/net/{file}"), 1 << 20).unwrap_or_default();
        // Two lines for each protocol: names, numbers.
        let lines: Vec<&str> = text.lines().collect();
        for pair in lines.chunks_exact(2) {
            let [names, numbers] = pair else { continue };
            let Some((protocol, names)) = names.split_once(':') else { continue };
            let numbers = numbers.split_whitespace().skip(1);
            for (name, number) in names.split_whitespace().zip(numbers) {
                out.insert(format!("{protocol}.{name}"), number.parse().unwrap_or(0));
            }
        }
    }
    let text = read_proc("/proc/thread-self/net/stat/nf_conntrack", 1 << 20).unwrap_or_default();
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().collect();
    for line in lines {
        for (name, number) in names.iter().zip(line.split_whitespace()) {
            let number = u64::from_str_radix(number, 16).unwrap_or(0);
            *out.entry(format!("conntrack.{name}")).or_default() += number;
        }
    }
    out
}

/// Connections of TCP that had no answer, by where they went first.
fn unanswered() -> BTreeMap<std::net::IpAddr, u64> {
    let mut out = BTreeMap::new();
    let text = read_proc("/proc/thread-self/net/nf_conntrack", 8 << 20).unwrap_or_default();
    for line in text.lines().filter(|line| line.contains("SYN_SENT") && line.contains("[UNREPLIED]")) {
        let to = line.split_whitespace().find_map(|word| word.strip_prefix("dst="));
        if let Some(ip) = to.and_then(|to| to.parse().ok()) {
            *out.entry(ip).or_default() += 1;
        }
    }
    out
}

fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).take(PROCESSES)
}

/// The programs of [`PROGRAMS`] in the network namespace of this thread.
fn processes() -> Vec<Process> {
    let Ok(here) = fs::read_link("/proc/thread-self/ns/net") else { return Vec::new() };
    let known: BTreeSet<&str> = PROGRAMS.iter().copied().collect();
    let known = |pid: &u32| line(&format!("/proc/{pid}/comm")).is_some_and(|name| known.contains(name.as_str()));
    let inside = |pid: &u32| fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|there| there == here);
    pids().filter(known).filter(inside).map(process).collect()
}

fn process(pid: u32) -> Process {
    let words = read_proc(&format!("/proc/{pid}/cmdline"), 32 << 10).unwrap_or_default();
    let arguments = words.split('\0').filter(|word| !word.is_empty()).map(str::to_owned).collect();
    Process { pid, name: line(&format!("/proc/{pid}/comm")).unwrap_or_default(), arguments }
}

fn listeners() -> Vec<Listener> {
    let mut found: BTreeMap<String, u16> = BTreeMap::new();
    for file in ["tcp", "tcp6"] {
        let text = read_proc(&format!("/proc/thread-self/net/{file}"), 16 << 20).unwrap_or_default();
        for line in text.lines().skip(1) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (Some(local), Some(&"0A"), Some(inode)) = (words.get(1), words.get(3), words.get(9)) else { continue };
            let port = local.rsplit_once(':').and_then(|(_, port)| u16::from_str_radix(port, 16).ok());
            if let Some(port) = port.filter(|port| PORTS.contains(port)) {
                found.insert(format!("socket:[{inode}]"), port);
            }
        }
    }
    let ports: BTreeSet<u16> = found.values().copied().collect();
    let owners = owners(&found);
    ports.into_iter().map(|port| Listener { port, process: owners.get(&port).copied().map(process) }).collect()
}

/// Which process has which of the sockets.
fn owners(sockets: &BTreeMap<String, u16>) -> BTreeMap<u16, u32> {
    let mut out = BTreeMap::new();
    let ports: BTreeSet<&u16> = sockets.values().collect();
    for pid in pids() {
        if out.len() == ports.len() {
            break;
        }
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            let Ok(target) = fs::read_link(entry.path()) else { continue };
            if let Some(port) = target.to_str().and_then(|target| sockets.get(target)) {
                out.entry(*port).or_insert(pid);
            }
        }
    }
    out
}

/// The kernel shows rules of the older iptables only through a call that needs unsafe code: where there are tables, the
/// program that shows them is asked.
fn older_rules() -> Result<String, String> {
    let tables = read_proc("/proc/thread-self/net/ip_tables_names", 4096).unwrap_or_default();
    if tables.trim().is_empty() {
        return Ok(String::new());
    }
    let program = ["/usr/sbin/iptables-legacy-save", "/sbin/iptables-legacy-save", "/usr/sbin/iptables-save"];
    let Some(program) = program.iter().find(|path| fs::exists(path).unwrap_or(false)) else {
        return Err("iptables-legacy-save is not installed".to_owned());
    };
    let output = std::process::Command::new(program).env_clear().output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(format!("{program} ended with {}", output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What `iptables-save` prints: `*table`, `:CHAIN POLICY [n:n]`, `-A CHAIN …`.
fn saved(text: &str) -> Vec<LegacyChain> {
    let mut out: Vec<LegacyChain> = Vec::new();
    let mut table = String::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name.to_owned();
        } else if let Some((name, rest)) = line.strip_prefix(':').and_then(|line| line.split_once(' ')) {
            let (name, drops) = (name.to_owned(), rest.starts_with("DROP"));
            out.push(LegacyChain { table: table.clone(), name, drops, rules: 0 });
        } else if let Some(name) = line.strip_prefix("-A ").and_then(|line| line.split(' ').next()) {
            let chain = out.iter_mut().rev().find(|chain| chain.table == table && chain.name == name);
            chain.into_iter().for_each(|chain| chain.rules += 1);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_that_were_not_asked_for_are_told() {
        assert_eq!(unasked(5000, 5000), None);
        assert_eq!(unasked(5000, 2000).as_deref(), Some("there was no time to ask for 3000 of 5000"));
    }

    #[test]
    fn saved_chains_are_counted() {
        let chains = saved(
            "*filter\n:FORWARD DROP [0:0]\n:KUBE-FORWARD - [0:0]\n-A FORWARD -j KUBE-FORWARD\nCOMMIT\nx\n*\n:\n-A",
        );
        assert_eq!(chains.len(), 2);
        assert!(chains[0].drops && chains[0].rules == 1 && !chains[1].drops);
    }
}
