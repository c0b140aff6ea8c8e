//! Which kernel is which, and what runs it.

use std::io::Cursor;

use kiln_testkit::kernels::{self, Elf};
use kiln_unikernel::solo5::{DeviceKind, Target};
use kiln_unikernel::{Kernel, Kind, Monitor, recognise};

pub fn of(bytes: impl AsRef<[u8]>) -> Kernel {
    recognise(&mut Cursor::new(bytes.as_ref())).unwrap()
}

#[test]
fn every_kind_is_told_by_what_its_makers_wrote() {
    let told = |bytes: Vec<u8>| {
        let kernel = of(&bytes);
        assert_eq!(kernel.size, bytes.len() as u64);
        let version = kernel.version.as_deref().unwrap_or("-");
        let monitor = kernel.monitor().map_or_else(|e| e.to_string(), |m| m.to_string());
        let boot = kernel.boot.words();
        format!("{} | {version} | {} | {boot} | {monitor}\n", kernel.kind.name(), kernel.because)
    };
    let all: String = [
        kernels::solo5(1, &[]).build(),
        kernels::solo5(2, &[("service", 2)]).build(),
        kernels::solo5(3, &[]).build(),
        kernels::solo5(4, &[]).build(),
        kernels::unikraft("0.17.0").build(),
        kernels::unikraft_fc("0.16.0~abc").build(),
        kernels::osv().build(),
        kernels::osv_disk("/hello"),
        kernels::rumprun().build(),
        kernels::hermit().build(),
        kernels::vmlinux("6.1.0-9-amd64").build(),
        kernels::bz_image("6.12.1"),
        kernels::pvh(&[0xf4]).build(),
        Elf::new().narrow().code(kernels::multiboot(0)).build(),
        Elf::new().note("Xen", 6, b"Mini-OS\0").build(),
    ]
    .map(told)
    .concat();
    insta::assert_snapshot!(all, @"
    mirage | - | its notes say that it is for hvt of Solo5 | its entry point alone | hvt
    mirage | - | its notes say that it is for spt of Solo5 | its entry point alone | spt
    mirage | - | its notes say that it is for virtio of Solo5 | multiboot with addresses | qemu
    mirage | - | its notes say that it is for muen of Solo5 | its entry point alone | qemu cannot run it: it is for muen, which is no monitor of this kind
    unikraft | 0.17.0 | it has Unikraft's section .uk_libinfo | multiboot | qemu
    unikraft | 0.16.0~abc | it has Unikraft's section .uk_libinfo | its entry point alone | firecracker
    osv | - | it has OSv's section .tracepoint_patch_sites | PVH | qemu
    osv | - | its boot sector is OSv's | a boot sector | qemu
    rumprun | - | it has Rumprun's recipe in a note | multiboot | qemu
    hermit | - | its note of Hermit says version 4 of the entry | its entry point alone | qemu cannot run it: it is an application of Hermit: the kernel is Hermit's loader, and this its --initrd
    linux | 6.1.0-9-amd64 | its notes for Xen say linux | PVH | qemu
    linux | 6.12.1 | it has the header of a bzImage | Linux's boot protocol | qemu
    plain | - | it can be entered by PVH | PVH | qemu
    plain | - | it can be entered by multiboot | multiboot | qemu
    mini-os | - | its notes for Xen say Mini-OS | its entry point alone | xen
    ");
}

#[test]
fn devices_of_solo5_have_names() {
    let kernel = of(kernels::solo5(2, &[("service", 2), ("storage", 1), ("management", 2)]).build());
    let solo5 = kernel.solo5.unwrap();
    assert_eq!((solo5.target, solo5.abi_version), (Target::Spt, 2));
    assert_eq!(solo5.named(DeviceKind::Net).collect::<Vec<_>>(), ["service", "management"]);
    assert_eq!(solo5.named(DeviceKind::Block).collect::<Vec<_>>(), ["storage"]);
}

#[test]
fn a_monitor_that_cannot_run_it_says_why() {
    let why = |kernel: &Kernel, monitor: Monitor| kernel.runs_under(monitor).unwrap_err().to_string();
    let hvt = of(kernels::solo5(1, &[]).build());
    assert_eq!(why(&hvt, Monitor::Spt), "spt cannot run it: its notes say that it is for hvt");
    assert!(why(&of(kernels::solo5(4, &[]).build()), Monitor::Qemu).contains("muen"));
    let wide = of(Elf::new().code(kernels::multiboot(2)).build());
    assert!(why(&wide, Monitor::Qemu).contains("has no addresses"));
    assert!(why(&wide, Monitor::Firecracker).contains("entered by multiboot"));
    let linux = of(kernels::bz_image("6.1.0"));
    assert!(why(&linux, Monitor::Firecracker).contains("uncompressed kernels"));
    assert!(why(&linux, Monitor::Hvt).contains("no notes of Solo5"));
    assert!(why(&of(kernels::hermit().build()), Monitor::Qemu).contains("Hermit's loader"));
    assert!(why(&of(kernels::unikraft("1.0").build()), Monitor::Xen).contains("no entry for PVH"));
}

#[test]
fn what_is_in_a_disk_of_osv_is_its_command_line() {
    let kernel = of(kernels::osv_disk("--nopci /hello"));
    assert_eq!((kernel.kind, kernel.line.as_deref()), (Kind::Osv, Some("--nopci /hello")));
    assert_eq!(of(kernels::osv_disk("")).line, None);
}

#[test]
fn what_images_say_is_for_a_monitor_is_for_one_that_is_known() {
    for os in kiln_oci::platform::MONITORS {
        let monitor = Monitor::of_platform(os).unwrap_or_else(|| panic!("{os} is for no monitor"));
        let platform: kiln_oci::Platform = format!("{os}/amd64").parse().unwrap();
        assert!(platform.is_monitor() && monitor.platform().is_some(), "{os}");
    }
    for (os, _) in kiln_unikernel::monitor::PLATFORMS {
        assert!(kiln_oci::platform::MONITORS.contains(&os), "images are not looked through for {os}");
    }
    for monitor in Monitor::ALL {
        assert!(monitor.platform().is_none_or(|os| Monitor::of_platform(os) == Some(monitor)));
    }
    assert_eq!(Monitor::of_platform("linux"), None);
}
