//! Plugins of the network: configuration, programs, leases of addresses, what flannel and Calico leave on a disk.
//! Formats: the CNI specification, containernetworking/plugins (host-local), flannel's subnet.env.

use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::FileType;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::kube::Kube;
use super::root::{ENTRIES, Root};
use super::{Network, Unread};

const PLUGINS: usize = 64;
/// Pods that are kept of one host.
const PODS: usize = 5000;

/// Plugins of the network, and their state.
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
pub struct Cni {
    /// Where configuration is.
    pub directory: String,
    /// The files in it that runtimes read, in the order they do; the first one counts.
    pub files: Vec<File>,
    /// Where programs are.
    pub programs: String,
    /// The programs that configuration names, or that are there.
    pub binaries: Vec<Binary>,
    /// `/run/flannel/subnet.env`.
    pub subnet: Option<Subnet>,
    /// flannel's configuration, as its pod on this host has it mounted.
    pub net_conf: Option<NetConf>,
    /// The leases of host-local, by network.
    pub stores: Vec<Store>,
    /// The containers that the runtime has, by what it keeps on the disk; nothing if no runtime is known.
    pub sandboxes: Option<Vec<String>>,
    /// Containers that have a result in libcni's cache.
    pub results: Vec<String>,
    /// Pods, as far as those results or the runtime name them.
    pub pods: Vec<Pod>,
    /// Network namespaces of pods: names in /run/netns.
    pub namespaces: Vec<String>,
    /// `/var/lib/calico/nodename`.
    pub calico_node: Option<String>,
}

/// A pod of this host.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Default)]
pub struct Pod {
    /// Its namespace in Kubernetes.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The container that stands for it.
    pub sandbox: String,
    /// Its addresses.
    pub ips: Vec<IpAddr>,
}

/// A file of configuration.
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
pub struct File {
    /// Its name.
    pub name: String,
    /// What the network is called.
    pub network: String,
    /// The version of the format it is in.
    pub version: String,
    /// Its plugins, by type, with those for addresses.
    pub plugins: Vec<String>,
    /// What host-local may lease.
    pub ranges: Vec<Range>,
    /// Why it cannot be used.
    pub error: Option<String>,
}

/// Addresses that host-local may lease.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub struct Range {
    /// The network they are of.
    pub network: Network,
    /// How many there are.
    pub size: u64,
}

/// A program.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub struct Binary {
    /// Its name.
    pub name: String,
    /// Whether it may be run.
    pub executable: bool,
    /// The machine it is for, as ELF says (62 x86-64, 183 AArch64); nothing when it is no ELF.
    pub machine: Option<u16>,
}

/// What flannel leases.
#[derive(Debug, Clone, Serialize, Deserialize, Default, PartialEq)]
pub struct Subnet {
    /// The network of all pods.
    pub network: Option<Network>,
    /// The first address and the network of this host's pods.
    pub subnet: Option<Network>,
    /// The same of IPv6.
    pub subnet6: Option<Network>,
    /// The largest packet of pods.
    pub mtu: Option<u32>,
    /// Whether flannel masquerades.
    pub masquerade: bool,
    /// What is wrong with the file.
    pub error: Option<String>,
}

/// flannel's `net-conf.json`.
#[derive(Debug, Clone, Serialize, Deserialize, Default, PartialEq)]
pub struct NetConf {
    /// The network of all pods.
    pub network: Option<Network>,
    /// `vxlan`, `host-gw`, …
    pub backend: String,
    /// The number of the VXLAN network, if it is set.
    pub vni: Option<u32>,
    /// The port of UDP, if it is set.
    pub port: Option<u16>,
    /// What is wrong with it.
    pub error: Option<String>,
}

/// The leases of one network.
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
pub struct Store {
    /// The network's name: `cbr0`.
    pub network: String,
    /// The leases.
    pub leases: Vec<Lease>,
}

