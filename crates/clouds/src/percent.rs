//! Percent-encoding as signatures want it (RFC 3986): everything but letters, digits and `-._~`, in upper-case hex.

use std::fmt::Write as _;

fn encode_into(out: &mut String, text: &str, kept: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || kept.as_bytes().contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

/// A name or value of a query, or a key as one segment of a path.
pub fn component(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    encode_into(&mut out, text, "");
    out
}

/// A key as a path: slashes stay.
pub fn path(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    encode_into(&mut out, text, "/");
    out
}

/// A query with its pairs in the order that signatures want: by encoded name, then by encoded value.
pub fn query<N: AsRef<str>, V: AsRef<str>>(pairs: &[(N, V)]) -> String {
    let mut encoded: Vec<_> = pairs.iter().map(|(n, v)| (component(n.as_ref()), component(v.as_ref()))).collect();
    encoded.sort();
    encoded.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join("&")
}

/// The text an encoded one means; `None` if it is not UTF-8, or an escape is broken.
pub fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        out.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_characters() {
        assert_eq!(path("a b/ü+$&=@:;,!*'()~/%41"), "a%20b/%C3%BC%2B%24%26%3D%40%3A%3B%2C%21%2A%27%28%29~/%2541");
        assert_eq!(component("a/b"), "a%2Fb");
        assert_eq!(query(&[("b", ""), ("a", "2"), ("A", "z"), ("a", "1 +/")]), "A=z&a=1%20%2B%2F&a=2&b=");
        // Sorted as encoded: `%` comes before letters, although what it stands for comes after them.
        assert_eq!(query(&[("x", "1"), ("ü", "2")]), "%C3%BC=2&x=1");
    }

    #[test]
    fn decoding_is_the_way_back() {
        let odd = "a b/ü+%\u{1F600}~\0";
        assert_eq!(decode(&component(odd)).unwrap(), odd);
        assert_eq!(decode("%"), None);
        assert_eq!(decode("%4"), None);
        assert_eq!(decode("%zz"), None);
        assert_eq!(decode("%+1"), None);
        assert_eq!(decode("%FF"), None);
    }
}
