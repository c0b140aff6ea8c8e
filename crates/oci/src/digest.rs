//! Content digests, as the OCI image specification writes them: `algorithm:hex`.

use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256, Sha512};

/// The digest of some bytes. Kiln writes sha256; sha512 is read because registries may serve it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Digest {
    /// The algorithm nearly every image uses.
    Sha256([u8; 32]),
    /// The second algorithm the OCI specification registers.
    Sha512(Box<[u8; 64]>),
}

/// Why a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// No `:` between algorithm and value.
    #[error("`{0}` is not a digest: expected `sha256:` and 64 hexadecimal digits")]
    Form(String),
    /// An algorithm other than sha256 and sha512.
    #[error("digest algorithm `{0}` is not supported: only sha256 and sha512 are")]
    Algorithm(String),
    /// Wrong length, upper case, or not hexadecimal.
    #[error("`{0}` is not a valid {1} digest: it needs {2} lower-case hexadecimal digits")]
    Hex(String, &'static str, usize),
}

impl Digest {
    /// The sha256 of `bytes`.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest::Sha256(Sha256::digest(bytes).into())
    }

    /// `sha256` or `sha512`.
    pub fn algorithm(&self) -> &'static str {
        match self {
            Digest::Sha256(_) => "sha256",
            Digest::Sha512(_) => "sha512",
        }
    }

    /// The value without the algorithm.
    pub fn hex(&self) -> String {
        let bytes: &[u8] = match self {
            Digest::Sha256(b) => b,
            Digest::Sha512(b) => &b[..],
        };
        let mut out = String::with_capacity(bytes.len() * 2);
        for b in bytes {
            out.push(char::from(HEX[usize::from(b >> 4)]));
            out.push(char::from(HEX[usize::from(b & 15)]));
        }
        out
    }

    /// The first twelve hexadecimal digits, for people.
    pub fn short(&self) -> String {
        let mut hex = self.hex();
        hex.truncate(12);
        hex
    }

    /// A hasher of the same algorithm, to verify bytes against this digest.
    pub fn hasher(&self) -> Hasher {
        match self {
            Digest::Sha256(_) => Hasher::Sha256(Sha256::new()),
            Digest::Sha512(_) => Hasher::Sha512(Box::new(Sha512::new())),
        }
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Computes a [`Digest`] from a stream.
#[derive(Clone)]
pub enum Hasher {
    /// sha256 in progress.
    Sha256(Sha256),
    /// sha512 in progress.
    Sha512(Box<Sha512>),
}

impl Hasher {
    /// A sha256 hasher, the one Kiln writes with.
    pub fn new() -> Hasher {
        Hasher::Sha256(Sha256::new())
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Sha256(h) => h.update(bytes),
            Hasher::Sha512(h) => h.update(bytes),
        }
    }

    /// The digest of all bytes added.
    pub fn finish(self) -> Digest {
        match self {
            Hasher::Sha256(h) => Digest::Sha256(h.finalize().into()),
            Hasher::Sha512(h) => Digest::Sha512(Box::new(h.finalize().into())),
        }
    }
}

impl Default for Hasher {
    fn default() -> Self {
        Hasher::new()
    }
}

/// A writer that passes bytes on, and hashes and counts them.
pub struct HashWriter<W> {
    inner: W,
    hasher: Hasher,
    count: u64,
}

impl<W: Write> HashWriter<W> {
    /// Hashes with sha256 what is written to `inner`.
    pub fn new(inner: W) -> Self {
        HashWriter { inner, hasher: Hasher::new(), count: 0 }
    }

    /// The writer, the digest of what went through, and its length in bytes.
    pub fn finish(self) -> (W, Digest, u64) {
        (self.inner, self.hasher.finish(), self.count)
    }
}

impl<W: Write> Write for HashWriter<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(buf)?;
        self.hasher.update(&buf[..n]);
        self.count += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// A reader that passes bytes on, and hashes and counts them.
pub struct HashReader<R> {
    inner: R,
    hasher: Hasher,
    count: u64,
}

impl<R: Read> HashReader<R> {
    /// Hashes with `hasher` what is read from `inner`.
    pub fn new(inner: R, hasher: Hasher) -> Self {
        HashReader { inner, hasher, count: 0 }
    }

    /// The digest of what was read so far, and its length in bytes.
    pub fn finish(self) -> (Digest, u64) {
        (self.hasher.finish(), self.count)
    }
}

impl<R: Read> Read for HashReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.hasher.update(&buf[..n]);
        self.count += n as u64;
        Ok(n)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm(), self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn unhex<const N: usize>(hex: &str, algorithm: &'static str) -> Result<[u8; N], DigestError> {
    let bad = || DigestError::Hex(hex.to_owned(), algorithm, N * 2);
    if hex.len() != N * 2 {
        return Err(bad());
    }
    let nibble = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    let mut out = [0; N];
    for (slot, pair) in out.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        *slot = nibble(pair[0]).ok_or_else(bad)? << 4 | nibble(pair[1]).ok_or_else(bad)?;
    }
    Ok(out)
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (algorithm, hex) = text.split_once(':').ok_or_else(|| DigestError::Form(text.to_owned()))?;
        match algorithm {
            "sha256" => Ok(Digest::Sha256(unhex(hex, "sha256")?)),
            "sha512" => Ok(Digest::Sha512(Box::new(unhex(hex, "sha512")?))),
            other => Err(DigestError::Algorithm(other.to_owned())),
        }
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The ChainID of each layer: its name together with all that is below it, as the [image specification] has it. That
/// of the lowest is its own digest.
///
/// [image specification]: https://github.com/opencontainers/image-spec/blob/v1.1.0/config.md#layer-chainid
pub fn chain_ids<'a>(diff_ids: impl IntoIterator<Item = &'a Digest>) -> Vec<Digest> {
    let below = |chain: &mut Option<Digest>, diff_id: &Digest| {
        let id = match chain {
            Some(below) => Digest::of(format!("{below} {diff_id}").as_bytes()),
            None => diff_id.clone(),
        };
        *chain = Some(id.clone());
        Some(id)
    };
    diff_ids.into_iter().scan(None, below).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_named_as_containerd_names_it() {
        let [a, b, c] = [b"a", b"b", b"c"].map(|bytes| Digest::of(bytes));
        let ab = Digest::of(format!("{a} {b}").as_bytes());
        let abc = Digest::of(format!("{ab} {c}").as_bytes());
        assert_eq!(chain_ids([&a, &b, &c]), [a.clone(), ab, abc]);
        assert_ne!(chain_ids([&a, &b])[1], chain_ids([&c, &b])[1]);
        assert_eq!(chain_ids([]), []);
    }

    #[test]
    fn text_form_round_trips() {
        let d = Digest::of(b"");
        assert_eq!(d.to_string(), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(d.to_string().parse(), Ok(d));
    }

    #[test]
    fn hostile_texts_are_errors() {
        for bad in ["", "sha256", "sha256:", "md5:00", "sha256:E3", "sha256:../../etc/passwd"] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
        assert!(format!("sha256:{}", "A".repeat(64)).parse::<Digest>().is_err());
    }
}
