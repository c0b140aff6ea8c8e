//! What is to be: a cluster, its image, and the hosts with what is known of them.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use kiln_clusterfile::address::{self, AddressError, Addresses, Choice};
use kiln_clusterfile::model::{Role, Runtime};
use kiln_clusterfile::{Cluster, Host};
use kiln_host::Cancel;
use kiln_oci::Hasher;

use crate::bundle::Bundle;
use crate::clock::Clock;
use crate::config::Configuration;
use crate::error::{LaunchError, Result};
use crate::event::{Event, Events};
use crate::facts::HostFacts;
use crate::journal::{HostRecord, Marker, Record, State, VERSION};
use crate::machine::Machine;
use crate::swarm::Swarm;

/// How a launch goes about it.
#[derive(Debug, Clone)]
pub struct Options {
    /// Names of checks that are passed over; `all` is every one.
    pub ignore: Vec<String>,
    /// The command for services.
    pub service_manager: String,
    /// Goes on with what an earlier launch began.
    pub resume: bool,
    /// Does this phase again, and those behind it.
    pub from: Option<String>,
    /// Hosts that are worked on at one time.
    pub parallel: usize,
    /// This binary, which is sent to hosts.
    pub binary: PathBuf,
    /// Its SHA-256, in hexadecimal.
    pub binary_digest: String,
    /// How long nodes may take to become ready.
    pub patience: Duration,
    /// The Clusterfile, if there is one.
    pub file: Option<PathBuf>,
    /// How hosts bring each other the image; `None`: the launcher sends it to each.
    pub peers: Option<Peers>,
    /// Resets what an earlier kubeadm left on hosts that no launch of Kiln was on.
    pub reset_leftovers: bool,
}

/// How hosts bring each other the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peers {
    /// Hosts that a host serves at one time.
    pub uploads: usize,
    /// The port that hosts listen at meanwhile; 0 is any.
    pub port: u16,
    /// Bytes a second that a host sends to others at most.
    pub rate: Option<u64>,
    /// How long a source may be too slow.
    pub patience: Duration,
}

impl Default for Peers {
    fn default() -> Peers {
        Peers { uploads: 1, port: 0, rate: None, patience: Duration::from_secs(10) }
    }
}

impl Default for Options {
    fn default() -> Options {
        Options {
            ignore: Vec::new(),
            service_manager: "systemctl".to_owned(),
            resume: false,
            from: None,
            parallel: 64,
            binary: PathBuf::new(),
            binary_digest: String::new(),
            patience: Duration::from_secs(300),
            file: None,
            peers: None,
            reset_leftovers: false,
        }
    }
}

/// A host of the launch.
#[derive(Clone)]
pub struct Member {
    /// As the user wants it.
    pub host: Host,
    /// How it is commanded.
    pub machine: Machine,
    /// What it is.
    pub facts: HostFacts,
    /// The name of its node.
    pub node: String,
    /// The address by which its peers reach it.
    pub address: IpAddr,
    /// Why it is that one, and the one of the other family where a cluster has both; empty if none could be chosen.
    pub chosen: Vec<Choice>,
    /// Why none could be chosen.
    pub unchosen: Option<AddressError>,
    /// Whether it is the one of `kubeadm init`.
    pub first: bool,
}

impl Member {
    /// A host with what is known of it. The name of its node is the one said, or its own; the address is one that is good
    /// for it alone, until [`settle`] has seen all hosts.
    pub fn new(host: Host, machine: Machine, facts: HostFacts, first: bool) -> Member {
        let node = host.name.as_ref().map_or_else(|| facts.hostname.clone(), |name| name.value.clone());
        let address = host.node_address.as_ref().map_or_else(|| host.address(), |said| said.value);
        let (node, chosen, unchosen) = (node.to_lowercase(), Vec::new(), None);
        let mut member = Member { node, address, chosen, unchosen, host, machine, facts, first };
        settle(std::slice::from_mut(&mut member), &[]);
        member
    }

    /// Its addresses for its peers, the main one first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let others = self.chosen.iter().map(|choice| choice.address).filter(|address| *address != self.address);
        std::iter::once(self.address).chain(others)
    }

    /// Whether its peers reach it by IPv6.
    pub fn has_v6(&self) -> bool {
        self.addresses().any(|address| address.is_ipv6())
    }

    /// What it is called in messages.
    pub fn name(&self) -> &str {
        self.machine.name()
    }

    /// Whether the control plane runs on it.
    pub fn is_master(&self) -> bool {
        self.host.is_master()
    }

    /// Whether it is a node of the cluster: a host may have other roles only.
    pub fn is_node(&self) -> bool {
        self.is_master() || self.host.is(&Role::Node)
    }
}

