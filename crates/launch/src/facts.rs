//! What a host is: asked in one command, before anything is written there, and judged elsewhere.
//!
//! The command is plain shell, so that nothing has to be on a host; where a program for an answer is missing, the answer
//! is empty and says nothing. What a host says is anybody's: lines and sizes have limits.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kiln_clusterfile::address::{Address, Addresses, Route};
use kiln_clusterfile::model::Cidr;
use kiln_host::Stdin;
use kiln_host::command::quote;

use crate::docker;
use crate::error::Result;
use crate::journal::Marker;
use crate::launch::random_hex;
use crate::machine::Machine;
use crate::phase::runtime;

/// Kiln's own directory on hosts.
pub const HOME: &str = "/var/lib/kiln";
/// What was done on a host, by which cluster.
pub const MARKER: &str = "/var/lib/kiln/host.json";
/// This binary, on hosts.
pub const AGENT: &str = "/var/lib/kiln/bin/kiln";
/// What the digest of the binary is, beside it: see [`stamp`].
const STAMP: &str = "/var/lib/kiln/bin/kiln.digest";
/// What changes with the file: size, number, and times of its content and of anything about it.
const STAT: &str = "%s %i %y %z";
/// Lines that a host shows of a list.
const SHOWN: usize = 5000;
/// Bytes that it shows of a file.
const FILE: usize = 256 << 10;
/// Lines of one answer.
const LINES: usize = 20_000;
/// How long a host may take to say what it is.
const LIMIT: Duration = Duration::from_secs(60);

/// Programs that are looked for.
pub const PROGRAMS: [&str; 19] = [
    "conntrack",
    "ip",
    "iptables",
    "ip6tables",
    "mount",
    "nsenter",
    "ebtables",
    "ethtool",
    "socat",
    "tc",
    "touch",
    "crictl",
    "containerd",
    "docker",
    "kubelet",
    "kubeadm",
    "kubectl",
    "runc",
    "modprobe",
];

/// Files and directories whose being there matters; a directory counts when something is in it.
pub const PATHS: [&str; 11] = [
    "/etc/kubernetes/manifests",
    "/etc/kubernetes/manifests/kube-apiserver.yaml",
    "/etc/kubernetes/manifests/kube-controller-manager.yaml",
    "/etc/kubernetes/manifests/kube-scheduler.yaml",
    "/etc/kubernetes/manifests/etcd.yaml",
    "/etc/kubernetes/admin.conf",
    "/etc/kubernetes/kubelet.conf",
    "/etc/kubernetes/bootstrap-kubelet.conf",
    "/etc/kubernetes/pki/ca.crt",
    "/var/lib/etcd",
    "/etc/cni/net.d",
];

/// Kernel settings that matter; the shell finds those of devices.
const SETTINGS: [&str; 4] = [
    "/proc/sys/net/bridge/bridge-nf-call-iptables",
    "/proc/sys/net/bridge/bridge-nf-call-ip6tables",
    "/proc/sys/net/ipv6/conf/default/forwarding",
    "/proc/sys/net/ipv6/conf/*/accept_ra",
];

/// Who may manage control groups.
const CGROUPS: [&str; 2] = ["cgroupfs", "systemd"];

/// Services that matter.
const SERVICES: [&str; 5] = ["containerd", "kubelet", "firewalld", "kiln-registry", "docker"];

