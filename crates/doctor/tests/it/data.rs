//! Faults that a test machine cannot have, put into the facts of a healthy fleet.

use kiln_doctor::api::{Api, Condition, Node};
use kiln_doctor::facts::cni::NetConf;
use kiln_doctor::facts::cri::{Container, Cri, Sandbox, State};
use kiln_doctor::facts::kernel::{Listener, Process};
use kiln_doctor::facts::kube::{Log, StaticPod};
use kiln_doctor::facts::system::Disk;
use kiln_doctor::netlink::generic::VirtualService;
use kiln_doctor::netlink::nft::{Chain, Rule, Verdict};
use kiln_doctor::netlink::route::Route;
use kiln_doctor::netlink::services::Service;
use kiln_doctor::path::Hop;
use kiln_doctor::probe::Proof;
use kiln_doctor::{Fleet, checks};

use crate::bench::Bench;

type Change = fn(&mut Fleet);

fn pod(name: &str, command: &[&str]) -> StaticPod {
    StaticPod {
        file: format!("{name}.yaml"),
        name: name.to_owned(),
        container: name.to_owned(),
        image: format!("registry.k8s.io/{name}:v1.36.2"),
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        error: None,
    }
}

fn log(fleet: &mut Fleet, pod: &str, restarts: u32, lines: &[&str]) {
    let lines = lines.iter().map(|line| (*line).to_owned()).collect();
    let log = Log { pod: format!("{pod}-node0"), container: pod.to_owned(), restarts, lines };
    fleet.hosts[0].kube.logs.push(log);
}

/// A static pod that does not run, with a log.
fn failing(fleet: &mut Fleet, name: &str, restarts: u32, lines: &[&str]) {
    fleet.hosts[0].kube.manifests.push(pod(name, &[]));
    log(fleet, name, restarts, lines);
}

fn setting(fleet: &mut Fleet, path: &str, value: &str) {
    fleet.hosts[0].kernel.as_mut().unwrap().settings.insert(path.to_owned(), value.to_owned());
}

fn counter(fleet: &mut Fleet, name: &str, value: u64) {
    fleet.hosts[0].kernel.as_mut().unwrap().counters.insert(name.to_owned(), value);
}

fn calico(fleet: &mut Fleet, via: Option<&str>) {
    for host in &mut fleet.hosts {
        let tables = &mut host.kernel.as_mut().unwrap().tables;
        let mut tunnel = tables.link("eth0").unwrap().clone();
        tunnel = kiln_doctor::netlink::route::Link { name: "tunl0".into(), index: 900, mtu: 1480, mac: None, ..tunnel };
        tables.links.push(tunnel);
        let address = kiln_doctor::netlink::route::Address { link: 900, ip: "10.1.91.0".parse().unwrap(), prefix: 32 };
        tables.addresses.push(address);
        tables.routes.extend(via.map(|via| Route {
            to: "10.1.92.0/26".parse().unwrap(),
            via: Some(via.parse().unwrap()),
            link: Some(900),
            onlink: true,
            protocol: 12,
            kind: 1,
            table: 254,
            source: None,
            metric: 0,
        }));
    }
}

const FLANNEL_TIMEOUT: &str = "E1227 06:17:50 main.go:127] Failed to create SubnetManager: error retrieving pod spec for 'kube-flannel-ds-tr8zr': Get https://10.96.0.1:443/: dial tcp 10.96.0.1:443: i/o timeout";
const NOT_FOUND: &str =
    "E1227 network.go:106] failed to register network: failed to acquire lease: node \"iz25beglnhtz\" not found";

