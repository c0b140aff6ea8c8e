//! Several masters: they join one after the other, and a worker reaches those that are up.

use std::time::Duration;

use kiln_testkit::Fleet;

use crate::by_hand::{ADMIN, kubectl, wait};
use crate::launcher::{Launcher, assert_as_found, footprint};
use crate::launching::ready;

#[test]
#[ignore = "real Kubernetes, minutes: make test-cluster"]
fn three_masters_and_a_worker_outlive_the_first() {
    let fleet = Fleet::start(4);
    let launcher = Launcher::new(&fleet);
    let (one, two, worker) = (fleet.host(1), fleet.host(2), fleet.host(4));
    let before: Vec<String> = fleet.hosts().iter().map(footprint).collect();
    let file = launcher.clusterfile(3, 1);
    launcher.run(&file, &[]);
    assert_eq!(ready(one), 4);
    let members = kubectl(one, "-n kube-system get pods -l component=etcd --no-headers");
    assert_eq!(
        members.lines().filter(|line| line.contains(" 1/1 ") || line.contains("Running")).count(),
        3,
        "{members}"
    );
    // Each master asks its own API server, the worker any of them.
    let endpoint =
        |host: &kiln_testkit::fleet::Host| host.run("getent hosts apiserver.cluster.local").ok().text().to_owned();
    assert!(endpoint(two).starts_with("10.77.0.12 ") && endpoint(worker).starts_with("127.0.0.1 "));

    // The power of the first master goes. The others go on, also for the worker's kubelet.
    one.power_off();
    let told = |host: &kiln_testkit::fleet::Host, arguments: &str| {
        let said = host.run(&format!("{ADMIN} kubectl --request-timeout 5s {arguments}"));
        (said.code == 0).then(|| said.text().to_owned())
    };
    wait("an API server that answers", Duration::from_secs(120), || told(two, "get nodes"));
    let beat = "get lease -n kube-node-lease node4 -o jsonpath={.spec.renewTime}";
    let last = wait("the worker's lease", Duration::from_secs(60), || told(two, beat));
    wait("another beat of the worker", Duration::from_secs(120), || told(two, beat).filter(|now| *now != last));
    wait("the first to be missed", Duration::from_secs(120), || {
        told(two, "get nodes --no-headers")
            .filter(|text| text.lines().filter(|l| l.contains(" NotReady ")).count() == 1)
    });

    // A master that is down leaves; a reset of all that are up, then the one that comes back.
    launcher.cluster("scale", &["--remove", one.address()]);
    assert!(!told(two, "get nodes").unwrap().contains("node1"));
    // The worker does not ask it any more, and lives on.
    let ways = worker.run("cat /etc/systemd/system/kiln-balancer.service").ok().text().to_owned();
    assert!(ways.contains("--to 10.77.0.12:6443 --to 10.77.0.13:6443") && !ways.contains("10.77.0.11"), "{ways}");
    assert_eq!(worker.run("systemctl is-active kiln-balancer").text(), "active");
    assert!(worker.run("getent hosts sea.hub").ok().text().starts_with("10.77.0.12 "), "a registry that is there");
    let last = told(two, beat).unwrap();
    wait("a beat of the worker by another way", Duration::from_secs(120), || {
        told(two, beat).filter(|now| *now != last)
    });
    let status = launcher.cluster("status", &[]);
    assert_eq!(status.stdout.matches("ready, v1.").count(), 3, "{status}");
    assert!(!status.stdout.contains("phase"), "{status}");
    // One that is given back without leaving first is not asked any more either.
    let three = fleet.host(3);
    launcher.cluster("reset", &["--hosts", three.address()]);
    assert_as_found(three, &before[2]);
    let ways = worker.run("cat /etc/systemd/system/kiln-balancer.service").ok().text().to_owned();
    assert!(ways.contains("--to 10.77.0.12:6443\n") && !ways.contains("10.77.0.13"), "{ways}");
    launcher.cluster("reset", &[]);
    for (host, number) in [(two, 1), (worker, 3)] {
        assert_as_found(host, &before[number]);
    }
    one.boot();
    // What is started at boot: it did not hear that it has left.
    assert_eq!(one.run("systemctl is-active kiln-registry").text(), "active");
    launcher.cluster("reset", &["--hosts", one.address()]);
    assert_as_found(one, &before[0]);
}
