//! Which address a guest on a bridge has: the kernel's table of neighbours knows, once the guest has spoken to this
//! machine.

use std::ffi::OsStr;
use std::net::Ipv4Addr;
use std::path::Path;

use crate::VmError;
use crate::qemu::{find as find_program, run};

/// A hardware address for a network card, in the range that qemu's cards have, different for each name.
pub fn mac_for(name: &str) -> String {
    use sha2::Digest;
    let sum = sha2::Sha256::digest(name.as_bytes());
    format!("52:54:00:{:02x}:{:02x}:{:02x}", sum[0], sum[1], sum[2])
}

/// The address of the card with this hardware address, if it is known by now.
///
/// # Errors
/// The table cannot be read.
pub fn address_of(mac: &str) -> Result<Option<Ipv4Addr>, VmError> {
    let table = Path::new("/proc/net/arp");
    let text = std::fs::read_to_string(table).map_err(VmError::file("read", table))?;
    Ok(find(&text, mac))
}

/// The address that this machine has on a bridge, where a guest on it finds Kiln's files. `path` is the environment's
/// `PATH`, for the program `ip` is asked.
///
/// # Errors
/// There is no such bridge, it has no address, or `ip` is not installed.
pub fn bridge_address(bridge: &str, path: Option<&OsStr>) -> Result<Ipv4Addr, VmError> {
    let program = find_program("ip", path).ok_or_else(|| VmError::Missing {
        program: "ip".to_owned(),
        hint: "install the package `iproute2`, which knows the address of net_bridge".to_owned(),
    })?;
    let args = ["-j", "-4", "addr", "show", "dev", bridge].map(str::to_owned);
    let said = run(&program, &args)?;
    let links: serde_json::Value = serde_json::from_slice(&said).unwrap_or_default();
    let address = links[0]["addr_info"][0]["local"].as_str().and_then(|a| a.parse().ok());
    address.ok_or_else(|| VmError::option("net_bridge", format!("{bridge} has no IPv4 address")))
}

/// Columns: address, kind, flags (0x2: complete), hardware address, mask, device.
fn find(table: &str, mac: &str) -> Option<Ipv4Addr> {
    table.lines().skip(1).find_map(|line| {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        let (address, flags, hardware) = (columns.first()?, columns.get(2)?, columns.get(3)?);
        let flags = u32::from_str_radix(flags.strip_prefix("0x")?, 16).ok()?;
        (flags & 2 != 0 && hardware.eq_ignore_ascii_case(mac)).then(|| address.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complete_entries_are_found() {
        let table = "IP address       HW type     Flags       HW address            Mask     Device\n\
                     10.0.0.7         0x1         0x0         52:54:00:aa:bb:cc     *        br0\n\
                     10.0.0.8         0x1         0x2         52:54:00:aa:bb:cc     *        br0\n\
                     nonsense\n";
        assert_eq!(find(table, "52:54:00:AA:bb:cc"), Some(Ipv4Addr::new(10, 0, 0, 8)));
        assert_eq!(find(table, "52:54:00:00:00:01"), None);
        assert_eq!(find("", "x"), None);
        let mac = mac_for("node");
        assert!(mac.starts_with("52:54:00:") && mac.len() == 17 && mac != mac_for("other"));
        address_of(&mac).unwrap();
    }

    #[test]
    fn addresses_of_this_machine_are_found() {
        let ip = kiln_testkit::tools::tool("ip");
        let path = ip.parent().map(AsRef::as_ref);
        assert_eq!(bridge_address("lo", path).unwrap(), Ipv4Addr::LOCALHOST);
        let error = bridge_address("absent0", path).unwrap_err().to_string();
        assert!(error.contains("absent0"), "{error}");
        assert!(bridge_address("lo", None).unwrap_err().to_string().contains("package `iproute2`"));
    }
}
