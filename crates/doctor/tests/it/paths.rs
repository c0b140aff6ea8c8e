//! The way of a packet names the hop that loses it, and the packets of the kernel agree.

use kiln_doctor::path::{Hop, trace};

use crate::bench::Bench;

fn way(bench: &Bench) -> Vec<Hop> {
    trace(&bench.fleet(), "10.244.0.2".parse().unwrap(), "10.244.1.2".parse().unwrap()).unwrap()
}

/// Whether a packet really arrives: a pod of the first host connects to one of the second, which refuses.
fn arrives(bench: &Bench) -> bool {
    let pod = format!("--net=/run/netns/{}", bench.netns("0p1"));
    let script = "timeout 2 bash -c 'echo > /dev/tcp/10.244.1.2/9' 2>&1 | grep -q refused";
    std::process::Command::new("nsenter").args([pod.as_str(), "bash", "-c", script]).status().unwrap().success()
}

#[test]
fn the_hop_that_loses_it() {
    let bench = Bench::new(2);
    let whole = way(&bench);
    assert!(whole.iter().all(|hop| hop.lost.is_none()), "{whole:#?}");
    assert_eq!(whole.last().unwrap().host, "node1");
    assert!(arrives(&bench));
    let faults = [
        (
            "ip -n $N0 route del 10.244.1.0/24",
            "node0",
            "",
            "ip -n $N0 route add 10.244.1.0/24 via 10.244.1.0 dev flannel.1 onlink",
        ),
        (
            "in0 iptables-nft -I FORWARD -d 10.244.1.0/24 -j DROP",
            "node0",
            "chain FORWARD",
            "in0 iptables-nft -D FORWARD -d 10.244.1.0/24 -j DROP",
        ),
        (
            "in1 iptables-nft -I INPUT -p udp --dport 8472 -j DROP",
            "node1",
            "port 8472",
            "in1 iptables-nft -D INPUT -p udp --dport 8472 -j DROP",
        ),
        (
            "in1 sh -c 'echo 0 > /proc/sys/net/ipv4/ip_forward'",
            "node1",
            "ip_forward",
            "in1 sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'",
        ),
        (
            "ip -n $N1 link set flannel.1 address 0a:58:0a:f4:00:77",
            "node1",
            "the packet is for",
            "ip -n $N1 link set flannel.1 address 0a:58:0a:f4:00:01; ip -n $N1 neigh replace 10.244.0.0 lladdr 0a:58:0a:f4:00:00 dev flannel.1 nud permanent",
        ),
        (
            "bridge -n $N0 fdb del 0a:58:0a:f4:00:01 dev flannel.1",
            "node0",
            "there is none",
            "bridge -n $N0 fdb append 0a:58:0a:f4:00:01 dev flannel.1 dst 192.168.77.11 self permanent",
        ),
    ];
    for (fault, host, why, undo) in faults {
        bench.sh(fault);
        let hops = way(&bench);
        let last = hops.last().unwrap();
        assert_eq!(last.host, host, "{fault} {hops:#?}");
        assert!(last.lost.as_ref().is_some_and(|lost| lost.contains(why)), "{fault} {hops:#?}");
        assert!(!arrives(&bench), "{fault}: the kernel lets it pass");
        bench.sh(undo);
        assert!(way(&bench).iter().all(|hop| hop.lost.is_none()), "{undo}");
    }
    assert!(arrives(&bench));
}

#[test]
fn addresses_that_nobody_has() {
    let bench = Bench::new(1);
    let fleet = bench.fleet();
    assert!(trace(&fleet, "10.9.9.9".parse().unwrap(), "10.244.0.2".parse().unwrap()).is_err());
    let hops = trace(&fleet, "10.244.0.2".parse().unwrap(), "10.244.0.77".parse().unwrap()).unwrap();
    assert!(hops.last().unwrap().lost.as_ref().is_some_and(|why| why.contains("no pod")), "{hops:#?}");
}
