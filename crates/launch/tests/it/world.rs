//! Hosts that are only remembered, and a small cluster image for them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use kiln_clusterfile::model::{Cluster, Env, Host, Network, Registry, Role, Said, Ssh};
use kiln_host::recording::Answer;
use kiln_host::{Cancel, Recording};
use kiln_launch::event::Silent;
use kiln_launch::journal::{Marker, State};
use kiln_launch::launch::Learned;
use kiln_launch::{Bundle, Launch, Machine, Options, Result, run};
use kiln_oci::cluster::{Launch as Step, Spec};
use kiln_oci::{Descriptor, Digest};
use kiln_store::Store;

/// What this binary is said to be.
pub const BINARY: &str = "00aa";
const CA: &str = include_str!("ca.crt");
pub const TOKEN: &str = "abcdef.0123456789abcdef";

/// A change of what is wanted of the cluster and its image.
pub type Wish = Box<dyn Fn(&mut Cluster, &mut Bundle) + Send>;

/// Hosts, and what is to become of them.
pub struct World {
    pub dir: tempfile::TempDir,
    pub hosts: Vec<(String, Arc<Recording>)>,
    masters: usize,
    pub options: Options,
    /// What is wanted besides, or otherwise.
    pub wish: Mutex<Vec<Wish>>,
    /// Lines of facts that are other than usual, by host: what to replace, and with what.
    pub odd: Mutex<BTreeMap<String, Vec<(String, String)>>>,
}

