//! `rpmdb.sqlite`: just enough of SQLite's file format to read one table of blobs.
//!
//! A table is a tree of pages: inner pages name others, leaves hold rows, and what does not fit goes on in a chain of
//! overflow pages. Every page is visited at most once and all rows together are not longer than the file, so that loops
//! and pages named twice end.

use crate::Unreadable;
use crate::number::{be16, be32, slice};

const MAGIC: &[u8] = b"SQLite format 3\0";
/// The page that holds the table of tables.
const SCHEMA: usize = 1;
const INNER: u8 = 5;
const LEAF: u8 = 13;

struct Database<'a> {
    bytes: &'a [u8],
    page: usize,
    /// What of a page is used: extensions may keep bytes at its end.
    usable: usize,
}

/// What a column holds, as far as it is needed here.
#[derive(Debug, PartialEq, Eq)]
enum Value<'r> {
    Number(u64),
    Bytes(&'r [u8]),
    Other,
}

/// The blob of every row of the table `Packages`.
///
/// # Errors
/// Not a database, no such table, or damage on the way.
pub(super) fn headers(bytes: &[u8], each: &mut dyn FnMut(&[u8])) -> Result<(), Unreadable> {
    let database = Database::open(bytes)?;
    let mut root = None;
    database.rows(SCHEMA, &mut |row| {
        if let Some([Value::Bytes(b"table"), Value::Bytes(b"Packages"), _, Value::Number(page)]) = columns(row) {
            root = usize::try_from(page).ok();
        }
    })?;
    let root = root.ok_or("it has no table `Packages`")?;
    database.rows(root, &mut |row| match columns(row) {
        Some([_, Value::Bytes(blob)]) => each(blob),
        _ => each(b""),
    })
}

impl<'a> Database<'a> {
    fn open(bytes: &'a [u8]) -> Result<Database<'a>, Unreadable> {
        if !bytes.starts_with(MAGIC) {
            return Err("it is not an SQLite database".into());
        }
        let page = match be16(bytes, 16) {
            Some(1) => 65536,
            Some(size) if size.is_power_of_two() && size >= 512 => size,
            _ => return Err("it is an SQLite database with an impossible page size".into()),
        };
        let reserved = usize::from(*bytes.get(20).ok_or("it ends in its header")?);
        // SQLite allows no less, and the sizes below would not be sizes.
        match page - reserved {
            usable if usable >= 480 => Ok(Database { bytes, page, usable }),
            _ => Err("it is an SQLite database with impossibly small pages".into()),
        }
    }

    fn page(&self, number: usize) -> Option<&'a [u8]> {
        slice(self.bytes, number.checked_sub(1)?.checked_mul(self.page)?, self.page)
    }

    /// Calls `each` for the record of every row of the table that begins at a page.
    fn rows(&self, root: usize, each: &mut dyn FnMut(&[u8])) -> Result<(), Unreadable> {
        let mut seen = vec![false; self.bytes.len() / self.page + 1];
        let mut room = self.bytes.len();
        let mut todo = vec![root];
        while let Some(number) = todo.pop() {
            match seen.get_mut(number) {
                Some(seen) if !*seen => *seen = true,
                _ => return Err("its pages name one another in a circle, or pages that are not there".into()),
            }
            self.visit(number, &mut todo, &mut room, each).ok_or("one of its pages is damaged")?;
        }
        Ok(())
    }

    fn visit(&self, number: usize, todo: &mut Vec<usize>, room: &mut usize, each: &mut dyn FnMut(&[u8])) -> Option<()> {
        let page = self.page(number)?;
        let start = if number == SCHEMA { 100 } else { 0 };
        let kind = *page.get(start)?;
        let cells = be16(page, start + 3)?;
        let pointers = start + if kind == INNER { 12 } else { 8 };
        if kind == INNER {
            // In front of those of the cells, which are taken from the end.
            todo.push(be32(page, start + 8)?);
        }
        for cell in (0..cells).map(|cell| be16(page, pointers + cell * 2)) {
            match kind {
                INNER => todo.push(be32(page, cell?)?),
                LEAF => self.row(page, cell?, room, each)?,
                _ => return None,
            }
        }
        Some(())
    }

