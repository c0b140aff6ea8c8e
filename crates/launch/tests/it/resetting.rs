//! Hosts are given back, whatever state they are in.

use kiln_host::recording::Answer;
use kiln_launch::reset::{self, Extent};
use kiln_launch::{Member, facts};

use crate::world::World;

fn reset(world: &World) -> Vec<reset::Given> {
    let launch = world.launch().unwrap();
    let members: Vec<&Member> = launch.members.iter().collect();
    reset::run(&launch, &members, Extent::Cluster).unwrap()
}

#[test]
fn phases_are_undone_in_reverse() {
    let world = World::new(1, 1);
    world.run().unwrap();
    let before = world.host(1).lines().len();
    let all = reset(&world);
    assert!(all.iter().all(|given| given.errors.is_empty() && given.remains.is_empty()), "{all:?}");
    assert_eq!(all.last().unwrap().host, "10.0.0.1", "the first master is last");
    let lines = world.host(1).lines().split_off(before);
    let at = |text: &str| {
        lines.iter().position(|line| line.contains(text)).unwrap_or_else(|| panic!("no {text} in {lines:#?}"))
    };
    let order = [
        at("kubeadm reset"),
        at("disable --now kiln-registry"),
        at("agent restore"),
        at("agent sweep"),
        at("rm -rf --one-file-system /var/lib/kiln"),
    ];
    assert!(order.is_sorted(), "{lines:#?}");
}

#[test]
fn a_host_that_nothing_was_done_on_is_left_alone() {
    let world = World::new(1, 0);
    let all = reset(&world);
    assert_eq!(all[0].remains, ["it has nothing of this cluster: nothing was done"]);
    assert_eq!(world.host(1).lines().len(), 1);
}

#[test]
fn half_a_host_is_given_back_and_failures_keep_what_is_needed_to_try_again() {
    let world = World::new(1, 1);
    world.host(2).answer("restart containerd", Answer::failure(1, "no"));
    world.run().unwrap_err();
    world.host(2).answer("kubeadm reset", Answer::failure(1, "the API does not answer"));
    let all = reset(&world);
    let failed = all.iter().find(|given| given.host == "10.0.0.2").unwrap();
    assert_eq!(failed.errors.len(), 1, "{failed:?}");
    world.place(2, "agent restore");
    assert!(
        !world.host(2).lines().iter().any(|line| line.contains("rm -rf --one-file-system /var/lib/kiln")),
        "what is known of it is needed again"
    );
    world.place(1, "rm -rf --one-file-system /var/lib/kiln");
    // And again, when it works.
    world.host(2).answer("kubeadm reset", Answer::output(""));
    let launch = world.launch().unwrap();
    let member = launch.members.iter().find(|member| member.name() == "10.0.0.2").unwrap();
    assert!(reset::run(&launch, &[member], Extent::Hosts).unwrap()[0].errors.is_empty());
    world.place(2, "rm -rf --one-file-system /var/lib/kiln");
}

#[test]
fn what_remains_is_told() {
    let world = World::new(1, 0);
    world.run().unwrap();
    world.host(1).answer(
        "agent restore",
        Answer::output(r#"{"changed":[],"left":["/etc/x: it was changed after Kiln wrote it"]}"#),
    );
    world.host(1).answer("agent sweep", Answer::output(r#"{"removed":["a"],"remains":["device cni0: busy"]}"#));
    assert_eq!(reset(&world)[0].remains, ["/etc/x: it was changed after Kiln wrote it", "device cni0: busy"]);
}

/// Lines of a host behind some number of them.
fn behind(world: &World, n: usize, before: usize) -> Vec<String> {
    world.host(n).lines().split_off(before)
}

#[test]
fn services_are_as_they_were() {
    let how = [("active enabled", "restart"), ("inactive disabled", "stop"), ("active disabled", "restart")];
    for (was, verb) in how {
        let world = World::new(1, 0);
        world.odd(1, "|containerd active enabled", &format!("|containerd {was}"));
        world.run().unwrap();
        world.odd.lock().unwrap().clear();
        let before = world.host(1).lines().len();
        reset(&world);
        let lines = behind(&world, 1, before);
        let at = |text: &str| lines.iter().position(|line| line == text);
        let restored = lines.iter().position(|line| line.ends_with("agent restore")).unwrap();
        assert!(at(&format!("systemctl {verb} containerd")).unwrap() > restored, "{was}: {lines:#?}");
        assert_eq!(at("systemctl disable containerd").is_some(), was.ends_with("disabled"), "{was}: {lines:#?}");
        let other = if verb == "stop" { "restart" } else { "stop" };
        assert_eq!(at(&format!("systemctl {other} containerd")), None, "{was}");
    }
}

#[test]
fn what_was_there_of_kubernetes_before_is_not_reset() {
    let mut world = World::new(1, 0);
    world.odd(1, "@@paths\n", "@@paths\n|/etc/kubernetes/pki/ca.crt\n");
    world.options.ignore = vec!["all".into()];
    world.run().unwrap();
    let before = world.host(1).lines().len();
    let given = reset(&world);
    assert!(given[0].remains[0].contains("before Kiln came"), "{given:?}");
    let lines = behind(&world, 1, before);
    assert!(!lines.iter().any(|line| line.contains("kubeadm reset")), "{lines:#?}");
    assert!(lines.iter().any(|line| line.ends_with("agent sweep --only-files")), "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains("rm -rf --one-file-system /var/lib/kiln")), "{lines:#?}");
}

#[test]
fn kubeadm_is_told_the_socket_as_its_release_wants_it() {
    for (version, socket) in [("v1.20.2", "--cri-socket /run/"), ("v1.30.2", "--cri-socket unix:///run/")] {
        let world = World::new(1, 0);
        world.run().unwrap();
        world.odd(1, "@@containerd\n", &format!("@@kubelet\n|Kubernetes {version}\n@@containerd\n"));
        assert_eq!(facts::parse(&world.facts("10.0.0.1", world.host(1)), (0, 0)).unwrap().kubelet, version);
        reset(&world);
        let line = world.place(1, "kubeadm reset --force");
        assert!(world.host(1).lines()[line].contains(socket), "{version}");
    }
}