/// What a host is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HostFacts {
    /// Who commands run as.
    pub uid: Option<u32>,
    /// `uname -n`
    pub hostname: String,
    /// `uname -r`
    pub kernel: String,
    /// The OCI name of the processor: `amd64`.
    pub arch: String,
    /// How many processors.
    pub cpus: Option<u64>,
    /// Memory in MiB.
    pub memory: Option<u64>,
    /// Active swap areas.
    pub swaps: usize,
    /// `/etc/machine-id`
    pub machine_id: String,
    /// What the firmware says it is.
    pub product_uuid: String,
    /// How far its clock is ahead of this one's, in whole seconds; what the question took is no difference.
    pub ahead: Option<i64>,
    /// Addresses with their prefix, and the device they are on.
    pub addresses: Vec<(String, IpAddr, u8)>,
    /// Hardware addresses of devices that are no bridges or tunnels.
    pub macs: BTreeMap<String, String>,
    /// Destinations of routes, and their devices: `10.0.0.0/24`, `default`.
    pub routes: Vec<(String, String)>,
    /// Ports that are listened at.
    pub tcp_ports: BTreeSet<u16>,
    /// Ports of UDP that are taken.
    pub udp_ports: BTreeSet<u16>,
    /// Programs in the path of root.
    pub programs: BTreeSet<String>,
    /// Paths of [`PATHS`] that are there.
    pub paths: BTreeSet<String>,
    /// Contents of kernel settings.
    pub settings: BTreeMap<String, String>,
    /// Services: `active`, `inactive`, `failed`, `unknown`, and whether they are enabled.
    pub services: BTreeMap<String, (String, String)>,
    /// Whether the command for services is there.
    pub service_manager: bool,
    /// `containerd --version`: `1.6.20`
    pub containerd: String,
    /// `/etc/containerd/config.toml`
    pub containerd_config: Option<String>,
    /// The release of a Docker that runs: `20.10.24`
    pub docker: String,
    /// Who manages control groups for it: `cgroupfs` or `systemd`
    pub docker_cgroups: String,
    /// `/etc/docker/daemon.json`
    pub docker_config: Option<String>,
    /// `kubelet --version`: `v1.20.2`
    pub kubelet: String,
    /// Free MiB of the file system of /var/lib.
    pub disk: Option<u64>,
    /// Whether control groups are of version 2 only.
    pub cgroup2: bool,
    /// Whether its own name can be resolved.
    pub resolves: bool,
    /// What Kiln left there.
    pub marker: Option<Marker>,
    /// That there is a marker which cannot be read.
    pub marker_broken: bool,
    /// SHA-256 of the binary there, in hexadecimal.
    pub agent: String,
    /// Variables that send connections through proxies, in small letters: `https_proxy`, `no_proxy`. Logins are taken out.
    pub proxies: BTreeMap<String, String>,
}

