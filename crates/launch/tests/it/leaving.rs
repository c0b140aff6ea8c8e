//! Hosts leave a cluster that runs: drained if they can be, out of etcd, deleted.

use kiln_host::recording::Answer;
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
