//! What must be true of hosts before anything is changed on them: rows of a table, judged from facts alone.
//!
//! Names are kubeadm's where kubeadm has the check, so that lists of names to pass over carry over. Checks that it has not
//! are named in the same way. Kiln's own come from what goes wrong in practice.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::launch::{Launch, Member};

/// Something that a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The name of the check: `Port-6443`.
    pub name: String,
    /// Whether nothing is done because of it; otherwise it is a warning.
    pub fatal: bool,
    /// Whether the user passes over it.
    pub ignored: bool,
    /// On which host.
    pub host: String,
    /// What is wrong.
    pub text: String,
    /// What to do.
    pub hint: String,
}

impl Finding {
    /// Whether it stops the launch.
    pub fn is_error(&self) -> bool {
        self.fatal && !self.ignored
    }

    /// As people read it.
    pub fn lines(&self) -> Vec<String> {
        let word = if self.is_error() { "ERROR" } else { "WARNING" };
        let mut lines = vec![format!("  [{word} {}]: {}: {}", self.name, self.host, self.text)];
        if !self.hint.is_empty() {
            lines.push(format!("      {}", self.hint));
        }
        lines
    }
}

/// Memory that a control plane needs, in MiB.
const MEMORY: u64 = 1700;
/// Seconds that clocks may differ by.
const SKEW: i64 = 60;
/// Free space that hosts need beside the image, in MiB.
const SPARE: u64 = 2048;
/// Programs without which nothing works.
const NEEDED: [&str; 5] = ["conntrack", "ip", "iptables", "mount", "nsenter"];
/// Programs that are missed later.
const WANTED: [&str; 5] = ["ebtables", "ethtool", "socat", "tc", "touch"];

struct Found<'l> {
    launch: &'l Launch,
    host: String,
    out: Vec<Finding>,
}

impl Found<'_> {
    fn add(&mut self, fatal: bool, name: impl Into<String>, text: impl Into<String>, hint: impl Into<String>) {
        let name = name.into();
        let is = |wanted: &String| wanted.eq_ignore_ascii_case("all") || wanted.eq_ignore_ascii_case(&name);
        let ignored = self.launch.options.ignore.iter().any(is);
        self.out.push(Finding { ignored, fatal, host: self.host.clone(), text: text.into(), hint: hint.into(), name });
    }

    fn error(&mut self, name: impl Into<String>, text: impl Into<String>, hint: impl Into<String>) {
        self.add(true, name, text, hint);
    }

    fn warn(&mut self, name: impl Into<String>, text: impl Into<String>, hint: impl Into<String>) {
        self.add(false, name, text, hint);
    }
}

/// All findings about all hosts. Networks are those of pods and services, as `10.0.0.0/8`.
pub fn check(launch: &Launch, networks: &[(String, String)]) -> Vec<Finding> {
    let mut out = Vec::new();
    for member in &launch.members {
        let mut found = Found { launch, host: member.name().to_owned(), out: Vec::new() };
        leftovers(member, &mut found);
        machine(member, &mut found);
        if !launch.has_done(member, "runtime") {
            programs(member, &mut found);
            disk(member, &mut found);
        }
        if !joined(launch, member) {
            ports(member, &mut found);
        }
        for (what, network) in networks {
            overlap(what, network, member, &mut found);
        }
        out.append(&mut found.out);
    }
    between(launch, &mut out);
    out
}

/// Whether a host is a node already, by this cluster's doing.
pub(crate) fn joined(launch: &Launch, member: &Member) -> bool {
    ["init", "join-masters", "join-workers"].iter().any(|phase| launch.has_done(member, phase))
}

