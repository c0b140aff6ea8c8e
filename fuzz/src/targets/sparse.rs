//! Large files in few bytes: what a disk holds, without its zeros.

/// The most bytes such a file has.
const MAX: usize = 4 << 20;

/// The file that patches describe: its length in KiB (two bytes), then offsets (four bytes), lengths (two bytes) and
/// bytes, numbers little-endian. What does not fit is cut, so that every input is a file.
pub(super) fn file(mut patches: &[u8]) -> Vec<u8> {
    let Some(len) = number::<2>(&mut patches) else { return Vec::new() };
    let mut bytes = vec![0; (len << 10).min(MAX)];
    while let (Some(at), Some(len)) = (number::<4>(&mut patches), number::<2>(&mut patches)) {
        let (patch, rest) = patches.split_at(len.min(patches.len()));
        patches = rest;
        if let Some(place) = bytes.get_mut(at..) {
            let len = place.len().min(patch.len());
            place[..len].copy_from_slice(&patch[..len]);
        }
    }
    bytes
}

/// The same patches one by one, with their offsets, and the length in whatever unit.
pub(super) fn patches(mut rest: &[u8]) -> (u64, Vec<(u64, Vec<u8>)>) {
    let Some(len) = number::<2>(&mut rest) else { return (0, Vec::new()) };
    let mut found = Vec::new();
    while let (Some(at), Some(len)) = (number::<4>(&mut rest), number::<2>(&mut rest)) {
        let (patch, after) = rest.split_at(len.min(rest.len()));
        rest = after;
        found.push((at as u64, patch.to_vec()));
    }
    (len as u64, found)
}

fn number<const N: usize>(bytes: &mut &[u8]) -> Option<usize> {
    let (number, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(number.iter().rev().fold(0, |value, byte| value << 8 | usize::from(*byte)))
}
