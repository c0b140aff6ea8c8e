//! By which address the cloud sees this machine: the only one that the temporary security group lets in.

use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs, UdpSocket};

use url::Url;

/// What is known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// It goes out by this address, as everybody sees it.
    As(IpAddr),
    /// It goes out by this address, which somebody translates on the way.
    Behind(IpAddr),
    /// Nothing.
    Unknown,
}

/// By which address packets to `endpoint` leave. Nothing is sent.
pub fn seen(endpoint: &Url) -> Seen {
    let (Some(host), Some(port)) = (endpoint.host_str(), endpoint.port_or_known_default()) else {
        return Seen::Unknown;
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let Ok(addresses) = (host, port).to_socket_addrs() else { return Seen::Unknown };
    for to in addresses.filter(std::net::SocketAddr::is_ipv4) {
        let from = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
            socket.connect(to)?;
            socket.local_addr()
        });
        if let Ok(from) = from {
            return judged(from.ip(), to.ip());
        }
    }
    Seen::Unknown
}

fn judged(from: IpAddr, to: IpAddr) -> Seen {
    let (IpAddr::V4(ours), IpAddr::V4(theirs)) = (from, to) else { return Seen::Behind(from) };
    // A double of the cloud on this machine sees what it is.
    match theirs.is_loopback() || !is_inner(ours) {
        true => Seen::As(from),
        false => Seen::Behind(from),
    }
}

/// Addresses that only have a meaning within some network.
fn is_inner(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_unspecified()
        || (a == 100 && (64..128).contains(&b))
}

/// `ADDRESS` or `ADDRESS/BITS` of IPv4, in the form with bits.
///
/// # Errors
/// What is neither.
pub fn block(text: &str) -> Result<String, String> {
    let (address, bits) = text.trim().split_once('/').unwrap_or((text.trim(), "32"));
    let address: Ipv4Addr = address.parse().map_err(|_| format!("`{text}` is no address of IPv4"))?;
    let bits: u8 = bits.parse().ok().filter(|bits| *bits <= 32).ok_or_else(|| format!("`{text}`: at most 32 bits"))?;
    Ok(format!("{address}/{bits}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_others_see_differently() {
        let judge = |from: &str, to: &str| judged(from.parse().unwrap(), to.parse().unwrap());
        assert!(matches!(judge("203.0.113.7", "198.51.100.1"), Seen::As(_)));
        assert!(matches!(judge("127.0.0.1", "127.0.0.1"), Seen::As(_)));
        for inner in ["192.168.1.5", "10.0.0.1", "172.20.0.1", "100.64.0.1", "169.254.1.1"] {
            assert!(matches!(judge(inner, "198.51.100.1"), Seen::Behind(_)), "{inner}");
        }
        assert!(matches!(seen(&Url::parse("https://127.0.0.1:1").unwrap()), Seen::As(_)));
    }

    #[test]
    fn blocks_have_bits() {
        assert_eq!(block("203.0.113.7").unwrap(), "203.0.113.7/32");
        assert_eq!(block(" 0.0.0.0/0 ").unwrap(), "0.0.0.0/0");
        assert!(block("203.0.113.7/33").is_err() && block("here").is_err() && block("::1").is_err());
    }
}
