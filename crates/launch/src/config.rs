//! What kubeadm is told: the documents of Clusterfile and image, and between them what follows from hosts and image.
//!
//! ```text
//! what the user says of a host (name, node address) > Clusterfile
//!             > what is computed of hosts (addresses, names, endpoint) > the image's etc/kubeadm.yml, rendered and changed
//!             > what is computed of the image (repository) > kiln-kubeadm's default
//! ```
//! Names and addresses for the certificate of the API server are the exception: computed ones are added to those said.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use kiln_clusterfile::address::Reason;
use kiln_clusterfile::kubeadm::of_host;
use kiln_kubeadm::{Content, Kind, Layer, Origin, Resolved, Value, render, resolve};

use crate::docker;
use crate::error::{LaunchError, Result};
use crate::families;
use crate::launch::{Join, Launch, Member};
use crate::phase::rootfs;

/// The name by which nodes reach the API server.
pub const ENDPOINT: &str = "apiserver.cluster.local";
/// What origins call what nobody says.
pub const DEFAULT: &str = "default";
/// The socket of containerd.
pub const SOCKET: &str = "/run/containerd/containerd.sock";

/// Documents in the making.
struct Made {
    origin: Origin,
    documents: Vec<(Kind, Value)>,
}

impl Made {
    fn new(layer: &str) -> Made {
        Made { origin: Origin { layer: layer.to_owned(), ..Origin::default() }, documents: Vec::new() }
    }

    fn put(&mut self, kind: Kind, path: &[&str], content: Content) -> &mut Made {
        let value = Value { content, origin: self.origin.clone() };
        let at = match self.documents.iter().position(|(known, _)| *known == kind) {
            Some(at) => at,
            None => {
                let empty = Value { content: Content::Map(Vec::new()), origin: self.origin.clone() };
                self.documents.push((kind, empty));
                self.documents.len() - 1
            }
        };
        if let Some((_, document)) = self.documents.get_mut(at) {
            document.put(path, value);
        }
        self
    }

    fn text(&mut self, kind: Kind, path: &[&str], text: impl Into<String>) -> &mut Made {
        self.put(kind, path, Content::Text(text.into()))
    }

    fn list(&self, items: impl IntoIterator<Item = String>) -> Content {
        let value = |text| Value { content: Content::Text(text), origin: self.origin.clone() };
        Content::List(items.into_iter().map(value).collect())
    }

    fn layer(self) -> Layer {
        let name = self.origin.layer.clone();
        Layer::made(name, self.documents)
    }
}

/// The configuration of the cluster.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// The documents, merged.
    pub resolved: Resolved,
    /// Name or address of the API server that nodes use.
    pub endpoint: String,
    /// Its port.
    pub port: u16,
    /// The port at which masters' own API servers listen.
    pub bind_port: u16,
    /// Whether etcd is elsewhere.
    pub external_etcd: bool,
    /// `cgroupfs` or `systemd`
    pub cgroup_driver: String,
    /// Networks of pods, then of services, with what they are of.
    pub networks: Vec<(String, String)>,
    /// What nobody said, and was decided because of the families of addresses.
    pub decided: Vec<String>,
}

impl Configuration {
    /// Whether nodes reach API servers by Kiln's own way, and not by a name or address of the user's.
    pub fn is_own(&self) -> bool {
        self.endpoint == ENDPOINT
    }

    /// Families of addresses that the cluster has, the main one first; `true` is IPv6.
    pub fn families(&self) -> Vec<bool> {
        let of = |what: &'static str| self.networks.iter().filter(move |(of, _)| of == what).map(|(_, n)| n.as_str());
        families::of(of("services").chain(of("pods")))
    }

    /// Where nodes reach the API server: `apiserver.cluster.local:6443`, `[fd00::1]:6443`.
    pub fn address(&self) -> String {
        match self.endpoint.parse::<IpAddr>() {
            Ok(address) => SocketAddr::new(address, self.port).to_string(),
            Err(_) => format!("{}:{}", self.endpoint, self.port),
        }
    }
}