    fn row(&self, page: &'a [u8], at: usize, room: &mut usize, each: &mut dyn FnMut(&[u8])) -> Option<()> {
        let cell = page.get(at..self.usable)?;
        let (length, used) = varint(cell)?;
        let (_, more) = varint(cell.get(used..)?)?;
        let length = usize::try_from(length).ok()?;
        *room = room.checked_sub(length)?;
        let body = used + more;
        let local = self.local(length);
        let mut record = slice(cell, body, local)?.to_vec();
        if local < length {
            self.overflow(be32(cell, body + local)?, length, &mut record)?;
        }
        each(&record);
        Some(())
    }

    /// How many bytes of a record are in the page itself.
    fn local(&self, length: usize) -> usize {
        let most = self.usable - 35;
        if length <= most {
            return length;
        }
        let least = (self.usable - 12) * 32 / 255 - 23;
        let fitting = least + (length - least) % (self.usable - 4);
        if fitting <= most { fitting } else { least }
    }

    fn overflow(&self, mut number: usize, length: usize, record: &mut Vec<u8>) -> Option<()> {
        while record.len() < length {
            let page = self.page(number)?;
            let part = (length - record.len()).min(self.usable - 4);
            record.extend_from_slice(slice(page, 4, part)?);
            number = be32(page, 0)?;
        }
        Some(())
    }
}

/// The first `N` columns of a record.
fn columns<const N: usize>(record: &[u8]) -> Option<[Value<'_>; N]> {
    let (header, mut at) = varint(record)?;
    let mut body = usize::try_from(header).ok()?;
    let mut out = [const { Value::Other }; N];
    for column in &mut out {
        let (kind, used) = varint(record.get(at..usize::try_from(header).ok()?)?)?;
        at += used;
        let length = match kind {
            0 | 8 | 9 => 0,
            1..=4 => kind,
            5 => 6,
            6 | 7 => 8,
            10 | 11 => return None,
            _ => (kind - 12) / 2,
        };
        let value = slice(record, body, usize::try_from(length).ok()?)?;
        body += value.len();
        *column = match kind {
            1..=6 => Value::Number(value.iter().fold(0, |n, byte| n << 8 | u64::from(*byte))),
            8 | 9 => Value::Number(kind - 8),
            12.. => Value::Bytes(value),
            _ => Value::Other,
        };
    }
    Some(out)
}

/// A number of one to nine bytes, and how many they were.
fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(9).enumerate() {
        if at == 8 {
            return Some((value << 8 | u64::from(*byte), 9));
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((value, at + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_up_to_nine_bytes() {
        assert_eq!(varint(&[0x7f]), Some((127, 1)));
        assert_eq!(varint(&[0x81, 0]), Some((128, 2)));
        assert_eq!(varint(&[0xff; 9]), Some((u64::MAX, 9)));
        assert_eq!((varint(&[0xff; 8]), varint(&[])), (None, None));
    }

    #[test]
    fn what_is_no_database_is_refused() {
        let mut count = 0;
        for bytes in [&b""[..], b"SQLite format 3\0", &[0; 4096], &[MAGIC, &[0xff; 4096]].concat()] {
            assert!(headers(bytes, &mut |_| count += 1).is_err());
        }
        assert_eq!(count, 0);
    }

    /// A database of one page whose tree is a circle, one that names pages beyond the end, and one of a foreign kind.
    #[test]
    fn circles_end() {
        for (kind, right) in [(INNER, 1), (INNER, 9), (INNER, 0), (2, 1)] {
            let mut page = vec![0; 4096];
            page[..16].copy_from_slice(MAGIC);
            page[16..18].copy_from_slice(&4096u16.to_be_bytes());
            page[100] = kind;
            page[104] = if kind == INNER { 0 } else { 1 };
            page[108..112].copy_from_slice(&u32::to_be_bytes(right));
            assert!(headers(&page, &mut |_| {}).is_err(), "{kind} {right}");
        }
    }
}
