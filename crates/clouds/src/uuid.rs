//! Identifiers that nothing else has: of builds, of requests, in names and labels.

use aws_lc_rs::rand;

use crate::error::CloudError;

/// A random one (UUID, version 4) as text: 36 small hexadecimal digits and hyphens.
///
/// # Errors
/// When the system has no random numbers.
pub fn random() -> Result<String, CloudError> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).map_err(|_| CloudError::Setup("the system gives no random numbers".to_owned()))?;
    Ok(of(bytes))
}

/// The one that these random bytes make.
pub fn of(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = crate::sign::hex(&bytes);
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_and_variant_are_in_their_places() {
        assert_eq!(of([0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(of([0; 16]), "00000000-0000-4000-8000-000000000000");
    }

    #[test]
    fn two_are_never_the_same() {
        let (a, b) = (random().unwrap(), random().unwrap());
        assert!(a != b && a.len() == 36, "{a}");
        assert!(a.bytes().all(|c| c == b'-' || c.is_ascii_digit() || (b'a'..=b'f').contains(&c)), "{a}");
    }
}
