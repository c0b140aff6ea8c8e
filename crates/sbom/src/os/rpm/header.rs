//! The header of a package: an index of tags, and a store of their values.
//!
//! ```text
//! entries: u32   bytes: u32   (tag, type, offset, count: u32) × entries   store
//! ```

use crate::number::{array, be32, slice};
use crate::{Kind, Licence, Package, Source};

const NAME: usize = 1000;
const VERSION: usize = 1001;
const RELEASE: usize = 1002;
const EPOCH: usize = 1003;
const VENDOR: usize = 1011;
const LICENSE: usize = 1014;
const URL: usize = 1020;
const ARCH: usize = 1022;
const SOURCE: usize = 1044;

/// Types of values: numbers, and three that begin with a text.
const INT32: usize = 4;
const TEXTS: [usize; 3] = [6, 8, 9];

/// RPM's own limit for tags in a header.
const MAX_ENTRIES: usize = 0xffff;

struct Header<'a> {
    index: &'a [u8],
    store: &'a [u8],
}

impl<'a> Header<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Header<'a>> {
        let (entries, length) = (be32(bytes, 0)?, be32(bytes, 4)?);
        if entries > MAX_ENTRIES {
            return None;
        }
        let index = slice(bytes, 8, entries * 16)?;
        Some(Header { index, store: slice(bytes, 8 + index.len(), length)? })
    }

    /// The values of a tag that has one of these types.
    fn value(&self, tag: usize, types: &[usize]) -> Option<&'a [u8]> {
        let mut entries = self.index.chunks_exact(16);
        let entry = entries.find(|entry| be32(entry, 0) == Some(tag))?;
        types.contains(&be32(entry, 4)?).then(|| self.store.get(be32(entry, 8)?..))?
    }

    fn text(&self, tag: usize) -> Option<String> {
        let value = self.value(tag, &TEXTS)?;
        let end = value.iter().position(|b| *b == 0)?;
        Some(String::from_utf8_lossy(&value[..end]).into_owned()).filter(|text| !text.is_empty() && text != "(none)")
    }

    fn epoch(&self) -> Option<u32> {
        array(self.value(EPOCH, &[INT32])?, 0).map(u32::from_be_bytes)
    }
}

/// The package that a header describes; `None` for bytes that are no header, or one without a name.
pub fn package(bytes: &[u8]) -> Option<Package> {
    let header = Header::parse(bytes)?;
    let name = header.text(NAME)?;
    let mut version = header.text(VERSION).unwrap_or_default();
    if let Some(release) = header.text(RELEASE) {
        version = format!("{version}-{release}");
    }
    // Zero is what a missing epoch means.
    if let Some(epoch) = header.epoch().filter(|epoch| *epoch > 0) {
        version = format!("{epoch}:{version}");
    }
    let mut package = Package::new(Kind::Rpm, name, version);
    package.architecture = header.text(ARCH);
    package.vendor = header.text(VENDOR);
    package.homepage = header.text(URL);
    package.licences = header.text(LICENSE).map(|text| Licence::rpm(&text)).into_iter().collect();
    package.source = header.text(SOURCE).map(|name| Source { name, version: None });
    Some(package)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A header of texts and an epoch.
    pub(crate) fn made(texts: &[(usize, &str)], epoch: Option<u32>) -> Vec<u8> {
        let mut index = Vec::new();
        let mut store = Vec::new();
        let mut entry = |tag: usize, kind: usize, store: &[u8]| {
            for n in [tag, kind, store.len(), 1] {
                index.extend_from_slice(&u32::try_from(n).unwrap().to_be_bytes());
            }
        };
        if let Some(epoch) = epoch {
            entry(EPOCH, INT32, &store);
            store.extend_from_slice(&epoch.to_be_bytes());
        }
        for (tag, text) in texts {
            entry(*tag, 6, &store);
            store.extend_from_slice(text.as_bytes());
            store.push(0);
        }
        let count = u32::try_from(index.len() / 16).unwrap().to_be_bytes();
        let length = u32::try_from(store.len()).unwrap().to_be_bytes();
        [&count[..], &length, &index, &store].concat()
    }

    #[test]
    fn a_header_gives_a_package() {
        let texts = [(NAME, "vim"), (VERSION, "9.1"), (RELEASE, "1.fc41"), (ARCH, "x86_64"), (LICENSE, "GPLv2+")];
        let package = package(&made(&texts, Some(2))).unwrap();
        assert_eq!((package.name.as_str(), package.version.as_str()), ("vim", "2:9.1-1.fc41"));
        assert_eq!(package.licences[0].expression.as_deref(), Some("GPL-2.0-or-later"));
    }

    #[test]
    fn a_damaged_header_gives_none() {
        let whole = made(&[(NAME, "a"), (VERSION, "1")], Some(0));
        assert_eq!(package(&whole).unwrap().version, "1");
        for end in 0..whole.len() {
            assert_eq!(package(&whole[..end]), None, "{end}");
        }
        assert_eq!(package(&made(&[(VERSION, "1")], None)), None);
        assert_eq!(package(&[0xff; 64]), None);
    }
}