/// What earlier attempts and other clusters left.
fn leftovers(member: &Member, found: &mut Found<'_>) {
    let facts = &member.facts;
    let reset = "give the host back first: kiln cluster reset; or go on with that launch: --resume";
    if facts.marker_broken {
        return found.error(
            "KilnMarker",
            "its /var/lib/kiln/host.json cannot be read",
            "another version of Kiln may have written it",
        );
    }
    if let Some(marker) = &facts.marker {
        if marker.id != found.launch.id {
            let text = format!(
                "it belongs to another launch, of the cluster `{}`",
                crate::machine::printable(&marker.cluster)
            );
            return found.error("KilnMarker", text, reset);
        }
        if !found.launch.options.resume && marker.begun.is_some() {
            let phase = crate::machine::printable(marker.begun.as_deref().unwrap_or_default());
            return found.error("KilnMarker", format!("an earlier launch stopped in phase {phase}"), reset);
        }
        return;
    }
    let hint = "if nothing of it is needed: kubeadm reset -f; or kiln cluster reset --hosts";
    let name = |path: &str| path.replace('/', "-");
    for part in ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd"] {
        let path = format!("/etc/kubernetes/manifests/{part}.yaml");
        if member.is_master() && facts.has(&path) {
            found.error(format!("FileAvailable-{}", name(&path)), format!("{path} already exists"), hint);
        }
    }
    if !member.is_master() && facts.has("/etc/kubernetes/manifests") {
        found.error("DirAvailable--etc-kubernetes-manifests", "/etc/kubernetes/manifests is not empty", hint);
    }
    if member.is_master() && facts.has("/var/lib/etcd") {
        found.error("DirAvailable--var-lib-etcd", "/var/lib/etcd is not empty", hint);
    }
    for path in ["/etc/kubernetes/kubelet.conf", "/etc/kubernetes/bootstrap-kubelet.conf", "/etc/kubernetes/pki/ca.crt"]
    {
        if facts.has(path) {
            found.error(format!("FileAvailable-{}", name(path)), format!("{path} already exists"), hint);
        }
    }
    if facts.has("/etc/cni/net.d") {
        found.warn(
            "DirAvailable--etc-cni-net.d",
            "/etc/cni/net.d has files of an earlier network",
            "the first of them is what the runtime takes",
        );
    }
}

fn machine(member: &Member, found: &mut Found<'_>) {
    let facts = &member.facts;
    if facts.uid != Some(0) {
        found.error("IsPrivilegedUser", "commands do not run as root", "log in as root, or as who may use sudo");
    }
    if !facts.service_manager {
        let manager = &found.launch.options.service_manager;
        found.error(
            "ServiceManager",
            format!("there is no `{manager}`"),
            "hosts need systemd, or a command of the same words named by --service-manager",
        );
    }
    if !found.launch.bundle.arches.contains(&facts.arch) {
        let text = format!("its processor is {}, the image is for {:?}", facts.arch, found.launch.bundle.arches);
        found.error("Platform", text, "build the image for that platform, too: kiln cluster build --platform");
    }
    if member.is_master() {
        if facts.cpus.is_some_and(|count| count < 2) {
            let text = format!("the number of available CPUs {} is less than the required 2", facts.cpus.unwrap_or(0));
            found.error("NumCPU", text, "");
        }
        if facts.memory.is_some_and(|mib| mib < MEMORY) {
            let text =
                format!("the system RAM ({} MB) is less than the minimum {MEMORY} MB", facts.memory.unwrap_or(0));
            found.error("Mem", text, "");
        }
    }
    if facts.swaps > 0 {
        let fatal = minor(&found.launch.bundle.kubernetes) < 22;
        found.add(
            fatal,
            "Swap",
            "running with swap on is not supported",
            "swapoff -a, and remove the swap line from /etc/fstab",
        );
    }
    if facts.is_active("firewalld") {
        let text =
            "firewalld is active, please ensure ports [6443 10250] are open or your cluster may not function correctly";
        found.warn("Firewalld", text, "");
    }
    if !facts.resolves && member.host.name.is_none() {
        found.warn(
            "Hostname",
            format!("hostname \"{}\" could not be reached", facts.hostname),
            "Kiln adds it to /etc/hosts",
        );
    }
    if !is_node_name(&member.node) {
        found.error(
            "HostnameValid",
            format!("`{}` cannot be the name of a node", crate::machine::printable(&member.node)),
            "letters a-z, digits, `-` and `.`, at most 253: hostnamectl set-hostname, or a name in the Clusterfile",
        );
    }
    if facts.device_of(member.address).is_none() && !facts.addresses.is_empty() {
        let text = format!("it has no address {}", member.address);
        found.error("NodeAddress", text, "say which of its addresses its peers reach (`nodeAddress`)");
    }
    if facts.ahead.is_some_and(|seconds| seconds.abs() > SKEW) {
        let text = format!("its clock differs from this machine's by {} s", facts.ahead.unwrap_or(0));
        found.error("ClockSkew", text, "set the clocks: certificates are not yet or no longer valid otherwise");
    }
}

