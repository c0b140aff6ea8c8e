//! Reports of a fleet with a broken connection, and of hosts with names that are none.

use kiln_doctor::fleet::Missing;
use kiln_doctor::report::{Outcome, Report, json, junit, page, text};
use kiln_doctor::{Fleet, HostFacts};

use crate::bench::Bench;

#[test]
fn a_broken_connection_is_red_and_nothing_else() {
    let bench = Bench::new(3);
    let whole = bench.fleet();
    let healthy = page::render(&Report::new(&whole));
    assert_eq!((healthy.matches("<line class=\"edge\"").count(), healthy.matches("edge bad\"").count()), (3, 0));
    assert_eq!(text::render(&Report::new(&whole)), "3 hosts, nothing found.\n");
    bench.sh("ip -n $N0 route del 10.244.1.0/24");
    let fleet = bench.fleet();
    let report = Report::new(&fleet);
    let broken = page::render(&report);
    assert_eq!((broken.matches("<line class=\"edge\"").count(), broken.matches("edge bad\"").count()), (2, 1));
    let said = text::render(&report);
    assert!(
        said.starts_with("3 hosts, 1 finding. First: a host has no route to the pods of another (node0, node1)."),
        "{said}"
    );
    assert!(said.contains("error[flannel.peer-route] node0 -> node1:"), "{said}");
    let value: serde_json::Value = serde_json::from_str(&json::render(&report)).unwrap();
    assert_eq!(value["findings"][0]["edge"], serde_json::json!(["node0", "node1"]));
    assert!(junit::render(&report).contains("failures=\"1\" errors=\"0\""));
}

/// Of a hundred hosts only some are drawn: those with findings are among them.
#[test]
fn what_is_broken_is_drawn() {
    let host = |i: usize| {
        let mut host = HostFacts { name: format!("host{i}"), ..HostFacts::default() };
        host.kube.kubelet_conf = i == 60;
        host.cni.directory = "/etc/cni/net.d".to_owned();
        host.system.resolv.push("192.168.77.1".to_owned());
        host
    };
    let fleet = Fleet::new((0..100).map(host).collect());
    let report = Report::new(&fleet);
    assert_eq!(report.findings.iter().map(|finding| finding.id).collect::<Vec<_>>(), ["cni.no-config"]);
    let page = page::render(&report);
    assert!(page.contains(">host60</text>") && page.contains(">host0</text>"), "{page}");
    assert_eq!((page.matches("class=\"host").count(), page.matches("class=\"host bad\"").count()), (24, 1));
    assert!(page.contains("76 more hosts are not drawn"));
    // What is found on many is explained once.
    let both = Fleet::new([60, 60].map(host).to_vec());
    let said = text::render(&Report::new(&both));
    assert_eq!((said.matches("error[cni.no-config]").count(), said.matches("  cause: ").count()), (2, 1), "{said}");
}

#[test]
fn a_host_that_is_in_no_cluster_is_said_to_be() {
    let fleet = Fleet::new(vec![HostFacts { name: "jump\x1b[2J".to_owned(), ..HostFacts::default() }]);
    let report = Report::new(&fleet);
    let said = text::render(&report);
    assert!(said.contains("nothing found") && said.contains("in no cluster: jump\u{fffd}"), "{said:?}");
    let value: serde_json::Value = serde_json::from_str(&json::render(&report)).unwrap();
    assert_eq!(value["nodes"], serde_json::json!([]));
}

/// A liar cannot fill the page.
#[test]
fn very_much_that_could_not_be_read() {
    let unread = kiln_doctor::facts::Unread { what: "x".repeat(5000), why: "y".repeat(5000) };
    let host = HostFacts { name: "n".repeat(5000), unread: vec![unread; 1000], ..HostFacts::default() };
    let fleet = Fleet::new(vec![host]);
    let report = Report::new(&fleet);
    for text in [page::render(&report), text::render(&report)] {
        assert!(text.len() < 20_000 && text.contains("992 more"), "{}", text.len());
    }
}

#[test]
fn names_with_escapes() {
    let bad = "</text><script>alert(1)</script>\x1b[2J\"'&\u{202e}";
    let mut host = HostFacts { name: bad.to_owned(), ..HostFacts::default() };
    host.kube.kubelet_conf = true;
    host.cni.directory = bad.to_owned();
    let missing = Missing { host: bad.to_owned(), why: bad.to_owned() };
    let fleet = Fleet { hosts: vec![host], missing: vec![missing], ..Fleet::default() };
    let report = Report::new(&fleet);
    assert_eq!(report.outcome(), Outcome::Findings);
    for text in [page::render(&report), junit::render(&report)] {
        assert!(!text.contains("<script>") && !text.contains('\x1b') && !text.contains('\u{202e}'), "{text}");
    }
    let text = text::render(&report);
    assert!(!text.contains('\x1b') && !text.contains('\u{202e}'), "{text:?}");
    let value: serde_json::Value = serde_json::from_str(&json::render(&report)).unwrap();
    assert_eq!(value["missing"][0]["host"], bad);
}
