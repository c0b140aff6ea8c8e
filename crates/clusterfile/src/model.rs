//! What a cluster is to be: one model, whichever dialect said it.
//!
//! Every value knows its place: [`Said`] is a value and its [`Origin`], a line of a file or an option of the command
//! line. What nobody said is `None` or empty; what Kiln takes then is an [`Origin::Default`] value, or said at the field.
//!
//! ```text
//! Cluster
//! ├─ image, apps            cluster images                  ├─ registry, network, runtime
//! ├─ hosts: Vec<Host>       in the order they are said      ├─ configs: Vec<Config>   files of the rootfs to change
//! │  └─ addresses, roles, ssh, env, labels, taints          ├─ plugins: Vec<Plugin>   what happens when, and where
//! └─ env, command, args                                     └─ kubeadm: Vec<Layer>    for `kiln_kubeadm::resolve`
//! ```

mod plugin;

use std::fmt;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;

use kiln_kubeadm::Layer;
use kiln_oci::Reference;
use kiln_spec::source::Span;

use crate::secret::Secret;

pub use plugin::{Action, Phase, Plugin, Selector};

/// A value, and who said it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said<T> {
    /// What was said.
    pub value: T,
    /// Where.
    pub origin: Origin,
}

impl<T> Said<T> {
    /// A value of an origin.
    pub fn new(value: T, origin: Origin) -> Said<T> {
        Said { value, origin }
    }

    /// What Kiln takes where nobody said anything.
    pub fn default_of(value: T) -> Said<T> {
        Said { value, origin: Origin::Default }
    }

    /// Another value of the same origin.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Said<U> {
        Said { value: make(self.value), origin: self.origin }
    }
}

impl<T> Deref for Said<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// Where a value was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// In a file.
    File {
        /// What the file is called in messages.
        name: Arc<str>,
        /// The line, from 1.
        line: usize,
        /// The bytes in the file: for a caret.
        span: Span,
    },
    /// By an option of the command line, `--masters`.
    Flag(&'static str),
    /// By nobody: it is what Kiln takes then.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File { name, line, .. } => write!(f, "{name}:{line}"),
            Origin::Flag(flag) => f.write_str(flag),
            Origin::Default => f.write_str("default"),
        }
    }
}

/// A cluster as it is to be.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// Its name: `metadata.name`, `my-cluster` where nobody says one.
    pub name: Said<String>,
    /// The cluster image with Kubernetes. None, if only a command line could say it and did not.
    pub image: Option<Said<Reference>>,
    /// Further images, laid over it and launched behind it in this order (sealos has a list).
    pub more_images: Vec<Said<Reference>>,
    /// Which of the image's applications to launch, by name; empty for those that the image says.
    pub apps: Vec<Said<String>>,
    /// Commands in place of the image's CMD, each a line of shell, run on the first master in the rootfs.
    pub command: Vec<Said<String>>,
    /// `NAME=VALUE` for arguments of the image (`ARG`), over the values that it has: its commands have them as variables.
    pub args: Vec<Said<String>>,
    /// Its hosts in the order they are said. The first with [`Role::Master`] is the one that `kubeadm init` runs on.
    pub hosts: Vec<Host>,
    /// Environment of all hosts.
    pub env: Env,
    /// The registry inside of the cluster.
    pub registry: Registry,
    /// The pod network.
    pub network: Network,
    /// The container runtime. None: the one that the image has.
    pub runtime: Option<Said<Runtime>>,
    /// Further names and addresses for the certificate of the API server.
    pub cert_sans: Vec<Said<String>>,
    /// Lines for `/etc/hosts` of each host.
    pub host_aliases: Vec<HostAlias>,
    /// Where data is kept on hosts; None for Kiln's own directory.
    pub data_root: Option<Said<String>>,
    /// What to change in files of the rootfs, in the order it is said.
    pub configs: Vec<Config>,
    /// What else to do, in the order it is said.
    pub plugins: Vec<Plugin>,
    /// Layers for [`kiln_kubeadm::resolve`], the highest first: the documents beside the Cluster, then what the Cluster
    /// itself says (`network`, `certSANS`). The image's `etc/kubeadm.yml` belongs behind them.
    pub kubeadm: Vec<Layer>,
    /// What was read differently from how it is written, such as names of earlier releases: where, and how.
    pub notes: Vec<Said<String>>,
}

/// A machine of the cluster.
#[derive(Debug, Clone)]
pub struct Host {
    /// Its name, if one is said: it is set on the machine, and is the name of its node.
    pub name: Option<Said<String>>,
    /// Its addresses, never empty: the first is the one to log in at, and what the host is called in messages.
    pub addresses: Vec<Said<IpAddr>>,
    /// The address by which its peers are to reach it, if the user chose one.
    pub node_address: Option<Said<IpAddr>>,
    /// What it is for, never empty.
    pub roles: Vec<Said<Role>>,
    /// How to log in; what the cluster says of all hosts is in it already.
    pub ssh: Ssh,
    /// Its own environment, without that of the cluster.
    pub env: Env,
    /// Labels of its node, in the order they are said.
    pub labels: Vec<Said<Label>>,
    /// Taints of its node, in the order they are said.
    pub taints: Vec<Said<Taint>>,
}

