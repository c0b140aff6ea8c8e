//! `--publish 8080:80`: which port of this machine leads to which of the guest.

use std::net::IpAddr;

use kiln_vm::machine::{Forward, Protocol};

/// Reads `[ADDRESS:]PORT:PORT[/udp]`. Without an address only this machine reaches it.
///
/// # Errors
/// When it is none: the reason.
pub fn parse(text: &str) -> Result<Forward, String> {
    let bad = |why: &str| format!("`{}`: {why}", text.escape_debug());
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => return Err(bad("only ports of tcp and udp are forwarded")),
    };
    let (front, guest) =
        ports.rsplit_once(':').ok_or_else(|| bad("expected [ADDRESS:]PORT:PORT, as 8080:80 or 5353:53/udp"))?;
    let (address, host) = front.rsplit_once(':').unwrap_or(("127.0.0.1", front));
    let address = address.trim_start_matches('[').trim_end_matches(']');
    match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => {}
        Ok(IpAddr::V6(_)) => return Err(bad("qemu forwards from addresses of IPv4 only")),
        Err(_) => return Err(bad("it does not begin with an address")),
    }
    let port = |text: &str| {
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        let number = text.parse::<u16>().ok().filter(|n| *n != 0 && digits);
        number.ok_or_else(|| bad(&format!("`{}` is no port from 1 to 65535", text.escape_debug())))
    };
    Ok(Forward { protocol, address: address.to_owned(), port: port(host)?, guest: port(guest)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let forward =
            |protocol, address: &str, port, guest| Ok(Forward { protocol, address: address.to_owned(), port, guest });
        assert_eq!(parse("8080:80"), forward(Protocol::Tcp, "127.0.0.1", 8080, 80));
        assert_eq!(parse("0.0.0.0:8080:80/tcp"), forward(Protocol::Tcp, "0.0.0.0", 8080, 80));
        assert_eq!(parse("5353:53/udp"), forward(Protocol::Udp, "127.0.0.1", 5353, 53));
        for (text, says) in [
            ("80", "expected"),
            ("", "expected"),
            ("0:80", "no port"),
            ("1:65536", "no port"),
            ("+1:80", "no port"),
            ("a,b:80", "no port"),
            ("x:1:2", "address"),
            ("[::1]:1:2", "IPv4"),
            ("53:53/sctp", "tcp"),
        ] {
            assert!(parse(text).unwrap_err().contains(says), "{text}");
        }
    }
}
