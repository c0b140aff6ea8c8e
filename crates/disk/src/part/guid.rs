//! Globally unique identifiers, which here come from a seed: the same disk gets the same ones.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

/// A GUID, as it is printed: its bytes in the order of the text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Guid(pub [u8; 16]);

impl Guid {
    /// The GUID for `purpose` on the disk with this seed.
    pub fn derive(seed: [u8; 16], purpose: &str) -> Guid {
        let hash = Sha256::new().chain_update(seed).chain_update(purpose).finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash[..16]);
        // A version for private use, and the usual variant.
        bytes[6] = (bytes[6] & 0x0f) | 0x80;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        Guid(bytes)
    }

    /// As it is in a partition table: the first three groups reversed.
    pub fn to_disk(self) -> [u8; 16] {
        let mut b = self.0;
        b[..4].reverse();
        b[4..6].reverse();
        b[6..8].reverse();
        b
    }

    /// From its bytes in a partition table.
    pub fn from_disk(bytes: [u8; 16]) -> Guid {
        Guid(Guid(bytes).to_disk())
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, b) in self.0.iter().enumerate() {
            let dash = if matches!(i, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(f, "{dash}{b:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no GUID.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("it is no GUID, as 0fc63daf-8483-4772-8e79-3d69d8477de4 is one")]
pub struct NoGuid;

impl FromStr for Guid {
    type Err = NoGuid;

    fn from_str(text: &str) -> Result<Guid, NoGuid> {
        let groups: Vec<usize> = text.split('-').map(str::len).collect();
        if groups != [8, 4, 4, 4, 12] {
            return Err(NoGuid);
        }
        let digits: Vec<u8> = text.bytes().filter(|b| *b != b'-').collect();
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
            let pair = str::from_utf8(pair).map_err(|_| NoGuid)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| NoGuid)?;
        }
        Ok(Guid(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_disk() {
        let text = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
        let guid: Guid = text.parse().unwrap();
        assert_eq!(guid.to_string(), text);
        assert_eq!(guid.to_disk()[..4], [0x28, 0x73, 0x2a, 0xc1]);
        assert_eq!(Guid::from_disk(guid.to_disk()), guid);
        for bad in ["", "c12a7328", "c12a7328-f81f-11d2-ba4b-00a0c93ec93g", "c12a73-28f81f-11d2-ba4b-00a0c93ec93b"] {
            assert!(bad.parse::<Guid>().is_err(), "{bad}");
        }
        assert_ne!(Guid::derive([1; 16], "a"), Guid::derive([1; 16], "b"));
    }
}
