//! The checksums that a btrfs can have of its metadata and its data.

use sha2::Digest as _;

use crate::crc::crc32c;

/// How sums are made: the same for all of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sum {
    Crc32c,
    Xxhash,
    Sha256,
    Blake2b,
}

impl Sum {
    /// By its number in the superblock.
    pub fn of(number: u16) -> Option<Sum> {
        [Sum::Crc32c, Sum::Xxhash, Sum::Sha256, Sum::Blake2b].get(usize::from(number)).copied()
    }

    /// Bytes of a sum.
    pub fn len(self) -> usize {
        match self {
            Sum::Crc32c => 4,
            Sum::Xxhash => 8,
            Sum::Sha256 | Sum::Blake2b => 32,
        }
    }

    /// Whether `sum`, as it is stored, is that of `bytes`.
    pub fn is(self, sum: &[u8], bytes: &[u8]) -> bool {
        let Some(sum) = sum.get(..self.len()) else { return false };
        match self {
            Sum::Crc32c => sum == (!crc32c(!0, bytes)).to_le_bytes(),
            Sum::Xxhash => sum == twox_hash::XxHash64::oneshot(0, bytes).to_le_bytes(),
            Sum::Sha256 => sum == &sha2::Sha256::digest(bytes)[..],
            Sum::Blake2b => sum == &blake2::Blake2b256::digest(bytes)[..],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_the_catalogues() {
        let sums: [(u16, &[u8]); 4] = [
            (0, &[0xB7, 0x3F, 0x4B, 0x36][..]),
            (1, &[0x99, 0x09, 0x77, 0xAD, 0xF5, 0x2C, 0xBC, 0x44]),
            (2, &[0xBA, 0x78, 0x16, 0xBF]),
            (3, &[0xBD, 0xDD, 0x81, 0x3C]),
        ];
        for (number, start) in sums {
            let sum = Sum::of(number).unwrap();
            assert!(sum.is(start, b"abc") || start.len() < sum.len(), "{sum:?}");
            assert!(!sum.is(&vec![7; sum.len()], b"abc") && !sum.is(&[], b"abc"));
        }
        assert_eq!(sha2::Sha256::digest(b"abc")[..4], [0xBA, 0x78, 0x16, 0xBF]);
        assert_eq!(blake2::Blake2b256::digest(b"abc")[..4], [0xBD, 0xDD, 0x81, 0x3C]);
        assert_eq!(Sum::of(4), None);
    }
}
