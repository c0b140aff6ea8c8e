//! Pax extended headers: `length key=value\n`, where length counts itself.

use crate::entry::{Mtime, Xattrs};

/// The prefix of the records that hold extended attributes.
pub(super) const XATTR: &[u8] = b"SCHILY.xattr.";

/// Adds one record to `out`.
pub(super) fn push(out: &mut Vec<u8>, key: &[&[u8]], value: &[u8]) {
    let rest = key.iter().map(|k| k.len()).sum::<usize>() + value.len() + 3;
    // The length's own digits count, and adding them may add one more.
    let mut len = rest + digits(rest);
    if digits(len) != digits(rest) {
        len = rest + digits(len);
    }
    out.extend_from_slice(len.to_string().as_bytes());
    out.push(b' ');
    key.iter().for_each(|k| out.extend_from_slice(k));
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

fn digits(n: usize) -> usize {
    n.checked_ilog10().unwrap_or(0) as usize + 1
}

/// What the records before an entry say about it; `None` where the header's own field counts.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub size: Option<i64>,
    pub uid: Option<i64>,
    pub gid: Option<i64>,
    pub mtime: Option<Mtime>,
    pub xattrs: Xattrs,
    pub sparse: bool,
}

impl Records {
    /// Reads the body of an extended header.
    pub(super) fn parse(mut body: &[u8]) -> Result<Records, String> {
        let mut out = Records::default();
        while !body.is_empty() {
            let space = body.iter().take(20).position(|b| *b == b' ').ok_or("a pax record has no length")?;
            let len: usize = ascii(&body[..space])
                .filter(|t| t.bytes().all(|b| b.is_ascii_digit()))
                .and_then(|t| t.parse().ok())
                .filter(|len| (space + 3..=body.len()).contains(len))
                .ok_or("a pax record has a wrong length")?;
            let record = &body[space + 1..len];
            let Some((b'\n', record)) = record.split_last() else { return Err("a pax record has no end".into()) };
            let eq = record.iter().position(|b| *b == b'=').ok_or("a pax record has no `=`")?;
            out.take(&record[..eq], &record[eq + 1..])?;
            body = &body[len..];
        }
        Ok(out)
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        // An empty value takes back what an earlier record said.
        let text = || (!value.is_empty()).then(|| value.to_vec());
        let number = || match value {
            [] => Ok(None),
            _ => ascii(value)
                .and_then(|t| t.parse::<i64>().ok())
                .map(Some)
                .ok_or_else(|| format!("its pax {} is not a number", String::from_utf8_lossy(key))),
        };
        match key {
            b"" => return Err("a pax record has no key".into()),
            b"path" => self.path = text(),
            b"linkpath" => self.link = text(),
            b"size" => self.size = number()?,
            b"uid" => self.uid = number()?,
            b"gid" => self.gid = number()?,
            b"mtime" if value.is_empty() => self.mtime = None,
            b"mtime" => self.mtime = Some(time(value).ok_or("its pax mtime is not a time")?),
            _ if key.starts_with(b"GNU.sparse.") => self.sparse = true,
            _ => {
                if let Some(name) = key.strip_prefix(XATTR).filter(|n| !n.is_empty()) {
                    if name.contains(&0) {
                        return Err("the name of an extended attribute has a NUL byte".into());
                    }
                    self.xattrs.insert(name.to_vec(), value.to_vec());
                }
            }
        }
        Ok(())
    }
}

fn ascii(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|t| t.is_ascii())
}

/// `[-]seconds[.fraction]`; digits beyond nanoseconds are dropped.
fn time(value: &[u8]) -> Option<Mtime> {
    let text = ascii(value)?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let negative = whole.starts_with('-');
    let secs: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nanos = fraction.bytes().chain(std::iter::repeat(b'0')).take(9).fold(0, |n, b| n * 10 + u32::from(b - b'0'));
    match (negative, nanos) {
        (true, 1..) => Some(Mtime { secs: secs.checked_sub(1)?, nanos: 1_000_000_000 - nanos }),
        _ => Some(Mtime { secs, nanos }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_count_themselves() {
        for n in [1, 80, 88, 89, 90, 91, 980, 986, 987, 988, 9990] {
            let mut out = Vec::new();
            push(&mut out, &[b"path"], &vec![b'x'; n]);
            assert_eq!(out.split(|b| *b == b' ').next().unwrap(), out.len().to_string().as_bytes());
            assert_eq!(Records::parse(&out).unwrap().path.unwrap().len(), n);
        }
    }

    #[test]
    fn malformed_records_are_errors() {
        for bad in ["x", "0 a=b\n", "6 a=b", "99 a=b\n", "6 ab.\n\n", "5 =b\n", "-6 a=b\n", "+6 a=b\n", "13 size=1e9\n"]
        {
            assert!(Records::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(Records::parse(b"18446744073709551616 a=b\n").is_err());
    }

    #[test]
    fn times_have_fractions_and_signs() {
        assert_eq!(time(b"1.5"), Some(Mtime { secs: 1, nanos: 500_000_000 }));
        assert_eq!(time(b"-0.25"), Some(Mtime { secs: -1, nanos: 750_000_000 }));
        assert_eq!(time(b"-3"), Some(Mtime::secs(-3)));
        assert_eq!(time(b"1.1234567899"), Some(Mtime { secs: 1, nanos: 123_456_789 }));
        assert_eq!(time(b"x"), None);
        assert_eq!(time(b"1.x"), None);
    }
}
