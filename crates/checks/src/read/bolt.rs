//! Reading a database of bbolt, in which containerd keeps what it knows.
//!
//! ```text
//! page     id u64, flags u16, count u16, overflow u32, then elements
//! meta     magic u32, version u32, page size u32, flags u32, root bucket (page u64, sequence u64), free list u64, pages u64, transaction u64, checksum u64
//! branch   elements: position u32, key size u32, page u64
//! leaf     elements: flags u32 (1: a bucket), position u32, key size u32, value size u32
//! bucket   as a value: page u64, sequence u64; page 0 means that its one page follows in the value
//! ```
//! All numbers are little-endian; positions count from the element they are in.

use std::collections::BTreeMap;
use std::ops::Range;

/// The number that a database begins with.
pub const MAGIC: u32 = 0xED0C_DAED;
/// The kind of a page that names pages.
pub const BRANCH: u16 = 1;
/// The kind of a page that has keys.
pub const LEAF: u16 = 2;
/// The kind of a page that says where the root is.
pub const META: u16 = 4;
/// The kind of a page that lists free ones.
pub const FREE: u16 = 16;
/// Bytes of a page's head.
pub const HEADER: usize = 16;
/// How deep buckets may lie in buckets.
const MAX_NESTING: usize = 16;
/// The most bytes that all values may have together.
const MAX_BYTES: usize = 512 << 20;
/// How deep a tree of pages may be.
const MAX_DEPTH: usize = 24;
/// The most entries that a bucket may have.
const MAX_ENTRIES: usize = 200_000;

/// Why a database cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BoltError {
    /// Neither of the two first pages is a valid start.
    #[error("it is not a database of bbolt")]
    NotOne,
    /// A page or element points to where nothing is.
    #[error("it is damaged: a page is not as it must be")]
    Damaged,
    /// A tree is deeper, or has more entries, than any that was ever written.
    #[error("it has more pages or entries than is accepted")]
    TooLarge,
}

/// A database in memory.
#[derive(Debug, Clone, Copy)]
pub struct Database<'a> {
    bytes: &'a [u8],
    page_size: usize,
    root: Bucket,
    sequence: u64,
}

/// A bucket of a database: where its root page starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket(usize);

/// A bucket with all that is in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Node {
    /// The last number that was given out for it.
    pub sequence: u64,
    /// Values and buckets, by name.
    pub items: BTreeMap<Vec<u8>, Item>,
}

/// What a name in a bucket means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// Bytes.
    Value(Vec<u8>),
    /// A bucket.
    Bucket(Node),
}

/// An element of a leaf.
struct Element<'a> {
    key: &'a [u8],
    value: Range<usize>,
    is_bucket: bool,
}

fn number(bytes: &[u8], at: usize, size: usize) -> Result<usize, BoltError> {
    let field = at.checked_add(size).and_then(|end| bytes.get(at..end)).ok_or(BoltError::Damaged)?;
    let value = field.iter().rev().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    usize::try_from(value).map_err(|_| BoltError::Damaged)
}

/// The sum of a start, over the fields before it: FNV-1a.
pub fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