/// Chooses the addresses by which hosts reach each other: one of each of these families (`true` is IPv6), the main one first.
/// With none of them, of that of the first master's address, as long as the networks of the cluster are not known.
pub fn settle(members: &mut [Member], families: &[bool]) {
    let facts: Vec<Addresses> = members.iter().map(|member| member.facts.known_addresses()).collect();
    let main = members.iter().find(|member| member.first).or(members.first());
    let Some(main) = main else { return };
    let said = main.host.node_address.as_ref().map(|said| said.value);
    let v6 = said.unwrap_or_else(|| main.host.address()).is_ipv6();
    let hosts: Vec<Host> = members.iter().map(|member| member.host.clone()).collect();
    let hosts: Vec<&Host> = hosts.iter().collect();
    let families = if families.is_empty() { vec![v6] } else { families.to_vec() };
    for (at, v6) in families.iter().enumerate() {
        let (is_main, v6) = (at == 0, *v6);
        for (member, choice) in members.iter_mut().zip(address::choose(&hosts, &facts, v6)) {
            if is_main {
                (member.chosen, member.unchosen) = (Vec::new(), None);
            }
            match choice {
                Ok(choice) => {
                    if is_main {
                        member.address = choice.address;
                    }
                    member.chosen.push(choice);
                }
                // A host that does not say its addresses lacks the program for it, which is told.
                Err(_) if member.facts.addresses.is_empty() => {}
                Err(error) => member.unchosen = Some(error),
            }
        }
    }
    for member in members {
        // What the user chose, and was not asked for.
        if let Some(said) = &member.host.node_address
            && !families.contains(&said.value.is_ipv6())
        {
            let (host, wanted, origin) = (member.host.address(), said.value, said.origin.clone());
            member.unchosen = Some(AddressError::OtherFamily { host, wanted, origin });
        }
    }
}

/// What joining hosts need to know. It is not kept anywhere.
#[derive(Clone)]
pub struct Join {
    /// A token of kubeadm.
    pub token: String,
    /// `sha256:…` of the public key of the cluster's authority.
    pub ca_hash: String,
    /// The key of the certificates that masters share.
    pub certificate_key: String,
}

/// What is learned on the way.
#[derive(Default)]
pub struct Learned {
    /// For joining.
    pub join: Option<Join>,
    /// Authorities of the registries, by the address of their host.
    pub authorities: Vec<(IpAddr, String)>,
    /// Whether masters' certificates were given out with the key in `join`.
    pub uploaded: bool,
    /// Hosts that bring each other the image, while they do.
    pub swarm: Option<Arc<Swarm>>,
}

/// A launch.
pub struct Launch {
    /// What is wanted.
    pub cluster: Cluster,
    /// What it is made of.
    pub bundle: Bundle,
    /// Its hosts: the first master, other masters, the others.
    pub members: Vec<Member>,
    /// How.
    pub options: Options,
    /// What tells the cluster from others of its name.
    pub id: String,
    /// Where it is kept on this side.
    pub state: State,
    /// Who is told.
    pub events: Arc<dyn Events>,
    /// Set when the user wants to stop.
    pub cancel: Cancel,
    /// What is learned on the way.
    pub learned: Mutex<Learned>,
    /// How long it takes.
    pub clock: Clock,
    /// Markers of hosts, as they are now.
    pub markers: Mutex<Vec<Option<Marker>>>,
    /// What kubeadm is told, once it was asked for: see [`crate::config::configuration`].
    pub configuration: OnceLock<Arc<Configuration>>,
}

impl Launch {
    /// The first master.
    ///
    /// # Errors
    /// When there is none.
    pub fn first(&self) -> Result<&Member> {
        self.members.iter().find(|member| member.first).ok_or_else(|| LaunchError::Wanted {
            what: "the cluster has no master".to_owned(),
            hint: "name one with --masters, or with the role `master` in the Clusterfile".to_owned(),
        })
    }

    /// Chooses the addresses of hosts by the families of the cluster's networks, which hosts were asked for first.
    ///
    /// # Errors
    /// When what kubeadm is to be told has mistakes.
    pub fn settled(mut self) -> Result<Launch> {
        let families = crate::config::configuration(&self)?.families();
        // They are chosen for that one already.
        if families.is_empty() || families == [self.first()?.address.is_ipv6()] {
            return Ok(self);
        }
        settle(&mut self.members, &families);
        self.configuration = OnceLock::new();
        Ok(self)
    }