const CHANGES: &[(&str, Change)] = &[
    ("flannel.one-way", |fleet| {
        let tables = &mut fleet.hosts[0].kernel.as_mut().unwrap().tables;
        let link = tables.links.iter_mut().find(|link| link.name == "flannel.1").unwrap();
        (link.counters.tx, link.counters.rx) = (50, 0);
    }),
    ("flannel.network-differs", |fleet| {
        fleet.hosts[0].cni.subnet.as_mut().unwrap().network = Some("10.244.0.0/15".parse().unwrap());
    }),
    ("flannel.host-gateway", |fleet| {
        let tables = &mut fleet.hosts[0].kernel.as_mut().unwrap().tables;
        let index = tables.link("eth0").unwrap().index;
        let mut route = tables.routes.iter().find(|route| route.onlink).unwrap().clone();
        route.to = "10.244.7.0/24".parse().unwrap();
        (route.via, route.link) = (Some("192.168.99.5".parse().unwrap()), Some(index));
        tables.routes.push(route);
    }),
    ("leases.foreign", |fleet| {
        let store = &mut fleet.hosts[0].cni.stores[0];
        store.leases[0].ip = "10.244.55.9".parse().unwrap();
    }),
    ("kernel.conntrack-full", |fleet| {
        setting(fleet, "net/netfilter/nf_conntrack_count", "131000");
        setting(fleet, "net/netfilter/nf_conntrack_max", "131072");
    }),
    ("kernel.conntrack-races", |fleet| counter(fleet, "conntrack.insert_failed", 5000)),
    ("kernel.checksums", |fleet| counter(fleet, "Udp.InCsumErrors", 5000)),
    ("kernel.neighbours-full", |fleet| {
        setting(fleet, "net/ipv4/neigh/default/gc_thresh3", "1");
        let tables = &mut fleet.hosts[0].kernel.as_mut().unwrap().tables;
        let (ip, link) = ("192.168.77.1".parse().unwrap(), tables.link("eth0").unwrap().index);
        tables.neighbours.push(kiln_doctor::netlink::route::Neighbour { link, ip, mac: None, state: 2 });
    }),
    ("kernel.rp-filter", |fleet| {
        setting(fleet, "net/ipv4/conf/all/rp_filter", "1");
        counter(fleet, "TcpExt.IPReversePathFilter", 12);
        let tables = &mut fleet.hosts[0].kernel.as_mut().unwrap().tables;
        let mut second = tables.link("eth0").unwrap().clone();
        (second.name, second.index, second.mac) = ("eth1".into(), 901, None);
        tables.links.push(second);
        let address = kiln_doctor::netlink::route::Address { link: 901, ip: "172.20.0.1".parse().unwrap(), prefix: 24 };
        tables.addresses.push(address);
    }),
    ("firewall.two-backends", |fleet| {
        let chain = kiln_doctor::facts::kernel::LegacyChain {
            table: "nat".into(),
            name: "KUBE-SERVICES".into(),
            drops: false,
            rules: 3,
        };
        fleet.hosts[0].kernel.as_mut().unwrap().legacy.push(chain);
    }),
    ("machine.same-uuid", |fleet| {
        fleet.hosts.iter_mut().for_each(|host| host.system.product_uuid = Some("4c4c4544-0042-3510".into()));
    }),
    ("machine.same-name", |fleet| fleet.hosts[1].system.hostname = "NODE0".into()),
    ("machine.clock", |fleet| {
        for (host, ahead) in fleet.hosts.iter_mut().zip([-400_000, 0]) {
            host.system.ahead = Some(ahead);
        }
    }),
    ("machine.swap", |fleet| {
        fleet.hosts[0].system.swaps.push("/dev/sda2".into());
        fleet.hosts[0].kernel.as_mut().unwrap().processes.retain(|process| process.name != "kubelet");
    }),
    ("machine.kubelet-down", |fleet| {
        fleet.hosts[0].kernel.as_mut().unwrap().processes.retain(|process| process.name != "kubelet");
    }),
    ("services.no-answer", |fleet| {
        fleet.hosts[0].kernel.as_mut().unwrap().unanswered.insert("10.96.0.1".parse().unwrap(), 7);
    }),
    ("services.vip-removed", |fleet| {
        let care = pod("kube-sealyun-lvscare", &["/usr/bin/lvscare", "care", "--vs", "10.103.97.2:6443"]);
        fleet.hosts[0].kube.manifests.push(care);
    }),
    ("services.connection-reuse", |fleet| {
        setting(fleet, "net/ipv4/vs/conn_reuse_mode", "1");
        let kernel = fleet.hosts[0].kernel.as_mut().unwrap();
        kernel.release = "5.4.0-42-generic".into();
        let ip = "10.96.0.1".parse().unwrap();
        let service = VirtualService { protocol: 6, ip, port: 443, destinations: Vec::new() };
        kernel.virtual_services.push(service);
    }),
    ("leftover.services", |fleet| {
        // In no cluster, with nothing else left.
        let host = &mut fleet.hosts[0];
        (host.kube, host.cni) = Default::default();
        let kernel = host.kernel.as_mut().unwrap();
        kernel.processes.clear();
        kernel.ruleset = Default::default();
        kernel.tables.links.retain(|link| link.name != "cni0" && link.name != "flannel.1");
        let service =
            |ip: &str| VirtualService { protocol: 6, ip: ip.parse().unwrap(), port: 443, destinations: Vec::new() };
        // A balancer's own is not kube-proxy's.
        kernel.virtual_services = vec![service("192.168.77.10"), service("10.96.0.1")];
    }),
    ("calico.no-routes", |fleet| {
        calico(fleet, Some("192.168.77.11"));
        fleet.hosts[0].kernel.as_mut().unwrap().tables.routes.retain(|route| route.protocol != 12);
    }),
    // Both firewalls of Calico: of its tunnel, while routes lead through it; of BGP, and no route came.
    ("firewall.port-blocked", |fleet| {
        calico(fleet, Some("192.168.77.11"));
        drops(fleet, 4, None);
    }),
    ("firewall.port-blocked", |fleet| {
        calico(fleet, Some("192.168.77.11"));
        fleet.hosts[0].kernel.as_mut().unwrap().tables.routes.retain(|route| route.protocol != 12);
        for host in &mut fleet.hosts {
            let process = Process { pid: 9, name: "bird".into(), arguments: Vec::new() };
            host.kernel.as_mut().unwrap().processes.push(process);
        }
        drops(fleet, 6, Some((179, 179)));
    }),
    ("calico.public-peers", |fleet| {
        calico(fleet, Some("192.168.77.11"));
        let routes = &mut fleet.hosts[0].kernel.as_mut().unwrap().tables.routes;
        routes
            .iter_mut()
            .filter(|route| route.protocol == 12)
            .for_each(|route| route.via = Some("123.56.200.187".parse().unwrap()));
    }),
    ("calico.mtu", |fleet| {
        calico(fleet, Some("192.168.77.11"));
        let links = &mut fleet.hosts[0].kernel.as_mut().unwrap().tables.links;
        links.iter_mut().filter(|link| link.name == "tunl0").for_each(|link| link.mtu = 1500);
    }),
    ("addresses.advertise-public", |fleet| {
        fleet.hosts[0].kube.manifests.push(pod("kube-apiserver", &["--advertise-address=123.56.200.187"]));
        log(fleet, "kube-apiserver", 0, &["serving"]);
    }),
    ("addresses.node-public", |fleet| {
        fleet.hosts[0].kube.flags.insert("node-ip".into(), "59.110.67.15".into());
    }),
    ("leases.exhausted", |fleet| {
        // Without flannel: host-local's own range.
        let cni = &mut fleet.hosts[0].cni;
        cni.subnet = None;
        cni.files[0].plugins = vec!["bridge".into(), "host-local".into()];
        cni.files[0].ranges =
            vec![kiln_doctor::facts::cni::Range { network: "10.244.0.0/30".parse().unwrap(), size: 1 }];
    }),
    ("addresses.advertise-absent", |fleet| {
        fleet.hosts[0].kube.manifests.push(pod("kube-apiserver", &["--advertise-address=192.168.77.200"]));
        log(fleet, "kube-apiserver", 0, &["serving"]);
    }),
    ("addresses.two-advertised", |fleet| {
        let flag = "--advertise-address=192.168.77.10,123.56.200.187";
        fleet.hosts[0].kube.manifests.push(pod("kube-apiserver", &[flag]));
        log(fleet, "kube-apiserver", 0, &["serving"]);
    }),
    ("addresses.overlap", |fleet| {
        fleet.hosts[0].kube.manifests.push(pod("kube-apiserver", &["--service-cluster-ip-range=10.244.128.0/20"]));
        log(fleet, "kube-apiserver", 0, &["serving"]);
    }),
    ("control.crash-loop", |fleet| failing(fleet, "etcd", 5, &["a", "b", "panic: tocommit(5) is out of range"])),
    ("control.bad-flag", |fleet| {
        failing(fleet, "kube-controller-manager", 5, &["Error: unknown flag: --experimental-cluster-signing-duration"]);
    }),
    ("control.disk-full", |fleet| failing(fleet, "etcd", 9, &["write /var/lib/etcd/x.tmp: no space left on device"])),
    ("control.disk-full", |fleet| {
        fleet.hosts[0].system.disks.push(Disk { path: "/var".into(), free: 1 << 20, size: 1 << 30, inodes_free: 50 });
    }),
    ("control.disk-pressure", |fleet| {
        let disk = |path: &str, free| Disk { path: path.into(), free, size: 100 << 30, inodes_free: 50 };
        fleet.hosts[0].system.disks = vec![disk("/var/lib/kubelet", 8 << 30), disk("/var/lib/containerd", 50 << 30)];
    }),
    ("control.disk-pressure", |fleet| {
        // Not yet evicted, but images are deleted already.
        let host = &mut fleet.hosts[0];
        host.system.disks.push(Disk {
            path: "/var/lib/containerd".into(),
            free: 20 << 30,
            size: 100 << 30,
            inodes_free: 50,
        });
        host.kube.kubelet.insert("imageGCHighThresholdPercent".into(), "75".into());
    }),
    ("control.no-image", |fleet| {
        fleet.hosts[0].kube.manifests.push(pod("kube-apiserver", &[]));
        fleet.hosts[0].kube.cri = Some(cri(&["registry.k8s.io/kube-apiserver:v1.35.0"]));
    }),
    ("control.crash-loop", |fleet| {
        failing(fleet, "etcd", 5, &["a", "b", "last words"]);
        let mut said = cri(&["registry.k8s.io/etcd:v1.36.2"]);
        said.sandboxes.push(Sandbox {
            id: "s".into(),
            name: "etcd-node0".into(),
            namespace: "kube-system".into(),
            ready: true,
        });
        said.containers.push(Container {
            id: "c".into(),
            sandbox: "s".into(),
            name: "etcd".into(),
            state: State::Exited,
            attempt: 5,
            exit: Some(137),
            reason: "OOMKilled".into(),
        });
        fleet.hosts[0].kube.cri = Some(said);
    }),
    ("machine.cri-disabled", |fleet| {
        fleet.hosts[0].kube.cri = Some(Cri { disabled: true, ..cri(&[]) });
    }),
    ("machine.selinux", |fleet| {
        fleet.hosts[0].system.selinux = Some(true);
        fleet.hosts[0].system.denials.push("type=AVC msg=audit(1:2): avc:  denied  { read } comm=\"flanneld\"".into());
    }),
    ("flannel.config-differs", |fleet| {
        let conf =
            NetConf { network: Some("10.200.0.0/16".parse().unwrap()), backend: "vxlan".into(), ..NetConf::default() };
        fleet.hosts[0].cni.net_conf = Some(conf);
    }),
    ("flannel.config-differs", |fleet| {
        let conf = NetConf {
            network: Some("10.244.0.0/16".parse().unwrap()),
            backend: "vxlan".into(),
            port: Some(4789),
            ..NetConf::default()
        };
        fleet.hosts[0].cni.net_conf = Some(conf);
    }),
    ("api.pod-cidr", |fleet| node(fleet).pod_cidrs = vec!["10.244.7.0/24".parse().unwrap()]),
    ("api.no-pod-cidr", |fleet| node(fleet).pod_cidrs.clear()),
    ("api.node-address", |fleet| node(fleet).internal = vec!["192.168.77.99".parse().unwrap()]),
    ("api.tunnel-address", |fleet| node(fleet).vtep_mac = Some("02:00:00:00:00:01".parse().unwrap())),
    ("api.tunnel-address", |fleet| node(fleet).public_ip = Some("192.168.77.11".parse().unwrap())),
    ("api.node-unknown", |fleet| {
        let node = node(fleet);
        node.name = "iz25beglnhtz".into();
        node.internal.clear();
    }),
    ("api.not-ready", |fleet| condition(fleet, "Ready", "Unknown", "Kubelet stopped posting node status.")),
    ("api.network-unavailable", |fleet| condition(fleet, "NetworkUnavailable", "True", "NoRouteCreated")),
    ("api.pressure", |fleet| condition(fleet, "DiskPressure", "True", "kubelet has disk pressure")),
    ("api.stale-proxy", |fleet| {
        let known = Service { ip: Some("10.96.0.1".parse().unwrap()), port: 443, ..Service::default() };
        fleet.hosts[0].kernel.as_mut().unwrap().services.push(known);
        api(fleet).services.push(kiln_doctor::api::Service {
            name: "default/web".into(),
            ip: Some("10.96.5.5".parse().unwrap()),
            ports: vec![kiln_doctor::api::Port { port: 80, protocol: "TCP".into(), target: None }],
            endpoints: vec!["10.244.0.2".parse().unwrap()],
        });
    }),
    ("api.pods-not-made", |fleet| {
        let api = api(fleet);
        api.pods.push(kiln_doctor::api::Pod { name: "a/x".into(), node: "node0".into(), ..Default::default() });
        api.events.push(kiln_doctor::api::Event {
            reason: "FailedCreatePodSandBox".into(),
            about: "a/x".into(),
            node: "node0".into(),
            message: "plugin type=\"bridge\" failed (add)".into(),
        });
    }),
    ("api.not-allowed", |fleet| api(fleet).untold.push(("events".into(), "events is forbidden: User \"x\"".into()))),
    ("probe.lost", |fleet| {
        let hop = Hop { host: "node1".into(), what: "probe: VXLAN".into(), lost: Some("nothing arrives".into()) };
        fleet.proofs.push(Proof { from: "node0".into(), to: "node1".into(), hop });
    }),
    ("control.port-in-use", |fleet| {
        let process = Some(Process { pid: 77, name: "nginx".into(), arguments: Vec::new() });
        fleet.hosts[0].kernel.as_mut().unwrap().listeners.push(Listener { port: 10250, process });
    }),
    ("control.no-container", |fleet| fleet.hosts[0].kube.manifests.push(pod("kube-apiserver", &[]))),
    ("control.bad-manifest", |fleet| {
        fleet.hosts[0].kube.manifests.push(StaticPod { error: Some("line 3".into()), ..pod("x", &[]) });
    }),
    ("control.interrupted-init", |fleet| {
        let host = &mut fleet.hosts[0];
        host.kube.manifests.push(pod("kube-apiserver", &[]));
        host.kube.kubelet_conf = false;
        host.kernel.as_mut().unwrap().processes.retain(|process| process.name != "kubelet");
    }),
    ("logs.flannel-api", |fleet| log(fleet, "kube-flannel-ds", 189, &[FLANNEL_TIMEOUT])),
    ("logs.flannel-lease", |fleet| log(fleet, "kube-flannel-ds", 2, &[NOT_FOUND])),
    ("logs.flannel-misses", |fleet| {
        log(fleet, "kube-flannel-ds", 0, &["Ignoring not a miss: 46:6c:7a:a6:06:60, 10.244.1.2"; 6]);
    }),
    ("logs.flannel-config", |fleet| {
        log(fleet, "kube-flannel-ds", 4, &["failed to read net conf: open /etc/kube-flannel/net-conf.json"])
    }),
    ("logs.no-pod-cidr", |fleet| {
        log(fleet, "kube-flannel-ds", 4, &["failed to acquire lease: node \"a\" pod cidr not assigned"])
    }),
    ("logs.flannel-rights", |fleet| {
        log(
            fleet,
            "kube-flannel-ds",
            4,
            &["nodes is forbidden: User \"x\" cannot get resource \"nodes\" in API group"],
        );
    }),
    ("logs.flannel-mac", |fleet| {
        log(fleet, "kube-flannel-ds", 0, &["mac address wanted 02:00:00:00:00:01 but got 02:00:00:00:00:02"])
    }),
    ("logs.dns-loop", |fleet| {
        log(fleet, "coredns", 9, &["[FATAL] plugin/loop: Loop (127.0.0.1:55953 -> :53) detected for zone \".\""])
    }),
    ("logs.taint", |fleet| {
        log(fleet, "kube-scheduler", 0, &["1 node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }"]);
    }),
    ("logs.certificate-time", |fleet| {
        log(fleet, "kube-proxy", 0, &["x509: certificate has expired or is not yet valid: current time"; 3]);
    }),
];