impl Host {
    /// The address to log in at. Hosts that the readers of this crate make have one.
    pub fn address(&self) -> IpAddr {
        self.addresses.first().map_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), |address| address.value)
    }

    /// Whether it has a role.
    pub fn is(&self, role: &Role) -> bool {
        self.roles.iter().any(|own| own.value == *role)
    }

    /// Whether the control plane runs on it.
    pub fn is_master(&self) -> bool {
        self.is(&Role::Master)
    }
}

/// What a host is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The control plane: `master`, `control-plane`.
    Master,
    /// Workloads: `node`, `worker`.
    Node,
    /// A member of etcd that is no part of the control plane.
    Etcd,
    /// The registry of the cluster runs on it.
    Registry,
    /// Anything else: a word for selectors of plugins, and the label `node-role.kubernetes.io/WORD`.
    Custom(String),
}

impl Role {
    /// The role of a word.
    pub fn of(word: &str) -> Role {
        match word {
            "master" | "control-plane" | "controlplane" => Role::Master,
            "node" | "worker" => Role::Node,
            "etcd" => Role::Etcd,
            "registry" => Role::Registry,
            other => Role::Custom(other.to_owned()),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Master => "master",
            Role::Node => "node",
            Role::Etcd => "etcd",
            Role::Registry => "registry",
            Role::Custom(word) => word,
        })
    }
}

/// How to log in to a host. What is None, the caller knows a default for (the user's own SSH settings among them).
#[derive(Debug, Clone, Default)]
pub struct Ssh {
    /// Who.
    pub user: Option<Said<String>>,
    /// The port of the server.
    pub port: Option<Said<u16>>,
    /// A password.
    pub password: Option<Said<Secret>>,
    /// The file of a private key, as it is written: `~/` is the caller's to expand.
    pub key: Option<Said<String>>,
    /// The passphrase of that key.
    pub passphrase: Option<Said<Secret>>,
    /// Hosts to go through, the first is the one that is dialled.
    pub jump: Vec<Said<Jump>>,
    /// The password that sudo asks a user other than root for; the one of the login where it is None.
    pub sudo_password: Option<Said<Secret>>,
}

/// A host on the way: `user@host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jump {
    /// Who to log in as.
    pub user: Option<String>,
    /// A name or an address.
    pub host: String,
    /// The port of its SSH server.
    pub port: Option<u16>,
}

/// Variables in the order they are first said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Env {
    /// Each name once.
    pub variables: Vec<Variable>,
}

/// A variable. Said more than once in one place, or with `;` in it, it is a list for templates, and one text with blanks
/// for the shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// A name that a shell takes.
    pub name: String,
    /// Its values, never empty.
    pub values: Vec<Said<String>>,
}

impl Env {
    /// The values of a variable.
    pub fn get(&self, name: &str) -> Option<&[Said<String>]> {
        self.variables.iter().find(|variable| variable.name == name).map(|variable| &*variable.values)
    }

    /// The last value of a variable.
    pub fn last(&self, name: &str) -> Option<&str> {
        self.get(name)?.last().map(|said| &*said.value)
    }
}

/// A label to set, or to remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// `example.com/zone`
    pub key: String,
    /// Its value, which may be empty; None to remove the label (`key-`).
    pub value: Option<String>,
}

/// A taint to set, or to remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taint {
    /// `node-role.kubernetes.io/control-plane`
    pub key: String,
    /// Its value, which may be empty.
    pub value: String,
    /// What it does; None only with `remove`, for all taints of the key.
    pub effect: Option<Effect>,
    /// Whether the taint is to go (`key:NoSchedule-`).
    pub remove: bool,
}

/// What a taint does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// No new pods.
    NoSchedule,
    /// No new pods if they fit elsewhere.
    PreferNoSchedule,
    /// No pods.
    NoExecute,
}

impl Effect {
    /// All of them.
    pub const ALL: [Effect; 3] = [Effect::NoSchedule, Effect::PreferNoSchedule, Effect::NoExecute];
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{}={value}", self.key),
            None => write!(f, "{}-", self.key),
        }
    }
}

impl fmt::Display for Taint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)?;
        if !self.value.is_empty() {
            write!(f, "={}", self.value)?;
        }
        if let Some(effect) = self.effect {
            write!(f, ":{effect}")?;
        }
        if self.remove { f.write_str("-") } else { Ok(()) }
    }
}

/// The registry of the cluster.
#[derive(Debug, Clone)]
pub struct Registry {
    /// Whether it is one that is there already, and that Kiln does not run.
    pub external: bool,
    /// `sea.hub`
    pub domain: Said<String>,
    /// `5000`
    pub port: Said<u16>,
    /// Who may use it; None if all may.
    pub user: Option<Said<String>>,
    /// That user's password.
    pub password: Option<Said<Secret>>,
    /// Whether it runs on all masters, and not on the first one only. Hosts with [`Role::Registry`] come before both.
    pub ha: Said<bool>,
    /// Whether it is to be without TLS.
    pub insecure: Said<bool>,
    /// Further names and addresses for its certificate.
    pub cert_sans: Vec<Said<String>>,
}

