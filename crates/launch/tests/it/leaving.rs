//! Hosts leave a cluster that runs: drained if they can be, out of etcd, deleted.

use kiln_host::recording::Answer;
use kiln_launch::containerd::{Mirror, hosts_toml};
use kiln_launch::scale::{self, Leaving};

use crate::world::World;

const MEMBERS: &str = "8e9e05c52164694d, started, n1, https://10.0.0.1:2380, https://10.0.0.1:2379, false\n\
    91bc3c398fb3c146, started, n2, https://10.0.0.2:2380, https://10.0.0.2:2379, false\n";

/// What the first master is told when a host leaves.
fn leave(world: &World, n: usize, master: bool, up: bool) -> Vec<String> {
    let launch = world.launch().unwrap();
    let leaving = Leaving { node: format!("n{n}"), address: format!("10.0.0.{n}"), master, up };
    let before = world.host(1).lines().len();
    scale::leave(&launch, launch.first().unwrap(), &leaving).unwrap();
    world.host(1).lines().split_off(before)
}

#[test]
fn a_worker_is_drained_and_deleted() {
    let world = World::new(1, 1);
    let lines = leave(&world, 2, false, true);
    let at =
        |text: &str| lines.iter().position(|line| line.contains(text)).unwrap_or_else(|| panic!("{text}: {lines:#?}"));
    assert!(at("drain n2") < at("delete node n2"));
    assert!(!lines.iter().any(|line| line.contains("etcdctl")));
}

#[test]
fn a_host_that_is_down_is_not_drained() {
    let world = World::new(2, 0);
    world.host(1).answer("member list", Answer::output(MEMBERS));
    let lines = leave(&world, 2, true, false);
    let at =
        |text: &str| lines.iter().position(|line| line.contains(text)).unwrap_or_else(|| panic!("{text}: {lines:#?}"));
    assert!(!lines.iter().any(|line| line.contains("drain")), "its pods would never be seen to end: {lines:#?}");
    assert!(at("member remove 91bc3c398fb3c146") < at("delete node n2"));
}

/// A master of three leaves; what a worker is told, and its journal.
fn master_leaves(world: &World) -> (Vec<kiln_host::recording::Ran>, kiln_launch::journal::Journal) {
    let members = "8e9e05c52164694d, started, n1, https://10.0.0.1:2380, x, false\n\
        91bc3c398fb3c146, started, n2, https://10.0.0.2:2380, x, false\n";
    world.host(1).answer("member list", Answer::output(members));
    let masters = ["10.0.0.1:6443", "10.0.0.2:6443", "10.0.0.3:6443"].map(str::to_owned);
    let unit = kiln_launch::units::balancer(6443, &masters);
    let mirrors = ["10.0.0.1", "10.0.0.2"].map(|address| Mirror {
        login: Some("Basic b3BzOnNlY3JldA==".to_owned()),
        address: address.parse().unwrap(),
        port: 5000,
        authority: None,
    });
    let hosts = hosts_toml("k8s.gcr.io", &mirrors);
    let answer = format!(
        "@@/etc/systemd/system/kiln-balancer.service\n{unit}\n@@/etc/containerd/certs.d/k8s.gcr.io/hosts.toml\n{hosts}\n"
    );
    world.host(4).answer("hosts.toml; do", Answer::output(answer));
    let _ = leave(world, 2, true, true);
    let ran = world.host(4).ran().into_iter().skip(1).collect();
    (ran, world.state().journal("10.0.0.4").unwrap())
}

#[test]
fn workers_do_not_ask_a_master_any_more_that_has_left() {
    let world = World::new(3, 1);
    let (ran, journal) = master_leaves(&world);
    let order = ran.iter().find(|ran| ran.line.contains("agent install")).unwrap();
    let text = String::from_utf8_lossy(&order.stdin);
    assert!(text.contains("--to 10.0.0.1:6443 --to 10.0.0.3:6443") && !text.contains("10.0.0.2"), "{text}");
    assert!(text.contains("certs.d/k8s.gcr.io/hosts.toml") && text.contains("http://10.0.0.1:5000"), "{text}");
    assert!(ran.last().unwrap().line.ends_with("restart kiln-balancer"), "{ran:#?}");
    let entry = &journal.entries[0];
    assert_eq!((entry.phase.as_str(), entry.state.as_str()), ("runtime", "done"));
    // Masters ask themselves: they have no such unit.
    assert!(!world.host(3).lines().iter().any(|line| line.contains("agent install")));
    // Not for a worker.
    let before = world.host(4).lines().len();
    let _ = leave(&world, 3, false, true);
    assert_eq!(world.host(4).lines().len(), before + 1, "it is asked what it is, and nothing else");
}

#[test]
fn a_worker_that_cannot_forget_a_master_is_noted() {
    let world = World::new(3, 1);
    world.host(4).answer("restart kiln-balancer", Answer::failure(1, "no"));
    let (_, journal) = master_leaves(&world);
    let entry = &journal.entries[0];
    assert_eq!((entry.phase.as_str(), entry.state.as_str()), ("runtime", "failed"));
    assert!(entry.why.contains("10.0.0.2, too, which has left"), "{entry:?}");
}
