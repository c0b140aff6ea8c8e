//! Each fix heals its finding, changes nothing else, and is taken back by its record.

use std::fs;
use std::path::PathBuf;

use kiln_doctor::facts::within;
use kiln_doctor::fix::{Undo, apply, plan, undo};

use crate::bench::Bench;

fn ids(bench: &Bench) -> Vec<&'static str> {
    bench.findings().iter().map(|finding| finding.id).collect()
}

fn netns(bench: &Bench) -> PathBuf {
    PathBuf::from(format!("/run/netns/{}", bench.netns(0)))
}

fn fix(bench: &Bench, id: &str) -> Vec<Undo> {
    let actions = plan(&bench.facts(0), id).unwrap();
    let mut undos = Vec::new();
    let done =
        within(Some(&netns(bench)), || apply(&bench.root(0), &actions, &mut |_, undo| undos.extend_from_slice(undo)));
    done.unwrap().unwrap();
    undos
}

#[test]
fn heal_and_take_back() {
    let bench = Bench::new(1);
    let lease = "var/lib/cni/networks/cbr0/10.244.0.9";
    bench.write(0, lease, "gone\r\neth0");
    bench.sh("touch -d '1 hour ago' $R0/var/lib/cni/networks/cbr0/10.244.0.9; in0 sh -c 'echo 0 > /proc/sys/net/ipv4/ip_forward'");
    assert_eq!(ids(&bench), ["leases.leaked", "kernel.ip-forward"]);
    let released = fix(&bench, "leases.leaked");
    assert!(!bench.root(0).join(lease).exists());
    assert!(bench.root(0).join("var/lib/cni/networks/cbr0/10.244.0.2").exists(), "the pod keeps its lease");
    let forward = fix(&bench, "kernel.ip-forward");
    assert!(bench.root(0).join("etc/sysctl.d/99-kubernetes-kiln.conf").exists());
    assert_eq!(ids(&bench), Vec::<&str>::new());
    // Records are kept as JSON.
    let kept: Vec<Undo> = serde_json::from_str(&serde_json::to_string(&[released, forward].concat()).unwrap()).unwrap();
    within(Some(&netns(&bench)), || undo(&bench.root(0), &kept)).unwrap().unwrap();
    assert_eq!(fs::read_to_string(bench.root(0).join(lease)).unwrap(), "gone\r\neth0");
    assert!(!bench.root(0).join("etc/sysctl.d/99-kubernetes-kiln.conf").exists());
    assert!(ids(&bench).contains(&"kernel.ip-forward"));
}

#[test]
fn devices_that_a_reset_left() {
    let mut bench = Bench::new(1);
    (0..3).for_each(|_| bench.end());
    bench.sh("rm -r $R0/etc/kubernetes $R0/etc/cni; in0 iptables-nft -F; in0 iptables-nft -X; in0 iptables-nft -t nat -F; in0 iptables-nft -t nat -X");
    assert_eq!(ids(&bench), ["leftover.devices"]);
    fix(&bench, "leftover.devices");
    assert_eq!(ids(&bench), Vec::<&str>::new());
    let links = bench.facts(0).kernel.unwrap().tables;
    assert!(links.link("eth0").is_some() && links.link("cni0").is_none() && links.link("flannel.1").is_none());
}

#[test]
fn a_lease_that_was_given_to_another_stays() {
    let bench = Bench::new(1);
    let lease = bench.root(0).join("var/lib/cni/networks/cbr0/10.244.0.9");
    fs::write(&lease, "gone").unwrap();
    bench.sh("touch -d '1 hour ago' $R0/var/lib/cni/networks/cbr0/10.244.0.9");
    let actions = plan(&bench.facts(0), "leases.leaked").unwrap();
    fs::write(&lease, "another").unwrap();
    apply(&bench.root(0), &actions, &mut |_, undo| assert!(undo.is_empty())).unwrap();
    assert_eq!(fs::read_to_string(&lease).unwrap(), "another");
}

#[test]
fn no_plan() {
    let bench = Bench::new(1);
    let host = bench.facts(0);
    for (id, why) in
        [("nonsense", "no finding"), ("machine.clock", "there is no fix"), ("leases.leaked", "nothing to fix")]
    {
        let said = plan(&host, id).unwrap_err();
        assert!(said.contains(why), "{said}");
    }
}
