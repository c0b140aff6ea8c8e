//! The small languages inside of strings: labels, taints, ranges of addresses, roles, `user@host:port`, `K=V`.
//!
//! Each reads one word, and says in one line why it cannot.

use std::net::{IpAddr, Ipv4Addr};

use kiln_spec::diag::did_you_mean;

use crate::model::{Cidr, Effect, Jump, Label, Taint};

/// Bytes of the name of a label, of its value, and of a host's label in DNS.
const MAX_NAME: usize = 63;
/// Bytes of a name in DNS.
const MAX_DOMAIN: usize = 253;

/// `key=value`, `key=`, or `key-` to remove it.
pub fn label(word: &str) -> Result<Label, String> {
    let (key, value) = match word.split_once('=') {
        Some((key, value)) => (key, Some(value)),
        None => match word.strip_suffix('-') {
            Some(key) => (key, None),
            None => return Err(format!("`{word}` is neither KEY=VALUE nor KEY-")),
        },
    };
    label_key(key)?;
    value.map_or(Ok(()), label_value)?;
    Ok(Label { key: key.to_owned(), value: value.map(str::to_owned) })
}

/// `key=value:Effect`, `key:Effect`, each with `-` behind it to remove it, and `key-` for all effects of a key.
pub fn taint(word: &str) -> Result<Taint, String> {
    let (rest, remove) = word.strip_suffix('-').map_or((word, false), |rest| (rest, true));
    let (pair, effect) = match rest.rsplit_once(':') {
        Some((pair, effect)) => (pair, Some(self::effect(effect)?)),
        None if remove => (rest, None),
        None => return Err(format!("`{word}` has no effect: write KEY=VALUE:NoSchedule")),
    };
    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
    label_key(key)?;
    label_value(value)?;
    Ok(Taint { key: key.to_owned(), value: value.to_owned(), effect, remove })
}

fn effect(word: &str) -> Result<Effect, String> {
    Effect::ALL.into_iter().find(|effect| effect.to_string() == word).ok_or_else(|| {
        let names: Vec<String> = Effect::ALL.iter().map(ToString::to_string).collect();
        match did_you_mean(word, names.iter().map(String::as_str)) {
            Some(meant) => format!("`{word}` is no effect: did you mean `{meant}`?"),
            None => format!("`{word}` is no effect: NoSchedule, PreferNoSchedule and NoExecute are"),
        }
    })
}

/// `name`, `prefix.example/name`.
pub fn label_key(key: &str) -> Result<(), String> {
    let (prefix, name) = key.rsplit_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    if !is_label_word(name) {
        return Err(format!("`{key}` is no name of a label: letters, digits, `-`, `_` and `.`, at most {MAX_NAME}"));
    }
    match prefix {
        Some(prefix) if !is_domain(prefix) => Err(format!("`{prefix}` before the `/` of `{key}` is no domain")),
        _ => Ok(()),
    }
}

/// What may stand behind the `=` of a label: the words of its name, or nothing.
pub fn label_value(value: &str) -> Result<(), String> {
    if value.is_empty() || is_label_word(value) {
        return Ok(());
    }
    Err(format!("`{value}` is no value of a label: letters, digits, `-`, `_` and `.`, at most {MAX_NAME}"))
}

fn is_label_word(word: &str) -> bool {
    let alphanumeric = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = word.as_bytes();
    bytes.len() <= MAX_NAME
        && alphanumeric(bytes.first())
        && alphanumeric(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// Whether a word is a name that nodes and DNS take: small letters, digits, `-` and `.`.
pub fn is_domain(word: &str) -> bool {
    let part = |part: &str| {
        (1..=MAX_NAME).contains(&part.len())
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    word.len() <= MAX_DOMAIN && word.split('.').all(part)
}

/// Whether a word is a name of a variable, as shells have them.
pub fn is_variable(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && word.len() <= 256
}

/// `10.96.0.0/22`. What the address has behind the prefix must be zero: `10.96.0.1/22` may be meant in two ways.
pub fn cidr(word: &str) -> Result<Cidr, String> {
    let wrong = || format!("`{word}` is no range of addresses, such as 10.96.0.0/22");
    let (address, prefix) = word.split_once('/').ok_or_else(wrong)?;
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
    let bits = if address.is_ipv4() { 32 } else { 128 };
    if prefix > bits {
        return Err(format!("`{word}`: a prefix has at most {bits} bits"));
    }
    let cidr = Cidr { address, prefix };
    match cidr.first() {
        first if first == address => Ok(cidr),
        first => Err(format!("`{word}` has bits behind its prefix: did you mean `{first}/{prefix}`?")),
    }
}

impl Cidr {
    /// Its first address.
    pub fn first(self) -> IpAddr {
        let prefix = u32::from(self.prefix);
        match self.address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - prefix.min(32)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from(u32::from(address) & mask))
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - prefix.min(128)).unwrap_or(0);
                IpAddr::V6((u128::from(address) & mask).into())
            }
        }
    }

    /// Whether an address is in it.
    pub fn contains(self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4() && Cidr { address, prefix: self.prefix }.first() == self.first()
    }

    /// Whether the two have an address in common.
    pub fn overlaps(self, other: Cidr) -> bool {
        if self.prefix <= other.prefix { self.contains(other.address) } else { other.contains(self.address) }
    }
}

