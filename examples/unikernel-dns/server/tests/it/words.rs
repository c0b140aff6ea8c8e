//! Command lines.

use std::net::Ipv4Addr;

use dns_server::words::{Address, Words};

fn fixed(address: [u8; 4], prefix: u8, gateway: Option<[u8; 4]>) -> Address {
    Address::Fixed { address: Ipv4Addr::from(address), prefix, gateway: gateway.map(Ipv4Addr::from) }
}

#[test]
fn addresses() {
    for (line, wanted) in [
        ("", Address::Dhcp),
        ("quiet", Address::Dhcp),
        ("ip=dhcp", Address::Dhcp),
        ("ip=10.0.2.15::10.0.2.2:255.255.255.0", fixed([10, 0, 2, 15], 24, Some([10, 0, 2, 2]))),
        ("ip=10.0.2.15::10.0.2.2:255.255.255.0:dns:eth0:off", fixed([10, 0, 2, 15], 24, Some([10, 0, 2, 2]))),
        ("ip=10.0.2.15:::255.255.255.255", fixed([10, 0, 2, 15], 32, None)),
    ] {
        assert_eq!(Words::parse(line).unwrap().address, wanted, "{line}");
    }
    for line in [
        "ip=",
        "ip=off",
        "ip=10.0.2.15",
        "ip=10.0.2.15::10.0.2.2",
        "ip=10.0.2.15::10.0.2.2:255.0.255.0",
        "ip=10.0.2.15::x:255.255.255.0",
        "ip=10.0.2.15:10.0.2.9:10.0.2.2:255.255.255.0",
        "ip=0.0.0.0:::255.255.255.0",
        "ip=255.255.255.255:::255.255.255.0",
        "ip=224.0.0.1:::255.255.255.0",
        "ip=10.0.2.15:::0.0.0.0",
        "ip=10.0.2.15:::255.255.255.0:a:b:dhcp",
    ] {
        let bad = Words::parse(line).map(drop).unwrap_err();
        assert_eq!(bad.word, line);
    }
}

#[test]
fn devices() {
    let line = "a virtio_mmio.device=512@0xfeb00e00:12 virtio_mmio.device=0x200@0xfeb00c00:11:3 b";
    let words = Words::parse(line).unwrap();
    assert_eq!((words.devices(), words.unused), (&[0xfeb0_0e00, 0xfeb0_0c00][..], 2));
    for value in [
        "",
        "512",
        "512@0xfeb00e00",
        "512@feb00e00:1",
        "x@0xfeb00e00:1",
        "512@0x0:1",
        "512@0x1:1",
        "512@0xfffffffff:1",
        "512@0xfeb00e00:x",
    ] {
        assert!(Words::parse(&format!("virtio_mmio.device={value}")).is_err(), "{value}");
    }
    let many = "virtio_mmio.device=512@0xfeb00e00:12 ".repeat(33);
    assert_eq!(Words::parse(&many).unwrap_err().expected, "at most 32 devices");
}
