//! MD5 (RFC 1321): old templates have such sums. It guards against broken downloads and against nobody.

use std::io::Read;

use super::{hex, pieces};

/// The sum, in hexadecimal digits.
pub(super) fn sum(from: &mut dyn Read) -> std::io::Result<String> {
    let mut state = State { words: [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476], rest: Vec::new(), length: 0 };
    pieces(from, |piece| state.update(piece))?;
    Ok(state.finish())
}

struct State {
    words: [u32; 4],
    rest: Vec<u8>,
    length: u64,
}

impl State {
    fn update(&mut self, bytes: &[u8]) {
        self.length = self.length.wrapping_add(bytes.len() as u64);
        self.rest.extend_from_slice(bytes);
        let rest = std::mem::take(&mut self.rest);
        let (blocks, tail) = rest.as_chunks::<64>();
        blocks.iter().for_each(|block| self.block(block));
        self.rest = tail.to_vec();
    }

    fn finish(mut self) -> String {
        let bits = self.length.wrapping_mul(8);
        let zeros = (119 - self.rest.len() % 64) % 64;
        let mut padding = vec![0x80];
        padding.resize(1 + zeros, 0);
        padding.extend_from_slice(&bits.to_le_bytes());
        self.update(&padding);
        hex(&self.words.map(u32::to_le_bytes).concat())
    }

    fn block(&mut self, block: &[u8; 64]) {
        const TURNS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];
        let (quads, _) = block.as_chunks::<4>();
        let [mut a, mut b, mut c, mut d] = self.words;
        for step in 0..64 {
            let (mixed, word) = match step / 16 {
                0 => (b & c | !b & d, step),
                1 => (d & b | !d & c, (5 * step + 1) % 16),
                2 => (b ^ c ^ d, (3 * step + 5) % 16),
                _ => (c ^ (b | !d), 7 * step % 16),
            };
            let sum = a.wrapping_add(mixed).wrapping_add(constant(step)).wrapping_add(u32::from_le_bytes(quads[word]));
            (a, d, c) = (d, c, b);
            b = b.wrapping_add(sum.rotate_left(TURNS[step / 16][step % 4]));
        }
        for (word, add) in self.words.iter_mut().zip([a, b, c, d]) {
            *word = word.wrapping_add(add);
        }
    }
}

/// The whole part of 2³² · |sin(step + 1)|, as the standard defines it.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "less than 2³² and not negative")]
fn constant(step: usize) -> u32 {
    let angle = f64::from(u32::try_from(step).unwrap_or(0) + 1);
    (angle.sin().abs() * 4_294_967_296.0) as u32
}