/// An address that is given away.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub struct Lease {
    /// The address.
    pub ip: IpAddr,
    /// To whom.
    pub container: String,
    /// For how many seconds.
    pub age: u64,
}

impl Cni {
    pub(super) fn read(root: &Root, kube: &Kube, unread: &mut Vec<Unread>) -> Cni {
        let directory = kube.runtime.conf_dir.clone().unwrap_or_else(|| "/etc/cni/net.d".to_owned());
        let programs = kube.runtime.bin_dir.clone().unwrap_or_else(|| "/opt/cni/bin".to_owned());
        // libcni: ConfFiles with these endings, sorted.
        let wanted = |name: &String| [".conf", ".conflist", ".json"].iter().any(|end| name.ends_with(end));
        let names: Vec<String> = root.list(&directory, unread).into_iter().filter(wanted).take(100).collect();
        let files: Vec<File> = names.into_iter().map(|name| file(root, &directory, name, unread)).collect();
        let namespaces = root.list("/run/netns", unread);
        let answered = kube.cri.as_ref().filter(|cri| !cri.disabled);
        let results = root.list("/var/lib/cni/results", unread);
        Cni {
            pods: results.iter().take(PODS).filter_map(|name| pod(root, name)).collect(),
            results,
            binaries: binaries(root, &programs, &files, unread),
            subnet: root.text("/run/flannel/subnet.env", unread).map(|text| subnet(&text)),
            net_conf: net_conf(root, unread),
            stores: stores(root, unread),
            sandboxes: match answered {
                Some(cri) => Some(cri.sandboxes.iter().map(|sandbox| sandbox.id.clone()).collect()),
                None => sandboxes(root, unread),
            },
            namespaces: namespaces.into_iter().filter(|name| name.starts_with("cni-")).collect(),
            calico_node: root.text("/var/lib/calico/nodename", unread).map(|text| text.trim().to_owned()),
            directory,
            programs,
            files,
        }
    }

    /// The file that counts.
    pub fn active(&self) -> Option<&File> {
        self.files.first()
    }

    /// Whether the file that counts names this plugin.
    pub fn uses(&self, plugin: &str) -> bool {
        self.active().is_some_and(|file| file.plugins.iter().any(|name| name == plugin))
    }
}

/// What libcni keeps of a pod that was added to a network: the arguments of the runtime and the plugin's result.
fn pod(root: &Root, name: &str) -> Option<Pod> {
    let text = root.head(&format!("/var/lib/cni/results/{name}"), 64 << 10)?;
    result(&serde_json::from_slice(&text).ok()?)
}

/// Format: `cniCacheV1` of containernetworking/cni.
fn result(value: &Value) -> Option<Pod> {
    let arguments = value.get("cniArgs")?.as_array()?;
    let argument = |wanted: &str| {
        let pair = arguments.iter().find(|pair| pair.get(0).and_then(Value::as_str) == Some(wanted))?;
        pair.get(1)?.as_str().map(str::to_owned)
    };
    let addresses = value.pointer("/result/ips").and_then(Value::as_array).into_iter().flatten();
    let ips = addresses.filter_map(|ip| ip.get("address")?.as_str()?.split('/').next()?.parse::<IpAddr>().ok());
    // containerd keeps a result of its own for each pod's loopback.
    let ips: Vec<IpAddr> = ips.filter(|ip| !ip.is_loopback()).take(8).collect();
    if ips.is_empty() {
        return None;
    }
    Some(Pod {
        namespace: argument("K8S_POD_NAMESPACE")?,
        name: argument("K8S_POD_NAME")?,
        sandbox: value.get("containerId").and_then(Value::as_str).unwrap_or_default().to_owned(),
        ips,
    })
}

