//! The command line, alone and over a Clusterfile.

use kiln_clusterfile::{Flags, Secret, read};

use super::{line, rendered, shown, with_flags, with_spec};

fn flags(masters: &str, nodes: &str) -> Flags {
    let list = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Flags { masters: list(masters), nodes: list(nodes), ..Flags::default() }
}

#[test]
fn lists_and_ranges_make_a_cluster() {
    let flags = Flags {
        image: Some("kubernetes:v1.19.8".into()),
        more_images: vec!["helm:3".into(), "calico:3".into()],
        user: Some("ops".into()),
        password: Some(Secret::new("hunter2")),
        port: Some(2222),
        env: vec!["A=1".into(), "A=2;3".into()],
        args: vec!["--wait".into()],
        ..flags("10.0.0.1,10.0.0.3-10.0.0.4:23", "[fd00::1]:24")
    };
    let cluster = read(None, &flags).cluster.unwrap();
    assert_eq!(
        cluster.more_images.iter().map(|image| image.value.familiar()).collect::<Vec<_>>(),
        ["helm:3", "calico:3"]
    );
    assert_eq!(
        cluster.hosts.iter().map(line).collect::<Vec<_>>(),
        ["10.0.0.1 master", "10.0.0.3 master", "10.0.0.4 master", "fd00::1 node"]
    );
    let ports: Vec<u16> = cluster.hosts.iter().map(|host| host.ssh.port.as_ref().unwrap().value).collect();
    assert_eq!(ports, [2222, 23, 23, 24]);
    assert_eq!(cluster.hosts[3].ssh.user.as_ref().map(|user| user.origin.to_string()), Some("--user".to_owned()));
    assert_eq!(cluster.env.get("A").unwrap().iter().map(|v| &*v.value).collect::<Vec<_>>(), ["1", "2", "3"]);
    assert_eq!(cluster.hosts[0].addresses[0].origin.to_string(), "--masters");
}

#[test]
fn options_win_over_the_file_and_hosts_over_options() {
    let text = "apiVersion: sealer.io/v2
kind: Cluster
spec:
  env: [A=1, B=1]
  ssh: {user: ops, passwd: a}
  hosts:
  - {ips: [10.0.0.1], roles: [master]}
  - {ips: [10.0.0.2], roles: [node], ssh: {user: other}}
";
    let flags = Flags { user: Some("root".into()), env: vec!["A=9".into()], ..flags("10.0.0.1", "10.0.0.3") };
    let cluster = with_flags(text, &flags).cluster.unwrap();
    assert_eq!(
        cluster.hosts.iter().map(line).collect::<Vec<_>>(),
        ["10.0.0.1 master", "10.0.0.2 node", "10.0.0.3 node"]
    );
    let users: Vec<&str> = cluster.hosts.iter().map(|host| &*host.ssh.user.as_ref().unwrap().value).collect();
    assert_eq!(users, ["root", "other", "root"]);
    assert!(cluster.hosts.iter().all(|host| host.ssh.password.is_some()));
    assert_eq!((cluster.env.last("A"), cluster.env.last("B")), (Some("9"), Some("1")));
}

#[test]
fn conflicts_are_errors_that_name_both_places() {
    let text = with_spec("image: a");
    let found = with_flags(&text, &flags("", "10.0.0.7,10.0.0.1")).found;
    assert_eq!(shown(&found), ["E BadOption 1: 10.0.0.1 has the role master already, by Clusterfile:5"]);
    assert_eq!(found[0].source.name, "--nodes");
    let found = read(None, &flags("10.0.0.1", "10.0.0.1")).found;
    assert_eq!(shown(&found), ["E BadOption 1: 10.0.0.1 has the role master already, by --masters"]);
    let read = read(None, &flags("10.0.0.1,10.0.0.300", ""));
    assert!(rendered(&read).contains("10.0.0.1,10.0.0.300\n  |          ^^^^^^^^^^"), "{}", rendered(&read));
    for bad in ["10.0.0.9-10.0.0.1", "a", "10.0.0.1,10.0.0.1", "0.0.0.0-255.255.255.255", "::-ffff::"] {
        assert!(kiln_clusterfile::read(None, &flags(bad, "")).cluster.is_none(), "{bad}");
    }
    let bad = Flags {
        env: vec!["A".into(), "1A=b".into()],
        name: Some("-".into()),
        image: Some("A B".into()),
        ..Flags::default()
    };
    assert_eq!(kiln_clusterfile::read(None, &bad).found.len(), 4);
}

#[test]
fn an_address_can_be_said_for_a_host() {
    let flags = Flags { node_addresses: vec!["10.0.0.1=192.168.0.1".into()], ..Flags::default() };
    let cluster = with_flags(&with_spec("image: a"), &flags).cluster.unwrap();
    assert_eq!(cluster.hosts[0].node_address.as_ref().map(|a| a.value.to_string()), Some("192.168.0.1".to_owned()));
    for bad in ["10.0.0.1", "10.0.0.1=x", "10.0.0.2=10.0.0.1"] {
        let flags = Flags { node_addresses: vec![bad.into()], ..Flags::default() };
        assert_eq!(with_flags(&with_spec("image: a"), &flags).found.len(), 1, "{bad}");
    }
}
