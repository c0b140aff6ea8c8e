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
