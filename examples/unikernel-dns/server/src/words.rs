//! The command line of the machine, in the words that Linux has for the same things.
//!
//! ```text
//! ip=dhcp                                  ask for an address; so it is without this word
//! ip=ADDRESS::GATEWAY:MASK…                that address; without a gateway only the network around it is reached
//! virtio_mmio.device=SIZE@ADDRESS:IRQ      where a device is; qemu's microvm writes these itself
//! ```

use core::net::Ipv4Addr;

/// The most devices that are looked at.
pub const MAX_DEVICES: usize = 32;

/// What the command line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Words {
    /// How the machine gets its address.
    pub address: Address,
    devices: [u64; MAX_DEVICES],
    count: usize,
    /// How many words were for somebody else.
    pub unused: usize,
}

/// An address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Address {
    /// Of a DHCP server.
    Dhcp,
    /// Said.
    Fixed {
        /// The address.
        address: Ipv4Addr,
        /// How many bits of it are the network's.
        prefix: u8,
        /// Through which host others are reached.
        gateway: Option<Ipv4Addr>,
    },
}

/// A word that makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadWord<'a> {
    /// The word.
    pub word: &'a str,
    /// What it should be.
    pub expected: &'static str,
}

impl Words {
    /// Reads a command line.
    ///
    /// # Errors
    /// The first word that makes no sense.
    pub fn parse(line: &str) -> Result<Words, BadWord<'_>> {
        let mut words = Words { address: Address::Dhcp, devices: [0; MAX_DEVICES], count: 0, unused: 0 };
        for word in line.split_ascii_whitespace() {
            let bad = |expected| BadWord { word, expected };
            if let Some(value) = word.strip_prefix("ip=") {
                words.address = address(value).ok_or(bad("ip=dhcp, or ip=10.0.2.15::10.0.2.2:255.255.255.0"))?;
            } else if let Some(value) = word.strip_prefix("virtio_mmio.device=") {
                let place = device(value).ok_or(bad("virtio_mmio.device=512@0xfeb00000:5"))?;
                *words.devices.get_mut(words.count).ok_or(bad("at most 32 devices"))? = place;
                words.count += 1;
            } else {
                words.unused += 1;
            }
        }
        Ok(words)
    }

    /// Where devices are said to be.
    pub fn devices(&self) -> &[u64] {
        &self.devices[..self.count]
    }
}

fn address(value: &str) -> Option<Address> {
    if value == "dhcp" {
        return Some(Address::Dhcp);
    }
    let mut fields = value.split(':');
    let mut next = || fields.next().filter(|field| !field.is_empty());
    let first = next()?;
    let (server, gateway, mask) = (next(), next(), next());
    // The server that a root file system would be mounted from.
    if server.is_some() {
        return None;
    }
    // A host's name, a device and the word `off` may follow; there is one card, and no name.
    next();
    next();
    if next().is_some_and(|method| !matches!(method, "off" | "none" | "static")) {
        return None;
    }
    let gateway = match gateway {
        Some(gateway) => Some(gateway.parse().ok()?),
        None => None,
    };
    let bits = u32::from(mask?.parse::<Ipv4Addr>().ok()?);
    let prefix = bits.leading_ones();
    if prefix + bits.trailing_zeros() < 32 || prefix == 0 {
        return None;
    }
    let address: Ipv4Addr = first.parse().ok()?;
    let usable = !(address.is_unspecified() || address.is_broadcast() || address.is_multicast());
    usable.then_some(Address::Fixed { address, prefix: prefix as u8, gateway })
}

/// `SIZE@ADDRESS:IRQ`, of which the place is needed.
fn device(value: &str) -> Option<u64> {
    let (size, rest) = value.split_once('@')?;
    let (place, interrupt) = rest.split_once(':')?;
    let size = size.trim_end_matches(['K', 'k']);
    (size.parse::<u32>().is_ok() || hex(size).is_some()).then_some(())?;
    interrupt.split(':').all(|number| number.parse::<u32>().is_ok()).then_some(())?;
    // Registers lie in the first 4 GiB, at even places.
    hex(place).filter(|place| *place != 0 && place % 4 == 0 && *place < 0xffff_f000)
}

fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}
