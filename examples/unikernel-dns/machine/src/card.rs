//! The network card: virtio-net, as a device of PCI or at registers in memory, for smoltcp.

use core::ptr::{self, NonNull};

use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;
use virtio_drivers::device::net::VirtIONet;
use virtio_drivers::transport::mmio::{MmioTransport, VirtIOHeader};
use virtio_drivers::transport::pci::bus::{Command, ConfigurationAccess, DeviceFunction, PciRoot};
use virtio_drivers::transport::pci::{PciTransport, virtio_device_type};
use virtio_drivers::transport::{DeviceType, SomeTransport, Transport};

use crate::cpu;
use crate::memory::Shared;

/// Packets that wait on either side.
const QUEUE: usize = 16;
/// A frame with the header that virtio puts in front.
const BUFFER: usize = 2048;
/// The longest frame.
const FRAME: usize = 1514;

/// Where qemu's microvm has its devices when it names none (it tells them by ACPI): the first, how many, how far apart.
const MICROVM: (u64, u64, u64) = (0xfeb0_0000, 24, 512);

/// A card.
pub(crate) struct Card {
    net: VirtIONet<Shared, SomeTransport<'static>, QUEUE>,
    frame: [u8; FRAME],
    /// How it was found.
    pub(crate) by: &'static str,
}

/// The first card that there is; the devices that the command line names are looked at first.
pub(crate) fn find(named: &[u64]) -> Option<Result<Card, &'static str>> {
    let by_name = || named.iter().copied().find_map(registers);
    let (base, count, step) = MICROVM;
    let by_place = || (0..count).map(|index| base + index * step).find_map(registers);
    let (by, transport) = by_name()
        .map(|card| ("virtio-mmio", card))
        .or_else(|| pci().map(|card| ("PCI", card)))
        .or_else(|| by_place().map(|card| ("virtio-mmio", card)))?;
    Some(transport.and_then(|transport| {
        let net = VirtIONet::new(transport, BUFFER).map_err(|_| "it does not do what virtio-net cards do")?;
        Ok(Card { net, frame: [0; FRAME], by })
    }))
}

type Found = Result<SomeTransport<'static>, &'static str>;

/// A card at registers in memory.
fn registers(address: u64) -> Option<Found> {
    let header = NonNull::new(ptr::with_exposed_provenance_mut::<VirtIOHeader>(usize::try_from(address).ok()?))?;
    // SAFETY: below 4 GiB everything is mapped, registers uncached, and `new` reads whether a device is there before it
    // does anything else. Each place is looked at once, so nobody else has these registers.
    let transport = unsafe { MmioTransport::new(header, MICROVM.2 as usize) }.ok()?;
    (transport.device_type() == DeviceType::Network).then(|| Ok(transport.into()))
}

/// A card on the first bus. Firmware has given it its addresses.
fn pci() -> Option<Found> {
    let mut root = PciRoot::new(Ports);
    // Where there is no bus, its first place has nothing.
    if Ports.read_word(DeviceFunction { bus: 0, device: 0, function: 0 }, 0) == u32::MAX {
        return None;
    }
    let network = |info: &_| virtio_device_type(info) == Some(DeviceType::Network);
    let (place, _) = root.enumerate_bus(0).find(|(_, info)| network(info))?;
    root.set_command(place, Command::MEMORY_SPACE | Command::BUS_MASTER | Command::INTERRUPT_DISABLE);
    let transport = PciTransport::new::<Shared, _>(&mut root, place);
    Some(transport.map(Into::into).map_err(|_| "its registers are not those of virtio 1"))
}

/// What PCI devices say of themselves, by the two ports that every PC has for it.
struct Ports;

impl Ports {
    fn select(place: DeviceFunction, register: u8) {
        let address = u32::from(place.bus) << 16 | u32::from(place.device) << 11 | u32::from(place.function) << 8;
        cpu::PCI_ADDRESS.write32(1 << 31 | address | u32::from(register & 0xfc));
    }
}

impl ConfigurationAccess for Ports {
    fn read_word(&self, place: DeviceFunction, register: u8) -> u32 {
        Ports::select(place, register);
        cpu::PCI_DATA.read32()
    }

    fn write_word(&mut self, place: DeviceFunction, register: u8, value: u32) {
        Ports::select(place, register);
        cpu::PCI_DATA.write32(value);
    }

    unsafe fn unsafe_clone(&self) -> Ports {
        Ports
    }
}

impl Card {
    /// Its hardware address.
    pub(crate) fn address(&self) -> [u8; 6] {
        self.net.mac_address()
    }
}

impl Device for Card {
    type RxToken<'a> = Received<'a>;
    type TxToken<'a> = Sender<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received<'_>, Sender<'_>)> {
        if !self.net.can_recv() || !self.net.can_send() {
            return None;
        }
        let buffer = self.net.receive().ok()?;
        let packet = buffer.packet();
        // What is longer than a frame is none; without its end it is thrown away by whoever looks at its sums.
        let length = packet.len().min(FRAME);
        self.frame[..length].copy_from_slice(&packet[..length]);
        self.net.recycle_rx_buffer(buffer).ok()?;
        Some((Received(&self.frame[..length]), Sender(&mut self.net)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sender<'_>> {
        self.net.can_send().then_some(Sender(&mut self.net))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME;
        capabilities
    }
}

/// A frame that has come.
pub(crate) struct Received<'a>(&'a [u8]);

impl RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(self.0)
    }
}

/// A frame that may be sent.
pub(crate) struct Sender<'a>(&'a mut VirtIONet<Shared, SomeTransport<'static>, QUEUE>);

impl TxToken for Sender<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let mut buffer = self.0.new_tx_buffer(length);
        let result = write(buffer.packet_mut());
        // A frame that was not sent is a frame that was lost on the way: networks do that.
        let _ = self.0.send(buffer);
        result
    }
}
