//! Addresses of IPv4, and what `ip=` of the kernel's command line says of them, in the kernel's own form
//! (`Documentation/admin-guide/nfs/nfsroot.rst` of Linux).
//!
//! ```text
//! ip=off|none     ip=dhcp|on|any|both     ip=CLIENT:SERVER:GATEWAY:MASK:HOSTNAME:DEVICE:HOW:DNS:DNS
//! ```

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// An address.
pub type Ip = [u8; 4];

/// How a machine gets its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Addressing {
    /// Not at all.
    Off,
    /// By asking.
    Dhcp {
        /// The card; the first if none is said.
        device: Option<String>,
        /// The name the machine asks with.
        hostname: Option<String>,
    },
    /// It is said.
    Fixed(Fixed),
}

/// An address that is said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fixed {
    /// The address.
    pub address: Ip,
    /// Its network's mask.
    pub mask: Ip,
    /// The way to everywhere else.
    pub gateway: Option<Ip>,
    /// The machine's name.
    pub hostname: Option<String>,
    /// The card; the first if none is said.
    pub device: Option<String>,
    /// Who is asked for names.
    pub dns: Vec<Ip>,
}

/// Four numbers with dots.
pub fn parse(text: &str) -> Option<Ip> {
    let mut ip = [0; 4];
    let mut parts = text.split('.');
    for byte in &mut ip {
        let part = parts.next()?;
        // Leading zeros mean octal numbers to some, and decimal ones to others.
        let plain = part.bytes().all(|b| b.is_ascii_digit()) && (part == "0" || !part.starts_with('0'));
        *byte = part.parse().ok().filter(|_| plain)?;
    }
    parts.next().is_none().then_some(ip)
}

/// The same back.
pub fn show(ip: Ip) -> String {
    format!("{}.{}.{}.{}", ip[0], ip[1], ip[2], ip[3])
}

/// The mask of a network that does not say it, as the kernel guesses it.
pub fn usual_mask(ip: Ip) -> Ip {
    match ip[0] {
        0..128 => [255, 0, 0, 0],
        128..192 => [255, 255, 0, 0],
        _ => [255, 255, 255, 0],
    }
}

/// Whether a mask is ones and then zeros.
pub fn is_mask(mask: Ip) -> bool {
    let bits = u32::from_be_bytes(mask);
    bits.leading_ones() + bits.trailing_zeros() >= 32 && bits != 0
}

/// What `ip=` says.
///
/// # Errors
/// When it says nothing that makes sense: the reason.
pub fn addressing(text: &str) -> Result<Addressing, String> {
    let some = |text: &str| (!text.is_empty()).then(|| String::from(text));
    match text {
        "off" | "none" => return Ok(Addressing::Off),
        "dhcp" | "on" | "any" | "both" => return Ok(Addressing::Dhcp { device: None, hostname: None }),
        _ => {}
    }
    let fields: Vec<&str> = text.split(':').collect();
    let field = |at: usize| fields.get(at).copied().unwrap_or_default();
    let bad = |what: &str, text: &str| format!("ip=: `{text}` is no {what}");
    let ip = |at: usize, what: &str| match field(at) {
        "" | "0.0.0.0" => Ok(None),
        text => parse(text).map(Some).ok_or_else(|| bad(what, text)),
    };
    let (hostname, device) = (some(field(4)), some(field(5)));
    match field(6) {
        "dhcp" | "on" | "any" | "both" => return Ok(Addressing::Dhcp { device, hostname }),
        "" | "off" | "none" | "static" => {}
        other => return Err(format!("ip=: `{other}` is no way to an address: off, dhcp")),
    }
    let Some(address) = ip(0, "address")? else { return Err(format!("ip={text} names no address")) };
    let mask = ip(3, "mask")?.unwrap_or_else(|| usual_mask(address));
    if !is_mask(mask) {
        return Err(bad("mask", &show(mask)));
    }
    let dns = [ip(7, "address")?, ip(8, "address")?].into_iter().flatten().collect();
    Ok(Addressing::Fixed(Fixed { address, mask, gateway: ip(2, "address")?, hostname, device, dns }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_form() {
        let fixed = Fixed {
            address: [10, 0, 2, 15],
            mask: [255, 255, 255, 0],
            gateway: Some([10, 0, 2, 2]),
            hostname: Some("web".into()),
            device: Some("eth1".into()),
            dns: [[10, 0, 2, 3]].into(),
        };
        let text = "10.0.2.15::10.0.2.2:255.255.255.0:web:eth1:off:10.0.2.3";
        assert_eq!(addressing(text), Ok(Addressing::Fixed(fixed)));
        let least = Fixed { address: [172, 16, 0, 9], mask: [255, 255, 0, 0], ..Fixed::default() };
        assert_eq!(addressing("172.16.0.9"), Ok(Addressing::Fixed(least)));
        let asked = Addressing::Dhcp { device: Some("eth0".into()), hostname: Some("h".into()) };
        assert_eq!(addressing("::::h:eth0:dhcp"), Ok(asked));
        assert_eq!(addressing("dhcp"), Ok(Addressing::Dhcp { device: None, hostname: None }));
        assert_eq!(addressing("none"), Ok(Addressing::Off));
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        for (text, says) in [
            ("", "names no address"),
            ("1.2.3", "`1.2.3` is no address"),
            ("1.2.3.4.5", "is no address"),
            ("1.2.3.010", "is no address"),
            ("1.2.3.+4", "is no address"),
            ("1.2.3.256", "is no address"),
            ("1.2.3.4:::255.0.255.0", "is no mask"),
            ("1.2.3.4::x", "is no address"),
            ("1.2.3.4::::::rarp", "is no way"),
        ] {
            assert!(addressing(text).unwrap_err().contains(says), "{text}");
        }
        assert!(is_mask([255; 4]) && is_mask([128, 0, 0, 0]) && !is_mask([0; 4]));
    }
}
