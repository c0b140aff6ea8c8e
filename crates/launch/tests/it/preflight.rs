//! Each check finds its fault and nothing else, on hosts that lack nothing but that.

use kiln_launch::run;

use crate::world::World;

/// Names of what is found, with `W` before warnings.
fn found(world: &World) -> Vec<String> {
    let found = run::check(&world.launch().unwrap()).unwrap();
    found.iter().map(|f| format!("{}{}", if f.is_error() { "" } else { "W " }, f.name)).collect()
}

#[test]
fn good_hosts_have_nothing_wrong() {
    assert_eq!(found(&World::new(1, 2)), [""; 0]);
}

#[test]
fn each_fault_is_named_as_kubeadm_names_it() {
    let rows: &[(usize, &str, &str, &str)] = &[
        (1, "@@uid\n|0", "@@uid\n|1000", "IsPrivilegedUser"),
        (1, "@@cpus\n|4", "@@cpus\n|1", "NumCPU"),
        (1, "MemTotal: 4000000", "MemTotal: 1000000", "Mem"),
        (1, "@@swaps\n|Filename", "@@swaps\n|Filename\n|/dev/sdb", "Swap"),
        (2, "@@swaps\n|Filename", "@@swaps\n|Filename\n|/dev/sdb", "Swap"),
        (1, "|conntrack\n", "", "FileExisting-conntrack"),
        (2, "|socat\n", "", "W FileExisting-socat"),
        (2, "|containerd\n", "", "FileExisting-containerd"),
        (2, "|crictl\n", "", "FileExisting-crictl"),
        (2, "|containerd x 1.6.20", "|containerd x 2.0.1", "CRI"),
        (2, "@@hostname\n", "@@kernel\n|2.6.32-5\n@@hostname\n", "SystemVerification"),
        (1, "inet 10.0.0.1/24", "inet 127.0.0.9/8", "NodeAddress"),
        (
            1,
            "@@paths\n",
            "@@paths\n|/etc/kubernetes/manifests/kube-apiserver.yaml\n",
            "FileAvailable--etc-kubernetes-manifests-kube-apiserver.yaml",
        ),
        (1, "@@paths\n", "@@paths\n|/var/lib/etcd\n", "DirAvailable--var-lib-etcd"),
        (2, "@@paths\n", "@@paths\n|/etc/kubernetes/manifests\n", "DirAvailable--etc-kubernetes-manifests"),
        (2, "@@paths\n", "@@paths\n|/etc/kubernetes/kubelet.conf\n", "FileAvailable--etc-kubernetes-kubelet.conf"),
        (2, "@@paths\n", "@@paths\n|/etc/cni/net.d\n", "W DirAvailable--etc-cni-net.d"),
        (1, "@@programs\n", "@@tcp\n|0: 00000000:192B 00000000:0000 0A 0\n@@programs\n", "Port-6443"),
        (2, "@@programs\n", "@@tcp\n|0: 00000000:280A 00000000:0000 0A 0\n@@programs\n", "Port-10250"),
        (1, "@@programs\n", "@@tcp\n|0: 00000000:1388 00000000:0000 0A 0\n@@programs\n", "Port-5000"),
        (2, "@@programs\n", "@@udp\n|0: 00000000:2118 00000000:0000 07 0\n@@programs\n", "W Port-8472"),
        (2, "@@manager\n|yes\n", "", "ServiceManager"),
        (2, "@@machine\n|x86_64", "@@machine\n|aarch64", "Platform"),
        (2, "@@hostname\n|n2", "@@hostname\n|n1", "HostnameUnique"),
        (2, "@@hostname\n|n2", "@@hostname\n|a_b", "HostnameValid"),
        (2, "@@machine-id\n|id2", "@@machine-id\n|id1", "W MachineIdUnique"),
        (2, "52:54:00:00:00:02", "52:54:00:00:00:01", "MacUnique"),
        (2, "52428800", "1024", "DiskSpace"),
        (2, "|10.0.0.0/24 dev eth0", "|10.0.0.0/24 dev eth0\n|100.65.0.0/16 dev vpn0", "NetworkOverlap"),
        (2, "|10.0.0.0/24 dev eth0", "|10.0.0.0/24 dev eth0\n|10.96.0.128/25 dev vpn0", "NetworkOverlap"),
        (2, "|/proc/sys/net/bridge/bridge-nf-call-iptables 1\n", "", ""),
        (2, "@@resolves\n|yes\n", "", "W Hostname"),
        (2, "|containerd active enabled\n", "|containerd active enabled\n|firewalld active enabled\n", "W Firewalld"),
    ];
    for (n, what, with, name) in rows {
        let world = World::new(1, 1);
        world.odd(*n, what, with);
        let wanted: Vec<String> = [(*name).to_owned()].into_iter().filter(|name| !name.is_empty()).collect();
        assert_eq!(found(&world), wanted, "{what:?} is {with:?}");
    }
}