/// The configuration, merged when it is asked for first: what goes into it is known when a launch begins.
///
/// # Errors
/// When a layer has mistakes.
pub fn configuration(launch: &Launch) -> Result<Arc<Configuration>> {
    if let Some(known) = launch.configuration.get() {
        return Ok(known.clone());
    }
    // Two threads that come here at once make the same.
    let made = Arc::new(merge(launch)?);
    Ok(launch.configuration.get_or_init(|| made).clone())
}

fn merge(launch: &Launch) -> Result<Configuration> {
    let (mut layers, decided) = layers(launch)?;
    let once = merged(&layers, launch)?;
    let mut sans: BTreeSet<String> = computed_sans(launch).into_iter().collect();
    if let Some(Content::List(items)) =
        once.at(Kind::ClusterConfiguration, &["apiServer", "certSANs"]).map(|v| &v.content)
    {
        sans.extend(items.iter().filter_map(Value::as_text).map(str::to_owned));
    }
    let mut made = Made::new("hosts");
    let list = made.list(sans);
    made.put(Kind::ClusterConfiguration, &["apiServer", "certSANs"], list);
    layers.insert(0, made.layer());
    let resolved = merged(&layers, launch)?;
    let text = |kind, path: &[&str]| resolved.at(kind, path).and_then(Value::as_text).unwrap_or_default().to_owned();
    let endpoint = text(Kind::ClusterConfiguration, &["controlPlaneEndpoint"]);
    let (endpoint, port) = endpoint_parts(&endpoint);
    let mut networks = Vec::new();
    for (what, field) in [("pods", "podSubnet"), ("services", "serviceSubnet")] {
        let said = text(Kind::ClusterConfiguration, &["networking", field]);
        networks.extend(families::split(&said).map(|n| (what.to_owned(), n.to_owned())));
    }
    let cgroup_driver = text(Kind::KubeletConfiguration, &["cgroupDriver"]);
    let bind_port = match resolved.at(Kind::InitConfiguration, &["localAPIEndpoint", "bindPort"]).map(|v| &v.content) {
        Some(Content::Number(number)) => number.parse().unwrap_or(6443),
        _ => 6443,
    };
    let external = resolved.at(Kind::ClusterConfiguration, &["etcd", "external"]);
    let external_etcd = external.is_some_and(|external| external.content != Content::Null);
    Ok(Configuration { endpoint, port, bind_port, external_etcd, cgroup_driver, networks, decided, resolved })
}

/// `apiserver.cluster.local:6443`, `[fd00::1]:6443`, or without the port.
fn endpoint_parts(text: &str) -> (String, u16) {
    if text.parse::<IpAddr>().is_ok() {
        return (text.to_owned(), 6443);
    }
    match text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?))) {
        Some((host, port)) => (host.trim_matches(['[', ']']).to_owned(), port),
        None => (text.to_owned(), 6443),
    }
}

fn merged(layers: &[Layer], launch: &Launch) -> Result<Resolved> {
    resolve(layers, Some(&launch.bundle.kubernetes))
        .map_err(|found| LaunchError::Config { layers: layers.to_vec(), found })
}

fn computed_sans(launch: &Launch) -> Vec<String> {
    let mut sans = vec!["127.0.0.1".to_owned(), ENDPOINT.to_owned()];
    for master in launch.masters() {
        sans.push(families::loopback(master.address).to_owned());
        sans.extend(master.addresses().map(|address| address.to_string()));
        sans.extend([master.host.address().to_string(), master.node.clone()]);
    }
    sans.extend(launch.cluster.cert_sans.iter().map(|san| san.value.clone()));
    sans
}

