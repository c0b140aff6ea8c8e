//! Numbers at places in bytes that nobody has checked.

/// The `N` bytes at a place.
pub(crate) fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// 16 bits, most significant byte first.
pub(crate) fn be16(bytes: &[u8], at: usize) -> Option<usize> {
    array(bytes, at).map(|b| usize::from(u16::from_be_bytes(b)))
}

/// 32 bits, most significant byte first.
pub(crate) fn be32(bytes: &[u8], at: usize) -> Option<usize> {
    array(bytes, at).and_then(|b| usize::try_from(u32::from_be_bytes(b)).ok())
}

/// 32 bits, least significant byte first.
pub(crate) fn le32(bytes: &[u8], at: usize) -> Option<usize> {
    array(bytes, at).and_then(|b| usize::try_from(u32::from_le_bytes(b)).ok())
}

/// `length` bytes at a place.
pub(crate) fn slice(bytes: &[u8], at: usize, length: usize) -> Option<&[u8]> {
    bytes.get(at..at.checked_add(length)?)
}
