//! A network: an address and how many of its bits count.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// `10.244.1.0/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network {
    /// An address of it.
    pub ip: IpAddr,
    /// How many bits its addresses share.
    pub prefix: u8,
}

impl Network {
    fn bits(ip: IpAddr) -> (u128, u8) {
        match ip {
            IpAddr::V4(ip) => (u128::from(u32::from(ip)) << 96, 32),
            IpAddr::V6(ip) => (u128::from(ip), 128),
        }
    }

    /// Whether an address is of it.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ((mine, width), (other, others)) = (Network::bits(self.ip), Network::bits(ip));
        let prefix = self.prefix.min(width);
        width == others && (prefix == 0 || (mine ^ other) >> (128 - u32::from(prefix)) == 0)
    }

    /// Whether all addresses of the other are of it.
    pub fn covers(&self, other: &Network) -> bool {
        self.prefix <= other.prefix && self.contains(other.ip)
    }

    /// Whether they have addresses in common.
    pub fn overlaps(&self, other: &Network) -> bool {
        self.covers(other) || other.covers(self)
    }

    /// Its first address, the name of the network: `10.244.1.0`.
    pub fn first(&self) -> IpAddr {
        let (bits, width) = Network::bits(self.ip);
        let prefix = u32::from(self.prefix.min(width));
        let bits = if prefix == 0 { 0 } else { bits & (u128::MAX << (128 - prefix)) };
        match self.ip {
            IpAddr::V4(_) => IpAddr::V4(u32::try_from(bits >> 96).unwrap_or_default().into()),
            IpAddr::V6(_) => IpAddr::V6(bits.into()),
        }
    }

    /// How many addresses it has; the largest number where there are more.
    pub fn size(&self) -> u64 {
        let (_, width) = Network::bits(self.ip);
        1u64.checked_shl(u32::from(width.saturating_sub(self.prefix))).unwrap_or(u64::MAX)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.prefix)
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Network, String> {
        let (ip, prefix) = text.split_once('/').ok_or("there is no `/`")?;
        let ip: IpAddr = ip.parse().map_err(|_| "it begins with no address")?;
        let prefix: u8 = prefix.parse().map_err(|_| "it ends with no number of bits")?;
        if prefix > Network::bits(ip).1 {
            return Err("it has more bits than an address".to_owned());
        }
        Ok(Network { ip, prefix })
    }
}

impl Serialize for Network {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Network, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    #[test]
    fn what_contains_what() {
        assert!(network("10.244.0.0/16").covers(&network("10.244.3.0/24")));
        assert!(!network("10.244.3.0/24").covers(&network("10.244.0.0/16")));
        assert!(network("10.244.3.0/24").overlaps(&network("10.0.0.0/8")));
        assert!(!network("10.244.3.0/24").overlaps(&network("10.244.4.0/24")));
        assert!(network("0.0.0.0/0").contains("1.2.3.4".parse().unwrap()));
        assert!(!network("::/0").contains("1.2.3.4".parse().unwrap()));
        assert_eq!(network("10.244.3.7/24").first().to_string(), "10.244.3.0");
        assert_eq!(network("fd00::7/64").first().to_string(), "fd00::");
        assert_eq!((network("10.0.0.0/29").size(), network("::/0").size()), (8, u64::MAX));
    }

    #[test]
    fn what_is_none() {
        for bad in ["", "10.0.0.0", "10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.0/-1", "/8"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }
}
