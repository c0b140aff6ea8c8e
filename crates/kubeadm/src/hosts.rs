//! Lists of hosts, as `--masters` and `--nodes` take them.
//!
//! Addresses are separated by commas; `a-b` is each address from one to the other; a port may stand behind an address,
//! and an IPv6 address with one is in brackets: `10.0.0.1,10.0.0.5-10.0.0.9:2222,[fd00::1]:22`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Hosts of one list.
pub const MAX_HOSTS: usize = 10_000;

/// A host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host {
    /// Its address.
    pub address: IpAddr,
    /// The port of its SSH server, if it is said.
    pub port: Option<u16>,
}

/// Why a list cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostsError {
    /// The part that is wrong.
    pub part: String,
    /// Where it starts in the list, in bytes.
    pub at: usize,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for HostsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.part, self.why)
    }
}

impl std::error::Error for HostsError {}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.address, self.port) {
            (address, None) => write!(f, "{address}"),
            (IpAddr::V4(address), Some(port)) => write!(f, "{address}:{port}"),
            (IpAddr::V6(address), Some(port)) => write!(f, "[{address}]:{port}"),
        }
    }
}

/// Reads a list.
///
/// # Errors
/// The first part that is no address and no range, a range that runs backwards or between families, a host that is there
/// twice, and more than [`MAX_HOSTS`].
pub fn parse(list: &str) -> Result<Vec<Host>, HostsError> {
    let (mut hosts, mut at): (Vec<Host>, usize) = (Vec::new(), 0);
    let mut known = std::collections::HashSet::new();
    for part in list.split(',') {
        let word = part.trim();
        let wrong =
            |why: String| HostsError { part: word.to_owned(), at: at + (part.len() - part.trim_start().len()), why };
        if !word.is_empty() {
            for host in range(word, MAX_HOSTS - hosts.len()).map_err(wrong)? {
                if !known.insert(host.address) {
                    return Err(wrong(format!("{} is there already", host.address)));
                }
                hosts.push(host);
            }
        }
        at += part.len() + 1;
    }
    Ok(hosts)
}

/// The hosts of one part, at most `most`.
fn range(word: &str, most: usize) -> Result<Vec<Host>, String> {
    let (first, last) = match word.split_once('-') {
        Some((first, last)) => (host(first)?, host(last)?),
        None => (host(word)?, host(word)?),
    };
    let port = match (first.port, last.port) {
        (Some(a), Some(b)) if a != b => return Err("both ends have a port, and not the same".to_owned()),
        (a, b) => a.or(b),
    };
    let (from, to, v4) = match (first.address, last.address) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u128::from(u32::from(a)), u128::from(u32::from(b)), true),
        (IpAddr::V6(a), IpAddr::V6(b)) => (u128::from(a), u128::from(b), false),
        _ => return Err("a range has two addresses of one family".to_owned()),
    };
    if from > to {
        return Err("this range runs backwards".to_owned());
    }
    if to - from >= most as u128 {
        return Err(format!("more than {MAX_HOSTS} hosts"));
    }
    let address = |n: u128| match u32::try_from(n) {
        Ok(n) if v4 => IpAddr::V4(Ipv4Addr::from(n)),
        _ => IpAddr::V6(Ipv6Addr::from(n)),
    };
    Ok((from..=to).map(|n| Host { address: address(n), port }).collect())
}

fn host(word: &str) -> Result<Host, String> {
    let no_port =
        |text: &str| text.parse::<u16>().ok().filter(|port| *port != 0).ok_or_else(|| format!("`{text}` is no port"));
    let no_address = |text: &str| format!("`{text}` is no IP address");
    if let Ok(address) = word.parse::<IpAddr>() {
        return Ok(Host { address, port: None });
    }
    if let Some(rest) = word.strip_prefix('[') {
        let (address, rest) = rest.split_once(']').ok_or_else(|| "a `[` is not closed".to_owned())?;
        let address: Ipv6Addr = address.parse().map_err(|_| no_address(address))?;
        let port = match rest.strip_prefix(':') {
            Some(port) => Some(no_port(port)?),
            None if rest.is_empty() => None,
            None => return Err(format!("`{rest}` behind the address")),
        };
        return Ok(Host { address: IpAddr::V6(address), port });
    }
    let (address, port) = word.split_once(':').ok_or_else(|| no_address(word))?;
    let address: Ipv4Addr = address.parse().map_err(|_| no_address(address))?;
    Ok(Host { address: IpAddr::V4(address), port: Some(no_port(port)?) })
}
