//! Checksums that stores tell about whole objects, checked while the bytes pass.
//!
//! | header | store | sum |
//! |---|---|---|
//! | `x-amz-checksum-sha256` | S3 | SHA-256 |
//! | `x-amz-checksum-crc32` | S3 | CRC-32 |
//! | `x-amz-checksum-crc32c`, `x-goog-hash: crc32c=` | S3, Google | CRC-32C |
//! | `x-amz-checksum-crc64nvme` | S3 | CRC-64/NVME |
//!
//! Sums of objects that were uploaded in parts (`…-N`, type `COMPOSITE`) are sums of sums, and not checked.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderMap;

/// The sum of an object, as its store tells it, and the one of the bytes so far.
pub(crate) struct Checksum {
    name: &'static str,
    expected: Vec<u8>,
    state: State,
}

enum State {
    Crc32(crc32fast::Hasher),
    Crc(Box<Crc>),
    Sha256(digest::Context),
}

impl Checksum {
    /// The first sum the headers of a whole object hold.
    pub(crate) fn announced(headers: &HeaderMap) -> Option<Checksum> {
        let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
        let whole = !text("x-amz-checksum-type").is_some_and(|t| t.eq_ignore_ascii_case("COMPOSITE"));
        let amazon = |name| text(name).filter(|v| whole && !v.contains('-')).and_then(|v| STANDARD.decode(v).ok());
        let google = || {
            let all = headers.get_all("x-goog-hash").iter().filter_map(|v| v.to_str().ok());
            let value = all.flat_map(|v| v.split(',')).find_map(|v| v.trim().strip_prefix("crc32c="))?;
            STANDARD.decode(value).ok()
        };
        let new = |name, expected: Vec<u8>, length, state| {
            (expected.len() == length).then_some(Checksum { name, expected, state })
        };
        if let Some(sum) = amazon("x-amz-checksum-sha256") {
            return new("SHA-256", sum, 32, State::Sha256(digest::Context::new(&digest::SHA256)));
        }
        if let Some(sum) = amazon("x-amz-checksum-crc32") {
            return new("CRC-32", sum, 4, State::Crc32(crc32fast::Hasher::new()));
        }
        if let Some(sum) = amazon("x-amz-checksum-crc32c").or_else(google) {
            return new("CRC-32C", sum, 4, State::Crc(Crc::new(CASTAGNOLI)));
        }
        let sum = amazon("x-amz-checksum-crc64nvme")?;
        new("CRC-64/NVME", sum, 8, State::Crc(Crc::new(NVME)))
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match &mut self.state {
            State::Crc32(hasher) => hasher.update(bytes),
            State::Crc(crc) => crc.update(bytes),
            State::Sha256(context) => context.update(bytes),
        }
    }

    /// Its name, if the bytes do not have the sum.
    pub(crate) fn mismatch(self) -> Option<&'static str> {
        let actual = match self.state {
            State::Crc32(hasher) => hasher.finalize().to_be_bytes().to_vec(),
            State::Crc(crc) => crc.finish()[8 - self.expected.len()..].to_vec(),
            State::Sha256(context) => context.finish().as_ref().to_vec(),
        };
        (actual != self.expected).then_some(self.name)
    }
}

/// A reflected CRC: its polynomial, bits reversed, and its width as a mask.
#[derive(Clone, Copy)]
struct Kind {
    polynomial: u64,
    mask: u64,
}

const CASTAGNOLI: Kind = Kind { polynomial: 0x82F6_3B78, mask: 0xFFFF_FFFF };
const NVME: Kind = Kind { polynomial: 0x9A6C_9329_AC4B_C9B5, mask: u64::MAX };

/// Eight bytes at a time, by eight tables.
struct Crc {
    tables: [[u64; 256]; 8],
    value: u64,
    mask: u64,
}

impl Crc {
    fn new(kind: Kind) -> Box<Crc> {
        let mut tables = [[0u64; 256]; 8];
        for (entry, start) in tables[0].iter_mut().zip(0u64..) {
            *entry = (0..8).fold(start, |crc, _| if crc & 1 == 1 { crc >> 1 ^ kind.polynomial } else { crc >> 1 });
        }
        for t in 1..8 {
            for i in 0..256 {
                let before = tables[t - 1][i];
                tables[t][i] = tables[0][low(before)] ^ before >> 8;
            }
        }
        Box::new(Crc { tables, value: kind.mask, mask: kind.mask })
    }

    fn update(&mut self, bytes: &[u8]) {
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            let mut eight = [0; 8];
            eight.copy_from_slice(word);
            let mixed = self.value ^ u64::from_le_bytes(eight);
            self.value = (0..8).fold(0, |crc, i| crc ^ self.tables[7 - i][low(mixed >> (8 * i))]);
        }
        for byte in words.remainder() {
            self.value = self.tables[0][low(self.value ^ u64::from(*byte))] ^ self.value >> 8;
        }
    }

    fn finish(&self) -> [u8; 8] {
        (self.value ^ self.mask).to_be_bytes()
    }
}

fn low(value: u64) -> usize {
    usize::from(value.to_le_bytes()[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(kind: Kind, pieces: &[&[u8]]) -> u64 {
        let mut crc = Crc::new(kind);
        pieces.iter().for_each(|piece| crc.update(piece));
        u64::from_be_bytes(crc.finish())
    }

    #[test]
    fn check_values_of_the_catalogue() {
        for pieces in [&[b"123456789".as_slice()][..], &[b"1", b"", b"2345", b"6789"]] {
            assert_eq!(sum(CASTAGNOLI, pieces), 0xE306_9283);
            assert_eq!(sum(NVME, pieces), 0xAE8B_1486_0A79_9888);
        }
        let long = vec![7u8; 1001];
        assert_eq!(sum(CASTAGNOLI, &[&long]), sum(CASTAGNOLI, &[&long[..3], &long[3..600], &long[600..]]));
    }

    #[test]
    fn headers_are_found_and_sums_of_sums_are_not() {
        let find = |pairs: &[(&'static str, &str)]| {
            let headers = pairs.iter().map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap())).collect();
            Checksum::announced(&headers)
        };
        let mut headers = HeaderMap::new();
        for value in ["md5=AAAA", "crc32c=4waSgw=="] {
            headers.append("x-goog-hash", value.parse().unwrap());
        }
        let mut checksum = Checksum::announced(&headers).unwrap();
        checksum.update(b"123456789");
        assert_eq!(checksum.mismatch(), None);
        let mut checksum = find(&[("x-amz-checksum-crc32", "AAAAAA==")]).unwrap();
        checksum.update(b"x");
        assert_eq!(checksum.mismatch(), Some("CRC-32"));
        assert!(find(&[("x-amz-checksum-crc32", "AAAAAA==-2")]).is_none());
        assert!(find(&[("x-amz-checksum-crc32", "AAAAAA=="), ("x-amz-checksum-type", "COMPOSITE")]).is_none());
        assert!(find(&[("x-amz-checksum-sha256", "AAAAAA==")]).is_none());
        assert!(find(&[]).is_none());
    }
}