fn file(root: &Root, directory: &str, name: String, unread: &mut Vec<Unread>) -> File {
    let mut out = File { name, ..File::default() };
    // That it cannot be read is said once, as what could not be read.
    let Some(text) = root.text(&format!("{directory}/{}", out.name), unread) else { return out };
    match serde_json::from_str::<Value>(&text) {
        Ok(value) => describe(&value, &mut out),
        Err(error) => out.error = Some(format!("is not JSON: {error}")),
    }
    out
}

fn describe(value: &Value, out: &mut File) {
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    out.network = text(value, "name");
    out.version = text(value, "cniVersion");
    let list = match value.get("plugins") {
        Some(Value::Array(plugins)) => plugins.iter().take(PLUGINS).collect(),
        Some(_) => {
            out.error = Some("`plugins` is no list".to_owned());
            return;
        }
        None if out.name.ends_with(".conflist") => Vec::new(),
        None => vec![value],
    };
    for plugin in list {
        let delegate = plugin.get("delegate").map(|delegate| text(delegate, "type")).filter(|name| !name.is_empty());
        let ipam = plugin.get("ipam").map(|ipam| text(ipam, "type")).filter(|name| !name.is_empty());
        let kind = text(plugin, "type");
        if kind.is_empty() {
            out.error = Some("a plugin has no `type`".to_owned());
        } else if kind == "flannel" {
            // The delegate is bridge unless said otherwise; it leases from host-local.
            out.plugins.extend([kind, delegate.unwrap_or_else(|| "bridge".to_owned()), "host-local".to_owned()]);
        } else {
            out.plugins.push(kind);
            out.plugins.extend(ipam);
            out.ranges.extend(ranges(plugin));
        }
    }
    if out.error.is_none() && out.plugins.is_empty() {
        out.error = Some("has no plugins".to_owned());
    }
}

/// What the configuration of host-local says: `subnet` with `rangeStart` and `rangeEnd`, or sets of those.
fn ranges(plugin: &Value) -> Vec<Range> {
    let Some(ipam) = plugin.get("ipam").filter(|ipam| ipam.get("type").and_then(Value::as_str) == Some("host-local"))
    else {
        return Vec::new();
    };
    let sets = ipam.get("ranges").and_then(Value::as_array).into_iter().flatten();
    // Of a set with several ranges one may be full while another is not.
    let all = sets.filter_map(Value::as_array).filter(|set| set.len() == 1).flatten().chain([ipam]);
    all.filter_map(range).take(PLUGINS).collect()
}

/// Without an end it is all of the network but its name, its broadcast and the gateway.
fn range(value: &Value) -> Option<Range> {
    let word = |key: &str| value.get(key).and_then(Value::as_str);
    let network: Network = word("subnet")?.parse().ok()?;
    let number = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => Some(u64::from(u32::from(ip))),
        IpAddr::V6(_) => None,
    };
    let base = number(network.first())?;
    let end = |key: &str, usual: u64| word(key).map_or(Some(usual), |text| number(text.parse().ok()?));
    let first = end("rangeStart", base.saturating_add(1))?;
    let last = end("rangeEnd", base.saturating_add(network.size()).saturating_sub(2))?;
    let gateway = word("gateway").map_or(Some(base.saturating_add(1)), |text| number(text.parse().ok()?))?;
    let own = u64::from((first..=last).contains(&gateway));
    Some(Range { network, size: last.checked_sub(first)?.saturating_add(1).saturating_sub(own) })
}

/// The programs that are named, and `loopback`, which every runtime calls.
fn binaries(root: &Root, directory: &str, files: &[File], unread: &mut Vec<Unread>) -> Vec<Binary> {
    let mut names: Vec<String> = root.list(directory, unread);
    names.truncate(200);
    let named = files.iter().flat_map(|file| &file.plugins).filter(|name| !name.contains('/'));
    for name in named {
        if !names.contains(name) && root.exists(&format!("{directory}/{name}")) {
            names.push(name.clone());
        }
    }
    names.into_iter().filter_map(|name| binary(root, directory, name)).collect()
}