/// The questions, for a command of services. As many hosts are asked at once and each start of a program costs a host a
/// millisecond, few are started. A mark is read first, which begins the lines between answers: no file that is shown may
/// pretend to be another.
fn questions(service_manager: &str) -> String {
    let words = |words: &[&str]| words.join(" ");
    let (marker, agent, stamp) = (quote(MARKER), quote(AGENT), quote(STAMP));
    format!(
        "PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin; \
         read -r mark; lines() {{ echo; echo \"$mark $1\"; }}; one() {{ lines \"$1\"; v=; [ ! -r \"$2\" ] || read -r v < \"$2\"; echo \"$v\"; }}; \
         {{ lines uid; id -u; set -- $(uname -nrm); lines hostname; echo \"$1\"; lines kernel; echo \"$2\"; lines machine; echo \"$3\"; \
         lines clock; date +%s; lines cpus; grep -c ^processor /proc/cpuinfo; one memory /proc/meminfo; lines swaps; cat /proc/swaps; \
         one machine-id /etc/machine-id; one product-uuid /sys/class/dmi/id/product_uuid; \
         lines addresses; ip -o addr show | head -n {SHOWN}; lines routes; ip route show | head -n {SHOWN}; lines routes6; ip -6 route show | head -n {SHOWN}; \
         lines macs; for d in /sys/class/net/*; do [ ! -e \"$d/device\" ] || {{ v=; read -r v < \"$d/address\"; echo \"${{d##*/}} $v\"; }}; done; \
         lines tcp; grep -h -m {SHOWN} ' 0A ' /proc/net/tcp /proc/net/tcp6; lines udp; grep -h -m {SHOWN} ' 07 ' /proc/net/udp /proc/net/udp6; \
         lines programs; for p in {programs}; do command -v \"$p\" >/dev/null && echo \"$p\"; done; \
         lines paths; for p in {paths}; do if [ -d \"$p\" ]; then for f in \"$p\"/* \"$p\"/.[!.]* \"$p\"/..?*; do \
         if [ -e \"$f\" ] || [ -L \"$f\" ]; then echo \"$p\"; break; fi; done; elif [ -e \"$p\" ]; then echo \"$p\"; fi; done; \
         lines settings; for p in {settings}; do [ ! -r \"$p\" ] || {{ v=; read -r v < \"$p\"; echo \"$p $v\"; }}; done; \
         k=; if command -v {manager} >/dev/null; then lines manager; echo yes; lines services; set -- $({manager} is-active {services}); \
         for s in {services}; do a=$1; [ $# -eq {count} ] || a=$({manager} is-active \"$s\"); \
         e=; case $s.$a in {lasting}) e=$({manager} is-enabled \"$s\");; esac; echo \"$s\" $a $e; k=$a; [ $# -lt {count} ] || set -- \"$2\" \"$3\" \"$4\" \"$5\" \"$1\"; done; fi; \
         lines containerd; containerd --version; lines kubelet; kubelet --version; \
         [ -e /etc/containerd/config.toml ] && lines containerd-config && head -c {FILE} /etc/containerd/config.toml; \
         [ \"$k\" = active ] && lines docker && timeout 15 {docker}; \
         [ -e {daemon} ] && lines docker-config && head -c {FILE} {daemon}; \
         lines disk; df -Pk /var/lib; lines cgroup; stat -fc %T /sys/fs/cgroup; \
         getent hosts \"$(uname -n)\" >/dev/null && lines resolves && echo yes; \
         lines proxies; env | grep -i '^[a-z]*_proxy=' | sed -e 's#://.*@#://#' -e 's#=.*@#=#'; \
         [ -e {marker} ] && lines marker && head -c {FILE} {marker}; \
         [ -e {agent} ] && lines agent && {{ d=; s=; [ ! -r {stamp} ] || read -r d s < {stamp}; \
         if [ -n \"$s\" ] && [ \"$s\" = \"$(stat -c '{STAT}' {agent})\" ]; then echo \"$d\"; else sha256sum {agent}; fi; }}; lines end; }} 2>/dev/null | \
         sed -e \"s/^$mark /@@/\" -e t -e 's/^/|/'",
        programs = words(&PROGRAMS),
        paths = words(&PATHS),
        settings = words(&SETTINGS),
        services = words(&SERVICES),
        count = SERVICES.len(),
        // It stands last among them, and one that does not run would be started by the question.
        docker = docker::QUESTION,
        daemon = docker::CONFIG,
        // Of a Docker that does not run nobody wants to know.
        lasting =
            runtime::SERVICES.map(|name| format!("{name}.{}", if name == "docker" { "active" } else { "*" })).join("|"),
        manager = service_manager.split_whitespace().map(quote).collect::<Vec<_>>().join(" "),
    )
}

/// A line that notes what the digest of the binary is, with what tells whether it is still that file: whoever asks does not
/// have it read anew each time.
pub fn stamp() -> String {
    let (agent, stamp) = (quote(AGENT), quote(STAMP));
    format!("set -- $(sha256sum {agent}) && echo \"$1 $(stat -c '{STAT}' {agent})\" > {stamp}")
}

