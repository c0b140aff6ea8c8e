//! What must be true of hosts before anything is changed on them: rows of a table, judged from facts alone.
//!
//! Names are kubeadm's where kubeadm has the check, so that lists of names to pass over carry over. Checks that it has not
//! are named in the same way. Kiln's own come from what goes wrong in practice.

mod docker;
mod families;
mod network;

use std::collections::BTreeMap;

use crate::config::Configuration;
use crate::launch::{Launch, Member};
use crate::machine::printable;

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
        let ignored = is_ignored(self.launch, &name);
        self.out.push(Finding { ignored, fatal, host: self.host.clone(), text: text.into(), hint: hint.into(), name });
    }

    fn error(&mut self, name: impl Into<String>, text: impl Into<String>, hint: impl Into<String>) {
        self.add(true, name, text, hint);
    }

    fn warn(&mut self, name: impl Into<String>, text: impl Into<String>, hint: impl Into<String>) {
        self.add(false, name, text, hint);
    }
}

/// Whether the user passes over a check.
pub fn is_ignored(launch: &Launch, name: &str) -> bool {
    let is = |wanted: &String| wanted.eq_ignore_ascii_case("all") || wanted.eq_ignore_ascii_case(name);
    launch.options.ignore.iter().any(is)
}

/// All findings about all hosts, which get this configuration.
pub fn check(launch: &Launch, configuration: &Configuration) -> Vec<Finding> {
    let mut out = Vec::new();
    for member in &launch.members {
        let mut found = Found { launch, host: member.name().to_owned(), out: Vec::new() };
        leftovers(member, configuration, &mut found);
        machine(member, &mut found);
        if launch.is_docker() {
            docker::host(member, &mut found);
        }
        if !launch.has_done(member, "runtime") {
            programs(member, &mut found);
            disk(member, &mut found);
        }
        if !joined(launch, member) {
            ports(member, configuration, &mut found);
            network::proxies(member, configuration, &mut found);
        }
        for (what, network) in &configuration.networks {
            network::overlap(what, network, member, &mut found);
        }
        out.append(&mut found.out);
    }
    if let Some(first) = launch.members.iter().find(|member| member.first) {
        let mut found = Found { launch, host: first.name().to_owned(), out: Vec::new() };
        docker::cluster(configuration, &mut found);
        if !joined(launch, first) {
            families::networks(configuration, &mut found);
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
fn leftovers(member: &Member, configuration: &Configuration, found: &mut Found<'_>) {
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
            let text = format!("it belongs to another launch, of the cluster `{}`", printable(&marker.cluster));
            return found.error("KilnMarker", text, reset);
        }
        if !found.launch.options.resume && marker.begun.is_some() {
            let phase = printable(marker.begun.as_deref().unwrap_or_default());
            return found.error("KilnMarker", format!("an earlier launch stopped in phase {phase}"), reset);
        }
        return;
    }
    // What the user has reset first is no obstacle.
    let fatal = !found.launch.options.reset_leftovers;
    let hint = match fatal {
        true => "if nothing of it is needed: the same command with --reset-leftovers, or kubeadm reset -f there",
        false => "it is reset first",
    };
    let mut left = |what: &str, path: &str, text: String| {
        found.add(fatal, format!("{what}-{}", path.replace('/', "-")), text, hint);
    };
    for part in ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd"] {
        let path = format!("/etc/kubernetes/manifests/{part}.yaml");
        if member.is_master() && facts.has(&path) {
            left("FileAvailable", &path, format!("{path} already exists"));
        }
    }
    if !member.is_master() && facts.has("/etc/kubernetes/manifests") {
        left("DirAvailable", "/etc/kubernetes/manifests", "/etc/kubernetes/manifests is not empty".to_owned());
    }
    if member.is_master() && !configuration.external_etcd && facts.has("/var/lib/etcd") {
        left("DirAvailable", "/var/lib/etcd", "/var/lib/etcd is not empty".to_owned());
    }
    for path in ["/etc/kubernetes/kubelet.conf", "/etc/kubernetes/bootstrap-kubelet.conf", "/etc/kubernetes/pki/ca.crt"]
    {
        if facts.has(path) {
            left("FileAvailable", path, format!("{path} already exists"));
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
            format!("`{}` cannot be the name of a node", printable(&member.node)),
            "letters a-z, digits, `-` and `.`, at most 253: hostnamectl set-hostname, or a name in the Clusterfile",
        );
    }
    if let Some(error) = &member.unchosen {
        let hint = "say which of its addresses its peers reach: `nodeAddress`, --node-address HOST=ADDRESS";
        found.error("NodeAddress", error.to_string(), hint);
    }
    system(member, found);
    if facts.ahead.is_some_and(|seconds| seconds.abs() > SKEW) {
        let text = format!("its clock differs from this machine's by {} s", facts.ahead.unwrap_or(0));
        found.error("ClockSkew", text, "set the clocks: certificates are not yet or no longer valid otherwise");
    }
}

