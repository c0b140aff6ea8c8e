//! A Linux guest from its start to every kind of end.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use kiln_testkit::tools::tool;
use kiln_vm::boot::{Command, Pace};
use kiln_vm::image::{ImageArgs, QemuImg};
use kiln_vm::machine::{Disk, Forward, Network, Protocol, Screen};
use kiln_vm::ports::{HTTP, Ports, SSH, VNC};
use kiln_vm::seed::Seed;
use kiln_vm::serve::{Server, Source};
use kiln_vm::{Ended, Shutdown, Sight, Vm, VmError, Vnc};

use crate::guest::{Guest, LIMIT};

const FAST: Pace = Pace { key: Duration::from_millis(15), group: Duration::ZERO };

#[test]
fn it_speaks_and_powers_itself_off() {
    let guest = Guest::new("say READY; poweroff -f", &[]);
    let vm = guest.start(&[]);
    vm.wait_for(&["READY"], 0, LIMIT).unwrap();
    assert_eq!(vm.finish(LIMIT), Shutdown::Clean);
    assert_eq!(vm.ended(), Some(Ended::Exited(0)));
    assert!(vm.saw(Sight::Off), "{:?}", vm.diagnosis());
    let error = vm.check("Kiln waited for SSH").unwrap_err().to_string();
    assert!(error.starts_with("the virtual machine ended (exit status 0) while Kiln waited for SSH"), "{error}");
    let error = vm.wait_for(&["NEVER"], 0, LIMIT).unwrap_err();
    assert!(matches!(error, VmError::Died { .. }), "{error}");
}

#[test]
fn the_power_button_is_heeded() {
    let script = "insmod /button.ko; insmod /evdev.ko\nuntil grep -q 'Power Button' /proc/bus/input/devices; do :; done\n\
                  handler=$(grep -A4 'Power Button' /proc/bus/input/devices | grep -o 'event[0-9]*' | head -n 1)\n\
                  exec 3</dev/input/$handler; say READY; head -c 1 <&3 >/dev/null; say PRESSED; poweroff -f";
    let guest = Guest::new(script, &["drivers/acpi/button", "drivers/input/evdev"]);
    let vm = guest.start(&[]);
    vm.wait_for(&["READY"], 0, LIMIT).unwrap();
    assert_eq!(vm.qmp().status().unwrap(), "running");
    assert_eq!(vm.shutdown(LIMIT).unwrap(), Shutdown::Clean);
    assert!(vm.console().unwrap().text().contains("PRESSED"));
}

#[test]
fn a_guest_that_hangs_is_killed_and_its_console_told() {
    let guest = Guest::new(
        "say 'cloud-init: DataSourceNone'; say READY; while :; do read x </dev/ttyS0; say \"got $x\"; done",
        &[],
    );
    let vm = guest.start(&[]);
    let (_, at) = vm.wait_for(&["READY"], 0, LIMIT).unwrap();
    vm.console().unwrap().send(b"hello\n").unwrap();
    vm.wait_for(&["got hello"], at, LIMIT).unwrap();
    let error = vm.wait_for(&["an SSH server"], 0, Duration::from_millis(50)).unwrap_err().to_string();
    assert!(error.contains("`an SSH server` on the serial console did not happen within 0.1 s"), "{error}");
    assert!(error.contains("cloud-init found no seed") && error.contains("| READY"), "{error}");
    // It has no driver for the power button.
    assert_eq!(vm.shutdown(Duration::from_millis(200)).unwrap(), Shutdown::Killed);
    assert!(vm.ended().is_some());
    assert!(matches!(vm.qmp().status(), Err(VmError::Control { .. })));
}

#[test]
fn a_panic_ends_the_wait() {
    let mut guest = Guest::new("say READY; exit 3", &[]);
    guest.machine.run_once = true;
    let vm = guest.start(&[]);
    let error = vm.wait_for(&["NEVER"], 0, LIMIT).unwrap_err().to_string();
    assert!(error.contains("its kernel panicked") && error.contains("Attempted to kill init"), "{error}");
    assert!(vm.saw(Sight::Panic));
}

/// Modules for virtio devices, in an order in which they can be loaded.
const VIRTIO: [&str; 9] = [
    "drivers/virtio/virtio_ring",
    "drivers/virtio/virtio",
    "drivers/virtio/virtio_pci_legacy_dev",
    "drivers/virtio/virtio_pci_modern_dev",
    "drivers/virtio/virtio_pci",
    "net/core/failover",
    "drivers/net/net_failover",
    "drivers/net/virtio_net",
    "drivers/block/virtio_blk",
];