impl World {
    /// A cluster with masters and workers; hosts are 10.0.0.1 and up.
    pub fn new(masters: usize, workers: usize) -> World {
        let address = |n: usize| if n < 255 { format!("10.0.0.{n}") } else { format!("10.0.{}.{}", n / 250, n % 250) };
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            binary: dir.path().join("kiln"),
            binary_digest: BINARY.into(),
            patience: Duration::ZERO,
            ..Options::default()
        };
        std::fs::write(&options.binary, "binary").unwrap();
        let world = World {
            hosts: (1..=masters + workers).map(|n| (address(n), Arc::new(Recording::new(address(n))))).collect(),
            masters,
            options,
            odd: Mutex::default(),
            wish: Mutex::default(),
            dir,
        };
        world.hosts.iter().for_each(|(name, host)| world.well(name, host));
        world
    }

    pub fn host(&self, n: usize) -> &Recording {
        &self.hosts[n - 1].1
    }

    /// Wants something besides.
    pub fn wish(&self, wish: impl Fn(&mut Cluster, &mut Bundle) + Send + 'static) {
        self.wish.lock().unwrap().push(Box::new(wish));
    }

    /// Adds a worker.
    pub fn grow(&mut self) {
        let name = format!("10.0.0.{}", self.hosts.len() + 1);
        self.hosts.push((name.clone(), Arc::new(Recording::new(name))));
        self.hosts.iter().for_each(|(name, host)| self.well(name, host));
    }

    /// Makes facts of a host other than usual.
    pub fn odd(&self, n: usize, what: &str, with: &str) {
        let name = format!("10.0.0.{n}");
        self.odd.lock().unwrap().entry(name.clone()).or_default().push((what.to_owned(), with.to_owned()));
        self.well(&name, self.host(n));
    }

    pub fn store(&self) -> Store {
        Store::open(self.dir.path().join("store")).unwrap()
    }

    pub fn state(&self) -> State {
        State::of(&self.dir.path().join("state"), "shop").unwrap()
    }

    fn blobs(&self) -> (BTreeMap<Digest, u64>, Descriptor) {
        let store = self.store();
        let root = Descriptor::of("application/vnd.oci.image.index.v1+json", b"{\"manifests\":[]}");
        store.put(b"{\"manifests\":[]}").unwrap();
        let layer = store.put(b"a layer").unwrap();
        (BTreeMap::from([(root.digest.clone(), root.size), (layer, 7)]), root)
    }

    pub fn bundle(&self) -> Bundle {
        let (blobs, root) = self.blobs();
        let files = ["bin/kubeadm", "bin/kubelet", "bin/kubectl", "manifests/kube-flannel.yml", "opt/cni/bin/bridge"];
        let images = ["k8s.gcr.io/kube-apiserver:v1.20.2", "k8s.gcr.io/pause:3.2", "quay.io/flannel:1"];
        Bundle {
            store: self.store(),
            name: "docker.io/library/shop:1".into(),
            root,
            blobs,
            images: images.iter().map(|name| name.parse().unwrap()).collect(),
            spec: Spec { launch: vec![Step::Run("kubectl apply -f app.yaml".into())], ..Spec::default() },
            kubernetes: "v1.20.2".into(),
            arches: BTreeSet::from(["amd64".into()]),
            files: files.iter().map(|path| ((*path).to_owned(), 0o755)).collect(),
            kubeadm: None,
            sources: BTreeMap::new(),
            networks: BTreeMap::new(),
            parts: Vec::new(),
        }
    }

    /// What a host says of itself now, with the marker that was written last.
    pub fn facts(&self, name: &str, host: &Recording) -> String {
        let n: u32 = name.rsplit('.').next().unwrap().parse().unwrap();
        let ran = host.ran();
        let marker = ran.iter().rev().find(|ran| ran.line.contains("/var/lib/kiln/host.json.kiln-new"));
        let marker = marker
            .map(|ran| format!("@@marker\n|{}\n", String::from_utf8_lossy(&ran.stdin).trim()))
            .unwrap_or_default();
        let sent = ran.iter().any(|ran| ran.line.contains("/var/lib/kiln/bin/kiln.kiln-new"));
        let agent = if sent { format!("@@agent\n|{BINARY}  x\n") } else { String::new() };
        let programs =
            "conntrack ip iptables mount nsenter ebtables ethtool socat tc touch containerd runc modprobe crictl";
        let registry = if sent { "active enabled" } else { "inactive disabled" };
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let mut text = format!(
            "@@uid\n|0\n@@hostname\n|n{n}\n@@machine\n|x86_64\n@@clock\n|{now}\n@@cpus\n|4\n@@memory\n|MemTotal: 4000000 kB\n\
             @@swaps\n|Filename\n@@machine-id\n|id{n}\n@@addresses\n|2: eth0 inet {name}/24 brd x\n@@routes\n|default via 10.0.0.254 dev eth0\n\
             |10.0.0.0/24 dev eth0\n@@macs\n|eth0 52:54:00:00:00:{n:02x}\n@@programs\n{}@@paths\n@@settings\n\
             |/proc/sys/net/bridge/bridge-nf-call-iptables 1\n@@manager\n|yes\n@@services\n|containerd active enabled\n|kiln-registry {registry}\n\
             @@containerd\n|containerd x 1.6.20\n@@disk\n|F\n|/dev/a 9 1 52428800 1% /\n@@resolves\n|yes\n{marker}{agent}@@end\n",
            programs.split(' ').map(|program| format!("|{program}\n")).collect::<String>()
        );
        for (what, with) in self.odd.lock().unwrap().get(name).into_iter().flatten() {
            assert!(text.contains(what.as_str()), "{what} is not in {text}");
            text = text.replace(what, with);
        }
        text
    }

    /// Everything answers as it does when all is well.
    pub fn well(&self, name: &str, host: &Recording) {
        let (blobs, _) = self.blobs();
        let have: String = blobs
            .iter()
            .map(|(digest, size)| {
                let got = host.lines().iter().any(|line| line.ends_with("agent receive"));
                format!("{digest} {}\n", if got { *size } else { 0 })
            })
            .collect();
        let nodes: Vec<String> = self
            .hosts
            .iter()
            .map(|(name, _)| {
                let n = name.rsplit('.').next().unwrap();
                format!(
                    r#"{{"metadata":{{"name":"n{n}"}},"status":{{"conditions":[{{"type":"Ready","status":"True"}}]}}}}"#
                )
            })
            .collect();
        for (line, text) in [
            ("lines uid", self.facts(name, host)),
            ("agent have", have),
            ("agent adapt", r#"{"changed":[]}"#.to_owned()),
            ("agent reach", "done\n".to_owned()),
            ("cat /var/lib/kiln/reach", self.heard(name)),
            ("agent install", r#"{"changed":["/etc/containerd/config.toml"]}"#.to_owned()),
            ("agent restore", r#"{"changed":[]}"#.to_owned()),
            ("agent sweep", r#"{"removed":[],"remains":[]}"#.to_owned()),
            ("registry/ca.crt", CA.to_owned()),
            ("pki/ca.crt", CA.to_owned()),
            ("kubeadm token create", format!("W1126 warning\n{TOKEN}\n")),
            ("cat /var/lib/kiln/rootfs/", "kind: ConfigMap\n".to_owned()),
            ("get nodes -o json", format!("{{\"items\":[{}]}}", nodes.join(","))),
        ] {
            host.answer(line, Answer::output(text));
        }
    }

    /// What a host hears of the others when nothing is between them.
    fn heard(&self, name: &str) -> String {
        let others = self.hosts.iter().map(|(other, _)| other).filter(|other| *other != name);
        let token = |other: &String| {
            let node = format!("n{}", other.rsplit('.').next().unwrap());
            format!("heard 8472 {}\n", kiln_launch::phase::reach::token("id1", &node))
        };
        others.map(token).collect()
    }

    /// What a user wants of these hosts.
    fn cluster(&self) -> Cluster {
        let host = |(n, (name, _)): (usize, &(String, Arc<Recording>))| Host {
            name: None,
            addresses: vec![Said::default_of(name.parse().unwrap())],
            node_address: None,
            roles: vec![Said::default_of(if n < self.masters { Role::Master } else { Role::Node })],
            ssh: Ssh::default(),
            env: Env::default(),
            labels: Vec::new(),
            taints: Vec::new(),
        };
        Cluster {
            name: Said::default_of("shop".to_owned()),
            image: None,
            more_images: Vec::new(),
            apps: Vec::new(),
            command: Vec::new(),
            args: Vec::new(),
            hosts: self.hosts.iter().enumerate().map(host).collect(),
            env: Env::default(),
            registry: Registry::default(),
            network: Network::default(),
            runtime: None,
            cert_sans: Vec::new(),
            host_aliases: Vec::new(),
            data_root: None,
            configs: Vec::new(),
            plugins: Vec::new(),
            kubeadm: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// A launch, with the hosts asked what they are.
    pub fn launch(&self) -> Result<Launch> {
        for (name, host) in &self.hosts {
            host.answer("lines uid", Answer::output(self.facts(name, host)));
        }
        let (mut cluster, mut bundle) = (self.cluster(), self.bundle());
        self.wish.lock().unwrap().iter().for_each(|wish| wish(&mut cluster, &mut bundle));
        let cancel = Cancel::new();
        let hosts = cluster.hosts.iter().map(|host| {
            let name = host.address().to_string();
            let (_, recording) = self.hosts.iter().find(|(known, _)| *known == name).unwrap();
            (host.clone(), Machine::new(name, recording.clone(), None, cancel.clone()))
        });
        let members = run::gather(hosts.collect(), &self.options, &Silent, &cancel)?;
        let markers: Vec<Option<Marker>> = members.iter().map(|member| member.facts.marker.clone()).collect();
        let id = self.state().record()?.map_or_else(|| "id1".to_owned(), |record| record.id);
        let launch = Launch {
            cluster,
            bundle,
            members,
            options: self.options.clone(),
            id,
            state: self.state(),
            events: Arc::new(Silent),
            cancel,
            clock: kiln_launch::clock::Clock::default(),
            learned: Mutex::new(Learned::default()),
            markers: Mutex::new(markers),
            configuration: OnceLock::new(),
        };
        launch.settled()
    }

    /// Asks hosts and launches.
    pub fn run(&self) -> Result<bool> {
        run::run(&self.launch()?)
    }

    /// Where a command is among those of a host; the first that contains the text.
    pub fn place(&self, n: usize, text: &str) -> usize {
        let lines = self.host(n).lines();
        lines.iter().position(|line| line.contains(text)).unwrap_or_else(|| panic!("no {text} among {lines:#?}"))
    }
}
