//! Sizes as `--mount=type=tmpfs,size=` takes them: `64m`, `1.5GiB`, `4096`; units are powers of 1024.

/// Why a size cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a size: write a number of bytes, or a number with k, m, g, t or p")]
pub struct SizeError(String);

/// Reads a size; the result is in bytes.
///
/// # Errors
/// When the text is no number with an optional unit, or more than 8 EiB.
pub fn parse(text: &str) -> Result<u64, SizeError> {
    let bad = || SizeError(text.to_owned());
    let split = text.rfind(|c: char| c.is_ascii_digit() || c == '.').map_or(0, |last| last + 1);
    let (number, unit) = text.split_at(split);
    if number.is_empty() || number.contains(|c: char| !c.is_ascii_digit() && c != '.') {
        return Err(bad());
    }
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let shift = match unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit) {
        "" if unit == "ib" => return Err(bad()),
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return Err(bad()),
    };
    let limit = i64::MAX.unsigned_abs();
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(1 << shift).filter(|&bytes| bytes <= limit).ok_or_else(bad);
    }
    let bytes = number.parse::<f64>().map_err(|_| bad())? * (1u64 << shift) as f64;
    if bytes >= limit as f64 { Err(bad()) } else { Ok(bytes as u64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_sizes() {
        for (text, want) in
            [("0", 0), ("4096", 4096), ("64m", 64 << 20), ("64MB", 64 << 20), ("64MiB", 64 << 20), ("1.5k", 1536)]
        {
            assert_eq!(parse(text), Ok(want), "{text}");
        }
        for text in ["", "m", "-1", "1x", "1 2", "9999999999g", "1.2.3k", "1ib", "1e3"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
