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
    let done = within(Some(&netns(bench)), || {
        apply(&bench.root(0), &actions, &mut |undo| {
            undos.extend_from_slice(undo);
            Ok(())
        })
    });
    done.unwrap().unwrap();
    undos
}

fn take_back(bench: &Bench, undos: &[Undo]) -> Vec<String> {
    within(Some(&netns(bench)), || undo(&bench.root(0), undos)).unwrap().unwrap()
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
    take_back(&bench, &kept);
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
    let keep = &mut |undo: &[Undo]| {
        assert!(undo.is_empty());
        Ok(())
    };
    apply(&bench.root(0), &actions, keep).unwrap();
    assert_eq!(fs::read_to_string(&lease).unwrap(), "another");
}

/// A fix that is killed after its record, before its change; one that cannot write its record.
#[test]
fn the_record_is_there_before_the_change() {
    let bench = Bench::new(1);
    let lease = bench.root(0).join("var/lib/cni/networks/cbr0/10.244.0.9");
    fs::write(&lease, "gone\r\neth0").unwrap();
    bench.sh("touch -d '1 hour ago' $R0/var/lib/cni/networks/cbr0/10.244.0.9; in0 sh -c 'echo 0 > /proc/sys/net/ipv4/ip_forward'");
    let facts = bench.facts(0);
    for id in ["leases.leaked", "kernel.ip-forward", "kernel.checksums", "machine.network-manager"] {
        let actions = plan(&facts, id).unwrap();
        let mut kept = Vec::new();
        let done = within(Some(&netns(&bench)), || {
            apply(&bench.root(0), &actions, &mut |undo| {
                kept.extend_from_slice(undo);
                Err("no space left on device".to_owned())
            })
        });
        let error = done.unwrap().unwrap_err().to_string();
        assert!(error.contains("no space left"), "{id}: {error}");
        assert!(!kept.is_empty(), "{id}");
        assert!(lease.exists() && !bench.root(0).join("etc/sysctl.d/99-kubernetes-kiln.conf").exists(), "{id}");
        // What was never done is taken back all the same.
        assert_eq!(take_back(&bench, &kept), Vec::<String>::new(), "{id}");
    }
    assert_eq!(ids(&bench), ["leases.leaked", "kernel.ip-forward"], "as it was");
}

/// The address was leased again since it was released: taking back leaves it with its pod.
#[test]
fn an_address_that_has_a_pod_again_stays_with_it() {
    let bench = Bench::new(1);
    let leases = bench.root(0).join("var/lib/cni/networks/cbr0");
    for ip in ["10.244.0.8", "10.244.0.9"] {
        fs::write(leases.join(ip), "gone\r\neth0").unwrap();
    }
    bench.sh("touch -d '1 hour ago' $R0/var/lib/cni/networks/cbr0/10.244.0.[89]");
    let undos = fix(&bench, "leases.leaked");
    fs::write(leases.join("10.244.0.8"), "pod\r\neth0").unwrap();
    let said = take_back(&bench, &undos);
    assert!(said.len() == 1 && said[0].contains("10.244.0.8 was given to another pod"), "{said:?}");
    assert_eq!(fs::read_to_string(leases.join("10.244.0.8")).unwrap(), "pod\r\neth0");
    assert_eq!(fs::read_to_string(leases.join("10.244.0.9")).unwrap(), "gone\r\neth0");
    assert_eq!(take_back(&bench, &undos).len(), 1, "twice is the same");
}

