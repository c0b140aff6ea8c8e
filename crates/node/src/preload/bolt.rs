//! Writing a database of bbolt anew: the reader of it, and the form, are in [`kiln_checks::read::bolt`].
//!
//! A database is written whole and without free pages, so that the same content gives the same bytes. Pages 0 and 1 say
//! where the root is, page 2 that nothing is free, and the tree follows, children before their parents. A bucket that is
//! small and has no buckets lies in its value, as bbolt writes it.

use kiln_checks::read::bolt::{BRANCH, FREE, HEADER, Item, LEAF, MAGIC, META, Node, checksum};

/// The size of pages: that of the memory of the machines that images are for, as far as bbolt goes; it reads any.
const PAGE: usize = 4096;
/// Bytes of an element, before its key.
const ELEMENT: usize = 16;
/// A bucket up to this size lies in its value.
const INLINE: usize = PAGE / 4;
/// The version of the form.
const VERSION: u32 = 2;

/// An element of a leaf, as it is written.
struct Element {
    flags: u32,
    key: Vec<u8>,
    value: Vec<u8>,
}

/// The bytes of a database with this root.
pub fn write(root: &Node) -> Vec<u8> {
    let mut out = Writer { bytes: vec![0; 3 * PAGE] };
    let at = out.bucket(root);
    let pages = (out.bytes.len() / PAGE) as u64;
    let mut free = page(2, FREE, 0, 0);
    free.resize(PAGE, 0);
    out.bytes[2 * PAGE..3 * PAGE].copy_from_slice(&free);
    // Two starts that say the same: bbolt takes the one of the later transaction.
    for transaction in 0..2_u64 {
        let mut meta = Vec::with_capacity(64);
        for field in [MAGIC, VERSION, PAGE as u32, 0] {
            meta.extend(field.to_le_bytes());
        }
        for field in [at, root.sequence, 2, pages, transaction] {
            meta.extend(field.to_le_bytes());
        }
        meta.extend(checksum(&meta).to_le_bytes());
        let start = transaction as usize * PAGE;
        let head = page(transaction, META, 0, 0);
        out.bytes[start..start + HEADER].copy_from_slice(&head);
        out.bytes[start + HEADER..start + HEADER + meta.len()].copy_from_slice(&meta);
    }
    out.bytes
}

/// The head of a page.
fn page(id: u64, flags: u16, count: usize, overflow: usize) -> Vec<u8> {
    let mut head = id.to_le_bytes().to_vec();
    head.extend(flags.to_le_bytes());
    head.extend((count as u16).to_le_bytes());
    head.extend((overflow as u32).to_le_bytes());
    head
}

/// The body of a leaf: elements, then keys and values, each found from its element.
fn leaf(elements: &[Element]) -> Vec<u8> {
    let (mut heads, mut data) = (Vec::new(), Vec::<u8>::new());
    for (at, element) in elements.iter().enumerate() {
        let position = (elements.len() - at) * ELEMENT + data.len();
        for field in [element.flags, position as u32, element.key.len() as u32, element.value.len() as u32] {
            heads.extend(field.to_le_bytes());
        }
        data.extend(&element.key);
        data.extend(&element.value);
    }
    heads.extend(data);
    heads
}

struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// Writes a page, over as many pages as it needs; gives its number.
    fn page(&mut self, flags: u16, count: usize, body: &[u8]) -> u64 {
        let id = (self.bytes.len() / PAGE) as u64;
        let pages = (HEADER + body.len()).div_ceil(PAGE);
        self.bytes.extend(page(id, flags, count, pages - 1));
        self.bytes.extend(body);
        self.bytes.resize((id as usize + pages) * PAGE, 0);
        id
    }

    /// Writes a bucket with all that is in it; gives the page of its root.
    fn bucket(&mut self, node: &Node) -> u64 {
        let elements: Vec<Element> = node.items.iter().map(|(key, item)| self.element(key, item)).collect();
        self.leaves(&elements)
    }

    fn element(&mut self, key: &[u8], item: &Item) -> Element {
        let key = key.to_vec();
        let node = match item {
            Item::Value(value) => return Element { flags: 0, key, value: value.clone() },
            Item::Bucket(node) => node,
        };
        let plain: Option<Vec<Element>> = node
            .items
            .iter()
            .map(|(key, item)| match item {
                Item::Value(value) => Some(Element { flags: 0, key: key.clone(), value: value.clone() }),
                Item::Bucket(_) => None,
            })
            .collect();
        let inline =
            plain.map(|elements| (elements.len(), leaf(&elements))).filter(|(_, body)| body.len() + HEADER <= INLINE);
        let root = if inline.is_some() { 0 } else { self.bucket(node) };
        let mut value = root.to_le_bytes().to_vec();
        value.extend(node.sequence.to_le_bytes());
        if let Some((count, body)) = inline {
            value.extend(page(0, LEAF, count, 0));
            value.extend(body);
        }
        Element { flags: 1, key, value }
    }

    /// Leaves as full as pages are, and branches above them up to one page.
    fn leaves(&mut self, elements: &[Element]) -> u64 {
        let size = |element: &Element| ELEMENT + element.key.len() + element.value.len();
        let mut level: Vec<(Vec<u8>, u64)> = Vec::new();
        for part in filled(elements, size) {
            let id = self.page(LEAF, part.len(), &leaf(part));
            level.push((part.first().map(|e| e.key.clone()).unwrap_or_default(), id));
        }
        while level.len() > 1 {
            let size = |(key, _): &(Vec<u8>, u64)| ELEMENT + key.len();
            let mut above = Vec::new();
            for part in filled(&level, size) {
                let (mut heads, mut keys) = (Vec::new(), Vec::<u8>::new());
                for (at, (key, id)) in part.iter().enumerate() {
                    let position = (part.len() - at) * ELEMENT + keys.len();
                    heads.extend((position as u32).to_le_bytes());
                    heads.extend((key.len() as u32).to_le_bytes());
                    heads.extend(id.to_le_bytes());
                    keys.extend(key);
                }
                heads.extend(keys);
                let id = self.page(BRANCH, part.len(), &heads);
                above.push((part.first().map(|(key, _)| key.clone()).unwrap_or_default(), id));
            }
            level = above;
        }
        level.first().map_or(0, |(_, id)| *id)
    }
}

/// Cuts a list so that each part fits into a page. A part has two at least, for a branch of one child would have no end;
/// nothing is a part of nothing.
fn filled<T>(all: &[T], size: impl Fn(&T) -> usize) -> Vec<&[T]> {
    if all.is_empty() {
        return vec![all];
    }
    let (mut parts, mut from, mut fill) = (Vec::new(), 0, HEADER);
    for (at, one) in all.iter().enumerate() {
        let len = size(one);
        if fill + len > PAGE && at - from >= 2 {
            parts.push(&all[from..at]);
            (from, fill) = (at, HEADER);
        }
        fill += len;
    }
    parts.push(&all[from..]);
    parts
}

#[cfg(test)]
mod tests {
    use kiln_checks::read::bolt::Database;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for count in [0, 1, 3, 100, 5000] {
            let mut root = Node { sequence: 7, ..Node::default() };
            for n in 0..count {
                let name = format!("key-{n:06}").into_bytes();
                let item = match n % 4 {
                    0 => Item::Value(vec![b'v'; n % 50]),
                    1 => Item::Value(vec![b'w'; 5000]),
                    _ => {
                        let mut inner = Node { sequence: n as u64, ..Node::default() };
                        for m in 0..n % 40 {
                            inner.items.insert(format!("{m}").into_bytes(), Item::Value(vec![0; n % 60]));
                        }
                        if n % 3 == 0 {
                            inner.items.insert(b"deeper".to_vec(), Item::Bucket(Node::default()));
                        }
                        Item::Bucket(inner)
                    }
                };
                root.items.insert(name, item);
            }
            let bytes = write(&root);
            assert_eq!(bytes.len() % PAGE, 0);
            assert_eq!(Database::open(&bytes).unwrap().all().unwrap(), root, "{count}");
            assert_eq!(bytes, write(&root));
        }
    }
}