/// A rule of the first host's.
fn drops(fleet: &mut Fleet, protocol: u8, ports: Option<(u16, u16)>) {
    let kernel = fleet.hosts[0].kernel.as_mut().unwrap();
    kernel.ruleset.chains.push(Chain {
        family: 1,
        table: "fw".into(),
        name: "input".into(),
        hook: Some(1),
        drops: false,
        rules: 1,
    });
    let (protocol, verdict) = (Some(protocol), Some(Verdict::Drop));
    let (table, chain) = ("fw".into(), "input".into());
    kernel.ruleset.rules.push(Rule { family: 1, table, chain, protocol, ports, verdict, ..Rule::default() });
}

/// What a healthy cluster says of the fleet.
fn api(fleet: &mut Fleet) -> &mut Api {
    let nodes = fleet.hosts.iter().enumerate().map(|(i, host)| Node {
        name: host.name.clone(),
        pod_cidrs: vec![format!("10.244.{i}.0/24").parse().unwrap()],
        internal: vec![format!("192.168.77.{}", 10 + i).parse().unwrap()],
        public_ip: Some(format!("192.168.77.{}", 10 + i).parse().unwrap()),
        vtep_mac: Some(crate::bench::mac(i).parse().unwrap()),
        conditions: vec![Condition { kind: "Ready".into(), status: "True".into(), message: String::new() }],
    });
    let nodes = nodes.collect();
    fleet.api.get_or_insert_with(|| Api { nodes, ..Api::default() })
}

