//! Paths inside images: made uniform when read, made printable when shown.
//!
//! A path here is bytes from the root: components joined by `/`, none of them empty, `.` or `..`; the root itself is
//! the empty path.

use std::fmt;

/// The longest path, and the longest link target, in bytes: the kernel's `PATH_MAX`.
pub const MAX_PATH: usize = 4096;
/// The most components a path may have.
pub const MAX_DEPTH: usize = 512;

/// What a `..` in a path does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DotDot {
    /// It makes the path an error: layers have no use for it.
    Reject,
    /// It goes up, but never above the root, as it would in a `chroot`.
    Clamp,
}

/// Why bytes are not a path of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A `..` where it is not allowed.
    #[error("it has a `..` component")]
    DotDot,
    /// A NUL byte, which no file name can hold.
    #[error("it has a NUL byte")]
    Nul,
    /// More than [`MAX_PATH`] bytes.
    #[error("it is longer than {MAX_PATH} bytes")]
    TooLong,
    /// More than [`MAX_DEPTH`] components.
    #[error("it has more than {MAX_DEPTH} components")]
    TooDeep,
}

/// The components of a path, empty ones and `.` left out.
pub fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|b| *b == b'/').filter(|c| !c.is_empty() && *c != b".")
}

/// `raw` without leading and doubled slashes and without `.` components; the empty path is the root.
///
/// # Errors
/// [`NameError`] when the bytes cannot name a file of an image.
pub fn normalise(raw: &[u8], dotdot: DotDot) -> Result<Vec<u8>, NameError> {
    if raw.contains(&0) {
        return Err(NameError::Nul);
    }
    if raw.len() > MAX_PATH {
        return Err(NameError::TooLong);
    }
    let mut out = Vec::with_capacity(raw.len());
    let mut depth = 0;
    for part in components(raw) {
        if part == b".." {
            if dotdot == DotDot::Reject {
                return Err(NameError::DotDot);
            }
            let end = out.iter().rposition(|b| *b == b'/').unwrap_or(0);
            out.truncate(end);
            depth = usize::saturating_sub(depth, 1);
            continue;
        }
        if !out.is_empty() {
            out.push(b'/');
        }
        out.extend_from_slice(part);
        depth += 1;
        if depth > MAX_DEPTH {
            return Err(NameError::TooDeep);
        }
    }
    Ok(out)
}

/// Whether `path` is already what [`normalise`] returns, checked without allocating.
pub fn is_normal(path: &[u8]) -> bool {
    path.len() <= MAX_PATH
        && (path.is_empty()
            || path
                .split(|b| *b == b'/')
                .try_fold(0, |depth, c| {
                    let ok = !c.is_empty() && c != b"." && c != b".." && !c.contains(&0) && depth < MAX_DEPTH;
                    ok.then_some(depth + 1)
                })
                .is_some())
}

/// The directory part and the last component; the directory of a top-level name is the root (empty).
pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&[], path),
    }
}

/// `dir/base`, or `base` where `dir` is the root.
pub fn join(dir: &[u8], base: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(dir.len() + base.len() + 1);
    out.extend_from_slice(dir);
    if !dir.is_empty() && !base.is_empty() {
        out.push(b'/');
    }
    out.extend_from_slice(base);
    out
}

/// Bytes as one printable word: `\xNN` for white space, control characters and what is not UTF-8, `\\` for a backslash.
pub fn escape(bytes: &[u8]) -> String {
    Escaped(bytes).to_string()
}

/// [`escape`] as a [`fmt::Display`].
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a>(pub &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = |f: &mut fmt::Formatter<'_>, bytes: &[u8]| bytes.iter().try_for_each(|b| write!(f, "\\x{b:02x}"));
        for chunk in self.0.utf8_chunks() {
            let mut plain = chunk.valid();
            while let Some(at) = plain.find(is_special) {
                f.write_str(&plain[..at])?;
                let special = plain[at..].chars().next().unwrap_or_default();
                let end = at + special.len_utf8();
                match special {
                    '\\' => f.write_str("\\\\")?,
                    _ => hex(f, &plain.as_bytes()[at..end])?,
                }
                plain = &plain[end..];
            }
            f.write_str(plain)?;
            hex(f, chunk.invalid())?;
        }
        Ok(())
    }
}

/// Characters that would break a line, a word, or the direction in which it is read.
fn is_special(c: char) -> bool {
    c == '\\'
        || c.is_whitespace()
        || c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_uniform() {
        for (raw, want) in [("/", ""), ("./", ""), ("./a//b/", "a/b"), ("/a/./b", "a/b"), ("", ""), ("...", "...")] {
            assert_eq!(normalise(raw.as_bytes(), DotDot::Reject).unwrap(), want.as_bytes(), "{raw}");
            assert!(is_normal(want.as_bytes()));
        }
        assert_eq!(normalise(b"a/../b", DotDot::Reject), Err(NameError::DotDot));
        assert_eq!(normalise(b"../../a/b/../../../c", DotDot::Clamp).unwrap(), b"c");
        assert_eq!(normalise(b"a\0b", DotDot::Clamp), Err(NameError::Nul));
        assert_eq!(normalise(&b"a/".repeat(600), DotDot::Clamp), Err(NameError::TooDeep));
        assert_eq!(normalise(&[b'a'; 5000], DotDot::Clamp), Err(NameError::TooLong));
        for bad in ["/a", "a/", "a//b", ".", "..", "a/../b", "a\0"] {
            assert!(!is_normal(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn a_shown_name_is_one_word() {
        assert_eq!(escape(b"a b\n\\\xff\xc3\xa4"), "a\\x20b\\x0a\\\\\\xffä");
        assert_eq!(escape("x\u{202e}y".as_bytes()), "x\\xe2\\x80\\xaey");
    }

    #[test]
    fn splitting_and_joining() {
        assert_eq!(split(b"a/b/c"), (&b"a/b"[..], &b"c"[..]));
        assert_eq!(split(b"a"), (&b""[..], &b"a"[..]));
        assert_eq!(join(b"", b"a"), b"a");
        assert_eq!(join(b"a", b"b"), b"a/b");
    }
}
