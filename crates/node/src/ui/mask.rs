//! Values that no output may hold, replaced wherever they are about to appear.

/// What stands in for a sensitive value.
pub const SHOWN: &str = "<sensitive>";

/// A line of a value of several lines is masked alone from this length on, and a value is plainly in something; shorter ones
/// are too common.
const MIN_LINE: usize = 6;

/// The sensitive values of a template.
#[derive(Debug, Clone, Default)]
pub struct Masks {
    /// Longest first, so that a value that holds another is replaced as a whole.
    values: Vec<String>,
}

impl Masks {
    /// Masks for these values. Empty values hide nothing.
    pub fn new<'a>(sensitive: impl IntoIterator<Item = &'a str>) -> Masks {
        let mut values: Vec<String> = Vec::new();
        for value in sensitive {
            values.push(value.to_owned());
            // Output is masked line by line.
            if value.contains('\n') {
                values.extend(value.lines().map(str::trim).filter(|l| l.len() >= MIN_LINE).map(str::to_owned));
            }
        }
        values.retain(|v| !v.is_empty());
        values.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        values.dedup();
        Masks { values }
    }

    /// The text without any of them.
    pub fn apply(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for value in &self.values {
            if text.contains(&**value) {
                text = text.replace(&**value, SHOWN);
            }
        }
        text
    }

    /// Whether the bytes hold one of them.
    pub fn is_in(&self, bytes: &[u8]) -> bool {
        self.values.iter().any(|value| find(bytes, value.as_bytes()).is_some())
    }

    /// The same of values that are long enough to be nowhere by chance.
    pub fn is_plainly_in(&self, bytes: &[u8]) -> bool {
        let mut long = self.values.iter().filter(|value| value.len() >= MIN_LINE);
        long.any(|value| find(bytes, value.as_bytes()).is_some())
    }

    /// The bytes without any of them.
    pub fn apply_bytes(&self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for value in &self.values {
            let value = value.as_bytes();
            if find(&bytes, value).is_none() {
                continue;
            }
            let mut out = Vec::with_capacity(bytes.len());
            let mut rest = &bytes[..];
            while let Some(at) = find(rest, value) {
                out.extend_from_slice(&rest[..at]);
                out.extend_from_slice(SHOWN.as_bytes());
                rest = &rest[at + value.len()..];
            }
            out.extend_from_slice(rest);
            bytes = out;
        }
        bytes
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_value_goes_first() {
        let masks = Masks::new(["secret", "secret-and-more", ""]);
        assert_eq!(masks.apply("a secret-and-more b secret c"), "a <sensitive> b <sensitive> c");
        assert_eq!(masks.apply_bytes(b"\xffsecret\xff"), b"\xff<sensitive>\xff");
        assert!(masks.is_in(b"..secret..") && !masks.is_in(b"secre"));
        assert!(masks.is_plainly_in(b"..secret..") && !Masks::new(["root"]).is_plainly_in(b"/root"));
    }

    #[test]
    fn a_value_of_several_lines_is_masked_line_by_line() {
        let masks = Masks::new(["-----BEGIN KEY-----\nabcdefgh\nx\n-----END KEY-----"]);
        assert_eq!(masks.apply("abcdefgh"), SHOWN);
        assert_eq!(masks.apply("x"), "x");
    }
}
