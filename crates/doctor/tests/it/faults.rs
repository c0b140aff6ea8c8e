//! Each fault is put into a healthy fleet, found as exactly what it is, and taken out again.

use kiln_doctor::Finding;

use crate::bench::Bench;

/// A fault: what is found, on which hosts, how it is made, how it is undone.
type Fault = (&'static str, &'static [&'static str], &'static str, &'static str);

const BOTH: &[&str] = &["node0", "node1"];
const FIRST: &[&str] = &["node0"];
const SECOND: &[&str] = &["node1"];

fn ids(findings: &[Finding]) -> Vec<&'static str> {
    findings.iter().map(|finding| finding.id).collect()
}

/// All faults of a table, one after the other on one fleet.
fn inject(bench: &Bench, faults: &[Fault]) {
    assert_eq!(ids(&bench.findings()), Vec::<&str>::new(), "{:#?}", bench.findings());
    for (id, hosts, fault, undo) in faults {
        bench.sh(fault);
        let found = bench.findings();
        assert_eq!(ids(&found), [*id], "{fault}\n{found:#?}");
        let mut where_found = found[0].hosts.clone();
        where_found.sort();
        assert_eq!(where_found, *hosts, "{fault}\n{found:#?}");
        bench.sh(undo);
        assert_eq!(ids(&bench.findings()), Vec::<&str>::new(), "after {undo}");
    }
}

const ROUTE: &str = "ip -n $N0 route replace 10.244.1.0/24 via 10.244.1.0 dev flannel.1 onlink";
const DEVICE: &str = "ip -n $N0 route replace 10.244.1.0/24 via 10.244.1.0 dev flannel.1 onlink
ip -n $N0 neigh replace 10.244.1.0 lladdr 0a:58:0a:f4:00:01 dev flannel.1 nud permanent
bridge -n $N0 fdb replace 0a:58:0a:f4:00:01 dev flannel.1 dst 192.168.77.11 self permanent";

/// Makes host 0's tunnel again, with the words of `ip link add` in `$1`.
fn again(words: &str) -> String {
    format!(
        "ip -n $N0 link del flannel.1
ip -n $N0 link add flannel.1 address 0a:58:0a:f4:00:00 type vxlan {words}
ip -n $N0 link set flannel.1 up; ip -n $N0 address add 10.244.0.0/32 dev flannel.1
{DEVICE}"
    )
}

const GOOD: &str = "id 1 dev eth0 local 192.168.77.10 dstport 8472 nolearning";

#[test]
fn tunnels() {
    let bench = Bench::new(2);
    let good = again(GOOD).leak();
    let port = again("id 1 dev eth0 local 192.168.77.10 dstport 4789 nolearning").leak();
    let vni = again("id 7 dev eth0 local 192.168.77.10 dstport 8472 nolearning").leak();
    let public = format!(
        "ip -n $N0 address add 203.0.113.5/24 dev eth0\n{}",
        again("id 1 dev eth0 local 203.0.113.5 dstport 8472 nolearning")
    );
    let public_fdb =
        format!("{public}\nbridge -n $N1 fdb replace 0a:58:0a:f4:00:00 dev flannel.1 dst 203.0.113.5 self permanent")
            .leak();
    let private = format!("{}\nip -n $N0 address del 203.0.113.5/24 dev eth0\nbridge -n $N1 fdb replace 0a:58:0a:f4:00:00 dev flannel.1 dst 192.168.77.10 self permanent", again(GOOD)).leak();
    let faults: &[Fault] = &[
        ("flannel.peer-route", BOTH, "ip -n $N0 route del 10.244.1.0/24", ROUTE),
        ("flannel.peer-route", BOTH, "ip -n $N0 route replace 10.244.1.0/24 via 192.168.77.1 dev eth0", ROUTE),
        (
            "flannel.peer-route",
            BOTH,
            "ip -n $N0 route del 10.244.1.0/24; ip -n $N0 route add blackhole 10.244.1.0/24",
            "ip -n $N0 route del blackhole 10.244.1.0/24; ip -n $N0 route add 10.244.1.0/24 via 10.244.1.0 dev flannel.1 onlink",
        ),
        // The route is there, and another comes before it: one for a part, as VPNs bring them; a rule to another table.
        (
            "flannel.peer-route",
            BOTH,
            "ip -n $N0 route add 10.244.1.128/25 via 192.168.77.1",
            "ip -n $N0 route del 10.244.1.128/25",
        ),
        (
            "flannel.peer-route",
            BOTH,
            "ip -n $N0 route add default via 192.168.77.1 table 77; ip -n $N0 rule add to 10.244.0.0/16 lookup 77 pref 100",
            "ip -n $N0 rule del pref 100; ip -n $N0 route flush table 77",
        ),
        (
            "flannel.peer-arp",
            BOTH,
            "ip -n $N0 neigh del 10.244.1.0 dev flannel.1",
            "ip -n $N0 neigh replace 10.244.1.0 lladdr 0a:58:0a:f4:00:01 dev flannel.1 nud permanent",
        ),
        (
            "flannel.peer-fdb",
            BOTH,
            "bridge -n $N0 fdb del 0a:58:0a:f4:00:01 dev flannel.1",
            "bridge -n $N0 fdb append 0a:58:0a:f4:00:01 dev flannel.1 dst 192.168.77.11 self permanent",
        ),
        (
            "flannel.peer-stale",
            BOTH,
            "ip -n $N1 link set flannel.1 address 0a:58:0a:f4:00:77",
            "ip -n $N1 link set flannel.1 address 0a:58:0a:f4:00:01; ip -n $N1 neigh replace 10.244.0.0 lladdr 0a:58:0a:f4:00:00 dev flannel.1 nud permanent",
        ),
        (
            "flannel.peer-stale",
            BOTH,
            "bridge -n $N0 fdb replace 0a:58:0a:f4:00:01 dev flannel.1 dst 192.168.77.99 self permanent",
            "bridge -n $N0 fdb replace 0a:58:0a:f4:00:01 dev flannel.1 dst 192.168.77.11 self permanent",
        ),
        ("flannel.port-differs", BOTH, port, good),
        ("flannel.vni-differs", BOTH, vni, good),
        ("flannel.vtep-public", FIRST, public_fdb, private),
        ("flannel.no-device", FIRST, "ip -n $N0 link del flannel.1", ""),
    ];
    let (last, rest) = faults.split_last().unwrap();
    inject(&bench, rest);
    bench.sh(last.2);
    assert_eq!(ids(&bench.findings()), [last.0]);
}

/// Two hosts whose private addresses are in different networks, with routes to each other's: the default route is public,
/// and flannel took it.
#[test]
fn private_networks_that_routes_join() {
    let bench = Bench::new(2);
    let host = |i: usize, private: &str, public: &str, peer: &str| {
        let (other, mac, peer_mac) = (1 - i, crate::bench::mac(i), crate::bench::mac(1 - i));
        format!(
            "ip -n $N{i} link del flannel.1; ip -n $N{i} address flush dev eth0
             ip -n $N{i} address add {private}/32 dev eth0; ip -n $N{i} route add 10.0.0.0/8 dev eth0
             ip -n $N{i} link add eth1 type veth peer name eth1x; ip -n $N{i} link set eth1 up
             ip -n $N{i} address add {public}/22 dev eth1; ip -n $N{i} route replace default dev eth1
             ip -n $N{i} link add flannel.1 address {mac} type vxlan id 1 dev eth1 local {public} dstport 8472 nolearning
             ip -n $N{i} link set flannel.1 up; ip -n $N{i} address add 10.244.{i}.0/32 dev flannel.1
             ip -n $N{i} route replace 10.244.{other}.0/24 via 10.244.{other}.0 dev flannel.1 onlink
             ip -n $N{i} neigh replace 10.244.{other}.0 lladdr {peer_mac} dev flannel.1 nud permanent
             bridge -n $N{i} fdb append {peer_mac} dev flannel.1 dst {peer} self permanent\n"
        )
    };
    let (a, b) = ("123.56.200.187", "59.110.67.15");
    bench.sh(&(host(0, "10.47.217.91", a, b) + &host(1, "10.28.61.30", b, a)));
    let found = bench.findings();
    assert_eq!(ids(&found), ["flannel.vtep-public", "flannel.vtep-public"], "{found:#?}");
    assert!(found[1].evidence[1].contains("this one has 10.28.61.30 on eth0"), "{found:#?}");
    // Without such routes there is nothing better than the public ones.
    bench.sh("ip -n $N0 route del 10.0.0.0/8");
    assert_eq!(ids(&bench.findings()), Vec::<&str>::new());
}

#[test]
fn devices_and_leases() {
    let bench = Bench::new(2);
    let down = format!("ip -n $N0 link set flannel.1 up\n{DEVICE}").leak();
    let device = "ip -n $N0 address add 10.244.9.0/32 dev flannel.1; ip -n $N0 address del 10.244.0.0/32 dev flannel.1";
    let bridge = "ip -n $N0 address del 10.244.0.1/24 dev cni0; ip -n $N0 address add 10.244.9.1/24 dev cni0";
    inject(
        &bench,
        &[
            ("flannel.device-down", FIRST, "ip -n $N0 link set flannel.1 down", down),
            (
                "flannel.device-address",
                FIRST,
                device,
                "ip -n $N0 address add 10.244.0.0/32 dev flannel.1; ip -n $N0 address del 10.244.9.0/32 dev flannel.1",
            ),
            (
                "flannel.bridge-address",
                FIRST,
                bridge,
                "ip -n $N0 address del 10.244.9.1/24 dev cni0; ip -n $N0 address add 10.244.0.1/24 dev cni0",
            ),
            ("flannel.mtu", FIRST, "ip -n $N0 link set eth0 mtu 1400", "ip -n $N0 link set eth0 mtu 1500"),
            (
                "flannel.path-mtu",
                BOTH,
                "ip -n $N0 link set eth0 mtu 1400; ip -n $N0 link set flannel.1 mtu 1350; sed -i s/1450/1350/ $R0/run/flannel/subnet.env; for d in $(ip -n $N0 -o link show master cni0 | sed 's/^[0-9]*: \\([^@:]*\\).*/\\1/') cni0; do ip -n $N0 link set $d mtu 1350; done",
                "ip -n $N0 link set eth0 mtu 1500; ip -n $N0 link set flannel.1 mtu 1450; sed -i s/1350/1450/ $R0/run/flannel/subnet.env; for d in $(ip -n $N0 -o link show master cni0 | sed 's/^[0-9]*: \\([^@:]*\\).*/\\1/') cni0; do ip -n $N0 link set $d mtu 1450; done",
            ),
            ("flannel.no-subnet", FIRST, "mv $R0/run/flannel/subnet.env $R0/x", "mv $R0/x $R0/run/flannel/subnet.env"),
            (
                "flannel.bad-subnet",
                FIRST,
                "cp $R0/run/flannel/subnet.env $R0/x; echo garbage > $R0/run/flannel/subnet.env",
                "mv $R0/x $R0/run/flannel/subnet.env",
            ),
            (
                "flannel.bad-subnet",
                FIRST,
                "cp $R0/run/flannel/subnet.env $R0/x; sed -i s/=10.244.0.0/=10.99.0.0/ $R0/run/flannel/subnet.env",
                "mv $R0/x $R0/run/flannel/subnet.env",
            ),
            (
                "flannel.same-subnet",
                BOTH,
                "cp $R1/run/flannel/subnet.env $R1/x; cp $R0/run/flannel/subnet.env $R1/run/flannel/subnet.env",
                "mv $R1/x $R1/run/flannel/subnet.env",
            ),
            (
                "leases.leaked",
                FIRST,
                "for i in 7 8 9; do printf 'gone%s\\r\\neth0' $i > $R0/var/lib/cni/networks/cbr0/10.244.0.$i; touch -d '1 hour ago' $R0/var/lib/cni/networks/cbr0/10.244.0.$i; done",
                "rm $R0/var/lib/cni/networks/cbr0/10.244.0.[789]",
            ),
            (
                "leases.exhausted",
                FIRST,
                "for i in $(seq 2 254); do test -e $R0/var/lib/cni/networks/cbr0/10.244.0.$i || { mkdir -p $R0/var/lib/containerd/io.containerd.grpc.v1.cri/sandboxes/full$i; printf full$i > $R0/var/lib/cni/networks/cbr0/10.244.0.$i; touch -d '1 hour ago' $R0/var/lib/cni/networks/cbr0/10.244.0.$i; }; done",
                "rm $(grep -l full $R0/var/lib/cni/networks/cbr0/10.244.0.*)",
            ),
        ],
    );
}

#[test]
fn files() {
    let bench = Bench::new(2);
    let conf = "$R0/etc/cni/net.d/10-flannel.conflist";
    let keep = format!("cp {conf} $R0/x");
    let back = format!("mv $R0/x {conf}").leak();
    let with = |change: &str| -> &'static str { format!("{keep}; {change} {conf}").leak() };
    inject(
        &bench,
        &[
            ("cni.no-config", FIRST, with("rm"), back),
            ("cni.invalid-config", FIRST, with("echo '{' >"), back),
            ("cni.version", FIRST, with("sed -i s/0.3.1/9.9.9/"), back),
            (
                "cni.two-configs",
                FIRST,
                "echo '{\"name\":\"k8s-pod-network\",\"cniVersion\":\"0.3.1\",\"plugins\":[{\"type\":\"calico\"}]}' > $R0/etc/cni/net.d/20-calico.conflist",
                "rm $R0/etc/cni/net.d/20-calico.conflist",
            ),
            (
                "machine.apparmor",
                FIRST,
                "mkdir -p $R0/var/log; echo 'Jan  1 kernel: audit: type=1400 audit(1:2): apparmor=\"DENIED\" operation=\"open\" profile=\"x\" comm=\"host-local\"' > $R0/var/log/kern.log",
                "rm $R0/var/log/kern.log",
            ),
            ("cni.plugin-missing", SECOND, "mv $R1/opt/cni/bin/portmap $R1/x", "mv $R1/x $R1/opt/cni/bin/portmap"),
            ("cni.plugin-unusable", FIRST, "chmod 644 $R0/opt/cni/bin/flannel", "chmod 755 $R0/opt/cni/bin/flannel"),
            (
                "cni.plugin-unusable",
                FIRST,
                "mv $R0/opt/cni/bin/bridge $R0/x; : > $R0/opt/cni/bin/bridge; chmod 755 $R0/opt/cni/bin/bridge",
                "mv $R0/x $R0/opt/cni/bin/bridge",
            ),
            (
                "machine.same-id",
                BOTH,
                "cp $R1/etc/machine-id $R1/x; cp $R0/etc/machine-id $R1/etc/machine-id",
                "mv $R1/x $R1/etc/machine-id",
            ),
            (
                "machine.dns-loop",
                FIRST,
                "echo nameserver 127.0.0.53 > $R0/etc/resolv.conf",
                "echo nameserver 192.168.77.1 > $R0/etc/resolv.conf",
            ),
            ("machine.no-dns", FIRST, ": > $R0/etc/resolv.conf", "echo nameserver 192.168.77.1 > $R0/etc/resolv.conf"),
            (
                "machine.cgroup-driver",
                FIRST,
                "sed -i s/systemd/cgroupfs/ $R0/var/lib/kubelet/config.yaml",
                "sed -i s/cgroupfs/systemd/ $R0/var/lib/kubelet/config.yaml",
            ),
            (
                "firewall.managed",
                FIRST,
                "mkdir -p $R0/etc/ufw; echo ENABLED=yes > $R0/etc/ufw/ufw.conf",
                "rm $R0/etc/ufw/ufw.conf",
            ),
        ],
    );
}

#[test]
fn kernels_and_rules() {
    let bench = Bench::new(2);
    inject(
        &bench,
        &[
            (
                "kernel.ip-forward",
                FIRST,
                "in0 sh -c 'echo 0 > /proc/sys/net/ipv4/ip_forward'",
                "in0 sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'",
            ),
            (
                "kernel.ip-forward",
                FIRST,
                "in0 sh -c 'echo 0 > /proc/sys/net/ipv4/conf/cni0/forwarding'",
                "in0 sh -c 'echo 1 > /proc/sys/net/ipv4/conf/cni0/forwarding'",
            ),
            (
                "kernel.br-netfilter",
                FIRST,
                "in0 sh -c 'echo 0 > /proc/sys/net/bridge/bridge-nf-call-iptables'",
                "in0 sh -c 'echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables'",
            ),
            (
                "firewall.vxlan-blocked",
                FIRST,
                "in0 iptables-nft -I INPUT -p udp --dport 8472 -j DROP",
                "in0 iptables-nft -D INPUT -p udp --dport 8472 -j DROP",
            ),
            (
                "firewall.vxlan-blocked",
                FIRST,
                "in0 iptables-nft -I OUTPUT -p udp -d 192.168.77.0/24 --dport 8000:9000 -j REJECT",
                "in0 iptables-nft -D OUTPUT -p udp -d 192.168.77.0/24 --dport 8000:9000 -j REJECT",
            ),
            (
                "firewall.vxlan-blocked",
                FIRST,
                "in0 iptables-nft -N HARD; in0 iptables-nft -A HARD -p tcp -j RETURN; in0 iptables-nft -A HARD -p udp -j DROP; in0 iptables-nft -I INPUT -s 192.168.77.11 -j HARD",
                "in0 iptables-nft -F INPUT; in0 iptables-nft -F HARD; in0 iptables-nft -X HARD",
            ),
            (
                "firewall.vxlan-blocked",
                FIRST,
                "in0 iptables-nft -I INPUT -i eth0 -p udp -m multiport --dports 4789,8472 -j DROP",
                "in0 iptables-nft -F INPUT",
            ),
            ("firewall.vxlan-blocked", FIRST, NATIVE, "in0 nft delete table inet fw"),
            ("firewall.vxlan-blocked", FIRST, OTHERS, "in0 nft delete table inet fw"),
            (
                "firewall.vxlan-blocked",
                FIRST,
                "in0 iptables-legacy -P INPUT DROP; in0 iptables-legacy -A INPUT -i lo -j ACCEPT; in0 iptables-legacy -A INPUT -p tcp -j ACCEPT",
                "in0 iptables-legacy -P INPUT ACCEPT; in0 iptables-legacy -F INPUT",
            ),
            (
                "firewall.forward-drop",
                FIRST,
                "in0 iptables-legacy -I FORWARD -s 10.244.0.0/16 -j DROP",
                "in0 iptables-legacy -F FORWARD",
            ),
            (
                "cni.detached-pods",
                FIRST,
                "ip -n $N0 -o link show master cni0 | sed 's/^[0-9]*: \\([^@:]*\\).*/\\1/' > $R0/veth; ip -n $N0 link set $(cat $R0/veth) nomaster",
                "ip -n $N0 link set $(cat $R0/veth) master cni0",
            ),
            (
                "firewall.forward-drop",
                FIRST,
                "in0 iptables-nft -P FORWARD DROP; in0 iptables-nft -F FLANNEL-FWD; in0 iptables-nft -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
                "in0 iptables-nft -P FORWARD ACCEPT; in0 iptables-nft -A FLANNEL-FWD -s 10.244.0.0/16 -j ACCEPT",
            ),
            (
                "firewall.no-masquerade",
                FIRST,
                "in0 iptables-nft -t nat -F FLANNEL-POSTRTG",
                "in0 iptables-nft -t nat -A FLANNEL-POSTRTG -s 10.244.0.0/16 -j MASQUERADE",
            ),
            (
                "services.no-rules",
                FIRST,
                "in0 iptables-nft -t nat -F KUBE-SERVICES",
                "in0 iptables-nft -t nat -A KUBE-SERVICES -d 10.96.0.1/32 -j RETURN",
            ),
            (
                "addresses.overlap",
                FIRST,
                "ip -n $N0 link add eth1 type veth peer name eth1x; ip -n $N0 link set eth1 up; ip -n $N0 address add 10.244.200.1/24 dev eth1",
                "ip -n $N0 link del eth1",
            ),
            (
                "machine.same-mac",
                BOTH,
                "in0 ip link show eth0 | sed -n 's/.*ether \\([^ ]*\\).*/\\1/p' > $R0/mac; in1 ip link show eth0 | sed -n 's/.*ether \\([^ ]*\\).*/\\1/p' > $R1/mac; ip -n $N1 link set eth0 address $(cat $R0/mac)",
                "ip -n $N1 link set eth0 address $(cat $R1/mac); ip -n $N1 route replace default via 192.168.77.1",
            ),
            // The last: devices that come later have larger numbers.
            (
                "kernel.churn",
                FIRST,
                "ip -n $N0 link add veth9 index 57988 type veth peer name veth8",
                "ip -n $N0 link del veth9",
            ),
        ],
    );
}

/// A firewall as distributions' examples of nftables have it: by numbers of devices, sets, a policy.
const NATIVE: &str = "in0 nft -f - <<'END'
table inet fw {
  chain input {
    type filter hook input priority 0; policy drop;
    iif lo accept
    ct state { established, related } accept
    ip protocol icmp accept
    tcp dport { 22, 10250 } accept
    udp dport { 53, 123, 8000-8100 } accept
  }
}
END";
/// One that names the hosts it knows: not the other.
const OTHERS: &str = "in0 nft -f - <<'END'
table inet fw {
  set nodes { type ipv4_addr; flags interval; elements = { 192.168.77.0-192.168.77.10, 192.168.77.12-192.168.77.20 } }
  chain input {
    type filter hook input priority 0; policy drop;
    iifname { \"lo\", \"cni0\" } accept
    ip saddr @nodes accept
  }
}
END";

/// The same, as they should be.
#[test]
fn firewalls_that_let_the_tunnel_pass() {
    let bench = Bench::new(2);
    bench.sh("in0 nft -f - <<'END'
table inet fw {
  set nodes { type ipv4_addr; flags interval; elements = { 192.168.77.0/28 } }
  chain of_udp { udp dport { 53, 8000-9000 } accept; }
  chain input {
    type filter hook input priority 0; policy drop;
    ct state vmap { established : accept, related : accept, invalid : drop }
    iif lo accept
    udp dport vmap { 67 : drop, 68 : drop }
    meta l4proto vmap { udp : jump of_udp, icmp : accept }
  }
  chain forward {
    type filter hook forward priority 0; policy drop;
    ip saddr @nodes accept
    ip saddr 10.244.0.0/16 accept
    ip daddr { 10.244.0.0/16, 10.9.0.0/16 } accept
  }
}
END
in1 iptables-legacy -P INPUT DROP
in1 iptables-legacy -A INPUT -m physdev --physdev-is-bridged -j ACCEPT
in1 iptables-legacy -A INPUT ! -s 203.0.113.0/24 -p tcp -j ACCEPT
in1 iptables-legacy -A INPUT -p udp -m multiport --dports 53,8000:9000 -j ACCEPT");
    assert_eq!(ids(&bench.findings()), Vec::<&str>::new(), "{:#?}", bench.findings());
}

/// Ports between the control plane and its nodes.
#[test]
fn ports_of_the_control_plane() {
    let mut bench = Bench::new(2);
    let pod = "kind: Pod\nmetadata: {name: kube-apiserver}\nspec:\n  containers:\n  - {name: kube-apiserver, image: x, command: [kube-apiserver, --advertise-address=192.168.77.10]}\n";
    bench.write(0, "etc/kubernetes/manifests/kube-apiserver.yaml", pod);
    bench.run(0, "kube-apiserver");
    inject(
        &bench,
        &[
            (
                "firewall.port-blocked",
                FIRST,
                "in0 iptables-nft -A INPUT -p tcp --dport 6443 -s 192.168.77.0/24 -j REJECT",
                "in0 iptables-nft -F INPUT",
            ),
            (
                "firewall.port-blocked",
                SECOND,
                "in1 iptables-nft -A INPUT -p udp -j ACCEPT; in1 iptables-nft -A INPUT -p tcp --dport 22 -j ACCEPT; in1 iptables-nft -P INPUT DROP",
                "in1 iptables-nft -P INPUT ACCEPT; in1 iptables-nft -F INPUT",
            ),
        ],
    );
}

#[test]
fn rules_that_look_dangerous_and_are_not() {
    let bench = Bench::new(2);
    bench.sh("in0 iptables-nft -P FORWARD DROP
         in0 iptables-nft -A INPUT -i docker0 -p udp --dport 8472 -j DROP
         in0 iptables-nft -A INPUT -p tcp --dport 8472 -j DROP
         in0 iptables-nft -A INPUT -s 203.0.113.0/24 -p udp --dport 8472 -j DROP
         in0 iptables-nft -A INPUT -m mark --mark 0x8000/0x8000 -j DROP
         in0 iptables-nft -N SOFT
         in0 iptables-nft -A SOFT -p udp -m multiport --dports 8472 -j RETURN
         in0 iptables-nft -A SOFT -p udp -j DROP
         in0 iptables-nft -A INPUT -j SOFT
         in0 iptables-nft -A INPUT -m conntrack --ctstate INVALID -j DROP
         in0 iptables-nft -A INPUT -p udp --dport 8472 -s 192.168.77.0/24 -j ACCEPT
         in0 iptables-nft -A INPUT -p udp -j DROP");
    assert_eq!(ids(&bench.findings()), Vec::<&str>::new(), "{:#?}", bench.findings());
}

#[test]
fn programs_that_run_or_do_not() {
    let mut bench = Bench::new(1);
    assert_eq!(ids(&bench.findings()), Vec::<&str>::new());
    for (program, id) in [("NetworkManager", "machine.network-manager"), ("firewalld", "firewall.managed")] {
        bench.run(0, program);
        assert_eq!(ids(&bench.findings()), [id]);
        bench.end();
    }
    bench.run(0, "NetworkManager");
    bench.write(
        0,
        "etc/NetworkManager/conf.d/k8s.conf",
        "[keyfile]\nunmanaged-devices=interface-name:cni*;interface-name:flannel*\n",
    );
    assert_eq!(ids(&bench.findings()), Vec::<&str>::new());
    // As Ubuntu's package has it.
    let but = "[keyfile]\nunmanaged-devices=*,except:type:wifi,except:type:gsm,except:type:cdma\n";
    bench.write(0, "etc/NetworkManager/conf.d/k8s.conf", but);
    assert_eq!(ids(&bench.findings()), Vec::<&str>::new());
    bench.write(0, "etc/NetworkManager/conf.d/k8s.conf", "[keyfile]\nunmanaged-devices=*,except:type:bridge\n");
    assert_eq!(ids(&bench.findings()), ["machine.network-manager"]);
    bench.end();
    bench.write(0, "etc/systemd/network/10-all.network", "[Match]\nName=*\n[Network]\nDHCP=yes\n");
    assert_eq!(ids(&bench.findings()), Vec::<&str>::new(), "systemd-networkd does not run");
    bench.run(0, "systemd-networkd");
    assert_eq!(ids(&bench.findings()), ["machine.networkd"]);
    // What the remedy says: a file that comes first and leaves them alone.
    let first = "[Match]\nName=cni* flannel* cali* veth*\n[Link]\nUnmanaged=yes\n";
    bench.write(0, "run/systemd/network/05-pods.network", first);
    assert_eq!(ids(&bench.findings()), Vec::<&str>::new());
    bench.sh("rm $R0/run/systemd/network/05-pods.network");
    bench.write(0, "etc/systemd/network/10-all.network", "[Match]\nName=*\nType=ether\n[Network]\nDHCP=yes\n");
    assert_eq!(ids(&bench.findings()), Vec::<&str>::new(), "bridges and tunnels are of another type");
    bench.write(0, "etc/systemd/network/10-all.network", "[Match]\nName=!en* eth*\n[Network]\nDHCP=yes\n");
    assert_eq!(ids(&bench.findings()), ["machine.networkd"]);
    bench.end();
    // kube-proxy, flanneld, kubelet, in the order they were started.
    bench.end();
    bench.end();
    assert_eq!(ids(&bench.findings()), ["flannel.not-running"]);
    bench.run(0, "flanneld");
    bench.sh("rm $R0/etc/kubernetes/kubelet.conf");
    assert_eq!(ids(&bench.findings()), Vec::<&str>::new(), "the kubelet runs");
}

/// What a reset leaves is found as that, and as nothing else.
#[test]
fn a_host_that_was_reset() {
    let mut bench = Bench::new(1);
    bench.end();
    bench.end();
    bench.end();
    bench.sh("rm -r $R0/etc/kubernetes");
    let mut found = ids(&bench.findings());
    found.sort_unstable();
    assert_eq!(found, ["leftover.chains", "leftover.config", "leftover.devices"]);
}

#[test]
fn faults_in_pairs() {
    let bench = Bench::new(3);
    bench.sh("ip -n $N0 route del 10.244.1.0/24
         bridge -n $N1 fdb del 0a:58:0a:f4:00:02 dev flannel.1
         in2 sh -c 'echo 0 > /proc/sys/net/ipv4/ip_forward'
         cp $R0/etc/machine-id $R2/etc/machine-id");
    let found = bench.findings();
    assert_eq!(
        ids(&found),
        ["flannel.peer-route", "flannel.peer-fdb", "kernel.ip-forward", "machine.same-id"],
        "{found:#?}"
    );
    assert_eq!(found[0].edge, Some(("node0".to_owned(), "node1".to_owned())));
    assert_eq!(found[1].edge, Some(("node1".to_owned(), "node2".to_owned())));
}

/// The real plugin says what the row says, when the bridge has another address.
#[test]
fn the_plugin_says_the_symptom() {
    let bench = Bench::new(1);
    bench.sh("ip -n $N0 address del 10.244.0.1/24 dev cni0; ip -n $N0 address add 10.244.9.1/24 dev cni0");
    let said = bench.add(0, &bench.netns("0p2"), "cc");
    assert!(said.contains("already has an IP address different from 10.244.0.1/24"), "{said}");
    let row = kiln_doctor::checks::row("flannel.bridge-address").unwrap();
    assert!(row.symptoms.iter().any(|symptom| symptom.contains("already has an IP address different from")));
}

/// Files that podman and CRI-O bring stay behind flannel's, and are no conflict; before it they are one.
#[test]
fn configuration_of_packages() {
    let bench = Bench::new(1);
    let podman = r#"{"name":"podman","cniVersion":"0.4.0","plugins":[{"type":"bridge","ipam":{"type":"host-local"}}]}"#;
    bench.write(0, "etc/cni/net.d/87-podman-bridge.conflist", podman);
    bench.write(0, "etc/cni/net.d/200-loopback.conf", r#"{"cniVersion":"0.4.0","name":"lo","type":"loopback"}"#);
    assert_eq!(ids(&bench.findings()), Vec::<&str>::new(), "{:#?}", bench.findings());
    bench.sh("rm $R0/etc/cni/net.d/*; echo '{}' > /dev/null");
    bench.write(0, "etc/cni/net.d/10-crio-bridge.conflist", podman);
    let flannel = r#"{"name":"cbr0","cniVersion":"0.3.1","plugins":[{"type":"flannel"},{"type":"portmap"}]}"#;
    bench.write(0, "etc/cni/net.d/20-flannel.conflist", flannel);
    assert_eq!(ids(&bench.findings()), ["cni.two-configs"]);
}
