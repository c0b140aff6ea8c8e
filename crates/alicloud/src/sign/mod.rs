//! How requests prove who asks: ACS3-HMAC-SHA256 for ECS, STS and RAM, OSS4-HMAC-SHA256 for objects.

pub mod acs3;
pub mod oss4;

/// Sixteen random bytes in hex: nonces, tokens, names.
pub fn nonce() -> String {
    let mut bytes = [0; 16];
    // Without random numbers TLS would not work either.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    kiln_clouds::sign::hex(&bytes)
}
