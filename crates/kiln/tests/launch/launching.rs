//! A cluster as a user launches it: `kiln cluster run` on hosts of a fleet, with a real Kubernetes.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use kiln_testkit::Fleet;
use kiln_testkit::fleet::Host;

use crate::by_hand::{ADMIN, WEB, asked, asked_at, kubectl, wait};
use crate::launcher::{Launcher, assert_as_found, footprint};

/// A template that a Config brings, and plugins of most types.
const MORE: &str = "\
---
apiVersion: sealer.io/v1
kind: Config
metadata: {name: note}
spec:
  path: etc/note.txt.tmpl
  strategy: overwrite
  data: 'host {{ .HostIP }}, pods {{ .PodCIDR }}'
---
apiVersion: sealer.io/v1
kind: Plugin
metadata: {name: note}
spec: {type: SHELL, action: PreGuest, data: 'cat etc/note.txt >> /tmp/note'}
---
apiVersion: sealer.io/v1
kind: Plugin
metadata: {name: nodes}
spec: {type: SHELL, action: PostInstall, on: master, data: 'kubectl get nodes -o name > /tmp/nodes'}
---
apiVersion: sealer.io/v1
kind: Plugin
metadata: {name: disks}
spec: {type: LABEL, data: '10.77.0.12 disk=ssd'}
---
apiVersion: sealer.io/v1
kind: Plugin
metadata: {name: owner}
spec: {type: TAINT, data: '10.77.0.12 owner=me:PreferNoSchedule'}
---
apiVersion: sealer.io/v1
kind: Plugin
metadata: {name: save}
spec: {type: ETCD, data: /tmp/etcd}
---
apiVersion: sealer.io/v1
kind: Plugin
metadata: {name: well}
spec: {type: CLUSTERCHECK}
";

/// What of a Clusterfile is beside kubeadm: its Config, its template, and its plugins.
fn assert_wishes(one: &Host, two: &Host) {
    for host in [one, two] {
        let note = host.run("cat /tmp/note").ok();
        assert_eq!(note.text(), format!("host {}, pods 10.244.0.0/16", host.address()), "once on each host");
    }
    assert_eq!(one.run("cat /tmp/nodes").ok().text(), "node/node1\nnode/node2");
    assert!(two.run("cat /tmp/nodes").code != 0, "that is for masters");
    assert!(kubectl(one, "get nodes -l disk=ssd -o name").contains("node2"));
    assert!(kubectl(one, "get node node2 -o 'jsonpath={.spec.taints}'").contains("PreferNoSchedule"));
    assert_eq!(one.run("ls /tmp/etcd/*.db | wc -l").ok().text(), "1");
}

/// Two pods on two hosts, which answer through a port of each of these hosts.
pub fn serve(fleet: &Fleet, first: &Host, hosts: &[&Host]) {
    deploy(first, WEB);
    hosts.iter().for_each(|host| both_answer(fleet, &format!("{}:30080", host.address())));
}

/// Has the pods of a manifest run, on masters, too.
pub fn deploy(first: &Host, manifest: &str) {
    // One at a time: a taint that a version does not know keeps the other.
    for taint in ["master", "control-plane"] {
        let _ = first.run(&format!("{ADMIN} kubectl taint nodes --all node-role.kubernetes.io/{taint}-"));
    }
    first.write("/tmp/web.yaml", 0o644, manifest);
    let _ = kubectl(first, "apply -f /tmp/web.yaml");
    let _ = kubectl(first, "rollout status deployment/web --timeout=180s");
}

/// Waits until both pods were met behind a port.
pub fn both_answer(fleet: &Fleet, to: &str) {
    wait(&format!("both pods at {to}"), Duration::from_secs(90), || {
        let said: BTreeSet<String> = (0..10).filter_map(|_| asked_at(fleet, to)).collect();
        (said.len() == 2).then_some(())
    });
}

/// An application that is laid over the cluster's image is launched with the value of its argument, and once.
fn with_an_application(launcher: &Launcher<'_>, file: &str, first: &Host) {
    let directory = launcher.fleet.directory().join("greeting");
    fs::create_dir_all(&directory).unwrap();
    let kubefile = "FROM scratch\nARG Greeting=hello\nCOPY who opt\n\
        CMD kubectl create configmap greeting --from-literal=said=$Greeting --from-file=opt/who\n";
    fs::write(directory.join("Kubefile"), kubefile).unwrap();
    fs::write(directory.join("who"), "everybody").unwrap();
    launcher.kiln(&["cluster", "build", "-q", "-t", "greeting:1", directory.to_str().unwrap()]);
    let kubernetes = format!("kubernetes:{}", launcher.version);
    let images = [kubernetes.as_str(), "greeting:1", "--cmd-args", "Greeting=moin"];
    let run = launcher.run(file, &images);
    assert!(run.stderr.contains(&format!("launching {kubernetes} with greeting:1")), "{run}");
    let said = "get configmap greeting -o 'jsonpath={.data.said} {.data.who}'";
    assert_eq!(kubectl(first, said), "moin everybody");
    // A second time kubectl would say that it is there.
    let again = launcher.run(file, &images);
    assert_eq!(again.stderr.matches("nothing to do").count(), kiln_launch::phase::PHASES, "{again}");
    let status = launcher.cluster("status", &[]);
    assert!(status.stdout.contains(&format!("of {kubernetes} with greeting:1")), "{status}");
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
    let (file, ignore) = (launcher.clusterfile_with(1, 1, MORE), Launcher::ignore());

    let plan = launcher.run(&file, &["--plan"]);
    assert!(plan.stdout.contains("kubeadm init: Kubernetes"), "{plan}");
    assert_as_found(one, &before[0]);
    let run = launcher.run(&file, &[]);
    assert!(run.stderr.contains("shop runs Kubernetes") && run.stderr.contains("kubelet and pods, "), "{run}");
    assert_wishes(one, two);
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

    // Further names for the API server, which is asked by one of them.
    launcher.cluster("cert", &["--alt-names", "api.example.com,10.77.0.99"]);
    let asked =
        "openssl s_client -connect 10.77.0.11:6443 </dev/null 2>/dev/null | openssl x509 -noout -ext subjectAltName";
    let mut openssl = fleet.command("sh");
    let names = String::from_utf8(openssl.args(["-c", asked]).output().unwrap().stdout).unwrap();
    for name in ["DNS:api.example.com", "IP Address:10.77.0.99", "DNS:apiserver.cluster.local"] {
        assert!(names.contains(name), "{name} is not among {names}");
    }
    assert!(kubectl(one, "-n kube-system get configmap kubeadm-config -o yaml").contains("api.example.com"));
    wait("all nodes with that certificate", Duration::from_secs(90), || (ready(one) == 3).then_some(()));

    with_an_application(&launcher, &file, one);

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