fn binary(root: &Root, directory: &str, name: String) -> Option<Binary> {
    let path = format!("{directory}/{name}");
    let stat = root.stat(&path).ok()??;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return None;
    }
    let head = root.head(&path, 20).unwrap_or_default();
    let machine = match head.as_slice() {
        [0x7f, b'E', b'L', b'F', _, 1, .., a, b] => Some(u16::from_le_bytes([*a, *b])),
        [0x7f, b'E', b'L', b'F', _, 2, .., a, b] => Some(u16::from_be_bytes([*a, *b])),
        _ => None,
    };
    // A shell's script, as wrappers of plugins are, runs on every machine.
    let machine = if head.starts_with(b"#!") { Some(0) } else { machine.filter(|_| head.len() == 20) };
    Some(Binary { name, executable: stat.st_mode & 0o111 != 0, machine })
}

fn subnet(text: &str) -> Subnet {
    let mut out = Subnet::default();
    let mut fail = |line: &str, why: &str| {
        let line: String = line.chars().take(80).collect();
        out.error.get_or_insert(format!("`{line}`: {why}"));
    };
    let (mut network, mut own, mut own6, mut mtu, mut masquerade) = (None, None, None, None, false);
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match line.split_once('=') {
            Some(("FLANNEL_NETWORK", value)) => match value.split(',').next().unwrap_or_default().parse::<Network>() {
                Ok(value) => network = Some(value),
                Err(why) => fail(line, &why),
            },
            Some(("FLANNEL_SUBNET", value)) => match value.parse::<Network>() {
                Ok(value) => own = Some(value),
                Err(why) => fail(line, &why),
            },
            Some(("FLANNEL_IPV6_SUBNET", value)) => match value.parse::<Network>() {
                Ok(value) => own6 = Some(value),
                Err(why) => fail(line, &why),
            },
            Some(("FLANNEL_MTU", value)) => match value.parse::<u32>() {
                Ok(value) => mtu = Some(value),
                Err(_) => fail(line, "is no number of bytes"),
            },
            Some(("FLANNEL_IPMASQ", value)) => masquerade = value == "true",
            Some(_) => {}
            None => fail(line, "is no setting"),
        }
    }
    // Where pods have addresses of IPv6 only, nothing is said of IPv4.
    let only6 = own6.is_some() && network.is_none() && own.is_none();
    for (name, there) in [
        ("FLANNEL_NETWORK", network.is_some() || only6),
        ("FLANNEL_SUBNET", own.is_some() || only6),
        ("FLANNEL_MTU", mtu.is_some()),
    ] {
        if !there && out.error.is_none() {
            out.error = Some(format!("has no {name}"));
        }
    }
    Subnet { network, subnet: own, subnet6: own6, mtu, masquerade, ..out }
}

/// Where the ConfigMap of flannel's pod is mounted; pods of it that are gone leave nothing there.
fn net_conf(root: &Root, unread: &mut Vec<Unread>) -> Option<NetConf> {
    let pods = "/var/lib/kubelet/pods";
    let volume = "volumes/kubernetes.io~configmap/flannel-cfg/net-conf.json";
    let mounted = root.list(pods, unread).into_iter().take(PODS).map(|pod| format!("{pods}/{pod}/{volume}"));
    let path = mounted.chain(["/etc/kube-flannel/net-conf.json".to_owned()]).find(|path| root.exists(path))?;
    Some(configured(&root.text(&path, unread)?))
}

fn configured(text: &str) -> NetConf {
    let value: Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(error) => return NetConf { error: Some(format!("is not JSON: {error}")), ..NetConf::default() },
    };
    let number = |key: &str| value.pointer(&format!("/Backend/{key}")).and_then(Value::as_u64);
    let network = value.get("Network").and_then(Value::as_str).map(str::parse::<Network>);
    let error = match &network {
        Some(Err(why)) => Some(format!("Network: {why}")),
        _ => None,
    };
    NetConf {
        network: network.and_then(Result::ok),
        backend: value.pointer("/Backend/Type").and_then(Value::as_str).unwrap_or("udp").chars().take(40).collect(),
        vni: number("VNI").and_then(|vni| u32::try_from(vni).ok()),
        port: number("Port").and_then(|port| u16::try_from(port).ok()),
        error,
    }
}

