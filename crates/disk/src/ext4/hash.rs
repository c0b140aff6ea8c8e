//! The hash by which big directories are sorted: half of MD4, over 32 bytes of the name at a time.

const START: [u32; 4] = [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476];
/// The end of a directory, which is no name's hash.
const END: u32 = 0x7FFF_FFFF << 1;

/// A name's hash and what orders names with the same hash. Bytes count as signed, as the superblock says.
pub(crate) fn half_md4(name: &[u8], seed: [u32; 4]) -> (u32, u32) {
    let mut state = if seed == [0; 4] { START } else { seed };
    let mut rest = name;
    while !rest.is_empty() {
        transform(&mut state, words(rest));
        rest = &rest[rest.len().min(32)..];
    }
    let hash = state[1] & !1;
    (if hash == END { END - 2 } else { hash }, state[2])
}

/// Up to 32 bytes as numbers; what is missing is filled with the length of all that is left.
fn words(rest: &[u8]) -> [u32; 8] {
    let len = rest.len() as u32;
    let pad = len | (len << 8);
    let pad = pad | (pad << 16);
    let mut words = [pad; 8];
    for (word, bytes) in words.iter_mut().zip(rest.chunks(4)) {
        *word = bytes.iter().fold(pad, |word, b| (word << 8).wrapping_add(i32::from(*b as i8) as u32));
    }
    words
}

fn transform(state: &mut [u32; 4], input: [u32; 8]) {
    const K2: u32 = 0x5A82_7999;
    const K3: u32 = 0x6ED9_EBA1;
    let f = |x: u32, y: u32, z: u32| z ^ (x & (y ^ z));
    let g = |x: u32, y: u32, z: u32| (x & y).wrapping_add((x ^ y) & z);
    let h = |x: u32, y: u32, z: u32| x ^ y ^ z;
    let [mut a, mut b, mut c, mut d] = *state;
    let mut round = |mix: &dyn Fn(u32, u32, u32) -> u32, k: u32, order: [usize; 8], turns: [u32; 4]| {
        for (n, at) in order.into_iter().enumerate() {
            let sum = a.wrapping_add(mix(b, c, d)).wrapping_add(input[at]).wrapping_add(k);
            (a, d, c, b) = (d, c, b, sum.rotate_left(turns[n % 4]));
        }
    };
    round(&f, 0, [0, 1, 2, 3, 4, 5, 6, 7], [3, 7, 11, 19]);
    round(&g, K2, [1, 3, 5, 7, 0, 2, 4, 6], [3, 5, 9, 13]);
    round(&h, K3, [3, 7, 2, 6, 1, 5, 0, 4], [3, 9, 11, 15]);
    for (part, new) in state.iter_mut().zip([a, b, c, d]) {
        *part = part.wrapping_add(new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_hash_as_debugfs_says() {
        let long = "a-much-longer-name-than-thirty-two-bytes-has";
        for (name, hash, minor) in [
            ("a", 0xD5FA_7D7A, 0xACB4_8187),
            ("hello", 0x1746_DA32, 0x4200_13B5),
            (long, 0x861B_5FAC, 0x74E4_FFBF),
            ("\u{e9}", 0x89D4_704E, 0x75D5_2D82),
        ] {
            assert_eq!(half_md4(name.as_bytes(), [0; 4]), (hash, minor), "{name}");
        }
        let seed = [0x61EF_7A07, 0x1D4B_273B, 0x33D1_96B5, 0x328A_1FF8];
        assert_ne!(half_md4(b"a", seed), half_md4(b"a", [0; 4]));
    }
}