fn programs(member: &Member, found: &mut Found<'_>) {
    let facts = &member.facts;
    let brought = |program: &str| found.launch.bundle.has(&format!("bin/{program}"));
    let missing = |program: &&str| !facts.programs.contains(*program) && !brought(program);
    let needed: Vec<&str> = NEEDED
        .into_iter()
        .filter(|p| *p != "conntrack" || minor(&found.launch.bundle.kubernetes) < 32)
        .filter(missing)
        .collect();
    let wanted: Vec<&str> = WANTED.into_iter().filter(missing).collect();
    let mut lacks: Vec<&str> =
        ["containerd", "runc", "kubeadm", "kubelet", "kubectl"].into_iter().filter(missing).collect();
    if found.launch.cluster.runtime.as_ref().is_some_and(|r| r.value == kiln_clusterfile::model::Runtime::Docker) {
        let hint = "leave `runtime` out: containerd of the image, or of the host, is used";
        found.error("ContainerRuntime", "docker as the runtime is not supported", hint);
        lacks.clear();
    }
    for program in needed {
        found.error(
            format!("FileExisting-{program}"),
            format!("{program} not found in system path"),
            "install it, or put it into bin/ of the image",
        );
    }
    for program in wanted {
        found.warn(format!("FileExisting-{program}"), format!("{program} not found in system path"), "");
    }
    for program in lacks {
        found.error(
            format!("FileExisting-{program}"),
            format!("neither the host nor the image has {program}"),
            "put it into bin/ of the image",
        );
    }
    let bridge = "/proc/sys/net/bridge/bridge-nf-call-iptables";
    if !facts.settings.contains_key(bridge) && !facts.programs.contains("modprobe") {
        found.error(
            "FileContent--proc-sys-net-bridge-bridge-nf-call-iptables",
            format!("{bridge} does not exist"),
            "the kernel needs the module br_netfilter",
        );
    }
}

fn disk(member: &Member, found: &mut Found<'_>) {
    // Blobs, what is unpacked of them, and containerd's copy of images.
    let needed = found.launch.bundle.size() * 3 / (1 << 20) + SPARE;
    if let Some(free) = member.facts.disk.filter(|free| *free < needed) {
        found.error("DiskSpace", format!("/var/lib has {free} MiB free, {needed} MiB are needed"), "");
    }
}

fn ports(member: &Member, found: &mut Found<'_>) {
    let mut tcp = vec![10_250];
    if member.is_master() {
        tcp.extend([6443, 10_259, 10_257, 2379, 2380]);
    }
    let is_registry = found.launch.registry_members().iter().any(|other| other.host.address() == member.host.address());
    if is_registry && !found.launch.has_done(member, "registry") {
        tcp.push(found.launch.cluster.registry.port.value);
    }
    for port in tcp {
        if member.facts.tcp_ports.contains(&port) {
            found.error(format!("Port-{port}"), format!("Port {port} is in use"), "find who: ss -ltnp");
        }
    }
    if member.facts.udp_ports.contains(&8472) {
        found.warn(
            "Port-8472",
            "UDP port 8472 is in use: flannel's VXLAN of an earlier cluster may be there",
            "ip link delete flannel.1",
        );
    }
}