fn stores(root: &Root, unread: &mut Vec<Unread>) -> Vec<Store> {
    let base = "/var/lib/cni/networks";
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let mut out = Vec::new();
    for network in root.list(base, unread).into_iter().take(64) {
        let directory = format!("{base}/{network}");
        let mut leases = Vec::new();
        for name in root.list(&directory, unread).into_iter().take(ENTRIES) {
            // The names of IPv6 have `_` where a file may have no `:`.
            let Ok(ip) = name.replace('_', ":").parse::<IpAddr>().or_else(|_| name.parse()) else { continue };
            let text = root.head(&format!("{directory}/{name}"), 512).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let container = text.lines().next().unwrap_or_default().trim().to_owned();
            let written = root.stat(&format!("{directory}/{name}")).ok().flatten().map_or(now, |stat| stat.st_mtime);
            let age = u64::try_from(now.saturating_sub(written)).unwrap_or(0);
            leases.push(Lease { ip, container, age });
        }
        out.push(Store { network, leases });
    }
    out
}

/// The sandboxes of the runtimes that are there, by the directories they keep for each.
fn sandboxes(root: &Root, unread: &mut Vec<Unread>) -> Option<Vec<String>> {
    let directories = [
        "/var/lib/containerd/io.containerd.grpc.v1.cri/sandboxes",
        "/run/containerd/io.containerd.runtime.v2.task/k8s.io",
        "/var/lib/dockershim/sandbox",
        "/var/lib/cri-dockerd/sandbox",
    ];
    let mut out = Vec::new();
    let mut known = false;
    for directory in directories.iter().filter(|directory| root.exists(directory)) {
        known = true;
        out.extend(root.list(directory, unread));
    }
    if let Some(text) = root.text("/var/lib/containers/storage/overlay-containers/containers.json", unread) {
        known = true;
        let list: Vec<Value> = serde_json::from_str(&text).unwrap_or_default();
        out.extend(list.iter().filter_map(|entry| entry.get("id")?.as_str().map(str::to_owned)));
    }
    out.sort();
    out.dedup();
    known.then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flannels_file() {
        let good = subnet(
            "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n",
        );
        assert_eq!((good.error, good.mtu, good.masquerade), (None, Some(1450), true));
        assert_eq!(good.subnet.unwrap().to_string(), "10.244.1.1/24");
        let six = "FLANNEL_IPV6_NETWORK=fd64:64::/48\nFLANNEL_IPV6_SUBNET=fd64:64:0:1::1/64\nFLANNEL_MTU=1430\n";
        let (six, both) =
            (subnet(six), subnet(&format!("{six}FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\n")));
        assert_eq!(
            (six.error, six.subnet, six.subnet6.unwrap().to_string().as_str()),
            (None, None, "fd64:64:0:1::1/64")
        );
        assert!(both.error.is_none() && both.subnet.is_some() && both.subnet6 == six.subnet6);
        let half = "FLANNEL_IPV6_SUBNET=fd64:64:0:1::1/64\nFLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_MTU=1430\n";
        assert_eq!(subnet(half).error.as_deref(), Some("has no FLANNEL_SUBNET"));
        for bad in [
            "",
            "FLANNEL_IPV6_SUBNET=fd64::\nFLANNEL_MTU=1\n",
            "FLANNEL_NETWORK=10.244.0.0\n",
            "\0\u{1b}[2J",
            "FLANNEL_MTU=99999999999999",
        ] {
            assert!(subnet(bad).error.is_some(), "{bad:?}");
        }
    }

    #[test]
    fn configuration_of_flannel() {
        let good = configured(r#"{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan","VNI":7,"Port":4789}}"#);
        assert_eq!((good.vni, good.port, good.backend.as_str(), good.error), (Some(7), Some(4789), "vxlan", None));
        for bad in ["", "{", r#"{"Network":"10.244.0.0"}"#] {
            assert!(configured(bad).error.is_some(), "{bad}");
        }
        assert_eq!(configured(r#"{"Backend":[7],"Network":7}"#).network, None);
    }

    #[test]
    fn pods_of_results() {
        let text = r#"{"kind":"cniCacheV1","containerId":"c1","networkName":"cbr0","cniArgs":[["IgnoreUnknown","1"],["K8S_POD_NAMESPACE","default"],["K8S_POD_NAME","web-0"]],"result":{"cniVersion":"0.3.1","ips":[{"version":"4","address":"10.244.0.5/24"}]}}"#;
        let pod = result(&serde_json::from_str(text).unwrap()).unwrap();
        assert_eq!((pod.namespace.as_str(), pod.name.as_str(), pod.sandbox.as_str()), ("default", "web-0", "c1"));
        assert_eq!(pod.ips, ["10.244.0.5".parse::<IpAddr>().unwrap()]);
        let loopback = text.replace("10.244.0.5/24", "127.0.0.1/8");
        assert_eq!(result(&serde_json::from_str(&loopback).unwrap()), None, "each pod has one");
        for bad in ["{}", "[]", r#"{"cniArgs":7}"#, r#"{"cniArgs":[[],7,["K8S_POD_NAME"]]}"#] {
            assert_eq!(result(&serde_json::from_str(bad).unwrap()), None, "{bad}");
        }
    }

    #[test]
    fn what_configuration_names() {
        let read = |name: &str, text: &str| {
            let mut out = File { name: name.to_owned(), ..File::default() };
            describe(&serde_json::from_str(text).unwrap(), &mut out);
            out
        };
        let flannel = r#"{"name":"cbr0","cniVersion":"0.3.1","plugins":[{"type":"flannel","delegate":{"isDefaultGateway":true}},{"type":"portmap"}]}"#;
        let file = read("10-flannel.conflist", flannel);
        assert_eq!(file.plugins, ["flannel", "bridge", "host-local", "portmap"]);
        assert_eq!(file.error, None);
        for bad in [r#"{"plugins":7}"#, r#"{"plugins":[]}"#, r#"{"plugins":[{}]}"#, "[]", "7"] {
            assert!(read("a.conflist", bad).error.is_some(), "{bad}");
        }
        assert_eq!(read("a.conf", r#"{"type":"bridge","ipam":{"type":"dhcp"}}"#).plugins, ["bridge", "dhcp"]);
        let sizes = |ipam: &str| -> Vec<u64> {
            let file = read("a.conf", &format!(r#"{{"type":"bridge","ipam":{{"type":"host-local",{ipam}}}}}"#));
            file.ranges.iter().map(|range| range.size).collect()
        };
        assert_eq!(sizes(r#""subnet":"10.5.0.0/29""#), [5]);
        assert_eq!(
            sizes(
                r#""ranges":[[{"subnet":"10.5.0.0/24"}],[{"subnet":"10.6.0.0/24","rangeStart":"10.6.0.10","rangeEnd":"10.6.0.13"}]]"#
            ),
            [253, 4]
        );
        for bad in [
            r#""subnet":7"#,
            r#""subnet":"x""#,
            r#""ranges":[[7],{}]"#,
            r#""subnet":"10.0.0.0/24","rangeStart":"10.0.0.9","rangeEnd":"10.0.0.2""#,
        ] {
            assert_eq!(sizes(bad), Vec::<u64>::new(), "{bad}");
        }
        assert_eq!(sizes(r#""subnet":"0.0.0.0/0""#), [(1 << 32) - 3]);
    }
}
