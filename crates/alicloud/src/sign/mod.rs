//! How requests prove who asks: ACS3-HMAC-SHA256 for ECS, STS and RAM, OSS4-HMAC-SHA256 for objects.

pub mod acs3;
pub mod oss4;

use kiln_oci::{Mtime, time};
use std::time::{SystemTime, UNIX_EPOCH};

/// `YYYY-MM-DDTHH:MM:SSZ`, as ACS3 signs it.
pub fn timestamp(at: SystemTime) -> String {
    let seconds = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    time::rfc3339(Mtime::secs(i64::try_from(seconds).unwrap_or(i64::MAX)))
}

/// Sixteen random bytes in hex: nonces, tokens, names.
pub fn nonce() -> String {
    let mut bytes = [0; 16];
    // Without random numbers TLS would not work either.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    kiln_clouds::sign::hex(&bytes)
}
