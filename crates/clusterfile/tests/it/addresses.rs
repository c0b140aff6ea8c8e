//! Hosts with several addresses.

use std::net::IpAddr;

use kiln_clusterfile::address::{Address, AddressError, Addresses, Choice, Reason, Route, choose, flannel};
use kiln_clusterfile::model::Cidr;
use kiln_clusterfile::{Cluster, Flags, read};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// `eth0 10.0.0.1/24, route default eth0`
fn facts(text: &str) -> Addresses {
    let mut facts = Addresses::default();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, second) = part.split_once(' ').unwrap();
        let cidr = |text: &str| {
            let (address, prefix) = text.split_once('/').unwrap();
            Cidr { address: ip(address), prefix: prefix.parse().unwrap() }
        };
        if first == "via" {
            let (interface, destination) = second.split_once(' ').unwrap();
            facts.routes.push(Route { interface: interface.into(), destination: cidr(destination) });
        } else {
            let Cidr { address, prefix } = cidr(second);
            facts.addresses.push(Address { interface: first.into(), address, prefix });
        }
    }
    facts
}

fn hosts(masters: &str, said: &[&str]) -> Cluster {
    let node_addresses = said.iter().map(|text| (*text).to_owned()).collect();
    read(None, &Flags { masters: Some(masters.into()), node_addresses, ..Flags::default() }).cluster.unwrap()
}

fn chosen(cluster: &Cluster, facts: &[Addresses]) -> Vec<Result<Choice, AddressError>> {
    choose(&cluster.hosts.iter().collect::<Vec<_>>(), facts, false)
}

#[track_caller]
fn shown(cluster: &Cluster, facts: &[Addresses]) -> Vec<String> {
    let show =
        |choice: Result<Choice, AddressError>| choice.map(|c| format!("{} {}: {}", c.interface, c.address, c.reason));
    chosen(cluster, facts).into_iter().map(|choice| show(choice).unwrap_or_else(|error| error.to_string())).collect()
}

#[test]
fn machines_with_a_public_and_a_private_network() {
    // As in clouds: the default route leads out by the public address, which other tenants' rules close.
    let cluster = hosts("10.47.217.91,10.28.61.30", &[]);
    let facts = [
        facts("lo 127.0.0.1/8, eth0 10.47.217.91/9, eth1 101.201.1.1/22, docker0 172.17.0.1/16, via eth1 0.0.0.0/0"),
        facts("lo 127.0.0.1/8, eth0 10.28.61.30/9, eth1 123.56.2.2/22, docker0 172.17.0.1/16, via eth1 0.0.0.0/0"),
    ];
    let all = "all 2 hosts have an address in its network";
    assert_eq!(shown(&cluster, &facts), [format!("eth0 10.47.217.91: {all}"), format!("eth0 10.28.61.30: {all}")]);
    let choices: Vec<Choice> = chosen(&cluster, &facts).into_iter().map(Result::unwrap).collect();
    assert_eq!(choices[0].others, [ip("101.201.1.1")]);
    assert_eq!(flannel(&choices), ["--iface=eth0"]);
}

#[test]
fn an_address_that_all_have_is_nobody_s() {
    let cluster = hosts("192.168.56.11,192.168.56.12", &[]);
    let facts = [
        facts("enp0s3 10.0.2.15/24, enp0s8 192.168.56.11/24, via enp0s3 0.0.0.0/0"),
        facts("enp0s3 10.0.2.15/24, enp0s9 192.168.56.12/24, via enp0s3 0.0.0.0/0"),
    ];
    let choices: Vec<Choice> = chosen(&cluster, &facts).into_iter().map(Result::unwrap).collect();
    assert_eq!(choices.iter().map(|c| c.address).collect::<Vec<_>>(), [ip("192.168.56.11"), ip("192.168.56.12")]);
    assert_eq!(flannel(&choices), [r"--iface-regex=^192\.168\.56\."]);
}

#[test]
fn what_the_user_says_counts_if_the_host_has_it() {
    let cluster = hosts("10.0.0.1,10.0.0.2", &["10.0.0.1=192.168.0.1", "10.0.0.2=192.168.0.9"]);
    let facts = [facts("a 10.0.0.1/24, b 192.168.0.1/24"), facts("a 10.0.0.2/24, b 192.168.0.2/24")];
    assert_eq!(
        shown(&cluster, &facts),
        [
            "b 192.168.0.1: said by --node-address",
            "10.0.0.2 does not have the address 192.168.0.9 (--node-address); it has 10.0.0.2, 192.168.0.2"
        ]
    );
}

#[test]
fn networks_apart_need_routes() {
    let cluster = hosts("10.1.0.1,10.2.0.1", &[]);
    let a = "eth0 10.1.0.1/24, eth1 172.30.0.1/24, via eth0 0.0.0.0/0";
    let b = "eth0 10.2.0.1/24, eth1 172.31.0.1/24, via eth1 172.30.0.0/16, via eth0 0.0.0.0/0";
    let routed = "all peers have a route to it";
    assert_eq!(
        shown(&cluster, &[facts(a), facts(b)]),
        [format!("eth1 172.30.0.1: {routed}"), format!("eth0 10.2.0.1: {routed}")]
    );
    let lost = facts("eth0 10.2.0.1/24");
    assert_eq!(
        shown(&cluster, &[facts(a), lost])[0],
        "10.2.0.1 has no route to any address of 10.1.0.1 (10.1.0.1, 172.30.0.1)"
    );
    let choices: Vec<Choice> = chosen(&cluster, &[facts(a), facts(b)]).into_iter().map(Result::unwrap).collect();
    assert_eq!(flannel(&choices), [r"--iface-regex=^(172\.30\.0\.1|10\.2\.0\.1)$"]);
}

#[test]
fn one_host_and_no_facts() {
    let cluster = hosts("10.0.0.1", &[]);
    assert_eq!(
        shown(&cluster, &[facts("eth0 10.0.0.9/24, eth1 10.0.0.1/24")]),
        ["eth1 10.0.0.1: the address to log in at"]
    );
    assert_eq!(shown(&cluster, &[facts("eth0 10.9.0.1/24")]), ["eth0 10.9.0.1: the only address of the host"]);
    let behind = facts("eth0 10.9.0.1/24, eth1 10.8.0.1/24, via eth1 0.0.0.0/0");
    assert_eq!(
        chosen(&cluster, &[behind])[0].as_ref().map(|c| (c.address, c.reason.clone())),
        Ok((ip("10.8.0.1"), Reason::Routed))
    );
    assert_eq!(shown(&cluster, &[]), ["10.0.0.1 has no IPv4 address that peers can use"]);
    let none = choose(&cluster.hosts.iter().collect::<Vec<_>>(), &[facts("eth0 10.0.0.1/24, eth0 fe80::1/64")], true);
    assert!(matches!(none[0], Err(AddressError::None { v6: true, .. })));
    assert!(choose(&[], &[], false).is_empty() && flannel(&[]).is_empty());
}
