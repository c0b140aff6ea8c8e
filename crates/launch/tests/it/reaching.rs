//! Whether hosts reach each other is tried before anything is installed.

use kiln_clusterfile::model::{Backend, Origin, Said};
use kiln_host::recording::Answer;
use kiln_launch::run;

use crate::world::World;

#[test]
fn every_host_tries_the_ports_that_it_needs() {
    let world = World::new(2, 1);
    let plan = run::plan_text(&run::plan(&world.launch().unwrap()).unwrap());
    for line in [
        "try TCP 6443 of 10.0.0.1, 10.0.0.2",
        "try TCP 2379 of 10.0.0.1, 10.0.0.2",
        "try TCP 10250 of 10.0.0.1, 10.0.0.2, 10.0.0.3",
        "try UDP 8472 of 10.0.0.1, 10.0.0.2, 10.0.0.3",
    ] {
        assert!(plan.contains(line), "{line} is not in {plan}");
    }
    world.run().unwrap();
    let line = &world.host(3).lines()[world.place(3, "agent listen")];
    assert!(line.contains("listen --at 10.0.0.3 --tcp 10250 --udp 8472 --report /var/lib/kiln/reach "), "{line}");
    let ran = world.host(3).ran();
    let order =
        String::from_utf8(ran.iter().find(|ran| ran.line.ends_with("agent reach")).unwrap().stdin.clone()).unwrap();
    let mut lines: Vec<&str> = order.lines().skip(1).collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "tcp 10.0.0.1 5000",
            "tcp 10.0.0.1 6443",
            "tcp 10.0.0.2 5000",
            "tcp 10.0.0.2 6443",
            "udp 10.0.0.1 8472",
            "udp 10.0.0.2 8472"
        ]
    );
    assert!(world.place(3, "agent reach") < world.place(3, "restart containerd"));
}

