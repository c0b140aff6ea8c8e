//! A cluster that runs: the next release, hosts that leave, names of certificates.

use kiln_host::recording::Answer;
use kiln_launch::scale::{self, Leaving};
use kiln_launch::{Member, cert, run, upgrade};

use crate::world::World;

/// Nodes as the API lists them, of a release, with what else their spec says.
fn nodes(world: &World, version: impl Fn(usize) -> &'static str, spec: &str) -> String {
    let node = |n: usize| {
        format!(
            r#"{{"metadata":{{"name":"n{n}"}},"spec":{{{spec}}},"status":{{"conditions":[{{"type":"Ready","status":"True"}}],"nodeInfo":{{"kubeletVersion":"{}"}}}}}}"#,
            version(n)
        )
    };
    format!("{{\"items\":[{}]}}", (1..=world.hosts.len()).map(node).collect::<Vec<_>>().join(","))
}

/// A world whose image brings another release, which nodes have once they were asked.
fn upgraded(world: &World) {
    world.wish(|_, bundle| bundle.kubernetes = "v1.20.3".into());
    let question = "get nodes -o json";
    world.host(1).answer(question, Answer::output(nodes(world, |_| "v1.20.3", "")));
    world.host(1).answer_once(question, Answer::output(nodes(world, |_| "v1.20.2", "")));
}

#[test]
fn an_upgrade_installs_on_each_host_once_and_forgets_nobody() {
    let world = World::new(1, 1);
    world.run().unwrap();
    upgraded(&world);
    let launch = world.launch().unwrap();
    let before: Vec<usize> = world.hosts.iter().map(|(_, host)| host.lines().len()).collect();
    upgrade::upgrade(&launch, "v1.20.2").unwrap();
    for (n, before) in (1..).zip(before) {
        let lines = world.host(n).lines().split_off(before);
        assert_eq!(lines.iter().filter(|line| line.contains("restart containerd")).count(), 1, "{n}: {lines:#?}");
        assert!(lines.iter().any(|line| line.contains("kubeadm upgrade")), "{n}: {lines:#?}");
    }
    let places = ["snapshot save", "kubeadm upgrade apply v1.20.3", "drain n1", "uncordon n1", "drain n2"];
    let places = places.map(|text| world.place(1, text));
    assert!(places.is_sorted(), "{places:?}");
    assert_eq!(world.state().record().unwrap().unwrap().kubernetes, "v1.20.3");
}

#[test]
fn a_node_that_fails_gets_its_kubelet_back_and_pods_again() {
    let world = World::new(1, 1);
    world.run().unwrap();
    world.wish(|_, bundle| bundle.kubernetes = "v1.20.3".into());
    // The worker never comes with the new one.
    let list = nodes(&world, |n| if n == 1 { "v1.20.3" } else { "v1.20.2" }, "");
    world.host(1).answer("get nodes -o json", Answer::output(list));
    world.host(2).answer("ls /var/lib/kiln/before/bin", Answer::output("kubelet\nnonsense\n"));
    let before = world.host(2).lines().len();
    let error = upgrade::upgrade(&world.launch().unwrap(), "v1.20.2").unwrap_err();
    assert!(error.to_string().contains("10.0.0.2: cannot have the node n2 ready with v1.20.3"), "{error}");
    let ran = world.host(2).ran().split_off(before);
    let at = |text: &str| {
        ran.iter().rposition(|ran| ran.line.contains(text)).unwrap_or_else(|| panic!("no {text} in {ran:#?}"))
    };
    let back = at("agent install --rootfs /var/lib/kiln/before");
    let order = String::from_utf8_lossy(&ran[back].stdin).into_owned();
    assert!(order.contains("/usr/bin/kubelet") && !order.contains("nonsense"), "by the ledger: {order}");
    assert!(at("cp -p /usr/bin/") < back && back < at("restart kubelet"), "{ran:#?}");
    assert!(at("restart kubelet") < at("rm -rf /var/lib/kiln/before"), "{ran:#?}");
    world.place(1, "uncordon n2");
    let entry = &world.state().journal("10.0.0.2").unwrap().entries;
    assert!(entry.iter().any(|entry| entry.phase == "upgrade" && entry.state == "failed"), "{entry:?}");
    assert_eq!(world.state().record().unwrap().unwrap().kubernetes, "v1.20.2");
}

