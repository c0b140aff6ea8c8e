//! Clusters with addresses of IPv6: beside those of IPv4, and alone.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use kiln_testkit::Fleet;
use kiln_testkit::fleet::{Host, kubernetes};

use crate::by_hand::{ADMIN, WEB, answer, kubectl, wait};
use crate::launcher::{Launcher, assert_as_found, footprint};
use crate::launching::{both_answer, deploy, ready};

/// An address with a port.
fn at(address: &str, port: u16) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

/// What a port of an address answers to a host, which has no client of HTTP.
fn asked_by(host: &Host, to: &str) -> Option<String> {
    let (address, port) = to.rsplit_once(':').unwrap();
    let place = format!("/dev/tcp/{}/{port}", address.trim_matches(['[', ']']));
    let script = format!("exec 3<>{place} && printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3 && tail -n 1 <&3");
    answer(&mut host.command(&["timeout", "3", "bash", "-c", &script]))
}

fn words(first: &Host, arguments: &str) -> Vec<String> {
    kubectl(first, arguments).split_whitespace().map(str::to_owned).collect()
}

/// Two pods on two hosts: hosts and pods reach each by all of its addresses, and both answer behind a port of each host at
/// these addresses, and by the service's name.
fn serve(fleet: &Fleet, hosts: &[&Host], families: usize, nodes: &[&str]) {
    let first = hosts[0];
    deploy(first, &WEB.replace("type: NodePort\n", "type: NodePort\n  ipFamilyPolicy: PreferDualStack\n"));
    let pods = words(first, "get pods -l app=web -o 'jsonpath={.items[*].status.podIPs[*].ip}'");
    assert_eq!(pods.len(), 2 * families, "{pods:?}");
    let names = words(first, "get pods -l app=web -o 'jsonpath={.items[*].metadata.name}'");
    for host in hosts {
        for pod in &pods {
            let to = at(pod, 8080);
            wait(&format!("{to} from {}", host.name()), Duration::from_secs(60), || asked_by(host, &to));
        }
    }
    let services = words(first, "get service web -o 'jsonpath={.spec.clusterIPs[*]}'");
    assert_eq!(services.len(), families, "{services:?}");
    for name in &names {
        let inside = |command: &str| {
            let said = first.run(&format!("{ADMIN} kubectl exec {name} -- /bin/sh -c \"{command}\""));
            (said.code == 0).then(|| said.text().to_owned())
        };
        for (address, port) in pods.iter().map(|pod| (pod, 8080)).chain(services.iter().map(|own| (own, 80))) {
            let get = format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | /bin/busybox nc -w 2 {address} {port}");
            let what = format!("{} from {name}", at(address, port));
            wait(&what, Duration::from_secs(60), || inside(&get).filter(|said| said.contains("\nweb-")));
        }
        wait("the service's name", Duration::from_secs(60), || {
            let said = inside("/bin/busybox nslookup web.default.svc.cluster.local")?;
            services.iter().all(|address| said.contains(address.as_str())).then_some(())
        });
    }
    for node in nodes {
        both_answer(fleet, &at(node, 30080));
    }
}

/// Addresses that nodes say they have.
fn addresses(first: &Host) -> Vec<String> {
    let what = "{.items[*].status.addresses[?(@.type==\"InternalIP\")].address}";
    words(first, &format!("get nodes -o 'jsonpath={what}'"))
}

#[test]
#[ignore = "real Kubernetes, minutes: make test-cluster"]
fn clusters_have_both_families_or_ipv6_alone() {
    let fleet = Fleet::start(2);
    let launcher = Launcher::new(&fleet);
    let (one, two) = (fleet.host(1), fleet.host(2));
    let both = [one.address(), one.address6(), two.address(), two.address6()];
    let before: Vec<String> = fleet.hosts().iter().map(footprint).collect();
    let file = launcher.clusterfile(1, 1);
    let v4 = fs::read_to_string(&file).unwrap();
    let own = format!("podSubnet: {}", kubernetes::PODS);
    let networks = "podSubnet: '10.244.0.0/16,fd64:64::/48', serviceSubnet: '10.96.0.0/16,fd64:96::/112'";
    fs::write(&file, v4.replace(&own, networks)).unwrap();

    let run = launcher.run(&file, &[]);
    assert!(run.stderr.contains("IPv6DualStack"), "what is switched on is told: {run}");
    assert!(!run.stderr.contains("of its pod network"), "{run}");
    let told: BTreeSet<String> = addresses(one).into_iter().collect();
    assert_eq!(told, both.iter().map(|address| (*address).to_owned()).collect());
    serve(&fleet, &[one, two], 2, &both);
    let again = launcher.run(&file, &[]);
    assert_eq!(again.stderr.matches("nothing to do").count(), kiln_launch::phase::PHASES, "{again}");
    // What is lost of one family only is seen, too.
    let _ = two.run("ip6tables -I INPUT -p udp --dport 8472 -j DROP").ok();
    let lost =
        launcher.said(&Launcher::words("run", &["-f", &file, &Launcher::ignore(), "--from", "verify", "--wait", "5"]));
    assert!(lost.code == 3 && lost.stderr.contains("pods of different hosts do not reach each other"), "{lost}");
    assert!(lost.stderr.contains("probe: TCP from this host to [fd64:64:0:1::]:10250: no answer"), "{lost}");
    let _ = two.run("ip6tables -D INPUT -p udp --dport 8472 -j DROP").ok();
    launcher.run(&file, &["--from", "verify"]);
    launcher.cluster("reset", &[]);
    for (host, before) in fleet.hosts().iter().zip(&before) {
        assert_as_found(host, before);
    }

    // By IPv6 alone, where nobody names a network.
    let mut text = v4.replace(&format!("networking: {{{own}}}"), "networking: {}");
    for host in fleet.hosts() {
        text = text.replace(host.address(), &format!("'{}'", host.address6()));
    }
    fs::write(&file, text).unwrap();
    let run = launcher.run(&file, &[]);
    assert!(run.stderr.contains("fd64:64::/48") && run.stderr.contains("kubectl works as root on fd77::11"), "{run}");
    assert!(!run.stderr.contains("of its pod network"), "{run}");
    assert_eq!(addresses(one), [one.address6(), two.address6()]);
    serve(&fleet, &[one, two], 1, &[one.address6(), two.address6()]);
    assert_eq!(ready(one), 2);
    launcher.cluster("reset", &[]);
    for (host, before) in fleet.hosts().iter().zip(&before) {
        assert_as_found(host, before);
    }
}
