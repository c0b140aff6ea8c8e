//! Lists of hosts.

use kiln_kubeadm::hosts::{HostsError, parse};

fn shown(list: &str) -> Vec<String> {
    parse(list).unwrap_or_else(|e| panic!("{e}")).iter().map(ToString::to_string).collect()
}

#[test]
fn lists_have_addresses_ranges_and_ports() {
    assert_eq!(shown("10.0.0.1, 10.0.0.3:2222,"), ["10.0.0.1", "10.0.0.3:2222"]);
    assert_eq!(shown("10.0.0.254-10.0.1.1"), ["10.0.0.254", "10.0.0.255", "10.0.1.0", "10.0.1.1"]);
    assert_eq!(shown("10.0.0.1-10.0.0.2:23"), ["10.0.0.1:23", "10.0.0.2:23"]);
    assert_eq!(
        shown("fd00::1,[fd00::5]-[fd00::6]:22,[fd00::9]"),
        ["fd00::1", "[fd00::5]:22", "[fd00::6]:22", "fd00::9"]
    );
    assert_eq!(shown(""), Vec::<String>::new());
    assert_eq!(shown("::1-::2"), ["::1", "::2"]);
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    for (list, at, why) in [
        ("10.0.0.1, host", 10, "`host` is no IP address"),
        ("10.0.0.9-10.0.0.1", 0, "this range runs backwards"),
        ("10.0.0.1-fd00::1", 0, "a range has two addresses of one family"),
        ("10.0.0.1:0", 0, "`0` is no port"),
        ("10.0.0.1:99999", 0, "`99999` is no port"),
        ("10.0.0.1:1-10.0.0.2:2", 0, "both ends have a port, and not the same"),
        ("10.0.0.1,10.0.0.1:22", 9, "10.0.0.1 is there already"),
        ("0.0.0.0-255.255.255.255", 0, "more than 10000 hosts"),
        ("::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 0, "more than 10000 hosts"),
        ("[fd00::1", 0, "a `[` is not closed"),
        ("[fd00::1]x", 0, "`x` behind the address"),
        ("-", 0, "`` is no IP address"),
    ] {
        let HostsError { at: found, why: said, .. } = parse(list).unwrap_err();
        assert_eq!((found, &*said), (at, why), "{list}");
    }
}
