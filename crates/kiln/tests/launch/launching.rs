//! A cluster as a user launches it: `kiln cluster run` on hosts of a fleet, with a real Kubernetes.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use kiln_testkit::Fleet;
use kiln_testkit::fleet::Host;

use crate::by_hand::{ADMIN, WEB, asked, kubectl, wait};
use crate::launcher::{Launcher, assert_as_found, footprint};

/// Two pods on two hosts, which answer through a port of each of these hosts.
pub fn serve(fleet: &Fleet, first: &Host, hosts: &[&Host]) {
    // One at a time: a taint that a version does not know keeps the other.
    for taint in ["master", "control-plane"] {
        let _ = first.run(&format!("{ADMIN} kubectl taint nodes --all node-role.kubernetes.io/{taint}-"));
    }
    first.write("/tmp/web.yaml", 0o644, WEB);
    let _ = kubectl(first, "apply -f /tmp/web.yaml");
    let _ = kubectl(first, "rollout status deployment/web --timeout=180s");
    for host in hosts {
        wait("both pods behind a port", Duration::from_secs(90), || {
            let said: BTreeSet<String> = (0..10).filter_map(|_| asked(fleet, host)).collect();
            (said.len() == 2).then_some(())
        });
    }
}

/// Nodes that say they are ready.
pub fn ready(first: &Host) -> usize {
    kubectl(first, "get nodes --no-headers").lines().filter(|line| line.contains(" Ready ")).count()
}

#[test]
#[ignore = "real Kubernetes, minutes: make test-cluster"]
fn a_cluster_is_launched_grows_shrinks_and_is_given_back() {
    let fleet = Fleet::start(3);
    let launcher = Launcher::new(&fleet);
    let (one, two, three) = (fleet.host(1), fleet.host(2), fleet.host(3));
    let before: Vec<String> = fleet.hosts().iter().map(footprint).collect();
    let (file, ignore) = (launcher.clusterfile(1, 1), Launcher::ignore());

    let plan = launcher.run(&file, &["--plan"]);
    assert!(plan.stdout.contains("kubeadm init: Kubernetes"), "{plan}");
    assert_as_found(one, &before[0]);
    let run = launcher.run(&file, &[]);
    assert!(run.stderr.contains("shop runs Kubernetes") && run.stderr.contains("kubelet and pods, "), "{run}");
    serve(&fleet, one, &[one, two]);

    // What is done is not done again, and no byte of the image moves.
    let began = Instant::now();
    let again = launcher.run(&file, &[]);
    println!("a second run took {:.2} s", began.elapsed().as_secs_f64());
    assert_eq!(again.stderr.matches("nothing to do").count(), kiln_launch::phase::PHASES, "{again}");
    assert!(!again.stderr.contains("distribute: 10."), "{again}");

    launcher.cluster("join", &["--nodes", three.address(), "-f", &file, &ignore]);
    let status = launcher.cluster("status", &[]);
    assert_eq!(status.stdout.matches("ready, v1.").count(), 3, "{status}");
    wait("a port of the new node", Duration::from_secs(90), || asked(&fleet, three));
    let names = launcher.cluster("exec", &["--", "uname", "-n"]);
    assert_eq!(names.stdout, "10.77.0.11: node1\n10.77.0.12: node2\n10.77.0.13: node3\n");
    let failed = launcher.said(&Launcher::words("exec", &["--role", "master", "--", "false"])).exits(3);
    assert_eq!(failed.stderr, "10.77.0.11: exit status 1\n");

    // New certificates, and control planes that use them.
    let serial = "openssl x509 -noout -serial -in /etc/kubernetes/pki/apiserver.crt 2>/dev/null || sha256sum /etc/kubernetes/pki/apiserver.crt";
    let old = one.run(serial).ok();
    let shown = launcher.cluster("cert", &[]);
    assert!(shown.stdout.contains("apiserver") && shown.stdout.contains("EXPIRES"), "{shown}");
    launcher.cluster("cert", &["--renew"]);
    assert_ne!(one.run(serial).ok().text(), old.text());
    wait("all nodes with the new certificates", Duration::from_secs(90), || (ready(one) == 3).then_some(()));

    launcher.cluster("scale", &["--remove", two.address()]);
    assert!(!kubectl(one, "get nodes").contains("node2"));
    assert_as_found(two, &before[1]);
    let left = launcher.cluster("status", &[]);
    assert_eq!(left.stdout.matches("ready, v1.").count(), 2, "{left}");
    launcher.cluster("reset", &[]);
    assert_as_found(one, &before[0]);
    assert_as_found(three, &before[2]);
    let nothing = launcher.said(&Launcher::words("status", &["--list"]));
    assert_eq!(nothing.stdout, "", "nothing is remembered");
}
