//! Unikernels made elsewhere: packed, pushed, pulled, looked at, started; by qemu for real.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use kiln_testkit::kernels::{self, Elf};
use kiln_testkit::tools::tool;
use kiln_testkit::{Auth, Initramfs, Output, Registry, TestContext};
use rustix::process::{Pid, Signal, kill_process};

fn context() -> TestContext {
    let t = TestContext::with_kiln(env!("CARGO_BIN_EXE_kiln")).timeout(Duration::from_secs(300));
    for (name, kernel) in [
        ("hello.hvt", kernels::solo5(1, &[("service", 2)])),
        ("hello.spt", kernels::solo5(2, &[])),
        ("hello.virtio", kernels::solo5(3, &[("service", 2)])),
        ("nginx", kernels::unikraft("0.17.0")),
        ("nginx-fc", kernels::unikraft_fc("0.17.0")),
        ("loader.elf", kernels::osv()),
        ("rump", kernels::rumprun()),
        ("app.hermit", kernels::hermit()),
        ("hermit-loader", Elf::new().narrow().code(kernels::multiboot(0))),
        ("plain", kernels::pvh(&kernels::says("hello", &kernels::POWER_OFF))),
    ] {
        t.write(name, 0o755, kernel.build());
    }
    t.write("usr.img", 0o644, kernels::osv_disk("--nopci /hello"));
    t.write("root.cpio", 0o644, "070701");
    t.filter(r"sha256:[0-9a-f]{64}", "sha256:…")
}

fn pack(t: &TestContext, args: &[&str]) -> Output {
    t.kiln(&[&["node", "pack"][..], args].concat())
}

/// The command line that would be run, with an accelerator that is there everywhere.
fn dry(t: &TestContext, args: &[&str]) -> Output {
    t.kiln(&[&["node", "run", "--dry-run", "--accelerator", "tcg"][..], args].concat())
}

