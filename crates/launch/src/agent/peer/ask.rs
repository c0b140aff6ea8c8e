//! What hosts say to each other: a line each, then bytes.
//!
//! ```text
//! "blob sha256:… 4096"    ─▶ "here 81920" and the bytes from 4096 on, or "no: why"
//! "binary …64 digits…"    ─▶ the bytes of this binary; without TLS, as who asks has no Kiln yet: it looks at their digest
//! ```

use std::io::{self, Read};

use kiln_oci::Digest;

/// Bytes of a line.
pub const LINE: usize = 300;

/// A blob, from some byte on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Which.
    pub digest: Digest,
    /// From where.
    pub from: u64,
}

impl Ask {
    /// Its line.
    pub fn line(&self) -> String {
        format!("blob {} {}\n", self.digest, self.from)
    }

    /// Reads one; `None` if it is none.
    pub fn parse(line: &str) -> Option<Ask> {
        let (digest, from) = line.strip_prefix("blob ")?.split_once(' ')?;
        Some(Ask { digest: digest.parse().ok()?, from: from.parse().ok()? })
    }
}

/// The first byte of who asks for the binary; TLS begins with another.
pub const BINARY: u8 = b'b';

/// The digest of a binary that is asked for.
pub fn binary(line: &str) -> Option<&str> {
    line.strip_prefix("binary ")
}

/// Why not, where it may be there at another time.
pub const ABSENT: &str = "it is not here";

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The bytes of a blob of this size follow.
    Here(u64),
    /// They do not.
    No(String),
}

impl Answer {
    /// Its line.
    pub fn line(&self) -> String {
        match self {
            Answer::Here(size) => format!("here {size}\n"),
            Answer::No(why) => format!("no: {why}\n"),
        }
    }

    /// Reads one; `None` if it is none.
    pub fn parse(line: &str) -> Option<Answer> {
        if let Some(size) = line.strip_prefix("here ") {
            return Some(Answer::Here(size.parse().ok()?));
        }
        Some(Answer::No(crate::machine::printable(line.strip_prefix("no: ")?)))
    }
}

/// Reads a line without its end, byte by byte: what is behind it is not touched. `None` at the end of the stream.
///
/// # Errors
/// When it is too long or no text, or cannot be read. What was read of a line stays in `open` for another try.
pub fn line(from: &mut impl Read, open: &mut Vec<u8>) -> io::Result<Option<String>> {
    loop {
        let mut byte = [0];
        match from.read(&mut byte) {
            Ok(0) => return Ok(None),
            Ok(_) if byte[0] == b'\n' => {
                let text = String::from_utf8(std::mem::take(open));
                return text.map(Some).map_err(|_| io::Error::other("what came is no text"));
            }
            Ok(_) if open.len() == LINE => return Err(io::Error::other("a line is too long")),
            Ok(_) => open.push(byte[0]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_digests_and_numbers_can_be_asked_for() {
        let hex = "ab".repeat(32);
        let ask = Ask::parse(&format!("blob sha256:{hex} 7")).unwrap();
        assert_eq!(ask.line(), format!("blob sha256:{hex} 7\n"));
        for bad in [
            "blob ../../etc/shadow 0",
            "blob sha256:../../../../etc/shadow 0",
            "blob sha256:ab 0",
            "blob /etc/shadow 0",
            &format!("blob sha256:{hex}/.. 0"),
            &format!("blob sha256:{hex} -1"),
            &format!("blob sha256:{hex} 99999999999999999999999"),
            &format!("blob sha256:{hex}"),
            "",
        ] {
            assert_eq!(Ask::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn lines_have_an_end() {
        let mut open = Vec::new();
        assert_eq!(line(&mut &b"here 5\nxyz"[..], &mut open).unwrap(), Some("here 5".to_owned()));
        assert_eq!(line(&mut &b""[..], &mut open).unwrap(), None);
        assert!(line(&mut &vec![b'x'; 5000][..], &mut Vec::new()).is_err());
        assert_eq!(Answer::parse("here 5"), Some(Answer::Here(5)));
        assert_eq!(Answer::parse("no: \x1b[31m"), Some(Answer::No("\u{fffd}[31m".to_owned())));
        assert_eq!(Answer::parse("here x"), None);
    }
}
