//! What fills the contexts: made up, and the same everywhere.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use crate::error::Error;
use crate::random::Random;

/// The same on every machine.
const SEED: u64 = 0x6b69_6c6e;

/// Half of the blocks of [`many_bytes`] are random, half text.
const BLOCK: usize = 64 << 10;
const BLOCKS: usize = (1 << 30) / BLOCK;

/// 1,000 packages of 50 files.
pub(super) fn many_files(context: &Path) -> Result<(), Error> {
    let mut random = Random::new(SEED);
    for package in 0..1000 {
        let dir = context.join(format!("packages/p{package:04}"));
        make(&dir)?;
        for file in 0..50 {
            let size = file_size(&mut random);
            write(&dir.join(format!("f{file:02}")), &text(&mut random, size))?;
        }
    }
    Ok(())
}

/// 1 GiB: 64 KiB of random bytes and 64 KiB of text in turn, and a small file beside it.
pub(super) fn many_bytes(context: &Path) -> Result<(), Error> {
    let dir = context.join("data");
    make(&dir)?;
    let path = dir.join("blob");
    let failed = |cause| Error::Write { path: path.clone(), cause };
    let mut file = File::create(&path).map_err(failed)?;
    let mut random = Random::new(SEED);
    // Farther apart than any window of gzip, so nobody gains by their being the same.
    let texts: Vec<Vec<u8>> = (0..32).map(|_| text(&mut random, BLOCK)).collect();
    for block in 0..BLOCKS {
        let bytes = if block % 2 == 0 { bytes(&mut random, BLOCK) } else { texts[block / 2 % texts.len()].clone() };
        file.write_all(&bytes).map_err(failed)?;
    }
    Ok(())
}

/// Makes a directory and its parents.
pub(super) fn make(dir: &Path) -> Result<(), Error> {
    fs::create_dir_all(dir).map_err(|cause| Error::Write { path: dir.to_owned(), cause })
}

/// Writes a file.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    fs::write(path, bytes).map_err(|cause| Error::Write { path: path.to_owned(), cause })
}

/// In (0, 1].
fn unit(random: &mut Random) -> f64 {
    ((random.next() >> 11) + 1) as f64 / (1u64 << 53) as f64
}

fn bytes(random: &mut Random, size: usize) -> Vec<u8> {
    (0..size / 8).flat_map(|_| random.next().to_le_bytes()).collect()
}

/// Log-normal with its mode at 1.3 KB, from 40 B to 60 KB: sizes of files in packages.
fn file_size(random: &mut Random) -> usize {
    let (sigma, mode) = (0.8_f64, 1300.0_f64);
    let normal = (-2.0 * unit(random).ln()).sqrt() * (std::f64::consts::TAU * unit(random)).cos();
    (mode.ln() + sigma * sigma + sigma * normal).exp().clamp(40.0, 60_000.0) as usize
}

/// Lines of made-up words; compresses about as source code does.
fn text(random: &mut Random, size: usize) -> Vec<u8> {
    const SYLLABLES: &[u8] = b"ka lo mi tu re sa no vi ex port func self name data list node read item type path ";
    let mut text = Vec::with_capacity(size + 16);
    while text.len() < size {
        let bits = random.next();
        let start = (bits % SYLLABLES.len() as u64) as usize;
        let word = &SYLLABLES[start..(start + 3 + (bits >> 32) as usize % 6).min(SYLLABLES.len())];
        text.extend_from_slice(word);
        text.push(if (bits >> 40).is_multiple_of(9) { b'\n' } else { b'.' });
    }
    text.truncate(size);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_bytes_are_the_same_everywhere() {
        let mut random = Random::new(SEED);
        let sizes: Vec<usize> = (0..2000).map(|_| file_size(&mut random)).collect();
        assert!(sizes.iter().all(|s| (40..=60_000).contains(s)));
        let small = sizes.iter().filter(|s| **s < 5000).count();
        assert!((1400..1900).contains(&small), "{small}");
        let seven = || Random::new(7);
        assert_eq!(text(&mut seven(), 100), text(&mut seven(), 100));
        assert_eq!((text(&mut seven(), 100).len(), bytes(&mut seven(), 64).len()), (100, 64));
    }
}
