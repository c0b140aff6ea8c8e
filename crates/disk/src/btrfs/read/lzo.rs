//! LZO1X, unpacked: what the kernel's documentation says of the stream (`Documentation/staging/lzo.rst`).
//!
//! ```text
//! 0000LLLL           after a match without literals: a run of literals; otherwise a match of 2 or 3 bytes nearby
//! 0001HLLL  D…       a match far away; at the distance of 16 KiB exactly, the end
//! 001LLLLL  D…       a match of any length up to 16 KiB away
//! 01LDDDSS  D        a match of 3 or 4 bytes
//! 1LLDDDSS  D        a match of 5 to 8 bytes
//! ```
//! Where the bits of a length are zeros, it goes on in the bytes that follow. The last bits of a match (`S`), or of its
//! distance, are how many literals come behind it.

/// What is left to read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> Option<usize> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(usize::from(*first))
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (now, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(now)
    }

    /// A length in `bits` bits, which goes on behind them when they are zeros: 255 for each zero, then the rest.
    fn len(&mut self, bits: usize, mask: usize) -> Option<usize> {
        if bits & mask != 0 {
            return Some(bits & mask);
        }
        let mut len = mask;
        loop {
            match self.byte()? {
                0 => len += 255,
                more => return Some(len + more),
            }
        }
    }

    /// A distance in two bytes, with the literals behind the match in its last bits.
    fn distance(&mut self) -> Option<(usize, usize)> {
        let both = self.byte()? | self.byte()? << 8;
        Some((both >> 2, both & 3))
    }
}

/// Unpacks a stream and adds at most `most` bytes to `out`; `None` when it is none, or has more. Matches do not reach
/// to what was in `out` before.
pub(crate) fn unpack(packed: &[u8], most: usize, out: &mut Vec<u8>) -> Option<()> {
    let (start, mut input) = (out.len(), Input(packed));
    // How many literals came before an instruction: 4 for a run of them.
    let mut literals = 0;
    if let Some(first) = input.0.first().map(|b| usize::from(*b)).filter(|first| *first > 17) {
        input.byte()?;
        out.extend(input.take(first - 17)?);
        literals = (first - 17).min(4);
    }
    loop {
        if out.len() - start > most {
            return None;
        }
        let code = input.byte()?;
        let (len, distance, behind) = match code {
            0..16 if literals == 0 => {
                let len = 3 + input.len(code, 15)?;
                out.extend(input.take(len)?);
                literals = 4;
                continue;
            }
            0..16 => {
                let near = (input.byte()? << 2) + (code >> 2) + 1;
                if literals == 4 { (3, near + 2048, code & 3) } else { (2, near, code & 3) }
            }
            16..32 => {
                let len = 2 + input.len(code, 7)?;
                let (distance, behind) = input.distance()?;
                let distance = 16_384 + ((code & 8) << 11) + distance;
                if distance == 16_384 {
                    return Some(());
                }
                (len, distance, behind)
            }
            32..64 => {
                let len = 2 + input.len(code, 31)?;
                let (distance, behind) = input.distance()?;
                (len, distance + 1, behind)
            }
            64..128 => (3 + (code >> 5 & 1), (input.byte()? << 3) + (code >> 2 & 7) + 1, code & 3),
            _ => (5 + (code >> 5 & 3), (input.byte()? << 3) + (code >> 2 & 7) + 1, code & 3),
        };
        let from = out.len().checked_sub(distance).filter(|from| *from >= start)?;
        if len > most {
            return None;
        }
        // What a match copies may be what it has just written.
        for at in from..from + len {
            out.push(out[at]);
        }
        out.extend(input.take(behind)?);
        literals = behind;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpacked(packed: &[u8], most: usize) -> Option<Vec<u8>> {
        let mut out = b"before".to_vec();
        unpack(packed, most, &mut out).map(|()| out.split_off(6))
    }

    const END: [u8; 3] = [17, 0, 0];

    #[test]
    fn every_instruction() {
        let with = |bytes: &[u8]| unpacked(&[bytes, &END].concat(), 100_000);
        // A first run, then a near match of two bytes over its own end.
        assert_eq!(with(&[21, b'a', b'b', b'c', b'd']).unwrap(), b"abcd");
        assert_eq!(with(&[19, b'a', b'b', 0x00, 0x00]).unwrap(), b"abbb");
        // A long run: 3 + 15 + 255 + 1 literals.
        let run: Vec<u8> = (0..=255).cycle().take(274).map(|n: u16| n as u8).collect();
        assert_eq!(with(&[&[0, 0, 1][..], &run].concat()).unwrap(), run);
        // Matches of 3 to 8 bytes, with literals behind them.
        assert_eq!(with(&[20, b'a', b'b', b'c', 0x40 | 2 << 2 | 1, 0, b'!']).unwrap(), b"abcabc!");
        assert_eq!(with(&[20, b'a', b'b', b'c', 0xE0 | 2 << 2, 0]).unwrap(), b"abcabcabcab");
        // Of any length, and further away than 16 KiB.
        let long = with(&[&[18, b'x', 0x20, 0, 0, 0, 200, 0, 0][..]].concat()).unwrap();
        assert_eq!(long.len(), 1 + 2 + 31 + 255 * 3 + 200);
        let far =
            [&[18, b'x', b'y'][..1], b"x", &[0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]].concat();
        assert!(with(&far).is_none(), "its length has no end");
    }

    #[test]
    fn three_bytes_behind_a_run_and_far_matches() {
        let run: Vec<u8> = (0..3000u16).map(|n| (n % 251) as u8).collect();
        let mut packed = vec![0];
        packed.extend([0; 11]);
        packed.push((3000 - 3 - 15 - 11 * 255) as u8);
        packed.extend(&run);
        // After a run of literals: three bytes, 2049 and more away.
        packed.extend([0x04, 0x01]);
        packed.extend(END);
        let found = unpacked(&packed, 100_000).unwrap();
        let from = 3000 - (2049 + 4 + 1);
        assert_eq!(found[3000..], run[from..from + 3]);
        // One byte is repeated up to 20 000 of them, and then looked for 16 390 back.
        let mut packed = vec![18, b'x', 0x20];
        packed.extend([0; 78]);
        packed.extend([77, 0, 0]);
        packed.extend([0x10 | 3, 6 << 2, 0]);
        packed.extend(END);
        assert_eq!(unpacked(&packed, 100_000).unwrap().len(), 1 + 2 + 31 + 78 * 255 + 77 + 5);
    }

    #[test]
    fn what_is_no_stream_is_nothing() {
        for packed in [&[][..], &[17], &[18], &[0, 0], &[64, 0], &[18, b'x', 64, 9], &[0x20, 1], &[0x10, 1, 1]] {
            assert_eq!(unpacked(packed, 1000), None, "{packed:?}");
        }
        // Matches do not reach to what was there before.
        assert_eq!(unpacked(&[18, b'x', 0x40 | 1 << 2, 0, 17, 0, 0], 1000), None);
        // More than it may be.
        assert_eq!(unpacked(&[21, b'a', b'b', b'c', b'd', 17, 0, 0], 3), None);
        assert_eq!(unpacked(&[18, b'x', 0x20, 0, 0, 0, 0, 9, 0, 0, 17, 0, 0], 500), None);
        let mut noise = 7u32;
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..noise % 40)
                .map(|_| {
                    noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (noise >> 24) as u8
                })
                .collect();
            noise = noise.wrapping_add(1);
            assert!(unpacked(&bytes, 300).is_none_or(|out| out.len() <= 300 + 255));
        }
    }
}