#[test]
fn what_a_file_is_is_shown() {
    let t = context();
    let files = ["hello.spt", "hello.hvt", "nginx", "loader.elf", "usr.img", "rump", "app.hermit", "plain"];
    let shown: String =
        files.iter().map(|f| format!("{f}\n{}\n", t.kiln(&["node", "inspect", f]).ok().stdout)).collect();
    insta::assert_snapshot!(shown, @"
    hello.spt
    kind:         Solo5 (MirageOS)
    because:      its notes say that it is for spt of Solo5
    architecture: amd64
    entered by:   its entry point alone
    target:       spt (ABI 2)
    runs under:   spt
    size:         424 bytes

    hello.hvt
    kind:         Solo5 (MirageOS)
    because:      its notes say that it is for hvt of Solo5
    architecture: amd64
    entered by:   its entry point alone
    target:       hvt (ABI 2)
    network card: service
    runs under:   hvt
    size:         528 bytes

    nginx
    kind:         Unikraft
    because:      it has Unikraft's section .uk_libinfo
    version:      0.17.0
    architecture: amd64
    entered by:   multiboot
    runs under:   qemu
    size:         480 bytes

    loader.elf
    kind:         OSv
    because:      it has OSv's section .tracepoint_patch_sites
    architecture: amd64
    entered by:   PVH
    runs under:   qemu, firecracker, xen
    size:         552 bytes

    usr.img
    kind:         OSv
    because:      its boot sector is OSv's
    architecture: amd64
    entered by:   a boot sector
    command line: --nopci /hello
    runs under:   qemu
    size:         69632 bytes

    rump
    kind:         Rumprun
    because:      it has Rumprun's recipe in a note
    architecture: amd64
    entered by:   multiboot
    runs under:   qemu
    size:         280 bytes

    app.hermit
    kind:         Hermit
    because:      its note of Hermit says version 4 of the entry
    architecture: amd64
    entered by:   its entry point alone
    runs under:   nothing that is known
    size:         208 bytes

    plain
    kind:         a kernel that says nothing of its makers
    because:      it can be entered by PVH
    architecture: amd64
    entered by:   PVH
    runs under:   qemu, firecracker, xen
    size:         232 bytes
    ");
    let broken = t.out("broken");
    fs::write(&broken, &kernels::solo5(1, &[]).build()[..300]).unwrap();
    let told = t.kiln(&["node", "inspect", &broken.display().to_string()]).exits(1);
    insta::assert_snapshot!(told.stderr, @"
    error: cannot read [TMP]/out/broken: it is cut off: segment 2 (header at byte 176) would be 136 bytes at byte 288, and the file has 300
    ");
}

#[test]
fn command_lines_are_shown_for_every_monitor() {
    let t = context();
    let line = |args: &[&str]| {
        let out = dry(&t, args).ok();
        format!("{}\n{}{}\n", args.join(" "), out.stdout, out.stderr)
    };
    let all = [
        line(&["hello.spt", "--append", "--hello=world"]),
        line(&["hello.hvt", "--net", "service=tap0", "-m", "64"]),
        line(&["hello.virtio", "-p", "127.0.0.1:5353:53"]),
        line(&["nginx", "--initrd", "root.cpio", "--append", "-c /nginx.conf", "--no-network"]),
        line(&["nginx-fc", "--net", "eth0=tap0", "--append", "hello"]),
        line(&["loader.elf", "--append", "--rootfs=rofs /hello", "--block", "root=rofs.img"]),
        line(&["usr.img"]),
        line(&["rump", "--append", "redis-server"]),
        line(&["hermit-loader", "--initrd", "app.hermit"]),
    ];
    insta::assert_snapshot!(all.concat(), @r#"
    hello.spt --append --hello=world
    solo5-spt --mem=128 -- hello.spt --hello=world
    note: `solo5-spt` is not installed: build it from https://github.com/Solo5/solo5, or install it with opam

    hello.hvt --net service=tap0 -m 64
    solo5-hvt --mem=64 --net:service=tap0 -- hello.hvt
    note: `solo5-hvt` is not installed: build it from https://github.com/Solo5/solo5, or install it with opam

    hello.virtio -p 127.0.0.1:5353:53
    qemu-system-x86_64 -name kiln-unikernel -machine type=pc,accel=tcg -cpu max -m 128M -smp cpus=1 -kernel hello.virtio -append '--ipv4=10.0.2.15/24 --ipv4-gateway=10.0.2.2' -netdev user,id=user.0,hostfwd=tcp:127.0.0.1:[PORT]-:53 -device virtio-net-pci,netdev=user.0 -display none -vga none -no-reboot -device isa-debug-exit -serial stdio

    nginx --initrd root.cpio --append -c /nginx.conf --no-network
    qemu-system-x86_64 -name kiln-unikernel -machine type=pc,accel=tcg -cpu max -m 128M -smp cpus=1 -kernel nginx -initrd root.cpio -append 'unikraft vfs.fstab=[ "initrd0:/:extract::ramfs=1:" ] -- -c /nginx.conf' -nic none -display none -vga none -no-reboot -serial stdio

    nginx-fc --net eth0=tap0 --append hello
    firecracker --no-api --config-file /dev/stdin
    {
      "boot-source": {
        "kernel_image_path": "nginx-fc",
        "boot_args": "unikraft -- hello"
      },
      "drives": [],
      "machine-config": {
        "vcpu_count": 1,
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
    note: `firecracker` is not installed: no distribution has it: https://github.com/firecracker-microvm/firecracker/releases
    note: its standard input is this

    loader.elf --append --rootfs=rofs /hello --block root=rofs.img
    qemu-system-x86_64 -name kiln-unikernel -machine type=pc,accel=tcg -cpu max -m 256M -smp cpus=1 -kernel loader.elf -append '--rootfs=rofs /hello' -drive file=rofs.img,if=virtio,cache=writeback,discard=ignore,format=raw -netdev user,id=user.0 -device virtio-net-pci,netdev=user.0 -display none -vga none -no-reboot -serial stdio

    usr.img
    qemu-system-x86_64 -name kiln-unikernel -machine type=pc,accel=tcg -cpu max -m 256M -smp cpus=1 -boot c -drive file=usr.img,if=virtio,cache=writeback,discard=ignore,format=raw -netdev user,id=user.0 -device virtio-net-pci,netdev=user.0 -display none -vga none -no-reboot -snapshot -serial stdio

    rump --append redis-server
    qemu-system-x86_64 -name kiln-unikernel -machine type=pc,accel=tcg -cpu max -m 128M -smp cpus=1 -kernel rump -append '{"cmdline":"redis-server","net":{"if":"vioif0","type":"inet","method":"dhcp"}}' -netdev user,id=user.0 -device virtio-net-pci,netdev=user.0 -display none -vga none -no-reboot -device isa-debug-exit -serial stdio

    hermit-loader --initrd app.hermit
    qemu-system-x86_64 -name kiln-unikernel -machine type=q35,accel=tcg -cpu max -m 128M -smp cpus=1 -kernel hermit-loader -initrd app.hermit -append '' -netdev user,id=user.0 -device virtio-net-pci,netdev=user.0 -display none -vga none -no-reboot -device isa-debug-exit,iobase=0xf4,iosize=0x04 -serial stdio
    "#);
}

#[test]
fn urunc_gets_an_image_that_others_read() {
    let t = context();
    let (registry, name) = (Registry::start(Auth::None), "team/nginx:1");
    let reference = registry.reference(name);
    let args = ["nginx", "--initrd", "root.cpio", "--cmdline", "-c /nginx.conf", "-t", &reference, "--push"];
    let packed = pack(&t, &args).ok();
    let told = "Unikraft 0.17.0, for qemu: it has Unikraft's section .uk_libinfo\n";
    assert!(packed.stderr.ends_with(told), "{packed}");
    assert_eq!(registry.digest(name).to_string(), packed.text());
    // Packed again it is the same; without a time nothing of the moment is in it.
    assert_eq!(pack(&t, &args).ok().text(), packed.text());
    let at = format!("docker://{reference}");
    let seen = t.tool("skopeo", &["inspect", "--tls-verify=false", &at]).ok().json();
    let label = |key: &str| seen["Labels"][format!("com.urunc.unikernel.{key}")].clone();
    assert_eq!((label("unikernelType"), label("hypervisor")), ("unikraft".into(), "qemu".into()));
    let raw = t.tool("skopeo", &["inspect", "--raw", "--tls-verify=false", &at]).ok().json();
    assert_eq!(raw["annotations"]["com.urunc.unikernel.binary"], "/.boot/kernel");
    assert_eq!(raw["annotations"]["com.urunc.unikernel.cmdline"], "-c /nginx.conf");
    assert_eq!(raw["layers"].as_array().map(Vec::len), Some(1));
    let fresh = context();
    assert_eq!(fresh.kiln(&["pull", "-q", &reference]).ok().text(), packed.text());
    assert_eq!(fresh.kiln(&["cat", &reference, "/.boot/kernel"]).ok().raw_stdout, kernels::unikraft("0.17.0").build());
    let file = fresh.kiln(&["cat", &reference, "/urunc.json"]).ok().json();
    assert_eq!(file["com.urunc.unikernel.hypervisor"], "cWVtdQ==");
    let shown = fresh.kiln(&["inspect", &reference]).ok().json();
    insta::assert_snapshot!(serde_json::to_string_pretty(&shown[0]["Unikernel"]).unwrap(), @r#"
    {
      "Format": "urunc",
      "Kind": "unikraft",
      "Version": "0.17.0",
      "Monitor": "qemu",
      "CommandLine": "-c /nginx.conf",
      "Kernel": "/.boot/kernel",
      "Initrd": "/.boot/rootfs",
      "Disk": null
    }
    "#);
    insta::assert_snapshot!(fresh.kiln(&["node", "inspect", &reference]).ok().stdout, @"
    packed for:   urunc
    kind:         Unikraft
    version:      0.17.0
    monitor:      qemu
    architecture: amd64
    command line: -c /nginx.conf
    kernel:       /.boot/kernel
    initrd:       /.boot/rootfs
    ");
    let line = dry(&fresh, &[&reference]).ok();
    insta::assert_snapshot!(line.stdout, @r#"
    qemu-system-x86_64 -name kiln-unikernel -machine type=pc,accel=tcg -cpu max -m 128M -smp cpus=1 -kernel kernel -initrd initrd -append 'unikraft netdev.ip=10.0.2.15/24:10.0.2.2:10.0.2.3 vfs.fstab=[ "initrd0:/:extract::ramfs=1:" ] -- -c /nginx.conf' -netdev user,id=user.0 -device virtio-net-pci,netdev=user.0 -display none -vga none -no-reboot -serial stdio
    "#);
    assert!(line.stderr.contains("the files are in the image; --extract DIR"), "{line}");
    let out = fresh.out("files").display().to_string();
    let line = dry(&fresh, &["--extract", &out, &reference]).ok();
    assert!(line.stdout.contains("-kernel [TMP]/out/files/kernel -initrd [TMP]/out/files/initrd"), "{line}");
    assert_eq!(fs::read(fresh.out("files/kernel")).unwrap(), kernels::unikraft("0.17.0").build());
}

#[test]
fn kraftkit_gets_an_index_for_its_monitors() {
    let t = context();
    let (registry, name) = (Registry::start(Auth::None), "team/nginx:1");
    let reference = registry.reference(name);
    let common = ["--initrd", "root.cpio", "--cmdline", "-c /nginx.conf", "--format", "kraftkit"];
    let packed = pack(&t, &[&["nginx", "-t", &reference, "--push"][..], &common[..]].concat()).ok();
    let at = format!("docker://{reference}");
    let index = t.tool("skopeo", &["inspect", "--raw", "--tls-verify=false", &at]).ok().json();
    assert_eq!(index["mediaType"], "application/vnd.oci.image.index.v1+json");
    assert!(index["annotations"]["sh.kraftkit.version"].is_string(), "{index}");
    let platform = &index["manifests"][0]["platform"];
    assert_eq!((&platform["os"], &platform["architecture"]), (&"qemu".into(), &"x86_64".into()));
    let one = ["--override-os", "qemu", "--override-arch", "x86_64", "inspect", "--tls-verify=false", "--config", &at];
    let config = t.tool("skopeo", &one).ok().json();
    assert_eq!((&config["os"], &config["config"]["Cmd"]), (&"qemu".into(), &serde_json::json!(["-c", "/nginx.conf"])));
    let fresh = context();
    assert_eq!(
        fresh.kiln(&["pull", "-q", &reference]).ok().text(),
        packed.text(),
        "all of it, for it is for no machine"
    );
    assert_eq!(fresh.kiln(&["cat", &reference, "/unikraft/bin/initrd"]).ok().text(), "070701");
    let shown = fresh.kiln(&["inspect", &reference]).ok().json();
    assert_eq!(shown[0]["Unikernel"]["Format"], "kraftkit");
    let layers = shown[0]["Layers"].as_array().unwrap();
    assert_eq!(layers[0]["annotations"]["org.unikraft.kernel.image"], "/unikraft/bin/kernel");
    assert_eq!(layers[1]["annotations"]["org.unikraft.kernel.initrd"], "/unikraft/bin/initrd");
    assert_eq!(layers[0]["mediaType"], "application/vnd.oci.image.layer.v1.tar");
    insta::assert_snapshot!(fresh.kiln(&["node", "inspect", &reference]).ok().stdout, @"
    packed for:   kraftkit
    kind:         Unikraft
    version:      0.17.0
    monitor:      qemu
    architecture: amd64
    command line: -c /nginx.conf
    kernel:       /unikraft/bin/kernel
    initrd:       /unikraft/bin/initrd
    ");
    insta::assert_snapshot!(dry(&fresh, &[&reference]).ok().stdout, @r#"
    qemu-system-x86_64 -name kiln-unikernel -machine type=pc,accel=tcg -cpu max -m 128M -smp cpus=1 -kernel kernel -initrd initrd -append 'unikraft netdev.ip=10.0.2.15/24:10.0.2.2:10.0.2.3 vfs.fstab=[ "initrd0:/:extract::ramfs=1:" ] -- -c /nginx.conf' -netdev user,id=user.0 -device virtio-net-pci,netdev=user.0 -display none -vga none -no-reboot -serial stdio
    "#);
    let other = dry(&fresh, &["--monitor", "firecracker", &reference]).exits(1);
    assert!(other.stderr.contains("has nothing for firecracker; it has qemu/x86_64"), "{other}");
    // The registry is asked by a run, too.
    let another = context();
    let line = dry(&another, &[&reference]).ok();
    assert!(line.stdout.contains("-kernel kernel -initrd initrd"), "{line}");
}

#[test]
fn layouts_and_archives_hold_it_too() {
    let t = context();
    let oci = format!("oci:{}:one", t.out("layout").display());
    let packed = pack(&t, &["hello.spt", "-t", "hello", "-o", &oci]).ok();
    let seen = t.tool("skopeo", &["inspect", "oci:layout:one"]).ok().json();
    assert_eq!(seen["Digest"], packed.text());
    let docker = format!("docker-archive:{}", t.out("hello.tar").display());
    let _ = pack(&t, &["hello.spt", "-t", "hello", "-o", &docker]).ok();
    let seen = t.tool("skopeo", &["inspect", "--config", "docker-archive:hello.tar"]).ok().json();
    assert_eq!(seen["config"]["Labels"]["com.urunc.unikernel.unikernelType"], "mirage");
    // Docker's archive has no annotations: labels say it.
    let fresh = context();
    let _ = fresh.kiln(&["load", "-i", &t.out("hello.tar").display().to_string()]).ok();
    assert!(fresh.kiln(&["node", "inspect", "hello"]).ok().stdout.contains("monitor:      spt"));
    let archive = format!("oci-archive:{}", t.out("k.tar").display());
    let _ = pack(&t, &["nginx", "-t", "k", "--format", "kraftkit", "-o", &archive]).ok();
    assert!(t.tool("skopeo", &["inspect", "--raw", "oci-archive:k.tar"]).ok().stdout.contains("sh.kraftkit.version"));
    for (args, message) in [
        (["-o", &docker, "--format", "kraftkit"], "docker's archives hold images of containers"),
        (["-o", "docker://x/y", "--format", "urunc"], "--output is a layout or an archive"),
    ] {
        let out = pack(&t, &[&["nginx", "-t", "k"][..], &args[..]].concat()).exits(2);
        assert!(out.stderr.contains(message), "{out}");
    }
}

#[test]
fn only_the_file_says_it_when_annotations_and_labels_are_lost() {
    let t = context();
    let _ = pack(&t, &["hello.spt", "-t", "hello", "--cmdline", "--hello=x"]).ok();
    let _ = t.kiln(&["save", "-o", &t.out("i.tar").display().to_string(), "hello"]).ok();
    t.write("Dockerfile", 0o644, "FROM scratch\nCOPY kernel /.boot/kernel\nCOPY urunc.json /\n");
    t.write("kernel", 0o644, kernels::solo5(2, &[]).build());
    t.write("urunc.json", 0o644, t.kiln(&["cat", "hello", "/urunc.json"]).ok().raw_stdout);
    let _ = t.kiln(&["build", "-t", "bare", "."]).ok();
    assert!(t.kiln(&["inspect", "bare"]).ok().json()[0].get("Unikernel").is_none());
    let line = dry(&t, &["bare"]).ok();
    assert_eq!(line.stdout, "solo5-spt --mem=128 -- kernel --hello=x\n");
    t.write("urunc.json", 0o644, r#"{"com.urunc.unikernel.unikernelType":"?"}"#);
    let _ = t.kiln(&["build", "-t", "broken", "."]).ok();
    let told = dry(&t, &["broken"]).exits(1);
    assert!(
        told.stderr.contains("cannot use the kernel in broken:latest: com.urunc.unikernel.unikernelType"),
        "{told}"
    );
    t.write("Dockerfile", 0o644, "FROM scratch\nCOPY kernel /x\n");
    let _ = t.kiln(&["build", "-t", "none", "."]).ok();
    let told = dry(&t, &["none"]).exits(1);
    assert!(told.stderr.contains("says nothing of a unikernel"), "{told}");
    t.write(
        "Dockerfile",
        0o644,
        "FROM scratch\nCOPY kernel /x\nLABEL com.urunc.unikernel.unikernelType=mirage \\\n\
        com.urunc.unikernel.hypervisor=spt com.urunc.unikernel.binary=/.boot/kernel\n",
    );
    let _ = t.kiln(&["build", "-t", "empty", "."]).ok();
    let told = dry(&t, &["empty"]).exits(1);
    assert!(told.stderr.contains("/.boot/kernel: the image says that it is there, and it is not"), "{told}");
}

#[test]
fn what_cannot_be_packed_or_run_is_told() {
    let t = context();
    t.write("text", 0o644, "hello");
    t.write("cut", 0o644, &kernels::unikraft("1").build()[..200]);
    let refused =
        |out: Output, wanted: &str| assert!(out.code != 0 && out.stderr.contains(wanted), "{wanted:?} in\n{out}");
    refused(pack(&t, &["text", "-t", "x"]), "cannot pack text: it is no kernel: it is neither an ELF file");
    refused(pack(&t, &["absent", "-t", "x"]), "cannot read absent");
    refused(pack(&t, &["cut", "-t", "x"]), "cannot pack cut: it is cut off: the table of its sections");
    refused(
        pack(&t, &["hello.spt", "-t", "x", "--monitor", "qemu"]),
        "qemu cannot run it: its notes say that it is for spt",
    );
    refused(pack(&t, &["hello.spt", "-t", "x", "--monitor", "vmware"]), "`vmware` is none of qemu, firecracker");
    refused(pack(&t, &["hello.spt", "-t", "x", "--format", "kraftkit"]), "kraftkit has no platform for it");
    refused(pack(&t, &["hello.spt", "-t", "x", "--kind", "linux"]), "--kind linux: it is Solo5 (MirageOS), because");
    refused(pack(&t, &["app.hermit", "-t", "x"]), "the kernel is Hermit's loader, and this its --initrd");
    refused(pack(&t, &["nginx", "-t", "x", "--cmdline", "a\u{1}b"]), "control character");
    refused(
        pack(&t, &["nginx", "-t", "x@sha256:0000000000000000000000000000000000000000000000000000000000000000"]),
        "digest",
    );
    refused(dry(&t, &["text"]), "cannot run text: it is no kernel");
    refused(dry(&t, &["hello.hvt"]), "it wants a network card called `service`: add --net service=TAP");
    refused(dry(&t, &["hello.spt", "-p", "80:80"]), "ports lead into guests of qemu only");
    refused(dry(&t, &["plain", "--net", "a=tap0"]), "in qemu's own network");
    refused(dry(&t, &["usr.img", "--append", "x"]), "the command line of a disk is on the disk");
    refused(dry(&t, &["nginx", "--initrd", "absent"]), "there is no file absent");
    refused(t.kiln(&["node", "run", "hello.spt"]), "hello.spt: its monitor `solo5-spt` is not installed");
    refused(t.kiln(&["node", "run", "nginx-fc"]), "its monitor `firecracker` is not installed");
    let dir = t.context().display().to_string();
    refused(dry(&t, &["--monitor", "qemu", &dir]), "--monitor is for unikernels");
    let odd = context().env("SOURCE_DATE_EPOCH", "yesterday");
    let wanted = "SOURCE_DATE_EPOCH is `yesterday`: expected seconds since 1970";
    refused(pack(&odd, &["plain", "-t", "x"]), wanted);
    refused(odd.kiln(&["node", "verify", ".", "--profile", "ack"]), wanted);
    refused(odd.kiln(&["node", "build", "node.json"]), wanted);
    let plain = pack(&t, &["plain", "-t", "x"]).ok();
    assert!(plain.stderr.contains("warning: urunc runs no kernel of the kind `plain` with qemu; Kiln does"), "{plain}");
    let hermit = pack(&t, &["hermit-loader", "--initrd", "app.hermit", "-t", "x"]).ok();
    assert!(hermit.stderr.starts_with("Hermit, for qemu"), "{hermit}");
}

#[test]
fn another_monitor_gets_its_arguments_and_its_status_comes_out() {
    let t = context();
    let bin = t.out("bin");
    fs::create_dir(&bin).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let t = t.env("PATH", &path);
    for (name, text) in
        [("solo5-spt", "#!/bin/sh\necho \"$@\"\nexit 7\n"), ("firecracker", "#!/bin/sh\necho \"$@\"\ncat /dev/stdin\n")]
    {
        fs::write(bin.join(name), text).unwrap();
        fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let out = t.kiln(&["node", "run", "hello.spt", "--append", "--hello=x"]).exits(7);
    assert_eq!(out.stdout, "--mem=128 -- hello.spt --hello=x\n");
    let out = t.kiln(&["node", "run", "nginx-fc", "--append", "hello"]).ok();
    let (line, config) = out.text().split_once('\n').unwrap();
    assert_eq!(line, "--no-api --config-file /dev/stdin");
    let config: serde_json::Value = serde_json::from_str(config).unwrap();
    assert_eq!(config["boot-source"]["boot_args"], "unikraft -- hello");
    fs::write(bin.join("solo5-spt"), "#!/bin/sh\nexec sleep 1000\n").unwrap();
    let late = t.kiln(&["node", "run", "--timeout", "1", "hello.spt"]).exits(1);
    assert!(late.stderr.contains("it did not end within [TIME]"), "{late}");
}

/// Runs a script as `solo5-spt`, and sends Kiln's process a signal whenever the script has made the next of these files.
fn signalled(script: &str, files: &[&str]) -> (Option<i32>, TestContext) {
    let t = context();
    let bin = t.out("bin");
    fs::create_dir(&bin).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let t = t.env("PATH", &path);
    fs::write(bin.join("solo5-spt"), format!("#!/bin/sh\ncd {}\n{script}\n", bin.display())).unwrap();
    fs::set_permissions(bin.join("solo5-spt"), fs::Permissions::from_mode(0o755)).unwrap();
    let mut kiln = t.command(&["node", "run", "hello.spt"]).spawn().unwrap();
    for file in files {
        let until = Instant::now() + Duration::from_secs(120);
        while !bin.join(file).exists() {
            assert!(Instant::now() < until, "{file} is not made");
            std::thread::sleep(Duration::from_millis(10));
        }
        kill_process(Pid::from_child(&kiln), Signal::INT).unwrap();
    }
    (kiln.wait().unwrap().code(), t)
}

#[test]
fn ctrl_c_asks_another_monitor_to_end_and_a_second_one_ends_it() {
    let turn = "while :; do sleep 0.05; done";
    let (code, t) = signalled(&format!("trap 'echo end >words; exit 0' TERM\n>ready\n{turn}"), &["ready"]);
    assert_eq!(code, Some(130));
    assert_eq!(fs::read_to_string(t.out("bin/words")).unwrap(), "end\n");
    // It says that it was asked, and stays: only the second signal ends it, without it having a say in that.
    let (code, t) = signalled(&format!("trap '>asked' TERM\necho $$ >pid\n>ready\n{turn}"), &["ready", "asked"]);
    assert_eq!(code, Some(130));
    let pid = fs::read_to_string(t.out("bin/pid")).unwrap();
    let line = format!("/proc/{}/cmdline", pid.trim());
    let until = Instant::now() + Duration::from_secs(120);
    while fs::read_to_string(&line).is_ok_and(|line| !line.is_empty()) {
        assert!(Instant::now() < until, "the monitor is still there");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Runs a kernel under qemu's translation.
fn boot(t: &TestContext, target: &str) -> Output {
    t.kiln(&["node", "run", "--accelerator", "tcg", "--no-network", "--timeout", "200", target])
}

#[test]
fn a_kernel_of_an_image_boots_and_one_that_crashes_at_once_is_told() {
    let t = context();
    let _ = pack(&t, &["plain", "-t", "hello"]).ok();
    let ran = boot(&t, "hello").ok();
    assert!(ran.stdout.contains("hello"), "{ran}");
    t.write("crash", 0o755, kernels::pvh(&kernels::says("about to", &kernels::CRASH)).build());
    let crashed = boot(&t, "crash").exits(1);
    assert!(crashed.stdout.contains("about to"), "{crashed}");
    let told = "crash: the guest reset its machine instead of turning it off, as kernels do that crash";
    assert!(crashed.stderr.contains(told) && crashed.stderr.contains("hint: "), "{crashed}");
    t.write("status", 0o755, kernels::pvh(&kernels::says("no", &kernels::STATUS_3)).build());
    assert_eq!(boot(&t, "status").exits(3).stdout, "no");
    t.write("hangs", 0o755, kernels::pvh(&kernels::says("waits", &[])).build());
    let hangs = t.kiln(&["node", "run", "--accelerator", "tcg", "--no-network", "--timeout", "8", "hangs"]).exits(1);
    assert!(hangs.stderr.contains("the end of the guest did not happen within [TIME]"), "{hangs}");
}

#[test]
fn a_linux_kernel_starts_what_its_image_names() {
    let t = context();
    let init = "#!/bin/busybox sh\n/bin/busybox echo \"it is $1\"\n/bin/busybox poweroff -f\n";
    let files = Initramfs::new()
        .dirs(&["bin", "dev"])
        .device("dev/console", (5, 1))
        .file("bin/busybox", 0o755, fs::read(tool("busybox")).unwrap())
        .file("start", 0o755, init);
    t.write("files", 0o644, files.finish());
    let kernel = tool("vmlinuz").display().to_string();
    let _ = pack(&t, &[&kernel, "--initrd", "files", "--cmdline", "/start here", "-t", "linux"]).ok();
    let ran = boot(&t, "linux").ok();
    assert!(ran.stdout.contains("it is here"), "{ran}");
}