/// All layers of the cluster, the highest first; and what was decided for families of addresses.
fn layers(launch: &Launch) -> Result<(Vec<Layer>, Vec<String>)> {
    let first = launch.first()?;
    let mut layers = said_layers(launch, first, None)?;
    let mut decided = Vec::new();
    let once = merged(&layers, launch)?;
    let mut made = Made::new("families");
    let network = |field: &str| once.at(Kind::ClusterConfiguration, &["networking", field]);
    let text = |field| network(field).and_then(Value::as_text).unwrap_or_default();
    let said = |field| network(field).filter(|value| value.origin.layer != DEFAULT).and_then(Value::as_text);
    let default = (text("podSubnet"), text("serviceSubnet"));
    let v6 = first.address.is_ipv6();
    let filled = families::filled(said("podSubnet"), said("serviceSubnet"), default, v6);
    for (field, what, network) in [("podSubnet", "pods", filled.0), ("serviceSubnet", "services", filled.1)] {
        if let Some(network) = network {
            decided.push(format!("nobody names a network of {what}, and IPv6 is meant: it is {network}"));
            made.text(Kind::ClusterConfiguration, &["networking", field], network);
        }
    }
    layers.push(made.layer());
    let once = merged(&layers, launch)?;
    let of = |field| once.at(Kind::ClusterConfiguration, &["networking", field]).and_then(Value::as_text);
    let all = ["podSubnet", "serviceSubnet"].into_iter().filter_map(of).flat_map(families::split);
    if families::of(all).len() > 1 && crate::preflight::minor(&launch.bundle.kubernetes) == families::DUAL_SINCE {
        let mut made = Made::new("families");
        for (kind, path, content) in families::gates(&once) {
            made.put(kind, path, content);
        }
        decided.push(format!("the feature gate {} is switched on: networks are of both families", families::GATE));
        layers.insert(0, made.layer());
    }
    Ok((layers, decided))
}

/// What is said for one host, and follows from what hosts are.
fn said_layers(launch: &Launch, member: &Member, join: Option<&Join>) -> Result<Vec<Layer>> {
    // What the user says of this one host is over what documents say of all; with it goes the address of the other family.
    let origin = member.chosen.iter().find_map(|choice| match &choice.reason {
        Reason::Said(origin) => Some(origin.clone()),
        _ => None,
    });
    let said = member.chosen.iter().filter_map(|choice| Some((choice.address, origin.clone()?)));
    let mut layers = vec![of_host(&member.host, &said.collect::<Vec<_>>())];
    layers.extend(launch.cluster.kubeadm.iter().cloned());
    layers.push(of_hosts(launch, member, join)?);
    if let Some(text) = rootfs::kubeadm(launch, member)? {
        layers.push(Layer::file(rootfs::KUBEADM, text));
    }
    let mut image = Made::new("image");
    if let Some(repository) = launch.bundle.repository() {
        image.text(Kind::ClusterConfiguration, &["imageRepository"], repository);
    }
    layers.push(image.layer());
    Ok(layers)
}

fn of_hosts(launch: &Launch, member: &Member, join: Option<&Join>) -> Result<Layer> {
    let mut made = Made::new("hosts");
    made.text(Kind::ClusterConfiguration, &["controlPlaneEndpoint"], format!("{ENDPOINT}:6443"));
    made.text(Kind::KubeletConfiguration, &["cgroupDriver"], cgroup_driver(launch, launch.first()?));
    let kind = if join.is_some() { Kind::JoinConfiguration } else { Kind::InitConfiguration };
    made.text(kind, &["nodeRegistration", "name"], member.node.clone());
    made.text(kind, &["nodeRegistration", "criSocket"], if launch.is_docker() { docker::SOCKET } else { SOCKET });
    let addresses: Vec<String> = member.chosen.iter().map(|choice| choice.address.to_string()).collect();
    let addresses = if addresses.is_empty() { member.address.to_string() } else { addresses.join(",") };
    made.text(kind, &["nodeRegistration", "kubeletExtraArgs", "node-ip"], addresses);
    let Some(join) = join else {
        made.text(kind, &["localAPIEndpoint", "advertiseAddress"], member.address.to_string());
        return Ok(made.layer());
    };
    let first = launch.first()?;
    let token: &[&str] = &["discovery", "bootstrapToken", "token"];
    made.text(kind, token, join.token.clone());
    let configuration = configuration(launch)?;
    let endpoint = if member.is_master() || launch.masters().count() == 1 {
        SocketAddr::new(first.address, configuration.bind_port).to_string()
    } else {
        configuration.address()
    };
    made.text(kind, &["discovery", "bootstrapToken", "apiServerEndpoint"], endpoint);
    let hashes = made.list([join.ca_hash.clone()]);
    made.put(kind, &["discovery", "bootstrapToken", "caCertHashes"], hashes);
    if member.is_master() {
        made.text(kind, &["controlPlane", "localAPIEndpoint", "advertiseAddress"], member.address.to_string());
        made.text(kind, &["controlPlane", "certificateKey"], join.certificate_key.clone());
    } else {
        made.put(kind, &["controlPlane"], Content::Null);
    }
    Ok(made.layer())
}