#[test]
fn checks_are_passed_over_by_name_whatever_its_case() {
    for name in ["swap", "all", "SWAP"] {
        let mut world = World::new(1, 0);
        world.odd(1, "@@swaps\n|Filename", "@@swaps\n|Filename\n|/dev/sdb");
        world.options.ignore = vec![name.into()];
        assert_eq!(found(&world), ["W Swap"]);
    }
}

#[test]
fn nothing_is_changed_when_something_is_wrong() {
    let world = World::new(1, 1);
    world.odd(2, "@@uid\n|0", "@@uid\n|1000");
    let error = world.run().unwrap_err();
    assert_eq!(error.to_string(), "1 checks before the launch failed, on 1 hosts; nothing was changed");
    assert_eq!(error.details()[0], "  [ERROR IsPrivilegedUser]: 10.0.0.2: commands do not run as root");
    assert!(world.hosts.iter().all(|(_, host)| host.lines().len() == 1));
    assert_eq!(world.state().record().unwrap(), None);
}

#[test]
fn a_host_of_another_cluster_is_not_taken() {
    let world = World::new(1, 1);
    let marker = r#"{"version":1,"cluster":"other","id":"zz","done":{}}"#;
    world.odd(2, "@@end", &format!("@@marker\n|{marker}\n@@end"));
    assert_eq!(found(&world), ["KilnMarker"]);
    let world = World::new(1, 1);
    world.odd(2, "@@end", "@@marker\n|{\n@@end");
    assert_eq!(found(&world), ["KilnMarker"]);
}

#[test]
fn proxies_must_not_be_between_hosts() {
    let names = |proxies: &str| {
        let world = World::new(1, 0);
        world.odd(1, "@@paths\n", &format!("@@proxies\n{proxies}@@paths\n"));
        found(&world)
    };
    let set = "|HTTPS_PROXY=http://proxy.example:3128\n";
    assert_eq!(names(set), ["W HTTPProxy", "W HTTPProxyCIDR", "W HTTPProxyCIDR"]);
    assert_eq!(names(&format!("{set}|no_proxy=.example,10.0.0.1,100.64.0.0/10\n")), ["W HTTPProxyCIDR"]);
    assert_eq!(names(&format!("{set}|no_proxy=*\n")), [""; 0]);
    assert_eq!(names("|ftp_proxy=x\n"), [""; 0]);
}

#[test]
fn what_an_external_etcd_and_another_port_make_needless_is_not_asked() {
    let world = World::new(1, 0);
    let text = "apiVersion: kubeadm.k8s.io/v1beta2\nkind: ClusterConfiguration\netcd:\n  local: null\n  external:\n    endpoints: ['https://10.9.9.9:2379']\n\
        ---\napiVersion: kubeadm.k8s.io/v1beta2\nkind: InitConfiguration\nlocalAPIEndpoint: {bindPort: 7443}\n";
    world.wish(move |cluster, _| cluster.kubeadm.push(kiln_kubeadm::Layer::file("Clusterfile", text)));
    world.odd(1, "@@paths\n", "@@paths\n|/var/lib/etcd\n");
    world.odd(
        1,
        "@@programs\n",
        "@@tcp\n|0: 00000000:094B 00000000:0000 0A 0\n|0: 00000000:1D13 00000000:0000 0A 0\n@@programs\n",
    );
    assert_eq!(found(&world), ["Port-7443"]);
}

#[test]
fn leftovers_of_a_kubeadm_are_reset_if_that_is_wanted() {
    let left =
        "@@paths\n|/etc/kubernetes/manifests\n|/etc/kubernetes/manifests/etcd.yaml\n|/etc/kubernetes/pki/ca.crt\n";
    let mut world = World::new(1, 1);
    world.odd(1, "@@paths\n", left);
    let error = world.run().unwrap_err();
    let text = error.details().join("\n");
    assert!(
        text.contains("--reset-leftovers") && text.contains("/etc/kubernetes/manifests/etcd.yaml already exists"),
        "{text}"
    );
    world.options.reset_leftovers = true;
    let plan = run::plan_text(&run::plan(&world.launch().unwrap()).unwrap());
    assert!(plan.contains("kubeadm reset: /etc/kubernetes/manifests, /etc/kubernetes/manifests/etcd.yaml"), "{plan}");
    world.run().unwrap();
    assert!(world.place(1, "kubeadm reset --force") < world.place(1, "restart containerd"));
    assert!(!world.host(2).lines().iter().any(|line| line.contains("kubeadm reset")), "only where something is");
    // It is nobody's any more: a failed attempt may be undone.
    let marker = world.launch().unwrap().members[0].facts.marker.clone().unwrap();
    assert!(!marker.occupied);
}

