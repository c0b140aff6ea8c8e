//! Base 64 and base 32.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_gotmpl::{Failure, Value};

use super::Table;
use super::arguments::{exact, text};
use crate::objects::{bytes_of, text_or_bytes};

pub(crate) const TABLE: Table = &[
    ("b64enc", |a| Ok(STANDARD.encode(bytes(a)?).into())),
    ("b64dec", |a| {
        let [value] = exact(a)?;
        let source = text(value)?.replace(['\r', '\n'], "");
        // As Go's function of Sprig does, what is wrong is said in the text.
        Ok(match base64_decode(&source) {
            Some(bytes) => text_or_bytes(&bytes),
            None => format!("illegal base64 data at input byte {}", wrong_at(&source)).into(),
        })
    }),
    ("b32enc", |a| Ok(base32_encode(&bytes(a)?).into())),
    ("b32dec", |a| {
        let [value] = exact(a)?;
        let source = text(value)?;
        Ok(match base32_decode(source) {
            Some(bytes) => text_or_bytes(&bytes),
            None => "illegal base32 data at input byte 0".into(),
        })
    }),
];

/// The bytes of the only argument.
pub(crate) fn bytes(arguments: &[Value]) -> Result<Vec<u8>, Failure> {
    let [value] = exact(arguments)?;
    match bytes_of(value) {
        Some(bytes) => Ok(bytes),
        None => text(value).map(|text| text.as_bytes().to_vec()),
    }
}

/// Standard alphabet, with padding.
pub(crate) fn base64_decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// Where Go finds what is wrong.
fn wrong_at(text: &str) -> usize {
    let valid = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
    let bad = text.bytes().position(|b| !valid(b)).unwrap_or(text.len());
    if bad < text.len() && text.as_bytes().get(bad) != Some(&b'=') { bad } else { bad - bad % 4 }
}

const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

fn base32_encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(5) * 8);
    for chunk in bytes.chunks(5) {
        let number = chunk.iter().fold(0_u64, |number, &byte| number << 8 | u64::from(byte)) << (8 * (5 - chunk.len()));
        let digits = (chunk.len() * 8).div_ceil(5);
        for at in 0..8 {
            let index = (number >> (35 - 5 * at)) & 31;
            let digit = BASE32.get(usize::try_from(index).unwrap_or(0)).copied().unwrap_or(b'A');
            out.push(if at < digits { char::from(digit) } else { '=' });
        }
    }
    out
}

fn base32_decode(text: &str) -> Option<Vec<u8>> {
    let text: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    if text.len() % 8 != 0 {
        return None;
    }
    let body = text.trim_end_matches('=');
    let mut out = Vec::with_capacity(body.len() * 5 / 8);
    let (mut held, mut bits) = (0_u32, 0);
    for byte in body.bytes() {
        let digit = BASE32.iter().position(|&known| known == byte)?;
        held = held << 5 | u32::try_from(digit).ok()?;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            out.push(u8::try_from(held >> bits & 0xff).ok()?);
        }
        held &= (1 << bits) - 1;
    }
    matches!(body.len() % 8, 0 | 2 | 4 | 5 | 7).then_some(out)
}
