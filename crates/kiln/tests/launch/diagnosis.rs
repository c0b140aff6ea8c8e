//! `kiln doctor` on a cluster that runs: nothing to say while all is well; the host and the hop that drop the tunnel, while
//! Kubernetes calls all nodes ready.

use std::time::Duration;

use kiln_testkit::{Fleet, Output};

use crate::by_hand::{kubectl, wait};
use crate::launcher::Launcher;
use crate::launching::{ready, serve};

/// A rule that drops the tunnel on a host.
const RULE: &str = "INPUT -p udp --dport 8472 -j DROP";

fn doctor(launcher: &Launcher<'_>, words: &[&str]) -> Output {
    launcher.said(&[&["doctor"], words].concat())
}

#[test]
#[ignore = "real Kubernetes, minutes: make test-cluster"]
fn a_tunnel_that_is_dropped_is_found_while_all_nodes_are_ready() {
    let fleet = Fleet::start(2);
    let launcher = Launcher::new(&fleet);
    let (one, two) = (fleet.host(1), fleet.host(2));
    let file = launcher.clusterfile(1, 1);
    launcher.run(&file, &[]);
    serve(&fleet, one, &[one, two]);
    let kubeconfig = fleet.directory().join("admin.conf");
    std::fs::write(&kubeconfig, one.read("/etc/kubernetes/admin.conf")).unwrap();
    let kubeconfig = kubeconfig.display().to_string();

    let hosts = format!("root@{},root@{}", one.address(), two.address());
    let healthy = doctor(&launcher, &["--hosts", &hosts]).ok();
    assert!(healthy.stdout.starts_with("2 hosts, nothing found."), "{healthy}");
    let _ = doctor(&launcher, &["-f", &file, "--probe"]).ok();

    // Who asks the API has to know the name in admin.conf; the launcher knows the address.
    let server = format!("https://{}:6443", one.address());
    let text = std::fs::read_to_string(&kubeconfig).unwrap().replace("https://apiserver.cluster.local:6443", &server);
    std::fs::write(&kubeconfig, text).unwrap();
    let _ = doctor(&launcher, &["--hosts", &hosts, "--kubeconfig", &kubeconfig]).ok();
    let pods = kubectl(
        one,
        "get pods -l app=web -o 'jsonpath={range .items[*]}{.spec.nodeName} {.metadata.name}{\"\\n\"}{end}'",
    );
    let pod = |node: &str| pods.lines().find_map(|line| line.strip_prefix(&format!("{node} "))).unwrap().to_owned();
    let (from, to) = (pod("node1"), pod("node2"));
    let path = ["path", &from, &format!("{to}:8080"), "--hosts", &hosts];
    let arrives = doctor(&launcher, &path).ok();
    assert!(!arrives.stdout.contains("LOST") && arrives.stdout.contains("is answered"), "{arrives}");
    let service = doctor(&launcher, &["path", &from, "svc/default/web", "--hosts", &hosts]).ok();
    assert!(service.stdout.contains("leads to 2 endpoints"), "{service}");

    let _ = two.run(&format!("iptables -I {RULE}")).ok();
    assert_eq!(ready(one), 2, "Kubernetes knows nothing of it");
    let found = doctor(&launcher, &["--hosts", &hosts]).exits(1);
    assert!(found.stdout.contains("firewall.vxlan-blocked") && found.stdout.contains(two.address()), "{found}");
    let proved = doctor(&launcher, &["--hosts", &hosts, "--probe", "--json"]).exits(1);
    let ids: Vec<String> = proved.json()["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| format!("{} {}", finding["id"].as_str().unwrap(), finding["hosts"]))
        .collect();
    assert_eq!(ids, [format!("firewall.vxlan-blocked [\"{}\"]", two.address())], "{proved}");
    let lost = doctor(&launcher, &path).exits(1);
    let named =
        format!("LOST  {}: rules of INPUT: table filter, chain INPUT: protocol 17 port 8472 drop", two.address());
    assert!(lost.stdout.contains(&named), "{lost}");
    assert!(lost.stdout.contains(&format!("the rules or the device of {} drop it", two.address())), "{lost}");
    // Neither is a launch content with nodes that call themselves ready.
    let ignore = Launcher::ignore();
    let again = ["-f", &file, &ignore, "--from", "verify", "--wait", "1"];
    let failed = launcher.said(&Launcher::words("run", &again)).exits(3);
    assert!(failed.stderr.contains("do not reach each other") && failed.stderr.contains("vxlan-blocked"), "{failed}");
    let _ = two.run(&format!("iptables -D {RULE}")).ok();
    launcher.cluster("run", &again);
    let status = launcher.cluster("status", &["--network"]);
    assert!(status.stdout.ends_with("pods of its hosts reach each other\n"), "{status}");

    // In between, where no table has it: only packets show it.
    let rules = "table bridge x { chain f { type filter hook forward priority 0; udp dport 8472 drop; }; }";
    assert!(fleet.command("nft").arg(rules).status().unwrap().success());
    let between = doctor(&launcher, &["--hosts", &hosts, "--probe"]).exits(1);
    assert!(between.stdout.contains("probe.lost") && between.stdout.contains("what is between"), "{between}");
    assert!(fleet.command("nft").args(["delete", "table", "bridge", "x"]).status().unwrap().success());
    wait("a healthy network again", Duration::from_secs(60), || {
        (doctor(&launcher, &["--hosts", &hosts, "--probe"]).code == 0).then_some(())
    });
}