#[test]
fn what_kubeadm_reset_leaves_is_told() {
    let mut world = World::new(1, 0);
    world.odd(1, "@@paths\n", "@@paths\n|/var/lib/etcd\n");
    world.options.reset_leftovers = true;
    world.host(1).answer("[ -z \"$(ls -A $p)\" ]", kiln_host::recording::Answer::output("/var/lib/etcd\n"));
    let error = world.run().unwrap_err();
    assert!(error.to_string().contains("10.0.0.1: kubeadm reset leaves /var/lib/etcd"), "{error}");
}

/// A host with addresses of both families, and networks that a document names.
fn with_networks(kubernetes: &'static str, pods: &str, services: &str) -> World {
    let world = World::new(1, 0);
    world.odd(1, "10.0.0.1/24 brd x\n", "10.0.0.1/24 brd x\n|2: eth0 inet6 fd00::1/64 scope global\n");
    world.odd(1, "@@programs\n", "@@programs\n|ip6tables\n");
    let settings =
        "|/proc/sys/net/bridge/bridge-nf-call-ip6tables 1\n|/proc/sys/net/ipv6/conf/default/forwarding 0\n@@manager";
    world.odd(1, "@@manager", settings);
    let text = format!(
        "apiVersion: kubeadm.k8s.io/v1beta2\nkind: ClusterConfiguration\nnetworking: {{podSubnet: '{pods}', serviceSubnet: '{services}'}}\n"
    );
    world.wish(move |cluster, bundle| {
        bundle.kubernetes = kubernetes.to_owned();
        cluster.kubeadm.push(kiln_kubeadm::Layer::file("Clusterfile", text.clone()));
    });
    world
}

#[test]
fn networks_that_kubernetes_does_not_take_are_told() {
    let rows: &[(&str, &str, &str, &[&str])] = &[
        ("v1.20.2", "10.244.0.0/16", "10.96.0.0/12", &[]),
        ("v1.20.2", "fd64::/48", "fd65::/112", &[]),
        ("v1.25.0", "10.244.0.0/16,fd64::/48", "10.96.0.0/12,fd65::/112", &[]),
        // The gate of 1.20 is switched on, which is told.
        ("v1.20.2", "10.244.0.0/16,fd64::/48", "10.96.0.0/12,fd65::/112", &["W Networks"]),
        ("v1.19.8", "10.244.0.0/16,fd64::/48", "10.96.0.0/12,fd65::/112", &["DualStack"]),
        ("v1.25.0", "10.244.0.0/16,10.245.0.0/16", "10.96.0.0/12", &["Networks"]),
        ("v1.25.0", "10.244.0.0/16,nonsense", "10.96.0.0/12", &["Networks"]),
        ("v1.25.0", "10.244.0.0/16", "10.96.0.0/12,fd65::/112", &["Networks"]),
        ("v1.25.0", "10.244.0.0/16", "100.64.0.0/10", &["ServiceSubnet"]),
        ("v1.25.0", "10.244.0.0/16", "10.96.0.0/29", &["ServiceSubnet"]),
        ("v1.32.0", "fd64::/48", "fd65::/64", &["ServiceSubnet"]),
        ("v1.33.0", "fd64::/48", "fd65::/64", &[]),
        ("v1.25.0", "10.244.0.0/25", "10.96.0.0/12", &["PodSubnet"]),
        ("v1.25.0", "fd64::/47", "fd65::/112", &["PodSubnet"]),
    ];
    for (kubernetes, pods, services, names) in rows {
        let mut found = found(&with_networks(kubernetes, pods, services));
        // What else is said of later releases is not of this.
        found.retain(|name| !name.contains("SystemVerification"));
        assert_eq!(found, *names, "{kubernetes} {pods} {services}");
    }
}

#[test]
fn a_gate_that_is_switched_off_is_not_switched_on_again() {
    let world = with_networks("v1.20.2", "10.244.0.0/16,fd64::/48", "10.96.0.0/12,fd65::/112");
    let text =
        "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nfeatureGates: {IPv6DualStack: false}\n";
    world.wish(move |cluster, _| cluster.kubeadm.push(kiln_kubeadm::Layer::file("Clusterfile", text)));
    let found = run::check(&world.launch().unwrap()).unwrap();
    let error = found.iter().find(|finding| finding.name == "DualStack").unwrap();
    assert!(error.is_error() && error.text.contains("featureGates.IPv6DualStack (Clusterfile:3"), "{}", error.text);
}

#[test]
fn hosts_of_ipv6_need_what_filters_and_forwards_it() {
    for (what, with, name) in [
        ("|ip6tables\n", "", "FileExisting-ip6tables"),
        (
            "|/proc/sys/net/ipv6/conf/default/forwarding 0\n",
            "",
            "FileContent--proc-sys-net-ipv6-conf-default-forwarding",
        ),
        ("|2: eth0 inet6 fd00::1/64 scope global\n", "", "NodeAddress"),
    ] {
        let world = with_networks("v1.25.0", "fd64::/48", "fd65::/112");
        world.odd(1, what, with);
        let all = found(&world);
        assert!(all.iter().any(|found| found == name), "{name}: {all:?}");
    }
}