/// `[user@]host[:port]`; an IPv6 address with a port is in brackets.
pub fn jump(word: &str) -> Result<Jump, String> {
    let (user, rest) = word.rsplit_once('@').map_or((None, word), |(user, rest)| (Some(user), rest));
    let wrong = || format!("`{word}` is no host to go through: write [USER@]HOST[:PORT]");
    let (host, port) = match rest.strip_prefix('[') {
        Some(rest) => {
            let (host, behind) = rest.split_once(']').ok_or_else(wrong)?;
            if !behind.is_empty() && !behind.starts_with(':') {
                return Err(wrong());
            }
            (host, behind.strip_prefix(':'))
        }
        None if rest.parse::<std::net::Ipv6Addr>().is_ok() => (rest, None),
        None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
    };
    let known = host.parse::<IpAddr>().is_ok() || is_domain(&host.to_lowercase());
    let port = match port {
        Some(port) => Some(port.parse::<u16>().ok().filter(|port| *port != 0).ok_or_else(wrong)?),
        None => None,
    };
    let fits = |user: &str| !user.is_empty() && !user.starts_with('-') && user.bytes().all(|b| b.is_ascii_graphic());
    if !known || !user.is_none_or(fits) {
        return Err(wrong());
    }
    Ok(Jump { user: user.map(str::to_owned), host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_taints_are_written_as_kubectl_takes_them() {
        for word in ["a=b", "a=", "a-", "example.com/zone=x_1.y", "node-role.kubernetes.io/master="] {
            assert_eq!(label(word).unwrap().to_string(), word);
        }
        for word in ["k=v:NoSchedule", "k:NoExecute", "k=v:PreferNoSchedule-", "k:NoSchedule-", "k-"] {
            assert_eq!(taint(word).unwrap().to_string(), word);
        }
        assert_eq!(taint("k=:NoSchedule").unwrap(), taint("k:NoSchedule").unwrap());
        for word in ["", "a", "=b", "-", "a b=c", "a=b=c", "/a=b", "A_/b=c", "é=b", &format!("{}=b", "a".repeat(64))] {
            assert!(label(word).is_err(), "{word}");
        }
        for word in ["", "k", "k=v", ":NoSchedule", "k:", "k=v:noSchedule", "k=a b:NoExecute", "-", "k=v=w:NoExecute"] {
            assert!(taint(word).is_err(), "{word}");
        }
        assert!(taint("k=v:NoShedule").unwrap_err().contains("did you mean `NoSchedule`?"));
    }

    #[test]
    fn ranges_are_aligned() {
        for word in ["0.0.0.0/0", "10.96.0.0/22", "10.0.0.1/32", "fd00::/48", "::/0", "::1/128"] {
            assert_eq!(cidr(word).unwrap().to_string(), word);
        }
        assert!(cidr("10.96.0.1/22").unwrap_err().contains("did you mean `10.96.0.0/22`?"));
        for word in ["", "10.0.0.0", "10.0.0.0/33", "10.0.0.0/-1", "fd00::/129", "10.0.0/8", "a/8", "1.2.3.4/8/8"] {
            assert!(cidr(word).is_err(), "{word}");
        }
        let of = |word: &str| cidr(word).unwrap();
        assert!(of("10.96.0.0/22").overlaps(of("10.96.2.0/24")) && of("10.96.2.0/24").overlaps(of("10.0.0.0/8")));
        assert!(!of("10.96.0.0/22").overlaps(of("10.96.4.0/24")) && !of("0.0.0.0/0").overlaps(of("::/0")));
        assert!(of("0.0.0.0/0").contains([1, 2, 3, 4].into()) && !of("::/0").contains([1, 2, 3, 4].into()));
    }

    #[test]
    fn hosts_to_go_through() {
        let of = |word: &str| jump(word).map(|j| (j.user, j.host, j.port));
        let host = |user: Option<&str>, host: &str, port| Ok((user.map(str::to_owned), host.to_owned(), port));
        assert_eq!(of("ops@gate.example:2222"), host(Some("ops"), "gate.example", Some(2222)));
        assert_eq!(of("10.0.0.1"), host(None, "10.0.0.1", None));
        assert_eq!(of("a@b@fd00::1"), host(Some("a@b"), "fd00::1", None));
        assert_eq!(of("[fd00::1]:22"), host(None, "fd00::1", Some(22)));
        for word in
            ["", "@a", "a b@c", "-o@c", "c:0", "c:99999", "[fd00::1", "[fd00::1]22", "-oProxyCommand=x", "a/b", "c:"]
        {
            assert!(of(word).is_err(), "{word}");
        }
    }
}
