//! The machine booted on one of several boards.

use std::net::{TcpListener, UdpSocket};

use kiln_testkit::tools::unikernel_dns;
use kiln_vm::machine::{self, Forward, Machine, Network, Protocol};
use kiln_vm::{Accelerator, Overrides, Vm, VmError};
use tempfile::TempDir;

use crate::guest::qemu;

/// The zone that the README serves.
pub const EXAMPLE: &str = include_str!("../../../../../examples/unikernel-dns/example.zone");

/// What it boots on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Board {
    /// The one that `kiln node run` takes.
    Q35,
    /// qemu's least one, with the words for devices on the command line.
    MicrovmByName,
    /// The same with ACPI, without those words.
    MicrovmByPlace,
    /// Without a network card.
    WithoutCard,
    /// With less memory than it needs.
    Small,
}

/// A machine that runs.
pub struct Kernel {
    pub vm: Vm,
    /// Where its port 53 is reached, by both protocols.
    pub port: u16,
    _dir: TempDir,
}

impl Kernel {
    /// Starts it with a zone file and a command line.
    pub fn boot(board: Board, zone: Option<&str>, line: &str) -> Kernel {
        let dir = tempfile::tempdir().unwrap();
        let initrd = zone.map(|zone| {
            let path = dir.path().join("zone");
            std::fs::write(&path, zone).unwrap();
            path
        });
        let mut machine = Machine::new("unikernel-dns", Accelerator::Tcg);
        machine.kernel = Some(machine::Kernel { image: unikernel_dns(), initrd, append: line.to_owned() });
        machine.memory = if board == Board::Small { 16 } else { 32 };
        machine.cpu_model = Some("max".to_owned());
        machine.vga = Some("none".to_owned());
        machine.run_once = true;
        let mut more = vec![vec!["-device".to_owned(), "isa-debug-exit,iobase=0xf4,iosize=0x04".to_owned()]];
        let microvm = |acpi: &str| vec!["-machine".to_owned(), format!("microvm,accel=tcg,acpi={acpi}")];
        match board {
            Board::MicrovmByName => more.push(microvm("off")),
            Board::MicrovmByPlace => more.push(microvm("on")),
            _ => machine.machine_type = "q35".to_owned(),
        }
        let by_memory = matches!(board, Board::MicrovmByName | Board::MicrovmByPlace);
        machine.net_device = if by_memory { "virtio-net-device" } else { "virtio-net-pci" }.to_owned();
        // A port may be taken between being found and being used.
        for _ in 0..10 {
            let port = free();
            machine.network = match board {
                Board::WithoutCard => Network::None,
                _ => Network::User([Protocol::Tcp, Protocol::Udp].map(|protocol| forward(protocol, port)).to_vec()),
            };
            match start(&machine, &more) {
                Ok(vm) => return Kernel { vm, port, _dir: dir },
                Err(e) if e.is_taken_port() => {}
                Err(e) => panic!("{e}"),
            }
        }
        panic!("no port is free");
    }
}

fn start(machine: &Machine, more: &[Vec<String>]) -> Result<Vm, VmError> {
    let arguments = machine.arguments(&Overrides(more.to_vec()), |text| Ok::<_, VmError>(text.to_owned()))?;
    Vm::start(&qemu(), &arguments)
}

fn forward(protocol: Protocol, port: u16) -> Forward {
    Forward { protocol, address: "127.0.0.1".to_owned(), port, guest: 53 }
}

/// A port that is free for both protocols.
pub fn free() -> u16 {
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
