//! The bed itself: that kubeadm, without Kiln, makes clusters of its hosts with the images that Kiln built, and that they
//! are gone after a reset. What fails here is no fault of launching.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use kiln_testkit::Fleet;
use kiln_testkit::fleet::{Host, kubernetes};

use crate::by_hand::{self, ADMIN, asked, kubectl, wait};

const KILN: &str = env!("CARGO_BIN_EXE_kiln");
const WORKER: [&str; 5] = ["kube-proxy", "pause", "flannel", "coredns", "web"];
const CONTROL: [&str; 4] = ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd"];

/// The names that the ports of a host answer with, asked often enough that two pods are both met.
fn answers(fleet: &Fleet, host: &Host) -> BTreeSet<String> {
    // At once, for the answers that never come take their time.
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..20).map(|_| scope.spawn(|| asked(fleet, host))).collect();
        asking.into_iter().filter_map(|one| one.join().unwrap()).collect()
    })
}

#[test]
#[ignore = "real Kubernetes, minutes: make test-cluster"]
fn kubeadm_makes_a_cluster_of_two_hosts_and_undoes_it() {
    let images = kubernetes::images(Path::new(KILN));
    let fleet = Fleet::with_kubernetes(2);
    let (one, two) = (fleet.host(1), fleet.host(2));
    std::thread::scope(|scope| {
        scope.spawn(|| by_hand::prepare(one, &images, &[&CONTROL[..], &WORKER[..]].concat()));
        scope.spawn(|| by_hand::prepare(two, &images, &WORKER));
    });
    by_hand::init(one, &kubernetes::version(&kubernetes::programs()));
    by_hand::join(one, two);
    by_hand::connect(one);

    // Two pods, one on each host, answer on both hosts.
    let _ = one.run(&format!(
        "{ADMIN} kubectl taint nodes --all node-role.kubernetes.io/master-; \
        {ADMIN} kubectl taint nodes --all node-role.kubernetes.io/control-plane-"
    ));
    one.write("/root/web.yaml", 0o644, by_hand::WEB);
    let _ = kubectl(one, "apply -f /root/web.yaml");
    let _ = kubectl(one, "rollout status deployment/web --timeout=120s");
    let placed = kubectl(one, "get pods -l app=web -o 'jsonpath={.items[*].spec.nodeName}'");
    assert_eq!(placed.split(' ').collect::<BTreeSet<_>>(), BTreeSet::from(["node1", "node2"]));
    for host in fleet.hosts() {
        wait("two pods behind a port", Duration::from_secs(60), || (answers(&fleet, host).len() == 2).then_some(()));
    }
    // Names of services are known in pods.
    let _ = kubectl(one, "-n kube-system rollout status deployment/coredns --timeout=120s");
    let named = kubectl(one, "exec deployment/web -- /bin/busybox nslookup web.default.svc.cluster.local");
    assert!(named.contains(&kubectl(one, "get service web -o 'jsonpath={.spec.clusterIP}'")), "{named}");

    // One rule on one host, and pods of different hosts do not meet, of which Kubernetes knows nothing.
    let _ = two.run("iptables -I INPUT -p udp --dport 8472 -j DROP").ok();
    assert_eq!(answers(&fleet, one).len(), 1);
    let ready = kubectl(one, "get nodes --no-headers");
    assert_eq!(ready.lines().filter(|line| line.contains(" Ready ")).count(), 2, "{ready}");
    let _ = two.run("iptables -D INPUT -p udp --dport 8472 -j DROP").ok();
    wait("both pods again", Duration::from_secs(60), || (answers(&fleet, one).len() == 2).then_some(()));

    // The worker first: the API must be there to forget it.
    for host in [two, one] {
        let said = host.ssh("kubeadm reset --force");
        assert_eq!(said.code, 0, "{said}\n{}", by_hand::state(host));
        assert_eq!(
            host.run("ls /etc/kubernetes/manifests /var/lib/kubelet /var/lib/etcd 2>/dev/null | grep -v :").text(),
            ""
        );
        assert_eq!(host.run("crictl pods -q").ok().text(), "");
    }
}