#[test]
fn a_node_that_was_left_in_the_middle_is_not_done_because_it_is_ready() {
    let world = World::new(1, 1);
    world.run().unwrap();
    world.wish(|_, bundle| bundle.kubernetes = "v1.20.3".into());
    let old = nodes(&world, |_| "v1.20.2", "");
    let new = nodes(&world, |_| "v1.20.3", "\"unschedulable\":true");
    world.host(1).answer("get nodes -o json", Answer::output(new));
    world.host(1).answer_once("get nodes -o json", Answer::output(old));
    // The power goes while it starts.
    world.host(2).answer("restart kubelet", Answer::disconnect());
    let error = upgrade::upgrade(&world.launch().unwrap(), "v1.20.2").unwrap_err();
    assert!(error.hint().unwrap().ends_with("the same command"), "{:?}", error.hint());
    assert!(!world.host(1).lines().iter().any(|line| line.contains("uncordon n2")));
    // It comes up with its new kubelet, and is still drained.
    world.host(2).answer("restart kubelet", Answer::output(""));
    let before = world.host(1).lines().len();
    upgrade::upgrade(&world.launch().unwrap(), "v1.20.2").unwrap();
    let lines = world.host(1).lines().split_off(before);
    assert!(lines.iter().any(|line| line.contains("uncordon n2")), "{lines:#?}");
    for done in ["kubeadm upgrade", "snapshot save", "drain n1"] {
        assert!(!lines.iter().any(|line| line.contains(done)), "the first is done: {done}: {lines:#?}");
    }
    assert_eq!(world.state().record().unwrap().unwrap().kubernetes, "v1.20.3");
}

#[test]
fn a_node_that_its_user_cordoned_stays_so() {
    let world = World::new(1, 0);
    world.run().unwrap();
    world.wish(|_, bundle| bundle.kubernetes = "v1.20.3".into());
    let cordoned = "\"unschedulable\":true";
    world.host(1).answer("get nodes -o json", Answer::output(nodes(&world, |_| "v1.20.3", cordoned)));
    world.host(1).answer_once("get nodes -o json", Answer::output(nodes(&world, |_| "v1.20.2", cordoned)));
    upgrade::upgrade(&world.launch().unwrap(), "v1.20.2").unwrap();
    world.place(1, "drain n1");
    assert!(!world.host(1).lines().iter().any(|line| line.contains("uncordon")));
}

#[test]
fn arguments_that_the_release_does_not_take_stop_an_upgrade_before_it_begins() {
    let mut world = World::new(1, 0);
    world.run().unwrap();
    world.wish(|_, bundle| bundle.kubernetes = "v1.24.0".into());
    world.host(1).answer("get nodes -o json", Answer::output(nodes(&world, |_| "v1.24.0", "")));
    let map = r#"{"items":[{"data":{"ClusterConfiguration":"apiVersion: kubeadm.k8s.io/v1beta3\nkind: ClusterConfiguration\napiServer: {extraArgs: {insecure-port: \"0\"}}\n"}}]}"#;
    world.host(1).answer("get configmaps kubeadm-config", Answer::output(map));
    let before = world.host(1).lines().len();
    let error = upgrade::upgrade(&world.launch().unwrap(), "v1.23.9").unwrap_err();
    assert!(error.details().iter().any(|line| line.contains("ERROR UpgradeArguments")), "{:#?}", error.details());
    assert_eq!(world.host(1).lines().len(), before + 2, "it is asked, and nothing else");
    world.options.ignore = vec!["UpgradeArguments".into()];
    upgrade::upgrade(&world.launch().unwrap(), "v1.23.9").unwrap();
}

#[test]
fn an_upgrade_is_of_all_hosts() {
    let world = World::new(1, 1);
    world.run().unwrap();
    upgraded(&world);
    let mut launch = world.launch().unwrap();
    launch.members.truncate(1);
    let error = upgrade::upgrade(&launch, "v1.20.2").unwrap_err();
    assert!(error.to_string().starts_with("10.0.0.2 are hosts of the cluster"), "{error}");
    assert_eq!(world.state().record().unwrap().unwrap().hosts.len(), 2);
}