#[test]
fn it_sees_its_seed_fetches_files_and_is_reached() {
    let dir = tempfile::tempdir().unwrap();
    let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let ports = Ports::at(dir.path().join("ports")).unwrap();
    let files = BTreeMap::from([("/user-data".to_owned(), b"#cloud-config".to_vec())]);
    let server = Server::start(Source::Content(files.clone()), &ports, HTTP, here, None).unwrap();
    let seed = Seed { label: "cidata".to_owned(), content: files, ..Seed::default() };
    let image = dir.path().join("seed.iso");
    seed.disc(&image, dir.path(), tool("xorriso").parent().map(AsRef::as_ref), None).unwrap();
    let names = VIRTIO.map(|m| m.rsplit('/').next().unwrap()).join(" ");
    let script = format!(
        "for m in {names}; do insmod /$m.ko; done\nuntil [ -e /sys/class/net/eth0 ] && [ -e /dev/vda ]; do :; done\n\
         say \"label $(dd if=/dev/vda bs=1 skip=32808 count=6 2>/dev/null)\"\n\
         ip addr add 10.0.2.15/24 dev eth0; ip link set eth0 up\n\
         while [ -z \"$text\" ]; do text=$(echo 'GET /user-data HTTP/1.0\n' | nc 10.0.2.2 {} | tail -n 1); done\n\
         say \"fetched $text\"\n\
         echo hello | nc -l -p 22; poweroff -f",
        server.address().port()
    );
    let mut guest = Guest::new(&script, &VIRTIO);
    let port = ports.lease("SSH", SSH, here).unwrap();
    let forward = Forward { protocol: Protocol::Tcp, address: here.to_string(), port: port.port(), guest: 22 };
    guest.machine.network = Network::User(vec![forward]);
    guest.machine.seeds = vec![image];
    let vm = guest.start(&[]);
    let (_, at) = vm.wait_for(&["label cidata\r"], 0, LIMIT).unwrap();
    vm.wait_for(&["fetched #cloud-config\r"], at, LIMIT).unwrap();
    // Until the guest listens, qemu takes the connection and lets it go again.
    let mut text = String::new();
    while text.is_empty() {
        vm.check("the test connected").unwrap();
        let stream = TcpStream::connect((here, port.port()));
        let _ = stream.and_then(|mut s| s.read_to_string(&mut text));
    }
    assert_eq!(text, "hello\n");
    assert_eq!(vm.finish(LIMIT), Shutdown::Clean);
}

/// Reads a line from the keyboard and says it.
const ECHO: &str =
    "exec </dev/tty1\nsay READY\nread -r line; say \"[$line]\"\nread -r line; say \"[$line]\"; poweroff -f";

#[test]
fn a_boot_command_arrives_by_the_control_socket_and_by_vnc() {
    let dir = tempfile::tempdir().unwrap();
    let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let port = Ports::at(dir.path()).unwrap().lease("VNC", VNC, here).unwrap();
    let mut guest = Guest::new(ECHO, &[]);
    guest.machine.screen = Some(Screen { address: here.to_string(), port: port.port(), password: true });
    let vm = guest.start(&[]);
    vm.wait_for(&["READY"], 0, LIMIT).unwrap();
    // By VNC, with its password.
    let address = SocketAddr::new(here, port.port());
    let error = Vnc::connect(address, None).unwrap_err().to_string();
    assert!(error.contains("it wants a password"), "{error}");
    vm.qmp().screen_password("secret12").unwrap();
    assert!(Vnc::connect(address, Some("wrong")).unwrap_err().to_string().contains("it refuses"));
    let mut screen = Vnc::connect(address, Some("secret12")).unwrap();
    let pause = |time: Duration| {
        std::thread::sleep(time);
        vm.check("Kiln typed the boot command")
    };
    let line = "linux /vm ks=http://10.0.2.2:8000/a.cfg?x=1&y=\"#2\" {[(~!@$%^*_+|`<>;',)]}\\";
    let command = Command::parse(&[line, "Z<bs><leftShiftOn>ab<leftShiftOff><wait10ms><enter>"]).unwrap();
    command.type_on(&mut screen, FAST, pause).unwrap();
    screen.settle().unwrap();
    let (_, at) = vm.wait_for(&["]\r\n"], 0, LIMIT).unwrap();
    let text = vm.console().unwrap().text();
    assert!(text.contains(&format!("[{line}AB]")), "{text}");
    // The same by the control socket.
    command.type_on(&mut vm.qmp(), FAST, pause).unwrap();
    vm.wait_for(&["]\r\n"], at, LIMIT).unwrap();
    let text = vm.console().unwrap().text();
    assert_eq!(text.matches(&format!("[{line}AB]")).count(), 2, "{text}");
    assert_eq!(vm.finish(LIMIT), Shutdown::Clean);
    // And after its end.
    let command = Command::parse(&["x"]).unwrap();
    assert!(command.type_on(&mut vm.qmp(), FAST, |_| Ok::<(), VmError>(())).is_err());
}

#[test]
fn its_whole_state_is_kept_and_comes_back() {
    let count = "n=0; while :; do n=$((n+1)); say \"count $n\"; read -r x </dev/ttyS0; done";
    let mut guest = Guest::new(count, &[]);
    let disk = guest.dir.path().join("disk.qcow2");
    let img = QemuImg::find(tool("qemu-img").parent().map(AsRef::as_ref), ImageArgs::default()).unwrap();
    img.create(&disk, "qcow2", Some("64M"), None).unwrap();
    guest.machine.disks.push(Disk { path: disk.clone(), format: "qcow2".to_owned() });
    let vm = guest.start(&[]);
    let next = |vm: &Vm, text: &str| {
        let from = vm.console().unwrap().position();
        vm.console().unwrap().send(b"\n").unwrap();
        vm.wait_for(&[text], from, LIMIT).unwrap();
    };
    vm.wait_for(&["count 1\r"], 0, LIMIT).unwrap();
    next(&vm, "count 2\r");
    vm.qmp().save("two").unwrap();
    next(&vm, "count 3\r");
    next(&vm, "count 4\r");
    vm.qmp().load("two").unwrap();
    next(&vm, "count 3\r");
    let error = vm.qmp().load("absent").unwrap_err().to_string();
    assert!(error.starts_with("qemu refused `loadvm absent`:"), "{error}");
    let picture = guest.dir.path().join("screen.ppm");
    vm.qmp().screendump(&picture).unwrap();
    assert!(std::fs::read(&picture).unwrap().starts_with(b"P6"));
    vm.kill();
    assert_eq!(img.info(&disk, Some("qcow2")).unwrap().virtual_size, 64 << 20);
}