/// Asks a host.
///
/// # Errors
/// When it cannot be reached, or does not answer as a Unix does.
pub fn ask(machine: &Machine, service_manager: &str) -> Result<HostFacts> {
    let mark = Stdin::Bytes(format!("@@{}\n", random_hex(8)?).into_bytes());
    let before = now();
    let said = machine.succeed_with("ask what the host is", &questions(service_manager), mark, LIMIT)?;
    let after = now();
    let text = said.text();
    parse(&text, (before, after)).ok_or_else(|| {
        let first: String = text.chars().take(200).collect();
        machine.nonsense("what are you", format!("it is no answer of a Linux: {}", crate::machine::printable(&first)))
    })
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Answers by their names.
type Answers<'t> = BTreeMap<&'t str, Vec<&'t str>>;

/// Reads an answer that came between two moments of this clock, in seconds.
pub fn parse(text: &str, between: (i64, i64)) -> Option<HostFacts> {
    let mut answers = Answers::new();
    let (mut name, mut ended) = ("", false);
    for line in text.lines().take(LINES * 4) {
        if let Some(next) = line.strip_prefix("@@") {
            // The one before the mark.
            if answers.get(name).and_then(|lines| lines.last()).is_some_and(|line| line.is_empty()) {
                answers.entry(name).or_default().pop();
            }
            ended = next == "end";
            name = next;
            answers.entry(name).or_default();
        } else if let Some(line) = line.strip_prefix('|') {
            let lines = answers.entry(name).or_default();
            if lines.len() < LINES {
                lines.push(line);
            }
        }
    }
    let one = |name: &str| answers.get(name).and_then(|lines| lines.first()).map_or("", |line| line.trim());
    if !ended || one("uid").is_empty() || one("machine").is_empty() {
        return None;
    }
    let mut facts = HostFacts {
        uid: one("uid").parse().ok(),
        hostname: one("hostname").to_owned(),
        kernel: one("kernel").to_owned(),
        arch: arch(one("machine")).to_owned(),
        cpus: one("cpus").parse().ok().filter(|count| *count > 0),
        machine_id: one("machine-id").to_owned(),
        product_uuid: one("product-uuid").to_ascii_lowercase(),
        service_manager: one("manager") == "yes",
        resolves: one("resolves") == "yes",
        cgroup2: one("cgroup") == "cgroup2fs",
        agent: one("agent").split_whitespace().next().unwrap_or_default().to_owned(),
        containerd: version_word(one("containerd")),
        docker: version_word(one("docker")),
        docker_cgroups: one("docker")
            .split(' ')
            .next()
            .filter(|word| CGROUPS.contains(word))
            .unwrap_or_default()
            .to_owned(),
        kubelet: one("kubelet").split_whitespace().last().unwrap_or_default().to_owned(),
        ..HostFacts::default()
    };
    machine(&mut facts, &answers, between);
    network(&mut facts, &answers);
    software(&mut facts, &answers);
    Some(facts)
}

/// `containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+b1`: the first word that is a version.
fn version_word(line: &str) -> String {
    let is_version = |word: &&str| {
        let word = word.trim_start_matches('v');
        word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.')
    };
    line.split_whitespace().find(is_version).unwrap_or_default().trim_start_matches('v').to_owned()
}

fn arch(machine: &str) -> &str {
    match machine {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn lines<'a>(answers: &'a Answers<'_>, name: &str) -> impl Iterator<Item = &'a str> {
    answers.get(name).into_iter().flatten().copied()
}

fn machine(facts: &mut HostFacts, answers: &Answers<'_>, (before, after): (i64, i64)) {
    let total = lines(answers, "memory").find_map(|line| line.strip_prefix("MemTotal:"));
    facts.memory = total.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok()).map(|kib| kib / 1024);
    facts.swaps = lines(answers, "swaps").filter(|line| !line.trim().is_empty()).count().saturating_sub(1);
    let clock = lines(answers, "clock").next().and_then(|line| line.trim().parse::<i64>().ok());
    facts.ahead = clock.map(|clock| match clock {
        _ if clock < before => clock.saturating_sub(before),
        _ if clock > after => clock.saturating_sub(after),
        _ => 0,
    });
    let free = lines(answers, "disk").nth(1).and_then(|line| line.split_whitespace().nth(3)?.parse::<u64>().ok());
    facts.disk = free.map(|kib| kib / 1024);
}

fn network(facts: &mut HostFacts, answers: &Answers<'_>) {
    for line in lines(answers, "addresses") {
        let mut words = line.split_whitespace();
        let (Some(_), Some(device), Some("inet" | "inet6"), Some(address)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            continue;
        };
        let (address, prefix) = address.split_once('/').unwrap_or((address, ""));
        let Ok(address) = address.parse::<IpAddr>() else { continue };
        // Of IPv6 those that go away again, that are not taken for new connections, or that another host has.
        if address.is_ipv6() && words.any(|word| ["temporary", "deprecated", "dadfailed"].contains(&word)) {
            continue;
        }
        let full = if address.is_ipv4() { 32 } else { 128 };
        let device = device.split('@').next().unwrap_or(device).to_owned();
        facts.addresses.push((device, address, prefix.parse().unwrap_or(full)));
    }
    let of_families = [("routes", "default"), ("routes6", "::/0")];
    let all = of_families.into_iter().flat_map(|(name, default)| lines(answers, name).map(move |line| (line, default)));
    for (line, default) in all {
        let mut words = line.split_whitespace();
        let Some(mut to) = words.next() else { continue };
        if matches!(to, "unreachable" | "blackhole" | "prohibit" | "throw" | "local" | "broadcast") {
            to = words.next().unwrap_or_default();
        }
        let device = words.skip_while(|word| *word != "dev").nth(1).unwrap_or_default();
        let to = if to == "default" { default } else { to };
        facts.routes.push((to.to_owned(), device.to_owned()));
    }
    for line in lines(answers, "macs") {
        if let Some((device, mac)) =
            line.split_once(' ').filter(|(_, mac)| !mac.is_empty() && *mac != "00:00:00:00:00:00")
        {
            facts.macs.insert(device.to_owned(), mac.to_owned());
        }
    }
    facts.tcp_ports = lines(answers, "tcp").filter_map(|line| listening(line, true)).collect();
    facts.udp_ports = lines(answers, "udp").filter_map(|line| listening(line, false)).collect();
}

/// The port of a line of `/proc/net/tcp`, if it is one that is listened at.
fn listening(line: &str, tcp: bool) -> Option<u16> {
    let mut words = line.split_whitespace().skip(1);
    let (local, _, state) = (words.next()?, words.next()?, words.next()?);
    let wanted = if tcp { "0A" } else { "07" };
    let port = local.rsplit_once(':')?.1;
    (state == wanted).then(|| u16::from_str_radix(port, 16).ok()).flatten()
}

fn software(facts: &mut HostFacts, answers: &Answers<'_>) {
    facts.programs = lines(answers, "programs").map(str::to_owned).collect();
    facts.paths = lines(answers, "paths").map(str::to_owned).collect();
    for line in lines(answers, "settings") {
        if let Some((path, value)) = line.split_once(' ') {
            facts.settings.insert(path.to_owned(), value.trim().to_owned());
        }
    }
    for line in lines(answers, "services") {
        let mut words = line.split(' ');
        if let (Some(name), Some(active)) = (words.next(), words.next()) {
            let enabled = words.next().unwrap_or_default();
            facts.services.insert(name.to_owned(), (active.to_owned(), enabled.to_owned()));
        }
    }
    let text = |name: &str| lines(answers, name).fold(String::new(), |text, line| text + line + "\n");
    let file = |name: &str| answers.contains_key(name).then(|| text(name));
    facts.containerd_config = file("containerd-config");
    facts.docker_config = file("docker-config");
    for (name, value) in lines(answers, "proxies").filter_map(|line| line.split_once('=')) {
        facts.proxies.insert(name.to_lowercase(), value.to_owned());
    }
    if answers.contains_key("marker") {
        let text: String = lines(answers, "marker").collect();
        facts.marker = Marker::parse(&text);
        facts.marker_broken = facts.marker.is_none();
    }
}

/// `10.0.0.0/8`, or one address.
pub fn range(text: &str) -> Option<Cidr> {
    let (address, prefix) = text.split_once('/').unwrap_or((text, ""));
    let address: IpAddr = address.parse().ok()?;
    let full = if address.is_ipv4() { 32 } else { 128 };
    let prefix = if prefix.is_empty() { full } else { prefix.parse().ok().filter(|prefix| *prefix <= full)? };
    Some(Cidr { address, prefix })
}

impl HostFacts {
    /// Whether a path of [`PATHS`] is there.
    pub fn has(&self, path: &str) -> bool {
        self.paths.contains(path)
    }

    /// Whether kubeadm was at work on it: files of a control plane or of a kubelet that joined.
    pub fn is_occupied(&self) -> bool {
        PATHS
            .iter()
            .filter(|path| path.starts_with("/etc/kubernetes/") || **path == "/var/lib/etcd")
            .any(|path| self.has(path))
    }

    /// Whether a service runs.
    pub fn is_active(&self, service: &str) -> bool {
        self.services.get(service).is_some_and(|(active, _)| active == "active")
    }

    /// Devices whose default route of IPv6 the kernel itself has from routers.
    pub fn advertised(&self) -> Vec<String> {
        let asks = |device: &&String| {
            let path = format!("/proc/sys/net/ipv6/conf/{device}/accept_ra");
            let plain = |c: char| c.is_ascii_alphanumeric() || "._-@".contains(c);
            // 2 is what Kiln sets, and must stay when the host is asked again.
            let is_on = self.settings.get(&path).is_some_and(|value| value == "1" || value == "2");
            is_on && device.chars().all(plain) && !device.starts_with('.')
        };
        let defaults = self.routes.iter().filter(|(to, _)| to == "::/0").map(|(_, device)| device);
        let devices: BTreeSet<String> = defaults.filter(asks).cloned().collect();
        devices.into_iter().collect()
    }

    /// The device that has an address.
    pub fn device_of(&self, address: IpAddr) -> Option<&str> {
        self.addresses.iter().find(|(_, own, _)| *own == address).map(|(device, ..)| device.as_str())
    }

    /// Addresses and routes, for who chooses among them.
    pub fn known_addresses(&self) -> Addresses {
        let address = |(interface, address, prefix): &(String, IpAddr, u8)| Address {
            interface: interface.clone(),
            address: *address,
            prefix: *prefix,
        };
        let route = |(to, interface): &(String, String)| {
            let destination = range(if to == "default" { "0.0.0.0/0" } else { to })?;
            Some(Route { destination, interface: interface.clone() })
        };
        Addresses {
            addresses: self.addresses.iter().map(address).collect(),
            routes: self.routes.iter().filter_map(route).collect(),
        }
    }

    /// How a service was: `active enabled`; none if there is no such service.
    pub fn service(&self, name: &str) -> Option<String> {
        let (active, enabled) = self.services.get(name)?;
        (!enabled.is_empty() && enabled != "not-found").then(|| format!("{active} {enabled}"))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A host with nothing wrong.
    pub(crate) const GOOD: &str = "@@uid\n|0\n\n@@hostname\n|n1\n\n@@kernel\n|6.1.0\n\n@@machine\n|x86_64\n\n\
        @@clock\n|1000\n\n@@cpus\n|4\n\n@@memory\n|MemTotal:       4000000 kB\n\n@@swaps\n|Filename Type\n\n@@machine-id\n|aa\n\n\
        @@product-uuid\n|AB-1\n\n@@addresses\n|1: lo    inet 127.0.0.1/8 scope host lo\n|2: eth0@if3    inet 10.0.0.1/24 brd x\n\n\
        @@routes\n|default via 10.0.0.254 dev eth0 \n|10.0.0.0/24 dev eth0 proto kernel\n\n@@macs\n|eth0 52:54:00:00:00:01\n|lo 00:00:00:00:00:00\n\n\
        @@tcp\n|  sl  local_address rem_address   st\n|   0: 00000000:0016 00000000:0000 0A 0\n|   1: 0100007F:1F90 0100007F:0016 01 0\n\n\
        @@udp\n|   0: 00000000:0035 00000000:0000 07 0\n\n@@programs\n|conntrack\n|ip\n|iptables\n|mount\n|nsenter\n|containerd\n|ebtables\n|ethtool\n|socat\n|tc\n|touch\n|crictl\n|runc\n|modprobe\n\n\
        @@paths\n\n@@settings\n|/proc/sys/net/bridge/bridge-nf-call-iptables 1\n\n@@manager\n|yes\n\n\
        @@services\n|containerd active enabled\n|kubelet inactive enabled\n\n@@containerd\n|containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1\n\n\
        @@docker\n|cgroupfs 20.10.24+dfsg1\n\n@@docker-config\n|{}\n\n@@kubelet\n|Kubernetes v1.20.2\n\n@@disk\n|Filesystem 1024-blocks Used Available\n|/dev/a 9 1 52428800 1% /\n\n@@resolves\n|yes\n\n@@end\n";

    #[test]
    fn an_answer_becomes_facts() {
        let facts = parse(GOOD, (990, 995)).unwrap();
        assert_eq!((facts.uid, facts.arch.as_str(), facts.cpus, facts.memory), (Some(0), "amd64", Some(4), Some(3906)));
        assert_eq!((facts.ahead, facts.swaps, facts.disk), (Some(5), 0, Some(51_200)));
        let known = facts.known_addresses();
        assert_eq!((known.addresses.len(), known.routes.len(), known.routes[0].destination.prefix), (2, 2, 0));
        assert_eq!((facts.service("containerd").as_deref(), facts.service("none")), (Some("active enabled"), None));
        assert_eq!((facts.containerd.as_str(), facts.kubelet.as_str()), ("1.6.20~ds1", "v1.20.2"));
        assert_eq!((facts.docker.as_str(), facts.docker_cgroups.as_str()), ("20.10.24+dfsg1", "cgroupfs"));
        assert_eq!((facts.docker_config.as_deref(), facts.containerd_config.as_deref()), (Some("{}\n"), None));
        assert_eq!(facts.tcp_ports, BTreeSet::from([22]));
        assert_eq!(facts.udp_ports, BTreeSet::from([53]));
        assert!(facts.is_active("containerd") && !facts.is_active("kubelet"));
        assert_eq!(facts.macs.len(), 1);
        assert!(facts.marker.is_none() && !facts.marker_broken);
    }

    #[test]
    fn what_is_no_answer_is_none_and_lies_have_limits() {
        assert!(parse("Welcome to SwitchOS\n", (0, 0)).is_none());
        assert!(parse(GOOD.trim_end_matches("@@end\n"), (0, 0)).is_none(), "it was cut off");
        let broken = GOOD.replace("@@resolves", "@@marker\n|{\n\n@@resolves");
        assert!(parse(&broken, (0, 0)).unwrap().marker_broken);
        let flood = GOOD.replace("@@udp\n", &format!("@@udp\n{}", "|x\n".repeat(LINES * 5)));
        assert!(parse(&flood, (0, 0)).is_none(), "what is behind too much is not read");
    }

    #[test]
    fn the_questions_are_one_line_without_what_a_shell_would_take_wrongly() {
        let text = questions("/usr/local/bin/my ctl");
        assert!(!text.contains('\n') && text.contains("if command -v /usr/local/bin/my ctl"), "{text}");
        let output = std::process::Command::new("sh").arg("-n").arg("-c").arg(&text).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// What this machine says, with programs in front of its own and Kiln's directory elsewhere.
    fn said(dir: &std::path::Path, home: &std::path::Path) -> HostFacts {
        let text = questions("systemctl").replace("/var/lib/kiln", home.to_str().unwrap());
        let mut shell = std::process::Command::new("sh");
        let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", dir.display());
        let marked = home.join("mark");
        std::fs::write(&marked, "@@x\n").unwrap();
        let stdin = std::fs::File::open(marked).unwrap();
        let output = shell.arg("-c").arg(text).env("PATH", path).stdin(stdin).output().unwrap();
        parse(&String::from_utf8(output.stdout).unwrap(), (0, i64::MAX)).unwrap()
    }

    /// Programs of a machine: names and scripts.
    fn programs(all: &[(&str, &str)]) -> tempfile::TempDir {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        for (name, script) in all {
            let path = dir.path().join(name);
            std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        dir
    }

    #[test]
    fn this_machine_answers() {
        let home = tempfile::tempdir().unwrap();
        let many = "case $1 in is-active) shift; for s; do [ $s = kubelet ] && echo activating || echo active; done;; \
                    *) [ $2 = kubelet ] && exit 1; echo enabled;; esac";
        // One that answers about the first name only.
        let one = "case $1 in is-active) [ $2 = kubelet ] && echo activating || echo active;; \
                   *) [ $2 = kubelet ] && exit 1; echo enabled;; esac";
        for manager in [many, one] {
            let dir = programs(&[
                ("systemctl", manager),
                ("kubelet", "echo Kubernetes v1.30.2"),
                ("containerd", "echo c 1.7.1"),
                ("docker", "[ \"$1\" = info ] && echo systemd 24.0.1"),
            ]);
            let facts = said(dir.path(), home.path());
            let uname = std::process::Command::new("uname").arg("-n").output().unwrap();
            assert_eq!(facts.hostname, String::from_utf8_lossy(&uname.stdout).trim());
            assert!(facts.uid.is_some() && facts.cpus.is_some() && facts.memory.is_some() && facts.disk.is_some());
            assert!(facts.addresses.iter().any(|(device, ..)| device == "lo") && facts.programs.contains("mount"));
            assert!(!facts.programs.contains("") && !facts.paths.contains(""));
            assert_eq!((facts.kubelet.as_str(), facts.containerd.as_str()), ("v1.30.2", "1.7.1"));
            let services: Vec<(&str, &str, &str)> =
                facts.services.iter().map(|(name, (active, enabled))| (&**name, &**active, &**enabled)).collect();
            let wanted = [
                ("containerd", "active", "enabled"),
                ("docker", "active", "enabled"),
                ("firewalld", "active", ""),
                ("kiln-registry", "active", ""),
                ("kubelet", "activating", ""),
            ];
            assert_eq!(services, wanted);
            assert_eq!((facts.docker.as_str(), facts.docker_cgroups.as_str()), ("24.0.1", "systemd"));
            assert!(facts.marker.is_none() && !facts.marker_broken && facts.agent.is_empty());
        }
    }

    #[test]
    fn the_binary_is_read_anew_when_it_is_another_file_and_files_pretend_nothing() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        let dir = programs(&[("systemctl", ":"), ("sha256sum", "echo read >> $0.log; exec /usr/bin/sha256sum \"$@\"")]);
        let reads = || std::fs::read_to_string(dir.path().join("sha256sum.log")).unwrap_or_default().lines().count();
        std::fs::create_dir(at("bin")).unwrap();
        std::fs::write(at("bin/kiln"), "one").unwrap();
        let digest = |text: &str| kiln_oci::Digest::of(text.as_bytes()).hex();
        assert_eq!((said(dir.path(), home.path()).agent, reads()), (digest("one"), 1), "nobody has noted it");
        let stamp = stamp().replace("/var/lib/kiln", home.path().to_str().unwrap());
        assert!(std::process::Command::new("sh").arg("-c").arg(&stamp).status().unwrap().success());
        assert_eq!((said(dir.path(), home.path()).agent, reads()), (digest("one"), 1), "it is noted");
        std::fs::write(at("bin/kiln"), "two").unwrap();
        assert_eq!((said(dir.path(), home.path()).agent, reads()), (digest("two"), 2), "the file has changed");
        for bad in ["", "nonsense", "a b c d e", "\n\n"] {
            std::fs::write(at("bin/kiln.digest"), bad).unwrap();
            assert_eq!(said(dir.path(), home.path()).agent, digest("two"), "{bad:?}");
        }
        // A marker that looks like an answer is a broken marker.
        std::fs::write(at("host.json"), "@@uid\n@@end\n| \n@@agent\nx").unwrap();
        let facts = said(dir.path(), home.path());
        assert!(facts.marker_broken && facts.agent == digest("two") && facts.uid.is_some());
    }

    #[test]
    fn logins_at_proxies_stay_on_the_host() {
        let text = questions("systemctl");
        let asked = text.split("; ").find(|part| part.contains("_proxy=")).unwrap();
        let mut command = std::process::Command::new("sh");
        command.arg("-c").arg(asked).env_clear().env("PATH", "/usr/bin:/bin");
        command.env("http_proxy", "http://u:p@ss@h:1").env("HTTPS_PROXY", "u:p/q@h:1").env("no_proxy", "a,10.0.0.0/8");
        let said = String::from_utf8(command.output().unwrap().stdout).unwrap();
        let lines: BTreeSet<&str> = said.lines().collect();
        assert_eq!(lines, BTreeSet::from(["HTTPS_PROXY=h:1", "http_proxy=http://h:1", "no_proxy=a,10.0.0.0/8"]));
    }
}