#[test]
fn hosts_that_are_not_part_of_a_launch_stay_in_the_record() {
    let world = World::new(1, 1);
    world.run().unwrap();
    let mut launch = world.launch().unwrap();
    launch.members.truncate(1);
    assert_eq!(run::keep(&launch).unwrap(), ["10.0.0.2"]);
    assert_eq!(world.state().record().unwrap().unwrap().hosts.len(), 2);
}

#[test]
fn a_master_leaves_etcd_before_it_is_deleted() {
    let world = World::new(2, 0);
    let list = "8e9e05c52164694d, started, n1, https://10.0.0.1:2380, x, false\n91bc3c398fb3c146, started, n2, https://10.0.0.2:2380, x, false\n";
    world.host(1).answer("member list", Answer::output(list));
    let launch = world.launch().unwrap();
    let leaving = Leaving { node: "n2".into(), address: "10.0.0.2".into(), master: true, up: true };
    scale::leave(&launch, launch.first().unwrap(), &leaving).unwrap();
    let places = ["drain n2", "member remove 91bc3c398fb3c146", "delete node n2"].map(|text| world.place(1, text));
    assert!(places.is_sorted());
    assert!(!world.host(1).lines()[places[0]].contains("--request-timeout"), "draining takes long");
}

#[test]
fn names_are_added_to_certificates_of_all_masters() {
    let world = World::new(2, 0);
    let map = r#"{"data":{"ClusterConfiguration":"apiVersion: kubeadm.k8s.io/v1beta2\nkind: ClusterConfiguration\napiServer:\n  certSANs: [10.0.0.1]\n"}}"#;
    world.host(1).answer("get configmap kubeadm-config", Answer::output(map));
    let launch = world.launch().unwrap();
    let masters: Vec<Member> = launch.members.clone();
    assert_eq!(cert::add_sans(&masters, "v1.20.2", &["api.example".into()]).unwrap(), ["api.example"]);
    for (n, address) in [(1, "10.0.0.1"), (2, "10.0.0.2")] {
        assert!(
            world.place(n, "kubeadm init phase certs apiserver")
                < world.place(n, "mv /etc/kubernetes/manifests/$p.yaml")
        );
        let ran = world.host(n).ran();
        let file = ran.iter().find(|ran| ran.line.contains("kiln-sans.yaml.kiln-new")).unwrap();
        let text = String::from_utf8_lossy(&file.stdin).into_owned();
        assert!(text.contains("api.example") && text.contains(&format!("advertiseAddress: \"{address}\"")), "{text}");
        assert!(text.contains("criSocket: /run/containerd/containerd.sock\n"), "1.20 wants no scheme: {text}");
    }
    assert!(world.place(1, "upload-config kubeadm") > world.place(1, "certs apiserver"));
    assert!(!world.host(2).lines().iter().any(|line| line.contains("upload-config")));
    assert!(cert::add_sans(&masters, "v1.20.2", &["a;b".into()]).is_err());
    world.host(1).answer("get configmap kubeadm-config", Answer::output("{}"));
    let error = cert::add_sans(&masters, "v1.20.2", &["api.example".into()]).unwrap_err();
    assert!(error.to_string().contains("no ClusterConfiguration"), "{error}");
    // Since 1.24 kubeadm wants a scheme.
    world.host(1).answer("get configmap kubeadm-config", Answer::output(map.replace("v1beta2", "v1beta3")));
    cert::add_sans(&masters, "v1.30.2", &["api.example".into()]).unwrap();
    let ran = world.host(2).ran();
    let file = ran.iter().rev().find(|ran| ran.line.contains("kiln-sans.yaml.kiln-new")).unwrap();
    assert!(String::from_utf8_lossy(&file.stdin).contains("criSocket: unix:///run/containerd/containerd.sock\n"));
}

#[test]
fn an_expired_token_is_made_anew() {
    let world = World::new(1, 1);
    let message = "could not find a JWS signature in the cluster-info ConfigMap for token ID \"abcdef\"";
    world.host(2).answer("kubeadm join --config", Answer::failure(1, message));
    world.run().unwrap_err();
    let tokens = world.host(1).lines().iter().filter(|line| line.contains("token create")).count();
    assert_eq!(tokens, 2, "once more, and not for ever");
    let joins = world.host(2).lines().iter().filter(|line| line.starts_with("kubeadm join")).count();
    assert_eq!(joins, 2);
    assert!(world.place(2, "kubeadm join") < world.place(2, "kubeadm reset --force"));
}