fn node(fleet: &mut Fleet) -> &mut Node {
    &mut api(fleet).nodes[0]
}

fn condition(fleet: &mut Fleet, kind: &str, status: &str, message: &str) {
    let node = node(fleet);
    node.conditions.retain(|condition| condition.kind != kind);
    node.conditions.push(Condition { kind: kind.into(), status: status.into(), message: message.into() });
}

/// A runtime that answers, and has these images.
fn cri(images: &[&str]) -> Cri {
    let images = images.iter().map(|name| (*name).to_owned()).collect();
    Cri { socket: "/run/containerd/containerd.sock".into(), images, ..Cri::default() }
}

#[test]
fn a_cluster_that_says_what_its_hosts_have_is_healthy() {
    let mut fleet = Bench::new(2).fleet();
    api(&mut fleet);
    assert!(checks::run(&fleet).is_empty(), "{:#?}", checks::run(&fleet));
    // A warning about a pod that has its address is of the past.
    let api = api(&mut fleet);
    let ips = vec!["10.244.0.2".parse().unwrap()];
    api.pods.push(kiln_doctor::api::Pod { name: "a/x".into(), ips, ..Default::default() });
    let reason = "FailedCreatePodSandBox".into();
    api.events.push(kiln_doctor::api::Event { reason, about: "a/x".into(), ..Default::default() });
    assert!(checks::run(&fleet).is_empty(), "{:#?}", checks::run(&fleet));
}