/// Who manages control groups, where the user does not say: what the host's runtime is set to; systemd where it runs.
fn cgroup_driver<'l>(launch: &Launch, member: &'l Member) -> &'l str {
    if launch.is_docker() && !member.facts.docker_cgroups.is_empty() {
        return &member.facts.docker_cgroups;
    }
    let text = member.facts.containerd_config.as_deref().unwrap_or_default();
    match crate::containerd::systemd_cgroup(text) {
        Some(true) => "systemd",
        Some(false) => "cgroupfs",
        None if member.facts.service_manager && member.facts.cgroup2 => "systemd",
        None => "cgroupfs",
    }
}

/// The documents of some kinds, as YAML.
fn yaml(resolved: &Resolved, kinds: &[Kind]) -> String {
    let documents = resolved.documents.iter().filter(|(kind, _)| kinds.contains(kind)).cloned().collect();
    render::yaml(&Resolved { documents, ..resolved.clone() }, false)
}

/// What `kubeadm init` reads.
pub fn init_yaml(configuration: &Configuration) -> String {
    let kinds =
        [Kind::InitConfiguration, Kind::ClusterConfiguration, Kind::KubeProxyConfiguration, Kind::KubeletConfiguration];
    yaml(&configuration.resolved, &kinds)
}

/// What `kubeadm join` reads on a host. It has the token in it.
///
/// # Errors
/// When a layer has mistakes.
pub fn join_yaml(launch: &Launch, member: &Member, join: &Join) -> Result<String> {
    // Families of addresses are nothing that this document is about.
    let resolved = merged(&said_layers(launch, member, Some(join))?, launch)?;
    Ok(yaml(&resolved, &[Kind::JoinConfiguration]))
}

/// What `kubeadm init phase upload-certs` reads: the configuration with the key that the certificates are sealed with.
///
/// # Errors
/// When a layer has mistakes.
pub fn upload_yaml(launch: &Launch, join: &Join) -> Result<String> {
    let (mut all, _) = layers(launch)?;
    let mut made = Made::new("hosts");
    made.text(Kind::InitConfiguration, &["certificateKey"], join.certificate_key.clone());
    all.insert(0, made.layer());
    let resolved = merged(&all, launch)?;
    Ok(yaml(&resolved, &[Kind::InitConfiguration, Kind::ClusterConfiguration]))
}

/// Files of hosts that the API server's pod wants to mount, and that must be there: `type: File`.
pub fn mounted_files(configuration: &Configuration) -> Vec<String> {
    let mut out = BTreeSet::new();
    for part in ["apiServer", "controllerManager", "scheduler"] {
        let volumes = configuration.resolved.at(Kind::ClusterConfiguration, &[part, "extraVolumes"]);
        let Some(Content::List(volumes)) = volumes.map(|value| &value.content) else { continue };
        let of_file = volumes.iter().filter(|volume| volume.at(&["pathType"]).and_then(Value::as_text) == Some("File"));
        out.extend(of_file.filter_map(|volume| Some(volume.at(&["hostPath"])?.as_text()?.to_owned())));
    }
    out.into_iter().collect()
}
