//! File capabilities: the one extended attribute a layer carries.

use std::os::fd::AsFd;

use rustix::fs::fgetxattr;
use rustix::io::Errno;

/// The attribute's name.
pub(crate) const NAME: &[u8] = b"security.capability";

/// The longest value the kernel knows is 24 bytes.
const ROOM: usize = 64;

const REVISION: u32 = 0xff00_0000;
const REVISION_2: u32 = 0x0200_0000;
const REVISION_3: u32 = 0x0300_0000;
const REVISION_2_LEN: usize = 20;
const REVISION_3_LEN: usize = 24;

/// The capabilities of an open file, without the user namespace they were set in; `None` when it has none.
pub(crate) fn of(file: impl AsFd) -> Result<Option<Vec<u8>>, Errno> {
    under(NAME, file)
}

/// The same where they are kept under another name, as in [`Form::Bare`](crate::Form::Bare).
pub(crate) fn under(name: &[u8], file: impl AsFd) -> Result<Option<Vec<u8>>, Errno> {
    let mut value = vec![0; ROOM];
    match fgetxattr(file, name, &mut value[..]) {
        Ok(len) => {
            value.truncate(len);
            Ok(Some(plain(value)))
        }
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// A value of revision 3 as revision 2: a layer's capabilities belong to whoever is root where it is unpacked, and the
/// same command must give the same bytes in a user namespace and outside.
pub(crate) fn plain(mut value: Vec<u8>) -> Vec<u8> {
    let Some(head) = value.first_chunk::<4>().copied().map(u32::from_le_bytes) else { return value };
    if value.len() == REVISION_3_LEN && head & REVISION == REVISION_3 {
        value.truncate(REVISION_2_LEN);
        value[..4].copy_from_slice(&(head & !REVISION | REVISION_2).to_le_bytes());
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_namespace_is_left_out() {
        let mut three = vec![1, 0, 0, 3];
        three.extend([7; 16]);
        three.extend([0xe8, 3, 0, 0]);
        let mut two = vec![1, 0, 0, 2];
        two.extend([7; 16]);
        assert_eq!(plain(three), two);
        assert_eq!(plain(two.clone()), two);
        assert_eq!(plain(vec![1, 2]), vec![1, 2]);
    }
}