impl<'a> Database<'a> {
    /// Finds the newer of the two valid starts.
    ///
    /// # Errors
    /// Neither is valid.
    pub fn open(bytes: &'a [u8]) -> Result<Database<'a>, BoltError> {
        let meta = |at: usize| -> Option<(u64, Database<'a>)> {
            let start = at.checked_add(HEADER)?;
            let body = bytes.get(start..start.checked_add(64)?)?;
            let page_size = number(body, 8, 4).ok()?;
            let sum = u64::from_le_bytes(body[56..64].try_into().ok()?);
            let fits = number(body, 0, 4).ok()? == MAGIC as usize && checksum(&body[..56]) == sum && page_size >= 512;
            let root = number(body, 16, 8).ok()?.checked_mul(page_size)?;
            let transaction = u64::from_le_bytes(body[48..56].try_into().ok()?);
            let sequence = u64::from_le_bytes(body[24..32].try_into().ok()?);
            fits.then_some((transaction, Database { bytes, page_size, root: Bucket(root), sequence }))
        };
        let first = meta(0);
        // The second page starts where the first says, or, when that is damaged, at one of the usual sizes.
        let sizes = first.iter().map(|(_, database)| database.page_size).chain([4096, 16384, 65536, 8192]);
        let all = sizes.filter_map(meta).chain(first);
        all.max_by_key(|(transaction, _)| *transaction).map(|(_, database)| database).ok_or(BoltError::NotOne)
    }

    /// The bucket at a path of names.
    ///
    /// # Errors
    /// The database is damaged.
    pub fn bucket(&self, path: &[&[u8]]) -> Result<Option<Bucket>, BoltError> {
        let mut bucket = self.root;
        for name in path {
            match self.child(bucket, name)? {
                Some(child) => bucket = child,
                None => return Ok(None),
            }
        }
        Ok(Some(bucket))
    }

    /// A bucket in a bucket.
    ///
    /// # Errors
    /// The database is damaged.
    pub fn child(&self, bucket: Bucket, name: &[u8]) -> Result<Option<Bucket>, BoltError> {
        let Some(value) = self.find(bucket, name, true)? else { return Ok(None) };
        let page = number(self.bytes, value.start, 8)?;
        let start = match page {
            0 => value.start + HEADER,
            page => page.checked_mul(self.page_size).ok_or(BoltError::Damaged)?,
        };
        Ok(Some(Bucket(start)))
    }

    /// The value of a key.
    ///
    /// # Errors
    /// The database is damaged.
    pub fn value(&self, bucket: Bucket, key: &[u8]) -> Result<Option<Vec<u8>>, BoltError> {
        let Some(value) = self.find(bucket, key, false)? else { return Ok(None) };
        self.bytes.get(value).map(|bytes| Some(bytes.to_vec())).ok_or(BoltError::Damaged)
    }

    /// The names of the buckets in a bucket.
    ///
    /// # Errors
    /// The database is damaged.
    pub fn buckets(&self, bucket: Bucket) -> Result<Vec<Vec<u8>>, BoltError> {
        let mut names = Vec::new();
        self.walk(bucket.0, 0, &mut 0, &mut |element| {
            if element.is_bucket {
                names.push(element.key.to_vec());
            }
        })?;
        Ok(names)
    }

    /// All that there is.
    ///
    /// # Errors
    /// The database is damaged, or holds more than is accepted.
    pub fn all(&self) -> Result<Node, BoltError> {
        let mut left = (MAX_ENTRIES, MAX_BYTES);
        Ok(Node { sequence: self.sequence, items: self.items(self.root.0, 0, &mut left)? })
    }

    fn items(
        &self,
        start: usize,
        depth: usize,
        left: &mut (usize, usize),
    ) -> Result<BTreeMap<Vec<u8>, Item>, BoltError> {
        let mut elements = Vec::new();
        self.walk(start, 0, &mut 0, &mut |element| elements.push(element))?;
        left.0 = left.0.checked_sub(elements.len()).filter(|_| depth <= MAX_NESTING).ok_or(BoltError::TooLarge)?;
        let mut items = BTreeMap::new();
        for element in elements {
            let bytes = self.bytes.get(element.value.clone()).ok_or(BoltError::Damaged)?;
            let item = if element.is_bucket {
                let page = number(self.bytes, element.value.start, 8)?;
                let sequence = number(self.bytes, element.value.start + 8, 8)? as u64;
                let start = match page {
                    0 => element.value.start + HEADER,
                    page => page.checked_mul(self.page_size).ok_or(BoltError::Damaged)?,
                };
                Item::Bucket(Node { sequence, items: self.items(start, depth + 1, left)? })
            } else {
                left.1 = left.1.checked_sub(bytes.len()).ok_or(BoltError::TooLarge)?;
                Item::Value(bytes.to_vec())
            };
            items.insert(element.key.to_vec(), item);
        }
        Ok(items)
    }

    fn find(&self, bucket: Bucket, key: &[u8], is_bucket: bool) -> Result<Option<Range<usize>>, BoltError> {
        let mut found = None;
        self.walk(bucket.0, 0, &mut 0, &mut |element| {
            if element.key == key && element.is_bucket == is_bucket {
                found = Some(element.value);
            }
        })?;
        Ok(found)
    }

    /// Shows every element below the page at `start`.
    fn walk(
        &self,
        start: usize,
        depth: usize,
        seen: &mut usize,
        show: &mut dyn FnMut(Element<'a>),
    ) -> Result<(), BoltError> {
        let flags = number(self.bytes, start + 8, 2)? as u16;
        let count = number(self.bytes, start + 10, 2)?;
        *seen += count + 1;
        if depth > MAX_DEPTH || *seen > MAX_ENTRIES {
            return Err(BoltError::TooLarge);
        }
        for at in (0..count).map(|n| start + HEADER + n * 16) {
            match flags & (BRANCH | LEAF) {
                BRANCH => {
                    let page = number(self.bytes, at + 8, 8)?.checked_mul(self.page_size).ok_or(BoltError::Damaged)?;
                    if page > self.bytes.len() {
                        return Err(BoltError::Damaged);
                    }
                    self.walk(page, depth + 1, seen, show)?;
                }
                LEAF => show(self.element(at)?),
                _ => return Err(BoltError::Damaged),
            }
        }
        Ok(())
    }

    fn element(&self, at: usize) -> Result<Element<'a>, BoltError> {
        let is_bucket = number(self.bytes, at, 4)? == 1;
        let key = at.checked_add(number(self.bytes, at + 4, 4)?).ok_or(BoltError::Damaged)?;
        let value = key.checked_add(number(self.bytes, at + 8, 4)?).ok_or(BoltError::Damaged)?;
        let end = value.checked_add(number(self.bytes, at + 12, 4)?).ok_or(BoltError::Damaged)?;
        if end > self.bytes.len() {
            return Err(BoltError::Damaged);
        }
        let key = self.bytes.get(key..value).ok_or(BoltError::Damaged)?;
        Ok(Element { key, value: value..end, is_bucket })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A leaf page with elements that follow each other.
    fn leaf(elements: &[(&[u8], Vec<u8>, bool)]) -> Vec<u8> {
        let mut page = vec![0; HEADER];
        page[8..10].copy_from_slice(&LEAF.to_le_bytes());
        page[10..12].copy_from_slice(&u16::try_from(elements.len()).unwrap().to_le_bytes());
        let mut bodies = Vec::new();
        for (at, (key, value, is_bucket)) in elements.iter().enumerate() {
            let position = (elements.len() - at) * 16 + bodies.len();
            for field in [usize::from(*is_bucket), position, key.len(), value.len()] {
                page.extend_from_slice(&u32::try_from(field).unwrap().to_le_bytes());
            }
            bodies.extend_from_slice(key);
            bodies.extend_from_slice(value);
        }
        page.extend_from_slice(&bodies);
        page
    }

    /// A bucket that lies in the value of its element.
    fn inline(elements: &[(&[u8], Vec<u8>, bool)]) -> Vec<u8> {
        [vec![0; 16], leaf(elements)].concat()
    }

    fn database(root: Vec<u8>) -> Vec<u8> {
        let mut bytes = vec![0; 2 * 4096];
        for (at, transaction) in [(0, 5_u64), (4096, 4)] {
            let mut body = vec![0_u8; 56];
            body[0..4].copy_from_slice(&MAGIC.to_le_bytes());
            body[4..8].copy_from_slice(&2_u32.to_le_bytes());
            body[8..12].copy_from_slice(&4096_u32.to_le_bytes());
            body[16..24].copy_from_slice(&2_u64.to_le_bytes());
            body[48..56].copy_from_slice(&transaction.to_le_bytes());
            let sum = checksum(&body);
            bytes[at + 16..at + 72].copy_from_slice(&body);
            bytes[at + 72..at + 80].copy_from_slice(&sum.to_le_bytes());
        }
        bytes.extend(root);
        bytes
    }

    #[test]
    fn buckets_in_buckets_are_found() {
        let target = inline(&[(b"digest", b"sha256:1".to_vec(), false)]);
        let images = inline(&[(b"app:1", inline(&[(b"target", target, true)]), true)]);
        let bytes =
            database(leaf(&[(b"v1", inline(&[(b"images", images, true)]), true), (b"x", b"y".to_vec(), false)]));
        let open = Database::open(&bytes).unwrap();
        let images = open.bucket(&[b"v1", b"images"]).unwrap().unwrap();
        assert_eq!(open.buckets(images).unwrap(), [b"app:1".to_vec()]);
        let target = open.bucket(&[b"v1", b"images", b"app:1", b"target"]).unwrap().unwrap();
        assert_eq!(open.value(target, b"digest").unwrap().unwrap(), b"sha256:1");
        assert_eq!(open.bucket(&[b"v2"]).unwrap(), None);
    }

    #[test]
    fn damage_is_an_error_and_never_a_panic() {
        assert_eq!(Database::open(b"").unwrap_err(), BoltError::NotOne);
        assert_eq!(Database::open(&[0; 9000]).unwrap_err(), BoltError::NotOne);
        let good = database(leaf(&[(b"v1", inline(&[(b"a", b"b".to_vec(), false)]), true)]));
        for at in 8192..good.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut bad = good.clone();
                bad[at] = value;
                if let Ok(open) = Database::open(&bad) {
                    let _ = (open.bucket(&[b"v1", b"a"]), open.all());
                    let _ = open.bucket(&[b"v1"]).map(|found| found.map(|bucket| open.value(bucket, b"a")));
                }
            }
        }
        // A branch whose child is itself.
        let mut circle = vec![0; HEADER + 16];
        circle[8] = 1;
        circle[10] = 1;
        circle[HEADER + 8] = 2;
        let bytes = database(circle);
        assert_eq!(Database::open(&bytes).unwrap().bucket(&[b"v1"]).unwrap_err(), BoltError::TooLarge);
    }
}