#[test]
fn each_fault_is_found_as_itself() {
    let healthy = Bench::new(2).fleet();
    let ids = |fleet: &Fleet| checks::run(fleet).iter().map(|finding| finding.id).collect::<Vec<_>>();
    assert_eq!(ids(&healthy), Vec::<&str>::new());
    for (id, change) in CHANGES {
        let mut fleet = healthy.clone();
        change(&mut fleet);
        assert_eq!(ids(&fleet), [*id], "{:#?}", checks::run(&fleet));
    }
    // Facts are sent as JSON: nothing may be lost.
    let again: Fleet = serde_json::from_str(&serde_json::to_string(&healthy).unwrap()).unwrap();
    assert_eq!(serde_json::to_value(&again).unwrap(), serde_json::to_value(&healthy).unwrap());
}

/// Faults in pairs: two that have nothing to do with each other are two findings, one that follows is not said.
#[test]
fn pairs_of_faults() {
    let healthy = Bench::new(2).fleet();
    let change = |id: &str| CHANGES.iter().find(|(name, _)| *name == id).map(|(_, change)| change).unwrap();
    let ids = |pair: [&str; 2]| {
        let mut fleet = healthy.clone();
        pair.iter().for_each(|id| change(id)(&mut fleet));
        let mut ids: Vec<&str> = checks::run(&fleet).iter().map(|finding| finding.id).collect();
        ids.sort_unstable();
        ids
    };
    for pair in [
        ["api.pod-cidr", "control.no-image"],
        ["api.tunnel-address", "machine.selinux"],
        ["control.bad-flag", "flannel.config-differs"],
        ["api.not-ready", "api.stale-proxy"],
        ["machine.selinux", "probe.lost"],
    ] {
        assert_eq!(ids(pair), pair);
    }
    assert_eq!(ids(["api.not-ready", "machine.kubelet-down"]), ["machine.kubelet-down"]);
    assert_eq!(ids(["api.pressure", "control.disk-pressure"]), ["control.disk-pressure"]);
    assert_eq!(ids(["api.network-unavailable", "api.not-ready"]), ["api.not-ready"]);
    assert_eq!(ids(["control.no-image", "control.no-container"]), ["control.no-image"]);
}