#[test]
fn a_port_that_is_not_reached_is_named_with_who_does_not_reach_it() {
    let world = World::new(1, 2);
    world.host(3).answer("agent reach", Answer::output("lost tcp 10.0.0.1 6443 no answer in 3 s\ndone\n"));
    let token = kiln_launch::phase::reach::token("id1", "n1");
    world.host(2).answer("cat /var/lib/kiln/reach", Answer::output(format!("heard 8472 {token}\n")));
    let error = world.run().unwrap_err();
    let text = error.details().join("\n");
    for line in [
        "[ERROR Reach-6443]: 10.0.0.1: TCP 6443 of 10.0.0.1 is not reached from 10.0.0.3: no answer in 3 s",
        "[ERROR Reach-8472]: 10.0.0.2: UDP 8472 of 10.0.0.2 is not reached from 10.0.0.3: packets do not arrive",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    assert_eq!(text.matches("ERROR").count(), 2, "{text}");
    assert!(!world.host(1).lines().iter().any(|line| line.contains("restart containerd")), "nothing was installed");
    assert!(
        world.hosts.iter().all(|(_, host)| host.lines().iter().any(|line| line.contains("rm -f /var/lib/kiln/reach")))
    );
}

#[test]
fn what_is_passed_over_or_taken_is_no_obstacle() {
    let mut world = World::new(1, 1);
    world.host(2).answer("agent reach", Answer::output("lost tcp 10.0.0.1 6443 refused\ndone\n"));
    world.host(2).answer("cat /var/lib/kiln/reach", Answer::output("busy udp 8472\nlistening\n"));
    world.options.ignore = vec!["reach-6443".into()];
    world.run().unwrap();
}

#[test]
fn only_ways_of_new_hosts_are_tried() {
    let mut world = World::new(1, 2);
    world.run().unwrap();
    world.grow();
    world.run().unwrap();
    let ran = world.host(2).ran();
    let order =
        String::from_utf8(ran.iter().rev().find(|ran| ran.line.ends_with("agent reach")).unwrap().stdin.clone())
            .unwrap();
    assert_eq!(order.lines().skip(1).collect::<Vec<_>>(), ["udp 10.0.0.4 8472"]);
    let alone = World::new(1, 0);
    alone.run().unwrap();
    assert!(!alone.host(1).lines().iter().any(|line| line.contains("agent listen")));
}

#[test]
fn pod_networks_of_both_families_are_tried_at_both_addresses() {
    let world = World::new(1, 1);
    for n in [1, 2] {
        let own = format!("|2: eth0 inet 10.0.0.{n}/24 brd x\n");
        world.odd(n, &own, &format!("{own}|2: eth0 inet6 fd00::{n}/64 scope global\n"));
        world.odd(n, "@@programs\n", "@@programs\n|ip6tables\n");
        let settings = "|/proc/sys/net/bridge/bridge-nf-call-ip6tables 1\n|/proc/sys/net/ipv6/conf/default/forwarding 0\n@@manager";
        world.odd(n, "@@manager", settings);
    }
    let text = "apiVersion: kubeadm.k8s.io/v1beta2\nkind: ClusterConfiguration\n\
        networking: {podSubnet: '10.244.0.0/16,fd64::/48', serviceSubnet: '10.96.0.0/12,fd65::/112'}\n";
    world.wish(move |cluster, _| cluster.kubeadm.push(kiln_kubeadm::Layer::file("Clusterfile", text)));
    world
        .host(1)
        .answer("cat /var/lib/kiln/rootfs/", Answer::output("net-conf.json: |\n  {\"Network\": \"10.0.0.0/8\"}\n"));
    // One hears nothing at its other address.
    world.host(2).answer("cat /var/lib/kiln/reach-other", Answer::output("listening\n"));
    let text = world.run().unwrap_err().details().join("\n");
    assert!(text.contains("UDP 8472 of fd00::2 is not reached from 10.0.0.1: packets do not arrive"), "{text}");
    assert_eq!(text.matches("ERROR").count(), 1, "{text}");
    let line = &world.host(2).lines()[world.place(2, "--report /var/lib/kiln/reach-other")];
    assert!(line.contains("listen --at fd00::2 --udp 8472 "), "{line}");
    let ran = world.host(1).ran();
    let order = ran.iter().find(|ran| ran.line.ends_with("agent reach")).unwrap().stdin.clone();
    let order = String::from_utf8(order).unwrap();
    let udp: Vec<&str> = order.lines().filter(|line| line.starts_with("udp")).collect();
    assert_eq!(udp, ["udp 10.0.0.2 8472", "udp fd00::2 8472"]);
}

#[test]
fn ports_of_flannel_are_those_of_its_backend() {
    for (own, said, wanted) in [
        ("vxlan", None, Some("8472")),
        ("udp", None, Some("8285")),
        ("host-gw", None, None),
        ("vxlan", Some(Backend::HostGw), None),
        ("host-gw", Some(Backend::Udp), Some("8285")),
    ] {
        let world = World::new(1, 1);
        let text = format!(
            "kind: ConfigMap\ndata: {{net-conf.json: '{{\"Network\": \"10.0.0.0/8\", \"Backend\": {{\"Type\": \"{own}\"}}}}'}}\n"
        );
        for n in [1, 2] {
            let token = kiln_launch::phase::reach::token("id1", &format!("n{n}"));
            world.host(3 - n).answer(
                "cat /var/lib/kiln/reach",
                Answer::output(format!("heard {} {token}\n", wanted.unwrap_or("0"))),
            );
        }
        world.host(1).answer("cat /var/lib/kiln/rootfs/", Answer::output(text.clone()));
        world.wish(move |cluster, bundle| {
            bundle.networks.insert("manifests/kube-flannel.yml".to_owned(), text.clone());
            cluster.network.backend = said.map(|said| Said::new(said, Origin::Flag("--backend")));
        });
        world.run().unwrap();
        let listens = world.host(1).lines().into_iter().find(|line| line.contains("agent listen")).unwrap();
        assert_eq!(listens.split_once("--udp ").map(|(_, port)| port.split(' ').next().unwrap()), wanted, "{listens}");
        let applied = world.host(1).ran().into_iter().find(|ran| ran.line.contains("network.yaml.kiln-new")).unwrap();
        let applied = String::from_utf8(applied.stdin).unwrap();
        assert!(
            applied.contains(&format!("\\\"Type\\\":\\\"{}\\\"", said.map_or("", Backend::name))) == said.is_some(),
            "{applied}"
        );
    }
    // A network that has none.
    let world = World::new(1, 0);
    world.wish(|cluster, _| {
        cluster.network.backend = Some(Said::new(Backend::HostGw, Origin::Flag("--backend")));
    });
    let error = world.run().unwrap_err();
    assert!(error.to_string().contains("manifests/kube-flannel.yml has no `net-conf.json`"), "{error}");
}

#[test]
fn a_host_that_breaks_off_is_an_error() {
    let world = World::new(1, 1);
    world.host(2).answer("agent reach", Answer::output("lost tcp"));
    let error = world.run().unwrap_err();
    assert!(error.to_string().contains("10.0.0.2: the answer to \"reach other hosts\" makes no sense"), "{error}");
}