/// Each fix has files of its own: the second does not take the first's settings away.
#[test]
fn fixes_do_not_write_over_each_other() {
    let bench = Bench::new(1);
    bench.sh(
        "in0 sh -c 'echo 0 > /proc/sys/net/ipv4/ip_forward; echo 0 > /proc/sys/net/bridge/bridge-nf-call-iptables'",
    );
    fix(&bench, "kernel.br-netfilter");
    fix(&bench, "kernel.ip-forward");
    assert_eq!(ids(&bench), Vec::<&str>::new());
    let read = |name: &str| fs::read_to_string(bench.root(0).join("etc/sysctl.d").join(name)).unwrap();
    assert_eq!(read("99-kubernetes-kiln.conf"), "net.ipv4.ip_forward = 1\n");
    assert!(read("99-kubernetes-kiln-bridge.conf").contains("net.bridge.bridge-nf-call-iptables = 1\n"));
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

#[test]
fn chains_that_a_reset_left() {
    kiln_testkit::tools::tool("nft");
    let mut bench = Bench::new(1);
    (0..3).for_each(|_| bench.end());
    bench.sh("rm -r $R0/etc/kubernetes $R0/etc/cni; ip -n $N0 link del flannel.1; ip -n $N0 link del cni0
        in0 iptables-nft -N MINE; in0 iptables-nft -I FORWARD 1 -s 10.9.0.0/16 -j MINE
        in0 iptables-nft -A FORWARD -d 10.9.0.0/16 -m comment --comment KUBE-FORWARD -j ACCEPT
        in0 nft add table ip kube-proxy; in0 nft add chain ip kube-proxy services");
    let save = "in0 iptables-nft-save | grep -v '^#' > $R0/";
    bench.sh(&format!("{save}before"));
    assert_eq!(ids(&bench), ["leftover.chains"]);
    let undos = fix(&bench, "leftover.chains");
    assert_eq!(ids(&bench), Vec::<&str>::new());
    bench.sh(&format!("{save}after; grep -q MINE $R0/after; grep -q 'comment KUBE-FORWARD' $R0/after"));
    let after = fs::read_to_string(bench.root(0).join("after")).unwrap();
    assert!(!after.contains("-j KUBE-") && !after.contains(":FLANNEL-"), "{after}");
    take_back(&bench, &undos);
    bench.sh(&format!("{save}again"));
    let read = |name: &str| fs::read_to_string(bench.root(0).join(name)).unwrap();
    let sorted = |text: String| {
        let mut chains: Vec<String> = text.lines().filter(|l| l.starts_with(':')).map(str::to_owned).collect();
        chains.sort();
        (chains, text.lines().filter(|l| l.starts_with("-A")).map(str::to_owned).collect::<Vec<_>>())
    };
    let (before, again) = (sorted(read("before")), sorted(read("again")));
    assert_eq!(before.0, again.0);
    let of = |rules: &[String], chain: &str| -> Vec<String> {
        rules.iter().filter(|rule| rule.starts_with(&format!("-A {chain} "))).cloned().collect()
    };
    for chain in ["FORWARD", "KUBE-FORWARD", "FLANNEL-FWD", "FLANNEL-POSTRTG", "POSTROUTING", "KUBE-SERVICES"] {
        assert_eq!(of(&before.1, chain), of(&again.1, chain), "{chain}");
    }
}

#[test]
fn checksums_are_not_left_to_the_device() {
    let bench = Bench::new(1);
    let on = |bench: &Bench| bench.facts(0).kernel.unwrap().features["flannel.1"].clone();
    let feature = "tx-checksum-ip-generic".to_owned();
    assert!(on(&bench).contains(&feature));
    let undos = fix(&bench, "kernel.checksums");
    assert!(!on(&bench).contains(&feature));
    assert!(on(&bench).contains(&"rx-gro".to_owned()), "others stay: {:?}", on(&bench));
    assert!(plan(&bench.facts(0), "kernel.checksums").unwrap_err().contains("nothing to fix"));
    take_back(&bench, &undos);
    assert!(on(&bench).contains(&feature));
}

/// A record may be anybody's: it names programs, devices and files.
#[test]
fn records_that_are_none() {
    let bench = Bench::new(1);
    let bad = [
        Undo::Rules { program: "../../tmp/x".to_owned(), script: String::new() },
        Undo::Rules { program: "iptables-nft".to_owned(), script: "*nonsense\n-A\n".to_owned() },
        Undo::Feature { device: "nobody".to_owned(), feature: "x".to_owned() },
        Undo::Reset { path: "kernel/core_pattern".to_owned(), value: "|x".to_owned() },
    ];
    for record in bad {
        let done = within(Some(&netns(&bench)), || undo(&bench.root(0), std::slice::from_ref(&record))).unwrap();
        assert!(done.is_err(), "{record:?}");
    }
}
