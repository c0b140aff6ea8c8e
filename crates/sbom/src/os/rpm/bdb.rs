//! `Packages`: a hash of Berkeley DB, read page by page in any order, since all of it is wanted.
//!
//! ```text
//! page 0      magic at 12, page size at 20
//! any page    next page at 16, entries at 20, length at 22, type at 25, content from 26
//! hash page   places of entries, u16 each: key, value, key, value, …
//! entry       type 1: bytes; type 3: first overflow page at 4, length at 8
//! ```
//! The machine that made it chose the order of bytes; the magic number shows it.

use crate::Unreadable;
use crate::number::{array, slice};

const MAGIC: u32 = 0x0006_1561;
const CONTENT: usize = 26;
/// Pages of a hash, and of what does not fit into one.
const HASH: [u8; 2] = [2, 13];
const OVERFLOW: u8 = 7;
/// Entries: bytes, and a chain of overflow pages.
const HERE: u8 = 1;
const ELSEWHERE: u8 = 3;

struct Database<'a> {
    bytes: &'a [u8],
    page: usize,
    big: bool,
    /// Bytes of chains not followed yet: those of all entries together are no more than the file.
    room: usize,
}

/// The value of every key but zero, which counts the others.
///
/// # Errors
/// Not such a database, or damage on the way.
pub(super) fn headers(bytes: &[u8], each: &mut dyn FnMut(&[u8])) -> Result<(), Unreadable> {
    let mut database = Database::open(bytes).ok_or("it is not a hash of Berkeley DB")?;
    for number in 1..bytes.len() / database.page {
        database.page(number, each).ok_or("one of its pages is damaged")?;
    }
    Ok(())
}

impl<'a> Database<'a> {
    fn open(bytes: &'a [u8]) -> Option<Database<'a>> {
        let big = match array(bytes, 12)? {
            magic if u32::from_le_bytes(magic) == MAGIC => false,
            magic if u32::from_be_bytes(magic) == MAGIC => true,
            _ => return None,
        };
        let mut database = Database { bytes, page: 0, big, room: bytes.len() };
        database.page =
            database.u32(bytes, 20).filter(|size| size.is_power_of_two() && (512..=65536).contains(size))?;
        Some(database)
    }

    fn u16(&self, bytes: &[u8], at: usize) -> Option<usize> {
        let two = array(bytes, at)?;
        Some(usize::from(if self.big { u16::from_be_bytes(two) } else { u16::from_le_bytes(two) }))
    }

    fn u32(&self, bytes: &[u8], at: usize) -> Option<usize> {
        let four = array(bytes, at)?;
        usize::try_from(if self.big { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) }).ok()
    }

    fn page(&mut self, number: usize, each: &mut dyn FnMut(&[u8])) -> Option<()> {
        let page = slice(self.bytes, number.checked_mul(self.page)?, self.page)?;
        if !HASH.contains(&page[25]) {
            return Some(());
        }
        let places: Vec<usize> =
            (0..self.u16(page, 20)?).map(|n| self.u16(page, CONTENT + n * 2)).collect::<Option<_>>()?;
        // An entry ends where the one before it begins: they grow from the end of the page.
        let mut end = self.page;
        for pair in places.chunks_exact(2) {
            let key = page.get(pair[0]..end)?;
            let value = page.get(pair[1]..pair[0])?;
            end = pair[1];
            if key != [HERE, 0, 0, 0, 0] {
                self.value(value, each)?;
            }
        }
        Some(())
    }

    fn value(&mut self, entry: &[u8], each: &mut dyn FnMut(&[u8])) -> Option<()> {
        match *entry.first()? {
            HERE => each(&entry[1..]),
            ELSEWHERE => each(&self.chain(self.u32(entry, 4)?, self.u32(entry, 8)?)?),
            _ => return None,
        }
        Some(())
    }

    fn chain(&mut self, mut number: usize, length: usize) -> Option<Vec<u8>> {
        self.room = self.room.checked_sub(length)?;
        let mut out = Vec::new();
        while out.len() < length {
            let page = slice(self.bytes, number.checked_mul(self.page)?, self.page)?;
            let part = self.u16(page, 22)?;
            if page[25] != OVERFLOW || part == 0 {
                return None;
            }
            out.extend_from_slice(slice(page, CONTENT, part)?);
            number = self.u32(page, 16)?;
        }
        (out.len() == length).then_some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_hash_is_refused() {
        for bytes in [&b""[..], &[0; 512], &[0xff; 8192]] {
            assert!(headers(bytes, &mut |_| panic!("there is nothing")).is_err());
        }
    }

    /// A chain of overflow pages that leads to itself, and one to a page that is not there.
    #[test]
    fn chains_end() {
        for next in [2u32, 77] {
            let mut bytes = vec![0; 512 * 3];
            bytes[12..16].copy_from_slice(&MAGIC.to_le_bytes());
            bytes[20..24].copy_from_slice(&512u32.to_le_bytes());
            let hash = &mut bytes[512..1024];
            hash[20..22].copy_from_slice(&2u16.to_le_bytes());
            hash[25] = 13;
            hash[26..28].copy_from_slice(&507u16.to_le_bytes());
            hash[28..30].copy_from_slice(&495u16.to_le_bytes());
            hash[507..512].copy_from_slice(&[HERE, 1, 0, 0, 0]);
            hash[495] = ELSEWHERE;
            hash[499..503].copy_from_slice(&2u32.to_le_bytes());
            hash[503..507].copy_from_slice(&1000u32.to_le_bytes());
            let overflow = &mut bytes[1024..];
            overflow[16..20].copy_from_slice(&next.to_le_bytes());
            overflow[22..24].copy_from_slice(&300u16.to_le_bytes());
            overflow[25] = OVERFLOW;
            assert!(headers(&bytes, &mut |_| panic!("the chain has no end")).is_err());
        }
    }
}
