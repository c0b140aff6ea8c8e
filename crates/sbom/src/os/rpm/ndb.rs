//! `Packages.db`: slots that say where blobs are, then the blobs, all numbers least significant byte first.
//!
//! ```text
//! "RpmP"  version  generation  pages of slots  …       32 bytes
//! "Slot"  package  first block  blocks                 16 bytes each, to the end of the slots' pages
//! "BlbS"  package  generation  length  header …        at a block of 16 bytes
//! ```

use crate::Unreadable;
use crate::number::{le32, slice};

const PAGE: usize = 4096;
const BLOCK: usize = 16;

/// The header of every slot that is used.
///
/// # Errors
/// Not such a database, or damage on the way.
pub(super) fn headers(bytes: &[u8], each: &mut dyn FnMut(&[u8])) -> Result<(), Unreadable> {
    if !bytes.starts_with(b"RpmP") || le32(bytes, 4) != Some(0) {
        return Err("it is not a database of RPM's format `ndb`".into());
    }
    let pages = le32(bytes, 12).and_then(|pages| pages.checked_mul(PAGE));
    let slots = pages.and_then(|end| bytes.get(32..end)).ok_or("it ends among its slots")?;
    let mut room = bytes.len();
    for slot in slots.chunks_exact(BLOCK) {
        if !slot.starts_with(b"Slot") {
            return Err("one of its slots is damaged".into());
        }
        let package = le32(slot, 4);
        if package == Some(0) {
            continue;
        }
        let blob = blob(bytes, slot).ok_or("one of its blobs is damaged")?;
        // Slots that share a blob would multiply it.
        room = room.checked_sub(blob.len()).ok_or("its slots name the same blob")?;
        each(blob);
    }
    Ok(())
}

fn blob<'a>(bytes: &'a [u8], slot: &[u8]) -> Option<&'a [u8]> {
    let at = le32(slot, 8)?.checked_mul(BLOCK)?;
    let head = slice(bytes, at, BLOCK)?;
    let is_its = head.starts_with(b"BlbS") && le32(head, 4) == le32(slot, 4);
    is_its.then(|| slice(bytes, at + BLOCK, le32(head, 12)?))?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(slots: &[[u32; 3]], blobs: &[u8]) -> Vec<u8> {
        let mut bytes = [&b"RpmP"[..], &[0; 8], &1u32.to_le_bytes(), &[0; 16]].concat();
        for [package, block, blocks] in slots {
            bytes.extend_from_slice(b"Slot");
            [package, block, blocks].iter().for_each(|n| bytes.extend_from_slice(&n.to_le_bytes()));
        }
        while bytes.len() < PAGE {
            bytes.extend_from_slice(&[&b"Slot"[..], &[0; 12]].concat());
        }
        bytes.extend_from_slice(blobs);
        bytes
    }

    fn blob(package: u32, content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(content.len()).unwrap().to_le_bytes();
        [&b"BlbS"[..], &package.to_le_bytes(), &[0; 4], &length, content].concat()
    }

    fn read(bytes: &[u8]) -> (Vec<Vec<u8>>, bool) {
        let mut all = Vec::new();
        let ended = headers(bytes, &mut |blob| all.push(blob.to_vec())).is_ok();
        (all, ended)
    }

    #[test]
    fn slots_lead_to_blobs() {
        let bytes = database(&[[7, 256, 2], [0, 9, 9]], &blob(7, b"sixteen bytes in"));
        assert_eq!(read(&bytes), (vec![b"sixteen bytes in".to_vec()], true));
    }

    #[test]
    fn damage_is_an_error() {
        let whole = database(&[[7, 256, 2]], &blob(7, b"x"));
        for bad in [&whole[..100], &whole[..whole.len() - 1], b"RpmP", b"", &database(&[[8, 256, 2]], &blob(7, b"x"))] {
            assert_eq!(read(bad), (Vec::new(), false));
        }
        let many = database(&[[7, 256, 2]; 100], &blob(7, &[1; 3000]));
        assert!(!read(&many).1);
    }
}