#[test]
fn what_heals_is_no_finding() {
    let mut fleet = Bench::new(1).fleet();
    log(&mut fleet, "kube-flannel-ds", 0, &[NOT_FOUND, "I1227 manager.go:246] Lease acquired: 10.244.1.0/24"]);
    log(&mut fleet, "kube-flannel-ds", 17, &[FLANNEL_TIMEOUT, "Lease acquired: 10.244.1.0/24"]);
    assert!(checks::run(&fleet).is_empty());
}

/// What looks like a fault, and is none.
#[test]
fn what_is_as_it_should_be() {
    let healthy = Bench::new(2).fleet();
    let cases: [(&str, Change); 4] = [
        ("a balancer has the usual port, the API server another", |fleet| {
            let server = pod("kube-apiserver", &["--secure-port=6444"]);
            fleet.hosts[0].kube.manifests.push(server);
            log(fleet, "kube-apiserver", 0, &["serving"]);
            let process = Some(Process { pid: 77, name: "haproxy".into(), arguments: Vec::new() });
            fleet.hosts[0].kernel.as_mut().unwrap().listeners.push(Listener { port: 6443, process });
        }),
        ("noise of a long time", |fleet| {
            counter(fleet, "Tcp.InCsumErrors", 40);
            counter(fleet, "Tcp.InSegs", 9_000_000_000);
        }),
        ("another's pod with a name that begins as etcd's", |fleet| {
            fleet.hosts[0].kube.manifests.push(pod("etcd", &[]));
            log(fleet, "etcd", 0, &["serving"]);
            let lines = vec!["panic".to_owned(), "Error: unknown flag: --x".to_owned()];
            let other = Log { pod: "etcd-operator-7d9".into(), container: "operator".into(), restarts: 40, lines };
            fleet.hosts[0].kube.logs.push(other);
        }),
        ("a private address that the kubelet is told", |fleet| {
            fleet.hosts[0].kube.flags.insert("node-ip".into(), "192.168.77.10".into());
        }),
    ];
    for (what, change) in cases {
        let mut fleet = healthy.clone();
        change(&mut fleet);
        assert!(checks::run(&fleet).is_empty(), "{what}: {:#?}", checks::run(&fleet));
    }
}

/// Every row has a fault that yields it: here, or in `faults`.
#[test]
fn every_row_has_a_fault() {
    let faults = include_str!("faults.rs");
    let tested = |id: &str| CHANGES.iter().any(|(tested, _)| *tested == id) || faults.contains(&format!("\"{id}\""));
    let bare: Vec<&str> = checks::rows().map(|row| row.id).filter(|id| !tested(id)).collect();
    assert_eq!(bare, Vec::<&str>::new());
}