    /// Masters, the first one first.
    pub fn masters(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.is_master())
    }

    /// What runs the containers of pods: what its hosts have it by, or else what the Clusterfile says, or containerd.
    pub fn runtime(&self) -> Runtime {
        let said = self.cluster.runtime.as_ref().map(|said| said.value);
        self.marked_runtime().or(said).unwrap_or(Runtime::Containerd)
    }

    /// What its hosts have it by, where it was launched before.
    pub fn marked_runtime(&self) -> Option<Runtime> {
        let markers = self.members.iter().filter_map(|member| member.facts.marker.as_ref());
        let mut own = markers.filter(|marker| self.id.is_empty() || marker.id == self.id);
        own.next().map(|marker| if marker.docker { Runtime::Docker } else { Runtime::Containerd })
    }

    /// Whether that is Docker.
    pub fn is_docker(&self) -> bool {
        self.runtime() == Runtime::Docker
    }

    /// Hosts that the registry runs on.
    pub fn registry_members(&self) -> Vec<&Member> {
        let wanted: Vec<IpAddr> = self.cluster.registry_hosts().iter().map(|host| host.address()).collect();
        self.members.iter().filter(|member| wanted.contains(&member.host.address())).collect()
    }

    /// What is learned on the way.
    pub fn learned(&self) -> MutexGuard<'_, Learned> {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place of a member.
    fn place(&self, member: &Member) -> usize {
        self.members.iter().position(|other| other.host.address() == member.host.address()).unwrap_or(0)
    }

    /// What a host says of itself, as far as it is this cluster's.
    pub fn marker(&self, member: &Member) -> Option<Marker> {
        let markers = self.markers.lock().unwrap_or_else(PoisonError::into_inner);
        markers.get(self.place(member)).cloned().flatten().filter(|marker| marker.id == self.id)
    }

    /// Remembers what a host now says.
    pub fn mark(&self, member: &Member, marker: Option<Marker>) {
        let mut markers = self.markers.lock().unwrap_or_else(PoisonError::into_inner);
        let place = self.place(member);
        if let Some(slot) = markers.get_mut(place) {
            *slot = marker;
        }
    }

    /// Whether a phase is done on a host, whatever its key was.
    pub fn has_done(&self, member: &Member, phase: &str) -> bool {
        self.marker(member).is_some_and(|marker| marker.done.contains_key(phase))
    }

    /// Tells something about a host.
    pub fn note(&self, member: &Member, text: impl Into<String>) {
        self.events.event(Event::Note { host: Some(member.name().to_owned()), text: text.into() });
    }

    /// The cluster as it is kept.
    pub fn record(&self) -> Record {
        let hosts = self.members.iter().map(|member| HostRecord {
            address: member.host.address().to_string(),
            node: member.node.clone(),
            master: member.is_master(),
            user: member.host.ssh.user.as_ref().map(|user| user.value.clone()),
            port: member.host.ssh.port.as_ref().map(|port| port.value),
            key: member.host.ssh.key.as_ref().map(|key| key.value.clone()),
            node_address: Some(member.address.to_string()),
        });
        Record {
            version: VERSION,
            name: self.cluster.name.value.clone(),
            id: self.id.clone(),
            image: self.bundle.name.clone(),
            parts: self.bundle.parts.iter().map(|part| part.name.clone()).collect(),
            digest: self.bundle.root.digest.to_string(),
            kubernetes: self.bundle.kubernetes.clone(),
            file: self.options.file.clone(),
            hosts: hosts.collect(),
        }
    }

    /// A line of shell for a service: `systemctl enable kubelet`.
    pub fn service(&self, words: &str) -> String {
        format!("{} {words}", self.options.service_manager)
    }
}

/// A short digest of parts: what a phase did is told from what it would do.
pub fn key<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut hasher = Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    let mut hex = hasher.finish().hex();
    hex.truncate(32);
    hex
}

/// Random hexadecimal digits of so many bytes.
///
/// # Errors
/// When the system has no random numbers.
pub fn random_hex(bytes: usize) -> Result<String> {
    use std::io::Read;
    let path = PathBuf::from("/dev/urandom");
    let failed = |error: std::io::Error| LaunchError::File { what: "read", path: path.clone(), why: error.to_string() };
    let mut buffer = vec![0; bytes];
    std::fs::File::open(&path).and_then(|mut file| file.read_exact(&mut buffer)).map_err(failed)?;
    Ok(buffer.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}
