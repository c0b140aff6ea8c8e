//! The words a guest is given, and the command lines of monitors.

use std::path::Path;

use kiln_testkit::kernels;
use kiln_unikernel::line::{Guest, QEMU, compose};
use kiln_unikernel::solo5::DeviceKind;
use kiln_unikernel::tender::{self, Attached};
use kiln_unikernel::{Kind, Monitor};

use crate::kinds::of;

fn guest(kind: &Kind) -> Guest<'_> {
    Guest { kind, version: None, solo5: None, net: None, initrd: false }
}

#[test]
fn every_kind_is_told_of_its_network_in_its_own_words() {
    let words = |kind: Kind, arguments: &str, net: bool, initrd: bool, version: Option<&str>| {
        let net = net.then_some(&QEMU);
        compose(&Guest { net, initrd, version, ..guest(&kind) }, arguments).unwrap()
    };
    let all = [
        words(Kind::Unikraft, "-c /n.conf", true, true, None),
        words(Kind::Unikraft, "-c /n.conf", false, false, Some("0.17.0")),
        words(Kind::Unikraft, "hello", true, true, Some("0.16.0")),
        words(Kind::Unikraft, "my own -- hello", true, true, None),
        words(Kind::Rumprun, "nginx -g \"daemon off\"", true, false, None),
        words(Kind::Rumprun, "{\"cmdline\":\"x\"}", true, false, None),
        words(Kind::Hermit, "", true, true, None),
        words(Kind::Hermit, "--port 80", true, true, None),
        words(Kind::Linux, "/init -v", true, true, None),
        words(Kind::Linux, "/sbin/init", false, false, None),
        words(Kind::Linux, "console=hvc0 root=/dev/vda", true, false, None),
        words(Kind::Osv, "--rootfs=rofs /hello", true, false, None),
        words(Kind::Plain, "  zone=x ", true, false, None),
    ];
    insta::assert_snapshot!(all.join("\n"), @r#"
    unikraft netdev.ip=10.0.2.15/24:10.0.2.2:10.0.2.3 vfs.fstab=[ "initrd0:/:extract::ramfs=1:" ] -- -c /n.conf
    unikraft -- -c /n.conf
    unikraft netdev.ipv4_addr=10.0.2.15 netdev.ipv4_gw_addr=10.0.2.2 netdev.ipv4_subnet_mask=255.255.255.0 vfs.rootfs=initrd -- hello
    my own -- hello
    {"cmdline":"nginx -g \"daemon off\"","net":{"if":"vioif0","type":"inet","method":"dhcp"}}
    {"cmdline":"x"}
    ip=10.0.2.15/24 gateway=10.0.2.2
    ip=10.0.2.15/24 gateway=10.0.2.2 -- --port 80
    console=ttyS0 panic=-1 ip=10.0.2.15::10.0.2.2:255.255.255.0::eth0:off:10.0.2.3 rdinit=/init -- -v
    console=ttyS0 panic=-1 init=/sbin/init
    panic=-1 console=hvc0 root=/dev/vda
    --rootfs=rofs /hello
    zone=x
    "#);
    assert!(compose(&guest(&Kind::Plain), "a\u{7}b").unwrap_err().to_string().contains("control character"));
}

#[test]
fn mirage_is_told_of_its_card_by_that_cards_name() {
    let words = |devices: &[(&str, u32)], arguments: &str| {
        let kernel = of(kernels::solo5(3, devices).build());
        let guest = Guest { solo5: kernel.solo5.as_ref(), net: Some(&QEMU), ..guest(&Kind::Solo5) };
        compose(&guest, arguments).unwrap()
    };
    assert_eq!(words(&[("service", 2)], "-l debug"), "--ipv4=10.0.2.15/24 --ipv4-gateway=10.0.2.2 -l debug");
    assert_eq!(words(&[("lan", 2)], ""), "--lan-ipv4=10.0.2.15/24 --lan-ipv4-gateway=10.0.2.2");
    assert_eq!(words(&[("service", 2)], "--ipv4=10.0.2.9/24"), "--ipv4=10.0.2.9/24");
    assert_eq!(words(&[("storage", 1)], "x"), "x");
}

#[test]
fn tenders_get_every_device_or_say_which_is_missing() {
    let wants = of(kernels::solo5(2, &[("service", 2), ("storage", 1)]).build()).solo5.unwrap();
    let start = |attached: &[Attached], line: &str| {
        tender::solo5(Monitor::Spt, Path::new("k.spt"), &wants, attached, 64, line).map_err(|e| e.to_string())
    };
    let net = tender::attached(DeviceKind::Net, "service=tap0").unwrap();
    let disk = tender::attached(DeviceKind::Block, "storage=/d.img").unwrap();
    let words = start(&[disk.clone(), net.clone()], "--ipv4=10.0.0.2/24").unwrap();
    let wanted = ["--mem=64", "--net:service=tap0", "--block:storage=/d.img", "--", "k.spt", "--ipv4=10.0.0.2/24"];
    assert_eq!(words, wanted);
    assert_eq!(start(&[disk.clone(), net.clone()], "").unwrap().last().unwrap(), "k.spt");
    let missing = start(std::slice::from_ref(&disk), "").unwrap_err();
    assert!(missing.contains("it wants a network card called `service`: add --net service=TAP"), "{missing}");
    let more = tender::attached(DeviceKind::Net, "other=tap1").unwrap();
    let foreign = start(&[disk, net, more], "").unwrap_err();
    assert!(foreign.contains("no network card called `other`; it wants `service`, `storage`"), "{foreign}");
    for bad in ["tap0", "=tap0", "service=", "a-b=tap0", "a=b\n"] {
        assert!(tender::attached(DeviceKind::Net, bad).is_err(), "{bad}");
    }
}

#[test]
fn firecracker_gets_a_configuration() {
    let net = tender::attached(DeviceKind::Net, "eth0=tap0").unwrap();
    let disk = tender::attached(DeviceKind::Block, "root=/d.img").unwrap();
    let (kernel, initrd) = (Path::new("/k"), Path::new("/i"));
    let config = tender::firecracker(kernel, Some(initrd), &[net, disk], (128, 2), "console=ttyS0").unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&config).unwrap(), @r#"
    {
      "boot-source": {
        "kernel_image_path": "/k",
        "boot_args": "console=ttyS0",
        "initrd_path": "/i"
      },
      "drives": [
        {
          "drive_id": "root",
          "path_on_host": "/d.img",
          "is_root_device": false,
          "is_read_only": false
        }
      ],
      "machine-config": {
        "vcpu_count": 2,
        "mem_size_mib": 128,
        "smt": false
      },
      "network-interfaces": [
        {
          "iface_id": "eth0",
          "host_dev_name": "tap0"
        }
      ]
    }
    "#);
    let plain = tender::firecracker(kernel, None, &[], (128, 1), "").unwrap();
    assert!(plain.get("network-interfaces").is_none() && plain["boot-source"].get("initrd_path").is_none());
}
