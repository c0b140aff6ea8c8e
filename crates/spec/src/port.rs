//! What `EXPOSE` names: `80`, `53/udp`, `8000-8002/tcp`.

use std::fmt;

/// A range of ports of one protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ports {
    /// The first port.
    pub first: u16,
    /// The last port, at least `first`.
    pub last: u16,
    /// The protocol.
    pub protocol: Protocol,
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP, the default.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// What is odd about a port that is accepted nevertheless.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Oddity {
    /// `53/UDP`: the rule `ExposeProtoCasing`.
    ProtocolCase,
    /// `127.0.0.1:80:8080` or `80:8080`, of which only the last port counts: the rule `ExposeInvalidFormat`.
    HostPart,
}

/// Why a port cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// Not a number between 0 and 65535, nor a range of them.
    #[error("`{0}` is not a port: write a number up to 65535, or a range `8000-8010`")]
    NotAPort(String),
    /// The range runs backwards.
    #[error("the port range `{0}` runs backwards")]
    Backwards(String),
    /// A protocol that is neither tcp, udp nor sctp.
    #[error("unknown protocol `{0}`: use tcp, udp or sctp")]
    UnknownProtocol(String),
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        })
    }
}

impl Ports {
    /// Each port as an image's configuration lists it: `8000/tcp`.
    pub fn each(self) -> impl Iterator<Item = String> {
        (self.first..=self.last).map(move |port| format!("{port}/{}", self.protocol))
    }
}

/// Reads one word of `EXPOSE`, expanded.
///
/// # Errors
/// When the port, the range or the protocol is none.
pub fn parse(text: &str) -> Result<(Ports, Vec<Oddity>), PortError> {
    let mut odd = Vec::new();
    let (ports, protocol) = match text.rsplit_once('/') {
        Some((ports, protocol)) => (ports, protocol),
        None => (text, "tcp"),
    };
    let lower = protocol.to_ascii_lowercase();
    if lower != protocol {
        odd.push(Oddity::ProtocolCase);
    }
    let protocol = match lower.as_str() {
        "tcp" | "" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        _ => return Err(PortError::UnknownProtocol(protocol.to_owned())),
    };
    let ports = match ports.rsplit_once(':') {
        Some((_, ports)) => {
            odd.push(Oddity::HostPart);
            ports
        }
        None => ports,
    };
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let (first, last) = (number(first, text)?, number(last, text)?);
    if last < first {
        return Err(PortError::Backwards(text.to_owned()));
    }
    Ok((Ports { first, last, protocol }, odd))
}

fn number(part: &str, text: &str) -> Result<u16, PortError> {
    let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| part.parse().ok()).flatten().ok_or_else(|| PortError::NotAPort(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<String> {
        parse(text).unwrap().0.each().collect()
    }

    #[test]
    fn reads_ports() {
        assert_eq!(all("80"), ["80/tcp"]);
        assert_eq!(all("8000-8002/tcp"), ["8000/tcp", "8001/tcp", "8002/tcp"]);
        assert_eq!(all("53/UDP"), ["53/udp"]);
        assert_eq!(all("9/sctp"), ["9/sctp"]);
        assert_eq!(all("0-65535").len(), 65536);
        assert_eq!(parse("53/UDP").unwrap().1, [Oddity::ProtocolCase]);
        assert_eq!(all("127.0.0.1:80:8080"), ["8080/tcp"]);
        assert_eq!(parse("80:8080").unwrap().1, [Oddity::HostPart]);
    }

    #[test]
    fn refuses_what_is_no_port() {
        for text in ["", "/tcp", "http", "65536", "-1", "1-", "+5", "8 0", "1-2-3"] {
            assert!(matches!(parse(text), Err(PortError::NotAPort(_))), "{text}");
        }
        assert!(matches!(parse("9-8"), Err(PortError::Backwards(_))));
        assert!(matches!(parse("80/icmp"), Err(PortError::UnknownProtocol(_))));
    }
}
