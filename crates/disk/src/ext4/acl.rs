//! Access control lists: ext4 stores them shorter than system calls and archives have them.

use super::raw::{get16, get32};

const CALL_VERSION: u32 = 2;
const DISK_VERSION: u32 = 1;

/// Whether entries with this tag name a user or a group.
fn has_id(tag: u16) -> bool {
    matches!(tag, 2 | 8)
}

/// As it is stored; `None` when it is no list.
pub(crate) fn to_disk(value: &[u8]) -> Option<Vec<u8>> {
    let (entries, []) = value.get(4..)?.as_chunks::<8>() else { return None };
    if get32(value, 0) != CALL_VERSION {
        return None;
    }
    let mut out = DISK_VERSION.to_le_bytes().to_vec();
    for entry in entries {
        let len = if has_id(get16(entry, 0)) { 8 } else { 4 };
        out.extend_from_slice(&entry[..len]);
    }
    Some(out)
}

/// As system calls have it; `None` when it is no list.
pub(crate) fn from_disk(stored: &[u8]) -> Option<Vec<u8>> {
    let mut rest = stored.get(4..)?;
    if get32(stored, 0) != DISK_VERSION {
        return None;
    }
    let mut out = CALL_VERSION.to_le_bytes().to_vec();
    while !rest.is_empty() {
        let len = if rest.len() >= 4 && has_id(get16(rest, 0)) { 8 } else { 4 };
        out.extend_from_slice(rest.get(..len)?);
        if len == 4 {
            out.extend_from_slice(&[0xFF; 4]);
        }
        rest = &rest[len..];
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_come_back_as_they_were() {
        let mut list = vec![2, 0, 0, 0];
        for (tag, perm, id) in
            [(1u16, 6u16, u32::MAX), (2, 4, 1000), (4, 4, u32::MAX), (16, 4, u32::MAX), (32, 0, u32::MAX)]
        {
            list.extend([tag.to_le_bytes(), perm.to_le_bytes()].concat());
            list.extend(id.to_le_bytes());
        }
        let disk = to_disk(&list).unwrap();
        assert_eq!(disk.len(), 4 + 4 * 4 + 8);
        assert_eq!(from_disk(&disk).unwrap(), list);
        for bad in [&b""[..], b"\x01\0\0\0", b"\x02\0\0\x00123"] {
            assert_eq!(to_disk(bad), None);
        }
        for bad in [&b""[..], b"\x02\0\0\0", b"\x01\0\0\0\x02\0\0\0", b"\x01\0\0\x001"] {
            assert_eq!(from_disk(bad), None);
        }
    }
}