/// Networks that hosts already route somewhere.
fn overlap(what: &str, network: &str, member: &Member, found: &mut Found<'_>) {
    let Some(wanted) = parse_network(network) else { return };
    let own = ["cni", "flannel", "cali", "tunl", "kube-", "weave", "kiln", "vxlan.calico"];
    for (to, device) in &member.facts.routes {
        let Some(other) = parse_network(to).filter(|(_, prefix)| *prefix > 0) else { continue };
        // A network's own routes, of when it ran already.
        let is_own = own.iter().any(|start| device.starts_with(start)) || joined(found.launch, member);
        if overlaps(wanted, other) && !is_own {
            let text = format!("the network of {what} {network} overlaps with its route to {to} ({device})");
            found.error(
                "NetworkOverlap",
                text,
                "choose another network in the Clusterfile, or with --pod-cidr and --service-cidr",
            );
            return;
        }
    }
}

/// What must differ between hosts, and does not.
fn between(launch: &Launch, out: &mut Vec<Finding>) {
    type Of = fn(&Member) -> Vec<String>;
    let rows: [(&str, &str, &str, Of); 5] = [
        ("HostnameUnique", "the name of its node", "give hosts different names", |m| vec![m.node.clone()]),
        ("AddressUnique", "its address", "say which of its addresses its peers reach", |m| vec![m.address.to_string()]),
        ("MachineIdUnique", "its machine-id", "copied machines: rm /etc/machine-id; systemd-machine-id-setup", |m| {
            vec![m.facts.machine_id.clone()]
        }),
        ("ProductUuidUnique", "its product_uuid", "the hypervisor gives it", |m| vec![m.facts.product_uuid.clone()]),
        ("MacUnique", "a hardware address", "the hypervisor gives it", |m| m.facts.macs.values().cloned().collect()),
    ];
    for (name, what, hint, of) in rows {
        let mut known: BTreeMap<String, String> = BTreeMap::new();
        for member in &launch.members {
            let values: std::collections::BTreeSet<String> =
                of(member).into_iter().filter(|value| !value.is_empty()).collect();
            for value in values {
                let Some(other) = known.insert(value.clone(), member.name().to_owned()) else { continue };
                let mut found = Found { launch, host: member.name().to_owned(), out: Vec::new() };
                // Nodes are told apart by their names; machines that share the others work, and are confused later.
                let fatal = name != "ProductUuidUnique" && name != "MachineIdUnique";
                found.add(
                    fatal,
                    name,
                    format!("{what} is that of {other}, too: {}", crate::machine::printable(&value)),
                    hint,
                );
                out.append(&mut found.out);
            }
        }
    }
}

/// RFC 1123, as Kubernetes wants it.
fn is_node_name(name: &str) -> bool {
    let part = |part: &str| {
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !part.is_empty() && part.len() <= 63 && part.chars().all(good) && !part.starts_with('-') && !part.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(part)
}

/// The minor version of `v1.20.2`; 0 if it is none.
pub fn minor(version: &str) -> u32 {
    version.strip_prefix("v1.").and_then(|rest| rest.split('.').next()?.parse().ok()).unwrap_or(0)
}

type Net = (IpAddr, u8);

/// `10.0.0.0/8`, or one address.
fn parse_network(text: &str) -> Option<Net> {
    if text == "default" {
        return None;
    }
    let (address, prefix) = text.split_once('/').unwrap_or((text, ""));
    let address: IpAddr = address.parse().ok()?;
    let full = if address.is_ipv4() { 32 } else { 128 };
    let prefix = if prefix.is_empty() { full } else { prefix.parse().ok().filter(|prefix| *prefix <= full)? };
    Some((address, prefix))
}

fn overlaps((a, a_prefix): Net, (b, b_prefix): Net) -> bool {
    let bits = u32::from(a_prefix.min(b_prefix));
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => bits == 0 || u32::from(a) >> (32 - bits) == u32::from(b) >> (32 - bits),
        (IpAddr::V6(a), IpAddr::V6(b)) => bits == 0 || u128::from(a) >> (128 - bits) == u128::from(b) >> (128 - bits),
        _ => false,
    }
}