/// What the kernel must have.
fn system(member: &Member, found: &mut Found<'_>) {
    let facts = &member.facts;
    let minor = minor(&found.launch.bundle.kubernetes);
    let mut parts = facts.kernel.split(['.', '-', '+']).map(|part| part.parse::<u32>().ok());
    let (major, minor_of) = (parts.next().flatten(), parts.next().flatten());
    if let (Some(major), Some(minor_of)) = (major, minor_of) {
        let text = || format!("the kernel release {} is unsupported", printable(&facts.kernel));
        if (major, minor_of) < (3, 10) {
            found.error("SystemVerification", text(), "Kubernetes needs Linux 3.10, and since 1.31 wants 4.19");
        } else if minor >= 31 && (major, minor_of) < (4, 19) {
            found.warn("SystemVerification", text(), "since Kubernetes 1.31, Linux 4.19 is wanted");
        }
    }
    if !facts.cgroup2 && minor >= 31 {
        let text = "control groups are of version 1, whose support in the kubelet ends";
        let hint = "boot with systemd.unified_cgroup_hierarchy=1; from 1.35 on the kubelet needs `failCgroupV1: false`";
        found.add(minor >= 35, "SystemVerification", text, hint);
    }
    let forwarding = "/proc/sys/net/ipv6/conf/default/forwarding";
    if member.has_v6() && !facts.settings.contains_key(forwarding) {
        let name = "FileContent--proc-sys-net-ipv6-conf-default-forwarding";
        found.error(name, format!("{forwarding} does not exist"), "the kernel was booted without IPv6");
    }
}

fn programs(member: &Member, found: &mut Found<'_>) {
    let facts = &member.facts;
    let launch = found.launch;
    let brought = |program: &str| launch.bundle.has(&format!("bin/{program}"));
    let missing = |program: &&str| !facts.programs.contains(*program) && !brought(program);
    let needed: Vec<&str> = NEEDED
        .into_iter()
        .filter(|p| *p != "conntrack" || minor(&found.launch.bundle.kubernetes) < 32)
        .filter(missing)
        .collect();
    // kubeadm does not ask for it, and kubelet and the CNI plugins call it.
    let needed: Vec<&str> =
        needed.into_iter().chain(Some("ip6tables").filter(|p| member.has_v6() && missing(p))).collect();
    let wanted: Vec<&str> = WANTED.into_iter().filter(missing).collect();
    let is_docker = launch.is_docker();
    let runtime = ["containerd", "runc"].into_iter().filter(|_| !is_docker);
    let lacks: Vec<&str> = runtime.chain(["kubeadm", "kubelet", "kubectl"]).filter(missing).collect();
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
    // kubeadm asks it for the runtime, unless that is Docker; since 1.31 it asks by itself.
    if missing(&"crictl") && !is_docker {
        let fatal = minor(&found.launch.bundle.kubernetes) < 31;
        found.add(fatal, "FileExisting-crictl", "crictl not found in system path", "put it into bin/ of the image");
    }
    let all = ["/proc/sys/net/bridge/bridge-nf-call-iptables", "/proc/sys/net/bridge/bridge-nf-call-ip6tables"];
    for path in all.into_iter().take(if member.has_v6() { 2 } else { 1 }) {
        if !facts.settings.contains_key(path) && !facts.programs.contains("modprobe") {
            let name = format!("FileContent-{}", path.replace('/', "-"));
            found.error(name, format!("{path} does not exist"), "the kernel needs the module br_netfilter");
        }
    }
    let runtime: u32 = facts.containerd.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
    if runtime >= 2 && !is_docker && !brought("containerd") && minor(&found.launch.bundle.kubernetes) < 26 {
        let text = format!(
            "containerd {} does not speak with the kubelet of {}",
            printable(&facts.containerd),
            found.launch.bundle.kubernetes
        );
        found.error("CRI", text, "containerd 1.x does, on the host or in bin/ of the image; or Kubernetes since 1.26");
    }
}

fn disk(member: &Member, found: &mut Found<'_>) {
    // Blobs, what is unpacked of them, and containerd's copy of images.
    let needed = found.launch.bundle.size() * 3 / (1 << 20) + SPARE;
    if let Some(free) = member.facts.disk.filter(|free| *free < needed) {
        found.error("DiskSpace", format!("/var/lib has {free} MiB free, {needed} MiB are needed"), "");
    }
}

fn ports(member: &Member, configuration: &Configuration, found: &mut Found<'_>) {
    let mut tcp = vec![10_250];
    if member.is_master() {
        tcp.extend([configuration.bind_port, 10_259, 10_257]);
        if !configuration.external_etcd {
            tcp.extend([2379, 2380]);
        }
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

/// What must differ between hosts, and does not.
fn between(launch: &Launch, out: &mut Vec<Finding>) {
    type Of = fn(&Member) -> Vec<String>;
    let rows: [(&str, &str, &str, Of); 5] = [
        ("HostnameUnique", "the name of its node", "give hosts different names", |m| vec![m.node.clone()]),
        ("AddressUnique", "its address", "say which of its addresses its peers reach", |m| {
            m.addresses().map(|address| address.to_string()).collect()
        }),
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
                found.add(fatal, name, format!("{what} is that of {other}, too: {}", printable(&value)), hint);
                out.append(&mut found.out);
            }
        }
    }
}

/// RFC 1123, as Kubernetes wants it.
pub(crate) fn is_node_name(name: &str) -> bool {
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
