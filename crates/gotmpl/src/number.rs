//! Numbers as Go writes them: `0x1F`, `0b101`, `0o17`, `017`, `1_000`, `1.5e3`, `0x1p-2`.

use crate::ast::Kind;

/// Reads a number.
pub(crate) fn parse(text: &str) -> Result<Kind, String> {
    let wrong = || format!("`{text}` is no number");
    if text.ends_with('i') {
        return Err(format!("`{text}`: complex numbers are not supported"));
    }
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') || !underscores(digits) {
        return Err(wrong());
    }
    let digits = digits.replace('_', "");
    let lower = digits.to_ascii_lowercase();
    let prefixed = |prefixes: &[&str]| prefixes.iter().find_map(|prefix| lower.strip_prefix(prefix).map(str::to_owned));
    let (radix, body) = if let Some(body) = prefixed(&["0x"]) {
        if body.contains(['.', 'p']) {
            let value = hex_float(&body).ok_or_else(wrong)?;
            return Ok(Kind::Float(if negative { -value } else { value }));
        }
        (16, body)
    } else if let Some(body) = prefixed(&["0b"]) {
        (2, body)
    } else if let Some(body) = prefixed(&["0o"]) {
        (8, body)
    } else if lower.contains(['.', 'e']) {
        let plain = lower.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | '+' | '-'));
        let value = Some(&lower).filter(|_| plain).and_then(|text| text.parse::<f64>().ok()).ok_or_else(wrong)?;
        if value.is_infinite() {
            return Err(format!("`{text}` is too large"));
        }
        return Ok(Kind::Float(if negative { -value } else { value }));
    } else if lower.len() > 1 && lower.starts_with('0') {
        (8, lower[1..].to_owned())
    } else {
        (10, lower)
    };
    if body.is_empty() || !body.chars().all(|c| c.is_digit(radix)) {
        return Err(wrong());
    }
    let too_large = || format!("`{text}` is too large: whole numbers have 64 bits");
    let value = i128::from_str_radix(&body, radix).map_err(|_| too_large())?;
    i64::try_from(if negative { -value } else { value }).map(Kind::Int).map_err(|_| too_large())
}

/// Whether each `_` stands between digits, or behind the prefix.
fn underscores(digits: &str) -> bool {
    if !digits.contains('_') {
        return true;
    }
    let bytes = digits.as_bytes();
    let digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_alphanumeric);
    bytes.iter().enumerate().all(|(at, &b)| b != b'_' || (digit(at.checked_sub(1)) && digit(Some(at + 1))))
}

/// Hexadecimal digits with a point and a power of two.
fn hex_float(body: &str) -> Option<f64> {
    let (mantissa, exponent) = body.split_once('p')?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut value = 0.0_f64;
    for digit in whole.chars().chain(fraction.chars()) {
        value = value * 16.0 + f64::from(digit.to_digit(16)?);
    }
    let shift = exponent.parse::<i32>().ok()?.checked_sub(i32::try_from(fraction.len()).ok()?.checked_mul(4)?)?;
    let value = value * 2.0_f64.powi(shift);
    value.is_finite().then_some(value)
}