/// The domain of the registry where nobody says another.
pub const REGISTRY_DOMAIN: &str = "sea.hub";
/// Its port.
pub const REGISTRY_PORT: u16 = 5000;

impl Default for Registry {
    fn default() -> Registry {
        Registry {
            external: false,
            domain: Said::default_of(REGISTRY_DOMAIN.to_owned()),
            port: Said::default_of(REGISTRY_PORT),
            user: None,
            password: None,
            ha: Said::default_of(true),
            insecure: Said::default_of(false),
            cert_sans: Vec::new(),
        }
    }
}

/// The pod network.
#[derive(Debug, Clone, Default)]
pub struct Network {
    /// Ranges of pods, one of each family at most; empty for what kubeadm's documents say.
    pub pod_cidrs: Vec<Said<Cidr>>,
    /// Ranges of services, likewise.
    pub service_cidrs: Vec<Said<Cidr>>,
    /// What makes the network; None for what the image brings.
    pub cni: Option<Said<Cni>>,
    /// The interface that it is to use on hosts; None for the one of the host's node address.
    pub interface: Option<Said<String>>,
    /// How flannel brings packets to other hosts; None for what its manifest says.
    pub backend: Option<Said<Backend>>,
}

/// How flannel brings packets to other hosts.
/// <https://github.com/flannel-io/flannel/blob/master/Documentation/backends.md>
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// In packets of UDP, by the kernel.
    Vxlan,
    /// In packets of UDP, by flannel itself.
    Udp,
    /// By routes, between hosts of one network.
    HostGw,
}

impl Backend {
    /// As flannel calls it.
    pub fn name(self) -> &'static str {
        match self {
            Backend::Vxlan => "vxlan",
            Backend::Udp => "udp",
            Backend::HostGw => "host-gw",
        }
    }
}

/// A range of addresses, `10.96.0.0/22`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cidr {
    /// Its first address.
    pub address: IpAddr,
    /// How many bits all its addresses have in common.
    pub prefix: u8,
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// What makes the pod network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cni {
    /// flannel
    Flannel,
    /// Calico
    Calico,
    /// Weave Net
    Weave,
    /// Nothing that Kiln installs.
    None,
    /// Anything else, by its name.
    Other(String),
}

/// A container runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    /// containerd
    Containerd,
    /// Docker
    Docker,
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Runtime::Containerd => "containerd",
            Runtime::Docker => "docker",
        })
    }
}

/// A line of `/etc/hosts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostAlias {
    /// The address.
    pub address: Said<IpAddr>,
    /// Its names, never empty.
    pub names: Vec<Said<String>>,
}

/// A change of a file of the rootfs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Its name.
    pub name: Said<String>,
    /// The file, relative to the rootfs.
    pub path: Said<String>,
    /// What becomes of what is in the file.
    pub strategy: Said<Strategy>,
    /// What is done to the data before, in this order.
    pub process: Vec<Said<Process>>,
    /// What is written.
    pub data: Said<String>,
    /// The application that it belongs to; None for the cluster.
    pub app: Option<Said<String>>,
    /// The image whose rootfs it is about; None for all (sealos's `match`).
    pub image: Option<Said<Reference>>,
}

/// What becomes of what is in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// Its documents of YAML, or its object of JSON, are kept where the data does not say otherwise.
    Merge,
    /// The data takes its place.
    Overwrite,
    /// The data stands before it.
    Insert,
    /// The data stands behind it.
    Append,
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Strategy::Merge => "merge",
            Strategy::Overwrite => "overwrite",
            Strategy::Insert => "insert",
            Strategy::Append => "append",
        })
    }
}

/// A step that the data of a [`Config`] goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    /// The data is `key: value`, and each value goes through the steps behind this one on its own: `value`.
    Value,
    /// YAML becomes JSON: `toJson`.
    ToJson,
    /// Text becomes base64: `toBase64`.
    ToBase64,
    /// `key: value` becomes the data of a Secret of Kubernetes, in base64: `toSecret`.
    ToSecret,
}

impl Cluster {
    /// The hosts with the control plane, in order: the first is the one of `kubeadm init`.
    pub fn masters(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter().filter(|host| host.is_master())
    }

    /// The other hosts that become nodes, in order.
    pub fn workers(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter().filter(|host| !host.is_master() && host.is(&Role::Node))
    }

    /// The hosts that the registry runs on, in order; none, if it is an external one.
    pub fn registry_hosts(&self) -> Vec<&Host> {
        if self.registry.external {
            return Vec::new();
        }
        let own: Vec<&Host> = self.hosts.iter().filter(|host| host.is(&Role::Registry)).collect();
        if !own.is_empty() {
            return own;
        }
        self.masters().take(if *self.registry.ha { usize::MAX } else { 1 }).collect()
    }
}
