//! Ranges of bytes: what a client asks for (`Range`, RFC 9110 section 14), and what it sends (`Content-Range` of the
//! distribution specification, which is `FIRST-LAST` without unit and size).

/// What a `Range` header asks of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// All of it: there is no range, or one that a server may ignore (another unit, several ranges, no valid form).
    Whole,
    /// These bytes: the first, and how many; never none.
    Part {
        /// The first byte.
        start: u64,
        /// How many.
        length: u64,
    },
    /// Nothing that is there: 416.
    Nothing,
}

/// What a `Range` header means for a body of `size` bytes.
pub fn asked(header: Option<&str>, size: u64) -> Asked {
    let Some(spec) = header.and_then(|h| h.trim().strip_prefix("bytes=")) else { return Asked::Whole };
    let spec = spec.trim();
    let Some((first, last)) = spec.split_once('-').filter(|_| !spec.contains(',')) else { return Asked::Whole };
    let (first, last) = (first.trim(), last.trim());
    if first.is_empty() {
        // The last so many bytes.
        return match number(last) {
            None => Asked::Whole,
            Some(0) => Asked::Nothing,
            Some(_) if size == 0 => Asked::Nothing,
            Some(count) => Asked::Part { start: size - count.min(size), length: count.min(size) },
        };
    }
    let Some(start) = number(first) else { return Asked::Whole };
    let end = match last {
        "" => u64::MAX,
        text => match number(text) {
            Some(end) if end >= start => end,
            _ => return Asked::Whole,
        },
    };
    match start < size {
        true => Asked::Part { start, length: end.min(size - 1) - start + 1 },
        false => Asked::Nothing,
    }
}

/// The first and the last byte of a chunk: `FIRST-LAST`, perhaps with `bytes ` before and `/SIZE` after it, as some
/// clients write it. `None` for anything else.
pub fn chunk(header: &str) -> Option<(u64, u64)> {
    let text = header.trim();
    let text = text.strip_prefix("bytes ").or_else(|| text.strip_prefix("bytes=")).unwrap_or(text);
    let text = match text.split_once('/') {
        Some((range, "*")) => range,
        Some((range, size)) => number(size).map(|_| range)?,
        None => text,
    };
    let (first, last) = text.split_once('-')?;
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some((first, last))
}

/// Digits only: no sign, no blanks, nothing that does not fit.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_within_the_body() {
        let part = |start, length| Asked::Part { start, length };
        for (header, want) in [
            ("bytes=0-0", part(0, 1)),
            ("bytes=0-99", part(0, 10)),
            ("bytes=3-", part(3, 7)),
            ("bytes=9-9", part(9, 1)),
            ("bytes=-4", part(6, 4)),
            ("bytes=-99", part(0, 10)),
            ("bytes=10-", Asked::Nothing),
            ("bytes=18446744073709551615-", Asked::Nothing),
            ("bytes=-0", Asked::Nothing),
            ("bytes=5-3", Asked::Whole),
            ("bytes=0-1,3-4", Asked::Whole),
            ("bytes=99999999999999999999-", Asked::Whole),
            ("bytes=-", Asked::Whole),
            ("bytes=+1-2", Asked::Whole),
            ("items=0-1", Asked::Whole),
            ("", Asked::Whole),
        ] {
            assert_eq!(asked(Some(header), 10), want, "{header}");
        }
        assert_eq!(asked(None, 10), Asked::Whole);
        assert_eq!(asked(Some("bytes=0-"), 0), Asked::Nothing);
    }

    #[test]
    fn chunks_say_where_they_belong() {
        assert_eq!(chunk("0-1023"), Some((0, 1023)));
        assert_eq!(chunk("bytes 5-9/*"), Some((5, 9)));
        assert_eq!(chunk("bytes 5-9/10"), Some((5, 9)));
        for bad in ["", "-", "5", "9-5", "-1-5", "a-b", "0-18446744073709551616", "5-9/x", "0x1-2", " 1 - 2 "] {
            assert_eq!(chunk(bad), None, "{bad}");
        }
    }
}
