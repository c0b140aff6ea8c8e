//! The way of a packet names the hop that loses it, and the packets of the kernel agree.

use kiln_doctor::names::find;
use kiln_doctor::path::{Hop, trace};

use crate::bench::Bench;

fn way(bench: &Bench) -> Vec<Hop> {
    trace(&bench.fleet(), "10.244.0.2".parse().unwrap(), "10.244.1.2".parse().unwrap(), None).unwrap().hops
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
    assert!(trace(&fleet, "10.9.9.9".parse().unwrap(), "10.244.0.2".parse().unwrap(), None).is_err());
    let hops = trace(&fleet, "10.244.0.2".parse().unwrap(), "10.244.0.77".parse().unwrap(), None).unwrap().hops;
    assert!(hops.last().unwrap().lost.as_ref().is_some_and(|why| why.contains("no pod")), "{hops:#?}");
}

/// Rules as kube-proxy writes them: a service with a pod on either host, one without endpoints, a NodePort.
const SERVICES: &str = r#"in0 iptables-nft-restore --noflush <<END
*nat
:KUBE-NODEPORTS - [0:0]
:KUBE-EXT-A - [0:0]
:KUBE-SVC-A - [0:0]
:KUBE-SEP-1 - [0:0]
:KUBE-SEP-2 - [0:0]
-A KUBE-SERVICES -d 10.96.5.5/32 -p tcp -m comment --comment "default/web:http cluster IP" -m tcp --dport 80 -j KUBE-SVC-A
-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
-A KUBE-NODEPORTS -p tcp -m comment --comment "default/web:http" -m tcp --dport 30080 -j KUBE-EXT-A
-A KUBE-EXT-A -j KUBE-SVC-A
-A KUBE-SVC-A -m comment --comment "default/web:http" -m statistic --mode random --probability 0.5 -j KUBE-SEP-1
-A KUBE-SVC-A -m comment --comment "default/web:http" -j KUBE-SEP-2
-A KUBE-SEP-1 -p tcp -m comment --comment "default/web:http" -m tcp -j DNAT --to-destination 10.244.0.2:8080
-A KUBE-SEP-2 -p tcp -m comment --comment "default/web:http" -m tcp -j DNAT --to-destination 10.244.1.2:8080
COMMIT
*filter
:KUBE-SERVICES - [0:0]
-A KUBE-SERVICES -d 10.96.0.10/32 -p udp -m comment --comment "kube-system/kube-dns:dns has no endpoints" -m udp --dport 53 -j REJECT
COMMIT
END"#;

#[test]
fn services_are_followed_to_their_pods() {
    let bench = Bench::new(2);
    bench.sh(SERVICES);
    let fleet = bench.fleet();
    let service = &fleet.hosts[0].kernel.as_ref().unwrap().services;
    let web = service.iter().find(|service| service.name == "default/web:http" && service.ip.is_some()).unwrap();
    let endpoints = [("10.244.0.2".parse().unwrap(), 8080), ("10.244.1.2".parse().unwrap(), 8080)];
    assert_eq!(web.endpoints, endpoints, "{service:#?}");
    let from = "10.244.0.2".parse().unwrap();
    let place = find(&fleet, "svc/default/web").unwrap();
    assert_eq!((place.ip.to_string(), place.port), ("10.96.5.5".to_owned(), Some(80)));
    let whole = trace(&fleet, from, place.ip, place.port).unwrap();
    assert!(whole.hops.iter().all(|hop| hop.lost.is_none()), "{whole:#?}");
    assert_eq!(whole.ends.len(), 2);
    assert_eq!(whole.crossings.len(), 1, "one endpoint is on the host itself");
    // The port of the node leads there as well.
    let node = trace(&fleet, from, "192.168.77.10".parse().unwrap(), Some(30080)).unwrap();
    assert_eq!(node.ends, whole.ends);
    let refused = trace(&fleet, from, "10.96.0.10".parse().unwrap(), None).unwrap();
    assert!(refused.hops[0].lost.as_ref().is_some_and(|why| why.contains("no endpoints")), "{refused:#?}");
    // The other host never heard of it.
    let stale = trace(&fleet, "10.244.1.2".parse().unwrap(), place.ip, place.port).unwrap();
    assert!(stale.hops[0].lost.as_ref().is_some_and(|why| why.contains("those of this one do not")), "{stale:#?}");
}

#[test]
fn services_of_nftables_are_read() {
    kiln_testkit::tools::tool("nft");
    let bench = Bench::new(1);
    bench.sh(r#"in0 nft -f - <<END
table ip kube-proxy {
  chain endpoint-5OJB2KTY-default/web/tcp/http__10.244.0.2/8080 { meta l4proto tcp dnat to 10.244.0.2:8080; }
  chain service-ULMVA6XW-default/web/tcp/http { numgen random mod 1 vmap { 0 : goto endpoint-5OJB2KTY-default/web/tcp/http__10.244.0.2/8080 }; }
  map service-ips { type ipv4_addr . inet_proto . inet_service : verdict;
    elements = { 10.96.5.5 . tcp . 80 : goto service-ULMVA6XW-default/web/tcp/http }; }
  map service-nodeports { type inet_proto . inet_service : verdict;
    elements = { tcp . 30080 : goto service-ULMVA6XW-default/web/tcp/http }; }
}
END"#);
    let services = bench.facts(0).kernel.unwrap().services;
    let web: Vec<_> = services.iter().filter(|service| service.name == "default/web:http").collect();
    assert_eq!(web.len(), 2, "{services:#?}");
    assert_eq!((web[0].ip, web[0].port), (Some("10.96.5.5".parse().unwrap()), 80));
    assert_eq!((web[1].ip, web[1].port), (None, 30080));
    assert!(web.iter().all(|service| service.endpoints == [("10.244.0.2".parse().unwrap(), 8080)]), "{web:#?}");
}
