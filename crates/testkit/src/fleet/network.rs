//! The network of pods: each host has a subnet on a bridge of Debian's `bridge` plugin, with addresses of `host-local`, and
//! a way to the subnets of the others.

use std::fmt::Write as _;

use super::{Fleet, Host};

/// The network of all pods; `10.244.0.0/16`, as flannel's manifest has it.
pub const PODS: &str = "10.244.0.0/16";

/// How packets get to pods of other hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Routes to the hosts.
    Routes,
    /// VXLAN on UDP port 8472: the interface `flannel.1`, its routes, neighbours and forwarding entries as flanneld
    /// programs them. flanneld itself is not in Debian: nothing follows hosts that come later.
    Vxlan,
}

/// Writes the plugins' configuration on all of these hosts and joins their pods' subnets: which host, and which subnet
/// Kubernetes gave its node, as `10.244.1.0/24`.
///
/// # Panics
/// If a host does not take it, or a subnet is not of this form.
pub fn connect(fleet: &Fleet, subnets: &[(usize, String)], way: Way) {
    for (number, subnet) in subnets {
        let host = fleet.host(*number);
        let mtu = if way == Way::Vxlan { 1450 } else { 1500 };
        host.write("/etc/cni/net.d/10-bridge.conflist", 0o644, conflist(subnet, mtu));
        // What leaves the pods' network has the host's address.
        let mut script = format!(
            "set -e
            echo 1 > /proc/sys/net/ipv4/ip_forward
            iptables -t nat -C POSTROUTING -s {PODS} ! -d {PODS} -j MASQUERADE 2>/dev/null ||
              iptables -t nat -A POSTROUTING -s {PODS} ! -d {PODS} -j MASQUERADE
            iptables -C FORWARD -s {PODS} -j ACCEPT 2>/dev/null || iptables -A FORWARD -s {PODS} -j ACCEPT
            iptables -C FORWARD -d {PODS} -j ACCEPT 2>/dev/null || iptables -A FORWARD -d {PODS} -j ACCEPT
            "
        );
        if way == Way::Vxlan {
            script += &tunnel(host, subnet);
        }
        for (other, subnet) in subnets.iter().filter(|(other, _)| other != number) {
            script += &route(fleet.host(*other), subnet, way);
        }
        let _ = host.run(&script).ok();
    }
}

fn conflist(subnet: &str, mtu: u32) -> String {
    let ipam = format!(r#"{{"type":"host-local","ranges":[[{{"subnet":"{subnet}"}}]],"routes":[{{"dst":"0.0.0.0/0"}}]}}"#);
    let bridge = format!(
        r#"{{"type":"bridge","bridge":"cni0","isDefaultGateway":true,"hairpinMode":true,"mtu":{mtu},"ipam":{ipam}}}"#
    );
    let portmap = r#"{"type":"portmap","capabilities":{"portMappings":true}}"#;
    format!(r#"{{"cniVersion":"0.3.1","name":"cbr0","plugins":[{bridge},{portmap}]}}"#)
}

/// The first address of a subnet, which flannel gives the tunnel.
fn first(subnet: &str) -> &str {
    subnet.strip_suffix("/24").unwrap_or_else(|| panic!("{subnet} is not as 10.244.1.0/24"))
}

/// The address of a tunnel in Ethernet, of the subnet.
fn mac(subnet: &str) -> String {
    first(subnet).split('.').fold("0a:58".to_owned(), |mut mac, part| {
        let _ = write!(mac, ":{:02x}", part.parse::<u8>().expect("a part of an address"));
        mac
    })
}

fn tunnel(host: &Host, subnet: &str) -> String {
    let (address, mac, first) = (host.address(), mac(subnet), first(subnet));
    let gateway = format!("{}1", first.strip_suffix('0').expect("a subnet ends with 0"));
    format!(
        "ip link show flannel.1 >/dev/null 2>&1 ||
          ip link add flannel.1 address {mac} type vxlan id 1 dev eth0 local {address} dstport 8472 nolearning
        ip link set flannel.1 mtu 1450 up
        ip address replace {first}/32 dev flannel.1
        mkdir -p /run/flannel
        printf 'FLANNEL_NETWORK={PODS}\\nFLANNEL_SUBNET={gateway}/24\\nFLANNEL_MTU=1450\\nFLANNEL_IPMASQ=true\\n' > /run/flannel/subnet.env
        "
    )
}

fn route(other: &Host, subnet: &str, way: Way) -> String {
    let (address, mac, first) = (other.address(), mac(subnet), first(subnet));
    match way {
        Way::Routes => format!("ip route replace {subnet} via {address}\n"),
        Way::Vxlan => format!(
            "ip route replace {subnet} via {first} dev flannel.1 onlink
            ip neigh replace {first} lladdr {mac} dev flannel.1 nud permanent
            bridge fdb replace {mac} dev flannel.1 dst {address} self permanent
            "
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_gives_the_tunnel_its_addresses() {
        assert_eq!(mac("10.244.1.0/24"), "0a:58:0a:f4:01:00");
        assert_eq!(first("10.244.255.0/24"), "10.244.255.0");
    }

    #[test]
    #[should_panic(expected = "10.244.0.0/16 is not as 10.244.1.0/24")]
    fn another_kind_of_subnet_is_refused() {
        let _ = first("10.244.0.0/16");
    }
}
